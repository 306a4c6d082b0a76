//! Appending a record: reserve room, fill it, publish its location; and taking records out again.

use std::sync::atomic::Ordering;

use crate::engine::Shared;
use crate::expiry::{TTL_CLASSES, ttl_class};
use crate::hash::KeyHash;
use crate::index::Place;
use crate::memory::Reservation;
use crate::record::{
    CREDIT_OF_A_STORE, CREDIT_OF_AN_ACCESS, Draft, Kind, Location, RecordView, TOKEN_LATE, publish,
    with_credit,
};
use crate::shard::{Owner, Waiting};
use crate::slab::{Queue, SlabId, State};
use crate::time::{Expiry, Now, Seconds};

/// Shards with fewer slabs than this fold the classes of time to live.
const SLABS_FOR_ALL_CLASSES: u64 = 512;
/// Home buckets that each insertion moves while the index grows: more than insertions can fill.
const GROW_HOMES_PER_INSERT: u64 = 4;

/// And how many when keys crowd in one place.
const GROW_HOMES_WHEN_CROWDED: u64 = 1024;
/// Records that one round of making room reclaims.
const RECORDS_PER_ROUND: usize = 64;
/// Rounds per slab after which even records that are in demand are evicted: readers can raise frequencies as fast
/// as the queues lower them.
const ROUNDS_PATIENT: u64 = 64;

/// Memory could not be found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoMemory;

impl Owner {
    pub(super) fn class(&self, shared: &Shared, expiry: Expiry, now: Seconds) -> usize {
        let slabs = shared.pool.limit() / shared.slab_bytes / u64::from(shared.options.shards);
        ttl_class(expiry, now, slabs < SLABS_FOR_ALL_CLASSES)
    }

    /// Publishes `draft` as the record of its key: over the present one, or as a new key. Room is made first,
    /// because making room may move or evict the present record.
    pub(crate) fn put(
        &mut self,
        shared: &Shared,
        hash: KeyHash,
        draft: &Draft<'_>,
        now: Now,
    ) -> Result<Location, NoMemory> {
        let present = self.find(shared, hash, draft.key);
        let (queue, access) = self.beginning(shared, hash, draft.access, present);
        let draft = &Draft { access, ..*draft };
        let location = self
            .append(shared, draft, queue, now.seconds, shared.spare_bytes)
            .or_else(|| self.append(shared, draft, queue, now.seconds, 0))
            .ok_or(NoMemory)?;
        self.changes += 1;
        let counters = &self.part(shared).counters;
        counters.total_items.add(1);
        counters.bytes.add(draft.shape().total() as u64);
        if draft.kind == Kind::Tombstone {
            counters.tombstones.add(1);
        }
        match present {
            Some(place) => {
                self.index.replace(&self.part(shared).index, place, location);
                self.bury(shared, place.location);
            }
            None => self.insert(shared, hash, location, now)?,
        }
        Ok(location)
    }

    /// The queue and the access word that a record begins with. An overwrite keeps the queue and the credit of its key.
    /// A key that was evicted lately belongs in the main queue (S3-FIFO, section 4.2), and that it came back counts as
    /// an access.
    fn beginning(&self, shared: &Shared, hash: KeyHash, access: u32, present: Option<Place>) -> (Queue, u32) {
        match present {
            Some(place) => {
                let credit = RecordView::at(&shared.arena, place.location).credit();
                (self.slabs.get(self.slab_of(shared, place.location)).queue, with_credit(access, credit))
            }
            None if self.index.take_ghost(&self.part(shared).index, hash) => {
                (Queue::Main, with_credit(access, CREDIT_OF_A_STORE + CREDIT_OF_AN_ACCESS))
            }
            None => (Queue::Small, access),
        }
    }

