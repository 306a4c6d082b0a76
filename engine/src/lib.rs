//! What a Ringcache node remembers.
//!
//! No socket, no thread, no clock and no protocol word in here: every call takes `now` and bytes and returns
//! values. A [`Shard`] is the single writer of its part of the data; a [`Reader`] reads every shard without a
//! lock. `docs/ARCHITECTURE.md` draws the whole; `docs/memory.md` draws the bytes.

pub mod hash;
pub mod limits;
pub mod time;
pub mod turn;
pub mod version;
pub mod write;

mod copy;
mod digest;
mod engine;
mod expiry;
mod export;
mod index;
#[cfg(test)]
mod index_tests;
mod install;
mod log;
mod memory;
mod pool;
mod reader;
mod record;
mod shard;
mod slab;
mod stats;
mod sync;
mod warm;

pub use copy::{CopyMark, Part, SweepCursor};
pub use digest::{Cut, RecordDigest, SlotDigest, SlotDigests, SlotSet};
pub use engine::{Engine, EngineOptions, OpenError};
pub use export::SlotCursor;
pub use hash::{KeyHash, ShardId, Slot};
pub use install::Installed;
pub use log::{LargeRecord, LogCursor, Step};
pub use reader::{Approach, Asleep, Candidate, Lookup, Miss, Parts, PinnedValue, Reader, RecordRef, Token};
pub use record::{Kind, RecordError, RecordHead, record_bytes};
pub use shard::{Evicted, ScrubCursor, Scrubbed, Shard};
pub use stats::ShardStats;
pub use time::{Expiry, Now, Seconds};
pub use version::Version;
pub use warm::{Adopted, Beginning, KeepError, MemoryFile, Refusal};
pub use write::{Arithmetic, Delete, Op, Outcome, Status, Store, StoreMode, Write, WriteRefusal};
