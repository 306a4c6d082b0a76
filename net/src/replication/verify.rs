//! Comparing a replica with its primary while both serve: `ringctl verify`.
//!
//! ```text
//! meet      the primary names the position of each shard; wait until the replica has applied all of them
//! digest    both sum up every slot, of the records from before that position
//! list      of slots that differ, both tell their records and tombstones
//! look      keys that differ are looked at again, each time after the nodes have met: until they are equal, explained,
//!           or have not changed on either side although everything was applied in between. Those are differences.
//! ```
//!
//! The digests only save work: a key is judged by what both nodes say of it one look after another ([`mod@judge`]), so writes
//! may go on. A connection of its own carries it, between threads that are no workers ([`there`]); workers are asked
//! in bounded steps ([`here`]). docs/decisions/0017-comparison.md has the reasons.

pub mod here;
pub mod judge;
pub mod there;
pub mod words;

use std::collections::HashMap;
use std::thread;
use std::time::Instant;

use ringcache_engine::limits::SLOTS;
use ringcache_engine::{Cut, KeyHash, RecordDigest, Seconds, SlotDigests, SlotSet, Version};
use serde_json::{Value, json};

use super::frame::FrameError;
use crate::errand::Stopped;
use crate::limits::{
    VERIFY_LIST_RECORDS, VERIFY_LOOKS_MAX, VERIFY_PATIENCE, VERIFY_PAUSE_MAX, VERIFY_PAUSE_MIN,
    VERIFY_SHOWN_MAX,
};
use judge::{Fault, Ruling, Seen, Surroundings, judge, lags};

/// Why two nodes could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The connection broke.
    #[error("the connection to the other node: {0}")]
    Io(#[from] std::io::Error),
    /// What came is no frame.
    #[error("the other node: {0}")]
    Frame(#[from] FrameError),
    /// This node stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The operator has gone.
    #[error("broken off: the operator has gone")]
    Gone,
    /// Nobody follows nobody.
    #[error("neither node follows the other: there is no position at which they have to be equal")]
    Unrelated,
    /// The link does not get there.
    #[error("the replica has not caught up within {VERIFY_PATIENCE:?}: {0}")]
    Behind(String),
    /// A slot holds too much.
    #[error("more records in one slot than can be listed")]
    TooMany,
    /// The other node says why not.
    #[error("the other node says: {0}")]
    Refused(String),
    /// It says something else than was asked for.
    #[error("the other node's answer is not what was asked for")]
    Unexpected,
}

/// Where a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Its name.
    pub node: u128,
    /// Where the log of each of its shards stands.
    pub positions: Vec<Version>,
    /// The nodes that it follows: their names, and up to where each of their shards is applied; zero: not at all.
    pub follows: Vec<(u128, Vec<Version>)>,
    /// Up to where everything is flushed.
    pub flushed: Version,
    /// Its clock.
    pub seconds: Seconds,
    /// Records that went for want of memory, or because they were damaged, since it was started.
    pub lost: u64,
    /// Records.
    pub records: u64,
}

impl Stand {
    fn applied_of(&self, other: &Stand) -> Option<&[Version]> {
        let followed = self.follows.iter().find(|(node, _)| *node == other.node);
        followed.map(|(_, applied)| &applied[..])
    }

    /// What of `other`'s positions is not applied here: a shard, where it stands there and here.
    fn lacks(&self, other: &Stand) -> Option<(usize, Version, Version)> {
        let applied = self.applied_of(other).unwrap_or_default();
        let mut shards = other.positions.iter().enumerate();
        shards.find_map(|(shard, position)| {
            let reached = applied.get(shard).copied().unwrap_or_default();
            (reached < *position).then_some((shard, *position, reached))
        })
    }
}

/// One of the two nodes.
pub trait Side: Send {
    /// Where it stands now.
    fn stand(&mut self) -> Result<Stand, VerifyError>;

