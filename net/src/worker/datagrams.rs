//! Requests that come as datagrams: received, executed, answered, bounded in every way.
//!
//! A datagram needs no connection. It has a place of its own while its commands are executed, some of them by other
//! workers; what finds no place, no room to be sent from or no allowance of its source is dropped and counted, as a
//! network would drop it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use ringcache_engine::{Outcome, ShardId};

use super::Worker;
use crate::allowance::free_bytes;
use crate::driver::{Chunk, Driver, OutgoingDatagram, Received, Refusal};
use crate::limits::{
    UDP_REQUESTS_MAX, UDP_SENDS_MAX, UDP_SOURCE_PORT_MIN, UDP_SPARE_BUFFERS_MAX, UDP_UNSENT_BYTES_MAX,
};
use crate::mesh::Ticket;
use crate::node::Node;
use crate::output::Output;
use crate::protocol::binary::header::RESPONSE;
use crate::protocol::udp::{Parts, Refused, Request};
use crate::reach::Reach;
use crate::session::datagram::{Answer, Datagram, Stage};
use crate::stats::Counters;

/// The datagram sockets of a worker and what is under way on them.
pub struct Datagrams {
    sockets: Vec<Socket>,
    places: Vec<Place>,
    free: Vec<u32>,
    exit: Exit,
}

struct Socket {
    socket: OwnedFd,
    /// The kernel receives on it.
    armed: bool,
}

#[derive(Default)]
struct Place {
    generation: u32,
    asked: Option<Asked>,
}

/// A datagram whose commands are being executed.
struct Asked {
    datagram: Datagram,
    origin: Origin,
}

/// Where its answers go.
struct Origin {
    socket: u32,
    source: SocketAddr,
    request: u16,
    /// What may still be sent whoever asked.
    free_bytes: usize,
}

/// The way out of all sockets.
#[derive(Default)]
struct Exit {
    #[expect(clippy::vec_box, reason = "the driver takes and gives them in their boxes")]
    spare: Vec<Box<OutgoingDatagram>>,
    waiting: VecDeque<Box<OutgoingDatagram>>,
    /// Of what waits and of what the kernel is sending.
    unsent_bytes: usize,
    /// Sends that the kernel has.
    under_way: usize,
    /// A socket had no room: until one has, sends wait for it.
    is_blocked: bool,
}

impl Datagrams {
    /// Receives on `sockets` from the first [`Datagrams::poll`] on.
    pub fn new(sockets: Vec<OwnedFd>) -> Self {
        let sockets = sockets.into_iter().map(|socket| Socket { socket, armed: false }).collect();
        Self { sockets, places: Vec::new(), free: Vec::new(), exit: Exit::default() }
    }

    /// Goes on receiving where that has ended.
    ///
    /// Errors: as [`Driver::receive_datagrams`], the first time.
    pub fn poll(&mut self, driver: &mut Driver) -> Result<(), Refusal> {
        for (number, socket) in (0..).zip(&mut self.sockets).filter(|(_, socket)| !socket.armed) {
            driver.receive_datagrams(number, socket.socket.as_fd())?;
            socket.armed = true;
        }
        Ok(())
    }

    /// Stops receiving. The sockets stay open for the last answers.
    pub fn stop(&self, driver: &mut Driver) {
        (0..).zip(&self.sockets).for_each(|(number, _)| driver.stop_receiving_datagrams(number));
    }

    /// Every answer has been made and sent.
    pub fn is_drained(&self) -> bool {
        self.free.len() == self.places.len() && self.exit.unsent_bytes == 0
    }

    /// More can be handed to the kernel at once.
    pub fn has_unsent(&self) -> bool {
        !self.exit.waiting.is_empty() && !self.exit.is_blocked
    }

    /// Hands over as much as the kernel may have at a time.
    pub fn start_sends(&mut self, driver: &mut Driver) {
        while self.exit.under_way < UDP_SENDS_MAX
            && let Some(datagram) = self.exit.waiting.pop_front()
        {
            self.send(datagram, driver);
        }
    }

