//! A worker's links to other nodes: their sockets, what they send and receive, and what they ask of the shards.
//!
//! What a link says is decided in `replication/`; here it is carried. Links are polled once per turn, behind the
//! requests of clients, so that what a turn has written leaves with the same system call as its answers.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ringcache_engine::{Part, ShardId, Version};

mod quorum;
mod reached;

use super::connections::Receiving;
use super::{Local, Worker};
use crate::driver::{Driver, Outgoing, Received};
use crate::limits::LINK_RECEIVED_SLACK_BYTES;
use crate::mesh::Ticket;
use crate::output::Output;
use crate::replication::coordinator::Event;
use crate::replication::feed::{Feed, FeedEvent, LinkError};
use crate::replication::follow::{Follow, FollowEvent};
use crate::replication::followers::{Followers, refusal};
use crate::replication::frame::{FrameReader, HEADER_BYTES};
use crate::replication::liveness::Moment;
use crate::replication::node::{Entry, Joined, JoinedEnd, Replication, SourceId};
use crate::replication::order::Order;
use crate::replication::tally::{FeedTally, FollowTally};
use reached::Reached;

/// All links of a worker, and what they have to do with its shard.
pub struct Links {
    replication: Arc<Replication>,
    places: Vec<Place>,
    /// Work for this worker's shard, oldest first, with the worker whose link asks.
    orders: VecDeque<(u16, Box<Order>)>,
    followers: Followers,
    /// A link has more to do than this turn allowed.
    has_more: bool,
}

#[derive(Default)]
struct Place {
    generation: u32,
    link: Option<Box<Link>>,
}

/// One link.
struct Link {
    socket: OwnedFd,
    peer: u128,
    address: String,
    end: End,
    /// What is to be sent next.
    output: Box<Outgoing>,
    /// A buffer that was sent, to be used again.
    spare: Option<Box<Outgoing>>,
    flight: Option<u32>,
    receiving: Receiving,
    /// It ends as soon as the kernel has given back its requests.
    ending: Option<String>,
    /// It ends when everything is sent.
    drains: bool,
    entry: u64,
}

enum End {
    Feed { feed: Box<Feed>, reader: FrameReader },
    Follow { follow: Box<Follow>, source: SourceId, shard: u16 },
}

impl Links {
    pub fn new(replication: Arc<Replication>) -> Self {
        Self {
            replication,
            places: Vec::new(),
            orders: VecDeque::new(),
            followers: Followers::default(),
            has_more: false,
        }
    }

    /// Something is to be done without anything happening.
    pub fn has_more(&self) -> bool {
        self.has_more || !self.orders.is_empty()
    }

    fn find(&mut self, ticket: Ticket) -> Option<&mut Link> {
        let place = self.places.get_mut(ticket.link_place()? as usize)?;
        if place.generation == ticket.generation { place.link.as_deref_mut() } else { None }
    }

    fn insert(&mut self, link: impl FnOnce(Ticket) -> Link) -> Ticket {
        let free = self.places.iter().position(|place| place.link.is_none());
        let number = free.unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let place = &mut self.places[number];
        place.generation = place.generation.wrapping_add(1);
        let ticket = Ticket::of_link(number as u32, place.generation);
        place.link = Some(Box::new(link(ticket)));
        ticket
    }

    fn tickets(&self) -> Vec<Ticket> {
        let places = (0..).zip(&self.places).filter(|(_, place)| place.link.is_some());
        places.map(|(number, place)| Ticket::of_link(number, place.generation)).collect()
    }
}

impl Worker {
    /// Takes a link that has been greeted.
    pub(super) fn open_link(&mut self, joined: Joined) {
        let Joined { socket, peer, address, early, end } = joined;
        let Some(links) = &mut self.links else { return };
        if self.stopping {
            return self.driver.close(socket);
        }
        let moment = self.local.moment();
        let replication = Arc::clone(&links.replication);
        let patience = replication.options.patience;
        let mut output = Box::<Outgoing>::default();
        let (end, entry) = match end {
            JoinedEnd::Feed => {
                let tally = Arc::new(FeedTally::default());
                let shard = self.local.number;
                let entry = Entry::Feed {
                    node: peer.node,
                    address: address.clone(),
                    shard,
                    tally: Arc::clone(&tally),
                };
                let feed = Box::new(Feed::new(replication.feed_options(), patience, moment, tally));
                (End::Feed { feed, reader: FrameReader::default() }, entry)
            }
            JoinedEnd::Follow { source, shard, standing, progress, is_peer } => {
                let tally = Arc::new(FollowTally::default());
                let entry = Entry::Follow {
                    node: peer.node,
                    address: address.clone(),
                    shard,
                    tally: Arc::clone(&tally),
                };
                let part = Part { shards: peer.shards, shard: ShardId(shard) };
                let most = self.local.node.config.item_bytes_max;
                let out = &mut output.output;
                let follow =
                    Follow::new(part, is_peer, standing, progress, most, patience, moment, tally, out);
                (End::Follow { follow: Box::new(follow), source, shard }, entry)
            }
        };
        let entry = replication.enter(entry);
        if matches!(end, End::Feed { .. }) {
            // A replica that comes again has lost the link that is still here.
            for ticket in links.tickets() {
                let link = links.find(ticket).expect("its ticket was just made");
                if link.peer == peer.node && matches!(link.end, End::Feed { .. }) && link.ending.is_none() {
                    link.ending = Some("the replica has come again".to_owned());
                }
            }
        }
        let ticket = links.insert(|_| Link {
            socket,
            peer: peer.node,
            address,
            end,
            output,
            spare: None,
            flight: None,
            receiving: Receiving::Off,
            ending: None,
            drains: false,
            entry,
        });
        let link = links.find(ticket).expect("it was entered just before");
        if !early.is_empty() {
            link.take_bytes(&early, moment);
        }
        self.driver.receive(ticket, link.socket.as_fd());
        link.receiving = Receiving::On;
    }

