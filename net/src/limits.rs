//! Every maximum of the network side, with the relations between them checked at compile time.

use ringcache_engine::limits::{ITEM_BYTES_MAX, KEY_BYTES_MAX};

/// A line without a newline may grow to this many bytes, then the connection is closed; `get ` and `gets ` lines
/// are held to [`KEY_LINE_BYTES_MAX`].
pub const LINE_BYTES_MAX: usize = 2048;
/// Longest `get`/`gets` line: some thousand keys of the largest size.
pub const KEY_LINE_BYTES_MAX: usize = 1 << 20;
/// Most tokens on a meta command's line.
pub const META_TOKENS_MAX: usize = 20;
/// Longest opaque, its letter included.
pub const OPAQUE_BYTES_MAX: usize = 32;
/// One receive buffer of the ring.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
/// A session stops parsing while this many bytes of answers wait to be sent.
pub const OUTPUT_BYTES_HIGH: usize = 256 * 1024;
/// Lookups that travel together: prefetched, then probed, then answered.
pub const LOOKUP_BATCH: usize = 32;
/// Writes of one session that may be on their way to other workers.
pub const SESSION_WRITES_WAITING_MAX: usize = 1024;
/// Bytes of keys and values in one mesh batch before it is sent off early.
pub const MESH_BATCH_BYTES: usize = 64 * 1024;
/// Writes in one mesh batch before it is sent off early.
pub const MESH_BATCH_WRITES: usize = 256;
/// Messages that a mesh queue holds.
pub const MESH_QUEUE_MESSAGES: usize = 64;
/// Smallest `-I`, as memcached's.
pub const ITEM_BYTES_MIN: u32 = 1024;
/// Largest `-m`: what a process can map on every 64-bit Linux with room to spare.
pub const MEMORY_BYTES_MAX: u64 = 64 << 40;
/// Smallest part of `-m` for each worker: some slabs and a little index.
pub const WORKER_MEMORY_BYTES_MIN: u64 = 256 * 1024;
/// More workers than this draw a warning, as in memcached.
pub const WORKERS_ADVISED_MAX: u16 = 64;

const _: () =
    assert!(ITEM_BYTES_MAX as u64 <= MEMORY_BYTES_MAX / 2, "the largest item fits half of the memory");
const _: () = assert!(LINE_BYTES_MAX > 2 * KEY_BYTES_MAX, "a command with a key fits on a line");
const _: () = assert!(LINE_BYTES_MAX < RECEIVE_BUFFER_BYTES, "a whole line fits a receive buffer");
const _: () = assert!(MESH_QUEUE_MESSAGES.is_power_of_two(), "queue positions are masked");