    pub(super) fn insert(
        &mut self,
        shared: &Shared,
        hash: KeyHash,
        location: Location,
        now: Now,
    ) -> Result<(), NoMemory> {
        let arena = &shared.arena;
        let read = |location| RecordView::at(arena, location).hash();
        while self.index.insert(&self.part(shared).index, hash, location, read).is_err() {
            // Keys crowd here, as when a copy comes in bucket order: a larger table, at once.
            let is_growing = self.index.is_growing(&self.part(shared).index) || self.start_growth(shared);
            if is_growing && self.grow_index(shared, GROW_HOMES_WHEN_CROWDED, now) {
                continue;
            }
            if shared.options.evictions {
                let victim = self.index.neighbour(&self.part(shared).index, hash);
                self.evict(shared, victim.expect("a full run of lines begins with a full line"), now);
            } else {
                self.bury(shared, location);
                return Err(NoMemory);
            }
        }
        self.grow_index(shared, GROW_HOMES_PER_INSERT, now);
        Ok(())
    }

    /// Takes out a record that stands where a key must go.
    fn evict(&mut self, shared: &Shared, location: Location, now: Now) {
        let view = RecordView::at(&shared.arena, location);
        let place = self.index.find(&self.part(shared).index, view.hash(), |other| other == location);
        self.note_eviction(shared, location, now);
        self.take_out(shared, place.expect("the index named it"));
    }

    /// Makes sure that `bytes` can be appended without touching the spare. False when nothing more can be freed.
    pub(crate) fn make_room(&mut self, shared: &Shared, bytes: usize, expiry: Expiry, now: Now) -> bool {
        let bytes = bytes as u64;
        let class = self.class(shared, expiry, now.seconds);
        if bytes + shared.low_bytes > shared.pool.limit() {
            return false;
        }
        if !self.waiting.is_empty() {
            self.recycle(shared);
        }
        self.reclaim_for_write(shared, now);
        let mut rounds = 0;
        loop {
            if self.has_room(shared, bytes, class) {
                return true;
            }
            if self.waiting_bytes > self.waiting_bytes_max(shared) {
                self.recycle(shared);
                if self.waiting_bytes > self.waiting_bytes_max(shared) {
                    return false;
                }
            }
            let is_forced = rounds > ROUNDS_PATIENT * (self.slabs.used() + 16);
            if !self.reclaim(shared, now, RECORDS_PER_ROUND, is_forced) && !self.release_all(shared) {
                shared.pool.ask(bytes.max(shared.slab_bytes) + shared.low_bytes);
                return false;
            }
            rounds += 1;
        }
    }

    fn has_room(&self, shared: &Shared, bytes: u64, class: usize) -> bool {
        let left = shared.pool.left().saturating_sub(self.index_bytes_held(shared));
        if bytes > shared.run_bytes_min {
            return left >= bytes.next_multiple_of(crate::memory::PAGE_BYTES) + shared.spare_bytes;
        }
        let fits = |queue| {
            self.slabs
                .open(queue, class)
                .is_some_and(|id| self.slabs.get(id).filled + bytes <= shared.slab_bytes)
        };
        left >= shared.slab_bytes + shared.spare_bytes || (fits(Queue::Small) && fits(Queue::Main))
    }

    /// Without evictions the index could never get the memory to grow once slabs have it all: it is held back as
    /// soon as the next table is near.
    fn index_bytes_held(&self, shared: &Shared) -> u64 {
        if shared.options.evictions {
            return 0;
        }
        self.index.bytes_to_come(&self.part(shared).index, shared.small_table_bytes())
    }

    /// Appends a record to the open slab of its queue and class, or as a run. `spare` bytes stay behind.
    pub(super) fn append(
        &mut self,
        shared: &Shared,
        draft: &Draft<'_>,
        queue: Queue,
        now: Seconds,
        spare: u64,
    ) -> Option<Location> {
        let bytes = draft.shape().total();
        let class = self.class(shared, draft.expiry, now);
        let id = match self.slabs.open(queue, class) {
            _ if bytes as u64 > shared.run_bytes_min => {
                self.open_run(shared, bytes as u64, queue, class, spare)?
            }
            Some(id) if self.slabs.get(id).filled + bytes as u64 <= shared.slab_bytes => id,
            _ => match self.open_slab(shared, queue, class, spare) {
                Some(id) => id,
                // A copy goes among records of another class rather than nowhere.
                None if spare == 0 => self.roomy_slab(shared, queue, bytes as u64)?,
                None => return None,
            },
        };
        let slab = self.slabs.get_mut(id);
        let offset = u64::from(slab.number.0) * shared.slab_bytes + slab.filled;
        slab.filled += bytes as u64;
        slab.live += bytes as u64;
        slab.expiry.include(draft.expiry);
        slab.version_max = slab.version_max.max(draft.version);
        slab.has_late |= draft.token & TOKEN_LATE != 0;
        Some(publish(&shared.arena, Reservation { offset, bytes }, draft))
    }

