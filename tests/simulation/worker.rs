//! A worker of a simulated node: the owner of one shard and of the links about it, without a ring.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringcache_engine::{
    CopyMark, Installed, Outcome, Part, RecordError, Shard, ShardId, Status, SweepCursor, Version, Write,
    WriteRefusal,
};
use ringcache_net::mesh::Ticket;
use ringcache_net::output::Output;
use ringcache_net::replication::coordinator::Event;
use ringcache_net::replication::feed::{Feed, FeedEvent, LinkError};
use ringcache_net::replication::follow::{Follow, FollowEvent, Manner, Shards};
use ringcache_net::replication::followers::{Followers, refusal};
use ringcache_net::replication::frame::{FrameReader, HEADER_BYTES};
use ringcache_net::replication::greeting::Hello;
use ringcache_net::replication::held::{Held, Quorum, Waiting};
use ringcache_net::replication::history::Cause;
use ringcache_net::replication::liveness::Moment;
use ringcache_net::replication::node::{JoinedEnd, Replication, SourceId};
use ringcache_net::replication::order::{self, Order, Task};
use ringcache_net::replication::tally::{FeedTally, FollowTally};

use crate::network::{End, Network};
use crate::tally::{Seen, Tally};

/// What one worker sends to another of its node.
pub enum Letter {
    Order(Box<Order>),
    Ordered(Box<Order>),
}

/// What a worker sees beside what it owns.
pub struct Around<'a> {
    pub replication: &'a Arc<Replication>,
    pub shards: u16,
    pub mail: &'a mut Vec<(u16, Letter)>,
    pub network: &'a mut Network,
}

pub struct Worker {
    pub shard: Shard,
    links: Vec<Link>,
    last_link: u32,
    orders: VecDeque<(u16, Box<Order>)>,
    followers: Followers,
    held: Option<Held>,
    pub gate: Option<WriteRefusal>,
    pub mail: VecDeque<(u16, Letter)>,
    /// Answers that have waited for replicas: the write, its outcome.
    pub released: Vec<(u32, Outcome)>,
    /// By shard of the primary that this worker follows: what was told of it last.
    pub positions: Vec<(u16, Version)>,
    /// Full copies by replica and cause.
    pub begun: Vec<(u128, Cause)>,
    /// What its links have come to, for the story.
    pub notes: Vec<String>,
    /// Of links that have ended.
    ended: Tally,
}

struct Link {
    ticket: Ticket,
    end: End,
    peer: u128,
    out: Output,
    side: Side,
    ending: bool,
    drains: bool,
}

enum Side {
    Feed { feed: Box<Feed>, reader: FrameReader, tally: Arc<FeedTally> },
    Follow { follow: Box<Follow>, source: SourceId, shard: u16 },
}

/// One record may be larger than the window.
const WINDOW_SLACK_BYTES: usize = 64 << 10;

struct Reached<'a> {
    shard: &'a mut Shard,
    shards: u16,
    orders: &'a mut VecDeque<(u16, Box<Order>)>,
    mail: &'a mut Vec<(u16, Letter)>,
    replication: &'a Replication,
    ticket: Ticket,
    moment: Moment,
}

impl Shards for Reached<'_> {
    fn count(&self) -> u16 {
        self.shards
    }

    fn own(&self) -> ShardId {
        self.shard.id()
    }

    fn has_room(&self) -> bool {
        self.orders.is_empty() && order::has_room(self.shard)
    }

    fn install(&mut self, bytes: &[u8], manner: Manner) -> Result<(Installed, usize), RecordError> {
        order::install(self.shard, bytes, manner, self.moment.now)
    }

    fn send_away(&mut self, shard: ShardId, records: Vec<u8>, manner: Manner, sequence: u64) {
        let order = Order::new(self.ticket, sequence, Task::Install { records, at: 0, manner });
        self.mail.push((shard.0, Letter::Order(order)));
    }

    fn begin_copy(&mut self, mark: CopyMark, flushed: Version, sequence: u64) {
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
        let own = self.shard.id().0;
        for shard in 0..self.shards {
            let order = Order::new(self.ticket, sequence, task());
            if shard == own {
                self.orders.push_back((shard, order));
            } else {
                self.mail.push((shard, Letter::Order(order)));
            }
        }
    }
}

