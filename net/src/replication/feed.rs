//! The primary's end of a link: one shard's log, as batches, within a window.
//!
//! ```text
//!            Follow                      first pass ends           link breaks
//! Greeted ------------> Copying ------------------------> Following ---------> (parked, for a while)
//!            Follow, a position that the log still shows     ^
//!         `--------------------------------------------------'
//! ```
//!
//! Nothing is buffered for a replica: a batch is copied out of the log when it is sent, and what is kept of it until it
//! is acknowledged is the cursor behind it, some hundred bytes. A batch that came damaged, or was lost with its link,
//! is read from the log again. A slow replica costs the primary nothing, because the log shows only what is living.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringcache_engine::{LogCursor, Shard, Step, Version};

pub use super::ending::LinkError;
use super::frame::{self, FLAG_COPY_END, FLAG_LZ4, FLAG_REWOUND, Frame, HEADER_BYTES, Header, Kind};
use super::history::{Cause, HistoryId, Start};
use super::liveness::{Liveness, Moment};
use super::message::{Ack, Follow, Refuse, Welcome};
use super::parked::Parked;
use super::squeeze::Squeeze;
use super::tally::FeedTally;
use crate::limits::{LINK_BATCH_BYTES, LINK_NACKS_MAX};
use crate::output::Output;

/// What the owner of a feed has to do about a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum FeedEvent {
    /// Nothing.
    None,
    /// The replica tells where it stands: decide, then call [`Feed::start`], [`Feed::go_on`] or [`Feed::refuse`].
    Follow(Follow),
    /// More is applied than before, or its room.
    Acked,
}

/// How a feed is to be.
#[derive(Clone, Copy, Debug)]
pub struct FeedOptions {
    /// Bytes that may be under way unacknowledged; one record may be larger.
    pub window_bytes: usize,
    /// Bytes that one poll sends at most, so that clients' requests do not wait.
    pub turn_bytes: usize,
    /// Compress batches where that makes them smaller.
    pub compress: bool,
    /// No answer waits for the replica: what is written while it has something to acknowledge leaves together after that,
    /// as Nagle's algorithm has it (RFC 896). Each batch wakes the replica and comes back as an acknowledgement.
    pub gathers: bool,
    /// For peers that both accept writes: the node number whose writes the tail consists of.
    pub own_node: u8,
}

/// See the module's text.
pub struct Feed {
    options: FeedOptions,
    phase: Phase,
    /// Where the next batch is read.
    cursor: LogCursor,
    /// Where a batch would be read again after everything that is acknowledged.
    acked: LogCursor,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// Of the last frame of records.
    sequence: u64,
    is_rewound: bool,
    /// Both ends accept writes: the tail is what was written here.
    is_peer: bool,
    /// Damaged batches since one was acknowledged.
    nacks: u32,
    /// Everything up to here is applied by the replica.
    position: Version,
    /// How many changes the shard had logged when that was all; `None` before the first one.
    applied_changes: Option<u64>,
    /// Frames of records were sent behind the last position.
    owes_position: bool,
    /// The last look into the log found nothing unread.
    is_caught_up: bool,
    /// The position that was sent last.
    told: Version,
    liveness: Liveness,
    /// Frames of the replica, without questions and answers to them.
    heard: u64,
    squeeze: Squeeze,
    tally: Arc<FeedTally>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeted,
    /// A full copy of that name.
    Copying {
        name: u64,
    },
    Following,
    Refused,
}

/// A frame of records that is not acknowledged.
struct InFlight {
    sequence: u64,
    bytes: usize,
    /// Where its records end.
    after: LogCursor,
    /// How many changes the shard had logged when this was sent, if that was all of them.
    changes: Option<u64>,
    ends_copy: bool,
}

impl Feed {
    /// A link whose replica has not said anything yet.
    pub fn new(
        options: FeedOptions,
        patience: std::time::Duration,
        moment: Moment,
        tally: Arc<FeedTally>,
    ) -> Self {
        Self {
            options,
            phase: Phase::Greeted,
            cursor: LogCursor::new(Version::ZERO),
            acked: LogCursor::new(Version::ZERO),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            sequence: 0,
            is_rewound: false,
            is_peer: false,
            nacks: 0,
            position: Version::ZERO,
            applied_changes: None,
            owes_position: true,
            is_caught_up: false,
            told: Version::ZERO,
            liveness: Liveness::new(patience, moment),
            heard: 0,
            squeeze: Squeeze::default(),
            tally,
        }
    }

