//! Reading a backup: nothing of a file is believed before all of it was checked.
//!
//! The check goes from head to head, then over all payloads on as many threads as there are processors. In salvage a
//! damaged place is passed over: the next head is looked for byte by byte, and what lies between is lost.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use memchr::memmem;
use memmap2::{Advice, Mmap};
use ringcache_engine::limits::VERSION_AHEAD_MILLIS_MAX;
use ringcache_engine::{Now, RecordError, RecordHead};

use super::format::{BLOCK_MAGIC, BlockHead, BlockKind, Closing, Codec, HEAD_BYTES, Header, Tally};
use super::{BackupError, Damage, Fault};
use crate::limits::{BACKUP_CHECK_THREADS_MAX, BACKUP_LOSSES_SHOWN_MAX, BACKUP_LZ4_BYTES_MAX};

/// A mapped file with its header. The mapping is read only; whoever cuts the file short meanwhile ends the process.
pub struct Backup {
    path: PathBuf,
    map: Mmap,
    header: Option<Header>,
    body_at: usize,
}

/// A block that is where its head says.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Where its head begins.
    pub at: usize,
    /// The head.
    pub head: BlockHead,
}

/// A file that was checked: every block in it can be restored.
pub struct Checked {
    /// The file.
    pub backup: Arc<Backup>,
    /// Its blocks of records, in order.
    pub blocks: Vec<Block>,
    /// What they hold.
    pub tally: Tally,
    /// The closing block; none is only possible in salvage.
    pub closing: Option<Closing>,
    /// What salvage passed over.
    pub losses: Losses,
}

/// What salvage could not save.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// The first ones, in words.
    pub shown: Vec<String>,
    /// Places.
    pub places: u64,
    /// Bytes of the file, as far as they are known.
    pub bytes: u64,
}

impl Losses {
    fn note(&mut self, fault: &Fault, bytes: u64) {
        if self.shown.len() < BACKUP_LOSSES_SHOWN_MAX {
            self.shown.push(fault.to_string());
        }
        self.places += 1;
        self.bytes += bytes;
    }
}

/// What is done about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The file is refused.
    Strict,
    /// It is passed over.
    Salvage,
}

impl Backup {
    /// Opens and maps the file at `path`.
    ///
    /// Errors: no such file, none of ours, a later format; a damaged header, unless `mode` is salvage.
    pub fn open(path: &Path, mode: Mode) -> Result<Self, BackupError> {
        Self::map(path, mode).map_err(BackupError::at(path))
    }

    fn map(path: &Path, mode: Mode) -> Result<Self, Fault> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() || file.metadata()?.len() == 0 {
            return Err(Fault::Foreign);
        }
        let map = crate::sys::map_file(&file)?;
        // Only advice: without it the file is read in smaller pieces.
        let _ = map.advise(Advice::Sequential);
        let path = path.to_owned();
        match Header::decode(&map) {
            Ok((header, body_at)) => Ok(Self { path, map, header: Some(header), body_at }),
            Err(Fault::Damaged { .. } | Fault::Foreign)
                if mode == Mode::Salvage && next_block(&map, 0, None).is_some() =>
            {
                Ok(Self { path, map, header: None, body_at: 0 })
            }
            Err(fault) => Err(fault),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands at its beginning; none is only possible in salvage.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Where the records of a block are, when they are stored as they are.
    pub fn payload(&self, block: &Block) -> &[u8] {
        let at = block.at + HEAD_BYTES;
        &self.map[at..at + block.head.stored_bytes as usize]
    }

    /// Whether the payload of a block is what its head says.
    ///
    /// Errors: it is not.
    pub fn verify(&self, block: &Block) -> Result<(), Fault> {
        let fits = crc32c::crc32c(self.payload(block)) == block.head.payload_crc;
        fits.then_some(()).ok_or_else(|| Damage::Payload.at(block.at as u64))
    }

    /// The records of a block.
    ///
    /// Errors: they can't be decompressed.
    pub fn records(&self, block: &Block) -> Result<Cow<'_, [u8]>, Fault> {
        let payload = self.payload(block);
        if block.head.codec == Codec::None {
            return Ok(Cow::Borrowed(payload));
        }
        let raw = lz4_flex::block::decompress(payload, block.head.raw_bytes as usize);
        let fits = |raw: &Vec<u8>| raw.len() == block.head.raw_bytes as usize;
        raw.ok().filter(fits).map(Cow::Owned).ok_or_else(|| Damage::Codec.at(block.at as u64))
    }

