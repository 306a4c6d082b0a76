//! Every interleaving of the mesh's queue and bell that loom can find, on the source files of the server itself.
//!
//! A lost wake-up shows as a deadlock, a missing ordering as two threads in one slot. To see the models fail, take
//! the fence out of `Bell::must_wake`, or publish a position with `Relaxed`.

#[path = "../net/src/mesh/bell.rs"]
mod bell;
#[path = "../net/src/mesh/queue.rs"]
mod queue;

/// What `net/src/mesh.rs` gives both files, from loom.
mod sync {
    use std::ops::Deref;

    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

    /// Padding means nothing to a model.
    pub struct CachePadded<T>(T);

    impl<T> CachePadded<T> {
        pub fn new(value: T) -> Self {
            Self(value)
        }
    }

    impl<T> Deref for CachePadded<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }
}

use loom::sync::{Arc, Notify};
use loom::thread;

use bell::Bell;
use queue::{Consumer, Producer, queue};

/// Three messages through two slots: the queue is full, and its positions wrap around.
#[test]
fn messages_arrive_once_and_in_order() {
    explore(|| {
        let (mut producer, mut consumer) = queue::<Box<u32>>(2);
        let sender = thread::spawn(move || {
            for number in 0..3 {
                let mut message = Box::new(number);
                while let Err(back) = producer.push(message) {
                    message = back;
                    thread::yield_now();
                }
            }
        });
        for expected in 0..3 {
            let message = loop {
                match consumer.pop() {
                    Some(message) => break message,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*message, expected);
        }
        assert!(consumer.is_empty());
        sender.join().expect("the sender does not panic");
    });
}

/// A worker's sleep: announced, looked again, slept; and what another one does after a push.
struct Sleeper {
    bell: Bell,
    /// What `enter` and the message to the ring are in the server.
    woken: Notify,
}

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Self { bell: Bell::default(), woken: Notify::new() })
    }

    fn send(&self, producer: &mut Producer<u32>, message: u32) {
        producer.push(message).expect("the queue has room");
        if self.bell.must_wake() {
            self.woken.notify();
        }
    }

    fn receive(&self, queues: &mut [Consumer<u32>], messages: usize) -> Vec<u32> {
        let mut received = Vec::new();
        loop {
            for queue in queues.iter_mut() {
                received.extend(std::iter::from_fn(|| queue.pop()));
            }
            if received.len() == messages {
                return received;
            }
            self.bell.announce_sleep();
            if queues.iter_mut().all(Consumer::is_empty) {
                self.woken.wait();
            }
            self.bell.announce_awake();
        }
    }
}

#[test]
fn no_message_is_slept_over() {
    explore(|| {
        let (mut producer, consumer) = queue(2);
        let sleeper = Sleeper::new();
        let waker = Arc::clone(&sleeper);
        let sender = thread::spawn(move || {
            waker.send(&mut producer, 1);
            waker.send(&mut producer, 2);
        });
        assert_eq!(sleeper.receive(&mut [consumer], 2), [1, 2]);
        sender.join().expect("the sender does not panic");
    });
}

#[test]
fn two_senders_wake_one_sleeper() {
    explore(|| {
        let (mut first, from_first) = queue(2);
        let (mut second, from_second) = queue(2);
        let sleeper = Sleeper::new();
        let (waker, other_waker) = (Arc::clone(&sleeper), Arc::clone(&sleeper));
        let one = thread::spawn(move || waker.send(&mut first, 1));
        let other = thread::spawn(move || other_waker.send(&mut second, 2));
        let mut received = sleeper.receive(&mut [from_first, from_second], 2);
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        one.join().expect("the sender does not panic");
        other.join().expect("the sender does not panic");
    });
}

/// Explores schedules with up to three preemptions: every known lost wake-up of such a protocol needs at most two.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(3);
    explorer.check(model);
}
