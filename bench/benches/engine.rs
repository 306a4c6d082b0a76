//! The engine alone, without sockets: what one read and one write cost in cache misses and instructions.
//!
//! A million records of 100 bytes don't fit any cache, so the single read shows the misses of index and record, and the
//! batch of 16 shows how far prefetching hides them. Times are per batch of 16, whatever the batch holds.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringcache_bench::{BATCH, FilledEngine, key};
use ringcache_engine::KeyHash;

const KEYS: u64 = 1_000_000;

fn reads_and_writes(criterion: &mut Criterion) {
    let mut filled = FilledEngine::new(1 << 30, KEYS);
    let mut group = criterion.benchmark_group("engine, 1 M records of 100 B");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("get, one by one", |bencher| {
        bencher.iter(|| {
            let found = filled.stored_keys().iter().filter(|key| filled.get(key.as_slice())).count();
            filled.end_turn();
            assert_eq!(found, BATCH, "every key was stored and memory is ample");
        });
    });
    group.bench_function("get, prefetched batch", |bencher| {
        bencher.iter(|| {
            let keys = filled.stored_keys();
            let found = filled.get_batch(&keys);
            filled.end_turn();
            assert_eq!(found, BATCH, "every key was stored and memory is ample");
        });
    });
    group.bench_function("get, absent", |bencher| {
        bencher.iter(|| filled.fresh_keys().iter().filter(|key| filled.get(key.as_slice())).count());
    });
    group.bench_function("set, overwriting", |bencher| {
        bencher.iter(|| {
            filled.stored_keys().iter().for_each(|key| filled.set(key));
            filled.end_turn();
        });
    });
    group.bench_function("set and delete", |bencher| {
        bencher.iter(|| {
            for key in filled.fresh_keys() {
                filled.set(&key);
                filled.delete(&key);
            }
            filled.end_turn();
        });
    });
    group.finish();
}

/// Every set makes room for itself.
fn evicting_writes(criterion: &mut Criterion) {
    let mut filled = FilledEngine::new(64 << 20, KEYS);
    let mut group = criterion.benchmark_group("engine, full cache of 64 MiB");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("set, evicting", |bencher| {
        bencher.iter(|| {
            filled.fresh_keys().iter().for_each(|key| filled.set(key));
            filled.end_turn();
        });
    });
    group.finish();
}

fn hash(criterion: &mut Criterion) {
    criterion.bench_function("hash of a 14-byte key", |bencher| {
        bencher.iter_batched(|| key(7), |key| KeyHash::of(black_box(&key)), BatchSize::SmallInput);
    });
}

criterion_group!(benches, reads_and_writes, evicting_writes, hash);
criterion_main!(benches);
