//! One io_uring ring for all sockets of a worker, and the memory that the kernel reads and writes.
//!
//! The ring is made by the thread that uses it (SINGLE_ISSUER) and completions are produced only while that thread
//! is inside of `enter` (DEFER_TASKRUN), so nothing interrupts a turn. Who owns which memory:
//!
//! 1. Receive buffers belong to the kernel from [`ReceiveBuffers::provide`] until a completion names them, and to
//!    the worker from then until [`Driver::release`]. With incremental consumption a buffer is parted: what a
//!    completion named is the worker's, the rest behind it is still the kernel's.
//! 2. Everything that is being sent is owned by `flights` until its completion came.
//! 3. The ring, the receive buffers and the event's counter are never freed: a worker lives as long as the
//!    process, and nobody but the kernel knows when its last access was.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode};
use memmap2::MmapMut;

use super::tag::{PLACES_MAX, Tag};
use super::{Completion, Outgoing, Received, Refusal, Wait};
use crate::limits::{
    COMPLETIONS_MAX, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, RECEIVE_BUFFERS_WHOLE, SEND_PIECES_MAX,
    SUBMISSIONS_MAX,
};
use crate::mesh::{Doors, Ticket};

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
    buffers: ReceiveBuffers,
    flights: Vec<Option<Box<Flight>>>,
    free_flights: Vec<u32>,
    event: Event,
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
            flights: Vec::new(),
            free_flights: Vec::new(),
            event: Event { descriptor: event.as_raw_fd(), counter: Box::leak(Box::new(0)) },
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

    /// Closes `socket` with the next submission.
    pub fn close(&mut self, socket: OwnedFd) {
        let entry = opcode::Close::new(Fd(socket.into_raw_fd())).build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: the entry has no pointers.
        unsafe { self.ask(entry, Tag::Ignored) }
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
            }
        }
        self.completions.sync();
    }

    /// What was received.
    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.buffers.bytes(chunk)
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

/// How the kernel uses receive buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffering {
    /// In pieces, where it can.
    Best,
    /// Each receive takes a whole one.
    Whole,
}

/// The one group of receive buffers of a ring.
const BUFFER_GROUP: u16 = 0;
/// `IOU_PBUF_RING_INC`: a buffer is consumed in pieces (Linux 6.12).
const INCREMENTAL: u16 = 2;

/// Bytes that were received and not yet released.
#[must_use = "a chunk that is not released keeps its buffer from the kernel"]
pub struct Chunk {
    buffer: u16,
    at: u32,
    bytes: u32,
}

/// The buffers that the kernel receives into, and the ring by which they are given to it.
struct ReceiveBuffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    count: u16,
    /// Position behind the last buffer given back.
    tail: u16,
    loans: Box<[Loan]>,
}

/// What is known of one buffer since the kernel got it.
#[derive(Clone, Copy, Default)]
struct Loan {
    /// Bytes that the kernel has filled.
    filled: u32,
    /// Chunks that have not been released.
    chunks: u32,
    /// The kernel has finished with it: it goes back when its last chunk does.
    finished: bool,
}

impl ReceiveBuffers {
    /// Registers the buffers, incremental where the kernel has it: then few are enough, because small requests of
    /// many connections share one.
    fn new(submitter: &Submitter<'_>, buffering: Buffering) -> io::Result<Self> {
        if buffering == Buffering::Whole {
            return Self::register(submitter, RECEIVE_BUFFERS_WHOLE, 0);
        }
        match Self::register(submitter, RECEIVE_BUFFERS, INCREMENTAL) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Self::new(submitter, Buffering::Whole)
            }
            result => result,
        }
    }

    fn register(submitter: &Submitter<'_>, count: u16, flags: u16) -> io::Result<Self> {
        let entries_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let entries: &'static mut MmapMut = Box::leak(Box::new(MmapMut::map_anon(entries_bytes)?));
        let address = entries.as_mut_ptr();
        // SAFETY: the mapping has room for `count` entries, starts at a page and is never unmapped (3).
        unsafe { submitter.register_buf_ring_with_flags(address as u64, count, BUFFER_GROUP, flags)? };
        let memory_bytes = usize::from(count) * RECEIVE_BUFFER_BYTES;
        let memory: &'static mut MmapMut = Box::leak(Box::new(MmapMut::map_anon(memory_bytes)?));
        let mut buffers = Self {
            entries: address.cast(),
            memory: memory.as_mut_ptr(),
            count,
            tail: 0,
            loans: vec![Loan::default(); usize::from(count)].into(),
        };
        (0..count).for_each(|buffer| buffers.provide(buffer));
        buffers.publish();
        Ok(buffers)
    }

    /// Makes a buffer the kernel's, from the next [`ReceiveBuffers::publish`] on.
    fn provide(&mut self, buffer: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: the place is below `count`. The kernel reads entries before the published tail only, and there are
        // as many entries as buffers, so this one is not among them. The mapping is zeroed, hence initialised.
        let entry = unsafe { &mut *self.entries.add(place) };
        entry.set_addr(self.start(buffer) as u64);
        entry.set_len(RECEIVE_BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.loans[usize::from(buffer)] = Loan::default();
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: `entries` is the base of the ring, which is initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries) }.cast_mut();
        // SAFETY: the tail is aligned, lives as long as the mapping (3), and is accessed atomically by both sides.
        unsafe { AtomicU16::from_ptr(tail) }.store(self.tail, Ordering::Release);
    }

    fn received(&mut self, result: Result<u32, i32>, flags: u32) -> Received {
        match (result, cqueue::buffer_select(flags)) {
            (Ok(bytes), Some(buffer)) => {
                let loan = &mut self.loans[usize::from(buffer)];
                let at = loan.filled;
                loan.filled += bytes;
                assert!(loan.filled as usize <= RECEIVE_BUFFER_BYTES, "the kernel stays inside of a buffer");
                loan.chunks += 1;
                loan.finished = !cqueue::buffer_more(flags);
                let chunk = Chunk { buffer, at, bytes };
                if bytes > 0 {
                    return Received::Bytes(chunk);
                }
                self.release(chunk);
                Received::End
            }
            (Ok(_), None) => Received::End,
            (Err(libc::ENOBUFS), _) => Received::NoBuffer,
            (Err(libc::ECANCELED), _) => Received::Canceled,
            (Err(number), _) => Received::Broken(number),
        }
    }

    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        assert!((chunk.at + chunk.bytes) as usize <= RECEIVE_BUFFER_BYTES, "checked when it was received");
        // SAFETY: the range is inside of its buffer, initialised (the mapping is zeroed), and by clause 1 the
        // worker's until the chunk, which is borrowed here, is released.
        unsafe {
            std::slice::from_raw_parts(self.start(chunk.buffer).add(chunk.at as usize), chunk.bytes as usize)
        }
    }

    fn release(&mut self, chunk: Chunk) {
        let loan = &mut self.loans[usize::from(chunk.buffer)];
        loan.chunks -= 1;
        if loan.chunks == 0 && loan.finished {
            self.provide(chunk.buffer);
        }
    }

    fn start(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < self.count, "the kernel names only buffers that it was given");
        // SAFETY: there are `count` buffers one behind the other.
        unsafe { self.memory.add(usize::from(buffer) * RECEIVE_BUFFER_BYTES) }
    }
}
