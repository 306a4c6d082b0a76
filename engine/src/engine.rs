//! A node's memory as a whole: opening it, making its shards and readers, and its limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::hash::ShardId;
use crate::index::{IndexShared, buckets_for, table_bytes};
use crate::limits::{
    ARENA_BYTES_MAX, BUCKETS_MIN, SHARDS_MAX, SLAB_BYTES_MAX, SLAB_BYTES_MEDIUM, SLAB_BYTES_MIN,
    SLABS_PER_SHARD, SLABS_PER_SHARD_MEDIUM,
};
use crate::memory::{Arena, PAGE_BYTES, Words};
use crate::pool::{FreeSpace, Pool};
use crate::reader::Reader;
use crate::shard::Shard;
use crate::stats::{ShardCounters, ShardStats};
use crate::turn::Turns;

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

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            shards: 1,
            item_bytes_max: 1 << 20,
            evictions: true,
            huge_pages: false,
            slab_bytes: None,
            node: 0,
            log_changes: false,
        }
    }
}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No shards, or more than the limit.
    #[error("{0} shards: at least 1 and at most {SHARDS_MAX} are possible")]
    Shards(u16),
    /// `-m` is too small for the number of shards.
    #[error("{memory_bytes} bytes are too few for {shards} shards: at least {least_bytes} are needed")]
    TooSmall {
        /// What was asked.
        memory_bytes: u64,
        /// How many shards.
        shards: u16,
        /// What would do.
        least_bytes: u64,
    },
    /// The slab size is no power of two inside the limits.
    #[error("a slab of {0} bytes: a power of two from {SLAB_BYTES_MIN} to {SLAB_BYTES_MAX} is needed")]
    SlabBytes(u32),
    /// The kernel refused the mapping.
    #[error("cannot map {bytes} bytes: {source}")]
    Map {
        /// How much.
        bytes: u64,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The file system of the memory file can't set room aside or take it back.
    #[error("the memory file can't be used: {0}")]
    File(std::io::Error),
}

/// The parts of a shard that every worker sees.
pub(crate) struct ShardShared {
    pub(crate) index: IndexShared,
    /// Version up to which everything is flushed: the same in all shards, a copy in each for its readers.
    pub(crate) flushed: CachePadded<AtomicU64>,
    /// The latest version that the owner has given or seen, for a flush on another shard.
    pub(crate) latest: CachePadded<AtomicU64>,
    pub(crate) counters: ShardCounters,
}

/// What owners and readers share.
pub(crate) struct Shared {
    pub(crate) arena: Arena,
    pub(crate) pool: Pool,
    pub(crate) turns: Turns,
    /// By slab number: sends that hold the run.
    pub(crate) pins: Words,
    /// By slab number: the id in its owner's book.
    pub(crate) ids: Words,
    pub(crate) shards: Box<[ShardShared]>,
    /// The second at which everything before it will be flushed; 0: none is set.
    pub(crate) flush_at: AtomicU32,
    pub(crate) slab_bytes: u64,
    /// Records above this many bytes get a run of their own.
    pub(crate) run_bytes_min: u64,
    /// Bytes of the budget that only the mover may take: two slabs for each shard, because what one slab holds may
    /// have come to belong to two classes of time to live.
    pub(crate) spare_bytes: u64,
    /// Below this much left in the budget the shards make room.
    pub(crate) low_bytes: u64,
    pub(crate) options: EngineOptions,
}

impl Shared {
    /// [`small_table_bytes`] of the present limit.
    pub(crate) fn small_table_bytes(&self) -> u64 {
        small_table_bytes(self.pool.limit(), self.options.shards)
    }

    /// What a shard may have of the budget while others are short: an even part.
    pub(crate) fn share_bytes(&self) -> u64 {
        self.pool.limit().saturating_sub(self.low_bytes) / u64::from(self.options.shards)
    }
}

/// The node's memory, shared by all workers.
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    readers: AtomicU32,
}

