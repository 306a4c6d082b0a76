//! The queues between workers: writes to other workers' shards, their outcomes, and new connections.
//!
//! One bounded queue with one producer and one consumer per ordered pair of workers. A message is a whole batch,
//! and a batch goes back to its sender with its outcomes filled in, so that nothing is allocated on the way.
//! What finds a queue full waits at the sender, in order, and is tried again in the next turn; every worker
//! empties its queues in every turn whether or not its own sends get through, so two full queues can't block
//! each other.

pub mod batch;
pub mod bell;
pub mod queue;

/// The primitives of the queue and the bell; `tests/mesh_model.rs` puts loom's in their place.
mod sync {
    pub use std::sync::Arc;
    pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

    pub use crossbeam_utils::CachePadded;

    /// loom's shape of a cell, over the real one.
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
            access(self.0.get())
        }
    }
}

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use crossbeam_utils::CachePadded;
use ringcache_engine::{ShardId, Write};

use crate::config::Terms;
use crate::dump::Step;
use crate::limits::{MESH_QUEUE_MESSAGES, MESH_SPARE_BATCHES_MAX};
use crate::replication::order::Order;
use crate::sys;
use crate::warming::Ask;
use batch::WriteBatch;
use bell::Bell;
use queue::{Consumer, Producer};

/// Names a session on its worker. The generation tells a reused place from its former session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Place in the worker's table of connections.
    pub connection: u32,
    /// How often that place was used.
    pub generation: u32,
}

/// Places of datagrams are told from those of connections by this bit.
const DATAGRAM_BIT: u32 = 1 << 27;
/// And those of links by this one.
const LINK_BIT: u32 = 1 << 26;
/// Marks the worker's connection to its upstream.
const UPSTREAM_BIT: u32 = 1 << 25;

impl Ticket {
    /// For a datagram in that place of its worker.
    pub fn of_datagram(place: u32, generation: u32) -> Self {
        Self { connection: DATAGRAM_BIT | place, generation }
    }

    /// For a link to another node in that place of its worker.
    pub fn of_link(place: u32, generation: u32) -> Self {
        Self { connection: LINK_BIT | place, generation }
    }

    /// For the worker's connection to its upstream.
    pub fn of_upstream(generation: u32) -> Self {
        Self { connection: UPSTREAM_BIT, generation }
    }

    /// Not a client's connection, but one that this node has made or taken on its own behalf.
    #[inline]
    pub fn is_own(self) -> bool {
        self.connection & (LINK_BIT | UPSTREAM_BIT) != 0
    }

    /// The place of a link; `None` for a connection.
    #[inline]
    pub fn link_place(self) -> Option<u32> {
        (self.connection & LINK_BIT != 0).then_some(self.connection & !LINK_BIT)
    }

    /// The place of a datagram; `None` for a connection.
    #[inline]
    pub fn datagram_place(self) -> Option<u32> {
        (self.connection & DATAGRAM_BIT != 0).then_some(self.connection & !DATAGRAM_BIT)
    }
}

/// What travels.
pub enum Message {
    /// Writes for the receiver's shard.
    Writes(Box<WriteBatch>),
    /// The receiver's own batch with the outcomes.
    Outcomes(Box<WriteBatch>),
    /// A step of the sender's session over the receiver's shard.
    Dump(Ticket, Box<Step>),
    /// The same step, done; the receiver's session had asked for it.
    Dumped(Ticket, Box<Step>),
    /// What a link of the sender asks of the receiver's shard.
    Order(Box<Order>),
    /// The same, done; the receiver's link had asked for it.
    Ordered(Box<Order>),
    /// What a session of the sender wants from the upstream, of the receiver's shard.
    Ask(Box<Ask>),
    /// The same, settled; the receiver's session had asked.
    Settled(Box<Ask>),
    /// A connection that the receiver shall serve, and what its listener says of it.
    Connection(OwnedFd, Terms),
}

