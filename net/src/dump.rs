//! Dumps: walks over all living records that answer one command, in bounded steps.
//!
//! ```text
//! session  --- Step, shard 0 -->  owner of shard 0: shows some records, writes their lines
//!          <-- Step, lines -----
//!          --- Step, shard 0 -->  ... until that shard is done, then the next one
//! ```
//!
//! Only a shard's owner may walk its index, so a step travels to it; at most one step of a dump is under way, and
//! the next one waits until the client has taken the lines. A key that lives through the whole dump is shown exactly
//! once, whatever is written meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringcache_engine::limits::SLOTS;
use ringcache_engine::{Now, RecordRef, Shard, ShardId, Slot, SlotCursor};

use crate::limits::{CACHEDUMP_BYTES_MAX, DUMP_STEP_BYTES, DUMP_STEP_RECORDS, SIZE_CLASS_BYTES};
use crate::output::Output;
use crate::protocol::base64;
use crate::protocol::number::push_u64;

/// What a dump writes of each record, and around all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `lru_crawler metadump`: a line of what is known of the record.
    Metadata,
    /// `lru_crawler mgdump`: the `mg` command that would fetch it.
    MetaGet,
    /// `stats cachedump`: key, size and expiry of some records.
    Listing {
        /// Most records; 0 is no limit.
        records_max: u32,
    },
    /// `stats sizes`: how many records there are of each size.
    Sizes,
}

impl Form {
    /// What stands before the first line.
    fn head(self) -> &'static [u8] {
        match self {
            Form::Metadata | Form::MetaGet => b"OK\r\n",
            _ => b"",
        }
    }

    /// The whole answer where there is nothing to show.
    pub fn empty(self) -> &'static [u8] {
        match self {
            Form::Metadata => b"OK\r\nEND\r\n",
            Form::MetaGet => b"OK\r\nEN\r\n",
            Form::Listing { .. } | Form::Sizes => self.end(),
        }
    }

    fn end(self) -> &'static [u8] {
        match self {
            Form::MetaGet => b"EN\r\n",
            _ => b"END\r\n",
        }
    }
}

/// The work of a moment at one shard: it travels to the shard's owner and comes back with lines.
pub struct Step {
    form: Form,
    /// CAS uniques are shown, else zeros.
    cas: bool,
    cursor: SlotCursor,
    lines: Vec<u8>,
    /// What a listing may still show.
    records_left: u32,
    bytes_left: usize,
    /// Records by the number of their size class, all steps so far.
    sizes: BTreeMap<u64, u64>,
}

impl Step {
    fn new(form: Form, cas: bool) -> Self {
        let records_left = match form {
            Form::Listing { records_max } if records_max > 0 => records_max,
            _ => u32::MAX,
        };
        Self {
            form,
            cas,
            cursor: whole_shard(),
            lines: Vec::new(),
            records_left,
            bytes_left: CACHEDUMP_BYTES_MAX,
            sizes: BTreeMap::new(),
        }
    }

    /// Shows some records of `shard`. Cost: at most [`DUMP_STEP_RECORDS`] records and some thousand empty buckets.
    pub fn run(&mut self, shard: &Shard, now: Now) {
        let mut cursor = self.cursor.clone();
        let mut records = 0;
        cursor.visit(shard, now, |record| {
            records += 1;
            self.show(&record, now);
            self.lines.len() < DUMP_STEP_BYTES && records < DUMP_STEP_RECORDS
        });
        self.cursor = cursor;
    }

    fn show(&mut self, record: &RecordRef<'_>, now: Now) {
        match self.form {
            Form::Metadata => push_metadata(record, self.cas, now, &mut self.lines),
            Form::MetaGet => push_meta_get(record.key(), &mut self.lines),
            Form::Listing { .. } => self.list(record),
            Form::Sizes => {
                let class = (record.footprint() as u64).div_ceil(SIZE_CLASS_BYTES);
                *self.sizes.entry(class).or_default() += 1;
            }
        }
    }

    fn list(&mut self, record: &RecordRef<'_>) {
        let before = self.lines.len();
        push_listing(record, &mut self.lines);
        if self.lines.len() == before {
            return;
        }
        if self.lines.len() > self.bytes_left || self.records_left == 0 {
            self.lines.truncate(before);
            self.records_left = 0;
            return;
        }
        self.records_left -= 1;
    }
}

/// A dump under way; it belongs to the session that asked for it.
pub struct Dump {
    /// Here, unless it is with a shard's owner.
    step: Option<Box<Step>>,
    shard: u16,
    shards: u16,
    is_over: bool,
    _crawl: Option<Crawl>,
}

