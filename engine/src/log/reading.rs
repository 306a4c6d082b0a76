//! One step of a cursor: which records of a slab are handed out, and as what.

use crate::engine::Shared;
use crate::limits::SCAN_BYTES_MIN;
use crate::log::{LargeRecord, Step};
use crate::reader::RecordRef;
use crate::record::{Kind, Location, RecordView, TOKEN_LATE, Touched};
use crate::shard::{BATCH, Owner, Shard};
use crate::slab::{Slab, SlabId, Slabs};
use crate::version::Version;

/// What is new to a follower.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Versions above this one.
    pub(super) above: Version,
    /// Of this node only.
    pub(super) origin: Option<u8>,
    /// Of what is dead, nothing up to here: a full copy needs no word about what was gone before it began.
    pub(super) known: Version,
}

/// What one step reads from, and puts out.
pub(super) struct Reading<'a> {
    shard: &'a Shard,
    asked: Asked,
    flushed: Version,
    bytes: usize,
    out: &'a mut Vec<u8>,
    /// Bytes of slabs that it may still look through.
    left: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(shard: &'a Shard, asked: Asked, bytes: usize, out: &'a mut Vec<u8>) -> Self {
        let left = SCAN_BYTES_MIN.max(4 * bytes as u64);
        Self { shard, asked, flushed: shard.flushed(), bytes, out, left }
    }

    pub(super) fn slabs(&self) -> &'a Slabs {
        &self.shard.owner.slabs
    }

    /// Whether a slab holds something that is asked for.
    pub(super) fn may_ask_for(&self, slab: &Slab) -> bool {
        slab.version_max > self.asked.above || slab.has_late
    }

    /// Reads a slab from `read_to` to `end`, as far as the step goes.
    pub(super) fn read_slab(&mut self, id: SlabId, read_to: &mut u64, end: u64) -> Option<Step> {
        let (owner, shared) = self.parts();
        let start = u64::from(owner.slabs.get(id).number.0) * shared.slab_bytes;
        while *read_to < end {
            if self.left == 0 {
                return Some(Step::Full);
            }
            let mut batch = [None; BATCH];
            let to = owner.load_batch(shared, start, *read_to, end, &mut batch);
            for location in batch.into_iter().flatten() {
                let view = RecordView::at(&shared.arena, location);
                if !self.is_asked_for(view) {
                    continue;
                }
                *read_to = location.offset() - start;
                if self.out.len() >= self.bytes {
                    return Some(Step::Full);
                }
                if let Some(step) = self.show(view, read_to) {
                    return Some(step);
                }
            }
            self.left = self.left.saturating_sub(to - *read_to);
            *read_to = to;
        }
        None
    }

    fn parts(&self) -> (&'a Owner, &'a Shared) {
        (&self.shard.owner, &self.shard.shared)
    }

    /// Puts a record out. A large one ends the step; it has a slab of its own.
    fn show(&mut self, view: RecordView<'_>, read_to: &mut u64) -> Option<Step> {
        let Some(record) = LargeRecord::pin(RecordRef::new(&self.shard.shared, view), view) else {
            view.copy_to(self.out);
            return None;
        };
        if !self.out.is_empty() {
            return Some(Step::Full);
        }
        *read_to += view.total() as u64;
        Some(Step::Large(record))
    }

    fn is_asked_for(&self, view: RecordView<'_>) -> bool {
        let version = view.version();
        let is_new = version > self.asked.above || view.token() & TOKEN_LATE != 0;
        let is_asked = is_new && self.asked.origin.is_none_or(|node| version.node() == node);
        is_asked
            && match view.kind() {
                Kind::Value | Kind::Tombstone => self.is_last_word(view),
                Kind::Touch => self.is_in_force(view),
                // It is told by the shard's word, not by the log.
                Kind::Flush => false,
            }
    }

    /// Whether the log says nothing newer about the record's key.
    fn is_last_word(&self, view: RecordView<'_>) -> bool {
        if view.version() <= self.flushed {
            return false;
        }
        let is_known = view.version() <= self.asked.known;
        let present = self.find(view, |other| {
            other == view.location() || (!is_known && self.view(other).has_key(view.key()))
        });
        present.map_or(!is_known, |present| present == view.location())
    }

    /// Whether a touch is still what its record says. A later one comes further on.
    fn is_in_force(&self, view: RecordView<'_>) -> bool {
        let Some(touched) = Touched::of(view.value()) else { return false };
        let present = self.find(view, |other| self.view(other).has_key(view.key()));
        present.map_or(view.version() > self.asked.known, |present| {
            let present = self.view(present);
            present.version() == touched.version && present.expiry() == touched.expiry
        })
    }

    fn view(&self, location: Location) -> RecordView<'a> {
        RecordView::at(&self.shard.shared.arena, location)
    }

    fn find(&self, view: RecordView<'_>, accept: impl FnMut(Location) -> bool) -> Option<Location> {
        let (owner, shared) = self.parts();
        owner.index.find(&owner.part(shared).index, view.hash(), accept).map(|place| place.location)
    }
}