    /// An open slab of any class with room for so much.
    fn roomy_slab(&self, shared: &Shared, queue: Queue, bytes: u64) -> Option<SlabId> {
        (0..TTL_CLASSES)
            .filter_map(|class| self.slabs.open(queue, class))
            .find(|&id| self.slabs.get(id).filled + bytes <= shared.slab_bytes)
    }

    fn open_slab(&mut self, shared: &Shared, queue: Queue, class: usize, spare: u64) -> Option<SlabId> {
        let number = shared.pool.take_slab(&shared.arena, spare)?;
        if let Some(full) = self.slabs.open(queue, class) {
            self.slabs.seal(queue, class);
            self.retire_if_dead(shared, full);
        }
        let id = self.slabs.add(number, queue, class, 0);
        shared.ids.as_slice()[number.0 as usize].store(id.0, Ordering::Relaxed);
        Some(id)
    }

    fn open_run(
        &mut self,
        shared: &Shared,
        bytes: u64,
        queue: Queue,
        class: usize,
        spare: u64,
    ) -> Option<SlabId> {
        let number = shared.pool.take_run(&shared.arena, bytes, spare)?;
        let id = self.slabs.add(number, queue, class, bytes);
        shared.ids.as_slice()[number.0 as usize].store(id.0, Ordering::Relaxed);
        Some(id)
    }

    /// Removes a key whose time is over, or that is evicted. While something older may still come from other nodes that
    /// take writes, a tombstone of its version stays and speaks against that.
    pub(super) fn end(&mut self, shared: &Shared, place: Place, now: Now) {
        let view = RecordView::at(&shared.arena, place.location);
        let may_come_back = self.settled.is_some_and(|settled| view.version() > settled);
        if may_come_back && view.kind() == Kind::Value && view.version() > self.flushed(shared) {
            let tombstone = Draft::tombstone(view.version(), view.key(), now);
            if let Some(location) = self.append(shared, &tombstone, Queue::Small, now.seconds, 0) {
                let part = self.part(shared);
                part.counters.bytes.add(tombstone.shape().total() as u64);
                part.counters.tombstones.add(1);
                self.index.replace(&part.index, place, location);
                return self.bury(shared, place.location);
            }
        }
        self.take_out(shared, place);
    }

    /// Removes a key without a word about it; its record is dead.
    pub(crate) fn take_out(&mut self, shared: &Shared, place: Place) {
        self.lose(shared, place.location);
        self.drop_record(shared, place);
    }

    /// Removes a key as if its record had never been there.
    pub(crate) fn drop_record(&mut self, shared: &Shared, place: Place) {
        self.index.remove(&self.part(shared).index, place);
        self.bury(shared, place.location);
    }

    /// Counts a record as dead once no bucket names it.
    pub(super) fn bury(&mut self, shared: &Shared, location: Location) {
        let view = RecordView::at(&shared.arena, location);
        let bytes = view.total() as u64;
        let counters = &self.part(shared).counters;
        counters.bytes.sub(bytes);
        if view.kind() == Kind::Tombstone {
            counters.tombstones.sub(1);
        }
        let id = self.slab_of(shared, location);
        let slab = self.slabs.get_mut(id);
        assert!(slab.live >= bytes, "a record dies once");
        slab.live -= bytes;
        self.retire_if_dead(shared, id);
    }

    /// Retires a sealed slab in which nothing lives, unless a job is inside it or followers need it.
    pub(super) fn retire_if_dead(&mut self, shared: &Shared, id: SlabId) {
        let slab = self.slabs.get(id);
        let in_job = self.job.as_ref().is_some_and(|job| job.id == id);
        if slab.state != State::Sealed || slab.live != 0 || in_job {
            return;
        }
        if self.is_needed(id) { self.hold(shared, id) } else { self.retire(shared, id) }
    }