    fn send(&mut self, datagram: Box<OutgoingDatagram>, driver: &mut Driver) {
        let socket = &self.sockets[datagram.socket as usize].socket;
        self.exit.under_way += 1;
        driver.send_datagram(socket.as_fd(), datagram, !self.exit.is_blocked);
    }

    /// A place for one more; none when all are taken.
    fn reserve(&mut self) -> Option<(u32, Ticket)> {
        if self.free.is_empty() && self.places.len() < UDP_REQUESTS_MAX {
            self.free.push(self.places.len() as u32);
            self.places.push(Place::default());
        }
        let place = self.free.pop()?;
        Some((place, Ticket::of_datagram(place, self.places[place as usize].generation)))
    }

    /// Keeps a datagram that waits, and lets go of one that is over.
    fn settle(&mut self, place: u32, asked: Asked, stage: Stage) {
        let kept = &mut self.places[place as usize];
        if stage == Stage::Waiting {
            kept.asked = Some(asked);
            return;
        }
        kept.generation = kept.generation.wrapping_add(1);
        self.free.push(place);
    }

    /// The datagram that a ticket names.
    fn take(&mut self, place: u32, generation: u32) -> Asked {
        let kept = &mut self.places[place as usize];
        assert_eq!(kept.generation, generation, "a datagram stays until all its outcomes have come");
        kept.asked.take().expect("it waits for an outcome")
    }
}

impl Exit {
    /// Takes an answer, if it may be sent.
    fn take(&mut self, origin: &mut Origin, answer: &Output, bounds: Bounds<'_>) {
        let mut parts = Parts::of(origin.request, answer);
        let bytes = parts.bytes();
        if self.unsent_bytes + bytes > UDP_UNSENT_BYTES_MAX {
            return bounds.counters.udp_dropped.add(1);
        }
        let cost = parts.wire_bytes();
        // Two nodes that answer each other's complaints would do so for ever.
        let free = if is_complaint(answer) { 0 } else { cost.min(origin.free_bytes) };
        let source = origin.source.ip();
        if cost > free && !bounds.node.allowances.take(source, cost - free, bounds.now_millis) {
            return bounds.counters.udp_limited.add(1);
        }
        origin.free_bytes -= free;
        self.unsent_bytes += bytes;
        loop {
            let mut datagram = self.spare.pop().unwrap_or_else(|| Box::new(OutgoingDatagram::new()));
            if !parts.write_next(&mut datagram.bytes) {
                return self.spare.push(datagram);
            }
            (datagram.socket, datagram.to) = (origin.socket, origin.source);
            self.waiting.push_back(datagram);
        }
    }

    fn put_spare(&mut self, mut datagram: Box<OutgoingDatagram>) {
        if self.spare.len() < UDP_SPARE_BUFFERS_MAX {
            datagram.bytes.clear();
            self.spare.push(datagram);
        }
    }
}

/// What an answer is held against.
#[derive(Clone, Copy)]
struct Bounds<'r> {
    node: &'r Node,
    counters: &'r Counters,
    now_millis: u64,
}

impl<'r> Bounds<'r> {
    fn of(reach: &Reach<'r>) -> Self {
        Self { node: reach.node, counters: reach.counters, now_millis: reach.now.unix_millis }
    }
}

impl Worker {
    /// Takes what came on a datagram socket.
    pub(super) fn handle_datagram(&mut self, socket: u32, received: Received, more: bool) {
        let datagrams =
            self.datagrams.as_mut().expect("only a worker with sockets for them receives datagrams");
        datagrams.sockets[socket as usize].armed &= more;
        match received {
            Received::Bytes(chunk) => {
                self.execute_datagram(socket, &chunk);
                self.driver.release_datagram(chunk);
            }
            Received::End | Received::NoBuffer | Received::Canceled => {}
            // Asked again when the next second begins, so that it does not fail over and over.
            Received::Broken(number) => return tracing::debug!(socket, number, "a datagram socket failed"),
        }
        if !more {
            self.poll_datagrams();
        }
    }

    /// Receives on every datagram socket.
    pub(super) fn poll_datagrams(&mut self) {
        if let Some(datagrams) = self.datagrams.as_mut().filter(|_| !self.stopping) {
            datagrams.poll(&mut self.driver).expect("the buffers were registered at the start");
        }
    }

