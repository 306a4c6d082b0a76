//! What replicas mean for writes: whether they are taken, when they are answered, what the log keeps for those away.

use std::time::Duration;

use ringcache_engine::{ShardId, Status, Version, WriteRefusal};

use super::{End, Links};
use crate::limits::{LINK_PARK_TIME, LINK_PARKED_MAX};
use crate::mesh::Message;
use crate::mesh::batch::WriteBatch;
use crate::replication::feed::Feed;
use crate::replication::held::{Quorum, Waiting};
use crate::replication::liveness::Moment;
use crate::replication::node::Role;
use crate::worker::{Local, Worker};

impl Links {
    pub(super) fn feeds(&self) -> impl Iterator<Item = &Feed> {
        self.places.iter().filter_map(|place| match &place.link.as_deref()?.end {
            End::Feed { feed, .. } => Some(&**feed),
            End::Follow { .. } => None,
        })
    }

    /// Why writes are refused, if they are.
    pub(super) fn refusal(&self, moment: Moment) -> Option<WriteRefusal> {
        let options = &self.replication.options;
        if self.replication.role() == Role::Replica {
            return Some(WriteRefusal::Replica);
        }
        let least = options.quorum.least().max(usize::from(options.min_replicas));
        if least == 0 {
            return None;
        }
        let is_near = |feed: &&Feed| {
            let lag = moment.now.unix_millis.saturating_sub(feed.position().unix_millis());
            options.max_lag.is_none_or(|most| feed.is_level() || Duration::from_millis(lag) <= most)
        };
        let following = || self.feeds().filter(|feed| feed.is_following());
        match () {
            () if following().filter(is_near).count() >= least => None,
            () if following().count() < least => Some(WriteRefusal::TooFewReplicas),
            () => Some(WriteRefusal::ReplicasLag),
        }
    }

    /// Up to where writes may be answered.
    pub(super) fn answerable(&mut self) -> Version {
        let mut positions = std::mem::take(&mut self.positions);
        positions.clear();
        positions.extend(self.feeds().filter(|feed| feed.is_following()).map(Feed::position));
        let quorum = self.replication.options.quorum;
        if quorum == Quorum::All {
            // One that was here a moment ago counts until it has been away for too long.
            positions.extend(self.away.iter().map(|(_, position, _)| *position));
        }
        let position = quorum.position(&mut positions);
        self.positions = positions;
        position
    }

    /// A link has ended: what it leaves for its successor.
    pub(super) fn take_leave(&mut self, peer: u128, feed: Feed, moment: Moment) {
        let patience = self.replication.options.patience.max(LINK_PARK_TIME);
        if feed.is_following() {
            self.away.retain(|(node, ..)| *node != peer);
            self.away.push((peer, feed.position(), moment.at + patience));
        }
        if let Some(parked) = feed.park() {
            if self.parked.len() >= LINK_PARKED_MAX {
                self.parked.remove(0);
            }
            self.parked.push((parked, moment.at + patience));
        }
    }

    /// Tells the shard which changes others still need from its log.
    pub(super) fn set_followed(&self, local: &mut Local) {
        let needed = self.feeds().filter_map(Feed::needs_after);
        let parked = self.parked.iter().map(|(parked, _)| parked.needs_after());
        let away = self.away.iter().map(|(_, position, _)| *position);
        let backup = local.node.backups.followed(local.number);
        local.shard.set_followed(needed.chain(parked).chain(away).chain(backup).min());
    }

    pub(super) fn forget_the_absent(&mut self, moment: Moment) {
        self.parked.retain(|(_, until)| *until > moment.at);
        self.away.retain(|(node, _, until)| {
            if *until <= moment.at {
                tracing::warn!(replica = format_args!("{node:032x}"), "a replica has been away for too long");
            }
            *until > moment.at
        });
    }
}

impl Worker {
    /// Lets the answers go that have waited for replicas.
    pub(super) fn release_held(&mut self, moment: Moment) {
        while let Some(held) = self.local.held.as_mut().filter(|held| !held.is_empty()) {
            let position = self.links.as_mut().expect("the caller has looked").answerable();
            let Some((waiting, in_doubt)) = held.release(position, moment) else { return };
            match waiting {
                Waiting::Own(ticket, mut outcome) => {
                    if in_doubt {
                        outcome.status = Status::Refused(WriteRefusal::InDoubt);
                    }
                    self.handle_outcome(ticket, ShardId(self.local.number), &outcome);
                }
                Waiting::Batch(worker, mut batch) => {
                    if in_doubt {
                        batch.mark_in_doubt();
                    }
                    self.local.outbox.send(worker, Message::Outcomes(batch));
                }
            }
        }
    }

    /// Executes another worker's writes, and holds their outcomes where replicas have to have them first.
    pub(in crate::worker) fn handle_writes(&mut self, worker: u16, mut batch: Box<WriteBatch>) {
        let Local { shard, reader, outbox, gate, held, now, at, .. } = &mut self.local;
        let before = if held.is_some() { shard.latest() } else { Version::ZERO };
        batch.apply(shard, reader, *gate, *now);
        match held {
            // Batches go back in the order in which they came, so one that changed nothing waits for those before it.
            Some(held) if shard.latest() != before || !held.is_empty() => {
                held.hold(shard.latest(), Waiting::Batch(worker, batch), *at);
            }
            _ => outbox.send(worker, Message::Outcomes(batch)),
        }
    }
}
