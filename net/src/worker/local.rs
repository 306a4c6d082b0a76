//! What of a worker is lent to its sessions, and to the links that read and write its shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringcache_engine::{Now, Reader, Shard, WriteRefusal};

use crate::mesh::{Outbox, Ticket};
use crate::node::Node;
use crate::reach::Reach;
use crate::replication::held::{Guard, Held};
use crate::replication::liveness::Moment;
use crate::session::inputs::SpareInputs;
use crate::stats::Counters;
use crate::warming::Lent;

/// What is lent to sessions.
pub(super) struct Local {
    pub number: u16,
    pub node: Arc<Node>,
    pub shard: Shard,
    pub reader: Reader,
    pub outbox: Outbox,
    pub inputs: SpareInputs,
    pub now: Now,
    /// Why this shard takes no writes.
    pub gate: Option<WriteRefusal>,
    /// With `--replication-mode`: outcomes that wait for replicas.
    pub held: Option<Box<Held>>,
    /// With `--warm-from`.
    pub warming: Option<Box<Lent>>,
    /// The turn's time since this worker began; only told where links or an upstream are.
    pub at: Duration,
    pub began: Instant,
}

impl Local {
    pub fn reach(&mut self, ticket: Ticket) -> Reach<'_> {
        Reach {
            shard: &mut self.shard,
            reader: &self.reader,
            outbox: &mut self.outbox,
            guard: Guard { refusal: self.gate, held: self.held.as_deref_mut(), at: self.at },
            inputs: &mut self.inputs,
            warming: self.warming.as_deref_mut(),
            node: &self.node,
            counters: &self.node.workers[usize::from(self.number)],
            now: self.now,
            ticket,
        }
    }

    /// The turn's moment, as links take it.
    pub fn moment(&self) -> Moment {
        Moment { now: self.now, at: self.at }
    }

    pub fn counters(&self) -> &Counters {
        &self.node.workers[usize::from(self.number)]
    }
}