    /// Takes what was received on a link.
    pub(super) fn handle_link_received(&mut self, ticket: Ticket, received: Received, more: bool) {
        let links = self.links.as_mut().expect("only links have such tickets");
        let moment = self.local.moment();
        let waiting_max = links.replication.options.window_bytes
            + self.local.node.config.item_bytes_max as usize
            + LINK_RECEIVED_SLACK_BYTES;
        let link = links.find(ticket).expect("a link stays until its receive has ended");
        if !more {
            link.receiving = Receiving::Off;
        }
        match received {
            Received::Bytes(chunk) => {
                link.take_bytes(self.driver.bytes(&chunk), moment);
                self.driver.release(chunk);
                if link.waiting_bytes() > waiting_max {
                    link.end("more came than the window allows".to_owned());
                }
            }
            Received::End => link.end("closed by the other end".to_owned()),
            Received::Broken(number) => {
                link.end(std::io::Error::from_raw_os_error(number).to_string());
            }
            Received::NoBuffer | Received::Canceled => {}
        }
        if link.receiving == Receiving::Off && link.ending.is_none() {
            self.driver.receive(ticket, link.socket.as_fd());
            link.receiving = Receiving::On;
        }
    }

    /// Takes the end of a send on a link.
    pub(super) fn handle_link_sent(
        &mut self,
        ticket: Ticket,
        mut outgoing: Box<Outgoing>,
        result: Result<usize, i32>,
    ) {
        let links = self.links.as_mut().expect("only links have such tickets");
        let link = links.find(ticket).expect("a link stays until its send has ended");
        link.flight = None;
        match result {
            Ok(_) | Err(libc::EAGAIN | libc::EINTR) if outgoing.left() > 0 && link.ending.is_none() => {
                link.flight = Some(self.driver.send(ticket, link.socket.as_fd(), outgoing, false));
                return;
            }
            Ok(_) | Err(libc::EAGAIN | libc::EINTR) => {}
            Err(number) => link.end(std::io::Error::from_raw_os_error(number).to_string()),
        }
        outgoing.reuse();
        link.spare = Some(outgoing);
    }

    /// Everything that links have to do in a turn.
    pub(super) fn poll_links(&mut self) {
        let Self { links: Some(links), local, driver, .. } = self else { return };
        let moment = local.moment();
        links.run_orders(local);
        links.has_more = false;
        for number in 0..links.places.len() {
            links.poll_link(number, local, driver, moment);
        }
        links.followers.forget_the_absent(moment);
        // Nobody is told this one, so nothing that comes later is late because of it.
        links.followers.note_position(local.shard.latest(), moment);
        let backup = local.node.backups.followed(local.number);
        let needed = links.followers.needs_after(feeds(&links.places));
        local.shard.set_followed(needed.into_iter().chain(backup).min());
        local.gate = refusal(&mut local.shard, feeds(&links.places), &links.replication, moment);
        self.release_held(moment);
    }

    /// Closes links, of one kind or all; those to sources are reported.
    pub(super) fn close_links(&mut self, feeds: bool, follows: bool) {
        let Some(links) = &mut self.links else { return };
        for ticket in links.tickets() {
            let link = links.find(ticket).expect("its ticket was just made");
            let is_feed = matches!(link.end, End::Feed { .. });
            if (is_feed && feeds) || (!is_feed && follows) {
                link.end("closed on request".to_owned());
            }
        }
    }
}

