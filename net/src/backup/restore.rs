//! Putting the records of backups back, at any number of workers.
//!
//! One thread goes through the blocks, asks each record's head which shard it belongs to, and hands batches out; the owners
//! install them, at a start on threads of their own, in a running node as errands. Newer versions win, so a running
//! node keeps what it has stored since.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use ringcache_engine::{Installed, Kind as RecordKind, Now, RecordHead, Shard};
use serde_json::{Value, json};

use super::file::{Backup, Block, Checked, Mode};
use super::format::{Codec, Kind};
use super::{BackupError, Fault};
use crate::admin::words::Progress;
use crate::admin::{Audience, Office};
use crate::clock::Clock;
use crate::errand::{Errands, Pending, Stopped};
use crate::limits::{RESTORE_BATCHES_AHEAD, RESTORE_STEP_BYTES, TURN_BUDGET_LOW};

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored, deleted, touched or flushed.
    pub applied: u64,
    /// The node has something at least as new.
    pub older: u64,
    /// Their time is over.
    pub expired: u64,
    /// No memory could be freed for them.
    pub no_memory: u64,
    /// Not accepted although the file was checked: the clock went back, or somebody changes the file.
    pub refused: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.applied += other.applied;
        self.older += other.older;
        self.expired += other.expired;
        self.no_memory += other.no_memory;
        self.refused += other.refused;
    }

    fn note(&mut self, installed: Installed) {
        match installed {
            Installed::Applied => self.applied += 1,
            Installed::Older => self.older += 1,
            Installed::Expired => self.expired += 1,
            Installed::NoMemory => self.no_memory += 1,
            Installed::ElsewhereHere(shard) => panic!("a record of shard {} was handed out wrongly", shard.0),
        }
    }
}

/// Opens and checks backups that are to be restored one after another: a whole one, or one of some slots, and those that
/// continue it. `tell` as for [`Backup::check`], with the bytes of all files.
///
/// Errors: the first thing that is wrong with any of them; then nothing may be restored.
pub fn check_all(
    paths: &[PathBuf],
    mode: Mode,
    now: Now,
    mut tell: impl FnMut(u64, u64) -> bool,
) -> Result<Vec<Checked>, BackupError> {
    let files = paths.iter().map(|path| Backup::open(path, mode)).collect::<Result<Vec<_>, _>>()?;
    let mut before = None;
    for file in &files {
        let Some(header) = file.header() else { continue };
        if mode == Mode::Strict && header.kind == Kind::Changes && before != Some(header.base) {
            return Err(BackupError::at(file.path())(Fault::Base { base: header.base }));
        }
        before = Some(header.identity);
    }
    let total = files.iter().map(Backup::bytes).sum();
    let mut done = 0;
    let mut checked = Vec::new();
    for file in files {
        let bytes = file.bytes();
        checked.push(file.check(mode, now, |bytes| tell(done + bytes, total))?);
        done += bytes;
    }
    Ok(checked)
}

/// Bytes of records in all of them.
pub fn record_bytes(files: &[Checked]) -> u64 {
    files.iter().map(|file| file.tally.bytes).sum()
}

/// How long the two parts of a restore took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Until everything was checked.
    pub check: Duration,
    /// From there until everything was installed.
    pub install: Duration,
}

/// What a restore did, for people and programs.
pub fn report(files: &[Checked], counts: Counts, took: Took) -> Value {
    let bytes = record_bytes(files);
    let seconds = (took.check + took.install).as_secs_f64();
    let lost: Vec<&String> = files.iter().flat_map(|file| &file.losses.shown).collect();
    json!({
        "files": files.iter().map(|file| file.backup.path().display().to_string()).collect::<Vec<_>>(),
        "records": files.iter().map(|file| file.tally.records).sum::<u64>(),
        "record_bytes": bytes,
        "applied": counts.applied,
        "older": counts.older,
        "expired": counts.expired,
        "no_memory": counts.no_memory,
        "refused": counts.refused,
        "damaged_places": files.iter().map(|file| file.losses.places).sum::<u64>(),
        "damaged_bytes": files.iter().map(|file| file.losses.bytes).sum::<u64>(),
        "damage": lost,
        "check_seconds": took.check.as_secs_f64(),
        "seconds": seconds,
        "bytes_per_second": (bytes as f64 / seconds) as u64,
    })
}

