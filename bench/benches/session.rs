//! The protocol without sockets: bytes in, bytes out, over one shard of a thousand records that stays in the caches. What is
//! left is parsing, hashing, finding and encoding.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringcache_engine::{Engine, EngineOptions, Now, Reader, Shard, ShardId, Write};
use ringcache_net::config::Config;
use ringcache_net::mesh::Ticket;
use ringcache_net::node::Node;
use ringcache_net::output::Output;
use ringcache_net::reach::{Reach, SendAway};
use ringcache_net::session::Session;

const KEYS: usize = 1000;
const BATCH: usize = 16;

/// With one shard no write goes to another worker.
struct NoOtherWorkers;

impl SendAway for NoOtherWorkers {
    fn send_away(&mut self, shard: ShardId, _ticket: Ticket, _write: &Write<'_>) {
        unreachable!("there is one shard, not {shard:?}")
    }
}

struct Worker {
    node: Node,
    shard: Shard,
    reader: Reader,
    now: Now,
    session: Session,
    output: Output,
}

impl Worker {
    fn new() -> Worker {
        let now = Now::from_unix_millis(1_800_000_000_000);
        let options = EngineOptions {
            memory_bytes: 64 << 20,
            shards: 1,
            item_bytes_max: 1 << 20,
            evictions: true,
            huge_pages: false,
            slab_bytes: None,
            node: 0,
            log_changes: false,
        };
        let (engine, mut shards) = Engine::open(&options, 1).expect("64 MiB can be mapped");
        let reader = engine.reader();
        let config = Config { workers: 1, ..Config::default() };
        let mut worker = Worker {
            node: Node::new(config, engine, now.seconds),
            shard: shards.pop().expect("one shard was asked for"),
            reader,
            now,
            session: Session::new(),
            output: Output::default(),
        };
        for number in 0..KEYS {
            worker.turn(&set(number));
        }
        worker
    }

    /// One received buffer; its answers are thrown away.
    fn turn(&mut self, input: &[u8]) {
        let mut reach = Reach {
            shard: &mut self.shard,
            reader: &self.reader,
            outbox: &mut NoOtherWorkers,
            node: &self.node,
            counters: &self.node.workers[0],
            now: self.now,
            ticket: Ticket { connection: 0, generation: 0 },
        };
        self.session.handle_bytes(black_box(input), &mut reach, &mut self.output);
        assert!(!black_box(&self.output.bytes).is_empty(), "every request is answered");
        self.output.clear();
        self.reader.end_turn();
        self.shard.maintain(self.now);
    }
}

fn set(number: usize) -> Vec<u8> {
    format!("set key:{number:010} 0 0 100\r\n{}\r\n", "v".repeat(100)).into_bytes()
}

/// A buffer of `BATCH` requests for different keys.
fn batch(request: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    (0..BATCH).flat_map(|step| request(step * 61 % KEYS)).collect()
}

fn session(criterion: &mut Criterion) {
    let mut worker = Worker::new();
    let mut group = criterion.benchmark_group("session, 16 requests in one buffer");
    group.throughput(Throughput::Elements(BATCH as u64));
    let keys: Vec<String> = (0..BATCH).map(|step| format!("key:{:010}", step * 61 % KEYS)).collect();
    for (name, input) in [
        ("get", batch(|number| format!("get key:{number:010}\r\n").into_bytes())),
        ("get of 16 keys", format!("get {}\r\n", keys.join(" ")).into_bytes()),
        ("mg with v", batch(|number| format!("mg key:{number:010} v\r\n").into_bytes())),
        ("set", batch(set)),
        ("unknown command", batch(|_| b"fetch something\r\n".to_vec())),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| worker.turn(&input)));
    }
    group.finish();
}

criterion_group!(benches, session);
criterion_main!(benches);
