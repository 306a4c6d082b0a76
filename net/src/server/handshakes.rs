//! The thread that runs TLS handshakes, so that no worker does: one takes longer than a hundred requests.
//!
//! A socket comes from the acceptor, which has counted it for a worker already, and goes to that worker with keys and
//! with what the client has said by then. The thread is pinned to no core and gives way to the workers. It is bounded in number
//! and in time: the oldest handshake is closed when there are too many, and any that takes too long.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ringcache_engine::Now;

use super::ServeError;
use crate::config::Terms;
use crate::limits::{HANDSHAKE_SECONDS_MAX, HANDSHAKES_MAX, RECEIVE_BUFFER_BYTES};
use crate::mesh::Doors;
use crate::node::Node;
use crate::observe::Streams;
use crate::observe::events::Event;
use crate::sys::{self, End, Poller};
use crate::tls::Channel;
use crate::tls::handshake::{Failure, Handshake};

/// Names the event that tells of arrivals; sockets have the other names.
const ARRIVALS: u64 = 0;
/// Handshakes that begin before those under way have their turn again.
const ADMITTED_PER_TURN: usize = 16;
/// How far the thread gives way to others.
const NICE: i32 = 10;

/// An accepted socket whose handshake has not begun.
pub struct Arrival {
    /// The connection.
    pub socket: OwnedFd,
    /// What its listener says of it.
    pub terms: Terms,
    /// The worker that has it on its count.
    pub worker: u16,
}

/// A connection with keys.
pub struct Newcomer {
    /// The connection.
    pub socket: OwnedFd,
    /// What its listener says of it.
    pub terms: Terms,
    /// Its keys.
    pub channel: Box<Channel>,
    /// What the client has said already.
    pub early: Vec<u8>,
}

/// Where an acceptor hands sockets in.
pub struct Entrance {
    arrivals: mpsc::Sender<Arrival>,
    event: Arc<OwnedFd>,
}

impl Entrance {
    /// Hands a socket in. One system call; never waits.
    pub fn hand_in(&self, arrival: Arrival) {
        // The thread lives as long as the process.
        let handed = self.arrivals.send(arrival);
        debug_assert!(handed.is_ok(), "the thread has ended");
        sys::signal_event(self.event.as_fd());
    }
}

/// Where one worker takes its new connections from.
pub type Exit = mpsc::Receiver<Newcomer>;

/// The thread, before it is started.
pub struct Handshakes {
    arrivals: mpsc::Receiver<Arrival>,
    event: Arc<OwnedFd>,
    poller: Poller,
    exits: Vec<mpsc::Sender<Newcomer>>,
    /// By age, hence by the end of their time too.
    visitors: BTreeMap<u64, Visitor>,
    last_name: u64,
    buffer: Vec<u8>,
}

/// A handshake under way.
struct Visitor {
    arrival: Arrival,
    handshake: Handshake,
    /// What the socket had no room for.
    unsent: Vec<u8>,
    deadline: Instant,
}

/// How a visit went on.
enum Visit {
    Goes,
    Done,
    Failed(Failure),
    /// The socket broke, or closed before it said anything.
    Gone,
}

