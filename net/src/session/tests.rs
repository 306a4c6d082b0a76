//! Sessions without a socket, a clock or other workers: bytes in, bytes out, for every fragment size.
//!
//! A [`World`] owns all shards of a node and one session on the first of them. Writes to the other shards wait in
//! the world's picture of the mesh and are executed at random moments, in order per shard. Conversations are
//! played step by step and as one pipelined stream, with 1, 2 and 4 shards.

use std::collections::{HashMap, VecDeque};

use ringcache_engine::{
    Engine, EngineOptions, KeyHash, Now, Op, Outcome, Reader, Shard, ShardId, Store, Write,
};

use super::{Progress, Session, SpareInputs};
use crate::config::Config;
use crate::dump::Step;
use crate::mesh::Ticket;
use crate::node::Node;
use crate::output::Output;
use crate::reach::{Reach, SendAway};
use crate::warming::{Ask, Lent};

mod admin;
mod auth;
mod bad_frames;
mod binary;
mod binary_model;
mod datagram;
mod dumps;
mod errors;
/// Writes and reads frames; the end-to-end tests do it with the same code.
#[path = "../../../tests/e2e/frames.rs"]
mod frames;
mod limits;
mod meta;
mod model;
mod ordering;
mod text;
mod warming;
mod watching;

const FRAGMENTS: [usize; 6] = [usize::MAX, 100, 10, 5, 2, 1];
const SHARDS: [u16; 3] = [1, 2, 4];
const START_MILLIS: u64 = 1_700_000_000_000;

/// A small generator; a test names its seed, so that a failure can be repeated.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// A write on its way, with bytes of its own.
struct OwnedWrite {
    hash: KeyHash,
    key: Vec<u8>,
    value: Vec<u8>,
    op: Op<'static>,
}

impl OwnedWrite {
    fn of(write: &Write<'_>) -> Self {
        let (value, op) = match write.op {
            Op::Store(store) => (store.value.to_vec(), Op::Store(Store { value: &[], ..store })),
            Op::Delete(delete) => (Vec::new(), Op::Delete(delete)),
            Op::Arithmetic(arithmetic) => (Vec::new(), Op::Arithmetic(arithmetic)),
            Op::Touch { expiry, fetches } => (Vec::new(), Op::Touch { expiry, fetches }),
            Op::Vivify { expiry, explicit_cas } => (Vec::new(), Op::Vivify { expiry, explicit_cas }),
            Op::Flush { at } => (Vec::new(), Op::Flush { at }),
        };
        Self { hash: write.hash, key: write.key.to_vec(), value, op }
    }

    fn apply(&self, shard: &mut Shard, now: Now) -> Outcome {
        let op = match self.op {
            Op::Store(store) => Op::Store(Store { value: &self.value, ..store }),
            op => op,
        };
        shard.apply(&Write { hash: self.hash, key: &self.key, op }, now)
    }
}

/// The picture of the mesh: one queue per shard.
#[derive(Default)]
struct Away {
    writes: Vec<VecDeque<OwnedWrite>>,
    step: Option<(ShardId, Box<Step>)>,
}

impl SendAway for Away {
    fn send_away(&mut self, shard: ShardId, _ticket: Ticket, write: &Write<'_>, _is_noted: bool) {
        self.writes[usize::from(shard.0)].push_back(OwnedWrite::of(write));
    }

    fn send_step(&mut self, shard: ShardId, _ticket: Ticket, step: Box<Step>) {
        assert!(self.step.is_none(), "one step of a dump is under way at a time");
        self.step = Some((shard, step));
    }
}

/// A node of several shards and one client.
pub struct World {
    pub node: Node,
    pub session: Session,
    pub output: Output,
    pub now: Now,
    pub progress: Progress,
    /// What the client has received.
    pub received: Vec<u8>,
    shards: Vec<Shard>,
    reader: Reader,
    away: Away,
    inputs: SpareInputs,
    random: Random,
    warming: Option<Box<Lent>>,
    /// Questions on their way to an upstream.
    #[expect(clippy::vec_box, reason = "they travel in their boxes")]
    asks: Vec<Box<Ask>>,
    /// What the upstream has.
    upstream: HashMap<Vec<u8>, Vec<u8>>,
}

impl World {
    pub fn new(shards: u16) -> Self {
        Self::with_config(shards, Config::default())
    }

    pub fn with_config(shards: u16, config: Config) -> Self {
        let config = Config { workers: shards, ..config };
        let options = EngineOptions {
            memory_bytes: config.memory_bytes,
            shards,
            item_bytes_max: config.item_bytes_max,
            evictions: config.evictions,
            huge_pages: false,
            slab_bytes: None,
            node: 0,
            log_changes: false,
        };
        let (engine, opened) = Engine::open(&options, 1).expect("the memory is enough");
        let reader = engine.reader();
        let now = Now::from_unix_millis(START_MILLIS);
        Self {
            node: Node::new(config, engine, now.seconds),
            session: Session::new(),
            output: Output::default(),
            now,
            progress: Progress::Receive,
            received: Vec::new(),
            away: Away { writes: (0..shards).map(|_| VecDeque::new()).collect(), step: None },
            inputs: SpareInputs::default(),
            shards: opened,
            reader,
            random: Random::new(u64::from(shards)),
            warming: None,
            asks: Vec::new(),
            upstream: HashMap::new(),
        }
    }

