//! Writing a backup: beside its place, synced, and renamed when it is whole.
//!
//! Whatever ends the process, at the path is the earlier file or the new one. What a killed process leaves beside is
//! removed by the next backup to the same path.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ringcache_engine::{RecordHead, Version};

use super::format::{BlockHead, BlockKind, Closing, Codec, HEAD_BYTES, Header, Tally};
use super::{Damage, Fault};
use crate::limits::{BACKUP_CODEC_SKIPS_MAX, BACKUP_LZ4_BYTES_MAX, BACKUP_UNSYNCED_BYTES_MAX};

/// Access bits: the records are clients' data.
const MODE: u32 = 0o600;

/// A file under way. Dropped before it is closed, it leaves nothing.
pub struct Writer {
    path: PathBuf,
    aside: PathBuf,
    file: File,
    header: Header,
    blocks: u32,
    tally: Tally,
    bytes: u64,
    unsynced_bytes: u64,
    compressor: Option<Compressor>,
    is_closed: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Of all records.
    pub tally: Tally,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl Writer {
    /// Begins a file that will be at `path`, with LZ4 where `compresses` says so and it pays.
    ///
    /// Errors: what is at `path` is no backup; the file system refuses.
    pub fn create(path: &Path, header: Header, compresses: bool) -> Result<Self, Fault> {
        let path = std::path::absolute(path)?;
        if !is_free(&path)? {
            return Err(Fault::InTheWay);
        }
        remove_stale(&path)?;
        let aside = with_suffix(&path, &format!("{}{}", ASIDE, std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&aside)?;
        let mut writer = Self {
            path,
            aside,
            file,
            header,
            blocks: 0,
            tally: Tally::default(),
            bytes: 0,
            unsynced_bytes: 0,
            compressor: compresses.then(Compressor::default),
            is_closed: false,
        };
        // So that nobody takes it for a stale one.
        writer.file.lock()?;
        let header = writer.header.encode();
        writer.write(&[&header])?;
        Ok(writer)
    }

    /// Bytes of records so far, and how many.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Writes a block of whole records of `shard`, which is not empty.
    ///
    /// Errors: a record does not fit its checksum, which memory that lies would do; the file system refuses.
    pub fn records(&mut self, shard: u16, records: &[u8]) -> Result<(), Fault> {
        let before = self.tally.records;
        let mut rest = records;
        while !rest.is_empty() {
            let head = RecordHead::verify(rest).map_err(|error| Damage::Record(error).at(self.bytes))?;
            self.tally.count_head(&head);
            rest = &rest[head.total..];
        }
        let count = (self.tally.records - before) as u32;
        let mut compressor = self.compressor.take();
        let stored = compressor
            .as_mut()
            .filter(|_| records.len() <= BACKUP_LZ4_BYTES_MAX as usize)
            .and_then(|compressor| compressor.compress(records));
        let codec = if stored.is_some() { Codec::Lz4 } else { Codec::None };
        let result =
            self.block(BlockKind::Records, codec, shard, count, &[stored.unwrap_or(records)], records.len());
        self.compressor = compressor;
        result
    }

    /// Writes a large record of `shard` as a block of its own, from its parts: all before the value, the value, and the
    /// padding behind it.
    pub fn large_record(&mut self, shard: u16, parts: &[&[u8]]) -> Result<(), Fault> {
        let head = parts[0];
        let word =
            |at: usize| head.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
        let version = head.get(..8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
        let (version, crc) = version.zip(word(20)).expect("a record has a whole header");
        let bytes = parts.iter().map(|part| part.len()).sum::<usize>();
        self.tally.count(Version(version), crc, bytes);
        self.block(BlockKind::Records, Codec::None, shard, 1, parts, bytes)
    }

    /// Ends the file and puts it in its place.
    pub fn close(mut self, positions: Vec<Version>, unix_millis: u64) -> Result<Written, Fault> {
        let payload = Closing { tally: self.tally, unix_millis, positions }.encode();
        self.block(BlockKind::Closing, Codec::None, 0, 0, &[&payload], payload.len())?;
        self.file.sync_all()?;
        fs::rename(&self.aside, &self.path)?;
        self.is_closed = true;
        let directory = self.path.parent().expect("a path from the root to a file has a directory");
        File::open(directory)?.sync_all()?;
        Ok(Written { tally: self.tally, file_bytes: self.bytes })
    }

    fn block(
        &mut self,
        kind: BlockKind,
        codec: Codec,
        shard: u16,
        records: u32,
        payload: &[&[u8]],
        raw_bytes: usize,
    ) -> Result<(), Fault> {
        let stored_bytes = payload.iter().map(|part| part.len()).sum::<usize>();
        let too_large = |_| Fault::Io(io::Error::from(io::ErrorKind::FileTooLarge));
        let head = BlockHead {
            kind,
            codec,
            shard,
            identity: self.header.identity,
            number: self.blocks,
            records,
            stored_bytes: u32::try_from(stored_bytes).map_err(too_large)?,
            raw_bytes: u32::try_from(raw_bytes).map_err(too_large)?,
            payload_crc: payload.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part)),
        };
        self.write(&[&head.encode()])?;
        self.write(payload)?;
        self.blocks += 1;
        if self.unsynced_bytes >= BACKUP_UNSYNCED_BYTES_MAX {
            // What waits in the page cache stays bounded, and the end is not one long wait.
            self.file.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }

    fn write(&mut self, parts: &[&[u8]]) -> Result<(), Fault> {
        for part in parts {
            self.file.write_all(part)?;
            self.bytes += part.len() as u64;
            self.unsynced_bytes += part.len() as u64;
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_closed
            && let Err(error) = fs::remove_file(&self.aside)
        {
            tracing::warn!(path = %self.aside.display(), %error, "half a backup stays");
        }
    }
}

/// Between the name of a file and the number of the process that writes it.
const ASIDE: &str = ".tmp-";

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Nothing is at `path`, or a backup.
fn is_free(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.is_file() => return Ok(false),
        Ok(metadata) if metadata.len() == 0 => return Ok(true),
        Ok(_) => {}
    }
    let mut begin = Vec::new();
    File::open(path)?.take(HEAD_BYTES as u64 * 128).read_to_end(&mut begin)?;
    Ok(!matches!(Header::decode(&begin), Err(Fault::Foreign)))
}

/// Removes what processes that have ended left beside `path`.
fn remove_stale(path: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    };
    let prefix = [name.as_encoded_bytes(), ASIDE.as_bytes()].concat();
    for found in fs::read_dir(directory)? {
        let found = found?.path();
        let is_aside = found.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(&prefix));
        // Whoever still writes it has it locked.
        let is_stale = is_aside
            && OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
                .open(&found)
                .is_ok_and(|file| file.try_lock().is_ok());
        if is_stale {
            fs::remove_file(&found)?;
        }
    }
    Ok(())
}

/// Compresses what is worth it: after each block that was not, twice as many are written as they are.
#[derive(Default)]
struct Compressor {
    out: Vec<u8>,
    skips: u32,
    skips_left: u32,
}

impl Compressor {
    /// The compressed bytes, where they are fewer by an eighth at least.
    fn compress(&mut self, raw: &[u8]) -> Option<&[u8]> {
        if self.skips_left > 0 {
            self.skips_left -= 1;
            return None;
        }
        self.out.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
        let bytes =
            lz4_flex::block::compress_into(raw, &mut self.out).expect("the buffer has the maximum size");
        let pays = bytes < raw.len() - raw.len() / 8;
        self.skips = if pays { 0 } else { (2 * self.skips + 1).min(BACKUP_CODEC_SKIPS_MAX) };
        self.skips_left = self.skips;
        pays.then_some(&self.out[..bytes])
    }
}
