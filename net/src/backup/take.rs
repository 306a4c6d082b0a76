//! Taking a backup of a node that serves.
//!
//! A whole backup, or one of some slots, is a walk over the index, so that every key that lives all the time is in it once
//! however much is written meanwhile, and the walk ends. What is written during the walk may be in the file or not; the
//! positions of the closing block are from before it, so the next incremental backup has it. That one reads the log
//! from there on.

use std::mem;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringcache_engine::limits::SLOTS;
use ringcache_engine::{LargeRecord, LogCursor, ShardId, Slot, SlotCursor, Step, Version};
use serde_json::{Value, json};

use super::file::{Backup, Mode};
use super::format::{Closing, Header, Kind};
use super::writer::Writer;
use super::{BackupError, Fault};
use crate::admin::words::Progress;
use crate::admin::{Audience, Office};
use crate::errand::{Desk, Pending};
use crate::identity;
use crate::limits::BACKUP_STEP_BYTES;

/// What is to be taken, and where to.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where the file will be.
    pub path: PathBuf,
    /// What goes into it.
    pub extent: Extent,
    /// With LZ4, where that pays.
    pub compresses: bool,
}

/// What goes into a backup.
#[derive(Clone, Debug)]
pub enum Extent {
    /// Every living record.
    Whole,
    /// Those from one slot to another, both included.
    Slots(Slot, Slot),
    /// What changed since the backup in this file.
    Since(PathBuf),
}

/// Takes a backup. The result names the file and what is in it.
///
/// Errors: another one is under way; the file can't be written; the log does not reach back to where the earlier one
/// ended; the node stops, or the operator has gone. Then no file is left.
pub fn take(order: &Order, office: &Office, audience: &mut Audience<'_>) -> Result<Value, BackupError> {
    let begun = Instant::now();
    let backups = &office.node.backups;
    let busy = backups.begin().ok_or(BackupError::Busy)?;
    let plan = Plan::make(order, office)?;
    let at = BackupError::at(&order.path);
    let writer = Writer::create(&order.path, plan.header.clone(), order.compresses).map_err(&at)?;
    let mut taking = Taking { office, audience, writer, path: &order.path, total_bytes: plan.expected_bytes };
    let mut positions = Vec::new();
    for shard in 0..office.errands.workers() {
        positions.push(taking.walk(shard, plan.walk_of(shard))?);
    }
    let now = office.node.clock.unix_millis();
    let written = taking.writer.close(positions.clone(), now).map_err(&at)?;
    if plan.header.kind != Kind::Slots {
        keep_log_since(office, &positions)?;
    }
    let result = report(order, &plan.header, written, begun.elapsed());
    busy.note(&result);
    tracing::info!(%result, "backup taken");
    Ok(result)
}

fn report(order: &Order, header: &Header, written: super::writer::Written, took: Duration) -> Value {
    let kind = match header.kind {
        Kind::Whole => "whole",
        Kind::Slots => "slots",
        Kind::Changes => "changes",
    };
    let seconds = took.as_secs_f64();
    json!({
        "path": order.path,
        "kind": kind,
        "identity": format!("{:016x}", header.identity),
        "records": written.tally.records,
        "record_bytes": written.tally.bytes,
        "file_bytes": written.file_bytes,
        "digest": format!("{:016x}", written.tally.digest),
        "seconds": seconds,
        "bytes_per_second": (written.file_bytes as f64 / seconds) as u64,
    })
}

/// From here on the log keeps what an incremental backup will need, as far as its bounds allow.
fn keep_log_since(office: &Office, positions: &[Version]) -> Result<(), BackupError> {
    let backups = &office.node.backups;
    (0..).zip(positions).for_each(|(shard, position)| backups.follow(shard, *position));
    office.errands.run_on_all(follow)?;
    Ok(())
}

/// Has a shard keep what the next incremental backup needs. A node that replicates does it itself, because its replicas
/// need more.
fn follow(desk: &mut Desk<'_>) {
    if desk.node.replication.get().is_none() {
        desk.shard.set_followed(desk.node.backups.followed(desk.number));
    }
}

/// What was decided before the first record.
struct Plan {
    header: Header,
    /// Where each shard stood then.
    begun: Vec<Version>,
    /// Bytes of records to come, as far as that is known.
    expected_bytes: u64,
}

impl Plan {
    fn make(order: &Order, office: &Office) -> Result<Self, BackupError> {
        let node = &office.node;
        let earlier = match &order.extent {
            Extent::Since(path) => Some(earlier(path, office)?),
            _ => None,
        };
        let begun = office.errands.run_on_all(|desk| {
            let position = desk.shard.position();
            if desk.node.backups.followed(desk.number).is_none() {
                desk.node.backups.follow(desk.number, position);
            }
            follow(desk);
            position
        })?;
        let last = Slot(SLOTS as u16 - 1);
        let (kind, first, last) = match order.extent {
            Extent::Whole => (Kind::Whole, Slot(0), last),
            Extent::Slots(first, last) => (Kind::Slots, first, last),
            Extent::Since(_) => (Kind::Changes, Slot(0), last),
        };
        let living: u64 = (0..node.config.workers).map(|id| node.engine.stats(ShardId(id)).bytes).sum();
        let expected_bytes = match kind {
            Kind::Whole => living,
            Kind::Slots => (u128::from(living) * u128::from(last.0 - first.0 + 1) / SLOTS as u128) as u64,
            Kind::Changes => 0,
        };
        let (base, since) = earlier.unwrap_or_else(|| (0, vec![Version::ZERO; begun.len()]));
        let header = Header {
            kind,
            identity: identity::random_word(),
            base,
            history: node.backups.history(),
            unix_millis: node.clock.unix_millis(),
            first,
            last,
            since,
        };
        Ok(Self { header, begun, expected_bytes })
    }

