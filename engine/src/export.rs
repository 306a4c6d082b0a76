//! A cursor that hands out living records by slot, in bounded steps.
//!
//! It holds no reference into the shard between its steps, only a hash, so that it survives index growth, cleaning and
//! eviction, and a link or a file may take its time.

use crate::hash::{Order, Slot};
use crate::log::LargeRecord;
use crate::reader::{Life, RecordRef, life};
use crate::record::RecordView;
use crate::shard::Shard;
use crate::time::Now;

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

    /// Over all slots.
    pub fn all() -> Self {
        Self::new(Slot(0), Slot(crate::limits::SLOTS as u16 - 1))
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

    /// Appends living records to `out`, and those with memory of their own to `large`, where their values stay. As
    /// [`SlotCursor::visit`] in everything else, until both hold `bytes` together.
    pub fn hand_out(
        &mut self,
        shard: &Shard,
        now: Now,
        bytes: usize,
        out: &mut Vec<u8>,
        large: &mut Vec<LargeRecord>,
    ) {
        let flushed = shard.owner.flushed(&shard.shared);
        let mut pinned_bytes = 0;
        self.walk(shard, |view| {
            if life(view, flushed, now.seconds) == Life::Alive {
                match LargeRecord::pin(RecordRef::new(&shard.shared, view), view) {
                    Some(record) => {
                        pinned_bytes += view.total();
                        large.push(record);
                    }
                    None => view.copy_to(out),
                }
            }
            out.len() + pinned_bytes < bytes
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
    pub(crate) fn walk(&mut self, shard: &Shard, visit: impl FnMut(RecordView<'_>) -> bool) {
        self.walk_some(shard, |_| true, visit);
    }

    /// As [`SlotCursor::walk`], of the cursor's slots only through those that `is_asked` takes.
    pub(crate) fn walk_some(
        &mut self,
        shard: &Shard,
        is_asked: impl Fn(Slot) -> bool,
        mut visit: impl FnMut(RecordView<'_>) -> bool,
    ) {
        let (owner, shared) = (&shard.owner, &*shard.shared);
        let index = &owner.part(shared).index;
        let asked = self.first..=self.last;
        let mut wants_more = true;
        for _ in 0..HOMES_PER_READ {
            let Some(from) = self.next.filter(|_| wants_more) else { return };
            self.next = owner.index.visit_home(
                index,
                from,
                |slot| asked.contains(&slot) && is_asked(slot),
                |location| RecordView::at(&shared.arena, location).hash(),
                |location| wants_more &= visit(RecordView::at(&shared.arena, location)),
            );
        }
    }
}