    /// Sends in pieces of `fragment` bytes, with answers from other shards and sends to the client in between.
    pub fn send(&mut self, bytes: &[u8], fragment: usize) {
        for piece in bytes.chunks(fragment.min(bytes.len()).max(1)) {
            if self.progress == Progress::Close {
                return;
            }
            // A receive that was under way may complete while the session holds; a new one is not started.
            if self.progress == Progress::Hold && self.random.below(4) > 0 {
                self.settle();
            }
            self.call(|session, reach, output| session.handle_bytes(piece, reach, output));
            match self.random.below(4) {
                0 => self.settle(),
                1 => self.deliver_one(),
                2 => self.take_output(),
                _ => {}
            }
        }
    }

    /// Sends all of it in one piece; nothing else happens meanwhile.
    pub fn send_at_once(&mut self, bytes: &[u8]) {
        self.call(|session, reach, output| session.handle_bytes(bytes, reach, output));
    }

    pub fn shard_of(&self, key: &str) -> u16 {
        KeyHash::of(key.as_bytes()).shard(self.shards.len() as u16).0
    }

    /// Lets everything happen that can happen without more input.
    pub fn settle(&mut self) {
        loop {
            while self.session.writes_waiting() > 0 && self.has_something_away() {
                self.deliver_one();
            }
            self.run_step();
            let goes_on = self.session.is_streaming() && !self.session.is_watching();
            if self.output.is_empty() && !goes_on {
                break;
            }
            self.take_output();
        }
        let waits = self.progress == Progress::Hold && !self.session.is_watching();
        assert!(!waits, "nothing is under way, and yet the session waits");
        assert_eq!(self.session.writes_waiting(), 0);
    }

