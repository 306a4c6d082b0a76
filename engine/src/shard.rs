//! The owner of one part of the data: every write goes through here.
//!
//! [`Shard`] is the shared part beside the [`Owner`]'s; the owner holds what only this thread may touch, and every
//! step of it is handed the shared part for the length of one call.
//!
//! ```text
//! apply -> store | delete | arithmetic | touch | flush     what a request asks
//!            \--> append                                   reserve -> fill -> publish
//!                   \--> reclaim                           expiry, cleaning, eviction: bounded steps
//! ```

mod adopt;
mod append;
mod arithmetic;
mod delete;
mod followed;
mod keep;
pub(crate) mod price;
mod reclaim;
mod scrub;
mod store;
mod touch;

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) use reclaim::BATCH;
pub use scrub::{ScrubCursor, Scrubbed};

use crate::copy::Marks;
use crate::engine::{ShardShared, Shared};
use crate::hash::{KeyHash, ShardId};
use crate::index::{Index, Place};
use crate::pool::SlabNumber;
use crate::reader::{Life, life};
use crate::record::{Location, RecordView};
use crate::shard::price::Prices;
use crate::shard::reclaim::Job;
use crate::slab::{SlabId, Slabs};
use crate::time::{Expiry, Now, Seconds};
use crate::version::{Version, VersionClock};
use crate::write::{Op, Outcome, Status, Write};

/// The single writer of one part of the data. It may move to its worker's thread, and stays there.
pub struct Shard {
    pub(crate) shared: Arc<Shared>,
    pub(crate) owner: Owner,
    _not_sync: PhantomData<Cell<()>>,
}

/// A record that was evicted while it was alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Its key.
    pub key: Box<[u8]>,
    /// Whether it had been fetched.
    pub fetched: bool,
    /// When it would have ended.
    pub expiry: Expiry,
    /// Seconds since its last access.
    pub idle_seconds: u32,
    /// Length of its value.
    pub value_bytes: usize,
}

/// What waits until every reader has passed.
enum Waiting {
    Slab(SlabId),
    OlderTable(u64),
}

/// What only the owner touches.
pub(crate) struct Owner {
    id: ShardId,
    pub(crate) index: Index,
    pub(crate) slabs: Slabs,
    pub(crate) clock: VersionClock,
    /// The slab that is being swept, cleaned or evicted.
    job: Option<Job>,
    /// What records pay to stay.
    prices: Prices,
    /// Where the search for expired slabs goes on in the book.
    sweep_at: usize,
    /// The second in which that search began.
    swept: Seconds,
    /// Retired memory, with its stamp, oldest first.
    waiting: VecDeque<(u64, Waiting)>,
    /// Retired runs that were pinned when their turn came.
    pinned: Vec<(SlabNumber, u64)>,
    /// Bytes that wait, so that they stay bounded.
    waiting_bytes: u64,
    /// Records evicted since they were last taken; none while nobody wants to know.
    evicted: Option<Vec<Evicted>>,
    /// Changes that were ever logged.
    pub(crate) changes: u64,
    /// The latest position that was given: who follows may have it.
    pub(crate) given: Version,
    /// Up to which version all followers have read the log.
    followed: Option<Version>,
    /// What the log no longer shows.
    forgotten: Version,
    /// Dead slabs that followers need, oldest first, and their bytes.
    held: VecDeque<SlabId>,
    held_bytes: u64,
    /// Where other nodes take writes as well: up to which version all of theirs have come.
    settled: Option<Version>,
    /// Marks of copies that records may have.
    pub(crate) marks: Marks,
}

/// Memory that may wait for readers before writes are held back, beside a share of the budget.
const WAITING_BYTES_MAX: u64 = 16 << 20;

impl Shard {
    pub(crate) fn new(shared: Arc<Shared>, id: ShardId) -> Self {
        let owner = Owner {
            id,
            index: Index::new(&shared.shards[usize::from(id.0)].index),
            slabs: Slabs::new(shared.slab_bytes),
            clock: VersionClock::new(shared.options.node),
            job: None,
            prices: Prices::default(),
            sweep_at: 0,
            swept: Seconds(0),
            waiting: VecDeque::new(),
            pinned: Vec::new(),
            waiting_bytes: 0,
            evicted: None,
            changes: 0,
            given: Version::ZERO,
            followed: None,
            forgotten: Version::ZERO,
            held: VecDeque::new(),
            held_bytes: 0,
            settled: None,
            marks: Marks::default(),
        };
        let shard = Self { shared, owner, _not_sync: PhantomData };
        shard.owner.publish_sizes(&shard.shared);
        shard
    }