    /// Takes a frame of the replica.
    pub fn handle_frame(
        &mut self,
        frame: &Frame<'_>,
        moment: Moment,
        out: &mut Output,
    ) -> Result<FeedEvent, LinkError> {
        self.liveness.note_heard(moment);
        self.heard += u64::from(!matches!(frame.header.kind, Kind::Ping | Kind::Pong));
        match frame.header.kind {
            Kind::Follow if self.phase == Phase::Greeted => {
                Ok(FeedEvent::Follow(Follow::parse(frame.payload)?))
            }
            Kind::Ack => self.handle_ack(Ack::parse(frame.payload)?, moment),
            Kind::Nack => self.handle_nack(frame.header.sequence),
            Kind::Ping if frame.header.sequence != self.heard => Err(LinkError::Order(frame.header.sequence)),
            Kind::Ping => {
                frame::push(&mut out.bytes, Kind::Pong, 0, 0, frame.payload);
                Ok(FeedEvent::None)
            }
            Kind::Pong => {
                self.liveness.handle_pong(frame.payload, moment);
                Ok(FeedEvent::None)
            }
            Kind::Refuse => Err(LinkError::Refused(Refuse::parse(frame.payload)?)),
            kind => Err(LinkError::Unexpected(kind)),
        }
    }

    /// Begins to send, from `start` on. `name` names the copy if it is one.
    pub fn start(
        &mut self,
        start: Start,
        follow: &Follow,
        history: HistoryId,
        name: u64,
        shard: &mut Shard,
        out: &mut Output,
    ) {
        assert!(name != 0, "zero names no copy");
        self.is_peer = follow.is_peer;
        let (phase, mut cursor, copy) = match start {
            Start::After(position) => {
                self.tally.note_resume();
                self.position = position;
                (Phase::Following, self.tail(LogCursor::new(position)), 0)
            }
            Start::Copy(cause) => {
                self.note_copy(cause);
                (Phase::Copying { name }, LogCursor::new(Version::ZERO), name)
            }
        };
        self.phase = phase;
        // Before the first snapshot: going back must not be going to a later beginning.
        cursor.begin(shard);
        self.acked = cursor.clone();
        self.cursor = cursor;
        let welcome = Welcome { history, copy, goes_on: false, flushed: shard.flushed() };
        frame::push(&mut out.bytes, Kind::Welcome, 0, 0, &welcome.to_bytes());
    }

    /// Goes on with a full copy that was broken off.
    pub fn go_on(
        &mut self,
        parked: Parked,
        follow: &Follow,
        history: HistoryId,
        shard: &Shard,
        out: &mut Output,
    ) {
        self.is_peer = follow.is_peer;
        self.phase = Phase::Copying { name: parked.name };
        self.acked = parked.cursor.clone();
        self.cursor = parked.cursor;
        self.tally.note_resume();
        let welcome = Welcome { history, copy: parked.name, goes_on: true, flushed: shard.flushed() };
        frame::push(&mut out.bytes, Kind::Welcome, 0, 0, &welcome.to_bytes());
    }

    /// Says why nothing comes; the link ends when that is sent.
    pub fn refuse(&mut self, why: Refuse, out: &mut Output) {
        self.phase = Phase::Refused;
        frame::push(&mut out.bytes, Kind::Refuse, 0, 0, &[why as u8]);
    }

    /// A full copy in the middle, to go on with on another link.
    pub fn park(self) -> Option<Parked> {
        match self.phase {
            Phase::Copying { name } => Some(Parked { name, cursor: self.acked }),
            _ => None,
        }
    }

    /// The tail that a replica or a peer gets: a peer only what was written here, because it hears the rest from who
    /// wrote it.
    fn tail(&self, cursor: LogCursor) -> LogCursor {
        if self.is_peer { cursor.of_origin(self.options.own_node) } else { cursor }
    }

    fn note_copy(&self, cause: Cause) {
        self.tally.note_copy(cause);
        tracing::info!(cause = cause.name(), "a full copy begins");
    }

