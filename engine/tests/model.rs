//! The engine against a model: random writes on one or more shards with tiny slabs and a fake clock, compared with
//! a map. A key that the engine lost must have been evicted; a key that it shows must be what the model says.

use std::collections::HashMap;

use ringcache_engine::{
    Arithmetic, Delete, Engine, EngineOptions, Expiry, KeyHash, Lookup, Now, Op, Reader, Seconds, Shard,
    Status, Store, StoreMode, Write,
};

/// SplitMix64: small, seeded, good enough for choosing operations.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Expected {
    value: Vec<u8>,
    flags: u32,
    expiry: Expiry,
    cas: u64,
}

struct Pair {
    shards: Vec<Shard>,
    reader: Reader,
    engine: Engine,
    model: HashMap<Vec<u8>, Expected>,
    now: Now,
    refused: u64,
}

const START: u64 = 1_800_000_000_000;

impl Pair {
    fn open(options: &EngineOptions) -> Self {
        let (engine, shards) = Engine::open(options, 1).expect("memory");
        let reader = engine.reader();
        Self { shards, reader, engine, model: HashMap::new(), now: Now::from_unix_millis(START), refused: 0 }
    }

    fn apply(&mut self, key: &[u8], op: Op<'_>) -> ringcache_engine::Outcome {
        let hash = KeyHash::of(key);
        let shard = usize::from(hash.shard(self.shards.len() as u16).0);
        let outcome = self.shards[shard].apply(&Write { hash, key, op }, self.now);
        self.reader.end_turn();
        outcome
    }

    fn maintain(&mut self) {
        let now = self.now;
        self.shards.iter_mut().for_each(|shard| {
            shard.maintain(now);
        });
        self.reader.end_turn();
    }

    fn alive(&self, key: &[u8]) -> Option<&Expected> {
        self.model.get(key).filter(|expected| !expected.expiry.is_past(self.now.seconds))
    }

    fn fetched(&self, key: &[u8]) -> Option<bool> {
        match self.reader.get(KeyHash::of(key), key, self.now) {
            Lookup::Hit(record) => Some(record.fetched()),
            Lookup::Miss(_) => None,
        }
    }

    fn read(&self, key: &[u8]) -> Option<Expected> {
        match self.reader.get(KeyHash::of(key), key, self.now) {
            Lookup::Hit(record) => Some(Expected {
                value: record.value().to_vec(),
                flags: record.flags(),
                expiry: record.expiry(),
                cas: record.cas(),
            }),
            Lookup::Miss(_) => None,
        }
    }

    /// What is shown is right; what is missing may be missing.
    fn check(&mut self, key: &[u8], evictions: bool) {
        match (self.read(key), self.alive(key).cloned()) {
            (Some(shown), Some(expected)) => assert_eq!(shown, expected, "{}", String::from_utf8_lossy(key)),
            (Some(shown), None) => panic!("{} should be gone: {shown:?}", String::from_utf8_lossy(key)),
            (None, Some(_)) => {
                assert!(evictions, "{} is lost", String::from_utf8_lossy(key));
                self.model.remove(key);
            }
            (None, None) => {}
        }
    }
}

fn value(random: &mut Random, longest: u64) -> Vec<u8> {
    let len = if random.below(20) == 0 { random.below(longest) } else { random.below(200) };
    let byte = random.next() as u8;
    (0..len).map(|n| byte.wrapping_add(n as u8)).collect()
}

fn expiry(random: &mut Random, now: Seconds) -> Expiry {
    match random.below(4) {
        0 => Expiry::at(Seconds(now.0 + 1 + random.below(200) as u32)),
        1 => Expiry::at(Seconds(now.0 + 5000)),
        _ => Expiry::NEVER,
    }
}

