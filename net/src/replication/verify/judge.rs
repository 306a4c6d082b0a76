//! What two looks at a key on both nodes say of it. Between the looks the replica has applied everything that the primary
//! had at the first one.

use ringcache_engine::{KeyHash, RecordDigest, Seconds, Version};

use crate::limits::VERIFY_CLOCK_SECONDS;

/// What both nodes said of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The primary's record or tombstone.
    pub primary: Option<RecordDigest>,
    /// The replica's.
    pub replica: Option<RecordDigest>,
}

/// In which way a replica differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The replica lacks a record, and has let go of none.
    Missing,
    /// The replica has a record that the primary has not: a delete did not reach it, or came back to life.
    Kept,
    /// The replica has a version that the primary had replaced before it was asked.
    Older,
    /// The replica has a version that the primary never came to have.
    Newer,
    /// The same version has another content.
    Content,
    /// The same version ends at another time.
    Expiry,
    /// A record does not fit its checksum, on either side.
    Damaged,
}

impl Fault {
    /// All of them, in order.
    pub const ALL: [Fault; 7] = [
        Fault::Missing,
        Fault::Kept,
        Fault::Older,
        Fault::Newer,
        Fault::Content,
        Fault::Expiry,
        Fault::Damaged,
    ];

    /// As `ringctl` names it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Missing => "missing",
            Fault::Kept => "kept",
            Fault::Older => "older",
            Fault::Newer => "newer",
            Fault::Content => "content",
            Fault::Expiry => "expiry",
            Fault::Damaged => "damaged",
        }
    }
}

/// What can be said of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Both have the same, or nothing.
    Equal,
    /// One side lacks it, because its time is over there by now or will be here in a moment.
    Expired,
    /// One side lacks it, and has let go of records.
    Evicted,
    /// It was replaced since, and the replica has gone along.
    Changing,
    /// Another look is needed.
    Again,
    /// It differs.
    Differs(Fault),
}

/// What explains that a key is absent.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// The later of both clocks.
    pub seconds: Seconds,
    /// The later of both flushes.
    pub flushed: Version,
    /// The primary has evicted records, or found no memory for them, since it was started. Which ones nobody knows.
    pub primary_has_lost: bool,
    /// And the replica.
    pub replica_has_lost: bool,
}

impl Surroundings {
    /// What ends until then may be over on one side.
    fn soon(&self) -> Seconds {
        Seconds(self.seconds.0.saturating_add(VERIFY_CLOCK_SECONDS))
    }
}

impl Seen {
    /// Of which key.
    pub fn hash(&self) -> Option<KeyHash> {
        self.primary.or(self.replica).map(|record| record.hash)
    }

    /// Takes in what the primary says, in place 0, or the replica, in place 1.
    pub fn set(&mut self, place: usize, record: RecordDigest) {
        match place {
            0 => self.primary = Some(record),
            _ => self.replica = Some(record),
        }
    }

    /// Clients see the same on both, and nothing is damaged. A tombstone is as good as nothing.
    pub fn is_equal(&self) -> bool {
        let [primary, replica] = self.living();
        primary == replica && !self.is_damaged()
    }

    fn living(&self) -> [Option<RecordDigest>; 2] {
        [self.primary, self.replica].map(|record| record.filter(|record| !record.is_tombstone))
    }

    fn is_damaged(&self) -> bool {
        [self.primary, self.replica].into_iter().flatten().any(|record| record.is_damaged)
    }
}

/// Judges a key that was seen unequal before.
pub fn judge(before: &Seen, now: &Seen, surroundings: &Surroundings) -> Ruling {
    if now.is_equal() {
        return Ruling::Equal;
    }
    if now.is_damaged() {
        return Ruling::Differs(Fault::Damaged);
    }
    let [_, replica] = now.living();
    if let (Some(was), Some(replica)) = (before.primary, replica) {
        if replica.version < was.version {
            return Ruling::Differs(if was.is_tombstone { Fault::Kept } else { Fault::Older });
        }
        if replica.version == was.version && replica.crc != was.crc {
            return Ruling::Differs(Fault::Content);
        }
        if now.primary.is_some_and(|primary| primary.version > was.version) {
            return Ruling::Changing;
        }
    }
    if now == before { of_what_stays(now, surroundings) } else { Ruling::Again }
}

/// Whether the replica has nothing of what the primary had at the look before, nor anything newer, and nothing explains
/// that. Once it may have let go of a tombstone between two writes; not every time.
pub fn lags(before: &Seen, now: &Seen, surroundings: &Surroundings) -> bool {
    let ([Some(was), _], [Some(_), _]) = (before.living(), now.living()) else { return false };
    let is_due = was.version > surroundings.flushed && !was.expiry.is_past(surroundings.soon());
    let is_there = now.replica.is_some_and(|replica| replica.version >= was.version);
    is_due && !is_there && !surroundings.replica_has_lost
}