    fn handle_ack(&mut self, ack: Ack, moment: Moment) -> Result<FeedEvent, LinkError> {
        if ack.sequence > self.sequence {
            return Err(LinkError::Order(ack.sequence));
        }
        while self.in_flight.front().is_some_and(|front| front.sequence <= ack.sequence) {
            let applied = self.in_flight.pop_front().expect("looked at just before");
            self.in_flight_bytes -= applied.bytes;
            self.acked = applied.after;
            self.applied_changes = applied.changes.or(self.applied_changes);
            self.nacks = 0;
            if applied.ends_copy && matches!(self.phase, Phase::Copying { .. }) {
                self.phase = Phase::Following;
                self.cursor = self.tail(self.cursor.clone());
            }
        }
        self.show();
        self.position = self.position.max(ack.position);
        self.tally.note_ack(self.position, self.liveness.round_trip(), moment);
        Ok(FeedEvent::Acked)
    }

    /// Everything from `sequence` on is read from the log again.
    fn handle_nack(&mut self, sequence: u64) -> Result<FeedEvent, LinkError> {
        let Some(place) = self.in_flight.iter().position(|frame| frame.sequence == sequence) else {
            return Err(LinkError::Order(sequence));
        };
        self.nacks += 1;
        self.tally.note_nack();
        if self.nacks > LINK_NACKS_MAX {
            return Err(LinkError::Damaged);
        }
        self.cursor = match place {
            0 => self.acked.clone(),
            place => self.in_flight[place - 1].after.clone(),
        };
        let repeated: usize = self.in_flight.drain(place..).map(|frame| frame.bytes).sum();
        self.in_flight_bytes -= repeated;
        self.show();
        self.sequence = sequence - 1;
        self.is_rewound = true;
        self.owes_position = true;
        self.is_caught_up = false;
        Ok(FeedEvent::Acked)
    }

    /// Appends what may be sent now to `out`. True when there is more, and room for it in the window.
    pub fn poll(&mut self, shard: &mut Shard, moment: Moment, out: &mut Output) -> Result<bool, LinkError> {
        if self.liveness.is_over(moment) {
            return Err(LinkError::Silent);
        }
        let sent = self.sequence + u64::from(self.phase != Phase::Greeted);
        self.liveness.poll(moment, sent, &mut out.bytes);
        if !matches!(self.phase, Phase::Copying { .. } | Phase::Following) {
            return Ok(false);
        }
        if let Some(applied) = self.applied_changes {
            self.tally.note_lag(shard.changes() - applied);
        }
        if self.is_gathering() {
            return Ok(false);
        }
        let mut left = self.options.turn_bytes;
        while left > 0 {
            let room = self.options.window_bytes.saturating_sub(self.in_flight_bytes);
            if room == 0 {
                return Ok(false);
            }
            let before = out.len();
            if self.cursor.has_lost(shard) {
                return Err(LinkError::Lost);
            }
            let is_done = self.send_some(shard, moment, left.min(room).min(LINK_BATCH_BYTES), out);
            if is_done {
                return Ok(false);
            }
            // A step that found nothing has looked at as much as another one sends.
            left = left.saturating_sub((out.len() - before).max(LINK_BATCH_BYTES / 8));
        }
        Ok(true)
    }

    /// Everything of the last look is under way, and what came since can wait for its acknowledgement, which calls again.
    fn is_gathering(&self) -> bool {
        self.options.gathers && self.is_caught_up && self.is_following() && !self.in_flight.is_empty()
    }

    /// One batch, read straight into the frame that carries it. True when nothing more is there.
    fn send_some(&mut self, shard: &mut Shard, moment: Moment, bytes: usize, out: &mut Output) -> bool {
        let start = frame::open(&mut out.bytes);
        out.bytes.extend_from_slice(&Version::ZERO.0.to_le_bytes());
        let records = out.bytes.len();
        let step = self.cursor.read(shard, moment.now, bytes, &mut out.bytes);
        let is_empty = out.bytes.len() == records;
        let (position, is_done) = match step {
            Step::CaughtUp(position) => (position, true),
            Step::Full | Step::Large(_) => (Version::ZERO, false),
        };
        if !is_empty || is_done && (self.owes_position || position != self.told) {
            self.send_records(start, position, out);
            let sent = self.in_flight.back_mut().expect("it was just sent");
            sent.changes = is_done.then(|| shard.changes());
        } else {
            out.bytes.truncate(start);
        }
        if let Step::Large(large) = step {
            if !is_empty {
                self.go_back_before_the_last();
            }
            self.send_large(large, out);
        }
        self.is_caught_up = is_done;
        is_done
    }

