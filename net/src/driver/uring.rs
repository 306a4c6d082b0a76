//! One io_uring ring for all sockets of a worker, and the memory that the kernel reads and writes.
//!
//! The ring is made by the thread that uses it (SINGLE_ISSUER) and completions are produced only while that thread
//! is inside of `enter` (DEFER_TASKRUN), so nothing interrupts a turn. Who owns which memory:
//!
//! 1. Receive buffers are the kernel's or the worker's in turn; `buffers` has the rules.
//! 2. Everything that is being sent is owned by `flights` until its completion came.
//! 3. The ring, the receive buffers, the event's counter and the alarm's time are never freed: a worker lives as long as the
//!    process, and nobody but the kernel knows when its last access was.
#![allow(unsafe_code)]

pub(super) mod buffers;
mod datagrams;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode};

use super::tag::{PLACES_MAX, Tag};
use super::{Completion, Outgoing, OutgoingDatagram, Refusal, Wait};
use crate::limits::{COMPLETIONS_MAX, RECEIVE_BUFFER_BYTES, SEND_PIECES_MAX, SUBMISSIONS_MAX};
use crate::mesh::{Doors, Ticket};
pub use buffers::Chunk;
use buffers::{BUFFER_GROUP, Buffering, ReceiveBuffers};
use datagrams::Datagrams;

/// The ring of one worker. Stays on the thread that made it.
pub struct Driver {
    submitter: Submitter<'static>,
    submissions: SubmissionQueue<'static>,
    completions: CompletionQueue<'static>,
    ring: RawFd,
    /// Requests that found the submission queue full, oldest first.
    postponed: VecDeque<Entry>,
    /// Sends since the last [`Driver::take`] whose completion comes within the submission itself.
    prompt_sends: usize,
    buffers: ReceiveBuffers<RECEIVE_BUFFER_BYTES>,
    datagrams: Option<Box<Datagrams>>,
    flights: Vec<Option<Box<Flight>>>,
    free_flights: Vec<u32>,
    event: Event,
    alarm: Alarm,
    /// Whether other rings can be woken by message; else by event.
    messages_work: bool,
}

/// A send under way. Boxed, because the kernel has pointers into it.
struct Flight {
    ticket: Ticket,
    outgoing: Box<Outgoing>,
    pieces: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// The read that wakes this ring when a thread without a ring signals the worker's event.
struct Event {
    descriptor: RawFd,
    counter: *mut u64,
}

/// The one timer of a ring. It stays with the kernel over many turns, where a limit on each wait would be set up and
/// taken down every time.
struct Alarm {
    time: *mut Timespec,
    is_set: bool,
}

impl Driver {
    /// Makes the ring of the calling thread, with `event` always being read.
    pub fn new(event: BorrowedFd<'_>) -> Result<Self, Refusal> {
        Self::with_buffering(event, Buffering::Best)
    }

    /// As [`Driver::new`], as if the kernel had no more than `buffering`.
    pub(super) fn with_buffering(event: BorrowedFd<'_>, buffering: Buffering) -> Result<Self, Refusal> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS_MAX)
            .build(SUBMISSIONS_MAX)
            .map_err(Refusal::of)?;
        let ring: &'static mut IoUring = Box::leak(Box::new(ring));
        let descriptor = ring.as_raw_fd();
        let (mut submitter, submissions, completions) = ring.split();
        if let Err(error) = submitter.register_ring_fd() {
            tracing::debug!(%error, "the ring's descriptor is looked up in every call");
        }
        let buffers = ReceiveBuffers::new(&submitter, buffering).map_err(Refusal::of)?;
        let mut driver = Self {
            submitter,
            submissions,
            completions,
            ring: descriptor,
            postponed: VecDeque::new(),
            prompt_sends: 0,
            buffers,
            datagrams: None,
            flights: Vec::new(),
            free_flights: Vec::new(),
            event: Event { descriptor: event.as_raw_fd(), counter: Box::leak(Box::new(0)) },
            alarm: Alarm { time: Box::leak(Box::new(Timespec::new())), is_set: false },
            messages_work: true,
        };
        driver.await_event();
        Ok(driver)
    }

    /// The ring's descriptor, for the wake-ups of other workers.
    pub fn ring(&self) -> RawFd {
        self.ring
    }

