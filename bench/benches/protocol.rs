//! Reading a request's line and writing an answer, without session and engine.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringcache_bench::{BATCH, LoneSession, protocol};

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.bench_function("set line", |bencher| bencher.iter(protocol::parse_set));
    group.bench_function("mg line with six flags", |bencher| bencher.iter(protocol::parse_meta_flags));
    for keys in [1, 50] {
        let line = LoneSession::multiget(keys);
        let line = line[b"get ".len()..].trim_ascii_end();
        group.throughput(Throughput::Elements(keys as u64));
        group.bench_function(format!("line of {keys} keys"), |bencher| {
            bencher.iter(|| protocol::split_keys(line));
        });
    }
    group.finish();
}

fn encoding(criterion: &mut Criterion) {
    let mut lone = LoneSession::new();
    let mut output = Vec::with_capacity(64);
    let mut group = criterion.benchmark_group("encode");
    group.bench_function("number of ten digits", |bencher| {
        bencher.iter(|| protocol::encode_number(&mut output));
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("16 values of 100 B", |bencher| bencher.iter(|| lone.encode()));
    group.finish();
}

criterion_group!(benches, parsing, encoding);
criterion_main!(benches);