impl Handshakes {
    /// With an exit for each worker.
    ///
    /// Errors: the kernel gives no descriptor.
    pub fn new(workers: u16) -> io::Result<(Self, Entrance, Vec<Exit>)> {
        let event = Arc::new(sys::event()?);
        let poller = Poller::new()?;
        poller.watch_event(event.as_fd(), ARRIVALS)?;
        let (sender, arrivals) = mpsc::channel();
        let (exits, ends): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel()).unzip();
        let entrance = Entrance { arrivals: sender, event: Arc::clone(&event) };
        let buffer = vec![0; RECEIVE_BUFFER_BYTES];
        let handshakes =
            Self { arrivals, event, poller, exits, visitors: BTreeMap::new(), last_name: ARRIVALS, buffer };
        Ok((handshakes, entrance, ends))
    }

    /// Starts the thread. It ends with the process.
    pub fn start(mut self, node: Arc<Node>, doors: Arc<Doors>) -> Result<(), ServeError> {
        let run = move || {
            sys::give_way(NICE);
            loop {
                self.turn(&node, &doors);
            }
        };
        let started = thread::Builder::new().name("handshakes".to_owned()).spawn(run);
        started.map(drop).map_err(|source| ServeError::System { what: "cannot start a thread", source })
    }

    fn turn(&mut self, node: &Node, doors: &Doors) {
        let mut names = Vec::new();
        let deadline = self.visitors.first_key_value().map(|(_, visitor)| visitor.deadline);
        let time = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if let Err(error) = self.poller.wait(time, &mut names)
            && error.kind() != io::ErrorKind::Interrupted
        {
            panic!("waiting for handshakes failed: {error}");
        }
        for name in names {
            if name == ARRIVALS {
                sys::drain_event(self.event.as_fd());
                self.admit_some(node, doors);
            } else {
                self.go_on(name, node, doors);
            }
        }
        self.close_slow(Instant::now(), node, doors);
        node.tls.handshakes.store(self.visitors.len() as u64, Ordering::Relaxed);
    }

    /// Begins some handshakes. Those that are under way have their turn before more begin.
    fn admit_some(&mut self, node: &Node, doors: &Doors) {
        for _ in 0..ADMITTED_PER_TURN {
            let Ok(arrival) = self.arrivals.try_recv() else { return };
            self.admit(arrival, node, doors);
        }
        sys::signal_event(self.event.as_fd());
    }

    /// Begins a handshake.
    fn admit(&mut self, arrival: Arrival, node: &Node, doors: &Doors) {
        let begun = node.tls.config(arrival.terms.encryption).map(Handshake::new);
        let Some(Ok(handshake)) = begun else {
            return tell(node, &arrival, "no certificate for it");
        };
        if self.visitors.len() >= HANDSHAKES_MAX {
            self.close_oldest("too many others are under way", node, doors);
        }
        self.last_name += 1;
        if let Err(error) = self.poller.watch(arrival.socket.as_fd(), self.last_name) {
            return tell(node, &arrival, error);
        }
        self.visitors.insert(self.last_name, Visitor::new(arrival, handshake, Instant::now()));
        // The first bytes may have come with the socket.
        self.go_on(self.last_name, node, doors);
    }

    /// Goes on with a handshake as far as its client has.
    fn go_on(&mut self, name: u64, node: &Node, doors: &Doors) {
        let Some(visitor) = self.visitors.get_mut(&name) else { return };
        let visit = visitor.go_on(&mut self.buffer);
        // One step is what a worker on the same processor may have to wait for, not as many as fit into a time slice.
        thread::yield_now();
        if matches!(visit, Visit::Goes) {
            return;
        }
        let visitor = self.visitors.remove(&name).expect("found above");
        match visit {
            Visit::Goes => unreachable!("returned above"),
            Visit::Gone => node.roster.unassign(visitor.arrival.worker),
            Visit::Failed(failure) => tell(node, &visitor.arrival, failure),
            Visit::Done => self.let_out(visitor, node, doors),
        }
    }

    /// Hands a connection over to its worker.
    fn let_out(&mut self, visitor: Visitor, node: &Node, doors: &Doors) {
        let Visitor { arrival: Arrival { socket, terms, worker }, handshake, .. } = visitor;
        if let Err(error) = self.poller.forget(socket.as_fd()) {
            tracing::debug!(%error, "a socket was watched by nobody");
        }
        let (channel, early) = handshake.finish();
        node.tls.note_session(channel.is_new_session());
        let newcomer = Newcomer { socket, terms, channel: Box::new(channel), early };
        // A worker that has ended takes nobody any more, and neither does the process.
        if self.exits[usize::from(worker)].send(newcomer).is_ok() {
            sys::signal_event(doors.event(worker));
        }
    }

    fn close_slow(&mut self, now: Instant, node: &Node, doors: &Doors) {
        while self.visitors.first_key_value().is_some_and(|(_, oldest)| oldest.deadline <= now) {
            self.close_oldest("it took too long", node, doors);
        }
    }

    /// Ends the handshake that began first, unless what its client has sent meanwhile ends it well.
    fn close_oldest(&mut self, reason: &str, node: &Node, doors: &Doors) {
        let Some((&name, _)) = self.visitors.first_key_value() else { return };
        self.go_on(name, node, doors);
        if let Some(oldest) = self.visitors.remove(&name) {
            tell(node, &oldest.arrival, reason);
        }
    }
}

impl Visitor {
    fn new(arrival: Arrival, handshake: Handshake, now: Instant) -> Self {
        let deadline = now + Duration::from_secs(HANDSHAKE_SECONDS_MAX);
        Self { arrival, handshake, unsent: Vec::new(), deadline }
    }