/// Installs checked files in shards that no worker has yet, a thread for each.
///
/// Errors: a file was changed since it was checked; what was installed by then stays.
pub fn into_shards(files: &[Checked], shards: &mut [Shard], clock: &Clock) -> Result<Counts, BackupError> {
    let count = shards.len() as u16;
    thread::scope(|scope| {
        let (senders, owners): (Vec<_>, Vec<_>) = shards
            .iter_mut()
            .map(|shard| {
                let (sender, batches) = mpsc::sync_channel::<Batch>(RESTORE_BATCHES_AHEAD);
                let thread = thread::Builder::new().name(format!("restore-{}", shard.id().0));
                let own = move || {
                    let mut counts = Counts::default();
                    batches.iter().for_each(|mut batch| batch.install_all(shard, clock, &mut counts));
                    counts
                };
                let started = thread.spawn_scoped(scope, own);
                (sender, started.expect("a thread can be started before the first connection"))
            })
            .unzip();
        let mut owned = Threads(senders);
        let handed = files.iter().try_for_each(|file| hand_out(file, count, &mut owned));
        drop(owned);
        let mut counts = Counts::default();
        owners.into_iter().for_each(|owner| counts.add(&owner.join().expect("a panic ends the process")));
        handed.map(|()| counts)
    })
}

/// Installs checked files in a running node.
///
/// Errors: the node stops, the operator has gone; what was installed by then stays.
pub fn into_node(
    files: &[Checked],
    office: &Office,
    audience: &mut Audience<'_>,
) -> Result<Counts, BackupError> {
    let workers = office.errands.workers();
    let mut owners = Workers {
        errands: &office.errands,
        pending: (0..workers).map(|_| None).collect(),
        counts: Counts::default(),
        done_bytes: 0,
        total_bytes: record_bytes(files),
        audience,
    };
    files.iter().try_for_each(|file| hand_out(file, workers, &mut owners))?;
    owners.finish()
}

/// Whom batches are handed out to.
trait Owners {
    fn hand(&mut self, shard: u16, batch: Batch) -> Result<(), BackupError>;
}

/// Goes through the blocks of a file and hands their records out.
fn hand_out(file: &Checked, shards: u16, owners: &mut impl Owners) -> Result<(), BackupError> {
    for block in &file.blocks {
        // Once more, because a mapped file can be changed, and owners install without a look at checksums.
        file.backup.verify(block).map_err(BackupError::at(file.backup.path()))?;
        let bytes = Bytes::of(&file.backup, block)?;
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); usize::from(shards)];
        let mut at = 0;
        let records = bytes.get();
        while at < records.len() {
            let head = RecordHead::read(&records[at..]).expect("it was checked");
            // A flush has no key, and any shard can apply it.
            let shard = if head.kind == RecordKind::Flush { 0 } else { head.hash().shard(shards).0 };
            places[usize::from(shard)].push(at as u32);
            at += head.total;
        }
        for (shard, places) in (0..).zip(places).filter(|(_, places)| !places.is_empty()) {
            owners.hand(shard, Batch { bytes: bytes.clone(), places, next: 0 })?;
        }
    }
    Ok(())
}

/// The records of a block, in the file or decompressed.
#[derive(Clone)]
enum Bytes {
    Mapped(Arc<Backup>, Block),
    Raw(Arc<[u8]>),
}

impl Bytes {
    fn of(backup: &Arc<Backup>, block: &Block) -> Result<Self, BackupError> {
        if block.head.codec == Codec::None {
            return Ok(Self::Mapped(Arc::clone(backup), *block));
        }
        let records = backup.records(block).map_err(BackupError::at(backup.path()))?;
        Ok(Self::Raw(records.into_owned().into()))
    }