    /// Which one it is.
    #[inline]
    pub fn id(&self) -> ShardId {
        self.owner.id
    }

    /// How many shards the node has.
    pub fn shards(&self) -> u16 {
        self.shared.options.shards
    }

    /// Executes one write. The key is 1 to 250 bytes long, except for a flush.
    pub fn apply(&mut self, write: &Write<'_>, now: Now) -> Outcome {
        let (owner, shared) = (&mut self.owner, &*self.shared);
        debug_assert!(write.key.len() <= crate::limits::KEY_BYTES_MAX);
        debug_assert!(
            matches!(write.op, Op::Flush { .. }) || write.hash.shard(shared.options.shards) == owner.id
        );
        owner.keep_up(shared, now);
        let outcome = match &write.op {
            Op::Store(store) => owner.store(shared, write, store, now),
            Op::Delete(delete) => owner.delete(shared, write, delete, now),
            Op::Arithmetic(arithmetic) => owner.arithmetic(shared, write, arithmetic, now),
            Op::Touch { expiry, fetches } => owner.touch(shared, write, *expiry, *fetches, now),
            Op::Vivify { expiry, explicit_cas } => owner.vivify(shared, write, *expiry, *explicit_cas, now),
            Op::Flush { at } => owner.flush(shared, *at, now),
        };
        owner.publish_items(shared);
        owner.publish_latest(shared);
        outcome
    }

    /// Bounded background work: index growth, expiry, cleaning, reclamation. Call once per turn and about once
    /// a second when idle. Returns true when more is waiting, so that the worker should not sleep long.
    pub fn maintain(&mut self, now: Now) -> bool {
        let (owner, shared) = (&mut self.owner, &*self.shared);
        owner.flush_if_due(shared, now);
        owner.recycle(shared);
        let is_growing = owner.grow_index(shared, 64, now);
        let is_reclaiming = owner.reclaim_in_background(shared, now);
        owner.publish_sizes(shared);
        is_growing || is_reclaiming || !owner.waiting.is_empty()
    }

    /// Bytes that may still be written in this turn before memory would have to be taken from readers that
    /// have not ended their turn; the worker ends the turn when it nears zero.
    #[inline]
    pub fn turn_budget(&self) -> u64 {
        self.owner.waiting_bytes_max(&self.shared).saturating_sub(self.owner.waiting_bytes)
    }

    /// Where other nodes take writes to the same keys as well, so that versions have to settle all that happens: up to
    /// which version all that they wrote has come here. `None`, as at first, where there are no others.
    ///
    /// A touch then writes its record anew, with another version and the same CAS, because no version tells which of two
    /// touches in place is the later one. A delete speaks against what has not come yet, also where the key is deleted
    /// already; and so does a newer record that ends or is evicted: it leaves a tombstone.
    pub fn set_settled(&mut self, settled: Option<Version>) {
        self.owner.settled = settled;
    }

    /// Begins or ends to remember evicted records for [`Shard::take_evicted`].
    pub fn remember_evicted(&mut self, on: bool) {
        if on != self.owner.evicted.is_some() {
            self.owner.evicted = on.then(Vec::new);
        }
    }

    /// The records evicted since the last call, at most [`EVICTED_MAX`](crate::limits::EVICTED_MAX) of them.
    pub fn take_evicted(&mut self) -> Vec<Evicted> {
        self.owner.evicted.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Owner {
    pub(crate) fn part<'s>(&self, shared: &'s Shared) -> &'s ShardShared {
        &shared.shards[usize::from(self.id.0)]
    }

    pub(crate) fn part_id(&self) -> ShardId {
        self.id
    }

    fn waiting_bytes_max(&self, shared: &Shared) -> u64 {
        WAITING_BYTES_MAX.min(shared.pool.limit() / 8) + u64::from(shared.options.item_bytes_max)
    }

    /// The record of a key, whatever its state.
    pub(crate) fn find(&self, shared: &Shared, hash: KeyHash, key: &[u8]) -> Option<Place> {
        let same_key = |location| RecordView::at(&shared.arena, location).has_key(key);
        self.index.find(&self.part(shared).index, hash, same_key)
    }

