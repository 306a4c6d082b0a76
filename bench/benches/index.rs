//! The index by itself, as far as the engine's public calls allow: a candidate is one probe of the index, without a look
//! at the record. An insertion brings the smallest record with it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringcache_bench::{BATCH, FilledEngine};

fn index(criterion: &mut Criterion) {
    // The small index stays in the caches, the large one doesn't.
    for keys in [10_000, 2_000_000] {
        let mut filled = FilledEngine::new(1 << 30, keys);
        let mut group = criterion.benchmark_group(format!("index of {keys} keys"));
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function("find, present", |bencher| {
            bencher.iter(|| {
                let keys = filled.stored_keys();
                filled.probe(&keys);
            });
        });
        group.bench_function("find, absent", |bencher| {
            bencher.iter(|| {
                let keys = filled.fresh_keys();
                filled.probe(&keys);
            });
        });
        group.finish();
    }
    let mut filled = FilledEngine::new(1 << 30, 0);
    let mut group = criterion.benchmark_group("index that grows");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("insert", |bencher| {
        bencher.iter(|| {
            for key in filled.fresh_keys() {
                filled.set_empty(&key);
            }
            filled.end_turn();
        });
    });
    group.finish();
}

criterion_group!(benches, index);
criterion_main!(benches);
