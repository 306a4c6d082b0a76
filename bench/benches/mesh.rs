//! The queues between workers, both ends in one thread: what the instructions cost, without the lines that travel between
//! two caches.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringcache_bench::{VALUE_BYTES, key};
use ringcache_engine::{Expiry, KeyHash, Op, ShardId, Store, Write};
use ringcache_net::mesh::queue::queue;
use ringcache_net::mesh::{MeshEnd, Message, Ticket, mesh};

fn queues(criterion: &mut Criterion) {
    let (mut producer, mut consumer) = queue::<u64>(256);
    let mut group = criterion.benchmark_group("queue");
    for messages in [1, 64] {
        group.throughput(Throughput::Elements(messages));
        group.bench_function(format!("push and pop {messages}"), |bencher| {
            bencher.iter(|| {
                for message in 0..messages {
                    producer.push(black_box(message)).expect("it was emptied");
                }
                for _ in 0..messages {
                    black_box(consumer.pop().expect("it was filled"));
                }
            });
        });
    }
    group.finish();
}

/// Writes travel to the other worker, and their batch comes back; nobody executes them.
fn batches(criterion: &mut Criterion) {
    let (ends, _doors) = mesh(2).expect("two event descriptors are there");
    let [mut near, mut far]: [MeshEnd; 2] =
        ends.try_into().unwrap_or_else(|_| panic!("two workers have two ends"));
    let mut group = criterion.benchmark_group("mesh");
    for writes in [1, 64] {
        group.throughput(Throughput::Elements(writes));
        group.bench_function(format!("{writes} writes there and back"), |bencher| {
            bencher.iter(|| there_and_back(&mut near, &mut far, writes));
        });
    }
    group.finish();
}

fn there_and_back(near: &mut MeshEnd, far: &mut MeshEnd, writes: u64) {
    for number in 0..writes {
        let key = key(number);
        let op = Op::Store(Store::set(&[b'v'; VALUE_BYTES], 0, Expiry::NEVER));
        let write = Write { hash: KeyHash::of(&key), key: &key, op };
        near.outbox.push(ShardId(1), Ticket { connection: 0, generation: 0 }, &write, true);
    }
    near.outbox.flush(|_| {});
    while let Some(message) = far.inbox.take(0) {
        let Message::Writes(batch) = message else { panic!("only writes were sent") };
        far.outbox.send(0, Message::Outcomes(batch));
    }
    far.outbox.flush(|_| {});
    while let Some(message) = near.inbox.take(1) {
        let Message::Outcomes(batch) = message else { panic!("only batches come back") };
        near.outbox.recycle(1, batch);
    }
}

criterion_group!(benches, queues, batches);
criterion_main!(benches);
