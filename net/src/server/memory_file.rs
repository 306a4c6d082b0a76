//! The memory file of `-e` and its books: who may have them, and how both get from one process to the next.
//!
//! ```text
//! FILE           the records, mapped; locked while a process has it
//! FILE.meta      the books, there only between a graceful stop and the next start
//! FILE.meta.new  books that are being written
//! ```
//!
//! A start reads the books, removes them and makes sure that they stay removed before the first record is touched. So
//! whatever ends this process later, the next one finds no books and begins empty, except after a graceful stop.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ringcache_engine::{Beginning, Engine, EngineOptions, MemoryFile, Now, Shard};

use super::ServeError;
use crate::identity::random_word;
use crate::limits::BOOKS_BYTES_MIN;
use crate::node::Node;
use crate::sys;

/// Access bits of both files: their bytes are clients' data, and whoever can write them writes this process's memory.
const MODE: u32 = 0o600;
/// Size of the blocks that `st_blocks` counts.
const STAT_BLOCK_BYTES: u64 = 512;

/// Why a file can't hold the memory.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A directory, a device, a pipe.
    #[error("no regular file")]
    Kind,
    /// Another process has it.
    #[error("another process uses it")]
    Locked,
    /// The file system is too full.
    #[error("{free} bytes are free there, and -m asks for {needed}")]
    Full {
        /// What could be written, the room that the file has already included.
        free: u64,
        /// `-m`.
        needed: u64,
    },
    /// The system refused something.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Has the memory file for as long as the process runs.
pub(super) struct Keeper {
    books: PathBuf,
    /// Holds the lock.
    file: File,
}

impl Drop for Keeper {
    /// Lets the next process have the file, before this one has given back all of its memory. The workers have ended.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the memory file stays locked until the process has ended");
        }
    }
}

/// A memory file that no other process has, in which nothing was touched yet.
pub(super) struct Claim {
    /// As given.
    path: PathBuf,
    books: PathBuf,
    file: File,
}

impl Claim {
    /// Takes possession of the file at `path`.
    ///
    /// Errors: no such place, no regular file, another process, less room than `needed` bytes.
    pub(super) fn of(path: &Path, needed: u64) -> Result<Self, ServeError> {
        let claim = || -> Result<Self, FileError> {
            // A daemon changes its directory before it writes the books.
            let absolute = std::path::absolute(path)?;
            let file = open_locked(&absolute, needed)?;
            Ok(Self { path: path.to_owned(), books: with_suffix(&absolute, ".meta"), file })
        };
        claim().map_err(|source| ServeError::MemoryFile { path: path.display().to_string(), source })
    }

    /// Opens an engine on the file, with what an earlier process left in it if that can be used. From here on nobody
    /// else can use that.
    pub(super) fn open(
        self,
        options: &EngineOptions,
        workers: u16,
    ) -> Result<(Engine, Vec<Shard>, Keeper), ServeError> {
        let Self { path, books, file } = self;
        let take = || -> Result<_, FileError> {
            let left = take_books(&books, &file)?;
            Ok((left, MemoryFile { file: file.try_clone()?.into(), identity: random_identity() }))
        };
        let failed = |source| ServeError::MemoryFile { path: path.display().to_string(), source };
        let (left, memory) = take().map_err(failed)?;
        let now = Now::from_unix_millis(sys::unix_millis());
        let (engine, shards, beginning) =
            Engine::open_in_file(options, workers, memory, left.as_deref(), now)?;
        report(&path, beginning);
        Ok((engine, shards, Keeper { books, file }))
    }
}

impl Keeper {
    /// Leaves everything for the next start. A failure is logged, and the next start begins empty.
    pub(super) fn keep(&self, node: &Node, shards: Vec<Shard>) {
        let now = Now::from_unix_millis(node.clock.unix_millis());
        let kept = node.engine.keep(shards, now).map_err(io::Error::other);
        match kept.and_then(|books| write_books(&self.books, &books)) {
            Ok(()) => {
                tracing::info!(books = %self.books.display(), "the records are kept for the next start")
            }
            Err(error) => tracing::error!(books = %self.books.display(), %error, "the records can't be kept"),
        }
    }
}

fn report(path: &Path, beginning: Beginning) {
    let file = path.display();
    match beginning {
        Beginning::Empty => tracing::info!(%file, "nothing was left for this start: the cache is empty"),
        Beginning::Refused(reason) => {
            tracing::warn!(%file, %reason, "the memory file is refused: the cache is empty");
        }
        Beginning::Adopted(adopted) => {
            let (records, bytes, expired) = (adopted.records, adopted.bytes, adopted.expired);
            tracing::info!(%file, records, bytes, expired, "records of an earlier process are taken over");
        }
    }
}

/// Opens the file for this process alone, and makes sure that there is room for `needed` bytes.
fn open_locked(path: &Path, needed: u64) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    // Without waiting: a pipe would wait for its other end.
    options.read(true).write(true).create(true).truncate(false).mode(MODE).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::Kind);
    }
    if metadata.permissions().mode() & 0o777 != MODE {
        // Who can write to it writes to the records of this process.
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(FileError::Locked),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let taken = metadata.blocks() * STAT_BLOCK_BYTES;
    match sys::free_bytes(file.as_fd())? {
        Some(free) if free + taken < needed => Err(FileError::Full { free: free + taken, needed }),
        _ => Ok(file),
    }
}

/// Reads the books and removes them for good. Books that can't be read are removed too.
fn take_books(path: &Path, file: &File) -> Result<Option<Vec<u8>>, FileError> {
    let read = read_books(path, file.metadata()?.len());
    let mut is_removed = false;
    for name in [path.to_owned(), with_suffix(path, ".new")] {
        match fs::remove_file(&name) {
            Ok(()) => is_removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    if is_removed {
        sync_directory(path)?;
    }
    match read {
        Ok(books) => Ok(Some(books)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            tracing::warn!(books = %path.display(), %error, "the books can't be read");
            Ok(None)
        }
    }
}

/// Reads the books of a memory file of so many bytes.
fn read_books(path: &Path, memory_bytes: u64) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let most = BOOKS_BYTES_MIN.max(memory_bytes / 64);
    if !metadata.is_file() || metadata.len() > most {
        return Err(io::Error::other("no regular file, or larger than the books of this memory can be"));
    }
    let mut books = Vec::with_capacity(metadata.len() as usize);
    file.take(most).read_to_end(&mut books)?;
    Ok(books)
}

/// Writes the books aside and renames them: they are there as a whole or not at all.
fn write_books(path: &Path, books: &[u8]) -> io::Result<()> {
    let aside = with_suffix(path, ".new");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&aside)?;
    file.write_all(books)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().expect("a path from the root to a file has a directory");
    File::open(directory)?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Sixteen bytes that no other start has.
fn random_identity() -> [u8; 16] {
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&random_word().to_le_bytes());
    identity[8..].copy_from_slice(&random_word().to_le_bytes());
    identity
}