    /// Receives and sends until one of both would have to wait.
    fn go_on(&mut self, buffer: &mut [u8]) -> Visit {
        loop {
            if !self.send() {
                return Visit::Goes;
            }
            if self.handshake.is_done() {
                return Visit::Done;
            }
            let result = match sys::receive_now(self.arrival.socket.as_fd(), buffer) {
                Ok(0) if !self.handshake.has_begun() => return Visit::Gone,
                Ok(0) => Err(Failure::Closed),
                Ok(count) => self.handshake.handle_bytes(&mut buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Visit::Goes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) if !self.handshake.has_begun() => return Visit::Gone,
                Err(_) => Err(Failure::Closed),
            };
            if let Err(failure) = result {
                self.send();
                return Visit::Failed(failure);
            }
        }
    }

    /// Sends what there is to send; false when the socket has no room for all of it. What breaks here is found by the
    /// next receive.
    fn send(&mut self) -> bool {
        self.unsent.append(&mut self.handshake.take_unsent());
        if self.unsent.is_empty() {
            return true;
        }
        match sys::send_now(self.arrival.socket.as_fd(), &self.unsent) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.unsent.clear(),
        }
        self.unsent.is_empty()
    }
}

/// Counts a failed handshake, whose socket closes with its arrival. Watchers get the reason, and the log, at most once a
/// second; the client no more than the alert that rustls has sent.
fn tell(node: &Node, arrival: &Arrival, reason: impl Display) {
    node.tls.handshake_errors.fetch_add(1, Ordering::Relaxed);
    node.roster.unassign(arrival.worker);
    let now = Now::from_unix_millis(node.clock.unix_millis());
    if node.observers.wants(Streams::CONNEVENTS) {
        let socket = arrival.socket.as_raw_fd();
        node.observers.note(arrival.worker, &Event::Unencrypted { socket, reason: &reason });
        // The worker that it would have had may be asleep.
        node.observers.flush(arrival.worker, now);
    }
    if let Some(unlogged) = node.tls.failed.admit(now.seconds) {
        let client = sys::socket_address(arrival.socket.as_raw_fd(), End::Peer);
        let client = client.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        tracing::warn!(client, unlogged, "TLS handshake failed: {reason}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use ringcache_engine::{Engine, Seconds};
    use rustls::version;

    use super::{Arrival, Handshakes, Visitor};
    use crate::config::{Config, Terms};
    use crate::limits::HANDSHAKE_SECONDS_MAX;
    use crate::mesh;
    use crate::node::Node;
    use crate::server::engine_options;
    use crate::tls::handshake::Handshake;
    use crate::tls::tests::configs;

    /// Goal: whoever does not come to the end of a handshake is closed after the limit, and nobody before. Method: a
    /// clock that is given.
    #[test]
    fn a_handshake_takes_no_longer_than_its_limit() {
        let config = Config { workers: 1, ..Config::default() };
        let (engine, _shards) = Engine::open(&engine_options(&config), 1).unwrap();
        let node = Node::new(config, engine, Seconds(1));
        let (_ends, doors) = mesh::mesh(1).unwrap();
        let (mut handshakes, _entrance, _exits) = Handshakes::new(1).unwrap();
        let (begun, limit) = (Instant::now(), Duration::from_secs(HANDSHAKE_SECONDS_MAX));
        let seconds = Duration::from_secs;
        let mut visit = |name: u64, since: Instant, says: &[u8]| {
            let (socket, mut client) = UnixStream::pair().unwrap();
            socket.set_nonblocking(true).unwrap();
            client.set_nonblocking(true).unwrap();
            client.write_all(says).unwrap();
            let arrival =
                Arrival { socket: socket.into(), terms: Terms::default(), worker: node.roster.assign() };
            let handshake = Handshake::new(configs(&version::TLS13).1).unwrap();
            handshakes.visitors.insert(name, Visitor::new(arrival, handshake, since));
            client
        };
        let mut silent = visit(1, begun, b"");
        let mut halting = visit(2, begun + seconds(1), b"\x16\x03\x01");
        let mut later = visit(3, begun + seconds(2), b"");
        let is_open = |client: &mut UnixStream| match client.read(&mut [0; 100]) {
            Ok(0) => false,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
            Ok(_) => panic!("nothing is said to a client that has not begun well"),
        };
        for (passed, open) in [
            (limit - Duration::from_millis(1), [true, true, true]),
            (limit, [false, true, true]),
            (limit + Duration::from_millis(999), [false, true, true]),
            (limit + seconds(1), [false, false, true]),
        ] {
            handshakes.close_slow(begun + passed, &node, &doors);
            let now = [&mut silent, &mut halting, &mut later].map(is_open);
            assert_eq!(now, open, "after {passed:?}");
        }
        assert_eq!(node.tls.handshake_errors.load(std::sync::atomic::Ordering::Relaxed), 2);
        assert_eq!(node.roster.count(), 1);
    }
}