fn step(pair: &mut Pair, random: &mut Random, keys: u64, longest: u64) {
    let key = format!("key:{}", random.below(keys)).into_bytes();
    pair.check(&key, true);
    let present = pair.alive(&key).cloned();
    match random.below(12) {
        0..=5 => {
            let (value, flags) = (value(random, longest), random.below(3) as u32);
            let end = expiry(random, pair.now.seconds);
            let mode = [StoreMode::Set, StoreMode::Set, StoreMode::Add, StoreMode::Replace]
                [random.below(4) as usize];
            let outcome = pair.apply(&key, Op::Store(Store { mode, ..Store::set(&value, flags, end) }));
            let stores = match mode {
                StoreMode::Add => present.is_none(),
                StoreMode::Replace => present.is_some(),
                _ => true,
            };
            if outcome.status == Status::NoMemory {
                // The other shards hold the memory; they give way on their next write. A set takes the old record.
                pair.refused += 1;
                if mode == StoreMode::Set {
                    pair.model.remove(&key);
                }
                return;
            }
            assert_eq!(outcome.status, if stores { Status::Stored } else { Status::NotStored });
            if stores {
                pair.model.insert(key, Expected { value, flags, expiry: end, cas: outcome.cas });
            }
        }
        6 => {
            let part = value(random, 100);
            let mode = if random.below(2) == 0 { StoreMode::Append } else { StoreMode::Prepend };
            let outcome = pair.apply(&key, Op::Store(Store { mode, ..Store::set(&part, 9, Expiry::NEVER) }));
            if outcome.status == Status::Stored {
                let expected = pair.model.get_mut(&key).expect("joined to something");
                let joined = [&expected.value[..], &part[..]];
                expected.value =
                    if mode == StoreMode::Append { joined.concat() } else { [joined[1], joined[0]].concat() };
                expected.cas = outcome.cas;
            }
        }
        7 => {
            let asked = present.as_ref().map_or(7, |p| p.cas) + random.below(2);
            let value = value(random, 300);
            let store = Store { compare: Some(asked), ..Store::set(&value, 0, Expiry::NEVER) };
            let outcome = pair.apply(&key, Op::Store(store));
            let wanted = match &present {
                None => Status::NotFound,
                Some(present) if present.cas == asked => Status::Stored,
                Some(_) => Status::Exists,
            };
            if outcome.status == Status::NoMemory {
                pair.refused += 1;
                pair.model.remove(&key);
                return;
            }
            assert_eq!(outcome.status, wanted);
            if wanted == Status::Stored {
                pair.model.insert(key, Expected { value, flags: 0, expiry: Expiry::NEVER, cas: outcome.cas });
            }
        }
        8 => {
            let outcome = pair.apply(&key, Op::Delete(Delete::default()));
            assert_eq!(outcome.status, if present.is_some() { Status::Deleted } else { Status::NotFound });
            pair.model.remove(&key);
        }
        9 => touch(pair, random, &key),
        10 => {
            let counter = format!("count:{}", random.below(20)).into_bytes();
            let add = Arithmetic {
                delta: random.below(1000),
                decrement: false,
                compare: None,
                explicit_cas: None,
                create: Some((Expiry::NEVER, 5)),
                expiry: None,
            };
            pair.check(&counter, true);
            let before =
                pair.alive(&counter).map(|e| String::from_utf8_lossy(&e.value).trim().parse::<u64>());
            let outcome = pair.apply(&counter, Op::Arithmetic(add));
            if outcome.status == Status::NoMemory {
                pair.refused += 1;
                return;
            }
            let number = before.map_or(5, |n| n.expect("a counter holds a number") + add.delta);
            assert_eq!(outcome.number, number);
            let value = number.to_string().into_bytes();
            pair.model.insert(counter, Expected { value, flags: 0, expiry: Expiry::NEVER, cas: outcome.cas });
        }
        _ => {
            pair.now = Now::from_unix_millis(pair.now.unix_millis + random.below(3) * 700);
            pair.maintain();
        }
    }
}

fn touch(pair: &mut Pair, random: &mut Random, key: &[u8]) {
    let is_present = pair.alive(key).is_some();
    let (end, fetches) = (expiry(random, pair.now.seconds), random.below(2) == 0);
    let fetched = pair.fetched(key);
    let outcome = pair.apply(key, Op::Touch { expiry: end, fetches });
    assert_eq!(outcome.status, if is_present { Status::Touched } else { Status::NotFound });
    if let Some(now_fetched) = pair.fetched(key) {
        assert_eq!(Some(now_fetched), fetched.map(|before| before || fetches));
    }
    if let Some(expected) = pair.model.get_mut(key).filter(|_| is_present) {
        expected.expiry = end;
    }
}

