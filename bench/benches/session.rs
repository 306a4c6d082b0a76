//! The protocol without sockets: bytes in, bytes out, over one shard of a thousand records that stays in the caches. What is
//! left is parsing, hashing, finding and encoding.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringcache_bench::{BATCH, LoneSession};

fn session(criterion: &mut Criterion) {
    let mut lone = LoneSession::new();
    let mut group = criterion.benchmark_group("session, 16 requests in one buffer");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, input) in [
        ("get", LoneSession::batch(|number| LoneSession::keyed("get", number, "\r\n"))),
        ("get of 16 keys", LoneSession::multiget(BATCH)),
        ("mg with v", LoneSession::batch(|number| LoneSession::keyed("mg", number, " v\r\n"))),
        ("set", LoneSession::batch(LoneSession::set)),
        ("unknown command", LoneSession::batch(|_| b"fetch something\r\n".to_vec())),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| lone.turn(&input)));
    }
    group.finish();
}

criterion_group!(benches, session);
criterion_main!(benches);
