//! One step of a cursor: which records of a slab are handed out, and as what.

use crate::engine::Shared;
use crate::limits::{SCAN_BYTES_MIN, TOUCH_ALONE_SECONDS};
use crate::log::{LargeRecord, Step};
use crate::reader::RecordRef;
use crate::record::{Draft, Kind, Location, RecordView, TOKEN_LATE, TOKEN_LOST, Touched};
use crate::shard::{BATCH, Owner, Shard};
use crate::slab::{Slab, SlabId, Slabs};
use crate::time::{Now, Seconds};
use crate::version::Version;

/// What is new to a follower.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Versions above this one.
    pub(super) above: Version,
    /// Of this node only.
    pub(super) origin: Option<u8>,
    /// Of what is dead, nothing that was there when reading began: no older copy of it was handed out.
    pub(super) is_full_copy: bool,
}

/// What one step reads from, and puts out.
pub(super) struct Reading<'a> {
    shard: &'a Shard,
    asked: Asked,
    /// Dead records that were the last word are handed out.
    has_dead_words: bool,
    flushed: Version,
    now: Now,
    out: &'a mut Vec<u8>,
    /// What `out` held before this step, and when it holds enough.
    before: usize,
    enough: usize,
    /// Bytes of slabs that it may still look through.
    left: u64,
}

impl<'a> Reading<'a> {
    /// About `bytes` more than the `before` that `out` held when the step began.
    pub(super) fn new(
        shard: &'a Shard,
        asked: Asked,
        now: Now,
        before: usize,
        bytes: usize,
        out: &'a mut Vec<u8>,
    ) -> Self {
        let (flushed, enough) = (shard.flushed(), before.saturating_add(bytes));
        let left = SCAN_BYTES_MIN.max(4 * bytes as u64);
        Self { shard, asked, has_dead_words: false, flushed, now, out, before, enough, left }
    }

    pub(super) fn enter_past(&mut self) {
        self.has_dead_words = !self.asked.is_full_copy;
    }

    pub(super) fn enter_tail(&mut self) {
        self.has_dead_words = true;
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
                let Some(shown) = self.asked_for(view) else { continue };
                *read_to = location.offset() - start;
                if self.out.len() >= self.enough {
                    return Some(Step::Full);
                }
                let touch = Some(view).filter(|view| view.kind() != shown.kind());
                match self.show(shown, touch) {
                    Some(Step::Full) => return Some(Step::Full),
                    Some(step) => {
                        *read_to += view.total() as u64;
                        return Some(step);
                    }
                    None => {}
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

    /// Puts a record out. One whose time is over goes as a tombstone, which still speaks against what is older when a
    /// value would no more. A large one ends the step, before it comes where something else is there to be sent. The
    /// touch that it is shown for goes before it: whoever hands it on needs to know when that was.
    fn show(&mut self, view: RecordView<'_>, touch: Option<RecordView<'_>>) -> Option<Step> {
        if view.expiry().is_past(self.now.seconds) {
            Draft::tombstone(view.version(), view.key(), self.now).append_to(self.out);
            return None;
        }
        let large = LargeRecord::pin(RecordRef::new(&self.shard.shared, view), view);
        if large.is_some() && self.out.len() > self.before {
            return Some(Step::Full);
        }
        if let Some(touch) = touch {
            touch.copy_to(self.out);
        }
        if large.is_none() {
            view.copy_to(self.out);
        }
        large.map(Step::Large)
    }

    /// What a record of the log is handed out as, if it is asked for.
    fn asked_for(&self, view: RecordView<'a>) -> Option<RecordView<'a>> {
        let version = view.version();
        let is_new = version > self.asked.above || view.token() & TOKEN_LATE != 0;
        let is_asked = is_new && self.asked.origin.is_none_or(|node| version.node() == node);
        match view.kind() {
            Kind::Value | Kind::Tombstone => Some(view).filter(|view| is_asked && self.is_last_word(*view)),
            Kind::Touch if is_asked => self.touch_or_touched(view),
            // A flush is told by the shard's word, not by the log.
            Kind::Touch | Kind::Flush => None,
        }
    }

    /// Whether a record is its key's, or was when it went.
    fn is_last_word(&self, view: RecordView<'_>) -> bool {
        if view.version() <= self.flushed {
            return false;
        }
        if view.token() & TOKEN_LOST != 0 {
            return self.has_dead_words;
        }
        self.find(view, |other| other == view.location()).is_some()
    }

    /// A touch that is still in force, or the record itself where that may be gone by now from where the touch goes. A
    /// later touch comes further on.
    fn touch_or_touched(&self, view: RecordView<'a>) -> Option<RecordView<'a>> {
        let touched = Touched::of(view.value())?;
        let Some(present) = self.find(view, |other| self.view(other).has_key(view.key())) else {
            return Some(view).filter(|_| self.has_dead_words);
        };
        let present = self.view(present);
        if (present.version(), present.expiry()) != (touched.version, touched.expiry) {
            return None;
        }
        let soon = Seconds(self.now.seconds.0.saturating_add(TOUCH_ALONE_SECONDS));
        Some(if touched.before.is_past(soon) { present } else { view })
    }

    fn view(&self, location: Location) -> RecordView<'a> {
        RecordView::at(&self.shard.shared.arena, location)
    }

    fn find(&self, view: RecordView<'_>, accept: impl FnMut(Location) -> bool) -> Option<Location> {
        let (owner, shared) = self.parts();
        owner.index.find(&owner.part(shared).index, view.hash(), accept).map(|place| place.location)
    }
}
