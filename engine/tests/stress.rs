//! Real threads: each owns a shard, writes it, and reads all shards, in little memory, so that growth, cleaning,
//! eviction and reuse happen all the time under the readers' eyes. Every record that is read must be whole.

use ringcache_engine::{
    Engine, EngineOptions, Expiry, KeyHash, Lookup, Now, Op, Reader, Shard, Store, Write,
};

const THREADS: u16 = 3;
const KEYS: u64 = 40_000;
const ROUNDS: u64 = 150_000;

fn name(key: u64) -> Vec<u8> {
    format!("stress:key:{key}").into_bytes()
}

/// The value says whose it is, and its length and bytes follow from that.
fn value(key: u64, round: u64) -> Vec<u8> {
    let len = if round.is_multiple_of(500) { 30_000 } else { (key * 7 + round) % 300 } as usize;
    let mut value = vec![(key ^ round) as u8; len + 16];
    value[..8].copy_from_slice(&key.to_le_bytes());
    value[8..16].copy_from_slice(&round.to_le_bytes());
    value
}

fn check(reader: &Reader, key: u64, now: Now) -> bool {
    let name = name(key);
    let Lookup::Hit(record) = reader.get(KeyHash::of(&name), &name, now) else { return false };
    let shown = record.value();
    let word = |at: usize| u64::from_le_bytes(shown[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(word(0), key, "another key's bytes");
    assert_eq!(shown, value(key, word(8)), "a torn value");
    assert!(record.is_intact());
    record.mark_access(now.seconds);
    true
}

fn work(mut shard: Shard, mut reader: Reader, seed: u64) -> u64 {
    let mut state = seed;
    let mut random = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut hits = 0;
    for round in 0..ROUNDS {
        let now = Now::from_unix_millis(1_800_000_000_000 + round / 10);
        let key = random(KEYS);
        let (name, value) = (name(key), value(key, round));
        let hash = KeyHash::of(&name);
        if hash.shard(THREADS) == shard.id() {
            let store = Store::set(&value, 0, Expiry::NEVER);
            shard.apply(&Write { hash, key: &name, op: Op::Store(store) }, now);
        }
        hits += u64::from(check(&reader, random(KEYS), now));
        if round.is_multiple_of(8) {
            shard.maintain(now);
            reader.end_turn();
        }
        if round.is_multiple_of(1000) {
            let _asleep = reader.sleep();
            std::thread::yield_now();
        }
    }
    hits
}

#[test]
fn readers_never_see_a_torn_record_while_memory_is_reused() {
    let options = EngineOptions { memory_bytes: 4 << 20, shards: THREADS, ..EngineOptions::default() };
    let (engine, shards) = Engine::open(&options, THREADS).expect("memory");
    let seats: Vec<_> = shards.into_iter().map(|shard| (shard, engine.reader())).collect();
    let workers: Vec<_> = seats
        .into_iter()
        .zip(1..)
        .map(|((shard, reader), seed)| std::thread::spawn(move || work(shard, reader, seed)))
        .collect();
    let hits: u64 = workers.into_iter().map(|worker| worker.join().expect("no thread panics")).sum();
    assert!(hits > 10_000, "{hits}");
    let evictions: u64 = (0..THREADS).map(|n| engine.stats(ringcache_engine::ShardId(n)).evictions).sum();
    assert!(evictions > 10_000, "memory was reused: {evictions}");
}

#[test]
fn a_pinned_value_outlives_its_record() {
    let options = EngineOptions { memory_bytes: 8 << 20, ..EngineOptions::default() };
    let (engine, mut shards) = Engine::open(&options, 1).expect("memory");
    let mut reader = engine.reader();
    let now = Now::from_unix_millis(1_800_000_000_000);
    let hash = KeyHash::of(b"large");
    let mut set = |reader: &mut Reader, byte: u8| {
        let value = vec![byte; 400_000];
        let op = Op::Store(Store::set(&value, 0, Expiry::NEVER));
        shards[0].apply(&Write { hash, key: b"large", op }, now);
        shards[0].maintain(now);
        reader.end_turn();
    };
    set(&mut reader, 1);
    let Lookup::Hit(record) = reader.get(hash, b"large", now) else { panic!("stored") };
    let pinned = record.pin().expect("a large value has memory of its own");
    for byte in 2..100 {
        set(&mut reader, byte);
    }
    assert!(pinned.bytes().iter().all(|&byte| byte == 1), "the pinned bytes changed");
    drop(pinned);
    set(&mut reader, 100);
    set(&mut reader, 101);
    let Lookup::Hit(record) = reader.get(hash, b"large", now) else { panic!("stored") };
    assert_eq!(record.value()[0], 101);
    assert!(engine.memory_used() < 2 << 20, "runs came back: {}", engine.memory_used());
}