    /// The digests of its records from before `cut`. `tell` hears how many were summed up.
    fn digests(&mut self, cut: &Cut, tell: Tell<'_>) -> Result<SlotDigests, VerifyError>;

    /// Its records and tombstones in `slots`.
    fn list(&mut self, slots: &SlotSet) -> Result<Vec<RecordDigest>, VerifyError>;

    /// Its records and tombstones of these keys.
    fn look(&mut self, hashes: &[KeyHash]) -> Result<Vec<RecordDigest>, VerifyError>;
}

/// Hears how many records were summed up; may break it off.
pub type Tell<'a> = &'a mut dyn FnMut(u64) -> Result<(), VerifyError>;

/// What a comparison has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records of the primary and of the replica, from before the position.
    pub records: [u64; 2],
    /// Slots whose digests differed at first.
    pub slots_listed: u64,
    /// Keys that were looked at again.
    pub keys_looked_at: u64,
    /// Keys that are absent on one side, which has evicted records.
    pub evicted: u64,
    /// Keys that are absent on one side because their time was over there.
    pub expired: u64,
    /// Keys that changed at every look.
    pub changing: u64,
    /// Differences by fault.
    pub faults: [u64; Fault::ALL.len()],
    /// The nodes have not flushed the same.
    pub flushes_differ: bool,
    /// The first differences.
    pub shown: Vec<(Fault, KeyHash, Seen)>,
}

impl Report {
    /// Nothing differs that was not explained.
    pub fn is_equal(&self) -> bool {
        !self.flushes_differ && self.faults.iter().all(|count| *count == 0)
    }

    /// As `ringctl` shows it.
    pub fn to_json(&self) -> Value {
        let version = |record: &Option<RecordDigest>| record.map(|record| record.version.0.to_string());
        let shown = self.shown.iter().map(|(fault, hash, seen)| {
            json!({
                "what": fault.name(),
                "slot": hash.slot().0,
                "key_hash": format!("{:016x}", hash.0),
                "primary_version": version(&seen.primary),
                "replica_version": version(&seen.replica),
            })
        });
        let faults = Fault::ALL.iter().zip(self.faults).filter(|(_, count)| *count > 0);
        json!({
            "equal": self.is_equal(),
            "slots_checked": SLOTS,
            "primary_records": self.records[0],
            "replica_records": self.records[1],
            "differences": self.faults.iter().sum::<u64>() + u64::from(self.flushes_differ),
            "by_kind": faults.map(|(fault, count)| (fault.name().to_owned(), Value::from(count))).collect::<Value>(),
            "flushes_differ": self.flushes_differ,
            "slots_listed": self.slots_listed,
            "keys_looked_at": self.keys_looked_at,
            "explained": { "evicted": self.evicted, "expired": self.expired, "changing": self.changing },
            "shown": shown.collect::<Vec<_>>(),
        })
    }

    fn note(&mut self, hash: KeyHash, seen: Seen, fault: Fault) {
        self.faults[fault as usize] += 1;
        if self.shown.len() < VERIFY_SHOWN_MAX {
            self.shown.push((fault, hash, seen));
        }
    }
}

/// Compares the node `here` with `there`. `tell` hears how many records of this node were summed up.
///
/// Cost: a checksum of every record on both, 256 KiB on the connection, and 25 bytes for each record of a slot that
/// differs. Memory: lists of some hundred thousand records.
pub fn compare(here: &mut dyn Side, there: &mut dyn Side, tell: Tell<'_>) -> Result<Report, VerifyError> {
    let (own, other) = (here.stand()?, there.stand()?);
    let is_primary_here = match (own.applied_of(&other), other.applied_of(&own)) {
        (Some(_), _) => false,
        (None, Some(_)) => true,
        (None, None) => return Err(VerifyError::Unrelated),
    };
    let mut comparison =
        Comparison { here, there, is_primary_here, report: Report::default(), tell, meeting: None };
    comparison.run()?;
    Ok(comparison.report)
}

/// A key that was seen unequal.
struct Suspect {
    seen: Seen,
    /// At every look so far the replica had nothing of what the primary had at the look before.
    lags: bool,
}

