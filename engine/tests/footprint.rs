//! What a record costs: records held by a full cache, at four sizes of value. Printed, and held to a bound that no
//! change of the byte formats should pass unseen.

use ringcache_engine::{Engine, EngineOptions, Expiry, KeyHash, Now, Op, Store, Write};

const MEMORY_BYTES: u64 = 16 << 20;
const KEY_BYTES: u64 = 20;

/// Bytes of `MEMORY_BYTES` per record beyond key and value, once records are evicted for new ones.
fn bytes_over_the_data(value_bytes: u64) -> f64 {
    let options = EngineOptions { memory_bytes: MEMORY_BYTES, ..EngineOptions::default() };
    let (engine, mut shards) = Engine::open(&options, 1).expect("memory");
    let mut reader = engine.reader();
    let now = Now::from_unix_millis(1_800_000_000_000);
    let value = vec![7; value_bytes as usize];
    for number in 0..MEMORY_BYTES * 3 / 2 / (KEY_BYTES + value_bytes + 40) {
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
    assert!(engine.memory_used() <= MEMORY_BYTES);
    MEMORY_BYTES as f64 / stats.items as f64 - (KEY_BYTES + value_bytes) as f64
}

#[test]
fn a_full_cache_spends_little_beyond_the_data() {
    for (value_bytes, most) in [(10, 50.0), (64, 46.0), (200, 52.0), (1000, 90.0)] {
        let over = bytes_over_the_data(value_bytes);
        println!("{value_bytes} bytes of value: {over:.1} bytes per record over key and value");
        assert!(over <= most, "{over:.1} bytes over the data with values of {value_bytes}");
    }
}
