//! One array of buckets: where a key may lie in it, and how room is made where keys crowd.

use crate::hash::KeyHash;
use crate::index::bucket::{BUCKET_SLOTS, Bucket};
use crate::limits::{PROBE_LINES, SEARCH_LINES};
use crate::memory::{Line, Lines};
use crate::record::Location;
use crate::sync::AtomicU64;

/// `Table::moved` of a table that has no older one beside it.
pub(super) const ALL_MOVED: u64 = u64::MAX;

/// One array of buckets.
pub(super) struct Table {
    pub(super) lines: Lines,
    pub(super) buckets: u64,
    /// First home bucket of the older table that is not here yet.
    pub(super) moved: AtomicU64,
}

impl Table {
    pub(super) fn zeroed(buckets: u64, moved: u64) -> std::io::Result<Self> {
        let lines = Lines::zeroed((buckets + PROBE_LINES) as usize)?;
        Ok(Self { lines, buckets, moved: AtomicU64::new(moved) })
    }

    #[inline]
    pub(super) fn line(&self, number: u64) -> &Line {
        &self.lines.as_slice()[number as usize]
    }

    #[inline]
    pub(super) fn bucket(&self, number: u64) -> Bucket<'_> {
        Bucket(self.line(number))
    }

    /// Visits the places that may hold a key of this home and tag until `accept` takes one.
    #[inline]
    pub(super) fn search<R>(
        &self,
        home: u64,
        tag: u32,
        accept: &mut impl FnMut(Location) -> Option<R>,
    ) -> Option<(R, u64, usize)> {
        for number in home..home + PROBE_LINES {
            let bucket = self.bucket(number);
            let mut fitting = bucket.fitting(tag);
            while fitting != 0 {
                let place = fitting.trailing_zeros() as usize;
                // Looked at again, because the owner may have stored there since.
                if let Some(location) = bucket.location_if(place, tag)
                    && let Some(found) = accept(location)
                {
                    return Some((found, number, place));
                }
                fitting &= fitting - 1;
            }
            if bucket.passed_by() == 0 {
                return None;
            }
        }
        None
    }

    /// Puts a word into the first free place from `home` on. When that is out of a reader's reach, keys in between
    /// are moved towards it until a place in reach is free (hopscotch hashing, Herlihy et al., DISC'08).
    pub(super) fn insert(
        &self,
        hash: KeyHash,
        location: Location,
        read: &impl Fn(Location) -> KeyHash,
    ) -> bool {
        let home = hash.order().bucket(self.buckets);
        let end = (home + SEARCH_LINES).min(self.buckets + PROBE_LINES);
        let mut free = (home..end).find_map(|number| Some((number, self.bucket(number).free_place()?)));
        while let Some((number, place)) = free {
            if number < home + PROBE_LINES {
                (home..number).for_each(|passed| self.bucket(passed).add_passed());
                self.bucket(number).store(place, hash.tag(), location);
                return true;
            }
            free = self.free_earlier(number, place, read);
        }
        false
    }

    /// Moves a key from one of the lines before `number` to the free place there, and so frees its former place.
    /// Readers go through the lines upwards: they see the key in the one or in the other.
    fn free_earlier(
        &self,
        number: u64,
        place: usize,
        read: &impl Fn(Location) -> KeyHash,
    ) -> Option<(u64, usize)> {
        for earlier in number + 1 - PROBE_LINES..number {
            for from in 0..BUCKET_SLOTS {
                let Some(location) = self.bucket(earlier).location(from) else { continue };
                let hash = read(location);
                if hash.order().bucket(self.buckets) + PROBE_LINES <= number {
                    continue;
                }
                (earlier..number).for_each(|passed| self.bucket(passed).add_passed());
                self.bucket(number).store(place, hash.tag(), location);
                self.bucket(earlier).clear(from);
                return Some((earlier, from));
            }
        }
        None
    }

    /// Clears a place whose key has this home.
    pub(super) fn remove(&self, home: u64, number: u64, place: usize) {
        self.bucket(number).clear(place);
        for passed in home..number {
            self.bucket(passed).sub_passed();
        }
    }
}