    fn execute_datagram(&mut self, socket: u32, chunk: &Chunk) {
        let Self { datagrams, driver, local, .. } = self;
        let datagrams = datagrams.as_mut().expect("its socket is there");
        let Some((source, bytes)) = driver.datagram(chunk) else {
            return local.counters().udp_malformed.add(1);
        };
        // A service, or a node like this one, would take an answer for a request.
        let port = source.port();
        if port < UDP_SOURCE_PORT_MIN || local.node.config.udp_port == Some(port) {
            return local.counters().udp_dropped.add(1);
        }
        local.counters().bytes_read.add(bytes.len() as u64);
        let request = match Request::read(bytes) {
            Ok(request) => request,
            Err(Refused::Short) => return local.counters().udp_malformed.add(1),
            Err(Refused::Parted) => return local.counters().udp_parted.add(1),
        };
        let Some((place, ticket)) = datagrams.reserve() else { return local.counters().udp_dropped.add(1) };
        local.counters().udp_requests.add(1);
        let origin = Origin { socket, source, request: request.id, free_bytes: free_bytes(bytes.len()) };
        let mut asked = Asked { datagram: Datagram::new(), origin };
        let stage = asked.go_on(&mut local.reach(ticket), &mut datagrams.exit, |datagram, reach, tell| {
            datagram.begin(request.commands, reach, tell)
        });
        datagrams.settle(place, asked, stage);
    }

    /// Gives a datagram the outcome of one of its writes.
    pub(super) fn handle_datagram_outcome(
        &mut self,
        place: u32,
        ticket: Ticket,
        shard: ShardId,
        outcome: &Outcome,
    ) {
        let Self { datagrams, local, .. } = self;
        let datagrams = datagrams.as_mut().expect("it came here");
        let mut asked = datagrams.take(place, ticket.generation);
        let stage = asked.go_on(&mut local.reach(ticket), &mut datagrams.exit, |datagram, reach, tell| {
            datagram.handle_outcome(shard, outcome, reach, tell)
        });
        datagrams.settle(place, asked, stage);
    }

    /// Takes the end of a send. Where the socket had no room it is sent again, and the kernel waits for the room.
    pub(super) fn handle_datagram_sent(
        &mut self,
        datagram: Box<OutgoingDatagram>,
        result: Result<usize, i32>,
    ) {
        let datagrams = self.datagrams.as_mut().expect("it was sent from here");
        datagrams.exit.under_way -= 1;
        datagrams.exit.is_blocked = matches!(result, Err(libc::EAGAIN | libc::EINTR));
        if datagrams.exit.is_blocked {
            return datagrams.send(datagram, &mut self.driver);
        }
        datagrams.exit.unsent_bytes -= datagram.bytes.len();
        datagrams.exit.put_spare(datagram);
        match result {
            Ok(bytes) => self.local.counters().bytes_written.add(bytes as u64),
            Err(_) => self.local.counters().udp_dropped.add(1),
        }
    }
}

/// Whether an answer says that there was nothing to answer: in text, or in the binary protocol by its status.
fn is_complaint(answer: &Output) -> bool {
    match &answer.bytes[..] {
        [RESPONSE, _, _, _, _, _, status @ ..] => !status.starts_with(&[0, 0]),
        text => [&b"ERROR"[..], b"CLIENT_ERROR", b"SERVER_ERROR"].iter().any(|begin| text.starts_with(begin)),
    }
}

impl Asked {
    /// Calls into the datagram's session; what it answers goes out where it came from.
    fn go_on(
        &mut self,
        reach: &mut Reach<'_>,
        exit: &mut Exit,
        call: impl FnOnce(&mut Datagram, &mut Reach<'_>, &mut dyn FnMut(Answer<'_>)) -> Stage,
    ) -> Stage {
        let Self { datagram, origin } = self;
        let bounds = Bounds::of(reach);
        let stage = call(datagram, reach, &mut |answer| match answer {
            Answer::Whole(output) => exit.take(origin, output, bounds),
            Answer::TooLarge => bounds.counters.udp_limited.add(1),
        });
        bounds.counters.udp_malformed.add(u64::from(stage == Stage::Cut));
        stage
    }
}
