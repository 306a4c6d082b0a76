//! A session over one filled shard: bytes in, bytes out.

use std::hint::black_box;

use ringcache_engine::{KeyHash, Lookup, Now, Reader, Shard, ShardId, Write};
use ringcache_net::config::Config;
use ringcache_net::dump::Step;
use ringcache_net::mesh::Ticket;
use ringcache_net::node::Node;
use ringcache_net::output::Output;
use ringcache_net::protocol::text::get::answer;
use ringcache_net::reach::{Reach, SendAway};
use ringcache_net::session::Session;
use ringcache_net::session::inputs::SpareInputs;
use ringcache_net::session::lookups::Sight;

use crate::{BATCH, NOW_MILLIS, VALUE_BYTES, key, open};

/// One worker with one connection. Its records stay in the caches, so that what is left is parsing, hashing, finding
/// and encoding.
pub struct LoneSession {
    node: Node,
    shard: Shard,
    reader: Reader,
    now: Now,
    session: Session,
    inputs: SpareInputs,
    output: Output,
}

/// With one shard no write goes to another worker.
struct NoOtherWorkers;

impl SendAway for NoOtherWorkers {
    fn send_away(&mut self, shard: ShardId, _ticket: Ticket, _write: &Write<'_>, _is_noted: bool) {
        unreachable!("there is one shard, not {shard:?}")
    }

    fn send_step(&mut self, shard: ShardId, _ticket: Ticket, _step: Box<Step>) {
        unreachable!("there is one shard, not {shard:?}")
    }
}

impl LoneSession {
    /// How many keys are stored: 0 up to this.
    pub const KEYS: usize = 1000;

    /// Holds all of its keys.
    pub fn new() -> LoneSession {
        let now = Now::from_unix_millis(NOW_MILLIS);
        let (engine, shard) = open(64 << 20);
        let reader = engine.reader();
        let config = Config { workers: 1, ..Config::default() };
        let mut lone = LoneSession {
            node: Node::new(config, engine, now.seconds),
            shard,
            reader,
            now,
            session: Session::new(),
            inputs: SpareInputs::default(),
            output: Output::default(),
        };
        (0..Self::KEYS).for_each(|number| {
            lone.turn(&Self::set(number));
        });
        lone
    }

    /// One received buffer. How many bytes were answered; they are thrown away.
    pub fn turn(&mut self, input: &[u8]) -> usize {
        let mut reach = Reach {
            shard: &mut self.shard,
            reader: &self.reader,
            outbox: &mut NoOtherWorkers,
            guard: ringcache_net::replication::held::Guard::default(),
            warming: None,
            inputs: &mut self.inputs,
            node: &self.node,
            counters: &self.node.workers[0],
            now: self.now,
            ticket: Ticket { connection: 0, generation: 0 },
        };
        self.session.handle_bytes(black_box(input), &mut reach, &mut self.output);
        let answered = self.take_output();
        self.reader.end_turn();
        self.shard.maintain(self.now);
        answered
    }

    fn take_output(&mut self) -> usize {
        let bytes = black_box(&self.output).len();
        self.output.clear();
        bytes
    }

    /// Encodes the reply to a `get` of a stored key [`BATCH`] times; how many bytes that were.
    pub fn encode(&mut self) -> usize {
        let key = key(0);
        let sight = Sight {
            reader: &self.reader,
            now: self.now,
            started: self.node.started,
            counters: &self.node.workers[0],
            cas: true,
            observer: None,
            warming: None,
        };
        let Lookup::Hit(record) = self.reader.get(KeyHash::of(&key), &key, self.now) else {
            panic!("every key is stored and memory is ample");
        };
        for _ in 0..BATCH {
            answer(Lookup::Hit(black_box(record)), false, sight, &mut self.output);
        }
        self.take_output()
    }

    /// A request that stores the key of this number.
    pub fn set(number: usize) -> Vec<u8> {
        Self::keyed("set", number, &format!(" 0 0 {VALUE_BYTES}\r\n{}\r\n", "v".repeat(VALUE_BYTES)))
    }

    /// `verb`, the key of this number, and what follows it.
    pub fn keyed(verb: &str, number: usize, rest: &str) -> Vec<u8> {
        [verb.as_bytes(), b" ", &key(number as u64), rest.as_bytes()].concat()
    }

    /// [`BATCH`] requests for different keys in one buffer.
    pub fn batch(request: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
        (0..BATCH).flat_map(|step| request(Self::scattered(step))).collect()
    }

    /// One `get` of `keys` different keys.
    pub fn multiget(keys: usize) -> Vec<u8> {
        let keys = (0..keys).map(|step| [b" ".as_slice(), &key(Self::scattered(step) as u64)].concat());
        [b"get".to_vec(), keys.flatten().collect(), b"\r\n".to_vec()].concat()
    }

    fn scattered(step: usize) -> usize {
        step * 61 % Self::KEYS
    }
}

impl Default for LoneSession {
    fn default() -> LoneSession {
        LoneSession::new()
    }
}
