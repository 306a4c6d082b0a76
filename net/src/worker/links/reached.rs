//! What links ask of the shards: of their own worker's at once or in turns, of others' over the mesh.

use std::collections::VecDeque;

use ringcache_engine::{CopyMark, Installed, KeyHash, Part, RecordError, ShardId, SweepCursor, Version};

use super::{End, Links};
use crate::mesh::{Message, Ticket};
use crate::replication::follow::{Manner, Shards};
use crate::replication::node::Replication;
use crate::replication::order::{self, Order, Task};
use crate::worker::{Local, Worker};

/// The shards as a link reaches them.
pub(super) struct Reached<'a> {
    pub local: &'a mut Local,
    pub orders: &'a mut VecDeque<(u16, Box<Order>)>,
    pub replication: &'a Replication,
    pub ticket: Ticket,
}

impl Shards for Reached<'_> {
    fn count(&self) -> u16 {
        self.local.reader.shards()
    }

    fn own(&self) -> ShardId {
        ShardId(self.local.number)
    }

    fn has_room(&self) -> bool {
        // What other links have asked of the shard comes first.
        self.orders.is_empty() && order::has_room(&self.local.shard)
    }

    fn announce(&self, hash: KeyHash) {
        self.local.reader.approach(hash);
    }

    fn install(&mut self, bytes: &[u8], manner: Manner) -> Result<(Installed, usize), RecordError> {
        order::install(&mut self.local.shard, bytes, manner, self.local.now)
    }

    fn send_away(&mut self, shard: ShardId, records: Vec<u8>, manner: Manner, sequence: u64) {
        let order = Order::new(self.ticket, sequence, Task::Install { records, at: 0, manner });
        self.local.outbox.send(shard.0, Message::Order(order));
    }

    fn begin_copy(&mut self, mark: CopyMark, flushed: Version, sequence: u64) {
        // What goes now goes without a word in the log.
        self.local.node.backups.renew_history();
        self.ask_all(sequence, || Task::BeginCopy { mark, flushed });
    }

    fn sweep(&mut self, part: Part, mark: CopyMark, position: Version, sequence: u64) {
        self.ask_all(sequence, || Task::Sweep { part, mark, position, cursor: SweepCursor::default() });
    }

    fn next_mark(&mut self) -> CopyMark {
        self.replication.next_mark()
    }
}

impl Reached<'_> {
    fn ask_all(&mut self, sequence: u64, task: impl Fn() -> Task) {
        for shard in 0..self.count() {
            let order = Order::new(self.ticket, sequence, task());
            if shard == self.local.number {
                self.orders.push_back((shard, order));
            } else {
                self.local.outbox.send(shard, Message::Order(order));
            }
        }
    }
}

impl Links {
    fn handle_done(&mut self, order: &Order, local: &mut Local) {
        let ticket = order.ticket;
        let Self { places, orders, replication, .. } = self;
        let Some(place) = ticket.link_place() else { return };
        let place = &mut places[place as usize];
        // The link may have ended meanwhile.
        if place.generation != ticket.generation {
            return;
        }
        let Some(link) = place.link.as_deref_mut() else { return };
        if let End::Follow { follow, .. } = &mut link.end {
            follow.note_order(order);
            follow.handle_done(order.sequence, &mut Reached { local, orders, replication, ticket });
        }
    }

    /// Does what was asked of this shard, as far as the turn allows.
    pub(super) fn run_orders(&mut self, local: &mut Local) {
        while let Some((worker, mut order)) = self.orders.pop_front() {
            if !order.run(&mut local.shard, local.now) {
                return self.orders.push_front((worker, order));
            }
            if worker == local.number {
                self.handle_done(&order, local);
            } else {
                local.outbox.send(worker, Message::Ordered(order));
            }
        }
    }
}

impl Worker {
    /// Work for this worker's shard has come from another worker's link.
    pub(in crate::worker) fn handle_order(&mut self, worker: u16, order: Box<Order>) {
        self.links.as_mut().expect("orders come from links").orders.push_back((worker, order));
    }

    /// Another shard has done what a link here asked for.
    pub(in crate::worker) fn handle_ordered(&mut self, order: &Order) {
        let Self { links, local, .. } = self;
        let links = links.as_mut().expect("orders come from links");
        links.handle_done(order, local);
    }
}
