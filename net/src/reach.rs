//! What a session may reach during a turn.

use ringcache_engine::{Now, Outcome, Reader, Shard, ShardId, Status, Write};

use crate::dump::Step;
use crate::mesh::{Message, Outbox, Ticket};
use crate::node::Node;
use crate::observe::{Observer, Streams};
use crate::replication::held::{Guard, Waiting};
use crate::session::inputs::SpareInputs;
use crate::stats::Counters;
use crate::warming::Lent;

/// Borrowed from the worker for one call into a session.
pub struct Reach<'a> {
    /// This worker's own shard: the only one it writes.
    pub shard: &'a mut Shard,
    /// Every shard, for reading.
    pub reader: &'a Reader,
    /// Writes on their way to other workers.
    pub outbox: &'a mut dyn SendAway,
    /// Large buffers for input that is kept.
    pub inputs: &'a mut SpareInputs,
    /// What replication has to say about writes to the own shard.
    pub guard: Guard<'a>,
    /// Where the node has an upstream.
    pub warming: Option<&'a mut Lent>,
    /// What all workers share.
    pub node: &'a Node,
    /// This worker's counters.
    pub counters: &'a Counters,
    /// The turn's time.
    pub now: Now,
    /// Names the session towards the mesh; outcomes come back under it.
    pub ticket: Ticket,
}

/// Takes writes on their way to other workers. The mesh does; so does a test that has no other workers.
pub trait SendAway {
    /// Copies the write, for `shard`. Never fails; see [`Outbox::push`]. `is_noted`: those who look on are told of it when
    /// it has been executed.
    fn send_away(&mut self, shard: ShardId, ticket: Ticket, write: &Write<'_>, is_noted: bool);

    /// Sends a step of a dump to the owner of `shard`; `Session::handle_step` gets it back.
    fn send_step(&mut self, shard: ShardId, ticket: Ticket, step: Box<Step>);
}

impl SendAway for Outbox {
    #[inline]
    fn send_away(&mut self, shard: ShardId, ticket: Ticket, write: &Write<'_>, is_noted: bool) {
        self.push(shard, ticket, write, is_noted);
    }

    fn send_step(&mut self, shard: ShardId, ticket: Ticket, step: Box<Step>) {
        self.send(shard.0, Message::Dump(ticket, step));
    }
}

/// Where a write went.
pub enum Sent {
    /// It was this worker's shard: done.
    Done(Outcome),
    /// Another worker has it, or replicas must have it first; `Session::handle_outcome` gets the answer. Writes to one shard are answered in the
    /// order in which they were sent.
    Away(ShardId),
}

impl<'a> Reach<'a> {
    /// Where to note what is done for this session, while somebody looks on. One relaxed load when nobody does.
    #[inline]
    pub fn observer(&self) -> Option<&'a Observer> {
        let observers = &self.node.observers;
        if observers.wanted() == Streams(0) {
            return None;
        }
        Some(observers.observer(self.shard.id().0, self.ticket, &self.node.roster))
    }

    /// Executes a write here or sends it to the shard's owner. A local value is not copied; a remote one is
    /// copied once, into the batch. `is_noted` as for [`SendAway::send_away`].
    #[inline]
    pub fn write_to(&mut self, owner: ShardId, write: &Write<'_>, is_noted: bool) -> Sent {
        if owner == self.shard.id() {
            return match (&self.guard, &self.warming) {
                (Guard { refusal: None, held: None, .. }, None) => {
                    Sent::Done(self.shard.apply(write, self.now))
                }
                _ => self.write_guarded(write),
            };
        }
        self.outbox.send_away(owner, self.ticket, write, is_noted);
        Sent::Away(owner)
    }

    /// A write of a node that has replicas or an upstream, or is a replica.
    fn write_guarded(&mut self, write: &Write<'_>) -> Sent {
        if let Some(refusal) = self.guard.refusal {
            self.counters.writes_refused.add(1);
            return Sent::Done(Outcome::bare(Status::Refused(refusal)));
        }
        if let Some(warming) = &mut self.warming {
            warming.written.note(write.hash, &write.op);
        }
        let before = self.shard.latest();
        let outcome = self.shard.apply(write, self.now);
        match &mut self.guard.held {
            Some(held) if self.shard.latest() != before => {
                held.hold(self.shard.latest(), Waiting::Own(self.ticket, outcome), self.guard.at);
                Sent::Away(self.shard.id())
            }
            _ => Sent::Done(outcome),
        }
    }
}
