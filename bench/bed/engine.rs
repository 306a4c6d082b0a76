//! An engine with one shard whose keys are all stored.

use std::hint::black_box;

use ringcache_engine::{Delete, Engine, Expiry, KeyHash, Lookup, Now, Op, Reader, Shard, Store, Write};

use crate::{BATCH, NOW_MILLIS, VALUE, key, open};

/// One shard, its reader, and a sequence of keys to ask for.
pub struct FilledEngine {
    _engine: Engine,
    shard: Shard,
    reader: Reader,
    now: Now,
    keys: u64,
    /// State of the sequence of keys.
    random: u64,
    /// The number of a key that was never stored.
    fresh: u64,
}

impl FilledEngine {
    /// Holds `keys` records in `memory_bytes`, or as many as fit.
    pub fn new(memory_bytes: u64, keys: u64) -> FilledEngine {
        let (engine, shard) = open(memory_bytes);
        let reader = engine.reader();
        let now = Now::from_unix_millis(NOW_MILLIS);
        let mut filled = FilledEngine { _engine: engine, shard, reader, now, keys, random: 0, fresh: keys };
        (0..keys).for_each(|number| filled.set(&key(number)));
        filled.end_turn();
        filled
    }

    /// Stores a value under `key`. Ends the turn where a server would.
    pub fn set(&mut self, key: &[u8]) {
        self.write(key, Op::Store(Store::set(&VALUE, 0, Expiry::NEVER)));
    }

    /// Stores an empty value under `key`.
    pub fn set_empty(&mut self, key: &[u8]) {
        self.write(key, Op::Store(Store::set(&[], 0, Expiry::NEVER)));
    }

    /// Deletes `key`.
    pub fn delete(&mut self, key: &[u8]) {
        self.write(key, Op::Delete(Delete::default()));
    }

    fn write(&mut self, key: &[u8], op: Op<'_>) {
        black_box(self.shard.apply(&Write { hash: KeyHash::of(key), key, op }, self.now));
        if self.shard.turn_budget() < TURN_BUDGET_MIN {
            self.end_turn();
        }
    }

    /// Reads one byte of the value of `key`; whether it was there.
    #[inline]
    pub fn get(&self, key: &[u8]) -> bool {
        looked_at(&self.reader.get(KeyHash::of(key), key, self.now))
    }

    /// Looks for the records of a batch in the index, and at none of them.
    pub fn probe(&self, keys: &[[u8; 14]; BATCH]) {
        for key in keys {
            let hash = KeyHash::of(key);
            black_box(self.reader.candidate(self.reader.approach(hash), hash));
        }
    }

    /// As [`FilledEngine::get`] for a batch: all keys are prefetched before the first is looked at. How many were there.
    pub fn get_batch(&self, keys: &[[u8; 14]; BATCH]) -> usize {
        let hashes = keys.map(|key| KeyHash::of(&key));
        let approaches = hashes.map(|hash| (self.reader.approach(hash), hash));
        let candidates = approaches.map(|(approach, hash)| self.reader.candidate(approach, hash));
        candidates.iter().for_each(|candidate| self.reader.expect(*candidate));
        let found = candidates.into_iter().zip(hashes).zip(keys);
        found
            .filter(|((candidate, hash), key)| {
                looked_at(&self.reader.resolve(*candidate, *hash, key.as_slice(), self.now))
            })
            .count()
    }

    /// Lets the memory of dead records be used again.
    pub fn end_turn(&mut self) {
        self.reader.end_turn();
        self.shard.maintain(self.now);
    }

    /// The next keys of a fixed pseudo-random sequence over all stored keys.
    pub fn stored_keys(&mut self) -> [[u8; 14]; BATCH] {
        std::array::from_fn(|_| {
            self.random =
                self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            key((self.random >> 33) % self.keys)
        })
    }

    /// Keys that were never stored; every call gives others.
    pub fn fresh_keys(&mut self) -> [[u8; 14]; BATCH] {
        std::array::from_fn(|_| {
            self.fresh += 1;
            key(self.fresh)
        })
    }
}

#[inline]
fn looked_at(lookup: &Lookup<'_>) -> bool {
    match lookup {
        Lookup::Hit(record) => {
            black_box(record.value()[VALUE.len() / 2]);
            true
        }
        Lookup::Miss(_) => false,
    }
}

/// Below this many bytes that a turn may still write, a new one begins.
const TURN_BUDGET_MIN: u64 = 1 << 16;
