//! Which keys clients have written here: the upstream is not asked for them again.
//!
//! What the upstream has of such a key is older than what a client did here, and would come back once the record here has
//! been deleted, evicted or has expired. So the keys of all writes are remembered, in a filter that never forgets: what
//! it takes for written in vain is a plain miss. A flush is a write of all keys of the node, and ends the warming.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringcache_engine::{KeyHash, Op};

use crate::limits::{WARM_WRITTEN_BYTES_MAX, WARM_WRITTEN_BYTES_MIN, WARM_WRITTEN_SHARE};

/// Of one shard: two bits for each key. Pages that no key has touched take no memory.
pub struct Written {
    words: Box<[u64]>,
    /// All shards of the node have this in common.
    all: Arc<AtomicBool>,
}

impl Written {
    /// For a shard with so much memory for records: up to a bit for each eight bytes, eight for a record of 64.
    pub fn new(memory_bytes: u64, all: Arc<AtomicBool>) -> Self {
        let bytes = (memory_bytes / WARM_WRITTEN_SHARE).clamp(WARM_WRITTEN_BYTES_MIN, WARM_WRITTEN_BYTES_MAX);
        let words = (1 << bytes.ilog2()) / size_of::<u64>();
        Self { words: vec![0; words].into(), all }
    }

    /// Takes note of a write before it is executed, whatever comes of it: a delete that found nothing was meant
    /// for what the upstream has. A touch gives the value another life, and it must not come back with the one it had.
    pub fn note(&mut self, hash: KeyHash, op: &Op<'_>) {
        match op {
            Op::Flush { .. } => self.note_all(),
            Op::Touch { .. } | Op::Store(_) | Op::Delete(_) | Op::Arithmetic(_) | Op::Vivify { .. } => {
                for (word, bit) in self.places(hash) {
                    self.words[word] |= bit;
                }
            }
        }
    }

    /// As after a flush: the shards are written by others than clients.
    pub fn note_all(&self) {
        self.all.store(true, Ordering::SeqCst);
    }

    /// Whether the key was written, or may have been.
    pub fn may_hold(&self, hash: KeyHash) -> bool {
        self.is_all() || self.places(hash).iter().all(|(word, bit)| self.words[*word] & bit != 0)
    }

    /// Nothing will be asked for any more.
    pub fn is_all(&self) -> bool {
        self.all.load(Ordering::SeqCst)
    }

    fn places(&self, hash: KeyHash) -> [(usize, u64); 2] {
        // The upper half of a product depends on all bits of the hash, which the shard and the bucket are parts of.
        [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93].map(|odd: u64| {
            let mixed = hash.0.wrapping_mul(odd);
            ((mixed >> 32) as usize & (self.words.len() - 1), 1 << (mixed >> 26 & 63))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ringcache_engine::{Delete, Expiry, KeyHash, Op, Seconds, Store};

    use super::Written;
    use crate::limits::{WARM_WRITTEN_BYTES_MIN, WARM_WRITTEN_SHARE};

    fn hash(number: u32) -> KeyHash {
        KeyHash::of(format!("key:{number}").as_bytes())
    }

    #[test]
    fn what_was_written_is_never_forgotten_and_little_else_is_taken_for_it() {
        let mut written = Written::new(0, Arc::default());
        let keys = 1..=20_000;
        keys.clone().for_each(|key| written.note(hash(key), &Op::Delete(Delete::default())));
        assert!(keys.clone().all(|key| written.may_hold(hash(key))));
        let others = 20_001..=120_000;
        let mistaken = others.clone().filter(|key| written.may_hold(hash(*key))).count();
        assert!(mistaken * 100 < others.count(), "{mistaken}: 26 bits for each key are one mistake in 180");
    }

    #[test]
    fn every_write_is_noted_and_a_touch_is_one() {
        let mut written = Written::new(1 << 20, Arc::default());
        for (key, expiry) in [(1, Expiry::NEVER), (2, Expiry::PAST)] {
            written.note(hash(key), &Op::Touch { expiry, fetches: false });
            assert!(written.may_hold(hash(key)));
        }
        written.note(hash(3), &Op::Store(Store::set(b"", 0, Expiry::NEVER)));
        assert!(written.may_hold(hash(3)) && !written.may_hold(hash(4)));
        written.note(hash(0), &Op::Flush { at: Some(Seconds(1)) });
        assert!(written.is_all() && written.may_hold(hash(4)));
    }

    #[test]
    fn it_takes_no_more_than_its_share() {
        for mib in 4..200 {
            let memory_bytes = mib << 20;
            let bytes = (Written::new(memory_bytes, Arc::default()).words.len() * size_of::<u64>()) as u64;
            let share = memory_bytes / WARM_WRITTEN_SHARE;
            assert!(bytes <= share && 2 * bytes > share && bytes >= WARM_WRITTEN_BYTES_MIN, "{mib}: {bytes}");
        }
    }
}
