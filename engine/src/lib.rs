//! What a Ringcache node remembers.
//!
//! No socket, no thread, no clock and no protocol word in here: every call takes `now` and bytes and returns
//! values. A [`Shard`] is the single writer of its part of the data; a [`Reader`] reads every shard without a
//! lock. `docs/ARCHITECTURE.md` draws the whole; `docs/memory.md` draws the bytes.

pub mod hash;
pub mod limits;
pub mod time;
pub mod write;

mod reader;
mod shard;

pub use hash::{KeyHash, ShardId, Slot};
pub use reader::{Candidate, Lookup, Miss, PinnedValue, Reader, RecordRef, Token};
pub use shard::{Engine, EngineOptions, OpenError, Shard, ShardStats};
pub use time::{Expiry, Now, Seconds};
pub use write::{Arithmetic, Delete, Op, Outcome, Status, Store, StoreMode, Write};
