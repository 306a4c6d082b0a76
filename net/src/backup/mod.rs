//! Backups: the records of a node in a file, taken while it serves, and put back at any number of workers.
//!
//! ```text
//! HEADER | BLOCK 0 | BLOCK 1 | ... | CLOSING BLOCK
//!
//! header    magic 8 "RINGBACK" · format u16 · kind u8 · zero u8 · bytes of the header u32 · identity u64 · base u64 ·
//!           history u64 · Unix milliseconds u64 · first slot u16 · last slot u16 · shards u16 · zero u16 ·
//!           since u64 for each shard · crc u32
//! block     head 40 bytes, payload
//! head      magic 4 "RBLK" · kind u8 (1 records, 2 closing) · codec u8 (0 none, 1 LZ4) · shard u16 · identity u64 ·
//!           number u32 · records u32 · stored bytes u32 · raw bytes u32 · crc of the payload u32 · crc of the head u32
//! closing   records u64 · raw bytes u64 · digest u64 · Unix milliseconds u64 · position u64 for each shard
//! ```
//!
//! Little-endian; every checksum is a CRC32C. A payload is whole records as they stand in memory; a block holds records of
//! one shard of the node it was taken from, and a large record has one for itself. The identity is random, and in every
//! block, so that a block of another file that lies in a value is no block of this one. A file is whole when its closing
//! block is: it has the number of records and an order-independent digest of them.
//!
//! `format` is these bytes, `writer` and `take` make a file, `file` checks one, `restore` puts its records back.

pub mod file;
pub mod format;
pub mod restore;
pub mod take;
pub mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringcache_engine::{RecordError, Version};
use serde_json::Value;

use crate::errand::Stopped;
use crate::identity;

/// What a node knows of its backups.
pub struct Backups {
    /// Names the life of this cache: positions of another one mean nothing here.
    history: AtomicU64,
    is_busy: AtomicBool,
    /// For each shard: where the next incremental backup may begin; 0: nowhere.
    followed: Box<[AtomicU64]>,
    /// What the last one gave, for `status`.
    last: Mutex<Option<Value>>,
}

impl Backups {
    /// Of a node with so many shards that was just started.
    pub fn new(shards: u16) -> Self {
        Self {
            history: AtomicU64::new(identity::random_word()),
            is_busy: AtomicBool::new(false),
            followed: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            last: Mutex::new(None),
        }
    }

    /// Names the life of this cache.
    pub fn history(&self) -> u64 {
        self.history.load(Ordering::Acquire)
    }

    /// The records were replaced by others, as by those of another node: no backup from before can be continued.
    pub fn renew_history(&self) {
        self.history.store(identity::random_word(), Ordering::Release);
    }

    /// What the log of a shard has to keep for the next incremental backup. Whoever else follows the log calls
    /// [`Shard::set_followed`](ringcache_engine::Shard::set_followed) with the lower of this and its own.
    pub fn followed(&self, shard: u16) -> Option<Version> {
        let version = self.followed[usize::from(shard)].load(Ordering::Acquire);
        (version != 0).then_some(Version(version))
    }

    /// The next incremental backup of a shard may begin here.
    fn follow(&self, shard: u16, position: Version) {
        self.followed[usize::from(shard)].store(position.0, Ordering::Release);
    }

    /// The right to take a backup; one at a time.
    fn begin(&self) -> Option<Busy<'_>> {
        (!self.is_busy.swap(true, Ordering::Acquire)).then_some(Busy(self))
    }

    /// What the last backup gave.
    pub fn last(&self) -> Option<Value> {
        self.last.lock().expect("nothing panics while holding it").clone()
    }
}

/// A backup is under way until this is dropped.
struct Busy<'a>(&'a Backups);

impl Busy<'_> {
    fn note(&self, result: &Value) {
        *self.0.last.lock().expect("nothing panics while holding it") = Some(result.clone());
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}

/// Why there is no backup, or nothing was restored from one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file and what is wrong with it.
    #[error("{}: {fault}", path.display())]
    File {
        /// As given.
        path: PathBuf,
        /// What is wrong.
        fault: Fault,
    },
    /// Another one is being taken.
    #[error("a backup is under way already")]
    Busy,
    /// The log does not show everything since the position that was asked for.
    #[error("{0}: take a whole backup")]
    NotInLog(&'static str),
    /// The node stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The operator has gone.
    #[error("broken off: the operator has gone")]
    Gone,
}

impl BackupError {
    fn at(path: &Path) -> impl Fn(Fault) -> Self {
        move |fault| Self::File { path: path.to_owned(), fault }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Some other file.
    #[error("no backup of Ringcache")]
    Foreign,
    /// From a later version.
    #[error("written in format {0}; this version reads up to {max}", max = format::FORMAT)]
    Newer(u16),
    /// Its bytes are not what was written.
    #[error("damaged at byte {offset}: {damage}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// It holds what changed since another backup, which has to be restored first.
    #[error("holds what changed since backup {base:016x}, which has to be restored before it")]
    Base {
        /// Identity of that backup.
        base: u64,
    },
    /// A backup that others can't continue.
    #[error("holds some slots only; what changed since can't be told")]
    Slots,
    /// Taken from another node, or before this one was started.
    #[error("of another history: this cache was started or replaced since")]
    History,
    /// What is there is no backup, and stays.
    #[error("there is a file that is no backup: it is not replaced")]
    InTheWay,
}

/// What is wrong at a place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The header's checksum.
    #[error("the header does not fit its checksum")]
    Header,
    /// The file ends here.
    #[error("the file ends before its closing block")]
    Short,
    /// No block where one has to begin.
    #[error("no block begins here")]
    Head,
    /// A block is missing, or there twice.
    #[error("block {found} where block {expected} has to be")]
    Number {
        /// The one that is there.
        found: u32,
        /// The one before it, plus one.
        expected: u32,
    },
    /// A payload's checksum.
    #[error("the block does not fit its checksum")]
    Payload,
    /// LZ4 can't be undone.
    #[error("the block can't be decompressed")]
    Codec,
    /// A record of a block that fits its checksum.
    #[error("{0}")]
    Record(RecordError),
    /// More or fewer records than a head says.
    #[error("the block holds {found} records and says {said}")]
    Count {
        /// In the payload.
        found: u32,
        /// In the head.
        said: u32,
    },
    /// The sums of the closing block.
    #[error("the records are not those that the closing block sums up")]
    Sums,
    /// Bytes behind the closing block.
    #[error("bytes follow the closing block")]
    Trailing,
}

impl Damage {
    fn at(self, offset: u64) -> Fault {
        Fault::Damaged { offset, damage: self }
    }
}
