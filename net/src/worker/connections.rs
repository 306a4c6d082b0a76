//! A worker's table of connections.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::sealing::Sealed;
use crate::config::Terms;
use crate::driver::Outgoing;
use crate::limits::{PROMPT_SEND_BYTES_MAX, SPARE_OUTPUTS_MAX};
use crate::mesh::Ticket;
use crate::server::roster::Presence;
use crate::session::Session;

/// One client connection. It holds no buffer while it has nothing to say.
pub struct Connection {
    /// Open until the driver closes it.
    pub socket: OwnedFd,
    /// The protocol.
    pub session: Session,
    /// Answers that the session has made and that are not being sent.
    pub output: Option<Box<Outgoing>>,
    /// The keys of an encrypted connection.
    pub sealed: Option<Box<Sealed>>,
    /// The send under way.
    pub flight: Option<u32>,
    /// Whether the kernel receives for it.
    pub receiving: Receiving,
    /// How far its end has come.
    pub phase: Phase,
    /// The session holds input back.
    pub holds: bool,
    /// Bytes given to the session since it holds.
    pub held_bytes: usize,
    /// The socket had no room for all of the last send.
    pub reads_slowly: bool,
    /// It stands in the worker's list of connections with something to send.
    pub listed_unsent: bool,
    /// It stands in the worker's list of sessions to go on with.
    pub listed_resume: bool,
    /// What others may see.
    pub presence: Arc<Presence>,
}

/// State of the receive request of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiving {
    /// There is none.
    Off,
    /// It is with the kernel.
    On,
    /// It has been canceled; its last completion has not come.
    Stopping,
}

/// The way of a connection to its end. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Requests are received.
    Open,
    /// No more input comes, but what the session keeps is still executed: the peer sends nothing any more, or the
    /// node stops.
    Ended,
    /// The session is over; its answers are still sent.
    Draining,
    /// Nothing matters any more; requests under way are awaited.
    Closing,
}

impl Connection {
    /// A fresh connection.
    pub fn new(socket: OwnedFd, terms: Terms, presence: Arc<Presence>) -> Self {
        Self {
            socket,
            session: Session::with_terms(terms),
            output: None,
            sealed: None,
            flight: None,
            receiving: Receiving::Off,
            phase: Phase::Open,
            holds: false,
            held_bytes: 0,
            reads_slowly: false,
            listed_unsent: false,
            listed_resume: false,
            presence,
        }
    }

    /// Something waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.output.is_some() || self.sealed.as_ref().is_some_and(|sealed| sealed.has_unsent())
    }

    /// Whether a send of so many bytes will be over when it has been handed to the kernel, and nothing hangs on its end:
    /// the worker then sleeps without having seen it. Any other is awaited like a request.
    pub fn sends_promptly(&self, bytes: usize) -> bool {
        self.phase == Phase::Open && !self.reads_slowly && bytes <= PROMPT_SEND_BYTES_MAX
    }

    /// Every answer has been made and sent.
    pub fn is_drained(&self) -> bool {
        self.flight.is_none() && !self.has_unsent() && self.session.writes_waiting() == 0
    }

    /// It is the peer's turn: nothing is being answered, sent or streamed.
    pub fn awaits_request(&self) -> bool {
        self.is_drained() && !self.holds && !self.session.is_streaming()
    }

    /// The kernel has no request of it.
    pub fn is_quiet(&self) -> bool {
        self.flight.is_none() && self.receiving == Receiving::Off
    }
}

/// Connections by place; a place is used again with another generation.
#[derive(Default)]
pub struct Connections {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Place {
    generation: u32,
    connection: Option<Connection>,
}

impl Connections {
    /// A place for the next connection. It stays free until [`Connections::insert`].
    pub fn reserve(&mut self) -> Ticket {
        let connection = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[connection as usize];
        place.generation = place.generation.wrapping_add(1);
        Ticket { connection, generation: place.generation }
    }

    /// Puts a connection into its reserved place.
    pub fn insert(&mut self, ticket: Ticket, connection: Connection) {
        let place = &mut self.places[ticket.connection as usize];
        assert!(
            place.generation == ticket.generation && place.connection.is_none(),
            "the place was reserved"
        );
        place.connection = Some(connection);
    }

    /// The connection of that ticket, unless it is gone.
    #[inline]
    pub fn find(&mut self, ticket: Ticket) -> Option<&mut Connection> {
        let place = &mut self.places[ticket.connection as usize];
        if place.generation == ticket.generation { place.connection.as_mut() } else { None }
    }

    /// Takes a connection out and frees its place.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Connection> {
        self.find(ticket)?;
        self.free.push(ticket.connection);
        self.places[ticket.connection as usize].connection.take()
    }

    /// No connection is left.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Tickets of all connections that fulfil `condition`.
    pub fn tickets(&self, condition: impl Fn(&Connection) -> bool) -> Vec<Ticket> {
        let places = self.places.iter().enumerate();
        let matching = places.filter(|(_, place)| place.connection.as_ref().is_some_and(&condition));
        matching
            .map(|(number, place)| Ticket { connection: number as u32, generation: place.generation })
            .collect()
    }
}

/// Emptied output buffers of a worker, so that a busy connection allocates none and an idle one holds none.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "connections and the driver hand them on in their boxes")]
pub struct SpareOutputs(Vec<Box<Outgoing>>);

impl SpareOutputs {
    /// An empty buffer.
    #[inline]
    pub fn take(&mut self) -> Box<Outgoing> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    #[inline]
    pub fn put(&mut self, mut outgoing: Box<Outgoing>) {
        if self.0.len() < SPARE_OUTPUTS_MAX {
            outgoing.clear();
            self.0.push(outgoing);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{Connection, Connections, Phase};
    use crate::config::Terms;
    use crate::limits::PROMPT_SEND_BYTES_MAX;
    use crate::server::roster::Roster;

    /// Goal: nobody waits for a worker that sleeps through the end of a send.
    #[test]
    fn what_hangs_on_the_end_of_a_send_does_not_sleep_through_it() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports").into();
        let presence = Roster::new(1).enter(0, 0, 0, 0);
        let mut connection = Connection::new(socket, Terms::default(), presence);
        assert!(connection.sends_promptly(PROMPT_SEND_BYTES_MAX));
        assert!(!connection.sends_promptly(PROMPT_SEND_BYTES_MAX + 1), "the socket may have no room for it");
        connection.reads_slowly = true;
        assert!(!connection.sends_promptly(1), "nor for this");
        connection.reads_slowly = false;
        for phase in [Phase::Ended, Phase::Draining, Phase::Closing] {
            connection.phase = phase;
            assert!(!connection.sends_promptly(1), "then it is closed");
        }
    }

    #[test]
    fn a_reused_place_has_another_ticket() {
        let mut connections = Connections::default();
        let first = connections.reserve();
        let second = connections.reserve();
        assert_ne!(first.connection, second.connection);
        assert!(connections.find(first).is_none(), "reserved, not inserted");
        connections.free.push(first.connection);
        let third = connections.reserve();
        assert_eq!(third.connection, first.connection);
        assert_ne!(third.generation, first.generation);
    }
}
