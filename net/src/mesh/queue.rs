//! A bounded queue with one producer and one consumer, each of which may be on another thread.
//!
//! ```text
//!             head                 tail
//!               v                    v
//! slots  [    ][ a  ][ b  ][ c  ][    ][    ][    ][    ]     positions only grow; a slot is `position & mask`
//!              consumer takes      producer puts
//! ```
//!
//! The raw part knows positions and slots only. Its contract:
//!
//! 1. Slots `head..tail` hold a message, all others hold none.
//! 2. Only the producer writes `tail` and the slots outside of `head..tail`.
//! 3. Only the consumer writes `head` and reads the slots inside of `head..tail`.
//! 4. A position is published with release after its slot was written or emptied, and read with acquire before
//!    the slot is touched by the other side.
//!
//! There is one [`Producer`] and one [`Consumer`], neither can be cloned and their calls take `&mut self`, so each
//! side is one thread at a time. `tests/mesh_model.rs` runs this very file under loom.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use super::sync::{Arc, AtomicUsize, CachePadded, Ordering, UnsafeCell};

struct Slots<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Position of the oldest message.
    head: CachePadded<AtomicUsize>,
    /// Position behind the newest message.
    tail: CachePadded<AtomicUsize>,
}

// SAFETY: messages move from one thread to another through the slots (so `T: Send`), and by clauses 2 to 4 no slot
// is ever touched by both sides at once.
unsafe impl<T: Send> Sync for Slots<T> {}
// SAFETY: as above; the slots own their messages.
unsafe impl<T: Send> Send for Slots<T> {}

/// The end that puts messages in.
pub struct Producer<T> {
    shared: Arc<Slots<T>>,
    tail: usize,
    /// The consumer's position as last seen: it is read again only when the queue looks full.
    head_seen: usize,
}

/// The end that takes messages out.
pub struct Consumer<T> {
    shared: Arc<Slots<T>>,
    head: usize,
    /// The producer's position as last seen: it is read again only when the queue looks empty.
    tail_seen: usize,
}

/// A queue for `capacity` messages, a power of two.
pub fn queue<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two(), "positions are masked");
    let shared = Arc::new(Slots {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, head_seen: 0 };
    (producer, Consumer { shared, head: 0, tail_seen: 0 })
}

impl<T> Producer<T> {
    /// Puts `message` in, or gives it back when the queue is full. One store that the consumer sees.
    pub fn push(&mut self, message: T) -> Result<(), T> {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.shared.head.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Err(message);
            }
        }
        let slot = &self.shared.slots[self.tail & (capacity - 1)];
        // SAFETY: the slot is outside of `head..tail` (checked above, `head` only grows), so by clause 2 it is ours
        // and by clause 1 it holds no message that would be lost.
        slot.with_mut(|slot| unsafe { (*slot).write(message) });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let slot = &self.shared.slots[self.head & (self.shared.slots.len() - 1)];
        // SAFETY: the slot is inside of `head..tail`, so by clause 1 it holds a message and by clause 3 it is ours.
        let message = slot.with_mut(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        self.shared.head.store(self.head, Ordering::Release);
        Some(message)
    }

    /// Whether nothing is there to take.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

impl<T> Drop for Consumer<T> {
    /// Drops what was sent and not taken. A message pushed after this is leaked, not dropped twice.
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
