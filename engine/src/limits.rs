//! Every maximum of the engine, with the relations between them checked at compile time.

/// Longest key in bytes, as memcached's.
pub const KEY_BYTES_MAX: usize = 250;
/// log2 of the number of slots.
pub const SLOT_BITS: u32 = 14;
/// Number of slots: the routing units of the key space.
pub const SLOTS: usize = 1 << SLOT_BITS;
/// Largest `-I`.
pub const ITEM_BYTES_MAX: u32 = 1 << 30;
/// Most shards (and so workers) of one node.
pub const SHARDS_MAX: u16 = 256;
/// Longest decimal text of a counter: 2^64 - 1.
pub const COUNTER_DIGITS_MAX: usize = 20;

const _: () = assert!(KEY_BYTES_MAX <= u8::MAX as usize, "a record keeps the key length in one byte");
const _: () = assert!(SLOT_BITS <= 16, "Slot is a u16");
/// Smallest index table, in buckets.
pub const BUCKETS_MIN: u64 = 64;
/// Keys per bucket at which the index grows: 6 of 7 places.
pub const LOAD_PER_BUCKET: u64 = 6;
/// Lines that a key may be in, from its home on: what a lookup reads at most.
pub const PROBE_LINES: u64 = 8;
/// Lines that an insertion looks through for a free place.
pub const SEARCH_LINES: u64 = 512;
/// Home buckets of the older table for which a growing index takes memory at a time, and gives the older table's back:
/// whole pages of lines.
pub const GROWTH_STRIDE: u64 = 1024;
/// Tables that one index can grow through: doubling from the smallest, then by eighths, to more than memory holds.
pub const TABLES_MAX: usize = 128;
/// Smallest slab.
pub const SLAB_BYTES_MIN: u32 = 4 * 1024;
/// Largest slab.
pub const SLAB_BYTES_MAX: u32 = 1024 * 1024;
/// Slabs that a shard should have at least, while they can still shrink.
pub const SLABS_PER_SHARD: u64 = 256;
/// And how many once they are of the medium size: what a shard holds back from records is counted in slabs.
pub const SLABS_PER_SHARD_MEDIUM: u64 = 2048;
/// Size up to which slabs grow before they grow in number: in smaller ones, the ends that the next record does not
/// fit into are a larger share.
pub const SLAB_BYTES_MEDIUM: u32 = 128 * 1024;
/// Largest mapping: what the 40 bits of a location reach in steps of 4 bytes.
pub const ARENA_BYTES_MAX: u64 = 4 << 40;
/// How far ahead of this node's clock a received version may be, in milliseconds; a later one would make every
/// write that follows carry its time.
pub const VERSION_AHEAD_MILLIS_MAX: u64 = 24 * 3600 * 1000;
/// How long a tombstone is kept when nobody says that all peers have passed it, in seconds.
pub const TOMBSTONE_SECONDS: u32 = 3600;
/// Percent of a shard's part of the memory that dead slabs take at most while followers have not read them.
pub const LOG_HOLD_PERCENT: u64 = 10;
/// Bytes of slabs that one step of a log cursor looks through at least, however little it finds.
pub const SCAN_BYTES_MIN: u64 = 1 << 20;
/// Seconds that a record must have had left before a touch for the touch to travel alone: whoever gets it later than that
/// has let the record go. Else the record travels.
pub const TOUCH_ALONE_SECONDS: u32 = 60;
/// Records that one step of a digest looks at.
pub const DIGEST_RECORDS: usize = 2048;
/// And bytes of them, of which it makes checksums; one record may be larger.
pub const DIGEST_BYTES: usize = 256 * 1024;
/// Keys that one step of a sweep takes out at most.
pub const SWEEP_KEYS: usize = 256;
/// Evicted records that a shard remembers until they are taken.
pub const EVICTED_MAX: usize = 1024;

const _: () = assert!(SLAB_BYTES_MIN.is_power_of_two() && SLAB_BYTES_MAX.is_power_of_two());
/// What memcached adds to key and value when it measures an item against `-I`: header 48, CAS 8, the key's zero and
/// the value's line end.
pub const ITEM_FIXED_BYTES: u64 = 48 + 8 + 1 + 2;
/// And what non-zero client flags add.
pub const ITEM_FLAGS_BYTES: u64 = 4;
