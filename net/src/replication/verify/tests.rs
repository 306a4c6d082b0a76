//! Comparisons of nodes that are tables: every difference is found and named, and nothing else.

use std::collections::BTreeMap;

use ringcache_engine::{
    Cut, Expiry, KeyHash, RecordDigest, Seconds, SlotDigest, SlotDigests, SlotSet, Version,
};

use super::judge::Fault;
use super::{Report, Side, Stand, Tell, VerifyError, compare};

type Records = BTreeMap<u64, RecordDigest>;
type Change = fn(&mut RecordDigest);
type Happening = Box<dyn FnMut(&mut Records) + Send>;

/// A node that is a table. At each look something may happen to it.
#[derive(Default)]
struct Table {
    stand: Stand,
    records: Records,
    happens: Option<Happening>,
}

fn record(hash: u64, version: u64) -> RecordDigest {
    RecordDigest {
        hash: KeyHash(hash),
        version: Version(version),
        crc: (hash + version) as u32,
        expiry: Expiry::NEVER,
        is_tombstone: false,
        is_damaged: false,
    }
}

impl Table {
    fn of(node: u128, records: impl IntoIterator<Item = RecordDigest>) -> Self {
        let records = records.into_iter().map(|record| (record.hash.0, record)).collect();
        let stand = Stand { node, positions: vec![Version(1_000)], seconds: Seconds(50), ..Stand::default() };
        Self { stand, records, happens: None }
    }

    fn look_around(&mut self) {
        if let Some(happens) = &mut self.happens {
            happens(&mut self.records);
        }
    }
}

impl Side for Table {
    fn stand(&mut self) -> Result<Stand, VerifyError> {
        Ok(self.stand.clone())
    }

    fn digests(&mut self, _: &Cut, _: Tell<'_>) -> Result<SlotDigests, VerifyError> {
        let mut digests = SlotDigests::default();
        self.records.values().filter(|record| !record.is_tombstone).for_each(|record| digests.add(record));
        Ok(digests)
    }

    fn list(&mut self, slots: &SlotSet) -> Result<Vec<RecordDigest>, VerifyError> {
        Ok(self.records.values().filter(|record| slots.has(record.hash.slot())).copied().collect())
    }

    fn look(&mut self, hashes: &[KeyHash]) -> Result<Vec<RecordDigest>, VerifyError> {
        self.look_around();
        Ok(hashes.iter().filter_map(|hash| self.records.get(&hash.0)).copied().collect())
    }
}

/// Spread over all slots.
fn keys() -> impl Iterator<Item = u64> {
    (0..10_000).map(|number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn nodes() -> (Table, Table) {
    let primary = Table::of(1, keys().map(|key| record(key, 5)));
    let mut replica = Table::of(2, keys().map(|key| record(key, 5)));
    replica.stand.follows = vec![(1, vec![Version(1_000)])];
    (primary, replica)
}

/// Both ways round: it must not matter who asks.
fn compared(mut nodes: impl FnMut() -> (Table, Table)) -> Report {
    let (mut primary, mut replica) = nodes();
    let one = compare(&mut primary, &mut replica, &mut |_| Ok(())).expect("they can be compared");
    let (mut primary, mut replica) = nodes();
    let other = compare(&mut replica, &mut primary, &mut |_| Ok(())).expect("they can be compared");
    assert_eq!(one, other);
    one
}

#[test]
fn equal_nodes_are_equal_and_nothing_is_listed() {
    let report = compared(nodes);
    assert!(report.is_equal());
    assert_eq!((report.records, report.slots_listed, report.keys_looked_at), ([10_000; 2], 0, 0));
}

#[test]
fn each_difference_is_found_among_all_records_and_named() {
    let key = keys().nth(777).expect("there are more");
    let changes: [(Fault, Change); 5] = [
        (Fault::Older, |record| record.version = Version(4)),
        (Fault::Newer, |record| record.version = Version(6)),
        (Fault::Content, |record| record.crc ^= 1),
        (Fault::Expiry, |record| record.expiry = Expiry::at(Seconds(9_000))),
        (Fault::Damaged, |record| (record.crc, record.is_damaged) = (!record.crc, true)),
    ];
    for (fault, change) in changes {
        let report = compared(|| {
            let (primary, mut replica) = nodes();
            change(replica.records.get_mut(&key).expect("it is there"));
            (primary, replica)
        });
        assert!(!report.is_equal());
        assert_eq!(report.faults.iter().sum::<u64>(), 1);
        let (found, hash, _) = report.shown[0];
        assert_eq!((found, hash, report.slots_listed), (fault, KeyHash(key), 1));
    }
    let without = |from_primary: bool, lost: u64| {
        compared(|| {
            let (mut primary, mut replica) = nodes();
            let side = if from_primary { &mut primary } else { &mut replica };
            side.records.remove(&key);
            side.stand.lost = lost;
            (primary, replica)
        })
    };
    assert_eq!(without(false, 0).shown[0].0, Fault::Missing);
    assert_eq!(without(true, 0).shown[0].0, Fault::Kept);
    for report in [without(false, 1), without(true, 1)] {
        assert!(report.is_equal() && report.evicted == 1);
    }
}

/// Goal: a key that is written all the time is no difference as long as the replica follows, and one as soon as it does not.
#[test]
fn what_changes_is_compared_with_what_it_was() {
    let key = keys().nth(5).expect("there are more");
    let writing = |by: u64| {
        move |records: &mut Records| {
            let version = records[&key].version.0 + by;
            records.insert(key, record(key, version));
        }
    };
    for (follows, is_equal) in [(true, true), (false, false)] {
        let report = compared(|| {
            let (mut primary, mut replica) = nodes();
            primary.records.insert(key, record(key, 9));
            primary.happens = Some(Box::new(writing(10)));
            if follows {
                replica.happens = Some(Box::new(writing(9)));
            }
            (primary, replica)
        });
        assert_eq!((report.is_equal(), report.changing), (is_equal, u64::from(is_equal)), "{report:?}");
    }
}

/// Goal: a key that is written before every look and never reaches the replica is missing, not changing.
#[test]
fn what_changes_and_never_arrives_is_missing() {
    let key = keys().nth(5).expect("there are more");
    let writing = move |records: &mut Records| {
        let version = records[&key].version.0 + 10;
        records.insert(key, record(key, version));
    };
    for (lost, missing) in [(0, 1), (1, 0)] {
        let report = compared(|| {
            let (mut primary, mut replica) = nodes();
            replica.records.remove(&key);
            replica.stand.lost = lost;
            primary.happens = Some(Box::new(writing));
            (primary, replica)
        });
        let found = (report.faults[Fault::Missing as usize], report.changing, report.is_equal());
        assert_eq!(found, (missing, 1 - missing, missing == 0), "{report:?}");
    }
}

#[test]
fn counts_that_a_node_makes_up_are_no_overflow() {
    let digests: SlotDigests = [SlotDigest { sum: 0, records: u64::MAX }; 2].into_iter().collect();
    assert_eq!(digests.records(), u64::MAX);
}

#[test]
fn flushes_are_compared_and_strangers_are_not() {
    let report = compared(|| {
        let (primary, mut replica) = nodes();
        replica.stand.flushed = Version(3);
        (primary, replica)
    });
    assert!(!report.is_equal() && report.flushes_differ);
    let (mut one, mut other) = (Table::of(1, []), Table::of(2, []));
    let error = compare(&mut one, &mut other, &mut |_| Ok(())).expect_err("neither follows");
    assert!(matches!(error, VerifyError::Unrelated));
}
