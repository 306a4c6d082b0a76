//! The network of the simulator: streams between nodes that are late, cut into pieces, broken off, and now and then
//! damaged by something on the way.

use std::collections::VecDeque;
use std::time::Duration;

use crate::random::Random;
use crate::tally::Tally;

/// What can go wrong, beside being late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A connection is broken off, with what was under way on it.
    Cut,
    /// A connection is late by more than usual.
    Delay,
    /// Some bits are turned over.
    Flip,
    /// Bytes are missing.
    Truncate,
    /// Bytes come twice.
    Duplicate,
    /// Two pieces change places.
    Reorder,
    /// Some nodes don't reach some others.
    Rift,
    /// A replica loses its memory and begins again.
    ReplicaCrash,
    /// A primary loses its memory; the most advanced replica is promoted.
    Failover,
    /// A primary stands still, is replaced, and comes back.
    Demotion,
    /// A primary loses its memory and begins again as a primary.
    EmptyPrimary,
    /// A node stands still for longer than its peers are patient.
    Pause,
    /// A wall clock jumps.
    ClockJump,
}

impl Fault {
    /// All of them, in order.
    pub const ALL: [Fault; 13] = [
        Fault::Cut,
        Fault::Delay,
        Fault::Flip,
        Fault::Truncate,
        Fault::Duplicate,
        Fault::Reorder,
        Fault::Rift,
        Fault::ReplicaCrash,
        Fault::Failover,
        Fault::Demotion,
        Fault::EmptyPrimary,
        Fault::Pause,
        Fault::ClockJump,
    ];
}

/// One direction of a connection: pieces with the time at which they arrive.
#[derive(Default)]
struct Pipe {
    pieces: VecDeque<(Duration, Vec<u8>)>,
    last_due: Duration,
}

/// A connection between two nodes.
struct Wire {
    nodes: [usize; 2],
    pipes: [Pipe; 2],
    is_cut: bool,
    /// What happens to the next bytes.
    damage: Option<Fault>,
    slow_until: Duration,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    wire: usize,
    side: usize,
}

/// All connections.
#[derive(Default)]
pub struct Network {
    wires: Vec<Wire>,
    /// Pairs of nodes that don't reach each other, and until when.
    rifts: Vec<([usize; 2], Duration)>,
    pub tally: Tally,
    /// Of everything that was sent, in order.
    pub trace: u64,
    pub random: Random,
}

const LATE_MICROS: u64 = 2_000;
const VERY_LATE_MICROS: u64 = 200_000;

impl Network {
    pub fn new(seed: u64) -> Self {
        Self { random: Random(seed), ..Self::default() }
    }

    pub fn is_apart(&self, nodes: [usize; 2], at: Duration) -> bool {
        let same = |pair: [usize; 2]| pair == nodes || pair == [nodes[1], nodes[0]];
        self.rifts.iter().any(|(pair, until)| same(*pair) && at < *until)
    }

    pub fn part(&mut self, nodes: [usize; 2], until: Duration) {
        self.rifts.push((nodes, until));
    }

    pub fn heal(&mut self) {
        self.rifts.clear();
        self.wires.iter_mut().for_each(|wire| {
            wire.damage = None;
            wire.slow_until = Duration::ZERO;
        });
    }

    /// A new connection: the ends of who dials and of who is dialled.
    pub fn connect(&mut self, nodes: [usize; 2]) -> (End, End) {
        let pipes = Default::default();
        self.wires.push(Wire { nodes, pipes, is_cut: false, damage: None, slow_until: Duration::ZERO });
        let wire = self.wires.len() - 1;
        (End { wire, side: 0 }, End { wire, side: 1 })
    }

    /// Breaks off every connection of a node.
    pub fn cut_all(&mut self, node: usize) {
        let of_node = self.wires.iter_mut().filter(|wire| wire.nodes.contains(&node));
        of_node.for_each(Wire::cut);
    }

    pub fn cut(&mut self, end: End) {
        self.wires[end.wire].cut();
    }

    /// Something happens to one connection that is there. False: there is none.
    pub fn strike(&mut self, fault: Fault, at: Duration) -> bool {
        let open: Vec<usize> = (0..self.wires.len()).filter(|wire| !self.wires[*wire].is_cut).collect();
        if open.is_empty() {
            return false;
        }
        let wire = &mut self.wires[open[self.random.below(open.len() as u64) as usize]];
        match fault {
            Fault::Cut => wire.cut(),
            Fault::Delay => wire.slow_until = at + Duration::from_millis(500),
            damage => {
                // It is counted when bytes come along.
                wire.damage = Some(damage);
                return true;
            }
        }
        self.tally.fault(fault);
        true
    }

    pub fn send(&mut self, end: End, bytes: &[u8], at: Duration) {
        self.trace =
            mix(mix(self.trace, end.wire as u64 * 2 + end.side as u64), u64::from(crc32c::crc32c(bytes)));
        let Self { wires, random, tally, .. } = self;
        let wire = &mut wires[end.wire];
        if wire.is_cut {
            return;
        }
        let mut bytes = bytes.to_vec();
        if let Some(fault) = wire.damage.take() {
            let before = bytes.clone();
            damage(fault, &mut bytes, random);
            if bytes != before {
                tally.fault(fault);
            }
        }
        let most = if at < wire.slow_until { VERY_LATE_MICROS } else { LATE_MICROS };
        let pipe = &mut wire.pipes[end.side];
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length =
                if random.one_in(4) { 1 + random.below(rest.len() as u64) as usize } else { rest.len() };
            let (piece, behind) = rest.split_at(length);
            pipe.last_due = pipe.last_due.max(at + Duration::from_micros(random.below(most)));
            pipe.pieces.push_back((pipe.last_due, piece.to_vec()));
            rest = behind;
        }
    }

    /// What has arrived; `None` when the connection is broken off.
    pub fn receive(&mut self, end: End, at: Duration) -> Option<Vec<u8>> {
        if self.wires[end.wire].is_cut {
            return None;
        }
        let mut bytes = Vec::new();
        if !self.rifts.is_empty() && self.is_apart(self.wires[end.wire].nodes, at) {
            return Some(bytes);
        }
        let pieces = &mut self.wires[end.wire].pipes[1 - end.side].pieces;
        while pieces.front().is_some_and(|(due, _)| *due <= at) {
            bytes.extend(pieces.pop_front().expect("looked at just before").1);
        }
        Some(bytes)
    }
}

impl Wire {
    fn cut(&mut self) {
        self.is_cut = true;
        self.pipes = Default::default();
    }
}

fn damage(fault: Fault, bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len() as u64;
    let mut place = || random.below(length) as usize;
    let (one, two) = (place(), place());
    let (from, to) = (one.min(two), one.max(two));
    match fault {
        Fault::Flip => bytes[one] ^= 1 << (two % 8),
        Fault::Truncate => drop(bytes.drain(from..to)),
        Fault::Duplicate => {
            let again = bytes[from..to].to_vec();
            bytes.splice(to..to, again);
        }
        _ => bytes[from..].rotate_left(to - from),
    }
}

/// One step of a hash over numbers.
pub fn mix(hash: u64, number: u64) -> u64 {
    (hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95)
}
