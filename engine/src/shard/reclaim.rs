//! Making room: expiry, cleaning and eviction as jobs over one slab at a time, in steps of some records.
//!
//! Which slab, in this order: one whose records are all over; one that is mostly dead (its living are copied
//! forward); the oldest of the small queue while that holds more than its share, else the oldest of the main
//! queue, as in S3-FIFO. What stays of it, `price` says. Runs of one large record change their queue without being copied.

use crate::engine::Shared;
use crate::expiry::ExpirySpan;
use crate::index::Place;
use crate::limits::EVICTED_MAX;
use crate::reader::{Life, life};
use crate::record::{Draft, Kind, Location, RecordView, with_credit};
use crate::shard::{Evicted, Owner};
use crate::slab::{Queue, SlabId, State};
use crate::time::{Expiry, Now};

/// Share of a slab that copying its living must give back to be worth it.
const CLEAN_PERCENT_MIN: u64 = 12;
/// Without evictions nearly everything is worth it.
const CLEAN_PERCENT_MIN_NO_EVICTIONS: u64 = 2;
/// Share of the small queue.
const SMALL_PERCENT: u64 = 5;
/// Slabs that a shard lacks at its part of the memory when it waits for others to give some back.
const POOR_SLABS: u64 = 2;
/// Records that one write helps to reclaim while memory is short.
const RECORDS_PER_WRITE: usize = 16;
/// Records that one call in the background reclaims.
const RECORDS_PER_TURN: usize = 256;
/// Records whose index lines are loaded together.
pub(crate) const BATCH: usize = 16;
/// Slabs that one search for expired ones looks at.
const SWEEP_SLABS: usize = 64;

/// Why a slab is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Only take out what is over.
    Sweep,
    /// Copy the living forward.
    Clean,
    /// Keep of the living what can pay for its bytes.
    Evict,
}

/// A walk through one slab.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: SlabId,
    purpose: Purpose,
    /// Where it goes on.
    offset: u64,
    /// Span of what stays, for a sweep.
    stays: ExpirySpan,
    /// Bytes that an eviction kept.
    kept: u64,
}

impl Owner {
    /// A write's share of the work while memory is short. A shard that has less than its part of the memory leaves
    /// the work to those that have more: else the one that misses and writes most would evict most, and stay poor.
    #[inline]
    pub(super) fn reclaim_for_write(&mut self, shared: &Shared, now: Now) {
        if !self.is_short(shared) {
            return;
        }
        if self.bytes_held() + POOR_SLABS * shared.slab_bytes < shared.share_bytes() {
            shared.pool.ask(shared.low_bytes + shared.slab_bytes);
        } else {
            self.reclaim(shared, now, RECORDS_PER_WRITE, false);
        }
    }

    fn bytes_held(&self) -> u64 {
        self.slabs.committed() + self.index.bytes()
    }

    /// The background's share. True when more is to be done at once.
    pub(super) fn reclaim_in_background(&mut self, shared: &Shared, now: Now) -> bool {
        if self.is_short(shared) && self.reclaim(shared, now, RECORDS_PER_TURN, false) {
            return true;
        }
        if self.job.is_none() {
            self.job = self.find_expired(shared, now);
        }
        if self.job.is_some() {
            self.step(shared, now, RECORDS_PER_TURN, false);
        }
        self.job.is_some()
    }

    fn is_short(&self, shared: &Shared) -> bool {
        let own = shared.low_bytes + self.index.lacks_bytes(&self.part(shared).index);
        let is_rich = self.bytes_held() > shared.share_bytes();
        shared.pool.left() < if is_rich { own.max(shared.pool.demand()) } else { own }
    }

    /// Works on the current job, or finds one. False when there is nothing to reclaim. With `force` even records
    /// that were asked for are evicted.
    pub(super) fn reclaim(&mut self, shared: &Shared, now: Now, records: usize, force: bool) -> bool {
        if self.job.is_none() {
            self.job = self.find_expired(shared, now).or_else(|| self.choose(shared));
        }
        if self.job.is_none() {
            return false;
        }
        let cleaned = self.job.as_ref().filter(|job| job.purpose == Purpose::Clean).map(|job| job.id);
        self.step(shared, now, records, force);
        // A copy that found no memory has given up its slab with living records in it: nothing can be freed.
        let has_given_up = |id| self.job.is_none() && self.slabs.get(id).live > 0;
        !cleaned.is_some_and(has_given_up)
    }

