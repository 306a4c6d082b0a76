//! Tests of the index. They are a file beside it because `tests/index_model.rs` includes the index itself with
//! loom's atomics, where they could not run.

use crate::hash::{KeyHash, Order};
use crate::index::{Index, IndexShared, table_bytes};
use crate::limits::BUCKETS_MIN;
use crate::record::Location;

#[test]
fn the_newest_three_ghosts_are_remembered_once_each() {
    let shared = IndexShared::new(BUCKETS_MIN).expect("memory");
    let mut index = Index::new(&shared);
    index.insert(&shared, KeyHash(9), Location::from_offset(8), |_| KeyHash(9)).expect("room");
    (1..=4).for_each(|n| index.remember_ghost(&shared, KeyHash(n)));
    assert!(!index.take_ghost(&shared, KeyHash(1)), "the oldest of four is forgotten");
    for n in 2..=4 {
        assert!(index.take_ghost(&shared, KeyHash(n)), "ghost {n}");
        assert!(!index.take_ghost(&shared, KeyHash(n)), "ghost {n} was taken");
    }
    assert!(index.find(&shared, KeyHash(9), |_| true).is_some(), "ghosts leave the keys alone");
}

/// Locations stand for themselves: the hash of location n is spread(n).
fn spread(location: Location) -> KeyHash {
    KeyHash(
        location
            .to_bits()
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(17)
            .wrapping_mul(0xd6e8_feb8_6659_fd93),
    )
}

/// A step of growth as the shard makes it, with memory for everything.
fn grow(shared: &IndexShared, index: &mut Index, homes: u64) {
    if index.lacks_bytes(shared) > 0 {
        index.grant(shared);
    }
    index.grow(shared, homes, |_| (), spread, |_| panic!("lost a key"));
    index.release_moved(shared);
}

#[test]
fn keys_survive_growth_and_removal() {
    let shared = IndexShared::new(BUCKETS_MIN).expect("memory");
    let mut index = Index::new(&shared);
    let place = |n: u64| Location::from_offset(n * 8);
    for n in 1..=20_000u64 {
        let location = place(n);
        index.insert(&shared, spread(location), location, spread).expect("room");
        if index.wants_growth(&shared) {
            index.start_growth(&shared, 16 * 1024).expect("memory");
        }
        grow(&shared, &mut index, 2);
        if n % 3 == 0 {
            let gone = place(n / 3);
            let found = index.find(&shared, spread(gone), |l| l == gone).expect("still there");
            index.remove(&shared, found);
        }
    }
    for n in 1..=20_000u64 {
        let location = place(n);
        let found = shared.find(spread(location), |l| (l == location).then_some(l));
        assert_eq!(found.is_some(), n > 6_666, "key {n}");
    }
    let mut visited = 0;
    let mut at = Some(Order(0));
    while let Some(from) = at {
        at = index.visit_home(&shared, from, |_| true, spread, |_| visited += 1);
    }
    assert_eq!(visited, index.keys());
    while index.is_growing(&shared) {
        grow(&shared, &mut index, 64);
    }
    assert_eq!(index.bytes(), table_bytes(index.buckets(&shared)), "what was granted was given back");
}

#[test]
fn a_walk_sees_every_key_wherever_growth_stands() {
    let shared = IndexShared::new(BUCKETS_MIN).expect("memory");
    let mut index = Index::new(&shared);
    let keys = 64 * 5u64;
    for n in 1..=keys {
        let location = Location::from_offset(n * 8);
        index.insert(&shared, spread(location), location, spread).expect("room");
    }
    // By an eighth, so that the homes of the two tables do not end together.
    index.start_growth(&shared, 0).expect("memory");
    index.grant(&shared);
    while index.is_growing(&shared) {
        let mut visited = 0;
        let mut at = Some(Order(0));
        while let Some(from) = at {
            at = index.visit_home(&shared, from, |_| true, spread, |_| visited += 1);
        }
        assert_eq!(visited, keys);
        index.grow(&shared, 1, |_| (), spread, |_| panic!("lost a key"));
    }
}