fn run(options: &EngineOptions, seed: u64, steps: u64, keys: u64, longest: u64) -> Pair {
    let mut pair = Pair::open(options);
    let mut random = Random(seed);
    for _ in 0..steps {
        step(&mut pair, &mut random, keys, longest);
    }
    let keys: Vec<_> = pair.model.keys().cloned().collect();
    for key in keys {
        pair.check(&key, true);
    }
    pair
}

#[test]
fn random_writes_agree_with_a_map_while_records_are_evicted() {
    for seed in 0..6 {
        let options = EngineOptions {
            memory_bytes: 512 << 10,
            shards: 1 + (seed % 3) as u16,
            slab_bytes: Some(4096),
            ..EngineOptions::default()
        };
        let pair = run(&options, seed, 60_000, 3_000, 20_000);
        let evictions: u64 = pair.shards.iter().map(|shard| pair.engine.stats(shard.id()).evictions).sum();
        assert!(pair.refused < 100 && (pair.refused == 0 || options.shards > 1), "refused {}", pair.refused);
        assert!(evictions > 0, "the memory was too large to test eviction");
        assert!(pair.engine.memory_used() <= pair.engine.memory_limit());
    }
}

#[test]
fn nothing_is_evicted_while_everything_fits() {
    for seed in 10..14 {
        let options =
            EngineOptions { memory_bytes: 16 << 20, slab_bytes: Some(16 << 10), ..EngineOptions::default() };
        let pair = run(&options, seed, 60_000, 2_000, 5_000);
        let stats = pair.engine.stats(pair.shards[0].id());
        assert_eq!(stats.evictions, 0, "seed {seed}: {stats:?}");
    }
}

#[test]
fn the_living_at_three_quarters_survive_random_overwrites_of_ten_times_the_memory() {
    for value_bytes in [100usize, 1000, 40_000] {
        let options = EngineOptions { memory_bytes: 16 << 20, ..EngineOptions::default() };
        let mut pair = Pair::open(&options);
        let footprint = (28 + 12 + value_bytes).next_multiple_of(4) as u64;
        let keys = options.memory_bytes * 3 / 4 / footprint;
        let mut random = Random(7);
        let mut versions = vec![0u8; keys as usize];
        for key in 0..keys {
            overwrite(&mut pair, key, 0, value_bytes);
        }
        let mut written = 0;
        while written < 10 * options.memory_bytes {
            let key = random.below(keys);
            versions[key as usize] = versions[key as usize].wrapping_add(1);
            overwrite(&mut pair, key, versions[key as usize], value_bytes);
            written += footprint;
            pair.maintain();
        }
        let stats = pair.engine.stats(pair.shards[0].id());
        assert_eq!(stats.evictions, 0, "{value_bytes}: {stats:?}");
        for key in 0..keys {
            let shown =
                pair.read(format!("key:{key:08}").as_bytes()).unwrap_or_else(|| panic!("key {key} is lost"));
            assert_eq!(shown.value, vec![versions[key as usize]; value_bytes]);
        }
    }
}

fn overwrite(pair: &mut Pair, key: u64, byte: u8, value_bytes: usize) {
    let key = format!("key:{key:08}").into_bytes();
    let outcome = pair.apply(&key, Op::Store(Store::set(&vec![byte; value_bytes], 0, Expiry::NEVER)));
    assert_eq!(outcome.status, Status::Stored);
}

