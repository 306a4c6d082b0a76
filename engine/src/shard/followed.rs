//! What those who follow the log still need of what is dead.
//!
//! Most dead records say nothing: a newer record of their key is in the log. Some are the last word about their key: a
//! touch, and whatever was evicted or whose time was over. A slab with such a word that followers have not read is held
//! back when everything in it is dead, within a bound; past it the word is let go, and `forgotten` says from where on
//! a position is too old to go on from.

use crate::engine::Shared;
use crate::limits::LOG_HOLD_PERCENT;
use crate::record::{Draft, Location, RecordView, TOKEN_LATE};
use crate::shard::{Owner, Shard};
use crate::slab::{Queue, Slab, SlabId};
use crate::time::Now;
use crate::version::Version;

impl Shard {
    /// Where the shard's log stands: every write so far has a version at or below it, and every later one a greater. Two
    /// who have read the same of an idle log are told the same.
    pub fn position(&mut self) -> Version {
        self.owner.given = self.owner.clock.latest();
        self.owner.given
    }

    /// The highest version that this shard has given or seen.
    #[inline]
    pub fn latest(&self) -> Version {
        self.owner.clock.latest()
    }

    /// Changes that were ever written to the log: values, tombstones and touches. What a follower lacks is at most the
    /// difference of two such counts, less what was overwritten between them.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.owner.changes
    }

    /// Every later write of this shard gets a version above this one, as when the node takes over from another whose
    /// positions its followers have.
    pub fn rise_above(&mut self, version: Version) {
        self.owner.clock.observe(version);
    }

    /// Up to which version all followers have read the log: the lowest [`LogCursor::followed`](crate::LogCursor::followed)
    /// of what they have acknowledged. `None` while nobody follows. Cost: a look at each slab that is held.
    pub fn set_followed(&mut self, followed: Option<Version>) {
        self.owner.followed = followed;
        self.owner
            .release_held(&self.shared, |slab| followed.is_none_or(|followed| slab.lost_max <= followed));
    }

    /// The highest version of anything that the log no longer shows although no newer word about its key replaced it:
    /// a touch, a tombstone, or a value that was evicted or whose time was over. Who stands below it may hold what is
    /// older, and needs a full copy.
    pub fn forgotten(&self) -> Version {
        self.owner.forgotten
    }

    /// Up to which version everything is flushed: the same for all shards of a node.
    pub fn flushed(&self) -> Version {
        self.owner.flushed(&self.shared)
    }
}

impl Owner {
    /// Takes note that the log does not show a change of this version.
    pub(crate) fn forget(&mut self, version: Version) {
        self.forgotten = self.forgotten.max(version);
    }

    /// Takes note that no position that was given can be gone on from. Nothing is late any more for whoever has one.
    pub(crate) fn forget_all(&mut self) {
        self.clock.next(0);
        self.forget(self.clock.latest());
        self.given = Version::ZERO;
    }

    /// Appends a record that only the log needs. It is dead at birth, and the last word.
    pub(crate) fn append_dead(&mut self, shared: &Shared, draft: &Draft<'_>, now: Now) {
        if !self.make_room(shared, draft.shape().total(), draft.expiry, now) {
            return self.forget(draft.version);
        }
        let Some(location) = self.append(shared, draft, Queue::Small, now.seconds, shared.spare_bytes) else {
            return self.forget(draft.version);
        };
        self.changes += 1;
        let id = self.slab_of(shared, location);
        let slab = self.slabs.get_mut(id);
        slab.live -= draft.shape().total() as u64;
        slab.lost_max = slab.lost_max.max(draft.version);
    }

    /// Takes note of a record that dies without a successor.
    pub(super) fn lose(&mut self, shared: &Shared, location: Location) {
        let view = RecordView::at(&shared.arena, location);
        let version = view.version();
        if !shared.options.log_changes || version <= self.flushed(shared) {
            return;
        }
        view.set_lost();
        // Positions that were given say nothing about whether a late one was read: only those to come do.
        let version = if view.token() & TOKEN_LATE != 0 { self.clock.next(0) } else { version };
        let id = self.slab_of(shared, location);
        let slab = self.slabs.get_mut(id);
        slab.lost_max = slab.lost_max.max(version);
    }

    /// Whether followers still need a dead slab.
    pub(super) fn is_needed(&self, id: SlabId) -> bool {
        self.followed.is_some_and(|followed| self.slabs.get(id).lost_max > followed)
    }

    /// Holds a dead slab back. The oldest that are held give way when they are too many.
    pub(super) fn hold(&mut self, shared: &Shared, id: SlabId) {
        self.held_bytes += self.slabs.get(id).cost(shared.slab_bytes);
        self.slabs.hold(id);
        self.held.push_back(id);
        while self.held_bytes > shared.share_bytes() * LOG_HOLD_PERCENT / 100 {
            let oldest = self.held.pop_front().expect("what takes bytes is in the list");
            self.release(shared, oldest);
        }
    }

    /// Lets go of all that is held, because its memory is needed. False when nothing was.
    pub(super) fn release_all(&mut self, shared: &Shared) -> bool {
        let is_held = !self.held.is_empty();
        self.release_held(shared, |_| true);
        is_held
    }

    fn release_held(&mut self, shared: &Shared, is_released: impl Fn(&Slab) -> bool) {
        if self.held.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.held) {
            if is_released(self.slabs.get(id)) {
                self.release(shared, id);
            } else {
                self.held.push_back(id);
            }
        }
    }

    /// Retires a dead slab even if followers need it.
    pub(super) fn give_up(&mut self, shared: &Shared, id: SlabId) {
        match self.held.iter().position(|held| *held == id) {
            Some(at) => {
                self.held.remove(at);
                self.release(shared, id);
            }
            None => self.retire(shared, id),
        }
    }

    fn release(&mut self, shared: &Shared, id: SlabId) {
        self.held_bytes -= self.slabs.get(id).cost(shared.slab_bytes);
        self.retire(shared, id);
    }
}