/// A comparison under way.
struct Comparison<'a> {
    here: &'a mut dyn Side,
    there: &'a mut dyn Side,
    is_primary_here: bool,
    report: Report,
    tell: Tell<'a>,
    /// How both stood when they met last.
    meeting: Option<[Stand; 2]>,
}

impl Comparison<'_> {
    fn run(&mut self) -> Result<(), VerifyError> {
        let [primary, _] = self.meet()?;
        let cut = Cut::at(primary.positions);
        let Self { here, there, is_primary_here, tell, .. } = self;
        let digests = both(
            *is_primary_here,
            || here.digests(&cut, &mut **tell),
            || there.digests(&cut, &mut |_| Ok(())),
        )?;
        self.report.records = [digests[0].records(), digests[1].records()];
        for slots in parcels(&digests) {
            self.settle(&slots)?;
        }
        self.compare_flushes()
    }

    /// Waits until the replica has applied what the primary has now; peers wait for each other.
    fn meet(&mut self) -> Result<[Stand; 2], VerifyError> {
        let before = self.stands()?;
        let deadline = Instant::now() + VERIFY_PATIENCE;
        let mut pause = VERIFY_PAUSE_MIN;
        loop {
            (self.tell)(0)?;
            let now = self.stands()?;
            let is_peer = before[0].applied_of(&before[1]).is_some();
            let lack = now[1].lacks(&before[0]);
            let lack = lack.or_else(|| now[0].lacks(&before[1]).filter(|_| is_peer));
            let Some((shard, wanted, reached)) = lack else {
                let [_, replica] = now;
                let [primary, _] = before;
                let met = [primary, replica];
                self.meeting = Some(met.clone());
                return Ok(met);
            };
            if Instant::now() > deadline {
                let lack = format!(
                    "shard {shard} of the primary stands at {}, and {} is applied",
                    wanted.0, reached.0
                );
                return Err(VerifyError::Behind(lack));
            }
            thread::sleep(pause);
            pause = (pause * 2).min(VERIFY_PAUSE_MAX);
        }
    }

    /// The primary's and the replica's.
    fn stands(&mut self) -> Result<[Stand; 2], VerifyError> {
        let Self { here, there, is_primary_here, .. } = self;
        both(*is_primary_here, || here.stand(), || there.stand())
    }

    /// Lists some slots and settles every key in which they differ.
    fn settle(&mut self, slots: &SlotSet) -> Result<(), VerifyError> {
        self.report.slots_listed += slots.len() as u64;
        let Self { here, there, is_primary_here, .. } = self;
        let lists = both(*is_primary_here, || here.list(slots), || there.list(slots))?;
        let mut suspects: HashMap<KeyHash, Suspect> =
            unequal(lists).into_iter().map(|(hash, seen)| (hash, Suspect { seen, lags: true })).collect();
        self.report.keys_looked_at += suspects.len() as u64;
        let mut pause = VERIFY_PAUSE_MIN;
        for _ in 1..VERIFY_LOOKS_MAX {
            if suspects.is_empty() {
                return Ok(());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(VERIFY_PAUSE_MAX);
            suspects = self.look_again(&suspects)?;
        }
        for (hash, Suspect { seen, lags }) in suspects {
            match lags {
                true => self.report.note(hash, seen, Fault::Missing),
                false => self.report.changing += 1,
            }
        }
        Ok(())
    }

    /// Judges keys that differed by another look at them. Those remain about which nothing can be said yet.
    fn look_again(
        &mut self,
        suspects: &HashMap<KeyHash, Suspect>,
    ) -> Result<HashMap<KeyHash, Suspect>, VerifyError> {
        let [primary, replica] = self.meet()?;
        let surroundings = Surroundings {
            seconds: primary.seconds.max(replica.seconds),
            flushed: primary.flushed.max(replica.flushed),
            primary_has_lost: primary.lost > 0,
            replica_has_lost: replica.lost > 0,
        };
        let hashes: Vec<KeyHash> = suspects.keys().copied().collect();
        let Self { here, there, is_primary_here, .. } = self;
        let lists = both(*is_primary_here, || here.look(&hashes), || there.look(&hashes))?;
        let mut looks: HashMap<KeyHash, Seen> = HashMap::with_capacity(hashes.len());
        for (place, list) in lists.iter().enumerate() {
            list.iter().for_each(|record| looks.entry(record.hash).or_default().set(place, *record));
        }
        let mut unclear = HashMap::new();
        for (hash, suspect) in suspects {
            let before = &suspect.seen;
            let now = looks.get(hash).copied().unwrap_or_default();
            match judge(before, &now, &surroundings) {
                Ruling::Equal => {}
                Ruling::Expired => self.report.expired += 1,
                Ruling::Evicted => self.report.evicted += 1,
                Ruling::Changing => self.report.changing += 1,
                Ruling::Again => {
                    let lags = suspect.lags && lags(before, &now, &surroundings);
                    unclear.insert(*hash, Suspect { seen: now, lags });
                }
                Ruling::Differs(fault) => self.report.note(*hash, now, fault),
            }
        }
        Ok(unclear)
    }

    /// A flush hides records whatever their keys, and those to come with it: so it is compared by itself.
    fn compare_flushes(&mut self) -> Result<(), VerifyError> {
        let mut before = None;
        for _ in 0..VERIFY_LOOKS_MAX {
            let [primary, replica] = self.meet()?;
            let flushes = [primary.flushed, replica.flushed];
            if flushes[0] == flushes[1] {
                return Ok(());
            }
            // A flush of this very moment may not have come yet.
            self.report.flushes_differ = before == Some(flushes);
            if self.report.flushes_differ {
                return Ok(());
            }
            before = Some(flushes);
            thread::sleep(VERIFY_PAUSE_MAX);
        }
        Ok(())
    }
}

