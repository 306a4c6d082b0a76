//! A node without sockets and threads, for the targets that talk to a session.

use std::collections::VecDeque;

use ringcache_engine::{
    Engine, EngineOptions, KeyHash, Now, Op, Outcome, Reader, Shard, ShardId, Store, Write,
};
use ringcache_net::config::Config;
use ringcache_net::dump::Step;
use ringcache_net::mesh::Ticket;
use ringcache_net::node::Node;
use ringcache_net::output::Output;
use ringcache_net::reach::{Reach, SendAway};
use ringcache_net::session::inputs::SpareInputs;
use ringcache_net::session::{Progress, Session};

const NOW: Now = Now { seconds: ringcache_engine::Seconds(1_800_000_000), unix_millis: 1_800_000_000_000 };

/// A node with one session on its first shard; the writes to other shards wait in a queue each.
pub struct World {
    /// Its counters tell what was done.
    pub node: Node,
    session: Session,
    output: Output,
    progress: Progress,
    received: Vec<u8>,
    shards: Vec<Shard>,
    reader: Reader,
    away: Away,
    inputs: SpareInputs,
}

struct Away {
    writes: Vec<VecDeque<OwnedWrite>>,
    step: Option<(ShardId, Box<Step>)>,
}

/// A write with bytes of its own, as in a mesh batch.
struct OwnedWrite {
    hash: KeyHash,
    key: Vec<u8>,
    value: Vec<u8>,
    op: Op<'static>,
}

impl SendAway for Away {
    fn send_away(&mut self, shard: ShardId, _ticket: Ticket, write: &Write<'_>, _is_noted: bool) {
        let (value, op) = match write.op {
            Op::Store(store) => (store.value.to_vec(), Op::Store(Store { value: &[], ..store })),
            Op::Delete(delete) => (Vec::new(), Op::Delete(delete)),
            Op::Arithmetic(arithmetic) => (Vec::new(), Op::Arithmetic(arithmetic)),
            Op::Touch { expiry, fetches } => (Vec::new(), Op::Touch { expiry, fetches }),
            Op::Vivify { expiry, explicit_cas } => (Vec::new(), Op::Vivify { expiry, explicit_cas }),
            Op::Flush { at } => (Vec::new(), Op::Flush { at }),
        };
        let write = OwnedWrite { hash: write.hash, key: write.key.to_vec(), value, op };
        self.writes[usize::from(shard.0)].push_back(write);
    }

    fn send_step(&mut self, shard: ShardId, _ticket: Ticket, step: Box<Step>) {
        self.step = Some((shard, step));
    }
}

impl OwnedWrite {
    fn apply(&self, shard: &mut Shard) -> Outcome {
        let op = match self.op {
            Op::Store(store) => Op::Store(Store { value: &self.value, ..store }),
            op => op,
        };
        shard.apply(&Write { hash: self.hash, key: &self.key, op }, NOW)
    }
}

impl World {
    /// A node that holds nothing, with a fresh session.
    pub fn new(shards: u16, config: Config) -> World {
        let config = Config { workers: shards, ..config };
        let options = EngineOptions {
            memory_bytes: config.memory_bytes,
            shards,
            item_bytes_max: config.item_bytes_max,
            evictions: true,
            huge_pages: false,
            slab_bytes: None,
            node: 0,
            log_changes: false,
        };
        let (engine, opened) =
            Engine::open(&options, 1).expect("the default memory is enough for three shards");
        let reader = engine.reader();
        World {
            node: Node::new(config, engine, NOW.seconds),
            session: Session::new(),
            output: Output::default(),
            progress: Progress::Receive,
            received: Vec::new(),
            away: Away { writes: (0..shards).map(|_| VecDeque::new()).collect(), step: None },
            inputs: SpareInputs::default(),
            shards: opened,
            reader,
        }
    }

    /// Sends `input` in pieces; everything that the client receives.
    pub fn play(&mut self, input: &[u8], piece: usize) -> Vec<u8> {
        for bytes in input.chunks(piece.min(input.len()).max(1)) {
            self.call(|session, reach, output| session.handle_bytes(bytes, reach, output));
            self.settle();
            if self.progress == Progress::Close {
                break;
            }
        }
        assert_eq!(self.session.writes_waiting(), 0, "every write is answered");
        std::mem::take(&mut self.received)
    }

    /// Lets everything happen that needs no more input.
    fn settle(&mut self) {
        loop {
            while let Some(at) = self.away.writes.iter().position(|queue| !queue.is_empty()) {
                let write = self.away.writes[at].pop_front().expect("found not empty");
                let outcome = write.apply(&mut self.shards[at]);
                let shard = ShardId(at as u16);
                self.call(|session, reach, output| session.handle_outcome(shard, &outcome, reach, output));
            }
            if let Some((shard, mut step)) = self.away.step.take() {
                step.run(&self.shards[usize::from(shard.0)], NOW);
                self.call(|session, reach, output| session.handle_step(step, reach, output));
            }
            if self.output.is_empty() && self.away.step.is_none() && self.progress != Progress::Hold {
                break;
            }
            self.take_output();
        }
    }

    fn take_output(&mut self) {
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

    /// Executes a write that is under way and hands its outcome to `take`; `None` when there is none.
    #[allow(dead_code, reason = "each target uses its own part of this file")]
    pub fn deliver<R>(&mut self, take: impl FnOnce(ShardId, &Outcome, &mut Reach<'_>) -> R) -> Option<R> {
        let at = self.away.writes.iter().position(|queue| !queue.is_empty())?;
        let write = self.away.writes[at].pop_front().expect("found not empty");
        let outcome = write.apply(&mut self.shards[at]);
        Some(self.turn(|reach| take(ShardId(at as u16), &outcome, reach)))
    }

    fn call(&mut self, step: impl FnOnce(&mut Session, &mut Reach<'_>, &mut Output) -> Progress) {
        let mut session = std::mem::take(&mut self.session);
        let mut output = std::mem::take(&mut self.output);
        self.progress = self.turn(|reach| step(&mut session, reach, &mut output));
        (self.session, self.output) = (session, output);
    }

    /// One turn with what a session may reach.
    pub fn turn<R>(&mut self, turn: impl FnOnce(&mut Reach<'_>) -> R) -> R {
        let (own, _) = self.shards.split_first_mut().expect("a node has a shard");
        let result = turn(&mut Reach {
            shard: own,
            reader: &self.reader,
            outbox: &mut self.away,
            guard: ringcache_net::replication::held::Guard::default(),
            warming: None,
            inputs: &mut self.inputs,
            node: &self.node,
            counters: &self.node.workers[0],
            now: NOW,
            ticket: Ticket { connection: 0, generation: 0 },
        });
        self.reader.end_turn();
        result
    }
}