    /// Accepts connections on `socket` until it fails or is stopped.
    pub fn accept(&mut self, listener: u32, socket: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(Fd(socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: the entry has no pointers.
        unsafe { self.ask(entry, Tag::Accept(listener)) }
    }

    /// Ends [`Driver::accept`]; its last completion says so.
    pub fn stop_accepting(&mut self, listener: u32) {
        self.cancel(Tag::Accept(listener));
    }

    /// Receives on `socket` until it fails, ends, is stopped or finds no buffer.
    pub fn receive(&mut self, ticket: Ticket, socket: BorrowedFd<'_>) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), BUFFER_GROUP).build();
        // SAFETY: the entry has no pointers; the buffers of the group live forever (3).
        unsafe { self.ask(entry, Tag::Receive(ticket)) }
    }

    /// Ends [`Driver::receive`]; its last completion says so. Bytes may come before it.
    pub fn stop_receiving(&mut self, ticket: Ticket) {
        self.cancel(Tag::Receive(ticket));
    }

    /// Sends what `outgoing` has left; returns the number of the flight. A `prompt` send takes what fits without
    /// waiting, so that its completion is there when the submission returns; any other ends when everything is
    /// sent or the connection broke.
    pub fn send(
        &mut self,
        ticket: Ticket,
        socket: BorrowedFd<'_>,
        outgoing: Box<Outgoing>,
        prompt: bool,
    ) -> u32 {
        let place = self.free_flights.pop().unwrap_or_else(|| {
            self.flights.push(None);
            u32::try_from(self.flights.len() - 1)
                .ok()
                .filter(|p| *p < PLACES_MAX)
                .expect("places have 28 bits")
        });
        let flight = self.flights[place as usize].insert(Flight::new(ticket, outgoing));
        let wait = if prompt { libc::MSG_DONTWAIT } else { libc::MSG_WAITALL };
        let entry = flight.entry(Fd(socket.as_raw_fd()), wait | libc::MSG_NOSIGNAL);
        self.prompt_sends += usize::from(prompt);
        // SAFETY: the pointers lead into the flight, which stays where it is until its completion (2).
        unsafe { self.ask(entry, Tag::Send(place)) }
        place
    }

    /// Ends a send; its completion still comes.
    pub fn stop_sending(&mut self, flight: u32) {
        self.cancel(Tag::Send(flight));
    }

    /// Receives datagrams on `socket`, the one of that number, until that fails, is stopped or finds no buffer.
    ///
    /// Errors: the first time, when the kernel refuses the buffers.
    pub fn receive_datagrams(&mut self, number: u32, socket: BorrowedFd<'_>) -> Result<(), Refusal> {
        let datagrams = match &mut self.datagrams {
            Some(datagrams) => datagrams,
            none => none.insert(Box::new(Datagrams::new(&self.submitter)?)),
        };
        let entry = datagrams.receive(socket);
        // SAFETY: what the entry points to, and the buffers of its group, live forever (3).
        unsafe { self.ask(entry, Tag::ReceiveDatagrams(number)) }
        Ok(())
    }

    /// Ends [`Driver::receive_datagrams`]; its last completion says so.
    pub fn stop_receiving_datagrams(&mut self, number: u32) {
        self.cancel(Tag::ReceiveDatagrams(number));
    }

    /// Source and content of what was received; `None` when it was cut off.
    pub fn datagram(&self, chunk: &Chunk) -> Option<(SocketAddr, &[u8])> {
        self.datagrams.as_ref().expect("something was received").read(chunk)
    }

    /// Gives the buffer of a datagram back to the kernel.
    pub fn release_datagram(&mut self, chunk: Chunk) {
        self.datagrams.as_mut().expect("something was received").release(chunk);
    }

    /// Sends a datagram. A `prompt` send fails when the socket has no room, any other waits for it.
    pub fn send_datagram(&mut self, socket: BorrowedFd<'_>, datagram: Box<OutgoingDatagram>, prompt: bool) {
        let wait = if prompt { libc::MSG_DONTWAIT } else { 0 };
        let datagrams = self.datagrams.as_mut().expect("what is answered was received before");
        let (place, entry) = datagrams.send(socket, datagram, wait | libc::MSG_NOSIGNAL);
        self.prompt_sends += usize::from(prompt);
        // SAFETY: the pointers lead into the flight, which stays where it is until its completion (2).
        unsafe { self.ask(entry, Tag::SendDatagram(place)) }
    }

    /// Closes `socket` with the next submission.
    pub fn close(&mut self, socket: OwnedFd) {
        let entry = opcode::Close::new(Fd(socket.into_raw_fd())).build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: the entry has no pointers.
        unsafe { self.ask(entry, Tag::Ignored) }
    }

    /// Sets the alarm to `time` from now, unless it is set already.
    pub fn set_alarm(&mut self, time: impl FnOnce() -> Duration) {
        if std::mem::replace(&mut self.alarm.is_set, true) {
            return;
        }
        // SAFETY: the time is never freed (3); the kernel read it when it took the request that has completed.
        unsafe { *self.alarm.time = Timespec::from(time()) };
        let entry = opcode::Timeout::new(self.alarm.time).build();
        // SAFETY: the time is never freed (3), and is written only while no request of it is under way.
        unsafe { self.ask(entry, Tag::Alarm) }
    }

    /// Wakes `worker` with the next submission; at once where rings can't send messages.
    pub fn wake(&mut self, worker: u16, doors: &Doors) {
        let Some(ring) = doors.ring(worker).filter(|_| self.messages_work) else {
            return crate::sys::signal_event(doors.event(worker));
        };
        let message = opcode::MsgRingData::new(Fd(ring), 0, Tag::Woken.to_bits(), None).build();
        // SAFETY: the entry has no pointers.
        unsafe { self.ask(message.flags(Flags::SKIP_SUCCESS), Tag::Wake(worker)) }
    }

    /// Acts as if rings could not send messages.
    #[cfg(test)]
    pub(super) fn never_send_messages(&mut self) {
        self.messages_work = false;
    }

    /// Hands all requests to the kernel, lets it do its deferred work and waits as `wait` says. One system call,
    /// none when there is nothing to hand over and nothing to wait for.
    pub fn submit(&mut self, wait: Wait) {
        self.buffers.publish();
        self.push_postponed();
        self.submissions.sync();
        let result = match wait {
            // A wait for more completions than fit would never end early.
            Wait::UpTo(time)
                if self.prompt_sends < COMPLETIONS_MAX as usize / 2 && self.postponed.is_empty() =>
            {
                let time = Timespec::from(time);
                self.submitter.submit_with_args(self.prompt_sends + 1, &SubmitArgs::new().timespec(&time))
            }
            Wait::Alarm if self.prompt_sends < COMPLETIONS_MAX as usize / 2 && self.postponed.is_empty() => {
                self.submitter.submit_and_wait(self.prompt_sends + 1)
            }
            Wait::No if self.is_quiet() => Ok(0),
            _ => self.submitter.submit(),
        };
        self.submissions.sync();
        match result.map_err(|error| error.raw_os_error().unwrap_or(0)) {
            // The time is over, a signal came, or completions have to be taken before more can be asked.
            Ok(_) | Err(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
            Err(number) => panic!("the ring failed: {}", io::Error::from_raw_os_error(number)),
        }
    }

    /// Whether something has come, or would be there after a [`Driver::submit`], beside the sends that complete by
    /// themselves. No system call.
    #[inline]
    pub fn has_news(&mut self) -> bool {
        self.completions.sync();
        self.completions.len() > self.prompt_sends || self.submissions.taskrun()
    }

    /// Moves every completion that is there into `into`.
    pub fn take(&mut self, into: &mut VecDeque<Completion>, doors: &Doors) {
        self.prompt_sends = 0;
        self.completions.sync();
        while let Some(entry) = self.completions.next() {
            let more = cqueue::more(entry.flags());
            let result = if entry.result() < 0 { Err(-entry.result()) } else { Ok(entry.result() as u32) };
            match Tag::from_bits(entry.user_data()) {
                Tag::Ignored | Tag::Woken => {}
                Tag::Event => self.await_event(),
                Tag::Alarm => self.alarm.is_set = false,
                Tag::Wake(worker) => {
                    tracing::debug!(?result, "rings can't send messages here; events wake workers");
                    self.messages_work = false;
                    crate::sys::signal_event(doors.event(worker));
                }
                Tag::Accept(listener) => {
                    let socket = result.map_err(io::Error::from_raw_os_error);
                    // SAFETY: the kernel has just opened this descriptor for us.
                    let socket = socket.map(|number| unsafe { OwnedFd::from_raw_fd(number as RawFd) });
                    into.push_back(Completion::Accepted { listener, socket, more });
                }
                Tag::Receive(ticket) => {
                    let received = self.buffers.received(result, entry.flags());
                    into.push_back(Completion::Received { ticket, received, more });
                }
                Tag::Send(place) => {
                    let flight = self.flights[place as usize].take().expect("a send completes once");
                    self.free_flights.push(place);
                    let Flight { ticket, mut outgoing, .. } = *flight;
                    let result = result.map(|bytes| bytes as usize);
                    outgoing.advance(result.unwrap_or(0));
                    into.push_back(Completion::Sent { ticket, outgoing, result });
                }
                Tag::ReceiveDatagrams(socket) => {
                    let datagrams = self.datagrams.as_mut().expect("it was asked for");
                    let received = datagrams.received(result, entry.flags());
                    into.push_back(Completion::Datagram { socket, received, more });
                }
                Tag::SendDatagram(place) => {
                    let datagram = self.datagrams.as_mut().expect("it was asked for").sent(place);
                    let result = result.map(|bytes| bytes as usize);
                    into.push_back(Completion::DatagramSent { datagram, result });
                }
            }
        }
        self.completions.sync();
    }

    /// What was received.
    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.buffers.bytes(chunk)
    }

    /// What was received, to be decrypted in place.
    pub fn bytes_mut(&mut self, chunk: &Chunk) -> &mut [u8] {
        self.buffers.bytes_mut(chunk)
    }

    /// Gives a buffer back to the kernel, with the next submission.
    pub fn release(&mut self, chunk: Chunk) {
        self.buffers.release(chunk);
    }

    /// Nothing to hand over, and nothing that the kernel could do for us.
    fn is_quiet(&self) -> bool {
        self.submissions.is_empty() && !self.submissions.taskrun() && !self.submissions.cq_overflow()
    }

    fn cancel(&mut self, tag: Tag) {
        let entry = opcode::AsyncCancel::new(tag.to_bits()).build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: the entry has no pointers.
        unsafe { self.ask(entry, Tag::Ignored) }
    }

    fn await_event(&mut self) {
        let counter_bytes = size_of::<u64>() as u32;
        let entry =
            opcode::Read::new(Fd(self.event.descriptor), self.event.counter.cast(), counter_bytes).build();
        // SAFETY: the counter is never freed (3) and nothing else accesses it.
        unsafe { self.ask(entry, Tag::Event) }
    }

    /// Queues a request; past a full queue it is kept for the next submission.
    ///
    /// # Safety
    ///
    /// Every pointer in the entry stays valid until the request's last completion.
    unsafe fn ask(&mut self, entry: Entry, tag: Tag) {
        let entry = entry.user_data(tag.to_bits());
        if self.submissions.is_full() {
            self.submit(Wait::No);
        }
        // SAFETY: the caller's promise; kept entries keep it, because they are pushed or never seen by the kernel.
        if !self.postponed.is_empty() || unsafe { self.submissions.push(&entry) }.is_err() {
            self.postponed.push_back(entry);
        }
    }

    fn push_postponed(&mut self) {
        while let Some(entry) = self.postponed.pop_front() {
            // SAFETY: promised to `ask` when the entry was kept.
            if unsafe { self.submissions.push(&entry) }.is_err() {
                return self.postponed.push_front(entry);
            }
        }
    }
}

impl Drop for Driver {
    /// What is under way is left to the kernel (3).
    fn drop(&mut self) {
        mem::forget(mem::take(&mut self.flights));
    }
}

impl Flight {
    fn new(ticket: Ticket, outgoing: Box<Outgoing>) -> Box<Self> {
        // SAFETY: all-zero is a valid msghdr: no name, no pieces, no control data.
        let header = unsafe { mem::zeroed() };
        Box::new(Self { ticket, outgoing, pieces: Vec::new(), header })
    }

    /// The request that sends what is left, with pointers into `self`. One piece, the usual case, needs no header.
    fn entry(&mut self, socket: Fd, flags: i32) -> Entry {
        let mut pieces = self.outgoing.pieces();
        let first = pieces.next().unwrap_or_default();
        let Some(second) = pieces.next() else {
            let length = u32::try_from(first.len()).unwrap_or(u32::MAX);
            return opcode::Send::new(socket, first.as_ptr(), length).flags(flags).build();
        };
        let all = [first, second].into_iter().chain(pieces).take(SEND_PIECES_MAX);
        self.pieces = all
            .map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() })
            .collect();
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.pieces.len();
        opcode::SendMsg::new(socket, &raw const self.header).flags(flags as u32).build()
    }
}