    /// The closing block of a file whose end is intact: what an incremental backup begins from. Checks nothing else.
    ///
    /// Errors: the end is damaged.
    pub fn closing(&self) -> Result<Closing, BackupError> {
        let header = self.header.as_ref().ok_or(Damage::Header.at(0)).map_err(BackupError::at(&self.path))?;
        let shards = header.since.len();
        let bytes = HEAD_BYTES + 32 + shards * 8;
        let at = self.map.len().saturating_sub(bytes);
        let block = BlockHead::decode(&self.map[at..])
            .filter(|head| head.kind == BlockKind::Closing && head.identity == header.identity)
            .filter(|head| head.stored_bytes as usize == bytes - HEAD_BYTES)
            .map(|head| Block { at, head })
            .filter(|block| self.verify(block).is_ok());
        let closing = block.and_then(|block| Closing::decode(self.payload(&block), shards));
        closing.ok_or(Damage::Short.at(self.bytes())).map_err(BackupError::at(&self.path))
    }

    /// Checks the whole file. `tell` is called now and then with the bytes that were checked so far; when it answers
    /// `false` the check is broken off.
    ///
    /// Errors: the first damage, unless `mode` is salvage; broken off.
    pub fn check(self, mode: Mode, now: Now, tell: impl FnMut(u64) -> bool) -> Result<Checked, BackupError> {
        let path = self.path.clone();
        let at = BackupError::at(&path);
        let mut losses = Losses::default();
        let (blocks, closing) = self.find_blocks(mode, &mut losses).map_err(&at)?;
        let shards = self.header.as_ref().map_or(0, |header| header.since.len());
        let backup = Arc::new(self);
        let (verdicts, is_whole) = judge_all(&backup, &blocks, now, mode, tell);
        if !is_whole {
            return Err(BackupError::Gone);
        }
        let mut tally = Tally::default();
        let mut intact = Vec::with_capacity(blocks.len());
        for (block, verdict) in blocks.into_iter().zip(verdicts) {
            match verdict {
                Ok(counted) => {
                    tally.add(&counted);
                    intact.push(block);
                }
                Err(fault) if mode == Mode::Strict => return Err(at(fault)),
                Err(fault) => losses.note(&fault, u64::from(block.head.stored_bytes)),
            }
        }
        let closing = closing.filter(|block| backup.verify(block).is_ok()).and_then(|block| {
            Closing::decode(backup.payload(&block), shards).map(|closing| (block, closing))
        });
        let sums = match &closing {
            None => Some(Damage::Short.at(backup.bytes())),
            Some((block, closing)) if closing.tally != tally => Some(Damage::Sums.at(block.at as u64)),
            Some(_) => None,
        };
        match sums {
            Some(fault) if mode == Mode::Strict => return Err(at(fault)),
            Some(fault) if losses.places == 0 => losses.note(&fault, 0),
            _ => {}
        }
        Ok(Checked { backup, blocks: intact, tally, closing: closing.map(|(_, closing)| closing), losses })
    }

    /// Goes from head to head. Blocks of records, and the closing one.
    fn find_blocks(&self, mode: Mode, losses: &mut Losses) -> Result<(Vec<Block>, Option<Block>), Fault> {
        if self.header.is_none() {
            losses.note(&Damage::Header.at(0), 0);
        }
        let mut identity = self.header.as_ref().map(|header| header.identity);
        let (mut blocks, mut closing, mut at, mut expected) = (Vec::new(), None, self.body_at, 0);
        while closing.is_none() {
            let block = match self.block_at(at, identity) {
                Ok(block) if mode == Mode::Salvage || block.head.number == expected => block,
                Ok(block) => return Err(Damage::Number { found: block.head.number, expected }.at(at as u64)),
                Err(damage) if mode == Mode::Strict => return Err(damage.at(at as u64)),
                Err(damage) => {
                    let next = next_block(&self.map, at + 1, identity);
                    let to = next.as_ref().map_or(self.map.len(), |block| block.at);
                    if self.header.is_some() || at > 0 {
                        losses.note(&damage.at(at as u64), (to - at) as u64);
                    }
                    let Some(block) = next else { break };
                    block
                }
            };
            identity = Some(block.head.identity);
            expected = block.head.number.wrapping_add(1);
            at = block.at + HEAD_BYTES + block.head.stored_bytes as usize;
            match block.head.kind {
                BlockKind::Records => blocks.push(block),
                BlockKind::Closing => closing = Some(block),
            }
        }
        if closing.is_some() && at != self.map.len() {
            let fault = Damage::Trailing.at(at as u64);
            if mode == Mode::Strict {
                return Err(fault);
            }
            losses.note(&fault, (self.map.len() - at) as u64);
        }
        Ok((blocks, closing))
    }

