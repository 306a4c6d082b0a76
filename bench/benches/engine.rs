//! The engine alone, without sockets: what one read and one write cost in cache misses and instructions.
//!
//! A million records of 100 bytes don't fit any cache, so the single read shows the misses of index and record, and the
//! batch of 16 shows how far prefetching hides them. Times are per batch of 16, whatever the batch holds.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringcache_engine::{
    Engine, EngineOptions, Expiry, KeyHash, Lookup, Now, Op, Reader, Shard, Store, Write,
};

const KEYS: u64 = 1_000_000;
const BATCH: usize = 16;
const VALUE: [u8; 100] = [b'v'; 100];

struct Filled {
    _engine: Engine,
    shard: Shard,
    reader: Reader,
    now: Now,
    /// State of the sequence of keys.
    next: u64,
}

impl Filled {
    fn new() -> Filled {
        let options = EngineOptions {
            memory_bytes: 1 << 30,
            shards: 1,
            item_bytes_max: 1 << 20,
            evictions: true,
            huge_pages: false,
            slab_bytes: None,
            node: 0,
            log_changes: false,
        };
        let (engine, mut shards) = Engine::open(&options, 1).expect("a gibibyte can be mapped");
        let shard = shards.pop().expect("one shard was asked for");
        let reader = engine.reader();
        let now = Now::from_unix_millis(1_800_000_000_000);
        let mut filled = Filled { _engine: engine, shard, reader, now, next: 0 };
        for number in 0..KEYS {
            filled.set(key(number));
        }
        filled
    }

    fn set(&mut self, key: [u8; 14]) {
        let op = Op::Store(Store::set(&VALUE, 0, Expiry::NEVER));
        black_box(self.shard.apply(&Write { hash: KeyHash::of(&key), key: &key, op }, self.now));
        if self.shard.turn_budget() < 1 << 16 {
            self.end_turn();
        }
    }

    fn end_turn(&mut self) {
        self.reader.end_turn();
        self.shard.maintain(self.now);
    }

    /// The next keys of a fixed pseudo-random sequence.
    fn keys(&mut self) -> [[u8; 14]; BATCH] {
        std::array::from_fn(|_| {
            self.next =
                self.next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            key((self.next >> 33) % KEYS)
        })
    }
}

fn key(number: u64) -> [u8; 14] {
    let mut key = *b"key:0000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn read_value(lookup: &Lookup<'_>) {
    match lookup {
        Lookup::Hit(record) => drop(black_box(record.value()[50])),
        Lookup::Miss(_) => panic!("every key was stored and memory is ample"),
    }
}

fn engine(criterion: &mut Criterion) {
    let mut filled = Filled::new();
    let mut group = criterion.benchmark_group("engine, 1 M records of 100 B");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("get, one by one", |bencher| {
        bencher.iter(|| {
            for key in filled.keys() {
                read_value(&filled.reader.get(KeyHash::of(&key), &key, filled.now));
            }
            filled.reader.end_turn();
        });
    });
    group.bench_function("get, prefetched batch", |bencher| {
        bencher.iter(|| {
            let keys = filled.keys();
            let hashes = keys.map(|key| KeyHash::of(&key));
            hashes.iter().for_each(|hash| filled.reader.prefetch(*hash));
            let candidates = hashes.map(|hash| filled.reader.candidate(hash));
            for ((candidate, hash), key) in candidates.into_iter().zip(hashes).zip(&keys) {
                read_value(&filled.reader.resolve(candidate, hash, key, filled.now));
            }
            filled.reader.end_turn();
        });
    });
    group.bench_function("set, overwriting", |bencher| {
        bencher.iter(|| {
            for key in filled.keys() {
                filled.set(key);
            }
            filled.end_turn();
        });
    });
    group.finish();
    criterion.bench_function("hash of a 14-byte key", |bencher| {
        bencher.iter_batched(|| key(7), |key| KeyHash::of(black_box(&key)), BatchSize::SmallInput);
    });
}

criterion_group!(benches, engine);
criterion_main!(benches);
