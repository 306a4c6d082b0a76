//! The replica's end of a link: one shard of the primary, applied in order, acknowledged when applied.
//!
//! ```text
//!            Welcome, a copy                 copy complete           swept
//! Greeted ------------------> Copying -------------------> Sweeping -----------> Following
//!            Welcome, none                                                          ^
//!         `-------------------------------------------------------------------------'
//! ```
//!
//! A full copy replaces what is here while it goes on being served: each record of it gets a mark, and when it is
//! complete, what has no mark is taken out. Records that belong to other shards here travel over the mesh; a frame is
//! acknowledged when the last of them is applied.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringcache_engine::{CopyMark, Installed, KeyHash, Part, RecordError, ShardId, Version};

use super::batch::{Batch, Through};
use super::feed::LinkError;
use super::frame::{self, FLAG_COPY_END, FLAG_REWOUND, Frame, FrameReader, HEADER_BYTES, Kind};
use super::history::{Extent, HistoryId, Standing};
use super::liveness::{Liveness, Moment};
use super::message::{Ack, Follow as Greeting, Refuse, Welcome};
use super::order::Order;
use super::tally::FollowTally;
use crate::limits::LINK_REWIND_PINGS_MAX;
use crate::output::Output;

/// How received records are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The newer version wins.
    Newer,
    /// The record is part of a full copy and takes this mark.
    Copied(CopyMark),
}

/// Where records go: the shards of this node.
pub trait Shards {
    /// How many there are.
    fn count(&self) -> u16;

    /// The one that can be written at once.
    fn own(&self) -> ShardId;

    /// Whether more may be installed in this turn.
    fn has_room(&self) -> bool;

    /// Starts loading what installing a key of that hash will look at first. Nothing depends on it.
    fn announce(&self, _hash: KeyHash) {}

    /// Installs the record at the front of `bytes` in the own shard.
    fn install(&mut self, bytes: &[u8], manner: Manner) -> Result<(Installed, usize), RecordError>;

    /// Installs records of another shard; [`Follow::handle_done`] is called with `sequence` when it is done.
    fn send_away(&mut self, shard: ShardId, records: Vec<u8>, manner: Manner, sequence: u64);

    /// Begins a full copy in every shard, the own one too, whose authority has flushed everything up to `flushed`;
    /// [`Follow::handle_done`] is called with `sequence` for each.
    fn begin_copy(&mut self, mark: CopyMark, flushed: Version, sequence: u64);

    /// Takes out of every shard what belongs to `part` and has not this mark, where the copy is one of `position`;
    /// likewise.
    fn sweep(&mut self, part: Part, mark: CopyMark, position: Version, sequence: u64);

    /// A mark that no copy of this node had lately.
    fn next_mark(&mut self) -> CopyMark;
}

/// What survives a link: where the replica stands with one shard of its primary.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Of which history the rest speaks.
    pub history: HistoryId,
    /// How much is applied.
    pub extent: Extent,
    /// The full copy under way: its name at the primary, its mark here.
    pub copy: Option<(u64, CopyMark)>,
}

/// What the owner of a link has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowEvent {
    /// The primary has said how it goes on: its history, and whether a full copy comes.
    Welcomed {
        /// Of the primary.
        history: HistoryId,
        /// A full copy.
        copies: bool,
    },
    /// The position has moved.
    Applied(Version),
}

/// See the module's text.
pub struct Follow {
    part: Part,
    /// Both ends accept writes: nothing is swept, and the newer version wins.
    is_peer: bool,
    item_bytes_max: u32,
    reader: FrameReader,
    phase: Phase,
    /// Where the node stands with the whole history that it followed last.
    standing: Standing,
    progress: Progress,
    /// Of the last frame of records that was taken.
    taken: u64,
    /// A damaged frame was reported: everything is thrown away until it comes again. Questions heard since.
    skips: Option<u32>,
    /// The frame at the front of what was received, as long as not all of its records are installed.
    begun: Option<Begun>,
    /// By shard: records of the frame at the front that belong there. Emptied with the frame; kept for its room.
    away: Vec<Vec<u8>>,
    pending: VecDeque<Pending>,
    /// Every frame up to this sequence is applied.
    applied: u64,
    /// What the primary was told last.
    told: Ack,
    /// Frames that were sent, without questions and answers to them.
    sent: u64,
    /// The end of the frame at the front has not come.
    is_amid_frame: bool,
    liveness: Liveness,
    tally: Arc<FollowTally>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeted,
    /// A copy is being prepared in all shards.
    Beginning,
    Copying,
    Sweeping {
        position: Version,
    },
    Following,
}

