//! What a record costs: records held by a full cache, at four sizes of value. Printed, and held to a bound that no
//! change of the byte formats should pass unseen.

use ringcache_engine::{Engine, EngineOptions, Expiry, KeyHash, Now, Op, Store, Write};

const KEY_BYTES: u64 = 20;

/// Bytes of the memory per record beyond key and value, once all records have been evicted for new ones.
fn bytes_over_the_data(memory_bytes: u64, value_bytes: u64) -> f64 {
    let options = EngineOptions { memory_bytes, ..EngineOptions::default() };
    let (engine, mut shards) = Engine::open(&options, 1).expect("memory");
    let mut reader = engine.reader();
    let now = Now::from_unix_millis(1_800_000_000_000);
    let value = vec![7; value_bytes as usize];
    for number in 0..memory_bytes * 3 / (KEY_BYTES + value_bytes + 40) {
        let key = format!("key:{number:016}");
        let op = Op::Store(Store::set(&value, 0, Expiry::NEVER));
        shards[0].apply(&Write { hash: KeyHash::of(key.as_bytes()), key: key.as_bytes(), op }, now);
        if number.is_multiple_of(64) {
            shards[0].maintain(now);
            reader.end_turn();
        }
    }
    let stats = engine.stats(shards[0].id());
    assert!(stats.evictions > 0, "the cache is full");
    assert!(engine.memory_used() <= memory_bytes);
    memory_bytes as f64 / stats.items as f64 - (KEY_BYTES + value_bytes) as f64
}

#[test]
fn a_full_cache_spends_little_beyond_the_data() {
    // In the smaller memory slabs are a larger share of it.
    for (megabytes, value_bytes, most) in
        [(64, 10, 44.0), (64, 64, 44.0), (256, 200, 44.0), (256, 1000, 44.0)]
    {
        let over = bytes_over_the_data(megabytes << 20, value_bytes);
        println!(
            "{value_bytes} bytes of value in {megabytes} MiB: {over:.1} bytes per record over key and value"
        );
        assert!(over <= most, "{over:.1} bytes over the data with values of {value_bytes}");
    }
}
