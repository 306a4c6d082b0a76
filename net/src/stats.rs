//! Counters and what `stats` prints of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// A counter with one writer: the bump is a load and a store, not a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`; only the owning worker may call it.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes `amount` away; only the owning worker may call it.
    #[inline]
    pub fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// The value; any thread.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one worker, named as memcached names them.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "the names are memcached's stats names; docs/protocol.md explains them")]
pub struct Counters {
    pub curr_connections: Counter,
    pub total_connections: Counter,
    pub rejected_connections: Counter,
    pub cmd_get: Counter,
    pub cmd_set: Counter,
    pub cmd_flush: Counter,
    pub cmd_touch: Counter,
    pub cmd_meta: Counter,
    pub get_hits: Counter,
    pub get_misses: Counter,
    pub get_expired: Counter,
    pub get_flushed: Counter,
    pub delete_hits: Counter,
    pub delete_misses: Counter,
    pub incr_hits: Counter,
    pub incr_misses: Counter,
    pub decr_hits: Counter,
    pub decr_misses: Counter,
    pub cas_hits: Counter,
    pub cas_misses: Counter,
    pub cas_badval: Counter,
    pub touch_hits: Counter,
    pub touch_misses: Counter,
    pub store_too_large: Counter,
    pub store_no_memory: Counter,
    pub bytes_read: Counter,
    pub bytes_written: Counter,
    pub conn_yields: Counter,
    pub idle_kicks: Counter,
    pub listen_disabled: Counter,
    /// Turns of the loop, and how many of them slept.
    pub turns: Counter,
    pub sleeps: Counter,
    /// Writes handed to other workers and batches they went in.
    pub mesh_writes: Counter,
    pub mesh_batches: Counter,
}

/// A worker's counters on cache lines of their own.
pub type WorkerStats = CachePadded<Counters>;