/// A frame whose records are being installed.
struct Begun {
    batch: Batch,
    pending: Pending,
}

/// A frame of records that is not applied whole.
struct Pending {
    sequence: u64,
    position: Version,
    ends_copy: bool,
    /// Messages to other shards that have not come back.
    away: u32,
}

/// What is asked of all shards has sequences above every frame's.
const BEGINNING: u64 = u64::MAX;
const SWEEPING: u64 = u64::MAX - 1;

impl Follow {
    /// Says where this node stands. `item_bytes_max` bounds what a frame may carry.
    #[expect(clippy::too_many_arguments, reason = "what a link is made of, once")]
    pub fn new(
        part: Part,
        is_peer: bool,
        standing: Standing,
        progress: Progress,
        item_bytes_max: u32,
        patience: Duration,
        moment: Moment,
        tally: Arc<FollowTally>,
        out: &mut Output,
    ) -> Self {
        let copy = progress.copy.map_or(0, |(name, _)| name);
        let greeting = Greeting { standing: standing.clone(), copy, is_peer };
        frame::push(&mut out.bytes, Kind::Follow, 0, 0, &greeting.to_bytes());
        Self {
            part,
            is_peer,
            item_bytes_max,
            reader: FrameReader::default(),
            phase: Phase::Greeted,
            standing,
            progress,
            taken: 0,
            skips: None,
            begun: None,
            away: Vec::new(),
            pending: VecDeque::new(),
            applied: 0,
            told: Ack { sequence: 0, position: Version::ZERO },
            sent: 1,
            is_amid_frame: false,
            liveness: Liveness::new(patience, moment),
            tally,
        }
    }

    /// Takes what was received; [`Follow::poll`] does something about it.
    pub fn handle_bytes(&mut self, bytes: &[u8], moment: Moment) {
        self.liveness.note_bytes(bytes.len(), self.is_amid_frame, moment);
        self.tally.received_bytes.add(bytes.len() as u64);
        self.reader.push(bytes);
    }

    /// What another shard's work came to, beside being done.
    pub fn note_order(&self, order: &Order) {
        self.tally.no_memory.add(order.no_memory);
        self.tally.damaged.add(order.damaged);
    }

    /// Another shard has installed or swept what was sent to it under `sequence`.
    pub fn handle_done(&mut self, sequence: u64, shards: &mut impl Shards) {
        let begun = self.begun.as_mut().map(|begun| &mut begun.pending);
        let mut waiting = self.pending.iter_mut().chain(begun);
        let frame = waiting.find(|frame| frame.sequence == sequence);
        frame.expect("what comes back belongs to a frame that waits").away -= 1;
        self.settle(shards);
    }

    /// Goes on as far as this turn allows. Events are told to `tell`; acknowledgements go to `out`. True when it must
    /// be called again although nothing comes.
    pub fn poll(
        &mut self,
        shards: &mut impl Shards,
        moment: Moment,
        out: &mut Output,
        mut tell: impl FnMut(FollowEvent),
    ) -> Result<bool, LinkError> {
        if self.liveness.is_over(moment) {
            return Err(LinkError::Silent);
        }
        self.liveness.poll(moment, self.sent, &mut out.bytes);
        let waits = loop {
            if self.phase == Phase::Beginning || !shards.has_room() {
                break self.phase != Phase::Beginning && (self.begun.is_some() || !self.reader.is_empty());
            }
            if self.begun.is_some() {
                self.install_some(shards, out)?;
                continue;
            }
            let reader = std::mem::take(&mut self.reader);
            let taken = match reader.front(self.item_bytes_max) {
                Ok(Some(frame)) => {
                    let bytes = HEADER_BYTES + frame.payload.len();
                    self.handle_frame(&frame, shards, moment, out, &mut tell).map(|()| Some(bytes))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error.into()),
            };
            self.reader = reader;
            let taken = taken?;
            self.is_amid_frame = taken.is_none() && !self.reader.is_empty();
            if taken.is_some() {
                self.liveness.note_heard(moment);
            }
            match taken {
                // Its records are read from there.
                Some(_) if self.begun.is_some() => {}
                Some(bytes) => self.reader.advance(bytes),
                None => break false,
            }
        };
        self.settle(shards);
        self.acknowledge(out, &mut tell);
        Ok(waits)
    }

