//! Full copies from an authority: a node becomes what another one is, while it goes on answering.
//!
//! ```text
//! begin_copy(mark)   install_copied ... install_copied   sweep_unmarked
//!                    each gets the mark                  what has not got it goes
//! ```
//!
//! Between two copies with a mark the newer version wins. Over one without it the copy wins whatever its version: the
//! authority's word counts, also where this node went on writing after the authority had been chosen.

use crate::engine::Shared;
use crate::export::SlotCursor;
use crate::hash::{KeyHash, ShardId};
use crate::limits::SWEEP_KEYS;
use crate::record::{Location, RecordView};
use crate::shard::{Owner, Shard};
use crate::version::Version;

/// Tells the records of one full copy from those that were there before. Each attempt takes the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyMark(pub(crate) u8);

impl CopyMark {
    /// The first one.
    pub const FIRST: CopyMark = CopyMark(1);

    /// The one for the next attempt. After 255 the first one comes again.
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(1))
    }
}

/// The keys of one shard of the node that sends, whose shards may be others than those of the node that receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Shards of the node that sends.
    pub shards: u16,
    /// The one of them.
    pub shard: ShardId,
}

impl Part {
    /// Every key.
    pub const WHOLE: Part = Part { shards: 1, shard: ShardId(0) };

    /// Whether a key is one of them.
    pub fn has(self, hash: KeyHash) -> bool {
        hash.shard(self.shards) == self.shard
    }
}

/// Marks that some record may have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks([u64; 4]);

impl Marks {
    /// Any record may have any.
    pub(crate) const ALL: Marks = Marks([u64::MAX; 4]);

    fn only(mark: CopyMark) -> Self {
        let mut marks = Self::default();
        marks.add(mark);
        marks
    }

    fn add(&mut self, mark: CopyMark) {
        self.0[usize::from(mark.0) / 64] |= 1 << (mark.0 % 64);
    }

    fn has(self, mark: CopyMark) -> bool {
        self.0[usize::from(mark.0) / 64] >> (mark.0 % 64) & 1 != 0
    }
}

/// Where a sweep stands.
#[derive(Clone, Debug)]
pub struct SweepCursor(SlotCursor);

impl Default for SweepCursor {
    fn default() -> Self {
        Self(SlotCursor::all())
    }
}

impl Shard {
    /// Begins with a full copy: on every shard of the node, before the first record of it is installed. `flushed` is the
    /// authority's [`Shard::flushed`], which holds here from now on even if it is lower. Who follows this node needs a
    /// full copy as well, and `forgotten` says so. Cost: none, except when the mark was used 255 copies ago and no copy
    /// was completed since, or before a restart: a pass over the index.
    pub fn begin_copy(&mut self, mark: CopyMark, flushed: Version) {
        if self.owner.marks.has(mark) {
            self.clear_mark(mark);
        }
        let (owner, shared) = (&mut self.owner, &*self.shared);
        owner.marks.add(mark);
        owner.clock.observe(flushed);
        owner.part(shared).flushed.store(flushed.0, std::sync::atomic::Ordering::Release);
        owner.forget_all();
    }

    fn clear_mark(&mut self, mark: CopyMark) {
        let mut cursor = SlotCursor::all();
        while !cursor.is_done() {
            cursor.walk(self, |view| {
                if view.mark() == mark.0 {
                    view.set_mark(0);
                }
                true
            });
        }
    }

    /// Takes out what belongs to `part` and has not got the mark, and has those who follow this node begin anew: some hundred keys, or what some thousand buckets hold.
    /// True when no such record is left; what is written after the sweep began may stay or go.
    pub fn sweep_unmarked(&mut self, cursor: &mut SweepCursor, mark: CopyMark, part: Part) -> bool {
        let mut unmarked = Vec::new();
        cursor.0.walk(self, |view| {
            if view.mark() != mark.0 && part.has(view.hash()) {
                unmarked.push(view.location());
            }
            unmarked.len() < SWEEP_KEYS
        });
        let (owner, shared) = (&mut self.owner, &*self.shared);
        unmarked.into_iter().for_each(|location| owner.take_out_at(shared, location));
        owner.publish_items(shared);
        if cursor.0.is_done() && part == Part::WHOLE {
            owner.marks = Marks::only(mark);
        }
        if cursor.0.is_done() {
            owner.forget_all();
        }
        cursor.0.is_done()
    }
}

impl Owner {
    fn take_out_at(&mut self, shared: &Shared, location: Location) {
        let hash = RecordView::at(&shared.arena, location).hash();
        if let Some(place) = self.index.find(&self.part(shared).index, hash, |other| other == location) {
            // No last word: who follows begins anew, and must not hear of what the authority has not got.
            self.drop_record(shared, place);
        }
    }
}