/// What neither side has changed.
fn of_what_stays(seen: &Seen, surroundings: &Surroundings) -> Ruling {
    let soon = surroundings.soon();
    match seen.living() {
        [Some(one), None] | [None, Some(one)] if one.expiry.is_past(soon) => Ruling::Expired,
        [Some(primary), None] => match seen.replica {
            None if surroundings.replica_has_lost => Ruling::Evicted,
            Some(tombstone) if tombstone.version > primary.version => Ruling::Differs(Fault::Newer),
            _ => Ruling::Differs(Fault::Missing),
        },
        [None, Some(_)] => match seen.primary {
            None if surroundings.primary_has_lost => Ruling::Evicted,
            None => Ruling::Differs(Fault::Kept),
            // An older one was found out before.
            Some(_) => Ruling::Differs(Fault::Newer),
        },
        [Some(primary), Some(replica)] if replica.version > primary.version => Ruling::Differs(Fault::Newer),
        _ => Ruling::Differs(Fault::Expiry),
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Ruling, Seen, Surroundings, judge, lags};
    use ringcache_engine::{Expiry, KeyHash, RecordDigest, Seconds, Version};

    const NOW: Seconds = Seconds(1_000);

    fn record(version: u64) -> Option<RecordDigest> {
        Some(RecordDigest {
            hash: KeyHash(7),
            version: Version(version),
            crc: version as u32,
            expiry: Expiry::NEVER,
            is_tombstone: false,
            is_damaged: false,
        })
    }

    fn tombstone(version: u64) -> Option<RecordDigest> {
        record(version).map(|record| RecordDigest { is_tombstone: true, ..record })
    }

    fn seen(primary: Option<RecordDigest>, replica: Option<RecordDigest>) -> Seen {
        Seen { primary, replica }
    }

    fn rule(before: Seen, now: Seen, has_lost: [bool; 2]) -> Ruling {
        let [primary_has_lost, replica_has_lost] = has_lost;
        let surroundings =
            Surroundings { seconds: NOW, flushed: Version(2), primary_has_lost, replica_has_lost };
        judge(&before, &now, &surroundings)
    }

    /// Seen twice alike.
    fn stays(primary: Option<RecordDigest>, replica: Option<RecordDigest>) -> Ruling {
        rule(seen(primary, replica), seen(primary, replica), [false; 2])
    }

    #[test]
    fn what_stays_different_is_named() {
        let other = record(5).map(|record| RecordDigest { crc: 77, ..record });
        let shorter = record(5).map(|record| RecordDigest { expiry: Expiry::at(Seconds(2_000)), ..record });
        let damaged = record(5).map(|record| RecordDigest { is_damaged: true, ..record });
        for (primary, replica, fault) in [
            (record(5), None, Fault::Missing),
            (record(5), tombstone(3), Fault::Missing),
            (None, record(5), Fault::Kept),
            (tombstone(6), record(5), Fault::Kept),
            (record(5), record(4), Fault::Older),
            (record(5), record(6), Fault::Newer),
            (record(5), tombstone(6), Fault::Newer),
            (tombstone(5), record(6), Fault::Newer),
            (record(5), other, Fault::Content),
            (record(5), shorter, Fault::Expiry),
            (damaged, record(5), Fault::Damaged),
            (damaged, damaged, Fault::Damaged),
        ] {
            assert_eq!(stays(primary, replica), Ruling::Differs(fault), "{primary:?} {replica:?}");
        }
    }

    #[test]
    fn what_is_dead_on_both_sides_is_equal_however_it_went() {
        for (primary, replica) in [(None, None), (tombstone(5), None), (None, tombstone(9))] {
            assert_eq!(stays(primary, replica), Ruling::Equal);
        }
    }

    #[test]
    fn absence_is_explained_by_the_side_that_lacks_the_record_only() {
        let twice = |primary, replica, lost| rule(seen(primary, replica), seen(primary, replica), lost);
        assert_eq!(twice(record(5), None, [false, true]), Ruling::Evicted);
        assert_eq!(twice(record(5), None, [true, false]), Ruling::Differs(Fault::Missing));
        assert_eq!(twice(None, record(5), [true, false]), Ruling::Evicted);
        assert_eq!(twice(None, record(5), [false, true]), Ruling::Differs(Fault::Kept));
        assert_eq!(twice(tombstone(6), record(5), [true, true]), Ruling::Differs(Fault::Kept), "not evicted");
        let ends = record(5).map(|record| RecordDigest { expiry: Expiry::at(Seconds(NOW.0 + 1)), ..record });
        assert_eq!(twice(ends, None, [false; 2]), Ruling::Expired);
        assert_eq!(twice(None, ends, [false; 2]), Ruling::Expired);
    }

    #[test]
    fn what_changes_is_looked_at_again_but_must_not_lag_behind_the_look_before() {
        let lost = [false; 2];
        let late = seen(record(5), record(4));
        assert_eq!(rule(late, seen(record(5), record(5)), lost), Ruling::Equal);
        assert_eq!(rule(late, seen(record(9), record(5)), lost), Ruling::Changing);
        assert_eq!(rule(late, seen(record(9), record(7)), lost), Ruling::Changing);
        assert_eq!(
            rule(late, seen(record(9), record(4)), lost),
            Ruling::Differs(Fault::Older),
            "it had time"
        );
        assert_eq!(rule(late, seen(tombstone(9), record(4)), lost), Ruling::Differs(Fault::Older));
        assert_eq!(rule(late, seen(record(9), None), lost), Ruling::Again);
        assert_eq!(rule(seen(record(5), None), seen(record(5), record(6)), lost), Ruling::Again);
        assert_eq!(rule(seen(None, record(5)), seen(None, record(6)), lost), Ruling::Again);
    }

    #[test]
    fn what_the_replica_never_gets_lags_unless_something_explains_it() {
        let late = |was, replica, replica_has_lost| {
            let surroundings =
                Surroundings { seconds: NOW, flushed: Version(2), primary_has_lost: true, replica_has_lost };
            lags(&seen(was, None), &seen(record(9), replica), &surroundings)
        };
        assert!(late(record(5), None, false) && late(record(5), tombstone(4), false));
        assert!(!late(record(5), None, true), "evicted");
        assert!(!late(record(5), tombstone(5), false) && !late(record(5), tombstone(7), false), "deleted");
        assert!(!late(record(2), None, false), "flushed");
        let ends = record(5).map(|record| RecordDigest { expiry: Expiry::at(Seconds(NOW.0 + 1)), ..record });
        assert!(!late(ends, None, false) && !late(tombstone(5), None, false) && !late(None, None, false));
    }
}