    fn handle_frame(
        &mut self,
        frame: &Frame<'_>,
        shards: &mut impl Shards,
        moment: Moment,
        out: &mut Output,
        tell: &mut impl FnMut(FollowEvent),
    ) -> Result<(), LinkError> {
        match frame.header.kind {
            Kind::Welcome if self.phase == Phase::Greeted => {
                self.handle_welcome(Welcome::parse(frame.payload)?, shards, tell)
            }
            Kind::Records | Kind::Large if self.phase != Phase::Greeted => self.begin(frame, shards, out),
            Kind::Ping => {
                self.check_order(frame.header.sequence)?;
                frame::push(&mut out.bytes, Kind::Pong, 0, 0, frame.payload);
                Ok(())
            }
            Kind::Pong => {
                self.liveness.handle_pong(frame.payload, moment);
                Ok(())
            }
            Kind::Refuse => Err(LinkError::Refused(Refuse::parse(frame.payload)?)),
            kind => Err(LinkError::Unexpected(kind)),
        }
    }

    /// Frames of records that were taken, and the welcome.
    fn heard(&self) -> u64 {
        self.taken + u64::from(self.phase != Phase::Greeted)
    }

    /// Whether everything has come that the primary had sent when it asked. Until a damaged frame comes again less is
    /// taken than was sent; but what vanished on its way back never comes, so that is not waited for without end.
    fn check_order(&mut self, sequence: u64) -> Result<(), LinkError> {
        let is_in_order = match &mut self.skips {
            Some(pings) => {
                *pings += 1;
                *pings < LINK_REWIND_PINGS_MAX
            }
            None => sequence == self.heard(),
        };
        if is_in_order { Ok(()) } else { Err(LinkError::Order(sequence)) }
    }

    fn handle_welcome(
        &mut self,
        welcome: Welcome,
        shards: &mut impl Shards,
        tell: &mut impl FnMut(FollowEvent),
    ) -> Result<(), LinkError> {
        let copies = welcome.copy != 0;
        tell(FollowEvent::Welcomed { history: welcome.history, copies });
        if !copies {
            self.phase = Phase::Following;
            self.progress.copy = None;
            if welcome.history != self.standing.history {
                self.progress.extent = self.standing.extent(self.part.shard.0, self.part.shards);
            }
            self.progress.history = welcome.history;
            return Ok(());
        }
        self.progress.history = welcome.history;
        self.tally.copying.store(1, Ordering::Relaxed);
        let known = self.progress.copy.filter(|(name, _)| welcome.goes_on && *name == welcome.copy);
        if known.is_some() {
            self.phase = Phase::Copying;
            return Ok(());
        }
        if welcome.goes_on {
            return Err(LinkError::Unexpected(Kind::Welcome));
        }
        let mark = shards.next_mark();
        self.progress.extent = Extent { position: Version::ZERO, reached: welcome.flushed };
        self.progress.copy = Some((welcome.copy, mark));
        if self.is_peer {
            self.phase = Phase::Copying;
            return Ok(());
        }
        self.phase = Phase::Beginning;
        self.await_all(BEGINNING, shards);
        shards.begin_copy(mark, welcome.flushed, BEGINNING);
        Ok(())
    }

    /// Something is asked of every shard.
    fn await_all(&mut self, sequence: u64, shards: &impl Shards) {
        let away = u32::from(shards.count());
        self.pending.push_back(Pending { sequence, position: Version::ZERO, ends_copy: false, away });
    }

    /// Takes a frame of records, unless it came damaged or out of order.
    fn begin(&mut self, frame: &Frame<'_>, shards: &impl Shards, out: &mut Output) -> Result<(), LinkError> {
        let header = frame.header;
        if self.skips.is_some() && header.flags & FLAG_REWOUND == 0 {
            return Ok(());
        }
        self.skips = None;
        if header.sequence != self.taken + 1 {
            return Err(LinkError::Order(header.sequence));
        }
        if !frame.is_intact {
            self.report_damage(header.sequence, out);
            return Ok(());
        }
        let (batch, position) = Batch::open(frame)?;
        self.taken = header.sequence;
        let ends_copy = header.flags & FLAG_COPY_END != 0;
        let pending = Pending { sequence: header.sequence, position, ends_copy, away: 0 };
        self.away.resize_with(usize::from(shards.count()), Vec::new);
        self.begun = Some(Begun { batch, pending });
        Ok(())
    }