impl Engine {
    /// Maps the memory and makes the shards. `readers_max` readers can be made later.
    pub fn open(options: &EngineOptions, readers_max: u16) -> Result<(Engine, Vec<Shard>), OpenError> {
        let slab_bytes = check(options)?;
        let arena = reserve(options, |bytes| Arena::reserve(bytes, options.huge_pages))?;
        let empty = Contents::nothing(&arena, slab_bytes, options.shards);
        build(options, slab_bytes, readers_max, arena, empty)
    }

    /// A new reader. Made on any thread, moved to its worker.
    ///
    /// # Panics
    /// Past the `readers_max` of [`Engine::open`]: the caller counts its workers.
    pub fn reader(&self) -> Reader {
        let seat = self.readers.fetch_add(1, Ordering::Relaxed) as usize;
        assert!(seat < self.shared.turns.seats(), "more readers than the engine was opened for");
        Reader::new(Arc::clone(&self.shared), seat)
    }

    /// Counters of one shard; readable from any thread while the owner writes.
    pub fn stats(&self, shard: ShardId) -> ShardStats {
        self.shared.shards[usize::from(shard.0)].counters.snapshot()
    }

    /// Bytes the node may use, index included (`limit_maxbytes`).
    pub fn memory_limit(&self) -> u64 {
        self.shared.pool.limit()
    }

    /// Bytes in use by slabs, runs and index tables.
    pub fn memory_used(&self) -> u64 {
        self.shared.pool.used()
    }

    /// Says whether much is about to be installed at once: then memory is fetched from the kernel a slab at a time,
    /// which costs less than page by page and makes the write that opens a slab wait longer.
    pub fn expect_much(&self, on: bool) {
        self.shared.pool.set_populates(on);
    }

    /// Bytes of a slab.
    pub fn slab_bytes(&self) -> u64 {
        self.shared.slab_bytes
    }

    /// `cache_memlimit`: a new limit; growing holds at once, shrinking is done by the shards step by step.
    /// False when it is out of the range that the mapping allows.
    pub fn set_memory_limit(&self, bytes: u64) -> bool {
        let Shared { arena, pool, .. } = &*self.shared;
        bytes <= arena.bytes() && pool.set_limit(arena, bytes)
    }
}

/// The slab size: given, or such that every shard has some hundred slabs.
fn slab_bytes(options: &EngineOptions) -> Result<u64, OpenError> {
    if let Some(bytes) = options.slab_bytes {
        let is_fit = bytes.is_power_of_two() && (SLAB_BYTES_MIN..=SLAB_BYTES_MAX).contains(&bytes);
        return is_fit.then_some(u64::from(bytes)).ok_or(OpenError::SlabBytes(bytes));
    }
    let per_shard = options.memory_bytes / u64::from(options.shards);
    let few = (per_shard / SLABS_PER_SHARD).min(u64::from(SLAB_BYTES_MEDIUM));
    let power = 1u64 << few.max(per_shard / SLABS_PER_SHARD_MEDIUM).max(1).ilog2();
    Ok(power.clamp(u64::from(SLAB_BYTES_MIN), u64::from(SLAB_BYTES_MAX)))
}

/// The slab size of options that can be opened.
pub(crate) fn check(options: &EngineOptions) -> Result<u64, OpenError> {
    if options.shards == 0 || options.shards > SHARDS_MAX {
        return Err(OpenError::Shards(options.shards));
    }
    let slab_bytes = slab_bytes(options)?;
    let shards = u64::from(options.shards);
    let least_bytes = shards * (16 * slab_bytes + table_bytes(BUCKETS_MIN));
    if options.memory_bytes < least_bytes {
        let (memory_bytes, shards) = (options.memory_bytes, options.shards);
        return Err(OpenError::TooSmall { memory_bytes, shards, least_bytes });
    }
    Ok(slab_bytes)
}

