//! The log of a shard as a stream: cursors that hand out what was written, in bounded steps.
//!
//! ```text
//! sequence   1    2    3    4    5    6    7
//!          [####][##..][    ][####][#...][####][##..]      # filled, . free, 3 was retired
//!             past: up to where the log ended         tail: what came since
//!             when the cursor began to read
//! ```
//!
//! A cursor stands in the log, not in time: it knows how far it read each slab that still grows, and that all before
//! these are read. What it reads it hands out if that is new to its follower: its version is above the position that the
//! follower had. A copy that the cleaner carried forward keeps its version, so what was handed out once is not again,
//! and what was not yet is met again further on. When nothing is unread the cursor stands at the shard's position.
//!
//! A record is handed out if it is the last word about its key: the index names it, or it went without a newer one, as
//! when it was evicted or its time was over before its follower came by. An older copy that a follower holds would
//! outlive it otherwise. What nobody could read any more in time, [`Shard::forgotten`] tells.
//!
//! Past and tail are read in turns, so that a full copy that takes long does not let the tail grow old. A cursor holds
//! no reference into the shard; its clone is a snapshot to go back to. docs/decisions/0014-log-as-stream.md has the
//! reasons.

mod reading;

use crate::log::reading::{Asked, Reading};
use crate::reader::{PinnedValue, RecordRef};
use crate::record::{Draft, RecordView};
use crate::shard::Shard;
use crate::slab::{SlabId, State};
use crate::time::Now;
use crate::version::Version;

/// What a step of a cursor ended with.
pub enum Step {
    /// As much as was asked for, or as one step looks through; more is to come.
    Full,
    /// A record with memory of its own. It comes after what earlier steps put out, and after its touch if this one did.
    Large(LargeRecord),
    /// Nothing is unread: everything up to this version was handed out.
    CaughtUp(Version),
}

/// A record whose value stays where it is.
pub struct LargeRecord {
    /// The record's bytes before its value: header, optional fields, key.
    pub head: Vec<u8>,
    /// The value. Its memory is not used again before this is dropped.
    pub value: PinnedValue,
    /// Zeros that follow it.
    pub padding: u8,
}

impl LargeRecord {
    /// The record, if it has memory of its own.
    pub(crate) fn pin(record: RecordRef<'_>, view: RecordView<'_>) -> Option<Self> {
        let value = record.pin()?;
        let mut head = Vec::new();
        view.copy_head_to(&mut head);
        Some(Self { head, value, padding: view.padding() })
    }
}

/// Follows a shard's log from a position on.
#[derive(Clone, Debug)]
pub struct LogCursor {
    /// What the follower had, or has since nothing was unread.
    position: Version,
    /// Writes since the cursor began were handed out up to here.
    reached: Version,
    /// Only what this node wrote.
    origin: Option<u8>,
    /// The flush that was handed out last.
    flushed: Version,
    /// The end of the log was noted, which parts past and tail.
    has_begun: bool,
    /// What was there then and is not read yet.
    past: Past,
    tail: Tail,
    /// Whose turn it is to be read first.
    is_tails_turn: bool,
}

/// The log as it was when the cursor began.
#[derive(Clone, Debug, Default)]
struct Past {
    /// The slab to read, and how far it is read.
    sequence: u64,
    read_to: u64,
    /// The first slab that was not there.
    until: u64,
    /// Slabs that were open then, and how far they were filled.
    ends: Vec<(u64, u64)>,
}

/// The log since.
#[derive(Clone, Debug, Default)]
struct Tail {
    /// Slabs that may still grow or are not read to their end, in their order: at most one of each class and queue, and
    /// those that were sealed since the last step.
    open: Vec<OpenSlab>,
    /// The first slab that was not met yet.
    frontier: u64,
    /// The slab in which the last step ended. The next one begins there: a large record that has to come alone would wait
    /// for ever behind small ones that others go on writing.
    stopped_in: u64,
}

#[derive(Clone, Copy, Debug)]
struct OpenSlab {
    id: SlabId,
    sequence: u64,
    read_to: u64,
}

impl LogCursor {
    /// Hands out what is newer than `position`; `Version::ZERO` is a full copy.
    pub fn new(position: Version) -> Self {
        Self {
            position,
            reached: position,
            origin: None,
            flushed: Version::ZERO,
            has_begun: false,
            past: Past::default(),
            tail: Tail::default(),
            is_tails_turn: false,
        }
    }

    /// Hands out only what node `node` wrote: among nodes that all take writes, each sends its own.
    pub fn of_origin(self, node: u8) -> Self {
        Self { origin: Some(node), ..self }
    }

    /// Everything up to here was handed out, as far as it is alive.
    pub fn position(&self) -> Version {
        self.position
    }

    /// Losses up to here do not matter to this cursor any more: what [`Shard::set_followed`] is told. During a full copy
    /// it runs ahead of the position, because what goes before it is copied needs no word.
    pub fn followed(&self) -> Version {
        self.reached
    }

    /// Whether the log has lost something that this cursor should still have handed out, so that only a full copy makes
    /// its follower equal. Never so for a full copy that has not begun.
    pub fn has_lost(&self, shard: &Shard) -> bool {
        let is_new_copy = !self.has_begun && self.position == Version::ZERO;
        !is_new_copy && shard.forgotten() > self.reached
    }

