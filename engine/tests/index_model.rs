//! Every interleaving of a lookup with growth, displacement and replacement, under loom: the shipped index with
//! loom's atomics and tables of a few lines. A key that is there all the time is found all the time.

mod sync {
    pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

/// The engine's limits, shrunk so that every interleaving can be tried.
#[allow(dead_code)]
mod limits {
    pub const BUCKETS_MIN: u64 = 2;
    pub const GROWTH_STRIDE: u64 = 1;
    pub const LOAD_PER_BUCKET: u64 = 6;
    pub const PROBE_LINES: u64 = 2;
    pub const SEARCH_LINES: u64 = 8;
    pub const SLOT_BITS: u32 = 14;
    pub const TABLES_MAX: usize = 3;
}

#[path = "../src/hash.rs"]
#[allow(dead_code)]
mod hash;

#[allow(dead_code)]
mod memory {
    pub struct Line(pub [loom::sync::atomic::AtomicU64; 8]);
    pub struct Lines(Vec<Line>);

    impl Lines {
        pub fn zeroed(count: usize) -> std::io::Result<Self> {
            let line = |_| Line(std::array::from_fn(|_| loom::sync::atomic::AtomicU64::new(0)));
            Ok(Self((0..count).map(line).collect()))
        }

        pub fn as_slice(&self) -> &[Line] {
            &self.0
        }

        pub fn decommit(&self) {}

        pub fn populate(&self) {}

        /// The kernel makes every CPU forget the pages before it goes on: an order that release stores stand for.
        pub fn decommit_some(&self, lines: std::ops::Range<usize>) {
            let words = self.0[lines].iter().flat_map(|line| &line.0);
            words.for_each(|word| word.store(0, loom::sync::atomic::Ordering::Release));
        }
    }

    pub fn prefetch<T>(_place: *const T) {}
}

#[allow(dead_code)]
mod record {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Location(pub u64);

    impl Location {
        pub const BITS: u32 = 40;

        pub fn from_bits(bits: u64) -> Self {
            Self(bits & ((1 << Self::BITS) - 1))
        }

        pub fn from_offset(offset: u64) -> Self {
            Self(offset >> 2)
        }

        pub fn to_bits(self) -> u64 {
            self.0
        }
    }
}

#[path = "../src/index/mod.rs"]
#[allow(dead_code)]
mod index;

use hash::KeyHash;
use index::{Index, IndexShared};
use loom::sync::Arc;
use record::Location;

/// Key n has location n; odd ones are at home in the upper half of the order, even ones in the lower.
fn hash_of(location: Location) -> KeyHash {
    let half = (location.0 & 1) << (63 - limits::SLOT_BITS);
    KeyHash(half | location.0)
}

fn filled(keys: impl Iterator<Item = u64>) -> (Arc<IndexShared>, Index) {
    let shared = Arc::new(IndexShared::new(limits::BUCKETS_MIN).expect("memory"));
    let mut index = Index::new(&shared);
    for key in keys {
        index.insert(&shared, hash_of(Location(key)), Location(key), hash_of).expect("room");
    }
    (shared, index)
}

fn is_there(shared: &IndexShared, location: Location) -> bool {
    shared.find(hash_of(location), |other| (other == location).then_some(())).is_some()
}

fn bounded() -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder
}

#[test]
fn a_key_is_found_while_its_bucket_moves_to_a_larger_table() {
    bounded().check(|| {
        let (shared, mut index) = filled([2, 3].into_iter());
        let reader = Arc::clone(&shared);
        let thread = loom::thread::spawn(move || {
            assert!(is_there(&reader, Location(3)), "lost while growing");
        });
        index.start_growth(&shared, u64::MAX).expect("memory");
        for _ in 0..2 {
            index.grant(&shared);
            index.grow(&shared, 1, |_| (), hash_of, |_| panic!("no room"));
            index.release_moved(&shared);
        }
        thread.join().expect("the reader");
        assert!(is_there(&shared, Location(2)) && is_there(&shared, Location(3)));
    });
}

#[test]
fn a_key_is_found_while_it_is_displaced() {
    bounded().check(|| {
        // Seven keys fill the first line and seven the second; one more of the first has to push one on.
        let keys = (1..=7).map(|n| 2 * n).chain((1..=7).map(|n| 2 * n + 1));
        let (shared, mut index) = filled(keys);
        let reader = Arc::clone(&shared);
        let thread = loom::thread::spawn(move || {
            assert!(is_there(&reader, Location(3)), "lost while it moved a line further");
        });
        index.insert(&shared, hash_of(Location(100)), Location(100), hash_of).expect("one can move");
        thread.join().expect("the reader");
        assert!(is_there(&shared, Location(100)) && is_there(&shared, Location(3)));
    });
}