/// How workers, and threads that are no workers, wake a worker.
pub struct Doors {
    doors: Box<[CachePadded<Door>]>,
}

struct Door {
    bell: Bell,
    /// The worker's ring, once it has one; before that -1.
    ring: AtomicI32,
    /// A read of it is always pending on the worker's ring.
    event: OwnedFd,
}

impl Doors {
    fn new(workers: u16) -> io::Result<Self> {
        let door = || -> io::Result<_> {
            let event = sys::event()?;
            Ok(CachePadded::new(Door { bell: Bell::new(), ring: AtomicI32::new(-1), event }))
        };
        Ok(Self { doors: (0..workers).map(|_| door()).collect::<io::Result<_>>()? })
    }

    /// The bell of a worker.
    pub fn bell(&self, worker: u16) -> &Bell {
        &self.doors[usize::from(worker)].bell
    }

    /// Tells the others which ring to send wake-ups to.
    pub fn open(&self, worker: u16, ring: i32) {
        self.doors[usize::from(worker)].ring.store(ring, Ordering::Release);
    }

    /// The ring of a worker that has one.
    pub fn ring(&self, worker: u16) -> Option<i32> {
        let ring = self.doors[usize::from(worker)].ring.load(Ordering::Acquire);
        (ring >= 0).then_some(ring)
    }

    /// What wakes the worker when it is written to.
    pub fn event(&self, worker: u16) -> BorrowedFd<'_> {
        self.doors[usize::from(worker)].event.as_fd()
    }

    /// Wakes every worker, asleep or not; from any thread. One system call for each.
    pub fn wake_all(&self) {
        for door in &self.doors {
            sys::signal_event(door.event.as_fd());
        }
    }
}

/// One worker's ends of all its queues.
pub struct MeshEnd {
    /// Towards the others.
    pub outbox: Outbox,
    /// From the others.
    pub inbox: Inbox,
}

/// The mesh of `workers` workers: the ends of each, in order, and the doors of all.
///
/// Errors: the kernel gives no event descriptor.
pub fn mesh(workers: u16) -> io::Result<(Vec<MeshEnd>, Arc<Doors>)> {
    let doors = Arc::new(Doors::new(workers)?);
    let mut lanes: Vec<Vec<Option<Lane>>> = (0..workers).map(|_| Vec::new()).collect();
    let mut sources: Vec<Vec<Option<Consumer<Message>>>> = (0..workers).map(|_| Vec::new()).collect();
    for sender in 0..workers {
        for receiver in 0..workers {
            let (producer, consumer) = queue::queue(MESH_QUEUE_MESSAGES);
            let is_pair = sender != receiver;
            lanes[usize::from(sender)].push(is_pair.then(|| Lane::new(producer)));
            sources[usize::from(receiver)].push(is_pair.then_some(consumer));
        }
    }
    let ends = lanes.into_iter().zip(sources).map(|(lanes, sources)| MeshEnd {
        outbox: Outbox { lanes: lanes.into(), batches_sent: 0, writes_sent: 0 },
        inbox: Inbox { sources: sources.into() },
    });
    Ok((ends.collect(), doors))
}

/// The sending end of a worker towards all others.
pub struct Outbox {
    /// Indexed by worker; none towards itself.
    lanes: Box<[Option<Lane>]>,
    batches_sent: u64,
    writes_sent: u64,
}

struct Lane {
    producer: Producer<Message>,
    /// The batch that takes the next write.
    filling: Option<Box<WriteBatch>>,
    /// Messages that wait for room in the queue, oldest first.
    unsent: VecDeque<Message>,
    /// Batches that came back.
    #[expect(clippy::vec_box, reason = "they travel in their boxes")]
    spare: Vec<Box<WriteBatch>>,
    /// Batches that have not come back.
    away: usize,
}

impl Lane {
    fn new(producer: Producer<Message>) -> Self {
        Self { producer, filling: None, unsent: VecDeque::new(), spare: Vec::new(), away: 0 }
    }

