//! Warm restart: a node's memory in a file, the books that it leaves when it ends, and the next node that adopts both.
//!
//! ```text
//! file    label | slab 1 | slab 2 | ...                  mapped, written as records come
//! books   what each slab is, which records are alive     written once, after the last write
//! ```
//!
//! Books are about one state of one file: the label's identity is in both, every start gives the file another, and a
//! checksum of each slab is in the books. Adoption reads all records, checks them and builds the index anew, so what
//! it serves is what was left or nothing. docs/decisions/0010-warm-restart.md has the reasons.

mod adopt;
mod books;

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use crate::engine::{Contents, Engine, EngineOptions, OpenError, build, check, reserve};
use crate::limits::{ARENA_BYTES_MAX, SLAB_BYTES_MAX};
use crate::memory::Arena;
use crate::record::RecordError;
use crate::shard::Shard;
use crate::time::Now;

use adopt::adopt;
pub(crate) use books::{Books, Form, ShardBook, SlabBook};
use books::{identity_of, label};

/// A file for the memory of a node, which nobody else uses.
#[derive(Debug)]
pub struct MemoryFile {
    /// Open for reading and writing.
    pub file: OwnedFd,
    /// What it is called from now on: random, another one at each start.
    pub identity: [u8; 16],
}

/// How a node that keeps its memory in a file begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// Without records: there were no books.
    Empty,
    /// Without records: what was left can't be used.
    Refused(Refusal),
    /// With what was left.
    Adopted(Adopted),
}

/// What was adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Records that are there now.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that were left, and whose time was over since.
    pub expired: u64,
    /// Records that were left, and for which no room was found: only where `-t` or `-m` has changed.
    pub lost: u64,
}

/// Why what an earlier node left is not adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The books are no books.
    #[error("its books are of no format of ringcached")]
    Foreign,
    /// Books of another version.
    #[error("its books have format {format}.{record_format}, which this version does not read")]
    Format {
        /// Of the books.
        format: u32,
        /// Of the records.
        record_format: u32,
    },
    /// The books are cut short or damaged.
    #[error("its books are cut short or damaged")]
    Torn,
    /// The books are about another file, or about this one at another time.
    #[error("its books are about another memory file")]
    Identity,
    /// Two numbers in the books can't both be true.
    #[error("its books contradict themselves: {0}")]
    Contradiction(&'static str),
    /// The system does not map as much as it takes.
    #[error("its {0} bytes can't be mapped")]
    Mapping(u64),
    /// The file is not what it was when the books were written.
    #[error("slab {slab} is not what it was when the server stopped")]
    Slab {
        /// Number of the slab.
        slab: u32,
    },
    /// A record in a slab that is as it was left makes no sense.
    #[error("a record in slab {slab}: {reason}")]
    Record {
        /// Number of the slab.
        slab: u32,
        /// What is wrong.
        reason: RecordError,
    },
}

/// Why books can't be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The memory of this node is in no file.
    #[error("the memory of this node is in no file")]
    NoFile,
    /// A reader has not ended, so that words may change after they were checked.
    #[error("a reader has not ended")]
    Read,
    /// The file could not be written.
    #[error("the memory file can't be written: {0}")]
    Io(#[from] io::Error),
}

impl Engine {
    /// As [`Engine::open`], with the memory in a file. `books` is what [`Engine::keep`] returned when the file was last
    /// used; whoever read them makes sure first that no later start finds them again. One thread per shard reads
    /// all records; they have ended when this returns.
    pub fn open_in_file(
        options: &EngineOptions,
        readers_max: u16,
        memory: MemoryFile,
        books: Option<&[u8]>,
        now: Now,
    ) -> Result<(Engine, Vec<Shard>, Beginning), OpenError> {
        let slab_bytes = check(options)?;
        let beginning = match books.map(Books::decode) {
            None => Beginning::Empty,
            Some(Err(refusal)) => Beginning::Refused(refusal),
            Some(Ok(books)) => match adopt(options, slab_bytes, readers_max, &memory, &books, now) {
                Ok((engine, shards, adopted)) => return Ok((engine, shards, Beginning::Adopted(adopted))),
                Err(refusal) => Beginning::Refused(refusal),
            },
        };
        let mut arena = map(options, &memory, |bytes| bytes, true)?;
        arena.set_label(&label(memory.identity)).map_err(OpenError::File)?;
        let empty = Contents::nothing(&arena, slab_bytes, options.shards);
        let (engine, shards) = build(options, slab_bytes, readers_max, arena, empty)?;
        Ok((engine, shards, beginning))
    }

    /// Ends the shards of a node whose memory is in a file, and returns the books that the next node needs. All
    /// readers must have been dropped. One thread per shard reads all records; then waits for the file system.
    pub fn keep(&self, shards: Vec<Shard>, now: Now) -> Result<Vec<u8>, KeepError> {
        let shared = &*self.shared;
        if !shared.arena.is_file() {
            return Err(KeepError::NoFile);
        }
        if !shared.turns.passed(shared.turns.retire()) {
            return Err(KeepError::Read);
        }
        let keep = |mut shard: Shard| shard.keep(now);
        let shards = thread::scope(|scope| {
            let threads: Vec<_> = shards.into_iter().map(|shard| scope.spawn(move || keep(shard))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a panic ends the process")).collect()
        });
        shared.arena.flush()?;
        let books = Books {
            identity: identity_of(&shared.arena.label()),
            arena_bytes: shared.arena.bytes(),
            slab_bytes: shared.slab_bytes,
            free: shared.pool.free_space(&shared.arena),
            shards,
        };
        Ok(books.encode())
    }
}

impl Adopted {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            expired: self.expired + other.expired,
            lost: self.lost + other.lost,
        }
    }
}

/// Maps the file: of what the options ask for, as much as `size` makes of it.
fn map(
    options: &EngineOptions,
    memory: &MemoryFile,
    size: impl Fn(u64) -> u64,
    empty: bool,
) -> Result<Arena, OpenError> {
    reserve(options, |bytes| {
        let bytes = size(bytes).next_multiple_of(u64::from(SLAB_BYTES_MAX)).min(ARENA_BYTES_MAX);
        Arena::of_file(memory.file.try_clone()?, bytes, empty, options.huge_pages)
    })
}