impl Worker {
    pub fn new(shard: Shard, quorum: Quorum, sync_timeout: Duration) -> Self {
        Self {
            shard,
            links: Vec::new(),
            last_link: 0,
            orders: VecDeque::new(),
            followers: Followers::default(),
            held: (quorum != Quorum::None).then(|| Held::new(sync_timeout)),
            gate: None,
            mail: VecDeque::new(),
            released: Vec::new(),
            positions: Vec::new(),
            begun: Vec::new(),
            notes: Vec::new(),
            ended: Tally::default(),
        }
    }

    /// Takes a link that has been greeted.
    pub fn open_link(
        &mut self,
        end: End,
        peer: Hello,
        joined: JoinedEnd,
        early: &[u8],
        moment: Moment,
        replication: &Replication,
    ) {
        let patience = replication.options.patience;
        let mut out = Output::default();
        let side = match joined {
            JoinedEnd::Feed => {
                let again =
                    |link: &&mut Link| link.peer == peer.node && matches!(link.side, Side::Feed { .. });
                self.links.iter_mut().filter(again).for_each(|link| link.ending = true);
                let tally = Arc::new(FeedTally::default());
                let feed = Feed::new(replication.feed_options(), patience, moment, Arc::clone(&tally));
                Side::Feed { feed: Box::new(feed), reader: FrameReader::default(), tally }
            }
            JoinedEnd::Follow { source, shard, standing, progress, is_peer } => {
                let part = Part { shards: peer.shards, shard: ShardId(shard) };
                let tally = Arc::new(FollowTally::default());
                let (most, out) = (64 << 10, &mut out);
                let follow =
                    Follow::new(part, is_peer, standing, progress, most, patience, moment, tally, out);
                Side::Follow { follow: Box::new(follow), source, shard }
            }
        };
        self.last_link += 1;
        let ticket = Ticket::of_link(self.last_link, 0);
        let mut link = Link { ticket, end, peer: peer.node, out, side, ending: false, drains: false };
        if !early.is_empty() {
            link.take_bytes(early, moment);
        }
        self.links.push(link);
    }

    pub fn close_links(&mut self, feeds: bool, follows: bool) {
        for link in &mut self.links {
            let is_feed = matches!(link.side, Side::Feed { .. });
            link.ending |= (is_feed && feeds) || (!is_feed && follows);
        }
    }

    /// A client's write. `None`: the answer waits for replicas.
    pub fn write(&mut self, number: u32, write: &Write<'_>, moment: Moment) -> Option<Outcome> {
        if let Some(refusal) = self.gate {
            return Some(Outcome::bare(Status::Refused(refusal)));
        }
        let before = self.shard.latest();
        let outcome = self.shard.apply(write, moment.now);
        match &mut self.held {
            Some(held) if self.shard.latest() != before => {
                let ticket = Ticket { connection: number, generation: 0 };
                held.hold(self.shard.latest(), Waiting::Own(ticket, outcome), moment.at);
                None
            }
            _ => Some(outcome),
        }
    }

