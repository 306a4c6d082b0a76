//! One io_uring ring with all the sockets of one thread: multishot receives into provided buffers, at most one send
//! in flight per connection, one system call per turn. It knows bytes, not requests; a [`Peer`] decides.
//!
//! This is the only place where the load generator touches memory that the kernel reads or writes. The kernel reads
//! `Connection::flying` while a send is in flight and writes into `BufferPool::memory` while a receive is armed; both
//! stay where they are until the ring has been cancelled and closed (`Drop`).
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use memmap2::MmapMut;

/// What decides: takes what a connection received and appends what it should send.
pub trait Peer {
    /// `bytes` arrived on `connection`. What is appended to `output` is sent at the end of the turn.
    fn handle_bytes(&mut self, connection: usize, bytes: &[u8], output: &mut Vec<u8>);

    /// `connection` ended: by the other side (`None`) or with an error. Nothing is sent or received on it any more,
    /// and its number may be given to a later connection.
    fn handle_close(&mut self, connection: usize, error: Option<io::Error>);
}

/// How long a turn may sleep when nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// At most this long.
    AtMost(Duration),
}

/// A ring and its sockets; lives on the thread that made it.
pub struct Ring {
    uring: IoUring,
    buffers: BufferPool,
    connections: Vec<Connection>,
    /// Numbers of connections that have ended completely.
    vacant: Vec<usize>,
    /// Connections with output that has not been offered to the kernel.
    unsent: VecDeque<usize>,
    /// The completions of one turn, copied out so that handling them may submit.
    completions: Vec<cqueue::Entry>,
    listener: Option<OwnedFd>,
}

struct Connection {
    socket: Option<OwnedFd>,
    /// Being filled by the peer.
    output: Vec<u8>,
    /// Being read by the kernel while `sending`; not touched meanwhile.
    flying: Vec<u8>,
    flown: usize,
    sending: bool,
    receiving: bool,
    closed: bool,
}

