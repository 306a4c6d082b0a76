//! The 64 bits that a completion brings back: which request it belongs to.
//!
//! ```text
//!  63    60 59                        32 31                             0
//! +--------+----------------------------+--------------------------------+
//! | kind 4 | connection or flight (28)  | generation (32)                |
//! +--------+----------------------------+--------------------------------+
//! ```

use crate::mesh::Ticket;

/// The request of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Nobody waits for it: cancels, closes, wake-ups of others.
    Ignored,
    /// Accepting on the listener of that number.
    Accept(u32),
    /// Receiving for a connection.
    Receive(Ticket),
    /// Sending what is kept under that number.
    Send(u32),
    /// Another worker woke this one.
    Woken,
    /// The event was signalled, by a thread without a ring.
    Event,
    /// Waking that worker; told only when it failed.
    Wake(u16),
    /// The alarm's time has come.
    Alarm,
    /// Receiving datagrams on the socket of that number.
    ReceiveDatagrams(u32),
    /// Sending the datagram of that flight.
    SendDatagram(u32),
}

/// Connections and flights are numbered below this.
pub const PLACES_MAX: u32 = 1 << 28;

const KIND_SHIFT: u32 = 60;
const PLACE_SHIFT: u32 = 32;

impl Tag {
    /// As the kernel carries it.
    pub fn to_bits(self) -> u64 {
        let (kind, place, generation) = match self {
            Tag::Ignored => (0, 0, 0),
            Tag::Accept(listener) => (1, listener, 0),
            Tag::Receive(ticket) => (2, ticket.connection, ticket.generation),
            Tag::Send(flight) => (3, flight, 0),
            Tag::Woken => (4, 0, 0),
            Tag::Event => (5, 0, 0),
            Tag::Wake(worker) => (6, u32::from(worker), 0),
            Tag::Alarm => (7, 0, 0),
            Tag::ReceiveDatagrams(socket) => (8, socket, 0),
            Tag::SendDatagram(flight) => (9, flight, 0),
        };
        debug_assert!(place < PLACES_MAX, "places have 28 bits");
        kind << KIND_SHIFT | u64::from(place) << PLACE_SHIFT | u64::from(generation)
    }

    /// From a completion. Panics on what [`Tag::to_bits`] never made.
    pub fn from_bits(bits: u64) -> Self {
        let place = (bits >> PLACE_SHIFT) as u32 & (PLACES_MAX - 1);
        match bits >> KIND_SHIFT {
            0 => Tag::Ignored,
            1 => Tag::Accept(place),
            2 => Tag::Receive(Ticket { connection: place, generation: bits as u32 }),
            3 => Tag::Send(place),
            4 => Tag::Woken,
            5 => Tag::Event,
            6 => Tag::Wake(place as u16),
            7 => Tag::Alarm,
            8 => Tag::ReceiveDatagrams(place),
            9 => Tag::SendDatagram(place),
            kind => panic!("a completion of kind {kind}, which no request has"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PLACES_MAX, Tag};
    use crate::mesh::Ticket;

    #[test]
    fn every_tag_survives_the_kernel() {
        let ticket = Ticket { connection: PLACES_MAX - 1, generation: u32::MAX };
        let tags = [
            Tag::Ignored,
            Tag::Accept(7),
            Tag::Receive(ticket),
            Tag::Receive(Ticket { connection: 0, generation: 1 }),
            Tag::Send(PLACES_MAX - 1),
            Tag::Woken,
            Tag::Event,
            Tag::Wake(255),
            Tag::Alarm,
            Tag::ReceiveDatagrams(2),
            Tag::SendDatagram(3),
        ];
        for tag in tags {
            assert_eq!(Tag::from_bits(tag.to_bits()), tag);
        }
    }
}
