//! One bucket: a cache line of seven places and a control word.
//!
//! ```text
//!   word 0 .. 6: places                                 word 7: control
//!  63      40 39                             0          63    48 47    32 31    16 15        0
//! +----------+--------------------------------+        +--------+--------+--------+-----------+
//! | tag (24) | location (40), 0 = free        |        | ghost 2| ghost 1| ghost 0| passed by |
//! +----------+--------------------------------+        +--------+--------+--------+-----------+
//! ```
//!
//! `passed by` counts the keys that went over this line to a later one. A ghost is 16 bits of the hash of a key
//! that was evicted; the newest is ghost 0. Only the owner stores; a place is stored with release and loaded with
//! acquire, which is what publishes a record.

use std::sync::atomic::Ordering;

use crate::hash::KeyHash;
use crate::memory::Line;
use crate::record::Location;

/// Keys of one line.
pub(crate) const BUCKET_SLOTS: usize = 7;
const CONTROL: usize = 7;
const PASSED_MASK: u64 = 0xffff;
const GHOST_BITS: u32 = 16;
const GHOSTS: u32 = 3;

const _: () = assert!(Location::BITS + 24 == 64, "tag and location fill a word");
const _: () = assert!((GHOSTS + 1) * GHOST_BITS == 64, "ghosts and the count fill the control word");

/// A view of one line.
#[derive(Clone, Copy)]
pub(super) struct Bucket<'a>(pub(super) &'a Line);

impl Bucket<'_> {
    /// One bit for each place whose tag fits; a place that is free may fit too. All places are looked at, because
    /// where a key lies can't be foreseen and a branch that goes wrong costs more than seven comparisons.
    #[inline]
    pub(super) fn fitting(self, tag: u32) -> u32 {
        let wanted = u64::from(tag) << Location::BITS;
        let fits = |place: usize| (self.0.0[place].load(Ordering::Acquire) ^ wanted) >> Location::BITS == 0;
        (0..BUCKET_SLOTS).fold(0, |bits, place| bits | u32::from(fits(place)) << place)
    }

    /// The location at `place` when its tag fits.
    #[inline]
    pub(super) fn location_if(self, place: usize, tag: u32) -> Option<Location> {
        let word = self.0.0[place].load(Ordering::Acquire);
        ((word >> Location::BITS) as u32 == tag && word != 0).then(|| Location::from_bits(word))
    }

    /// The location at `place`.
    #[inline]
    pub(super) fn location(self, place: usize) -> Option<Location> {
        let word = self.0.0[place].load(Ordering::Acquire);
        (word != 0).then(|| Location::from_bits(word))
    }

    /// The tag and location at `place`.
    pub(super) fn tagged(self, place: usize) -> Option<(u32, Location)> {
        let word = self.0.0[place].load(Ordering::Acquire);
        (word != 0).then(|| ((word >> Location::BITS) as u32, Location::from_bits(word)))
    }

    /// A place that holds nothing.
    pub(super) fn free_place(self) -> Option<usize> {
        (0..BUCKET_SLOTS).find(|&place| self.0.0[place].load(Ordering::Relaxed) == 0)
    }

    /// Publishes a location.
    pub(super) fn store(self, place: usize, tag: u32, location: Location) {
        self.0.0[place].store(u64::from(tag) << Location::BITS | location.to_bits(), Ordering::Release);
    }

    /// Publishes a newer location under the same tag.
    pub(super) fn replace(self, place: usize, location: Location) {
        let tag = self.0.0[place].load(Ordering::Relaxed) >> Location::BITS;
        self.store(place, tag as u32, location);
    }

    /// Frees a place.
    pub(super) fn clear(self, place: usize) {
        self.0.0[place].store(0, Ordering::Release);
    }

    /// Keys that went over this line.
    #[inline]
    pub(super) fn passed_by(self) -> u64 {
        self.0.0[CONTROL].load(Ordering::Acquire) & PASSED_MASK
    }

    pub(super) fn add_passed(self) {
        let control = self.0.0[CONTROL].load(Ordering::Relaxed);
        assert!(
            control & PASSED_MASK < PASSED_MASK,
            "at most {BUCKET_SLOTS} keys of each probed line pass by"
        );
        self.0.0[CONTROL].store(control + 1, Ordering::Release);
    }

    pub(super) fn sub_passed(self) {
        let control = self.0.0[CONTROL].load(Ordering::Relaxed);
        assert!(control & PASSED_MASK > 0, "a key that leaves was counted when it came");
        self.0.0[CONTROL].store(control - 1, Ordering::Release);
    }

    /// Remembers an evicted key; the oldest of three is forgotten.
    pub(super) fn push_ghost(self, hash: KeyHash) {
        let control = self.0.0[CONTROL].load(Ordering::Relaxed);
        let ghosts = (control >> GHOST_BITS) << GHOST_BITS | fingerprint(hash);
        self.0.0[CONTROL].store(ghosts << GHOST_BITS | control & PASSED_MASK, Ordering::Release);
    }

    /// Whether the key is remembered; forgets it.
    pub(super) fn take_ghost(self, hash: KeyHash) -> bool {
        let control = self.0.0[CONTROL].load(Ordering::Relaxed);
        for ghost in 1..=GHOSTS {
            let shift = ghost * GHOST_BITS;
            if control >> shift & PASSED_MASK == fingerprint(hash) {
                self.0.0[CONTROL].store(control & !(PASSED_MASK << shift), Ordering::Release);
                return true;
            }
        }
        false
    }

    /// Hands the ghosts to the bucket that takes this one's hashes over.
    pub(super) fn copy_ghosts(self, to: Bucket<'_>) {
        let ghosts = self.0.0[CONTROL].load(Ordering::Relaxed) & !PASSED_MASK;
        let control = to.0.0[CONTROL].load(Ordering::Relaxed);
        to.0.0[CONTROL].store(ghosts | control & PASSED_MASK, Ordering::Release);
    }
}

/// 16 bits of the tag, which has no part in placing a bucket; never zero.
fn fingerprint(hash: KeyHash) -> u64 {
    (u64::from(hash.tag()) & PASSED_MASK).max(1)
}
