//! Looking after records that nobody asks for: memory that has changed by itself is found by their checksums.
//!
//! A damaged record goes, and its slab with it: behind a length that is wrong no walk finds the next record. What is
//! intact there is carried elsewhere, found through the index.

use crate::engine::Shared;
use crate::record::{Location, RecordView};
use crate::shard::{Owner, Shard};
use crate::slab::{SlabId, State};
use crate::time::Now;

/// Where a scrub stands. After the end it begins anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScrubCursor {
    sequence: u64,
    read_to: u64,
}

/// What one step of a scrub has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Records whose checksum was compared, dead ones included.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Living records that were damaged, and are gone.
    pub damaged: u64,
    /// The end of the log was reached.
    pub is_done: bool,
}

impl Shard {
    /// Compares the checksums of the next `bytes` of the log. A damaged record that was alive is never served again.
    /// Cost: a pass over the bytes; where a record is damaged, one over the index too.
    pub fn scrub_step(&mut self, cursor: &mut ScrubCursor, bytes: u64, now: Now) -> Scrubbed {
        let (owner, shared) = (&mut self.owner, &*self.shared);
        let mut scrubbed = Scrubbed::default();
        while scrubbed.bytes < bytes {
            let Some((id, slab)) = owner.slabs.first_from(cursor.sequence) else {
                *cursor = ScrubCursor::default();
                scrubbed.is_done = true;
                break;
            };
            if slab.sequence != cursor.sequence {
                *cursor = ScrubCursor { sequence: slab.sequence, read_to: 0 };
            }
            if cursor.read_to >= slab.filled {
                *cursor = ScrubCursor { sequence: cursor.sequence + 1, read_to: 0 };
                continue;
            }
            let offset = u64::from(slab.number.0) * shared.slab_bytes + cursor.read_to;
            let view = RecordView::at(&shared.arena, Location::from_offset(offset));
            if !view.is_plausible(slab.filled - cursor.read_to) || !view.is_intact() {
                scrubbed.damaged += owner.evacuate(shared, id, now);
                continue;
            }
            scrubbed.records += 1;
            scrubbed.bytes += view.total() as u64;
            cursor.read_to += view.total() as u64;
        }
        owner.publish_items(shared);
        scrubbed
    }
}

impl Owner {
    /// Gives a slab up: what is intact and alive in it is carried elsewhere. Returns how many living records were damaged.
    fn evacuate(&mut self, shared: &Shared, id: SlabId, now: Now) -> u64 {
        if self.job.as_ref().is_some_and(|job| job.id == id) {
            self.job = None;
        }
        let slab = self.slabs.get(id);
        let (queue, class, sequence) = (slab.queue, slab.class, slab.sequence);
        let start = u64::from(slab.number.0) * shared.slab_bytes;
        let end = start + slab.filled;
        if slab.state == State::Open {
            self.slabs.seal(queue, class);
        }
        let is_inside = |location: Location| (start..end).contains(&location.offset());
        let mut damaged = 0;
        for location in self.index.locations(&self.part(shared).index, is_inside) {
            let view = RecordView::at(&shared.arena, location);
            let is_intact = view.is_plausible(end - location.offset()) && view.is_intact();
            if !is_intact || !self.carry_or_evict(shared, location, now) {
                self.index.strike(&self.part(shared).index, location);
                damaged += 1;
            }
        }
        self.end_damaged(shared, id, sequence);
        damaged
    }

    /// False when the index does not find the record where its key should be: the key was changed with its checksum.
    fn carry_or_evict(&mut self, shared: &Shared, location: Location, now: Now) -> bool {
        let view = RecordView::at(&shared.arena, location);
        let find = |owner: &Self| {
            owner.index.find(&owner.part(shared).index, view.hash(), |other| other == location)
        };
        let Some(place) = find(self) else { return false };
        let queue = self.slabs.get(self.slab_of(shared, location)).queue;
        self.carry(shared, place, queue, view.access(), now);
        if let Some(place) = find(self) {
            self.take_out(shared, place);
        }
        true
    }

    /// What still counts as alive in a slab that was evacuated is damaged. Followers can't read it: what it said to them
    /// is forgotten.
    fn end_damaged(&mut self, shared: &Shared, id: SlabId, sequence: u64) {
        if self.slabs.in_log(id, sequence).is_none() {
            return;
        }
        let slab = self.slabs.get_mut(id);
        let (lost, bytes) = (slab.version_max, slab.live);
        slab.live = 0;
        self.part(shared).counters.bytes.sub(bytes);
        self.forget(lost);
        self.give_up(shared, id);
    }
}