    fn walk_of(&self, shard: u16) -> Walk {
        let (begun, since) = (self.begun[usize::from(shard)], self.header.since[usize::from(shard)]);
        match self.header.kind {
            Kind::Changes => Walk::Log(Box::new(LogCursor::new(since))),
            _ => Walk::Slots(SlotCursor::new(self.header.first, self.header.last), begun),
        }
    }
}

/// Identity and positions of the backup that is to be continued.
fn earlier(path: &Path, office: &Office) -> Result<(u64, Vec<Version>), BackupError> {
    if !office.node.config.logs_changes() {
        return Err(BackupError::NotInLog("this node keeps no log of changes (--log-changes)"));
    }
    let file = Backup::open(path, Mode::Strict)?;
    let Closing { positions, .. } = file.closing()?;
    let header = file.header().expect("only salvage opens files without one");
    let fault = if header.kind == Kind::Slots {
        Fault::Slots
    } else if header.history != office.node.backups.history()
        || positions.len() != usize::from(office.errands.workers())
    {
        Fault::History
    } else {
        return Ok((header.identity, positions));
    };
    Err(BackupError::at(path)(fault))
}

/// The way through a shard.
enum Walk {
    /// Over the index; the position is from before the walk.
    Slots(SlotCursor, Version),
    /// Over the log.
    Log(Box<LogCursor>),
}

/// A step on it: goes to the worker empty and comes back with records.
struct Stride {
    walk: Walk,
    records: Vec<u8>,
    large: Vec<LargeRecord>,
    end: Option<End>,
}

/// How a walk ended.
#[derive(Clone, Copy)]
enum End {
    /// Everything up to here was handed out.
    At(Version),
    /// The log has lost something.
    Lost,
}

impl Stride {
    fn run(mut self, desk: &mut Desk<'_>) -> Self {
        self.end = match &mut self.walk {
            Walk::Slots(cursor, begun) => {
                cursor.hand_out(desk.shard, desk.now, BACKUP_STEP_BYTES, &mut self.records, &mut self.large);
                cursor.is_done().then_some(End::At(*begun))
            }
            Walk::Log(cursor) if cursor.has_lost(desk.shard) => Some(End::Lost),
            Walk::Log(cursor) => {
                match cursor.read(desk.shard, desk.now, BACKUP_STEP_BYTES, &mut self.records) {
                    Step::Full => None,
                    Step::Large(record) => {
                        self.large.push(record);
                        None
                    }
                    Step::CaughtUp(position) => Some(End::At(position)),
                }
            }
        };
        self
    }
}

/// A backup under way.
struct Taking<'a, 'b> {
    office: &'a Office,
    audience: &'a mut Audience<'b>,
    writer: Writer,
    path: &'a Path,
    total_bytes: u64,
}

impl Taking<'_, '_> {
    /// Walks through one shard and gives its position. While one step's records are written, the worker makes the
    /// next one.
    fn walk(&mut self, shard: u16, walk: Walk) -> Result<Version, BackupError> {
        let mut pending = self.start(shard, walk, Vec::new());
        let mut spare = Vec::new();
        loop {
            let Stride { walk, mut records, large, end } = pending.wait()?;
            let next = match end {
                None => Ok(self.start(shard, walk, mem::take(&mut spare))),
                Some(End::At(position)) => Err(position),
                Some(End::Lost) => return Err(BackupError::NotInLog("the log does not reach back that far")),
            };
            self.write(shard, &records, &large)?;
            records.clear();
            spare = records;
            match next {
                Ok(next) => pending = next,
                Err(position) => return Ok(position),
            }
        }
    }

    fn start(&self, shard: u16, walk: Walk, records: Vec<u8>) -> Pending<Stride> {
        let stride = Stride { walk, records, large: Vec::new(), end: None };
        self.office.errands.start(shard, move |desk| stride.run(desk))
    }

    fn write(&mut self, shard: u16, records: &[u8], large: &[LargeRecord]) -> Result<(), BackupError> {
        const PADDING: [u8; 8] = [0; 8];
        let at = BackupError::at(self.path);
        if !records.is_empty() {
            self.writer.records(shard, records).map_err(&at)?;
        }
        for record in large {
            let padding = &PADDING[..usize::from(record.padding)];
            let parts = [&record.head, record.value.bytes(), padding];
            self.writer.large_record(shard, &parts).map_err(&at)?;
        }
        let tally = self.writer.tally();
        let total_bytes = self.total_bytes;
        let progress = || Progress {
            phase: "backup".to_owned(),
            done_bytes: tally.bytes,
            total_bytes,
            records: tally.records,
        };
        self.audience.tell(progress).map_err(|_| BackupError::Gone)
    }
}