impl Links {
    /// Lets the link in a place, if there is one, do what it can in this turn.
    fn poll_link(&mut self, number: usize, local: &mut Local, driver: &mut Driver, moment: Moment) {
        let place = &mut self.places[number];
        let ticket = Ticket::of_link(number as u32, place.generation);
        // Out of its place, so that it and what all links share can be used together.
        let Some(mut link) = place.link.take() else { return };
        if link.ending.is_none()
            && let Err(error) = self.drive(&mut link, ticket, local, moment)
        {
            link.end(error.to_string());
        }
        if link.drains && link.flight.is_none() && link.output.left() == 0 {
            link.end("refused".to_owned());
        }
        if link.ending.is_some() {
            if !link.is_quiet(ticket, driver) {
                self.places[number].link = Some(link);
                return;
            }
            return self.close(*link, driver, moment);
        }
        if link.flight.is_none() && link.output.left() > 0 {
            let outgoing = std::mem::replace(&mut link.output, link.spare.take().unwrap_or_default());
            link.flight = Some(driver.send(ticket, link.socket.as_fd(), outgoing, false));
        }
        self.places[number].link = Some(link);
    }

    fn drive(
        &mut self,
        link: &mut Link,
        ticket: Ticket,
        local: &mut Local,
        moment: Moment,
    ) -> Result<(), LinkError> {
        // One batch is made while another is being sent, and no third one.
        let may_send = link.output.left() == 0;
        let out = &mut link.output.output;
        let result = match &mut link.end {
            End::Follow { follow, source, shard } => {
                let replication = Arc::clone(&self.replication);
                let (source, shard) = (*source, *shard);
                let mut reached =
                    Reached { local, orders: &mut self.orders, replication: &replication, ticket };
                follow.poll(&mut reached, moment, out, |event| {
                    if let FollowEvent::Welcomed { history, copies } = event {
                        replication.tell(Event::Welcomed { source, shard, history, copies });
                    }
                })
            }
            End::Feed { feed, reader } => {
                self.take_frames(feed, reader, link.peer, local, moment, out).and_then(|()| {
                    link.drains |= feed.is_refused();
                    if may_send { feed.poll(&mut local.shard, moment, out) } else { Ok(false) }
                })
            }
        };
        self.has_more |= result?;
        Ok(())
    }

    fn take_frames(
        &mut self,
        feed: &mut Feed,
        reader: &mut FrameReader,
        peer: u128,
        local: &mut Local,
        moment: Moment,
        out: &mut Output,
    ) -> Result<(), LinkError> {
        while let Some(frame) = reader.front(0)? {
            let bytes = HEADER_BYTES + frame.payload.len();
            let event = feed.handle_frame(&frame, moment, out)?;
            reader.advance(bytes);
            if let FeedEvent::Follow(greeting) = event {
                // This link is out of its place.
                let count = feeds(&self.places).count() + 1;
                let Self { followers, replication, .. } = self;
                followers.welcome(feed, &greeting, peer, count, replication, &mut local.shard, out);
            }
        }
        Ok(())
    }

    /// The kernel has nothing of the link any more.
    fn close(&mut self, link: Link, driver: &mut Driver, moment: Moment) {
        let Link { socket, peer, address, end, ending, entry, .. } = link;
        let reason = ending.expect("a link that ends has a reason");
        self.replication.remove(entry);
        driver.close(socket);
        match end {
            End::Feed { feed, .. } => {
                tracing::info!(address, "a replica's link closed: {reason}");
                let patience = self.replication.options.patience;
                self.followers.take_leave(peer, *feed, patience, moment);
            }
            End::Follow { follow, source, shard } => {
                let progress = follow.into_progress();
                self.replication.tell(Event::Closed { source, shard, progress, reason });
            }
        }
    }
}

/// The links to replicas.
fn feeds(places: &[Place]) -> impl Iterator<Item = &Feed> + Clone {
    places.iter().filter_map(|place| match &place.link.as_deref()?.end {
        End::Feed { feed, .. } => Some(&**feed),
        End::Follow { .. } => None,
    })
}

impl Links {
    /// Up to where writes may be answered.
    fn answerable(&mut self) -> Version {
        self.followers.answerable(feeds(&self.places), self.replication.options.quorum)
    }
}

impl Link {
    fn take_bytes(&mut self, bytes: &[u8], moment: Moment) {
        match &mut self.end {
            End::Feed { reader, .. } => reader.push(bytes),
            End::Follow { follow, .. } => follow.handle_bytes(bytes, moment),
        }
    }

    fn waiting_bytes(&self) -> usize {
        match &self.end {
            End::Feed { reader, .. } => reader.len(),
            End::Follow { follow, .. } => follow.waiting_bytes(),
        }
    }

    /// The first reason is the one that counts.
    fn end(&mut self, reason: String) {
        self.ending.get_or_insert(reason);
    }

    /// Whether the kernel has no request of it; asks for them back where it has.
    fn is_quiet(&mut self, ticket: Ticket, driver: &mut Driver) -> bool {
        if let Some(flight) = self.flight {
            driver.stop_sending(flight);
        }
        if self.receiving == Receiving::On {
            driver.stop_receiving(ticket);
            self.receiving = Receiving::Stopping;
        }
        self.flight.is_none() && self.receiving == Receiving::Off
    }
}