    /// Appends whole records to `out`, about `bytes` of them. A large record is given by itself, when nothing else was
    /// appended. Cost: what it copies, and a look into the index for each record; some ten
    /// nanoseconds when nothing is new.
    pub fn read(&mut self, shard: &mut Shard, now: Now, bytes: usize, out: &mut Vec<u8>) -> Step {
        self.begin(shard);
        let before = out.len();
        self.show_flush(shard, out);
        let is_full_copy = self.position == Version::ZERO;
        let asked = Asked { above: self.position, origin: self.origin, is_full_copy };
        let mut reading = Reading::new(shard, asked, now, before, bytes, out);
        self.is_tails_turn = !self.is_tails_turn;
        let step = if self.is_tails_turn {
            self.tail.read(&mut reading).or_else(|| self.past.read(&mut reading))
        } else {
            self.past.read(&mut reading).or_else(|| self.tail.read(&mut reading))
        };
        let is_past_read = self.past.is_read();
        if self.tail.is_read(shard) && (is_full_copy || is_past_read) {
            self.reached = shard.position();
        }
        let Some(step) = step else {
            self.position = self.reached;
            return Step::CaughtUp(self.position);
        };
        step
    }

    /// Takes note of where the log ends, once; the first read does it where nobody has. A snapshot from before that is no
    /// place to go back to once something was read: it would begin later.
    pub fn begin(&mut self, shard: &mut Shard) {
        if self.has_begun {
            return;
        }
        let began = shard.position();
        let slabs = &shard.owner.slabs;
        let open =
            slabs.all_open().map(|(id, slab)| OpenSlab { id, sequence: slab.sequence, read_to: slab.filled });
        let mut open: Vec<OpenSlab> = open.collect();
        open.sort_unstable_by_key(|slab| slab.sequence);
        let ends = open.iter().map(|slab| (slab.sequence, slab.read_to)).collect();
        let frontier = slabs.next_sequence();
        self.past = Past { sequence: 0, read_to: 0, until: frontier, ends };
        self.tail = Tail { open, frontier, stopped_in: 0 };
        if self.position == Version::ZERO {
            self.reached = began;
        }
        self.has_begun = true;
    }

    /// A flush comes before what was written after it, and as often as another one is in force.
    fn show_flush(&mut self, shard: &Shard, out: &mut Vec<u8>) {
        let flushed = shard.flushed();
        if flushed == self.flushed {
            return;
        }
        self.flushed = flushed;
        Draft::append_flush(flushed, out);
    }
}

impl Past {
    fn read(&mut self, reading: &mut Reading<'_>) -> Option<Step> {
        reading.enter_past();
        while let Some((id, slab)) = reading.slabs().first_from(self.sequence) {
            let (sequence, filled, may_be_new) = (slab.sequence, slab.filled, reading.may_ask_for(slab));
            if sequence >= self.until {
                break;
            }
            if sequence != self.sequence {
                (self.sequence, self.read_to) = (sequence, 0);
            }
            let end = self.ends.iter().find(|end| end.0 == sequence).map_or(filled, |end| end.1);
            if may_be_new && let Some(step) = reading.read_slab(id, &mut self.read_to, end) {
                return Some(step);
            }
            (self.sequence, self.read_to) = (sequence + 1, 0);
        }
        self.sequence = self.until;
        None
    }

    fn is_read(&self) -> bool {
        self.sequence == self.until
    }
}

impl Tail {
    fn read(&mut self, reading: &mut Reading<'_>) -> Option<Step> {
        reading.enter_tail();
        let stopped_in = self.open.iter_mut().find(|open| open.sequence == self.stopped_in);
        if let Some(step) = stopped_in.and_then(|open| open.read(reading)) {
            return Some(step);
        }
        loop {
            for open in &mut self.open {
                if let Some(step) = open.read(reading) {
                    self.stopped_in = open.sequence;
                    return Some(step);
                }
            }
            let slabs = reading.slabs();
            let can_grow = |open: &OpenSlab| {
                slabs.in_log(open.id, open.sequence).is_some_and(|slab| slab.state == State::Open)
            };
            self.open.retain(can_grow);
            if self.frontier == slabs.next_sequence() {
                return None;
            }
            let Some((id, slab)) = slabs.first_from(self.frontier) else {
                self.frontier = slabs.next_sequence();
                return None;
            };
            self.frontier = slab.sequence + 1;
            self.open.push(OpenSlab { id, sequence: slab.sequence, read_to: 0 });
        }
    }

    /// Whether nothing was written since it was read.
    fn is_read(&self, shard: &Shard) -> bool {
        let slabs = &shard.owner.slabs;
        let is_read = |open: &OpenSlab| {
            slabs.in_log(open.id, open.sequence).is_none_or(|slab| slab.filled == open.read_to)
        };
        self.frontier == slabs.next_sequence() && self.open.iter().all(is_read)
    }
}

impl OpenSlab {
    fn read(&mut self, reading: &mut Reading<'_>) -> Option<Step> {
        let filled = reading.slabs().in_log(self.id, self.sequence)?.filled;
        reading.read_slab(self.id, &mut self.read_to, filled)
    }
}