    /// Moves what waits into the queue. True when the receiver has something new to take.
    fn flush(&mut self) -> bool {
        let mut pushed = false;
        while let Some(message) = self.unsent.pop_front() {
            if let Err(message) = self.producer.push(message) {
                self.unsent.push_front(message);
                break;
            }
            pushed = true;
        }
        pushed
    }
}

impl Outbox {
    /// Copies the write into the batch for `shard`; `is_noted` as for [`SendAway`](crate::reach::SendAway). Never fails: past a full batch or queue it is kept here until
    /// the queue has room; sessions are held back by their own bound (`SESSION_WRITES_WAITING_MAX`).
    pub fn push(&mut self, shard: ShardId, ticket: Ticket, write: &Write<'_>, is_noted: bool) {
        self.writes_sent += 1;
        let lane = self.lane(shard.0);
        let batch = lane.filling.get_or_insert_with(|| lane.spare.pop().unwrap_or_default());
        batch.push(ticket, write, is_noted);
        if batch.is_full() {
            self.seal(shard.0);
        }
    }

    /// Sends any other message to `worker`, behind everything sent to it before.
    pub fn send(&mut self, worker: u16, message: Message) {
        self.seal(worker);
        self.lane(worker).unsent.push_back(message);
    }

    /// Takes back a batch whose outcomes have been read.
    pub fn recycle(&mut self, worker: u16, mut batch: Box<WriteBatch>) {
        let lane = self.lane(worker);
        lane.away -= 1;
        if lane.spare.len() < MESH_SPARE_BATCHES_MAX {
            batch.clear();
            lane.spare.push(batch);
        }
    }

    /// Puts everything into the queues, as far as they have room, and calls `pushed` for each worker that has
    /// something new to take. At the end of a turn.
    pub fn flush(&mut self, mut pushed: impl FnMut(u16)) {
        for worker in 0..self.lanes.len() as u16 {
            self.seal(worker);
            if self.lanes[usize::from(worker)].as_mut().is_some_and(Lane::flush) {
                pushed(worker);
            }
        }
    }

    /// Whether something waits for room in a queue.
    pub fn is_blocked(&self) -> bool {
        self.lanes.iter().flatten().any(|lane| !lane.unsent.is_empty())
    }

    /// Whether nothing waits and every batch has come back.
    pub fn is_idle(&self) -> bool {
        self.lanes
            .iter()
            .flatten()
            .all(|lane| lane.filling.is_none() && lane.unsent.is_empty() && lane.away == 0)
    }

    /// Writes and batches sent since this was last asked.
    pub fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.writes_sent), std::mem::take(&mut self.batches_sent))
    }

    fn seal(&mut self, worker: u16) {
        let Some(lane) = &mut self.lanes[usize::from(worker)] else { return };
        if let Some(batch) = lane.filling.take() {
            lane.away += 1;
            lane.unsent.push_back(Message::Writes(batch));
            self.batches_sent += 1;
        }
    }

    fn lane(&mut self, worker: u16) -> &mut Lane {
        self.lanes[usize::from(worker)].as_mut().expect("a worker sends nothing to itself")
    }
}

/// The receiving end of a worker from all others.
pub struct Inbox {
    /// Indexed by worker; none from itself.
    sources: Box<[Option<Consumer<Message>>]>,
}

impl Inbox {
    /// Number of workers.
    pub fn workers(&self) -> u16 {
        self.sources.len() as u16
    }

    /// The oldest message of `worker`.
    pub fn take(&mut self, worker: u16) -> Option<Message> {
        self.sources[usize::from(worker)].as_mut()?.pop()
    }

    /// Whether nothing is there to take. The last look before sleep.
    pub fn is_empty(&mut self) -> bool {
        self.sources.iter_mut().flatten().all(Consumer::is_empty)
    }
}

#[cfg(test)]
mod tests;