    /// What the ring's worker does with its links in a turn.
    pub fn turn(&mut self, mut around: Around<'_>, moment: Moment) {
        while let Some((worker, letter)) = self.mail.pop_front() {
            match letter {
                Letter::Order(order) => self.orders.push_back((worker, order)),
                Letter::Ordered(order) => self.take_done(&order, &mut around, moment),
            }
        }
        for link in &mut self.links {
            match around.network.receive(link.end, moment.at) {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => link.take_bytes(&bytes, moment),
                None => link.ending = true,
            }
        }
        self.run_orders(&mut around, moment);
        for at in 0..self.links.len() {
            let mut link = self.links.swap_remove(at);
            link.ending = link.ending || self.drive(&mut link, &mut around, moment).is_err();
            link.send(around.network, moment);
            link.ending |= link.drains;
            self.links.push(link);
            let last = self.links.len() - 1;
            self.links.swap(at, last);
        }
        self.close_ended(&around, moment);
        self.followers.forget_the_absent(moment);
        self.followers.note_position(self.shard.latest(), moment);
        let followed = self.followers.needs_after(feeds(&self.links));
        self.shard.set_followed(followed);
        self.gate = refusal(&mut self.shard, feeds(&self.links), around.replication, moment);
        self.release_held(around.replication, moment);
    }

    fn drive(&mut self, link: &mut Link, around: &mut Around<'_>, moment: Moment) -> Result<(), LinkError> {
        let Self { shard, orders, followers, positions, begun, notes, .. } = self;
        let Around { replication, shards, mail, .. } = around;
        let Link { out, side, ticket, peer, .. } = link;
        match side {
            Side::Follow { follow, source, shard: number } => {
                let ticket = *ticket;
                let mut reached =
                    Reached { shard, shards: *shards, orders, mail, replication, ticket, moment };
                follow.poll(&mut reached, moment, out, |event| {
                    let position = match event {
                        FollowEvent::Welcomed { history, copies } => {
                            let (source, shard) = (*source, *number);
                            notes.push(format!(
                                "follows shard {shard} of history {history}, copies: {copies}"
                            ));
                            replication.tell(Event::Welcomed { source, shard, history, copies });
                            if !copies {
                                return;
                            }
                            Version::ZERO
                        }
                        FollowEvent::Applied(position) => position,
                    };
                    positions.retain(|(shard, _)| shard != number);
                    positions.push((*number, position));
                })?;
            }
            Side::Feed { feed, reader, tally } => {
                while let Some(frame) = reader.front(0)? {
                    let bytes = HEADER_BYTES + frame.payload.len();
                    let event = feed.handle_frame(&frame, moment, out)?;
                    reader.advance(bytes);
                    if let FeedEvent::Follow(follow) = event {
                        let count = feeds(&self.links).count() + 1;
                        followers.welcome(feed, &follow, *peer, count, replication, shard, out);
                        let causes =
                            Cause::ALL.iter().filter(|cause| tally.copies[cause.number()].value() > 0);
                        let causes: Vec<Cause> = causes.copied().collect();
                        notes.push(format!(
                            "is followed by {peer} from {:?}, copies: {causes:?}",
                            follow.standing
                        ));
                        begun.extend(causes.into_iter().map(|cause| (*peer, cause)));
                    }
                }
                link.drains |= feed.is_refused();
                feed.poll(shard, moment, out)?;
                let most = replication.options.window_bytes + WINDOW_SLACK_BYTES;
                assert!(feed.unacknowledged() <= most, "the window holds");
            }
        }
        Ok(())
    }

    fn close_ended(&mut self, around: &Around<'_>, moment: Moment) {
        let links = std::mem::take(&mut self.links);
        let (ended, kept): (Vec<Link>, Vec<Link>) = links.into_iter().partition(|link| link.ending);
        self.links = kept;
        for link in ended {
            self.close(link, around.replication, moment);
        }
    }

    fn close(&mut self, link: Link, replication: &Replication, moment: Moment) {
        match link.side {
            Side::Feed { feed, tally, .. } => {
                note(&mut self.ended, &tally);
                self.followers.take_leave(link.peer, *feed, replication.options.patience, moment);
            }
            Side::Follow { follow, source, shard } => {
                let progress = follow.into_progress();
                self.notes.push(format!("has followed shard {shard} up to {progress:?}"));
                replication.tell(Event::Closed { source, shard, progress, reason: String::new() });
            }
        }
    }

