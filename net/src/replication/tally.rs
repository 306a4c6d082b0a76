//! What a link has done, for statistics and `ringctl status`. Written by the worker of the link, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringcache_engine::Version;

use super::history::Cause;
use super::liveness::Moment;
use crate::stats::Counter;

/// Upper bounds of the lag histogram, in milliseconds; what is above the last one has a place of its own.
pub const LAG_BOUNDS_MILLIS: [u64; 9] = [1, 2, 5, 10, 50, 100, 500, 1_000, 10_000];

/// A primary's end.
#[derive(Debug, Default)]
pub struct FeedTally {
    /// Everything up to here is applied by the replica.
    pub position: AtomicU64,
    /// How far behind the replica was when it last said so, in milliseconds.
    pub lag_millis: AtomicU64,
    /// 1 when the replica has a full copy.
    pub following: AtomicU64,
    /// Bytes that are sent and not acknowledged.
    pub unacknowledged_bytes: AtomicU64,
    /// And records in them.
    pub unacknowledged_records: AtomicU64,
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
    pub lags: [Counter; LAG_BOUNDS_MILLIS.len() + 1],
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
        if position == Version::ZERO {
            return;
        }
        let lag = moment.now.unix_millis.saturating_sub(position.unix_millis());
        self.lag_millis.store(lag, Ordering::Relaxed);
        let place = LAG_BOUNDS_MILLIS.iter().position(|bound| lag <= *bound);
        self.lags[place.unwrap_or(LAG_BOUNDS_MILLIS.len())].add(1);
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
