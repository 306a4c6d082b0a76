//! What links have done, for statistics and `ringctl status`. Written by the worker of the link, read by anyone.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringcache_engine::Version;

use super::history::Cause;
use super::liveness::Moment;
use crate::stats::Counter;

/// Steps in each doubling of a lag.
const STEPS: u64 = 4;
/// Places of a histogram: up to 2^22 milliseconds, more than an hour, within a quarter of the value.
const PLACES: usize = 22 * STEPS as usize;
/// Stands for a number that is not known yet.
const UNKNOWN: u64 = u64::MAX;

/// How many acknowledgements came how late, in milliseconds. A `hdrhistogram` would need a lock: here one thread counts
/// while others read.
#[derive(Debug)]
pub struct Lags([Counter; PLACES]);

impl Default for Lags {
    fn default() -> Self {
        Self(array::from_fn(|_| Counter::default()))
    }
}

impl Lags {
    fn note(&self, millis: u64) {
        self.0[place(millis)].add(1);
    }
}

/// Where a lag is counted: each of the first, then four to a doubling.
fn place(millis: u64) -> usize {
    if millis < STEPS {
        return millis as usize;
    }
    let doubling = millis.ilog2() as usize - 2;
    let step = (millis >> doubling) as usize;
    (doubling * STEPS as usize + step).min(PLACES - 1)
}

/// The largest lag that is counted in a place.
fn largest(place: usize) -> u64 {
    let (doubling, step) = (place as u64 / STEPS, place as u64 % STEPS);
    match doubling {
        0 => step,
        _ => ((step + STEPS + 1) << (doubling - 1)) - 1,
    }
}

/// A primary's end.
#[derive(Debug)]
pub struct FeedTally {
    /// Everything up to here is applied by the replica.
    pub position: AtomicU64,
    /// 1 when the replica has a full copy.
    pub following: AtomicU64,
    /// Changes that were logged and are not known to be applied; `UNKNOWN` before the first position.
    lag_records: AtomicU64,
    /// Bytes that are sent and not acknowledged.
    pub unacknowledged_bytes: AtomicU64,
    /// Time from a question to its answer, in microseconds.
    pub round_trip_us: AtomicU64,
    /// Bytes of records, before compression.
    pub record_bytes: Counter,
    /// Bytes of frames.
    pub sent_bytes: Counter,
    /// Batches.
    pub batches: Counter,
    /// Batches that came damaged.
    pub nacks: Counter,
    /// Links that went on where the replica stood.
    pub resumes: Counter,
    /// Full copies by cause.
    pub copies: [Counter; Cause::ALL.len()],
    /// Acknowledgements by how far behind they were.
    pub lags: Lags,
}

impl Default for FeedTally {
    fn default() -> Self {
        Self {
            position: AtomicU64::default(),
            following: AtomicU64::default(),
            lag_records: AtomicU64::new(UNKNOWN),
            unacknowledged_bytes: AtomicU64::default(),
            round_trip_us: AtomicU64::default(),
            record_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            batches: Counter::default(),
            nacks: Counter::default(),
            resumes: Counter::default(),
            copies: Default::default(),
            lags: Lags::default(),
        }
    }
}

impl FeedTally {
    pub(super) fn note_records(&self, record_bytes: usize, sent_bytes: usize) {
        self.batches.add(1);
        self.record_bytes.add(record_bytes as u64);
        self.sent_bytes.add(sent_bytes as u64);
    }

    pub(super) fn note_nack(&self) {
        self.nacks.add(1);
    }

    pub(super) fn note_resume(&self) {
        self.resumes.add(1);
    }

    pub(super) fn note_copy(&self, cause: Cause) {
        self.copies[cause.number()].add(1);
    }

    pub(super) fn note_ack(&self, position: Version, round_trip: Option<Duration>, moment: Moment) {
        self.position.store(position.0, Ordering::Relaxed);
        if let Some(round_trip) = round_trip {
            self.round_trip_us.store(round_trip.as_micros() as u64, Ordering::Relaxed);
        }
        if position != Version::ZERO {
            self.lags.note(moment.now.unix_millis.saturating_sub(position.unix_millis()));
        }
    }

    pub(super) fn note_lag(&self, records: u64) {
        self.lag_records.store(records, Ordering::Relaxed);
    }

    /// Changes that are not known to be applied; `None` before the replica has told its first position.
    pub fn lag_records(&self) -> Option<u64> {
        Some(self.lag_records.load(Ordering::Relaxed)).filter(|records| *records != UNKNOWN)
    }