    fn get(&self) -> &[u8] {
        match self {
            Bytes::Mapped(backup, block) => backup.payload(block),
            Bytes::Raw(bytes) => bytes,
        }
    }
}

/// Records of one shard, and how many of them are installed.
struct Batch {
    bytes: Bytes,
    places: Vec<u32>,
    next: usize,
}

impl Batch {
    /// Installs records until some are, or the turn has no memory left. Returns the bytes that were installed.
    fn install_some(&mut self, shard: &mut Shard, now: Now, most: usize, counts: &mut Counts) -> usize {
        let bytes = self.bytes.get();
        let mut done = 0;
        while let Some(&place) = self.places.get(self.next) {
            if done >= most || shard.turn_budget() < TURN_BUDGET_LOW {
                break;
            }
            let installed = shard.install_verified(&bytes[place as usize..], now);
            self.next += 1;
            match installed {
                Ok((installed, total)) => {
                    counts.note(installed);
                    done += total;
                }
                Err(error) => {
                    counts.refused += 1;
                    tracing::error!(%error, "a record of a checked backup is refused");
                }
            }
        }
        done
    }

    fn is_done(&self) -> bool {
        self.next == self.places.len()
    }

    /// Installs all of it in a shard that nobody reads.
    fn install_all(&mut self, shard: &mut Shard, clock: &Clock, counts: &mut Counts) {
        while !self.is_done() {
            let now = Now::from_unix_millis(clock.unix_millis());
            self.install_some(shard, now, usize::MAX, counts);
            shard.maintain(now);
        }
    }
}

/// Owners on threads of their own.
struct Threads(Vec<SyncSender<Batch>>);

impl Owners for Threads {
    fn hand(&mut self, shard: u16, batch: Batch) -> Result<(), BackupError> {
        self.0[usize::from(shard)].send(batch).map_err(|_| BackupError::Stopped(Stopped))
    }
}

/// Workers that serve meanwhile. One batch at a time is with each of them, because a touch has to come behind the value that
/// it names; the next one is made ready meanwhile.
struct Workers<'a, 'b> {
    errands: &'a Errands,
    pending: Vec<Option<Pending<Step>>>,
    counts: Counts,
    done_bytes: u64,
    total_bytes: u64,
    audience: &'a mut Audience<'b>,
}

/// What came of an errand: the batch comes back when it is not done.
struct Step {
    batch: Option<Batch>,
    bytes: usize,
    counts: Counts,
}

impl Workers<'_, '_> {
    fn start(&mut self, shard: u16, mut batch: Batch) {
        let pending = self.errands.start(shard, move |desk| {
            let mut counts = Counts::default();
            let bytes = batch.install_some(desk.shard, desk.now, RESTORE_STEP_BYTES, &mut counts);
            Step { batch: Some(batch).filter(|batch| !batch.is_done()), bytes, counts }
        });
        self.pending[usize::from(shard)] = Some(pending);
    }

    /// Waits until a shard has all that was handed to it.
    fn settle(&mut self, shard: u16) -> Result<(), BackupError> {
        while let Some(pending) = self.pending[usize::from(shard)].take() {
            let Step { batch, bytes, counts } = pending.wait()?;
            self.counts.add(&counts);
            self.done_bytes += bytes as u64;
            if let Some(batch) = batch {
                self.start(shard, batch);
            }
        }
        let progress = || Progress {
            phase: "restore".to_owned(),
            done_bytes: self.done_bytes,
            total_bytes: self.total_bytes,
            records: self.counts.applied,
        };
        self.audience.tell(progress).map_err(|_| BackupError::Gone)
    }

    fn finish(mut self) -> Result<Counts, BackupError> {
        for shard in 0..self.errands.workers() {
            self.settle(shard)?;
        }
        Ok(self.counts)
    }
}

impl Owners for Workers<'_, '_> {
    fn hand(&mut self, shard: u16, batch: Batch) -> Result<(), BackupError> {
        self.settle(shard)?;
        self.start(shard, batch);
        Ok(())
    }
}