    /// Sends and gives back what comes.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.send(bytes.as_ref(), usize::MAX);
        self.settle();
        std::mem::take(&mut self.received)
    }

    fn has_something_away(&self) -> bool {
        !self.asks.is_empty() || self.away.writes.iter().any(|queue| !queue.is_empty())
    }

    /// As [`World::deliver_from`], of a random shard; or settles a random question.
    pub fn deliver_one(&mut self) {
        let queues = &self.away.writes;
        let waiting: Vec<usize> = (0..queues.len()).filter(|&at| !queues[at].is_empty()).collect();
        if !self.asks.is_empty() && (waiting.is_empty() || self.random.below(2) == 0) {
            return self.settle_ask();
        }
        if waiting.is_empty() {
            return;
        }
        let at = waiting[self.random.below(waiting.len())];
        self.deliver_from(at);
    }

    /// Executes the oldest write of a shard and hands its outcome to the session.
    pub fn deliver_from(&mut self, at: usize) {
        let write = self.away.writes[at].pop_front().expect("chosen for not being empty");
        if let Some(warming) = &mut self.warming {
            warming.written.note(write.hash, &write.op);
        }
        let outcome = write.apply(&mut self.shards[at], self.now);
        let shard = ShardId(at as u16);
        self.call(|session, reach, output| session.handle_outcome(shard, &outcome, reach, output));
    }

    /// Runs the step of a dump that is under way.
    pub fn run_step(&mut self) {
        let Some((shard, mut step)) = self.away.step.take() else { return };
        step.run(&self.shards[usize::from(shard.0)], self.now);
        self.call(|session, reach, output| session.handle_step(step, reach, output));
    }

    /// The session's next turn, while the client receives nothing.
    pub fn resume(&mut self) {
        self.call(Session::handle_room);
    }

    /// The client receives what there is.
    pub fn take_output(&mut self) {
        let mut sent = 0;
        for pinned in self.output.pinned.drain(..) {
            self.received.extend_from_slice(&self.output.bytes[sent..pinned.at]);
            self.received.extend_from_slice(pinned.value.bytes());
            sent = pinned.at;
        }
        self.received.extend_from_slice(&self.output.bytes[sent..]);
        self.output.clear();
        if self.progress != Progress::Close {
            self.call(Session::handle_room);
        }
    }

    /// Later: every owner has had its turn.
    pub fn advance(&mut self, seconds: u64) {
        self.now = Now::from_unix_millis(self.now.unix_millis + 1000 * seconds);
        for shard in &mut self.shards {
            shard.maintain(self.now);
        }
    }

    /// What the text protocol's `stats <what>` shows.
    pub fn node_stats(&self, what: &str) -> String {
        let mut text = Vec::new();
        assert!(crate::stats::report(&self.node, self.now, what.as_bytes(), &mut text));
        String::from_utf8(text).unwrap()
    }

    /// Executes a write that is under way and hands its outcome to `take`; `None` when there is none.
    pub fn deliver<R>(&mut self, take: impl FnOnce(ShardId, &Outcome, &mut Reach<'_>) -> R) -> Option<R> {
        let at = self.away.writes.iter().position(|queue| !queue.is_empty())?;
        let write = self.away.writes[at].pop_front().expect("chosen for not being empty");
        let outcome = write.apply(&mut self.shards[at], self.now);
        Some(self.reach(|reach| take(ShardId(at as u16), &outcome, reach)))
    }

    fn call(&mut self, step: impl FnOnce(&mut Session, &mut Reach<'_>, &mut Output) -> Progress) {
        let mut session = std::mem::take(&mut self.session);
        let mut output = std::mem::take(&mut self.output);
        self.progress = self.reach(|reach| step(&mut session, reach, &mut output));
        (self.session, self.output) = (session, output);
        self.asks.extend(self.warming.iter_mut().flat_map(|warming| warming.asks.drain(..)));
    }

    /// One turn with what a session may reach.
    pub fn reach<R>(&mut self, turn: impl FnOnce(&mut Reach<'_>) -> R) -> R {
        let (own, _) = self.shards.split_first_mut().expect("a node has a shard");
        let result = turn(&mut Reach {
            shard: own,
            reader: &self.reader,
            outbox: &mut self.away,
            guard: crate::replication::held::Guard::default(),
            warming: self.warming.as_deref_mut(),
            inputs: &mut self.inputs,
            node: &self.node,
            counters: &self.node.workers[0],
            now: self.now,
            ticket: Ticket { connection: 0, generation: 0 },
        });
        self.reader.end_turn();
        result
    }
}

/// A conversation: what is sent, and byte for byte what comes back.
///
/// `{name}` in an expected reply stands for a number: the first time it takes what comes, after that the same must
/// come again; in what is sent it stands for the number taken.
pub struct Conversation {
    steps: Vec<(Vec<u8>, Vec<u8>)>,
    config: Config,
}

impl Conversation {
    pub fn new() -> Self {
        Self { steps: Vec::new(), config: Config::default() }
    }

    pub fn with_config(config: Config) -> Self {
        Self { steps: Vec::new(), config }
    }

    pub fn step(mut self, send: impl AsRef<[u8]>, expect: impl AsRef<[u8]>) -> Self {
        self.steps.push((send.as_ref().to_vec(), expect.as_ref().to_vec()));
        self
    }

    /// Plays it with every number of shards and every fragment size, step by step and pipelined.
    pub fn play(&self) {
        let has_names = self.steps.iter().any(|(send, _)| name_at(send, 0).is_some());
        for shards in SHARDS {
            for fragment in FRAGMENTS {
                self.play_steps(shards, fragment);
                if !has_names {
                    self.play_stream(shards, fragment);
                }
            }
        }
    }

    fn play_steps(&self, shards: u16, fragment: usize) {
        let mut world = World::with_config(shards, self.config.clone());
        let mut numbers = HashMap::new();
        for (send, expect) in &self.steps {
            let send = with_numbers(send, &numbers);
            world.send(&send, fragment);
            world.settle();
            let received = std::mem::take(&mut world.received);
            compare(&send, expect, &received, &mut numbers, shards, fragment);
        }
    }

    fn play_stream(&self, shards: u16, fragment: usize) {
        let mut world = World::with_config(shards, self.config.clone());
        let send: Vec<u8> = self.steps.iter().flat_map(|(send, _)| send).copied().collect();
        let expect: Vec<u8> = self.steps.iter().flat_map(|(_, expect)| expect).copied().collect();
        world.send(&send, fragment);
        world.settle();
        compare(&send, &expect, &world.received, &mut HashMap::new(), shards, fragment);
    }
}

fn compare(
    send: &[u8],
    expect: &[u8],
    received: &[u8],
    numbers: &mut HashMap<Vec<u8>, Vec<u8>>,
    shards: u16,
    fragment: usize,
) {
    assert!(
        matches(expect, received, numbers),
        "{shards} shards, fragments of {fragment}\nsent     {}\nexpected {}\nreceived {}",
        send.escape_ascii(),
        expect.escape_ascii(),
        received.escape_ascii(),
    );
}

fn matches(expect: &[u8], received: &[u8], numbers: &mut HashMap<Vec<u8>, Vec<u8>>) -> bool {
    let mut rest = received;
    let mut at = 0;
    while let Some((start, end)) = name_at(expect, at) {
        let Some(after) = rest.strip_prefix(&expect[at..start]) else { return false };
        let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = numbers.entry(expect[start..end].to_vec()).or_insert_with(|| after[..digits].to_vec());
        if digits == 0 || number[..] != after[..digits] {
            return false;
        }
        rest = &after[digits..];
        at = end;
    }
    rest == &expect[at..]
}

fn with_numbers(send: &[u8], numbers: &HashMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = name_at(send, at) {
        out.extend_from_slice(&send[at..start]);
        out.extend_from_slice(&numbers[&send[start..end]]);
        at = end;
    }
    out.extend_from_slice(&send[at..]);
    out
}

/// Where the next `{name}` stands, braces included.
fn name_at(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let start = from + text[from..].iter().position(|&byte| byte == b'{')?;
    let end = start + text[start..].iter().position(|&byte| byte == b'}')?;
    Some((start, end + 1))
}
