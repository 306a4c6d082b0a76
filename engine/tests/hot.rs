//! A cache whose every record is in use takes new records all the same.

use ringcache_engine::{Engine, EngineOptions, Expiry, KeyHash, Lookup, Now, Op, Status, Store, Write};

const MEMORY_BYTES: u64 = 64 << 20;
const VALUE_BYTES: usize = 1000;
/// Accesses after which a record has all the credit that there is.
const ACCESSES: usize = 10;

#[test]
fn new_records_find_room_among_records_that_are_all_in_use() {
    let options = EngineOptions { memory_bytes: MEMORY_BYTES, ..EngineOptions::default() };
    let (engine, mut shards) = Engine::open(&options, 1).expect("memory");
    let mut reader = engine.reader();
    let now = Now::from_unix_millis(1_800_000_000_000);
    let value = vec![7; VALUE_BYTES];
    let mut store = |number: usize| {
        let key = format!("key:{number:016}");
        let op = Op::Store(Store::set(&value, 0, Expiry::NEVER));
        shards[0].apply(&Write { hash: KeyHash::of(key.as_bytes()), key: key.as_bytes(), op }, now).status
    };
    let count = MEMORY_BYTES as usize / (VALUE_BYTES + 64);
    for number in 0..count {
        assert_eq!(store(number), Status::Stored);
    }
    for number in (0..count).cycle().take(count * ACCESSES) {
        let key = format!("key:{number:016}");
        if let Lookup::Hit(record) = reader.get(KeyHash::of(key.as_bytes()), key.as_bytes(), now) {
            record.mark_access(now.seconds);
        }
    }
    for number in count..2 * count {
        reader.end_turn();
        assert_eq!(store(number), Status::Stored, "record {number} of {count} and as many new ones");
    }
}