    /// Looks at some slabs of the book for one that is over, or half over; once through the book per step of the
    /// coarse clock, because nothing ends in between.
    fn find_expired(&mut self, shared: &Shared, now: Now) -> Option<Job> {
        if self.swept != now.seconds && self.sweep_at >= self.slabs.len() {
            self.swept = now.seconds;
            self.sweep_at = 0;
        }
        let flushed = self.flushed(shared);
        let end = self.slabs.len().min(self.sweep_at + SWEEP_SLABS);
        while self.sweep_at < end {
            self.sweep_at += 1;
            let Some((id, slab)) = self.slabs.at(self.sweep_at - 1) else { continue };
            let is_over = slab.version_max <= flushed || slab.expiry.is_past(now.seconds);
            if slab.filled == 0 || !(is_over || slab.expiry.is_worth_sweeping(now.seconds)) {
                continue;
            }
            if slab.state == State::Open {
                let (queue, class) = (slab.queue, slab.class);
                self.slabs.seal(queue, class);
            }
            return Some(Job::new(id, Purpose::Sweep));
        }
        None
    }

    /// Chooses a slab to clean or to evict from.
    fn choose(&mut self, shared: &Shared) -> Option<Job> {
        let evictions = shared.options.evictions;
        let worth = if evictions { CLEAN_PERCENT_MIN } else { CLEAN_PERCENT_MIN_NO_EVICTIONS };
        if let Some((id, percent)) = self.slabs.sparsest(shared.run_bytes_min)
            && percent >= worth
        {
            return Some(Job::new(id, Purpose::Clean));
        }
        if !evictions {
            return None;
        }
        let first =
            if self.slabs.queue_percent(Queue::Small) > SMALL_PERCENT { Queue::Small } else { Queue::Main };
        let other = if first == Queue::Small { Queue::Main } else { Queue::Small };
        let id =
            self.slabs.oldest(first).or_else(|| self.slabs.oldest(other)).or_else(|| self.seal_fullest())?;
        Some(Job::new(id, Purpose::Evict))
    }

    /// When every slab is open, the fullest has to do.
    fn seal_fullest(&mut self) -> Option<SlabId> {
        let open = self.slabs.iter().filter(|(_, slab)| slab.state == State::Open && slab.filled > 0);
        let (id, slab) = open.max_by_key(|(_, slab)| slab.filled)?;
        let (queue, class) = (slab.queue, slab.class);
        self.slabs.seal(queue, class);
        Some(id)
    }

    /// Walks over up to `records` records of the job's slab.
    fn step(&mut self, shared: &Shared, now: Now, records: usize, force: bool) {
        let mut left = records;
        while left > 0 {
            let Some(job) = &self.job else { return };
            let (id, from) = (job.id, job.offset);
            let slab = self.slabs.get(id);
            if from >= slab.filled || slab.live == 0 {
                return self.end_job(shared);
            }
            let start = u64::from(slab.number.0) * shared.slab_bytes;
            let mut batch = [None; BATCH];
            let to = self.load_batch(shared, start, from, slab.filled, &mut batch);
            for location in batch.into_iter().flatten() {
                if self.job.is_none() {
                    return;
                }
                self.decide(shared, location, now, force);
                left = left.saturating_sub(1);
            }
            if let Some(job) = &mut self.job {
                job.offset = to;
            }
        }
    }

    /// Collects the next records of a slab and starts loading their index lines. Returns where it stopped.
    pub(crate) fn load_batch(
        &self,
        shared: &Shared,
        start: u64,
        from: u64,
        filled: u64,
        batch: &mut [Option<Location>; BATCH],
    ) -> u64 {
        let mut at = from;
        for wanted in batch {
            if at >= filled {
                break;
            }
            let location = Location::from_offset(start + at);
            let view = RecordView::at(&shared.arena, location);
            self.part(shared).index.prefetch(view.hash());
            at += view.total() as u64;
            *wanted = Some(location);
        }
        at
    }

    /// A record got another expiry while its slab may be under a sweep.
    pub(crate) fn widen_expiry(&mut self, id: SlabId, expiry: Expiry) {
        self.slabs.get_mut(id).expiry.include(expiry);
        if let Some(job) = self.job.as_mut().filter(|job| job.id == id) {
            job.stays.include(expiry);
        }
    }