impl Ring {
    /// A ring for about `connections` sockets. Fails where io_uring is forbidden or older than Linux 6.1.
    pub fn new(connections: usize) -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(SUBMISSIONS * 8)
            .build(SUBMISSIONS)?;
        let buffers = BufferPool::register(&uring, connections.next_power_of_two().clamp(64, 1024))?;
        Ok(Ring {
            uring,
            buffers,
            connections: Vec::with_capacity(connections),
            vacant: Vec::new(),
            unsent: VecDeque::new(),
            completions: Vec::new(),
            listener: None,
        })
    }

    /// Takes over a connected socket, starts to receive on it and returns its number.
    pub fn add(&mut self, socket: OwnedFd) -> io::Result<usize> {
        let number = self.vacant.pop().unwrap_or(self.connections.len());
        if number == self.connections.len() {
            self.connections.push(Connection::vacant());
        }
        let connection = &mut self.connections[number];
        *connection = Connection::vacant();
        connection.socket = Some(socket);
        connection.closed = false;
        self.receive(number)?;
        Ok(number)
    }

    /// Accepts every connection that arrives on `listener` from now on.
    pub fn listen(&mut self, listener: OwnedFd) -> io::Result<()> {
        self.listener = Some(listener);
        self.accept()
    }

    /// Lets `encode` append to the output of a connection; it is sent at the next turn.
    pub fn output(&mut self, number: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        let connection = &mut self.connections[number];
        let was_empty = connection.output.is_empty();
        encode(&mut connection.output);
        if was_empty && !connection.output.is_empty() {
            self.unsent.push_back(number);
        }
    }

    /// Sends what is waiting, sleeps as `wait` allows, and hands everything that arrived to `peer`. One system call.
    pub fn turn(&mut self, wait: Wait, peer: &mut impl Peer) -> io::Result<()> {
        self.send_waiting()?;
        self.enter(wait)?;
        let mut completions = std::mem::take(&mut self.completions);
        completions.extend(self.uring.completion());
        for completion in &completions {
            self.handle_completion(completion, peer)?;
        }
        completions.clear();
        self.completions = completions;
        self.buffers.publish();
        Ok(())
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let entered = match wait {
            Wait::Poll => {
                const GETEVENTS: u32 = 1;
                let ready = self.uring.submission().len();
                let ready = u32::try_from(ready).expect("a submission queue has at most SUBMISSIONS entries");
                // SAFETY: no argument is passed to the kernel; the queued entries point into memory that outlives them.
                unsafe { self.uring.submitter().enter::<()>(ready, 0, GETEVENTS, None) }
            }
            Wait::AtMost(limit) => {
                let limit = Timespec::from(limit);
                self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            }
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn handle_completion(&mut self, completion: &cqueue::Entry, peer: &mut impl Peer) -> io::Result<()> {
        let number = (completion.user_data() & u64::from(u32::MAX)) as usize;
        match completion.user_data() >> 32 {
            RECEIVED => self.handle_received(number, completion, peer),
            SENT => self.handle_sent(number, completion.result(), peer),
            ACCEPTED => self.handle_accepted(completion),
            tag => unreachable!("no operation is submitted with tag {tag}"),
        }
    }

    fn handle_received(
        &mut self,
        number: usize,
        completion: &cqueue::Entry,
        peer: &mut impl Peer,
    ) -> io::Result<()> {
        let more = cqueue::more(completion.flags());
        self.connections[number].receiving = more;
        let received = match outcome(completion.result()) {
            Ok(received) => received,
            Err(error) if error.raw_os_error() == Some(NO_BUFFERS) || is_interrupted(&error) => {
                return self.receive(number);
            }
            Err(error) => {
                self.close(number, Some(error), peer);
                return Ok(());
            }
        };
        if received == 0 {
            self.close(number, None, peer);
            return Ok(());
        }
        let buffer =
            cqueue::buffer_select(completion.flags()).expect("a receive with bytes names its buffer");
        let connection = &mut self.connections[number];
        if !connection.closed {
            let was_empty = connection.output.is_empty();
            peer.handle_bytes(number, self.buffers.bytes(buffer, received), &mut connection.output);
            if was_empty && !connection.output.is_empty() {
                self.unsent.push_back(number);
            }
        }
        self.buffers.give_back(buffer);
        if more { Ok(()) } else { self.receive(number) }
    }

    fn handle_sent(&mut self, number: usize, result: i32, peer: &mut impl Peer) -> io::Result<()> {
        let connection = &mut self.connections[number];
        connection.sending = false;
        match outcome(result) {
            Ok(sent) => connection.flown += sent,
            Err(error) if is_interrupted(&error) => {}
            Err(error) => {
                self.close(number, Some(error), peer);
                return Ok(());
            }
        }
        if connection.closed {
            self.vacate(number);
        } else if connection.flown < connection.flying.len() || !connection.output.is_empty() {
            self.unsent.push_back(number);
        }
        Ok(())
    }

    fn handle_accepted(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let more = cqueue::more(completion.flags());
        let accepted = outcome(completion.result())?;
        let descriptor = i32::try_from(accepted).expect("descriptors fit an i32");
        // SAFETY: the kernel has just made this descriptor for this completion; nothing else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        self.add(socket)?;
        if more { Ok(()) } else { self.accept() }
    }

    fn close(&mut self, number: usize, error: Option<io::Error>, peer: &mut impl Peer) {
        if !self.connections[number].closed {
            self.connections[number].closed = true;
            peer.handle_close(number, error);
        }
        self.vacate(number);
    }

    /// Gives the socket and the number back once the kernel has finished with the connection.
    fn vacate(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        if connection.sending || connection.receiving || connection.socket.is_none() {
            return;
        }
        connection.socket = None;
        self.vacant.push(number);
    }

    fn send_waiting(&mut self) -> io::Result<()> {
        while let Some(number) = self.unsent.pop_front() {
            let connection = &mut self.connections[number];
            if connection.sending || connection.closed {
                continue;
            }
            if connection.flown == connection.flying.len() {
                connection.flying.clear();
                std::mem::swap(&mut connection.flying, &mut connection.output);
                connection.flown = 0;
            }
            let rest = &connection.flying[connection.flown..];
            let length = u32::try_from(rest.len()).expect("a turn's output stays far below 4 GiB");
            if length == 0 {
                continue;
            }
            let socket = connection.socket.as_ref().expect("an open connection has its socket");
            let send = opcode::Send::new(Fd(socket.as_raw_fd()), rest.as_ptr(), length).build();
            connection.sending = true;
            self.submit(send, SENT, number)?;
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> io::Result<()> {
        let connection = &mut self.connections[number];
        if connection.closed {
            return Ok(());
        }
        let socket = connection.socket.as_ref().expect("an open connection has its socket");
        let receive = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), BufferPool::GROUP).build();
        connection.receiving = true;
        self.submit(receive, RECEIVED, number)
    }

    fn accept(&mut self) -> io::Result<()> {
        let listener = self.listener.as_ref().expect("accept is armed after listen only");
        let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
        self.submit(accept, ACCEPTED, 0)
    }

    fn submit(&mut self, entry: squeue::Entry, tag: u64, number: usize) -> io::Result<()> {
        let number = u64::try_from(number).expect("a usize fits a u64");
        let entry = entry.user_data(tag << 32 | number);
        loop {
            // SAFETY: a send points into `flying`, which is left alone while `sending`; a receive points at the buffer
            // pool; `Drop` ends every operation before either memory goes away.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.uring.submit()?;
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may still write into the pool or read an output: it must let go before they are freed.
        let let_go = match self.uring.submitter().register_sync_cancel(None, CancelBuilder::any()) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if !let_go {
            for connection in &mut self.connections {
                std::mem::forget(std::mem::take(&mut connection.flying));
            }
            self.buffers.leak();
        }
    }
}

impl Connection {
    fn vacant() -> Connection {
        Connection {
            socket: None,
            output: Vec::new(),
            flying: Vec::new(),
            flown: 0,
            sending: false,
            receiving: false,
            closed: true,
        }
    }
}

/// The provided buffers: one mapping with the kernel's ring of entries first, then the buffers.
///
/// ```text
/// | entries: count x 16 bytes, page aligned | buffer 0 | buffer 1 | ... | each BUFFER_BYTES
/// ```
struct BufferPool {
    memory: Option<MmapMut>,
    count: u16,
    /// Entries given to the kernel so far, modulo 2^16; `publish` shows it.
    tail: u16,
}

impl BufferPool {
    const GROUP: u16 = 0;

    fn register(uring: &IoUring, count: usize) -> io::Result<BufferPool> {
        assert!(count.is_power_of_two() && count <= 1024, "the kernel masks positions with count - 1");
        let memory = MmapMut::map_anon(ENTRIES_BYTES_MAX + count * BUFFER_BYTES)?;
        let address = u64::try_from(memory.as_ptr().addr()).expect("addresses fit a u64");
        let count = u16::try_from(count).expect("checked above");
        let mut pool = BufferPool { memory: Some(memory), count, tail: 0 };
        // SAFETY: the mapping is page aligned, holds `count` entries, and is kept until the ring is closed or leaked.
        unsafe { uring.submitter().register_buf_ring_with_flags(address, count, BufferPool::GROUP, 0)? };
        for buffer in 0..count {
            pool.give_back(buffer);
        }
        pool.publish();
        Ok(pool)
    }

    /// The first `length` bytes of a buffer that the kernel has filled and not got back yet.
    fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(buffer < self.count && length <= BUFFER_BYTES, "the kernel stays within the pool");
        let start = ENTRIES_BYTES_MAX + usize::from(buffer) * BUFFER_BYTES;
        &self.memory()[start..start + length]
    }

    /// Queues a buffer for the kernel; it may be written to after the next `publish`.
    fn give_back(&mut self, buffer: u16) {
        assert!(buffer < self.count, "only buffers of this pool come back");
        let address = self.memory()[ENTRIES_BYTES_MAX + usize::from(buffer) * BUFFER_BYTES..].as_ptr().addr();
        let position = usize::from(self.tail & (self.count - 1));
        let memory = self.memory.as_mut().expect("the pool is leaked on drop only");
        // SAFETY: `position` is below `count`, so the entry is inside the mapping, aligned to 16 bytes. The kernel does
        // not read it before `publish` shows it, and `resv` of entry 0 (the tail) is not among the fields set here.
        let entry = unsafe { &mut *memory.as_mut_ptr().cast::<BufRingEntry>().add(position) };
        entry.set_addr(u64::try_from(address).expect("addresses fit a u64"));
        entry.set_len(u32::try_from(BUFFER_BYTES).expect("a small constant"));
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the queued buffers to the kernel.
    fn publish(&mut self) {
        let memory = self.memory.as_mut().expect("the pool is leaked on drop only");
        // SAFETY: the mapping starts with the entries, whose first one holds the tail; it is 2-byte aligned and written
        // by this thread only.
        unsafe {
            let tail = BufRingEntry::tail(memory.as_ptr().cast::<BufRingEntry>()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn memory(&self) -> &MmapMut {
        self.memory.as_ref().expect("the pool is leaked on drop only")
    }

    fn leak(&mut self) {
        std::mem::forget(self.memory.take());
    }
}

fn outcome(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// A signal came between; what was asked for is asked for again.
fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// Reasons for `enter` to come back that are no failure: the time is over, a signal, completions to be taken first.
fn is_passing(error: &io::Error) -> bool {
    const TIMER_EXPIRED: i32 = 62;
    matches!(error.raw_os_error(), Some(TIMER_EXPIRED))
        || matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy)
}

const SUBMISSIONS: u32 = 1024;
const BUFFER_BYTES: usize = 16 * 1024;
/// Room for 1024 entries of 16 bytes; a whole number of pages.
const ENTRIES_BYTES_MAX: usize = 1024 * size_of::<BufRingEntry>();
const NO_BUFFERS: i32 = 105;

const RECEIVED: u64 = 0;
const SENT: u64 = 1;
const ACCEPTED: u64 = 2;

const _: () = assert!(size_of::<BufRingEntry>() == 16);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Sends every byte back and remembers the end.
    struct Mirror {
        closed: bool,
    }

    impl Peer for Mirror {
        fn handle_bytes(&mut self, _connection: usize, bytes: &[u8], output: &mut Vec<u8>) {
            output.extend_from_slice(bytes);
        }
        fn handle_close(&mut self, _connection: usize, error: Option<io::Error>) {
            assert!(error.is_none(), "{error:?}");
            self.closed = true;
        }
    }

    #[test]
    fn mirrors_more_bytes_than_all_buffers_hold() {
        let (near, far) = UnixStream::pair().unwrap();
        let total = 4 << 20;
        let client = std::thread::spawn(move || {
            let sent: Vec<u8> = (0..total).map(|i: u32| (i % 251) as u8).collect();
            let mut writer = far.try_clone().unwrap();
            let copy = sent.clone();
            let writing = std::thread::spawn(move || writer.write_all(&copy).unwrap());
            let mut back = vec![0; sent.len()];
            let mut reader = far;
            reader.read_exact(&mut back).unwrap();
            writing.join().unwrap();
            assert!(sent == back, "the bytes came back changed");
        });
        let mut ring = Ring::new(1).unwrap();
        ring.add(near.into()).unwrap();
        let mut mirror = Mirror { closed: false };
        while !mirror.closed {
            ring.turn(Wait::AtMost(Duration::from_secs(5)), &mut mirror).unwrap();
        }
        client.join().unwrap();
    }

    #[test]
    fn drops_with_operations_in_flight() {
        let (near, _far) = UnixStream::pair().unwrap();
        let mut ring = Ring::new(1).unwrap();
        let number = ring.add(near.into()).unwrap();
        ring.output(number, |output| output.resize(8 << 20, b'x'));
        ring.turn(Wait::Poll, &mut Mirror { closed: false }).unwrap();
    }
}
