//! Counters of a shard: one writer, any reader.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that its shard alone changes.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    #[inline]
    pub(crate) fn add(&self, amount: u64) {
        self.set(self.value().wrapping_add(amount));
    }

    #[inline]
    pub(crate) fn sub(&self, amount: u64) {
        let before = self.value();
        assert!(before >= amount, "a gauge does not go below zero: {before} - {amount}");
        self.set(before - amount);
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! shard_stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one shard, as a snapshot.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ShardStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The same counters while they run.
        #[derive(Default)]
        pub(crate) struct ShardCounters {
            $(pub(crate) $name: Gauge,)*
        }

        impl ShardCounters {
            pub(crate) fn snapshot(&self) -> ShardStats {
                ShardStats { $($name: self.$name.value(),)* }
            }
        }
    };
}

shard_stats! {
    /// Living records; those that are over but not yet swept count too.
    items,
    /// Bytes of these records: header, key, value and padding.
    bytes,
    /// Records ever stored.
    total_items,
    /// Records evicted while alive.
    evictions,
    /// Of these, never fetched.
    evicted_unfetched,
    /// Records removed because their time was over or a flush hid them.
    reclaimed,
    /// Of these, never fetched.
    expired_unfetched,
    /// Stores refused for size.
    too_large,
    /// Stores refused for memory.
    no_memory,
    /// Slabs and runs that hold records.
    slabs_used,
    /// Bytes of committed memory: slabs, runs and index.
    committed_bytes,
    /// Bytes of the index.
    index_bytes,
    /// Buckets of the index.
    index_buckets,
    /// 1 while the index grows.
    index_growing,
    /// Slabs freed by copying their living records forward.
    slabs_cleaned,
    /// Records copied forward by the cleaner and the eviction queues.
    records_moved,
    /// Seconds since the last access of the record that was evicted last.
    evicted_idle_seconds,
    /// Tombstones kept for peers.
    tombstones,
}
