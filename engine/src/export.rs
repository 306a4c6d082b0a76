//! Cursors that hand out living records, by slot or by log position, in bounded steps.
//!
//! A cursor holds no reference into the shard between its steps, only a hash or positions, so that it survives
//! index growth, cleaning and eviction, and a link or a file may take its time.
//!
//! The log cursor works in passes. A pass has a target: the shard's position when it began. It visits every slab
//! whose highest version is above where the cursor stands, up to what is filled, and remembers how far it read
//! each. Records that the cleaner copies forward meanwhile land behind what was read, so a pass that ends with
//! nothing unread has seen every living record up to its target, and the cursor stands there.

use std::collections::HashMap;

use crate::hash::{Order, Slot};
use crate::reader::{Life, RecordRef, life};
use crate::record::{Kind, Location, RecordView};
use crate::shard::Shard;
use crate::slab::{SlabId, State};
use crate::time::Now;
use crate::version::Version;

/// Home buckets that one read of a slot cursor looks at, so that it is bounded where few keys are asked for.
const HOMES_PER_READ: usize = 4096;

/// Walks the living records of a range of slots. It passes over the whole index, 64 bytes for six keys, and touches
/// only the records that it hands out; so ask for many slots at once.
#[derive(Clone, Debug)]
pub struct SlotCursor {
    next: Option<Order>,
    first: Slot,
    last: Slot,
}

impl SlotCursor {
    /// From `first` to `last`, both included.
    pub fn new(first: Slot, last: Slot) -> Self {
        assert!(first <= last && usize::from(last.0) < crate::limits::SLOTS, "a range of slots");
        Self { next: Some(Order(0)), first, last }
    }

    /// Everything was handed out.
    pub fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// Appends records to `out` until it holds `bytes`, the end is reached, or some thousand buckets were passed. A
    /// key that is written while the cursor is under way is handed out before or after, or left to the log.
    pub fn read(&mut self, shard: &Shard, now: Now, bytes: usize, out: &mut Vec<u8>) {
        let flushed = shard.owner.flushed(&shard.shared);
        self.walk(shard, |view| {
            if matches!(life(view, flushed, now.seconds), Life::Alive | Life::Deleted) {
                view.copy_to(out);
            }
            out.len() < bytes
        });
    }

    /// Shows living records without copying them, until `visit` answers that it has seen enough, the end is reached,
    /// or some thousand buckets were passed; the rest of a bucket is shown in any case. Over all calls of a cursor a
    /// key is shown at most once, and a key that lives all the time exactly once, however it is written meanwhile.
    pub fn visit(&mut self, shard: &Shard, now: Now, mut visit: impl FnMut(RecordRef<'_>) -> bool) {
        let flushed = shard.owner.flushed(&shard.shared);
        self.walk(shard, |view| match life(view, flushed, now.seconds) {
            Life::Alive => visit(RecordRef::new(&shard.shared, view)),
            Life::Deleted | Life::Expired | Life::Flushed => true,
        });
    }

    /// Goes from home bucket to home bucket while `visit` wants more.
    fn walk(&mut self, shard: &Shard, mut visit: impl FnMut(RecordView<'_>) -> bool) {
        let (owner, shared) = (&shard.owner, &*shard.shared);
        let index = &owner.part(shared).index;
        let asked = self.first..=self.last;
        let mut wants_more = true;
        for _ in 0..HOMES_PER_READ {
            let Some(from) = self.next.filter(|_| wants_more) else { return };
            self.next = owner.index.visit_home(
                index,
                from,
                |slot| asked.contains(&slot),
                |location| RecordView::at(&shared.arena, location).hash(),
                |location| wants_more &= visit(RecordView::at(&shared.arena, location)),
            );
        }
    }
}

/// Follows a shard's log from a position on.
#[derive(Clone, Debug)]
pub struct LogCursor {
    /// Everything up to here was handed out.
    position: Version,
    /// Where the pass under way will stand when it ends.
    target: Option<Version>,
    /// How far each slab was read in this pass, by its sequence.
    read_to: HashMap<u64, u64>,
}

impl LogCursor {
    /// Hands out what is newer than `position`; `Version::ZERO` is a full copy.
    pub fn new(position: Version) -> Self {
        Self { position, target: None, read_to: HashMap::new() }
    }

    /// Every living record with a version up to here was handed out.
    pub fn position(&self) -> Version {
        self.position
    }

    /// Appends records to `out` until it holds `bytes`. True when the pass has ended: the cursor stands at a new
    /// position, and what was written since waits for the next pass.
    pub fn read(&mut self, shard: &Shard, now: Now, bytes: usize, out: &mut Vec<u8>) -> bool {
        let target = *self.target.get_or_insert(shard.position());
        while let Some((id, from)) = self.next_unread(shard) {
            let to = self.read_slab(shard, id, from, target, now, bytes, out);
            self.read_to.insert(shard.owner.slabs.get(id).sequence, to);
            if out.len() >= bytes {
                return false;
            }
        }
        self.position = target;
        self.target = None;
        self.read_to.clear();
        true
    }

    /// The oldest slab with something unread that may be new.
    fn next_unread(&self, shard: &Shard) -> Option<(SlabId, u64)> {
        let unread = shard.owner.slabs.iter().filter_map(|(id, slab)| {
            let from = self.read_to.get(&slab.sequence).copied().unwrap_or(0);
            let is_new =
                slab.version_max > self.position && from < slab.filled && slab.state != State::Retired;
            is_new.then_some((slab.sequence, id, from))
        });
        unread.min_by_key(|&(sequence, ..)| sequence).map(|(_, id, from)| (id, from))
    }

    #[expect(clippy::too_many_arguments, reason = "one pass step: where, how far, until when, into what")]
    fn read_slab(
        &self,
        shard: &Shard,
        id: SlabId,
        from: u64,
        target: Version,
        now: Now,
        bytes: usize,
        out: &mut Vec<u8>,
    ) -> u64 {
        let (owner, shared) = (&shard.owner, &*shard.shared);
        let slab = owner.slabs.get(id);
        let start = u64::from(slab.number.0) * shared.slab_bytes;
        let mut at = from;
        while at < slab.filled && out.len() < bytes {
            let location = Location::from_offset(start + at);
            let view = RecordView::at(&shared.arena, location);
            at += view.total() as u64;
            let is_asked = view.version() > self.position && view.version() <= target;
            if is_asked && self.is_current(shard, view, location, now) {
                view.copy_to(out);
            }
        }
        at
    }

    /// Whether a record of the log still says something: it is its key's record, or a change.
    fn is_current(&self, shard: &Shard, view: RecordView<'_>, location: Location, now: Now) -> bool {
        let (owner, shared) = (&shard.owner, &*shard.shared);
        if matches!(view.kind(), Kind::Touch | Kind::Flush) {
            return true;
        }
        let is_alive = matches!(life(view, owner.flushed(shared), now.seconds), Life::Alive | Life::Deleted);
        is_alive
            && owner.index.find(&owner.part(shared).index, view.hash(), |other| other == location).is_some()
    }
}