impl Dump {
    /// Begins a dump over `shards` shards and writes what stands before its lines. `crawl` is held until its end.
    pub fn begin(form: Form, shards: u16, cas: bool, crawl: Option<Crawl>, output: &mut Output) -> Self {
        output.push(form.head());
        let step = Some(Box::new(Step::new(form, cas)));
        Self { step, shard: 0, shards, is_over: false, _crawl: crawl }
    }

    /// The next step and where it has to go; none while one is under way, and at the end.
    pub fn next_step(&mut self) -> Option<(ShardId, Box<Step>)> {
        if self.is_over {
            return None;
        }
        self.step.take().map(|step| (ShardId(self.shard), step))
    }

    /// Takes a step that has been run: its lines go out, and behind the last ones the end.
    pub fn take(&mut self, mut step: Box<Step>, output: &mut Output) {
        output.push(&step.lines);
        if matches!(step.form, Form::Listing { .. }) {
            step.bytes_left -= step.lines.len();
        }
        step.lines.clear();
        if step.records_left == 0 || (step.cursor.is_done() && self.shard + 1 == self.shards) {
            for (class, count) in &step.sizes {
                output.push(format!("STAT {} {count}\r\n", class * SIZE_CLASS_BYTES).as_bytes());
            }
            output.push(step.form.end());
            self.is_over = true;
            return;
        }
        if step.cursor.is_done() {
            self.shard += 1;
            step.cursor = whole_shard();
        }
        self.step = Some(step);
    }

    /// Everything has been written.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// A step is with another worker.
    pub fn is_away(&self) -> bool {
        !self.is_over && self.step.is_none()
    }
}

fn whole_shard() -> SlotCursor {
    SlotCursor::new(Slot(0), Slot(SLOTS as u16 - 1))
}

/// Whether a crawl is under way, and how many there were.
#[derive(Default)]
pub struct Crawls {
    running: Arc<AtomicBool>,
    starts: AtomicU64,
}

/// The right to crawl; one at a time in a node.
pub struct Crawl(Arc<AtomicBool>);

impl Crawls {
    /// Begins a crawl unless one is under way.
    pub fn begin(&self) -> Option<Crawl> {
        if self.running.swap(true, Ordering::Acquire) {
            return None;
        }
        self.starts.fetch_add(1, Ordering::Relaxed);
        Some(Crawl(Arc::clone(&self.running)))
    }

    /// One is under way.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Crawls so far.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }
}

impl Drop for Crawl {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn push_metadata(record: &RecordRef<'_>, cas: bool, now: Now, lines: &mut Vec<u8>) {
    let number = |lines: &mut Vec<u8>, name: &[u8], number: u64| {
        lines.extend_from_slice(name);
        push_u64(lines, number);
    };
    lines.extend_from_slice(b"key=");
    push_encoded(record.key(), lines);
    match record.expiry().left(now.seconds) {
        None => lines.extend_from_slice(b" exp=-1"),
        Some(_) => number(lines, b" exp=", u64::from(record.expiry().to_bits())),
    }
    let accessed = now.seconds.0.saturating_sub(record.idle_seconds(now.seconds));
    number(lines, b" la=", u64::from(accessed));
    number(lines, b" cas=", if cas { record.cas() } else { 0 });
    lines.extend_from_slice(if record.fetched() { b" fetch=yes cls=1" } else { b" fetch=no cls=1" });
    number(lines, b" size=", record.footprint() as u64);
    number(lines, b" flags=", u64::from(record.flags()));
    // memcached's line ends like this, a space and no carriage return.
    lines.extend_from_slice(b" \n");
}

/// A key that would not survive on a text line is shown in base64.
fn push_meta_get(key: &[u8], lines: &mut Vec<u8>) {
    lines.extend_from_slice(b"mg ");
    if is_plain(key) {
        lines.extend_from_slice(key);
    } else {
        base64::encode(key, lines);
        lines.extend_from_slice(b" b");
    }
    lines.extend_from_slice(b"\r\n");
}

fn push_listing(record: &RecordRef<'_>, lines: &mut Vec<u8>) {
    if !is_plain(record.key()) {
        return;
    }
    lines.extend_from_slice(b"ITEM ");
    lines.extend_from_slice(record.key());
    lines.extend_from_slice(b" [");
    push_u64(lines, record.value().len() as u64);
    lines.extend_from_slice(b" b; ");
    push_u64(lines, u64::from(record.expiry().to_bits()));
    lines.extend_from_slice(b" s]\r\n");
}

fn is_plain(key: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b' ' | b'\r' | b'\n' | 0))
}

/// Appends `key` with every byte but the unreserved ones of RFC 3986 as `%XX`.
pub fn push_encoded(key: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in key {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}
