//! What is told of evictions: every living record that goes, once, and no tombstone.

use std::collections::HashSet;

use ringcache_engine::{Delete, Engine, EngineOptions, Expiry, KeyHash, Now, Op, Store, Write};

const MEMORY_BYTES: u64 = 4 << 20;
const KEYS: u64 = 120_000;

#[test]
fn every_living_record_that_goes_is_told_and_no_tombstone() {
    let options = EngineOptions { memory_bytes: MEMORY_BYTES, log_changes: true, ..EngineOptions::default() };
    let (engine, mut shards) = Engine::open(&options, 1).expect("memory");
    let (shard, mut reader) = (&mut shards[0], engine.reader());
    let mut now = Now::from_unix_millis(1_800_000_000_000);
    shard.remember_evicted(true);
    let (mut told, mut living) = (0, HashSet::new());
    for number in 0..KEYS {
        let key = format!("key:{number}").into_bytes();
        let hash = KeyHash::of(&key);
        let op = Op::Store(Store::set(&[7; 100], 0, Expiry::NEVER));
        shard.apply(&Write { hash, key: &key, op }, now);
        if number % 2 == 0 {
            shard.apply(&Write { hash, key: &key, op: Op::Delete(Delete::default()) }, now);
        } else {
            living.insert(key);
        }
        for evicted in shard.take_evicted() {
            assert!(living.remove(&evicted.key[..]), "{} was not there", evicted.key.escape_ascii());
            told += 1;
        }
        if number % 16 == 0 {
            now = Now::from_unix_millis(now.unix_millis + 1);
            shard.maintain(now);
            reader.end_turn();
        }
    }
    let stats = engine.stats(shard.id());
    assert!(told > KEYS / 8, "{told} evictions");
    assert_eq!((stats.evictions, stats.items), (told, living.len() as u64));
}