    fn block_at(&self, at: usize, identity: Option<u64>) -> Result<Block, Damage> {
        if at + HEAD_BYTES > self.map.len() {
            return Err(Damage::Short);
        }
        whole_block(&self.map, at, identity)
    }
}

/// The block whose head is at `at`, if all of it is there.
fn whole_block(file: &[u8], at: usize, identity: Option<u64>) -> Result<Block, Damage> {
    let head = BlockHead::decode(&file[at..])
        .filter(|head| identity.is_none_or(|identity| head.identity == identity))
        .ok_or(Damage::Head)?;
    let end = at + HEAD_BYTES + head.stored_bytes as usize;
    if end > file.len() { Err(Damage::Short) } else { Ok(Block { at, head }) }
}

/// The next block at or behind `from`.
fn next_block(file: &[u8], from: usize, identity: Option<u64>) -> Option<Block> {
    let rest = file.get(from..)?;
    memmem::find_iter(rest, &BLOCK_MAGIC).find_map(|found| whole_block(file, from + found, identity).ok())
}

/// Judges all payloads on some threads; false when `tell` has broken it off.
fn judge_all(
    backup: &Backup,
    blocks: &[Block],
    now: Now,
    mode: Mode,
    mut tell: impl FnMut(u64) -> bool,
) -> (Vec<Result<Tally, Fault>>, bool) {
    let threads = thread::available_parallelism().map_or(1, usize::from).clamp(1, BACKUP_CHECK_THREADS_MAX);
    let (next, checked) = (AtomicUsize::new(0), AtomicU64::new(0));
    let verdicts: Vec<Mutex<Result<Tally, Fault>>> =
        blocks.iter().map(|_| Mutex::new(Ok(Tally::default()))).collect();
    let judge_some = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(block) = blocks.get(number) else { return false };
        let verdict = judge(backup, block, now);
        checked.fetch_add(u64::from(block.head.stored_bytes), Ordering::Relaxed);
        if verdict.is_err() && mode == Mode::Strict {
            // The first damage is what is told; what lies behind it needs no look.
            next.fetch_max(blocks.len(), Ordering::Relaxed);
        }
        *verdicts[number].lock().expect("judging does not panic") = verdict;
        true
    };
    let is_whole = thread::scope(|scope| {
        for number in 1..threads {
            let thread = thread::Builder::new().name(format!("check-{number}"));
            // One thread fewer only takes longer.
            let _ = thread.spawn_scoped(scope, || while judge_some() {});
        }
        while judge_some() {
            if !tell(checked.load(Ordering::Relaxed)) {
                next.fetch_max(blocks.len(), Ordering::Relaxed);
                return false;
            }
        }
        true
    });
    let verdicts = verdicts.into_iter().map(|verdict| verdict.into_inner().expect("judging does not panic"));
    (verdicts.collect(), is_whole)
}

/// Whether a block is what was written, down to each record: checksum, lengths, count, versions.
fn judge(backup: &Backup, block: &Block, now: Now) -> Result<Tally, Fault> {
    let at = block.at as u64;
    backup.verify(block)?;
    let BlockHead { codec, raw_bytes, stored_bytes, .. } = block.head;
    // Forged lengths must not make anybody ask for memory.
    let is_possible =
        if codec == Codec::None { raw_bytes == stored_bytes } else { raw_bytes <= BACKUP_LZ4_BYTES_MAX };
    if !is_possible {
        return Err(Damage::Codec.at(at));
    }
    let records = backup.records(block)?;
    let mut rest = &*records;
    let mut tally = Tally::default();
    let latest = now.unix_millis + VERSION_AHEAD_MILLIS_MAX;
    while !rest.is_empty() {
        let refused = |error| Damage::Record(error).at(at);
        let head = RecordHead::read(rest).map_err(refused)?;
        if head.version.unix_millis() > latest {
            return Err(refused(RecordError::Ahead { unix_millis: head.version.unix_millis() }));
        }
        tally.count_head(&head);
        rest = &rest[head.total..];
    }
    if tally.records != u64::from(block.head.records) {
        return Err(Damage::Count { found: tally.records as u32, said: block.head.records }.at(at));
    }
    Ok(tally)
}
