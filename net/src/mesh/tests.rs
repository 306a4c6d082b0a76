//! The mesh with real threads, and at its bounds.

use std::thread;

use ringcache_engine::{Delete, KeyHash, Op, ShardId, Write};

use super::{Message, Ticket, mesh, queue};
use crate::limits::{MESH_BATCH_WRITES, MESH_QUEUE_MESSAGES};

fn delete(key: &[u8]) -> Write<'_> {
    Write { hash: KeyHash::of(key), key, op: Op::Delete(Delete::default()) }
}

#[test]
fn a_queue_between_threads_keeps_order_and_loses_nothing() {
    const MESSAGES: u64 = 300_000;
    let (mut producer, mut consumer) = queue::queue::<Box<u64>>(8);
    let sender = thread::spawn(move || {
        for number in 0..MESSAGES {
            let mut message = Box::new(number);
            while let Err(back) = producer.push(message) {
                message = back;
                thread::yield_now();
            }
        }
    });
    for expected in 0..MESSAGES {
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
}

#[test]
fn a_full_queue_gives_the_message_back() {
    let (mut producer, mut consumer) = queue::queue(2);
    assert_eq!((producer.push(1), producer.push(2), producer.push(3)), (Ok(()), Ok(()), Err(3)));
    assert_eq!(consumer.pop(), Some(1));
    assert_eq!(producer.push(3), Ok(()));
    assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(2), Some(3), None));
}

#[test]
fn messages_past_a_full_queue_wait_in_order() {
    let (mut ends, _doors) = mesh(2).expect("events can be made");
    let (mut receiver, mut sender) = (ends.pop().expect("two"), ends.pop().expect("two"));
    let writes = (MESH_QUEUE_MESSAGES + 3) * MESH_BATCH_WRITES;
    for number in 0..writes {
        let ticket = Ticket { connection: number as u32, generation: 1 };
        sender.outbox.push(ShardId(1), ticket, &delete(b"k"), true);
    }
    let mut expected = 0;
    while expected < writes {
        let mut woken = 0;
        sender.outbox.flush(|worker| woken += u32::from(worker == 1));
        assert_eq!(woken, 1, "the receiver has something new");
        while let Some(message) = receiver.inbox.take(0) {
            let Message::Writes(batch) = message else { panic!("only writes were sent") };
            for ticket in batch.tickets() {
                assert_eq!(ticket.connection as usize, expected);
                expected += 1;
            }
        }
    }
    assert!(!sender.outbox.is_blocked());
    assert!(receiver.inbox.is_empty());
    assert!(!sender.outbox.is_idle(), "the batches have not come back");
}