/// What a mapping holds when an engine is built on it.
pub(crate) struct Contents {
    /// What no shard has.
    pub(crate) free: FreeSpace,
    /// Bytes of slabs and runs that shards will have.
    pub(crate) slab_bytes_used: u64,
    /// Keys that each shard will have.
    pub(crate) keys: Vec<u64>,
}

impl Contents {
    /// Of an arena in which nothing was written.
    pub(crate) fn nothing(arena: &Arena, slab_bytes: u64, shards: u16) -> Self {
        let slabs = slabs(arena, slab_bytes);
        Self { free: FreeSpace::of(slabs), slab_bytes_used: 0, keys: vec![0; usize::from(shards)] }
    }
}

/// Slabs of a mapping.
pub(crate) fn slabs(arena: &Arena, slab_bytes: u64) -> u32 {
    u32::try_from(arena.bytes() / slab_bytes).expect("slab numbers fit 32 bits")
}

/// Puts an engine on a mapping. The shards' books are empty: who adopts fills them.
pub(crate) fn build(
    options: &EngineOptions,
    slab_bytes: u64,
    readers: u16,
    arena: Arena,
    contents: Contents,
) -> Result<(Engine, Vec<Shard>), OpenError> {
    let slabs = slabs(&arena, slab_bytes) as usize;
    let words = || Words::zeroed(slabs).map_err(|source| OpenError::Map { bytes: slabs as u64 * 4, source });
    let small_bytes = small_table_bytes(options.memory_bytes, options.shards);
    let mut tables_bytes = 0;
    let mut shard = |keys: &u64| {
        let buckets = buckets_for(*keys, small_bytes);
        let bytes = table_bytes(buckets);
        tables_bytes += bytes;
        let index = IndexShared::new(buckets).map_err(|source| OpenError::Map { bytes, source })?;
        Ok(ShardShared {
            index,
            flushed: CachePadded::new(AtomicU64::new(0)),
            latest: CachePadded::new(AtomicU64::new(0)),
            counters: ShardCounters::default(),
        })
    };
    let shards = contents.keys.iter().map(&mut shard).collect::<Result<Box<[ShardShared]>, OpenError>>()?;
    let used = contents.slab_bytes_used + tables_bytes;
    let least_bytes = u64::from(options.shards) * 16 * slab_bytes;
    let spare_bytes = u64::from(options.shards) * 2 * slab_bytes;
    let shared = Arc::new(Shared {
        pool: Pool::new(slab_bytes, options.memory_bytes, least_bytes, contents.free, used),
        turns: Turns::new(usize::from(readers)),
        pins: words()?,
        ids: words()?,
        shards,
        flush_at: AtomicU32::new(0),
        slab_bytes,
        run_bytes_min: (slab_bytes * PAGE_BYTES).isqrt(),
        spare_bytes,
        low_bytes: 2 * spare_bytes,
        arena,
        options: options.clone(),
    });
    let made = (0..options.shards).map(|id| Shard::new(Arc::clone(&shared), ShardId(id))).collect();
    Ok((Engine { shared, readers: AtomicU32::new(0) }, made))
}

/// Maps address space by `map`: forty times the memory, less where the system grants less.
pub(crate) fn reserve(
    options: &EngineOptions,
    map: impl Fn(u64) -> std::io::Result<Arena>,
) -> Result<Arena, OpenError> {
    let mut factor = 40;
    loop {
        let wanted = options.memory_bytes.saturating_mul(factor) + 2 * u64::from(options.item_bytes_max);
        let bytes = wanted.next_multiple_of(u64::from(SLAB_BYTES_MAX)).min(ARENA_BYTES_MAX);
        match map(bytes) {
            Ok(arena) => return Ok(arena),
            Err(source) if factor <= 2 => return Err(OpenError::Map { bytes, source }),
            Err(_) => factor /= 2,
        }
    }
}

/// Up to this size an index table doubles: a part of a shard's memory too small to matter.
fn small_table_bytes(memory_bytes: u64, shards: u16) -> u64 {
    memory_bytes / u64::from(shards) / 128
}