    pub(crate) fn flushed(&self, shared: &Shared) -> Version {
        Version(self.part(shared).flushed.load(Ordering::Relaxed))
    }

    /// The record of a key if it can be seen. What can't is taken out of the way first; a tombstone stays.
    fn find_living(&mut self, shared: &Shared, write: &Write<'_>, now: Now) -> Option<Place> {
        let place = self.find(shared, write.hash, write.key)?;
        let view = RecordView::at(&shared.arena, place.location);
        match life(view, self.flushed(shared), now.seconds) {
            Life::Alive => Some(place),
            Life::Deleted => None,
            Life::Expired | Life::Flushed => {
                self.count_reclaimed(shared, view);
                self.end(shared, place, now);
                None
            }
        }
    }

    fn count_reclaimed(&self, shared: &Shared, view: RecordView<'_>) {
        let counters = &self.part(shared).counters;
        counters.reclaimed.add(1);
        if !view.fetched() {
            counters.expired_unfetched.add(1);
        }
    }

    /// Everything in the node up to now is gone, or will be at a second to come. What any shard has answered before
    /// this call is over has a version that its owner has published, so it is flushed; what is written after it, on
    /// whichever shard, is not (see [`Owner::keep_up`]).
    fn flush(&mut self, shared: &Shared, at: Option<Seconds>, now: Now) -> Outcome {
        shared.flush_at.store(at.map_or(0, |at| at.0.max(1)), Ordering::Release);
        if at.is_none() {
            for part in &shared.shards {
                self.clock.observe(Version(part.latest.load(Ordering::Acquire)));
            }
            let version = self.clock.next(now.unix_millis);
            self.raise_flushed(shared, version);
        }
        self.flush_if_due(shared, now);
        Outcome::bare(Status::Flushed)
    }

    /// One of the shards takes note of the second that has come; it holds for all.
    #[inline]
    fn flush_if_due(&mut self, shared: &Shared, now: Now) {
        let at = shared.flush_at.load(Ordering::Relaxed);
        if at == 0 || at > now.seconds.0 {
            return;
        }
        let taken = shared.flush_at.compare_exchange(at, 0, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_ok() {
            self.raise_flushed(shared, Version::before_second(at));
        }
    }

    /// A flush that another shard took hides what this one writes no more than its own would.
    #[inline]
    fn keep_up(&mut self, shared: &Shared, now: Now) {
        self.flush_if_due(shared, now);
        let flushed = self.flushed(shared);
        if flushed > self.clock.latest() {
            self.clock.observe(flushed);
        }
    }

    /// Hides everything up to a version, in all shards of the node at once: who follows the log of one of them need not
    /// know how keys are spread over them. False when it was hidden before.
    pub(crate) fn raise_flushed(&mut self, shared: &Shared, version: Version) -> bool {
        if version <= self.flushed(shared) {
            return false;
        }
        for part in &shared.shards {
            part.flushed.fetch_max(version.0, Ordering::AcqRel);
        }
        self.sweep_at = 0;
        true
    }

    /// Before anybody is told of a write: see [`Owner::flush`].
    #[inline]
    pub(crate) fn publish_latest(&self, shared: &Shared) {
        self.part(shared).latest.store(self.clock.latest().0, Ordering::Release);
    }

    #[inline]
    pub(crate) fn publish_items(&self, shared: &Shared) {
        let counters = &self.part(shared).counters;
        counters.items.set(self.index.keys() - counters.tombstones.value());
    }

    /// Writes what readers of the statistics see of sizes.
    fn publish_sizes(&self, shared: &Shared) {
        self.publish_items(shared);
        let ShardShared { index, counters, .. } = self.part(shared);
        counters.slabs_used.set(self.slabs.used());
        counters.committed_bytes.set(self.slabs.committed() + self.index.bytes());
        counters.index_bytes.set(self.index.bytes());
        counters.index_buckets.set(self.index.buckets(index));
        counters.index_growing.set(u64::from(self.index.is_growing(index)));
    }

    /// The book's id of the slab that holds a location.
    pub(crate) fn slab_of(&self, shared: &Shared, location: Location) -> SlabId {
        let number = (location.offset() / shared.slab_bytes) as usize;
        SlabId(shared.ids.as_slice()[number].load(Ordering::Relaxed))
    }
}
