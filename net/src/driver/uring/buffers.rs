//! The memory that the kernel receives into, and the ring by which it is given to the kernel.
//!
//! 1. A buffer belongs to the kernel from [`ReceiveBuffers::provide`] until a completion names it, and to the worker from
//!    then until [`ReceiveBuffers::release`]. With incremental consumption a buffer is parted: what a completion named
//!    is the worker's, the rest behind it is still the kernel's.
//! 2. Neither the buffers nor their ring are ever freed.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{Submitter, cqueue};
use memmap2::MmapMut;

use crate::driver::Received;
use crate::limits::{
    RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, RECEIVE_BUFFERS_WHOLE, UDP_BUFFER_BYTES, UDP_BUFFERS,
};

/// How the kernel uses receive buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffering {
    /// In pieces, where it can.
    Best,
    /// Each receive takes a whole one.
    Whole,
}

/// The group that connections receive into.
pub const BUFFER_GROUP: u16 = 0;
/// The group that datagrams are received into, where there are any.
pub const DATAGRAM_GROUP: u16 = 1;
/// `IOU_PBUF_RING_INC`: a buffer is consumed in pieces (Linux 6.12).
const INCREMENTAL: u16 = 2;

/// Bytes that were received and not yet released.
#[must_use = "a chunk that is not released keeps its buffer from the kernel"]
pub struct Chunk {
    buffer: u16,
    at: u32,
    bytes: u32,
}

/// A group of buffers of so many bytes that the kernel receives into, and the ring by which they are given to it.
pub struct ReceiveBuffers<const BYTES: usize> {
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

impl ReceiveBuffers<UDP_BUFFER_BYTES> {
    /// Registers the buffers for datagrams: each takes a whole one, because the kernel cuts off what does not fit into the
    /// rest of a buffer.
    pub fn for_datagrams(submitter: &Submitter<'_>) -> io::Result<Self> {
        Self::register(submitter, DATAGRAM_GROUP, UDP_BUFFERS, 0)
    }
}

impl ReceiveBuffers<RECEIVE_BUFFER_BYTES> {
    /// Registers the buffers, incremental where the kernel has it: then few are enough, because small requests of
    /// many connections share one.
    pub fn new(submitter: &Submitter<'_>, buffering: Buffering) -> io::Result<Self> {
        if buffering == Buffering::Whole {
            return Self::register(submitter, BUFFER_GROUP, RECEIVE_BUFFERS_WHOLE, 0);
        }
        match Self::register(submitter, BUFFER_GROUP, RECEIVE_BUFFERS, INCREMENTAL) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Self::new(submitter, Buffering::Whole)
            }
            result => result,
        }
    }
}

impl<const BYTES: usize> ReceiveBuffers<BYTES> {
    fn register(submitter: &Submitter<'_>, group: u16, count: u16, flags: u16) -> io::Result<Self> {
        let entries_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let entries: &'static mut MmapMut = Box::leak(Box::new(MmapMut::map_anon(entries_bytes)?));
        let address = entries.as_mut_ptr();
        // SAFETY: the mapping has room for `count` entries, starts at a page and is never unmapped (2).
        unsafe { submitter.register_buf_ring_with_flags(address as u64, count, group, flags)? };
        let memory_bytes = usize::from(count) * BYTES;
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
        entry.set_len(BYTES as u32);
        entry.set_bid(buffer);
        self.loans[usize::from(buffer)] = Loan::default();
        self.tail = self.tail.wrapping_add(1);
    }

    pub fn publish(&mut self) {
        // SAFETY: `entries` is the base of the ring, which is initialised.
        let tail = unsafe { BufRingEntry::tail(self.entries) }.cast_mut();
        // SAFETY: the tail is aligned, lives as long as the mapping (2), and is accessed atomically by both sides.
        unsafe { AtomicU16::from_ptr(tail) }.store(self.tail, Ordering::Release);
    }

    pub fn received(&mut self, result: Result<u32, i32>, flags: u32) -> Received {
        match (result, cqueue::buffer_select(flags)) {
            (Ok(bytes), Some(buffer)) => {
                let loan = &mut self.loans[usize::from(buffer)];
                let at = loan.filled;
                loan.filled += bytes;
                assert!(loan.filled as usize <= BYTES, "the kernel stays inside of a buffer");
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
            // A signal that came between is no reason to close either.
            (Err(libc::ENOBUFS | libc::EINTR), _) => Received::NoBuffer,
            (Err(libc::ECANCELED), _) => Received::Canceled,
            (Err(number), _) => Received::Broken(number),
        }
    }

    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        assert!((chunk.at + chunk.bytes) as usize <= BYTES, "checked when it was received");
        // SAFETY: the range is inside of its buffer, initialised (the mapping is zeroed), and by clause 1 the
        // worker's until the chunk, which is borrowed here, is released.
        unsafe {
            std::slice::from_raw_parts(self.start(chunk.buffer).add(chunk.at as usize), chunk.bytes as usize)
        }
    }

    pub fn bytes_mut(&mut self, chunk: &Chunk) -> &mut [u8] {
        assert!((chunk.at + chunk.bytes) as usize <= RECEIVE_BUFFER_BYTES, "checked when it was received");
        // SAFETY: as in `bytes`. No other slice of it lives, because this one borrows all buffers mutably, and the kernel
        // writes only behind what it has told (1).
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start(chunk.buffer).add(chunk.at as usize),
                chunk.bytes as usize,
            )
        }
    }

    pub fn release(&mut self, chunk: Chunk) {
        let loan = &mut self.loans[usize::from(chunk.buffer)];
        loan.chunks -= 1;
        if loan.chunks == 0 && loan.finished {
            self.provide(chunk.buffer);
        }
    }

    fn start(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < self.count, "the kernel names only buffers that it was given");
        // SAFETY: there are `count` buffers one behind the other.
        unsafe { self.memory.add(usize::from(buffer) * BYTES) }
    }
}