    /// Milliseconds since the last moment of which everything is applied; zero where nothing is left to be applied.
    pub fn lag_millis(&self, unix_millis: u64) -> Option<u64> {
        match self.lag_records()? {
            0 => Some(0),
            _ => {
                let position = Version(self.position.load(Ordering::Relaxed));
                Some(unix_millis.saturating_sub(position.unix_millis()))
            }
        }
    }
}

/// A replica's end.
#[derive(Debug, Default)]
pub struct FollowTally {
    /// Everything up to here is applied.
    pub position: AtomicU64,
    /// Records that were applied.
    pub applied: Counter,
    /// Records that were there already, in this or a newer version.
    pub older: Counter,
    /// Records that found no memory.
    pub no_memory: Counter,
    /// Records that were damaged before they were sent.
    pub damaged: Counter,
    /// Batches that came damaged.
    pub nacks: Counter,
    /// Bytes of frames.
    pub received_bytes: Counter,
    /// Full copies that were completed.
    pub copies: Counter,
    /// 1 while a full copy is under way.
    pub copying: AtomicU64,
}

/// What links have done together, those that are closed too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Of a primary: bytes of records, before compression.
    pub record_bytes: u64,
    /// Bytes of frames.
    pub sent_bytes: u64,
    /// Batches that a replica found damaged.
    pub nacks: u64,
    /// Links that went on where the replica stood.
    pub resumes: u64,
    /// Full copies by cause.
    pub copies: [u64; Cause::ALL.len()],
    lags: [u64; PLACES],
    /// Of a replica: records that were applied.
    pub applied: u64,
    /// Records that found no memory.
    pub no_memory: u64,
    /// Records that were damaged before they were sent.
    pub damaged_records: u64,
    /// Batches that came damaged.
    pub damaged_batches: u64,
    /// Bytes of frames.
    pub received_bytes: u64,
    /// Full copies that were completed.
    pub copies_received: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            record_bytes: 0,
            sent_bytes: 0,
            nacks: 0,
            resumes: 0,
            copies: Default::default(),
            lags: [0; PLACES],
            applied: 0,
            no_memory: 0,
            damaged_records: 0,
            damaged_batches: 0,
            received_bytes: 0,
            copies_received: 0,
        }
    }
}

impl Totals {
    /// Takes in a link to a replica.
    pub fn add_feed(&mut self, tally: &FeedTally) {
        self.record_bytes += tally.record_bytes.value();
        self.sent_bytes += tally.sent_bytes.value();
        self.nacks += tally.nacks.value();
        self.resumes += tally.resumes.value();
        self.copies.iter_mut().zip(&tally.copies).for_each(|(sum, count)| *sum += count.value());
        self.lags.iter_mut().zip(&tally.lags.0).for_each(|(sum, count)| *sum += count.value());
    }

    /// Takes in a link to a source.
    pub fn add_follow(&mut self, tally: &FollowTally) {
        self.applied += tally.applied.value();
        self.no_memory += tally.no_memory.value();
        self.damaged_records += tally.damaged.value();
        self.damaged_batches += tally.nacks.value();
        self.received_bytes += tally.received_bytes.value();
        self.copies_received += tally.copies.value();
    }

    /// The lag, in milliseconds, that so many of a thousand acknowledgements did not exceed: at most a quarter too much.
    /// Zero where there were none.
    pub fn lag_millis(&self, of_thousand: u64) -> u64 {
        let wanted = (self.lags.iter().sum::<u64>() * of_thousand).div_ceil(1000).max(1);
        let mut seen = 0;
        let reached = self.lags.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        reached.map_or(0, largest)
    }
}

#[cfg(test)]
mod tests {
    use super::{FeedTally, PLACES, Totals, largest, place};

    #[test]
    fn a_lag_is_told_within_a_quarter() {
        for millis in (0..10_000).chain([1 << 20, 3_600_000]) {
            let told = largest(place(millis));
            assert!(told >= millis && told <= millis + millis / 4, "{millis} is told as {told}");
        }
        assert!((1..PLACES).all(|place| largest(place) > largest(place - 1)));
        assert_eq!(place(u64::MAX), PLACES - 1);
    }

    #[test]
    fn percentiles_are_those_of_all_links() {
        let mut totals = Totals::default();
        assert_eq!(totals.lag_millis(990), 0);
        for (count, millis) in [(98, 1), (1, 7), (1, 1_000)] {
            let tally = FeedTally::default();
            (0..count).for_each(|_| tally.lags.note(millis));
            totals.add_feed(&tally);
        }
        assert_eq!((totals.lag_millis(500), totals.lag_millis(990)), (1, 7));
        assert!((1_000..1_250).contains(&totals.lag_millis(1000)));
    }
}
