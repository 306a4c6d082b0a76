//! Datagrams on a ring: what is needed besides streams, on workers that have sockets for them.
//!
//! 1. The picture of a message that receiving begins with, and the receive buffers, are never freed.
//! 2. A datagram under way is owned by its flight until its completion came.
#![allow(unsafe_code)]

use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::{Fd, RecvMsgOut};
use io_uring::{Submitter, opcode, squeue};

use super::buffers::{Chunk, DATAGRAM_GROUP, ReceiveBuffers};
use crate::driver::{OutgoingDatagram, Received, Refusal};
use crate::limits::UDP_BUFFER_BYTES;
use crate::sys::RawAddress;

/// The part of a ring that only workers with datagram sockets have.
pub struct Datagrams {
    /// What the kernel tells of the source of each datagram: a name of this length (1).
    picture: *mut libc::msghdr,
    buffers: ReceiveBuffers<UDP_BUFFER_BYTES>,
    flights: Vec<Option<Box<Flight>>>,
    free: Vec<u32>,
}

/// A datagram that the kernel sends. Boxed, because the kernel has pointers into it.
struct Flight {
    datagram: Box<OutgoingDatagram>,
    to: RawAddress,
    piece: libc::iovec,
    header: libc::msghdr,
}

impl Datagrams {
    /// Registers the receive buffers.
    pub fn new(submitter: &Submitter<'_>) -> Result<Self, Refusal> {
        // SAFETY: all-zero is a valid msghdr: no name, no pieces, no control data.
        let mut picture: libc::msghdr = unsafe { mem::zeroed() };
        picture.msg_namelen = RawAddress::BYTES_MAX;
        Ok(Self {
            picture: Box::leak(Box::new(picture)),
            buffers: ReceiveBuffers::for_datagrams(submitter).map_err(Refusal::of)?,
            flights: Vec::new(),
            free: Vec::new(),
        })
    }

    /// The request that receives on `socket` until it fails, is stopped or finds no buffer.
    pub fn receive(&self, socket: BorrowedFd<'_>) -> squeue::Entry {
        opcode::RecvMsgMulti::new(Fd(socket.as_raw_fd()), self.picture, DATAGRAM_GROUP).build()
    }

    pub fn received(&mut self, result: Result<u32, i32>, flags: u32) -> Received {
        self.buffers.received(result, flags)
    }

    /// Source and content of a datagram; `None` when it was cut off or its source is no internet address.
    pub fn read(&self, chunk: &Chunk) -> Option<(SocketAddr, &[u8])> {
        // SAFETY: the picture is never freed (1), and nobody writes it: the kernel copies it.
        let picture = unsafe { &*self.picture };
        let bytes = self.buffers.bytes(chunk);
        let message = RecvMsgOut::parse(bytes, picture).ok()?;
        let is_whole = !message.is_name_data_truncated() && !message.is_payload_truncated();
        let source = RawAddress::parse(message.name_data()).filter(|_| is_whole)?;
        // The content stands at the end.
        Some((source, &bytes[bytes.len() - message.payload_data().len()..]))
    }

    /// Gives a buffer back at once.
    pub fn release(&mut self, chunk: Chunk) {
        self.buffers.release(chunk);
        self.buffers.publish();
    }

    /// Puts a datagram into a flight: its number, and the request that sends it, with pointers into the flight.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        datagram: Box<OutgoingDatagram>,
        flags: i32,
    ) -> (u32, squeue::Entry) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            (self.flights.len() - 1) as u32
        });
        let flight = self.flights[place as usize].insert(Flight::new(datagram));
        let header = &raw const flight.header;
        let entry = opcode::SendMsg::new(Fd(socket.as_raw_fd()), header).flags(flags as u32).build();
        (place, entry)
    }

    /// Takes the datagram out of a flight that has ended.
    pub fn sent(&mut self, place: u32) -> Box<OutgoingDatagram> {
        self.free.push(place);
        self.flights[place as usize].take().expect("a send completes once").datagram
    }
}

impl Drop for Datagrams {
    /// What is under way is left to the kernel (2).
    fn drop(&mut self) {
        mem::forget(mem::take(&mut self.flights));
    }
}

impl Flight {
    fn new(datagram: Box<OutgoingDatagram>) -> Box<Self> {
        // SAFETY: all-zero is a valid msghdr and a valid iovec.
        let (header, piece) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let to = RawAddress::of(&datagram.to);
        let mut flight = Box::new(Self { datagram, to, piece, header });
        flight.piece = libc::iovec {
            iov_base: flight.datagram.bytes.as_mut_ptr().cast(),
            iov_len: flight.datagram.bytes.len(),
        };
        flight.header.msg_name = flight.to.as_ptr().cast_mut().cast();
        flight.header.msg_namelen = flight.to.bytes();
        flight.header.msg_iov = &raw mut flight.piece;
        flight.header.msg_iovlen = 1;
        flight
    }
}
