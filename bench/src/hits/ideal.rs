//! Caches on paper: every byte holds a record, nothing is rounded, nothing is dead. Lines to measure the real ones by.

use std::collections::{HashMap, HashSet, VecDeque};

/// What a replay does to an ideal cache. Times are seconds.
pub trait Ideal {
    /// Whether the key is there and not over.
    fn get(&mut self, key: u32, now: u32) -> bool;
    /// Stores a key whose record takes `bytes` and ends at `end`.
    fn set(&mut self, key: u32, bytes: u64, end: u32);
    /// Takes a key out.
    fn delete(&mut self, key: u32);
    /// Keys there.
    fn records(&self) -> u64;
}

#[derive(Clone, Copy)]
struct Kept {
    bytes: u64,
    end: u32,
    /// Its place in the queue; older places of the same key are stale.
    ticket: u64,
    frequency: u8,
    is_main: bool,
}

/// Evicts what was not used for longest.
pub struct Lru {
    bytes_max: u64,
    bytes: u64,
    kept: HashMap<u32, Kept>,
    queue: VecDeque<(u32, u64)>,
    tickets: u64,
}

impl Lru {
    /// An empty cache of so many bytes.
    pub fn new(bytes_max: u64) -> Lru {
        Lru { bytes_max, bytes: 0, kept: HashMap::new(), queue: VecDeque::new(), tickets: 0 }
    }
}

impl Ideal for Lru {
    fn get(&mut self, key: u32, now: u32) -> bool {
        let Some(kept) = self.kept.get_mut(&key).filter(|kept| kept.end > now) else { return false };
        self.tickets += 1;
        kept.ticket = self.tickets;
        self.queue.push_back((key, self.tickets));
        true
    }

    fn set(&mut self, key: u32, bytes: u64, end: u32) {
        self.delete(key);
        self.tickets += 1;
        self.kept.insert(key, Kept { bytes, end, ticket: self.tickets, frequency: 0, is_main: false });
        self.queue.push_back((key, self.tickets));
        self.bytes += bytes;
        while self.bytes > self.bytes_max {
            let (oldest, ticket) = self.queue.pop_front().expect("bytes are of keys in the queue");
            if self.kept.get(&oldest).is_some_and(|kept| kept.ticket == ticket) {
                self.delete(oldest);
            }
        }
    }

    fn delete(&mut self, key: u32) {
        if let Some(kept) = self.kept.remove(&key) {
            self.bytes -= kept.bytes;
        }
    }

    fn records(&self) -> u64 {
        self.kept.len() as u64
    }
}

/// S3-FIFO (Yang et al., SOSP'23) by bytes: a tenth for the small queue, as many ghosts as the main queue has keys.
pub struct S3Fifo {
    bytes_max: u64,
    bytes: [u64; 2],
    kept: HashMap<u32, Kept>,
    queues: [VecDeque<(u32, u64)>; 2],
    ghosts: HashSet<u32>,
    ghost_order: VecDeque<u32>,
    tickets: u64,
}

impl S3Fifo {
    /// An empty cache of so many bytes.
    pub fn new(bytes_max: u64) -> S3Fifo {
        S3Fifo {
            bytes_max,
            bytes: [0; 2],
            kept: HashMap::new(),
            queues: [VecDeque::new(), VecDeque::new()],
            ghosts: HashSet::new(),
            ghost_order: VecDeque::new(),
            tickets: 0,
        }
    }

    fn enqueue(&mut self, key: u32, kept: Kept) {
        self.tickets += 1;
        self.bytes[usize::from(kept.is_main)] += kept.bytes;
        self.queues[usize::from(kept.is_main)].push_back((key, self.tickets));
        self.kept.insert(key, Kept { ticket: self.tickets, ..kept });
    }

    fn remember(&mut self, key: u32) {
        if self.ghosts.insert(key) {
            self.ghost_order.push_back(key);
        }
        while self.ghost_order.len() > self.kept.len() {
            let oldest = self.ghost_order.pop_front().expect("it is longer than something");
            self.ghosts.remove(&oldest);
        }
    }

    fn evict_one(&mut self) {
        let is_main = self.bytes[0] * 10 <= self.bytes_max;
        let Some((key, ticket)) = self.queues[usize::from(is_main)].pop_front() else {
            let (key, _) = self.queues[usize::from(!is_main)].pop_front().expect("bytes are of queued keys");
            return self.delete(key);
        };
        let Some(kept) = self.kept.get(&key).copied().filter(|kept| kept.ticket == ticket) else { return };
        self.delete(key);
        match (is_main, kept.frequency) {
            (false, 0) => self.remember(key),
            (false, _) => self.enqueue(key, Kept { is_main: true, frequency: 0, ..kept }),
            (true, 0) => {}
            (true, frequency) => self.enqueue(key, Kept { frequency: frequency - 1, ..kept }),
        }
    }
}

impl Ideal for S3Fifo {
    fn get(&mut self, key: u32, now: u32) -> bool {
        let Some(kept) = self.kept.get_mut(&key).filter(|kept| kept.end > now) else { return false };
        kept.frequency = (kept.frequency + 1).min(3);
        true
    }

    fn set(&mut self, key: u32, bytes: u64, end: u32) {
        let is_main = self.kept.get(&key).is_some_and(|kept| kept.is_main) || self.ghosts.contains(&key);
        self.delete(key);
        self.enqueue(key, Kept { bytes, end, ticket: 0, frequency: 0, is_main });
        while self.bytes[0] + self.bytes[1] > self.bytes_max {
            self.evict_one();
        }
    }

    fn delete(&mut self, key: u32) {
        if let Some(kept) = self.kept.remove(&key) {
            self.bytes[usize::from(kept.is_main)] -= kept.bytes;
        }
    }

    fn records(&self) -> u64 {
        self.kept.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: u32 = u32::MAX;

    #[test]
    fn lru_keeps_what_was_used_last() {
        let mut cache = Lru::new(20);
        cache.set(1, 10, NEVER);
        cache.set(2, 10, NEVER);
        assert!(cache.get(1, 0));
        cache.set(3, 10, NEVER);
        assert!(cache.get(1, 0) && !cache.get(2, 0) && cache.get(3, 0));
    }

    /// A scan of keys that never come again must not drive out those that were asked for twice.
    #[test]
    fn s3_fifo_survives_a_scan_and_lru_does_not() {
        let survivors = |cache: &mut dyn Ideal| {
            (0..50).for_each(|key| cache.set(key, 1, NEVER));
            (0..50).for_each(|key| assert!(cache.get(key, 0)));
            (1000..2000).for_each(|key| cache.set(key, 1, NEVER));
            (0..50).filter(|key| cache.get(*key, 0)).count()
        };
        assert_eq!(survivors(&mut S3Fifo::new(100)), 50);
        assert_eq!(survivors(&mut Lru::new(100)), 0);
    }

    #[test]
    fn both_keep_to_their_bytes_and_to_the_time() {
        let caches: [&mut dyn Ideal; 2] = [&mut Lru::new(100), &mut S3Fifo::new(100)];
        for cache in caches {
            (0..100).for_each(|key| cache.set(key, 7, 50));
            assert_eq!(cache.records(), 14);
            assert!(cache.get(99, 49) && !cache.get(99, 50));
            cache.delete(99);
            assert!(!cache.get(99, 0));
        }
    }
}