#[test]
fn memory_comes_back_untouched_once_every_time_to_live_is_over() {
    let options = EngineOptions { memory_bytes: 8 << 20, ..EngineOptions::default() };
    let mut pair = Pair::open(&options);
    let mut random = Random(3);
    for key in 0..20_000u64 {
        let end = Expiry::at(Seconds(pair.now.seconds.0 + 1 + random.below(5000) as u32));
        let name = format!("key:{key}").into_bytes();
        pair.apply(&name, Op::Store(Store::set(&[7; 150], 0, end)));
    }
    assert!(pair.engine.stats(pair.shards[0].id()).items > 15_000);
    pair.now = Now::from_unix_millis(pair.now.unix_millis + 5_001_000);
    for _ in 0..5_000 {
        pair.maintain();
    }
    let stats = pair.engine.stats(pair.shards[0].id());
    assert_eq!((stats.items, stats.bytes, stats.slabs_used), (0, 0, 0), "{stats:?}");
    assert_eq!(pair.engine.memory_used(), stats.index_bytes);
}

#[test]
fn a_flush_hides_everything_before_it_and_nothing_after() {
    let mut pair = Pair::open(&EngineOptions::default());
    overwrite(&mut pair, 1, 1, 10);
    pair.apply(b"", Op::Flush { at: None });
    assert!(pair.read(b"key:00000001").is_none());
    overwrite(&mut pair, 2, 2, 10);
    assert!(pair.read(b"key:00000002").is_some());
    let at = Seconds(pair.now.seconds.0 + 10);
    pair.apply(b"", Op::Flush { at: Some(at) });
    assert!(pair.read(b"key:00000002").is_some());
    pair.now = Now::from_unix_millis(pair.now.unix_millis + 10_500);
    overwrite(&mut pair, 3, 3, 10);
    assert!(pair.read(b"key:00000002").is_none());
    assert!(pair.read(b"key:00000003").is_some());
}

#[test]
fn without_evictions_a_full_cache_refuses_and_keeps_what_it_has() {
    let options = EngineOptions { memory_bytes: 1 << 20, evictions: false, ..EngineOptions::default() };
    let mut pair = Pair::open(&options);
    let mut stored = Vec::new();
    for key in 0..20_000u64 {
        let name = format!("key:{key}").into_bytes();
        let outcome = pair.apply(&name, Op::Store(Store::set(&[1; 100], 0, Expiry::NEVER)));
        match outcome.status {
            Status::Stored => stored.push(name),
            status => assert_eq!(status, Status::NoMemory),
        }
    }
    assert!(stored.len() > 3_000 && stored.len() < 20_000, "{}", stored.len());
    assert!(stored.iter().all(|name| pair.read(name).is_some()));
}

#[test]
fn a_limit_lowered_under_a_cache_that_may_not_evict_refuses_and_returns() {
    let options = EngineOptions { memory_bytes: 4 << 20, evictions: false, ..EngineOptions::default() };
    let mut pair = Pair::open(&options);
    for key in 0..20_000u64 {
        let name = format!("key:{key}").into_bytes();
        pair.apply(&name, Op::Store(Store::set(&[1; 100], 0, Expiry::NEVER)));
        if key % 3 == 0 {
            pair.apply(&name, Op::Delete(Delete::default()));
        }
    }
    assert!(pair.engine.set_memory_limit(1 << 20));
    let outcome = pair.apply(b"key:1", Op::Store(Store::set(&[2; 100], 0, Expiry::NEVER)));
    assert_eq!(outcome.status, Status::NoMemory);
    assert!(pair.read(b"key:1").is_none(), "a refused set leaves nothing old behind");
    assert!(pair.read(b"key:2").is_some());
}

#[test]
fn a_value_larger_than_the_limit_evicts_nothing() {
    let options =
        EngineOptions { memory_bytes: 16 << 20, item_bytes_max: 12 << 20, ..EngineOptions::default() };
    let mut pair = Pair::open(&options);
    for key in 0..200 {
        overwrite(&mut pair, key, 1, 1000);
    }
    assert!(pair.engine.set_memory_limit(4 << 20));
    let value = vec![3; 10 << 20];
    let outcome = pair.apply(b"large", Op::Store(Store::set(&value, 0, Expiry::NEVER)));
    assert_eq!(outcome.status, Status::NoMemory);
    for _ in 0..1000 {
        pair.maintain();
    }
    assert_eq!(pair.engine.stats(pair.shards[0].id()).evictions, 0);
}
