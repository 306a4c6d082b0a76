//! What the replicas of one shard mean for it: how each goes on, whether writes are taken, when they are answered, and
//! what the log keeps for those who are away.

use std::time::Duration;

use ringcache_engine::{Shard, Version, WriteRefusal};

use super::feed::Feed;
use super::held::Quorum;
use super::history::Shown;
use super::liveness::Moment;
use super::message::{Follow, Refuse};
use super::node::{Replication, Role};
use super::parked::Parked;
use crate::limits::{LINK_PARK_TIME, LINK_PARKED_MAX, REPLICAS_MAX};
use crate::output::Output;

/// The replicas that are not here at the moment; those that are have a [`Feed`] each, which the caller keeps.
#[derive(Default)]
pub struct Followers {
    /// Full copies that were broken off, and how long they are kept.
    parked: Vec<(Parked, Duration)>,
    /// Replicas by name, the position that each has reached, and how long it is kept.
    away: Vec<(u128, Version, Duration)>,
    positions: Vec<Version>,
    /// Where the log stood before, and since when a newer mark has been set.
    recent: Option<Recent>,
}

/// Two marks in the log, set one pause after the other.
#[derive(Clone, Copy)]
struct Recent {
    older: Version,
    newer: Version,
    since: Duration,
}

impl Followers {
    /// Decides how the replica `peer` goes on, which has just told where it stands. `feeds`: links to replicas, this
    /// one too.
    #[expect(clippy::too_many_arguments, reason = "what a link is made of, once")]
    pub fn welcome(
        &mut self,
        feed: &mut Feed,
        follow: &Follow,
        peer: u128,
        feeds: usize,
        replication: &Replication,
        shard: &mut Shard,
        out: &mut Output,
    ) {
        let role = replication.role();
        let refuse = match role {
            Role::Replica => Some(Refuse::NotPrimary),
            _ if (role == Role::Peer) != follow.is_peer => Some(Refuse::Roles),
            _ if feeds > REPLICAS_MAX => Some(Refuse::TooMany),
            _ => None,
        };
        if let Some(why) = refuse {
            tracing::warn!(replica = format_args!("{peer:032x}"), "a replica is refused: {why}");
            return feed.refuse(why, out);
        }
        self.away.retain(|(node, ..)| *node != peer);
        let histories = replication.histories().clone();
        let parked = self.parked.iter().position(|(parked, _)| parked.name == follow.copy);
        if let Some(place) = parked {
            let (parked, _) = self.parked.remove(place);
            if !parked.has_lost(shard) {
                return feed.go_on(parked, follow, histories.current, shard, out);
            }
        }
        let shown = Shown {
            shard: shard.id().0,
            shards: shard.shards(),
            position: shard.position(),
            forgotten: shard.forgotten(),
        };
        let start = histories.start(&follow.standing, shown);
        let Shown { shard: number, position, forgotten, .. } = shown;
        let had = follow.standing.extents.get(usize::from(number)).map(|extent| extent.position.0);
        tracing::info!(
            shard = number,
            had,
            position = position.0,
            forgotten = forgotten.0,
            "a replica goes on: {start:?}"
        );
        feed.start(start, follow, histories.current, replication.next_copy_name(), shard, out);
    }

    /// A link has ended: what it leaves for its successor.
    pub fn take_leave(&mut self, peer: u128, feed: Feed, patience: Duration, moment: Moment) {
        let until = moment.at + patience.max(LINK_PARK_TIME);
        if feed.is_following() {
            self.away.retain(|(node, ..)| *node != peer);
            self.away.push((peer, feed.position(), until));
        }
        if let Some(parked) = feed.park() {
            if self.parked.len() >= LINK_PARKED_MAX {
                self.parked.remove(0);
            }
            self.parked.push((parked, until));
        }
    }

    /// Gives up those who have been away for too long.
    pub fn forget_the_absent(&mut self, moment: Moment) {
        self.parked.retain(|(_, until)| *until > moment.at);
        self.away.retain(|(node, _, until)| {
            if *until <= moment.at {
                tracing::warn!(replica = format_args!("{node:032x}"), "a replica has been away for too long");
            }
            *until > moment.at
        });
    }

    /// Takes note of where the log stands, so that its last minute is kept for whom this node does not know yet: the
    /// siblings of a replica that is promoted, say.
    pub fn note_position(&mut self, position: Version, moment: Moment) {
        let first = Recent { older: position, newer: position, since: moment.at };
        let recent = self.recent.get_or_insert(first);
        if moment.at.saturating_sub(recent.since) >= LINK_PARK_TIME / 2 {
            *recent = Recent { older: recent.newer, newer: position, since: moment.at };
        }
    }

    /// From where on changes are still needed in the log.
    pub fn needs_after<'f>(&self, feeds: impl Iterator<Item = &'f Feed>) -> Option<Version> {
        let needed = feeds.filter_map(Feed::needs_after);
        let parked = self.parked.iter().map(|(parked, _)| parked.needs_after());
        let away = self.away.iter().map(|(_, position, _)| *position);
        let recent = self.recent.map(|recent| recent.older);
        needed.chain(parked).chain(away).chain(recent).min()
    }

    /// Up to where writes may be answered.
    pub fn answerable<'f>(&mut self, feeds: impl Iterator<Item = &'f Feed>, quorum: Quorum) -> Version {
        self.positions.clear();
        self.positions.extend(feeds.filter(|feed| feed.is_following()).map(Feed::position));
        if quorum == Quorum::All {
            // One that was here a moment ago counts until it has been away for too long.
            self.positions.extend(self.away.iter().map(|(_, position, _)| *position));
        }
        quorum.position(&mut self.positions)
    }
}

/// Why writes of clients to `shard` are refused, if they are. Asked in every turn, and before the first write of a node
/// that was promoted.
pub fn refusal<'f>(
    shard: &mut Shard,
    feeds: impl Iterator<Item = &'f Feed> + Clone,
    replication: &Replication,
    moment: Moment,
) -> Option<WriteRefusal> {
    let options = &replication.options;
    if replication.role() == Role::Replica {
        return Some(WriteRefusal::Replica);
    }
    shard.rise_above(replication.floor());
    let least = options.quorum.least().max(usize::from(options.min_replicas));
    if least == 0 {
        return None;
    }
    let is_near = |feed: &&Feed| {
        let lag = moment.now.unix_millis.saturating_sub(feed.position().unix_millis());
        options.max_lag.is_none_or(|most| feed.is_level() || Duration::from_millis(lag) <= most)
    };
    let following = feeds.filter(|feed| feed.is_following());
    match () {
        () if following.clone().filter(is_near).count() >= least => None,
        () if following.count() < least => Some(WriteRefusal::TooFewReplicas),
        () => Some(WriteRefusal::ReplicasLag),
    }
}