    /// The fate of one record of the job's slab.
    fn decide(&mut self, shared: &Shared, location: Location, now: Now, force: bool) {
        let view = RecordView::at(&shared.arena, location);
        let index = &self.part(shared).index;
        let Some(place) = self.index.find(index, view.hash(), |other| other == location) else { return };
        let state = life(view, self.flushed(shared), now.seconds);
        let job = self.job.as_mut().expect("a record is decided about inside a job");
        match (state, job.purpose) {
            (Life::Expired | Life::Flushed, _) => {
                self.count_reclaimed(shared, view);
                self.end(shared, place, now);
            }
            (_, Purpose::Sweep) => job.stays.include(view.expiry()),
            (_, Purpose::Clean) => {
                let queue = self.slabs.get(job.id).queue;
                self.carry(shared, place, queue, view.access(), now);
            }
            (_, Purpose::Evict) => self.evict_or_keep(shared, place, now, force),
        }
    }

    /// The decision at the end of a queue: a record stays, in the main queue, if its credit pays for its bytes.
    fn evict_or_keep(&mut self, shared: &Shared, place: Place, now: Now, force: bool) {
        let view = RecordView::at(&shared.arena, place.location);
        let price = self.prices.price(view.total() as u64);
        if !force && let Some(left) = self.prices.pay(view.credit(), price) {
            self.job.as_mut().expect("a record is decided about inside a job").kept += view.total() as u64;
            return self.carry(shared, place, Queue::Main, with_credit(view.access(), left), now);
        }
        self.index.remember_ghost(&self.part(shared).index, view.hash());
        self.evict_record(shared, place, now);
    }

    fn evict_record(&mut self, shared: &Shared, place: Place, now: Now) {
        self.note_eviction(shared, place.location, now);
        self.end(shared, place, now);
    }

    /// Counts a record that goes while it is alive, and remembers it for those who look on. A tombstone is nobody's loss.
    pub(super) fn note_eviction(&mut self, shared: &Shared, location: Location, now: Now) {
        let view = RecordView::at(&shared.arena, location);
        if view.kind() == Kind::Tombstone {
            return;
        }
        let counters = &self.part(shared).counters;
        counters.evictions.add(1);
        counters.evicted_idle_seconds.set(u64::from(view.idle_seconds(now.seconds)));
        if !view.fetched() {
            counters.evicted_unfetched.add(1);
        }
        if let Some(evicted) = self.evicted.as_mut().filter(|evicted| evicted.len() < EVICTED_MAX) {
            evicted.push(Evicted {
                key: view.key().into(),
                fetched: view.fetched(),
                expiry: view.expiry(),
                idle_seconds: view.idle_seconds(now.seconds),
                value_bytes: view.value().len(),
            });
        }
    }

    /// Keeps a living record by copying it to the end of a queue; it is lost only when even the spare is used up.
    pub(super) fn carry(&mut self, shared: &Shared, place: Place, queue: Queue, access: u32, now: Now) {
        let view = RecordView::at(&shared.arena, place.location);
        let id = self.slab_of(shared, place.location);
        if self.slabs.get(id).is_run() {
            view.set_access(access);
            return self.slabs.requeue(id, queue);
        }
        // With the checksum that it has: made anew, it would make damage look intact.
        let draft = Draft { access, crc: Some(view.crc()), ..view.draft() };
        match self.append(shared, &draft, queue, now.seconds, 0) {
            Some(location) => {
                let part = self.part(shared);
                part.counters.bytes.add(view.total() as u64);
                part.counters.records_moved.add(1);
                if view.kind() == Kind::Tombstone {
                    part.counters.tombstones.add(1);
                }
                self.index.replace(&part.index, place, location);
                self.bury(shared, place.location);
            }
            None if shared.options.evictions => self.evict_record(shared, place, now),
            None => self.job = None,
        }
    }

    fn end_job(&mut self, shared: &Shared) {
        let Some(job) = self.job.take() else { return };
        let slab = self.slabs.get_mut(job.id);
        if job.purpose == Purpose::Sweep {
            slab.expiry = job.stays;
        }
        // A run is one record: whether it stays says nothing about prices.
        if job.purpose == Purpose::Evict && !slab.is_run() {
            self.prices.end_walk(job.kept, slab.filled);
        }
        if slab.live == 0 && job.purpose == Purpose::Clean {
            self.part(shared).counters.slabs_cleaned.add(1);
        }
        self.retire_if_dead(shared, job.id);
    }
}

impl Job {
    fn new(id: SlabId, purpose: Purpose) -> Self {
        Self { id, purpose, offset: 0, stays: ExpirySpan::EMPTY, kept: 0 }
    }
}
