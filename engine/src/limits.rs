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
