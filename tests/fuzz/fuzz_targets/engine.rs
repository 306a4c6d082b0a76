//! Any sequence of writes, reads, turns and seconds to an engine with tiny slabs, against a map: what it shows is
//! what was stored, and nothing alive is lost, because the living stay far below the memory.

#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use ringcache_engine::{
    Delete, Engine, EngineOptions, Expiry, KeyHash, Lookup, Now, Op, Reader, Seconds, Shard, Status, Store,
    StoreMode, Write,
};

const START_MILLIS: u64 = 1_800_000_000_000;
const KEYS: u8 = 12;
const SLAB_BYTES: u32 = 4096;
const MEMORY_BYTES: u64 = 4 << 20;
/// Several slabs: such a value has a run of slabs of its own.
const VALUE_BYTES_MAX: usize = 5 * SLAB_BYTES as usize;

fuzz_target!(|data: &[u8]| {
    let Some((&shards, steps)) = data.split_first() else { return };
    let mut pair = Pair::open(1 + u16::from(shards % 2));
    for step in steps.chunks_exact(4) {
        pair.step([step[0], step[1], step[2], step[3]]);
    }
    for key in 0..KEYS {
        pair.check(&[key + 1]);
    }
});

/// The engine and what it should hold.
struct Pair {
    shards: Vec<Shard>,
    reader: Reader,
    engine: Engine,
    model: HashMap<Vec<u8>, Record>,
    now: Now,
}

#[derive(Clone)]
struct Record {
    value: Vec<u8>,
    flags: u32,
    expiry: Expiry,
    cas: u64,
}

impl Pair {
    fn open(shards: u16) -> Pair {
        let options = EngineOptions {
            memory_bytes: MEMORY_BYTES,
            shards,
            item_bytes_max: 1 << 16,
            evictions: true,
            huge_pages: false,
            slab_bytes: Some(SLAB_BYTES),
            node: 0,
            log_changes: false,
        };
        let (engine, shards) = Engine::open(&options, 1).expect("the memory is enough");
        let reader = engine.reader();
        Pair { shards, reader, engine, model: HashMap::new(), now: Now::from_unix_millis(START_MILLIS) }
    }

    fn step(&mut self, [what, key, length, byte]: [u8; 4]) {
        let key = vec![key % KEYS + 1];
        let present = self.alive(&key).cloned();
        let value = vec![byte; usize::from(length) * VALUE_BYTES_MAX / 255];
        match what % 10 {
            0..=2 => self.store(&key, StoreMode::Set, &value, true),
            3 => self.store(&key, StoreMode::Add, &value, present.is_none()),
            4 => self.store(&key, StoreMode::Replace, &value, present.is_some()),
            5 => self.join(&key, &value[..value.len().min(200)], present),
            6 => self.delete(&key, present),
            7 => self.touch(&key, byte, present),
            8 => {
                let now = self.now;
                self.shards.iter_mut().for_each(|shard| {
                    shard.maintain(now);
                });
                self.reader.end_turn();
            }
            _ => self.now = Now::from_unix_millis(self.now.unix_millis + u64::from(byte) * 100),
        }
        self.check(&key);
        assert_eq!(self.evictions(), 0, "the living are few");
    }

    fn store(&mut self, key: &[u8], mode: StoreMode, value: &[u8], takes_effect: bool) {
        let flags = u32::from(value.first().copied().unwrap_or(0) % 3);
        let expiry = match value.len() % 5 {
            0 => Expiry::at(Seconds(self.now.seconds.0 + 20)),
            _ => Expiry::NEVER,
        };
        let outcome = self.apply(key, Op::Store(Store { mode, ..Store::set(value, flags, expiry) }));
        if !takes_effect {
            assert_eq!(outcome.status, Status::NotStored);
            return;
        }
        assert_eq!(outcome.status, Status::Stored);
        self.model.insert(key.to_vec(), Record { value: value.to_vec(), flags, expiry, cas: outcome.cas });
    }

    fn join(&mut self, key: &[u8], part: &[u8], present: Option<Record>) {
        let mode = StoreMode::Append;
        let outcome = self.apply(key, Op::Store(Store { mode, ..Store::set(part, 9, Expiry::NEVER) }));
        match present {
            None => assert_eq!(outcome.status, Status::NotStored),
            Some(record) if outcome.status == Status::Stored => {
                let value = [&record.value[..], part].concat();
                self.model.insert(key.to_vec(), Record { value, cas: outcome.cas, ..record });
            }
            // Grown beyond the item limit: what becomes of the present record is checked by the engine's own tests.
            Some(_) => {
                assert!(
                    matches!(outcome.status, Status::TooLarge | Status::NotStored),
                    "{:?}",
                    outcome.status
                );
                self.apply(key, Op::Delete(Delete::default()));
                self.model.remove(key);
            }
        }
    }

    fn delete(&mut self, key: &[u8], present: Option<Record>) {
        let outcome = self.apply(key, Op::Delete(Delete::default()));
        assert_eq!(outcome.status, if present.is_some() { Status::Deleted } else { Status::NotFound });
        self.model.remove(key);
    }

    fn touch(&mut self, key: &[u8], seconds: u8, present: Option<Record>) {
        let expiry = Expiry::at(Seconds(self.now.seconds.0 + u32::from(seconds)));
        let outcome = self.apply(key, Op::Touch { expiry, fetches: true });
        assert_eq!(outcome.status, if present.is_some() { Status::Touched } else { Status::NotFound });
        if let Some(record) = present {
            self.model.insert(key.to_vec(), Record { expiry, ..record });
        }
    }

    fn apply(&mut self, key: &[u8], op: Op<'_>) -> ringcache_engine::Outcome {
        let hash = KeyHash::of(key);
        let shard = usize::from(hash.shard(self.shards.len() as u16).0);
        let outcome = self.shards[shard].apply(&Write { hash, key, op }, self.now);
        self.reader.end_turn();
        outcome
    }

    fn alive(&self, key: &[u8]) -> Option<&Record> {
        self.model.get(key).filter(|record| !record.expiry.is_past(self.now.seconds))
    }

    fn check(&self, key: &[u8]) {
        match (self.reader.get(KeyHash::of(key), key, self.now), self.alive(key)) {
            (Lookup::Hit(shown), Some(expected)) => {
                assert!(shown.value() == expected.value, "another value is shown for {key:?}");
                assert_eq!(
                    (shown.flags(), shown.expiry(), shown.cas()),
                    (expected.flags, expected.expiry, expected.cas)
                );
            }
            (Lookup::Miss(_), None) => {}
            (Lookup::Hit(_), None) => panic!("{key:?} should be gone"),
            (Lookup::Miss(_), Some(_)) => panic!("{key:?} is lost"),
        }
    }

    fn evictions(&self) -> u64 {
        self.shards.iter().map(|shard| self.engine.stats(shard.id()).evictions).sum()
    }
}