/// Asks both at once; the primary's answer comes first.
fn both<R: Send>(
    is_primary_here: bool,
    here: impl FnOnce() -> Result<R, VerifyError>,
    there: impl FnOnce() -> Result<R, VerifyError> + Send,
) -> Result<[R; 2], VerifyError> {
    let (here, there) = thread::scope(|scope| {
        let there = scope.spawn(there);
        (here(), there.join().expect("it panics with the process"))
    });
    let (here, there) = (here?, there?);
    Ok(if is_primary_here { [here, there] } else { [there, here] })
}

/// The slots that differ, in sets whose lists are bounded.
fn parcels(digests: &[SlotDigests; 2]) -> Vec<SlotSet> {
    let [primary, replica] = digests;
    let counts: Vec<u64> = primary
        .iter()
        .zip(replica.iter())
        .map(|((_, one), (_, other))| one.records.max(other.records))
        .collect();
    let (mut parcels, mut room) = (Vec::new(), 0);
    for slot in primary.differing(replica) {
        let count = counts[usize::from(slot.0)];
        if parcels.is_empty() || count > room {
            parcels.push(SlotSet::default());
            room = VERIFY_LIST_RECORDS;
        }
        room = room.saturating_sub(count);
        parcels.last_mut().expect("one was pushed").insert(slot);
    }
    parcels
}

/// The keys of which two lists do not say the same.
fn unequal(mut lists: [Vec<RecordDigest>; 2]) -> HashMap<KeyHash, Seen> {
    lists.iter_mut().for_each(|list| list.sort_unstable_by_key(|record| record.hash));
    let mut unequal = HashMap::new();
    let [primary, replica] = &lists;
    let (mut at, mut replica) = (0, replica.iter().peekable());
    let mut note = |seen: Seen| {
        if let Some(hash) = seen.hash().filter(|_| !seen.is_equal()) {
            unequal.insert(hash, seen);
        }
    };
    while at < primary.len() || replica.peek().is_some() {
        let one = primary.get(at).copied();
        let other = replica.next_if(|other| one.is_none_or(|one| other.hash <= one.hash)).copied();
        let is_pair = one.zip(other).is_none_or(|(one, other)| one.hash == other.hash);
        at += usize::from(is_pair && one.is_some());
        note(Seen { primary: one.filter(|_| is_pair), replica: other });
    }
    unequal
}

#[cfg(test)]
mod tests;