    fn report_damage(&mut self, sequence: u64, out: &mut Output) {
        self.tally.nacks.add(1);
        self.skips = Some(0);
        self.sent += 1;
        frame::push(&mut out.bytes, Kind::Nack, 0, sequence, &[]);
    }

    /// Installs records of the frame at hand until it is through or the turn's room is used up.
    fn install_some(&mut self, shards: &mut impl Shards, out: &mut Output) -> Result<(), LinkError> {
        let mut begun = self.begun.take().expect("the caller has looked");
        let manner = self.manner();
        let through = begun.batch.install(&self.reader, manner, shards, &self.tally, &mut self.away);
        self.progress.extent.reached = self.progress.extent.reached.max(begun.batch.reached());
        match through? {
            Through::Part => {
                self.begun = Some(begun);
                return Ok(());
            }
            Through::Damaged => {
                self.reader.advance(begun.batch.frame_bytes());
                self.taken = begun.pending.sequence - 1;
                self.report_damage(begun.pending.sequence, out);
                return Ok(());
            }
            Through::Whole => self.reader.advance(begun.batch.frame_bytes()),
        }
        for (number, records) in (0..).zip(&mut self.away) {
            if !records.is_empty() {
                begun.pending.away += 1;
                let records = std::mem::take(records);
                shards.send_away(ShardId(number), records, manner, begun.pending.sequence);
            }
        }
        self.pending.push_back(begun.pending);
        Ok(())
    }

    /// Until the sweep after a copy is over, what comes is marked: it must not be swept away.
    fn manner(&self) -> Manner {
        match (self.phase, self.progress.copy) {
            (Phase::Copying | Phase::Sweeping { .. }, Some((_, mark))) if !self.is_peer => {
                Manner::Copied(mark)
            }
            _ => Manner::Newer,
        }
    }

    /// Draws the consequences of frames that are applied whole.
    fn settle(&mut self, shards: &mut impl Shards) {
        while self.pending.front().is_some_and(|front| front.away == 0) {
            let applied = self.pending.pop_front().expect("looked at just before");
            match (applied.sequence, self.phase) {
                (BEGINNING, _) => self.phase = Phase::Copying,
                (SWEEPING, Phase::Sweeping { position }) => self.end_copy(position),
                (SWEEPING, phase) => unreachable!("a sweep ended in {phase:?}"),
                (sequence, Phase::Copying) => {
                    self.applied = sequence;
                    if applied.ends_copy && self.is_peer {
                        self.end_copy(applied.position);
                    } else if applied.ends_copy {
                        self.phase = Phase::Sweeping { position: applied.position };
                        let (_, mark) = self.progress.copy.expect("a copy has a mark");
                        self.await_all(SWEEPING, shards);
                        shards.sweep(self.part, mark, applied.position, SWEEPING);
                    }
                }
                (sequence, Phase::Sweeping { position }) => {
                    self.applied = sequence;
                    self.phase = Phase::Sweeping { position: position.max(applied.position) };
                }
                (sequence, _) => {
                    self.applied = sequence;
                    self.progress.extent.position = self.progress.extent.position.max(applied.position);
                }
            }
        }
    }

    fn end_copy(&mut self, position: Version) {
        self.phase = Phase::Following;
        self.progress.extent.position = position;
        self.progress.copy = None;
        self.tally.copies.add(1);
        self.tally.copying.store(0, Ordering::Relaxed);
    }

    /// Tells the primary what is applied, once for all that a turn has done.
    fn acknowledge(&mut self, out: &mut Output, tell: &mut impl FnMut(FollowEvent)) {
        let is_following = self.phase == Phase::Following;
        let position = if is_following { self.progress.extent.position } else { Version::ZERO };
        let ack = Ack { sequence: self.applied, position };
        if ack == self.told {
            return;
        }
        self.told = ack;
        self.sent += 1;
        frame::push(&mut out.bytes, Kind::Ack, 0, 0, &ack.to_bytes());
        self.tally.position.store(position.0, Ordering::Relaxed);
        tell(FollowEvent::Applied(position));
    }

    /// What the next link has to know. Frames that wait are forgotten: they come again.
    pub fn into_progress(self) -> Progress {
        self.progress
    }

    /// Bytes that have come and are not applied.
    pub fn waiting_bytes(&self) -> usize {
        self.reader.len() + self.begun.as_ref().map_or(0, |begun| begun.batch.unpacked_bytes())
    }
}

#[cfg(test)]
mod tests;
