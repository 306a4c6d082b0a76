//! The owner of one part of the data: the write API.

use crate::{Now, Outcome, Reader, ShardId, Write};

/// What a node is opened with.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// `-m` in bytes: everything, index included.
    pub memory_bytes: u64,
    /// Number of shards, one per worker.
    pub shards: u16,
    /// `-I`: the limit that `Status::TooLarge` is about, by memcached's arithmetic (see docs/memory.md).
    pub item_bytes_max: u32,
    /// `false` is `-M`: a full cache refuses writes.
    pub evictions: bool,
    /// `-L`: ask for huge pages.
    pub huge_pages: bool,
    /// Slab size in bytes, a power of two; `None` derives it from the memory per shard.
    pub slab_bytes: Option<u32>,
    /// Distinguishes the versions of two nodes: 0 to 63.
    pub node: u8,
    /// Append tombstones, touches and flushes to the log, for links and incremental backups.
    pub log_changes: bool,
}

/// The node's memory, shared by all workers.
pub struct Engine {}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `-m` is too small for the number of shards and the item limit.
    #[error("{memory_bytes} bytes are too few for {shards} shards: at least {least_bytes} are needed")]
    TooSmall {
        /// What was asked.
        memory_bytes: u64,
        /// How many shards.
        shards: u16,
        /// What would do.
        least_bytes: u64,
    },
    /// The kernel refused the mapping.
    #[error("cannot map {bytes} bytes: {source}")]
    Map {
        /// How much.
        bytes: u64,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

impl Engine {
    /// Maps the memory and makes the shards. `readers_max` readers can be made later.
    pub fn open(_options: &EngineOptions, _readers_max: u16) -> Result<(Engine, Vec<Shard>), OpenError> {
        unreachable!()
    }
    /// A new reader; panics past `readers_max`. Made on any thread, moved to its worker.
    pub fn reader(&self) -> Reader {
        unreachable!()
    }
    /// Counters of one shard; readable from any thread while the owner writes.
    pub fn stats(&self, _shard: ShardId) -> ShardStats {
        unreachable!()
    }
    /// Bytes the node may use, index included (`limit_maxbytes`).
    pub fn memory_limit(&self) -> u64 {
        unreachable!()
    }
    /// `cache_memlimit`: a new limit; growing holds at once, shrinking is done by the shards step by step.
    /// False when it is out of the range that the mapping allows.
    pub fn set_memory_limit(&self, _bytes: u64) -> bool {
        unreachable!()
    }
}

/// Counters of one shard, as a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Living records.
    pub items: u64,
    /// Bytes of living records: header, key and value.
    pub bytes: u64,
    /// Records ever stored.
    pub total_items: u64,
    /// Records evicted while alive.
    pub evictions: u64,
    /// Of these, never fetched.
    pub evicted_unfetched: u64,
    /// Records removed because their time was over.
    pub reclaimed: u64,
    /// Of these, never fetched.
    pub expired_unfetched: u64,
    /// Stores refused for size.
    pub too_large: u64,
    /// Stores refused for memory.
    pub no_memory: u64,
    /// Slabs that hold records.
    pub slabs_used: u64,
    /// Bytes of committed memory: slabs, runs and index.
    pub committed_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
    /// Buckets of the index.
    pub index_buckets: u64,
    /// 1 while the index grows.
    pub index_growing: u64,
    /// Slabs freed by copying their living records forward.
    pub slabs_cleaned: u64,
    /// Records copied forward by the cleaner.
    pub records_moved: u64,
    /// Seconds of the oldest access among evicted records (age at eviction), last seen.
    pub evicted_idle_seconds: u64,
}

/// The single writer of one part of the data.
pub struct Shard {
    _not_sync: std::marker::PhantomData<std::cell::Cell<()>>,
}

impl Shard {
    /// Which one it is.
    pub fn id(&self) -> ShardId {
        unreachable!()
    }
    /// Executes one write.
    pub fn apply(&mut self, _write: &Write<'_>, _now: Now) -> Outcome {
        unreachable!()
    }
    /// Bounded background work: index growth, expiry, cleaning, reclamation. Call once per turn and about once
    /// a second when idle. Returns true when more is waiting, so that the worker should not sleep long.
    pub fn maintain(&mut self, _now: Now) -> bool {
        unreachable!()
    }
    /// Bytes that may still be written in this turn before memory would have to be taken from readers that
    /// have not ended their turn; the worker ends the turn when it nears zero.
    pub fn turn_budget(&self) -> u64 {
        unreachable!()
    }
}