    /// Closes the frame of records that begins at `start`. They complete `position`; zero: none.
    fn send_records(&mut self, start: usize, position: Version, out: &mut Output) {
        let mut flags = 0;
        self.owes_position = position == Version::ZERO;
        if !self.owes_position {
            self.told = position;
            let is_copying = matches!(self.phase, Phase::Copying { .. });
            if is_copying && !self.in_flight.iter().any(|frame| frame.ends_copy) {
                flags |= FLAG_COPY_END;
            }
        }
        let records = start + HEADER_BYTES + size_of::<Version>();
        out.bytes[records - size_of::<Version>()..records].copy_from_slice(&position.0.to_le_bytes());
        let raw_bytes = out.bytes.len() - records;
        let squeezed =
            if self.options.compress { self.squeeze.compress(&out.bytes[records..]) } else { None };
        if let Some(squeezed) = squeezed {
            flags |= FLAG_LZ4;
            out.bytes.truncate(records);
            out.bytes.extend_from_slice(&(raw_bytes as u32).to_le_bytes());
            out.bytes.extend_from_slice(squeezed);
        }
        flags |= if std::mem::take(&mut self.is_rewound) { FLAG_REWOUND } else { 0 };
        self.sequence += 1;
        let bytes = frame::seal(&mut out.bytes, start, Kind::Records, flags, self.sequence);
        self.tally.note_records(raw_bytes, bytes);
        self.note_sent(bytes, flags);
    }

    /// The last frame has the touch of a large record that comes next: who has to go back behind it goes back before it.
    fn go_back_before_the_last(&mut self) {
        let last = self.in_flight.len() - 1;
        let before = last.checked_sub(1).map_or(&self.acked, |place| &self.in_flight[place].after);
        self.in_flight[last].after = before.clone();
    }

    fn send_large(&mut self, large: ringcache_engine::LargeRecord, out: &mut Output) {
        let ringcache_engine::LargeRecord { head, value, padding } = large;
        let mut front = (head.len() as u32).to_le_bytes().to_vec();
        front.extend_from_slice(&head);
        let payload_bytes = front.len() + value.bytes().len() + usize::from(padding);
        let flags = if std::mem::take(&mut self.is_rewound) { FLAG_REWOUND } else { 0 };
        self.sequence += 1;
        self.owes_position = true;
        self.tally.note_records(payload_bytes, payload_bytes);
        self.note_sent(HEADER_BYTES + payload_bytes, flags);
        let header = Header {
            payload_bytes: u32::try_from(payload_bytes).expect("a record is at most 1 GiB and its header"),
            kind: Kind::Large,
            flags,
            sequence: self.sequence,
            payload_crc: crc32c::crc32c(&front),
        };
        out.push(&header.to_bytes());
        out.push(&front);
        out.push_pinned(value);
        out.push(&[0; 8][..usize::from(padding)]);
    }

    fn note_sent(&mut self, bytes: usize, flags: u8) {
        self.in_flight_bytes += bytes;
        let ends_copy = flags & FLAG_COPY_END != 0;
        let after = self.cursor.clone();
        self.in_flight.push_back(InFlight {
            sequence: self.sequence,
            bytes,
            after,
            changes: None,
            ends_copy,
        });
        self.show();
    }

    fn show(&self) {
        self.tally.following.store(u64::from(self.is_following()), Ordering::Relaxed);
        self.tally.unacknowledged_bytes.store(self.in_flight_bytes as u64, Ordering::Relaxed);
    }

    /// Everything up to here is applied at the other end; what a write's answer may wait for.
    pub fn position(&self) -> Version {
        self.position
    }

    /// The replica has applied everything that there was at the last look.
    pub fn is_level(&self) -> bool {
        self.is_caught_up && self.in_flight.is_empty()
    }

    /// The replica has a full copy, and is given every write.
    pub fn is_following(&self) -> bool {
        self.phase == Phase::Following
    }

    /// Changes after this are still needed in the log; `None` as long as nothing is sent.
    pub fn needs_after(&self) -> Option<Version> {
        match self.phase {
            Phase::Greeted | Phase::Refused => None,
            Phase::Copying { .. } | Phase::Following => Some(self.acked.followed()),
        }
    }

    /// The link ends when everything is sent.
    pub fn is_refused(&self) -> bool {
        self.phase == Phase::Refused
    }

    /// Bytes that are sent and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.in_flight_bytes
    }
}
