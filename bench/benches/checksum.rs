//! CRC32C, which covers every record that is written.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crc32c");
    for bytes in [32, 128, 1 << 10, 1 << 16, 1 << 20] {
        let data = vec![b'v'; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes} B"), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&data)));
        });
    }
    group.finish();
}

criterion_group!(benches, checksum);
criterion_main!(benches);