    pub(super) fn retire(&mut self, shared: &Shared, id: SlabId) {
        let slab = self.slabs.get(id);
        let (is_run, cost) = (slab.is_run(), slab.cost(shared.slab_bytes));
        let (run_bytes, lost) = (slab.run_bytes, slab.lost_max);
        self.forget(lost);
        self.slabs.retire(id);
        if is_run {
            shared.pool.retire_run(run_bytes)
        } else {
            shared.pool.retire_slab()
        }
        self.waiting_bytes += cost;
        self.waiting.push_back((shared.turns.retire(), Waiting::Slab(id)));
    }

    /// Hands back what no reader can hold any more.
    pub(super) fn recycle(&mut self, shared: &Shared) {
        while let Some((stamp, _)) = self.waiting.front()
            && shared.turns.passed(*stamp)
        {
            match self.waiting.pop_front().expect("checked above").1 {
                Waiting::Slab(id) => self.recycle_slab(shared, id),
                Waiting::OlderTable(bytes) => {
                    self.index.release_older(&self.part(shared).index);
                    shared.pool.recycle_table(bytes);
                }
            }
        }
        let mut pinned = std::mem::take(&mut self.pinned);
        pinned.retain(|&(number, bytes)| {
            let is_free = self.recycle_run(shared, number, bytes);
            if is_free {
                shared.pool.retire_run(bytes);
            }
            !is_free
        });
        self.pinned = pinned;
    }

    fn recycle_slab(&mut self, shared: &Shared, id: SlabId) {
        let slab = self.slabs.remove(id);
        self.waiting_bytes -= slab.cost(shared.slab_bytes);
        if !slab.is_run() {
            shared.pool.recycle_slab(&shared.arena, slab.number);
        } else if !self.recycle_run(shared, slab.number, slab.run_bytes) {
            shared.pool.hold_run(slab.run_bytes);
            self.pinned.push((slab.number, slab.run_bytes));
        }
    }

    /// False while a send still reads from the run.
    fn recycle_run(&self, shared: &Shared, number: crate::pool::SlabNumber, bytes: u64) -> bool {
        if shared.pins.as_slice()[number.0 as usize].load(Ordering::Acquire) != 0 {
            return false;
        }
        shared.pool.recycle_run(&shared.arena, number, bytes);
        true
    }

    /// Begins with the next larger table, if there can be one.
    fn start_growth(&mut self, shared: &Shared) -> bool {
        let index = &self.part(shared).index;
        self.index.can_grow(index) && self.index.start_growth(index, shared.small_table_bytes()).is_ok()
    }

    /// Moves some home buckets; starts a larger table when the load asks for one. False when nothing is to be moved, or
    /// memory for the next part of the table must be found first.
    pub(super) fn grow_index(&mut self, shared: &Shared, homes: u64, now: Now) -> bool {
        let part = self.part(shared);
        if self.index.wants_growth(&part.index) {
            self.start_growth(shared);
        }
        if !self.index.is_growing(&part.index) || !self.grant_growth(shared) {
            return false;
        }
        let arena = &shared.arena;
        let mut lost = Vec::new();
        let expect = |location: Location| arena.prefetch(location.offset());
        let read = |location| RecordView::at(arena, location).hash();
        let outgrown = self.index.grow(&part.index, homes, expect, read, |location| lost.push(location));
        for location in lost {
            self.note_eviction(shared, location, now);
            self.lose(shared, location);
            self.bury(shared, location);
        }
        let released = self.index.release_moved(&part.index);
        if released > 0 {
            shared.pool.retire_table(released);
            shared.pool.recycle_table(released);
        }
        if let Some(bytes) = outgrown {
            shared.pool.retire_table(bytes);
            self.waiting.push_back((shared.turns.retire(), Waiting::OlderTable(bytes)));
        }
        true
    }

    /// Takes memory for the next part of a growing table, where it has come to the end of what it has.
    fn grant_growth(&mut self, shared: &Shared) -> bool {
        let index = &self.part(shared).index;
        let bytes = self.index.lacks_bytes(index);
        if bytes == 0 {
            return true;
        }
        let is_granted = shared.pool.take_table(&shared.arena, bytes, shared.spare_bytes);
        if is_granted {
            self.index.grant(index);
        }
        is_granted
    }
}