    /// Adds what this worker's feeds have done, those that are up included.
    pub fn report(&self, sum: &mut Tally) {
        sum.add(&self.ended);
        for link in &self.links {
            if let Side::Feed { tally, .. } = &link.side {
                note(sum, tally);
            }
        }
    }

    /// Up to where a replica is known to have everything.
    pub fn position_of(&self, replica: u128) -> Version {
        let of_replica = self.links.iter().filter(|link| link.peer == replica);
        let positions = of_replica.filter_map(|link| match &link.side {
            Side::Feed { feed, .. } if feed.is_following() => Some(feed.position()),
            _ => None,
        });
        positions.max().unwrap_or_default()
    }

    fn run_orders(&mut self, around: &mut Around<'_>, moment: Moment) {
        let own = self.shard.id().0;
        while let Some((worker, mut order)) = self.orders.pop_front() {
            if !order.run(&mut self.shard, moment.now) {
                return self.orders.push_front((worker, order));
            }
            if worker == own {
                self.take_done(&order, around, moment);
            } else {
                around.mail.push((worker, Letter::Ordered(order)));
            }
        }
    }

    fn take_done(&mut self, order: &Order, around: &mut Around<'_>, moment: Moment) {
        let Self { shard, orders, links, .. } = self;
        let Around { replication, shards, mail, .. } = around;
        let ticket = order.ticket;
        // The link may have ended meanwhile.
        let Some(link) = links.iter_mut().find(|link| link.ticket == ticket) else { return };
        if let Side::Follow { follow, .. } = &mut link.side {
            follow.note_order(order);
            let mut reached = Reached { shard, shards: *shards, orders, mail, replication, ticket, moment };
            follow.handle_done(order.sequence, &mut reached);
        }
    }

    fn release_held(&mut self, replication: &Replication, moment: Moment) {
        let Self { held: Some(held), followers, links, released, .. } = self else { return };
        while !held.is_empty() {
            let position = followers.answerable(feeds(links), replication.options.quorum);
            let Some((waiting, in_doubt)) = held.release(position, moment) else { return };
            let Waiting::Own(ticket, mut outcome) = waiting else { unreachable!("no batch was held") };
            if in_doubt {
                outcome.status = Status::Refused(WriteRefusal::InDoubt);
            }
            released.push((ticket.connection, outcome));
        }
    }

    /// Whether so many replicas follow the shard and have everything.
    pub fn is_followed_by(&self, replicas: usize) -> bool {
        let level = feeds(&self.links).filter(|feed| feed.is_following() && feed.is_level());
        level.count() == replicas
    }
}

fn note(sum: &mut Tally, tally: &FeedTally) {
    Cause::ALL.iter().for_each(|cause| sum.copy(*cause, tally.copies[cause.number()].value()));
    sum.see_many(Seen::Nack, tally.nacks.value());
    sum.see_many(Seen::Resume, tally.resumes.value());
}

/// The links to replicas.
fn feeds(links: &[Link]) -> impl Iterator<Item = &Feed> + Clone {
    links.iter().filter_map(|link| match &link.side {
        Side::Feed { feed, .. } => Some(&**feed),
        Side::Follow { .. } => None,
    })
}

impl Link {
    fn take_bytes(&mut self, bytes: &[u8], moment: Moment) {
        match &mut self.side {
            Side::Feed { reader, .. } => reader.push(bytes),
            Side::Follow { follow, .. } => follow.handle_bytes(bytes, moment),
        }
    }

    fn send(&mut self, network: &mut Network, moment: Moment) {
        if self.ending {
            return network.cut(self.end);
        }
        if !self.out.is_empty() {
            network.send(self.end, &self.out.pieces().collect::<Vec<_>>().concat(), moment.at);
            self.out.clear();
        }
    }
}
