//! What a worker asks of the kernel, and what comes back.
//!
//! `uring` is the only driver: one ring for all sockets of a worker. `tag` says which request a completion belongs
//! to, `outgoing` is what is being sent, `support` says what the kernel must have.

mod datagram;
mod outgoing;
mod support;
mod tag;
mod uring;

use std::io;
use std::os::fd::OwnedFd;

pub use datagram::OutgoingDatagram;
pub use outgoing::Outgoing;
pub use support::{Refusal, check};
pub use uring::{Chunk, Driver};

use crate::mesh::Ticket;

/// How a request to the kernel ended, or went on.
pub enum Completion {
    /// A listener has a new connection, or failed to. Without `more` it has to be asked again.
    Accepted {
        /// Number given to [`Driver::accept`].
        listener: u32,
        /// The connection.
        socket: io::Result<OwnedFd>,
        /// Further connections will be told without another request.
        more: bool,
    },
    /// A connection has something to say. Without `more` it has to be asked again.
    Received {
        /// Whose.
        ticket: Ticket,
        /// What.
        received: Received,
        /// Further bytes will be told without another request.
        more: bool,
    },
    /// A send ended.
    Sent {
        /// Whose.
        ticket: Ticket,
        /// What was to be sent, with what is done of it counted.
        outgoing: Box<Outgoing>,
        /// Bytes sent by this request, or why none were.
        result: Result<usize, i32>,
    },
    /// A datagram came. Without `more` the socket has to be asked again.
    Datagram {
        /// Number given to [`Driver::receive_datagrams`].
        socket: u32,
        /// What.
        received: Received,
        /// Further ones will be told without another request.
        more: bool,
    },
    /// The end of sending a datagram.
    DatagramSent {
        /// Which.
        datagram: Box<OutgoingDatagram>,
        /// Bytes sent, or why none were.
        result: Result<usize, i32>,
    },
}

/// What a receive ended with, or went on with.
pub enum Received {
    /// Bytes, in a buffer that goes back with [`Driver::release`].
    Bytes(Chunk),
    /// The peer sends nothing any more.
    End,
    /// All receive buffers were in use, or a signal came between: ask again.
    NoBuffer,
    /// It was canceled.
    Canceled,
    /// The connection broke, with the kernel's error number.
    Broken(i32),
}

/// How long a submission waits for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until there is one more than the sends of this submission cause by themselves, at most this long. Starting
    /// and stopping the clock costs more than the rest of a wait.
    UpTo(std::time::Duration),
    /// The same without a limit of its own: the alarm ends it at the latest.
    Alarm,
}

#[cfg(test)]
mod tests;
