//! The driver against real sockets, with and without each feature that a kernel may lack.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::uring::buffers::Buffering;
use super::{Completion, Driver, Outgoing, Received, Wait};
use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS_WHOLE};
use crate::mesh::{Doors, Ticket, mesh};

const TICKET: Ticket = Ticket { connection: 3, generation: 9 };

struct Bench {
    driver: Driver,
    doors: std::sync::Arc<Doors>,
    completions: VecDeque<Completion>,
}

impl Bench {
    fn new(buffering: Buffering) -> Self {
        let (_, doors) = mesh(1).expect("events can be made");
        let driver = Driver::with_buffering(doors.event(0), buffering).expect("rings work here");
        Self { driver, doors, completions: VecDeque::new() }
    }

    /// The next completion; waits for it.
    fn next(&mut self) -> Completion {
        for _ in 0..100 {
            if let Some(completion) = self.completions.pop_front() {
                return completion;
            }
            self.driver.submit(Wait::UpTo(Duration::from_millis(100)));
            self.driver.take(&mut self.completions, &self.doors);
        }
        panic!("nothing came for ten seconds");
    }

    /// Receives until `bytes` bytes have come; asks again whenever that is needed.
    fn receive(&mut self, socket: &OwnedFd, bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            let Completion::Received { ticket, received, more } = self.next() else {
                panic!("only receiving was asked for")
            };
            assert_eq!(ticket, TICKET);
            match received {
                Received::Bytes(chunk) => {
                    all.extend_from_slice(self.driver.bytes(&chunk));
                    self.driver.release(chunk);
                }
                Received::NoBuffer => assert!(!more, "it has to be asked for again"),
                _ => panic!("the peer only sends"),
            }
            if !more {
                self.driver.receive(TICKET, socket.as_fd());
            }
        }
        all
    }
}

fn pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("sockets can be made");
    (ours.into(), theirs)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 / 16) as u8).collect()
}

#[test]
fn bytes_arrive_in_order_whatever_the_buffering() {
    for buffering in [Buffering::Best, Buffering::Whole] {
        let mut bench = Bench::new(buffering);
        let (ours, mut theirs) = pair();
        bench.driver.receive(TICKET, ours.as_fd());
        let all = pattern(20 * RECEIVE_BUFFER_BYTES + 77);
        let sent = all.clone();
        let sender = std::thread::spawn(move || {
            for piece in sent.chunks(5_003) {
                theirs.write_all(piece).expect("the driver reads");
            }
            theirs
        });
        assert_eq!(bench.receive(&ours, all.len()), all, "{buffering:?}");
        drop(sender.join().expect("the sender does not panic"));
        loop {
            let Completion::Received { received, more, .. } = bench.next() else { panic!("only receiving") };
            if matches!(received, Received::End) {
                break assert!(!more, "an end is the end");
            }
            // Receiving had been asked for again just before.
            assert!(matches!(received, Received::NoBuffer));
            bench.driver.receive(TICKET, ours.as_fd());
        }
    }
}

#[test]
fn without_a_buffer_receiving_stops_and_goes_on_later() {
    let mut bench = Bench::new(Buffering::Whole);
    let (ours, mut theirs) = pair();
    bench.driver.receive(TICKET, ours.as_fd());
    let mut kept = Vec::new();
    let piece = pattern(100);
    for _ in 0..RECEIVE_BUFFERS_WHOLE {
        theirs.write_all(&piece).expect("it fits");
        let Completion::Received { received: Received::Bytes(chunk), .. } = bench.next() else {
            panic!("bytes were sent")
        };
        kept.push(chunk);
    }
    theirs.write_all(b"late").expect("it fits");
    let Completion::Received { received: Received::NoBuffer, more: false, .. } = bench.next() else {
        panic!("every buffer is in use")
    };
    for chunk in kept {
        assert_eq!(bench.driver.bytes(&chunk), piece);
        bench.driver.release(chunk);
    }
    bench.driver.receive(TICKET, ours.as_fd());
    assert_eq!(bench.receive(&ours, 4), b"late");
}

#[test]
fn a_prompt_send_takes_what_fits_and_another_the_rest() {
    let mut bench = Bench::new(Buffering::Best);
    let (ours, mut theirs) = pair();
    let all = pattern(4 << 20);
    let mut outgoing = Box::<Outgoing>::default();
    outgoing.output.push(&all);
    bench.driver.send(TICKET, ours.as_fd(), outgoing, true);
    let Completion::Sent { ticket, outgoing, result } = bench.next() else { panic!("a send was asked for") };
    assert_eq!(ticket, TICKET);
    let sent = result.expect("some fits");
    assert!(0 < sent && sent < all.len(), "not all fits");
    assert_eq!(outgoing.left(), all.len() - sent);
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; 4 << 20];
        theirs.read_exact(&mut read).expect("all is sent");
        read
    });
    bench.driver.send(TICKET, ours.as_fd(), outgoing, false);
    let Completion::Sent { outgoing, .. } = bench.next() else { panic!("a send was asked for") };
    assert_eq!(outgoing.left(), 0);
    assert!(reader.join().expect("the reader does not panic") == all, "the bytes are the same");
}

#[test]
fn a_send_to_nobody_fails_and_gives_the_answers_back() {
    let mut bench = Bench::new(Buffering::Best);
    let (ours, theirs) = pair();
    drop(theirs);
    let mut outgoing = Box::<Outgoing>::default();
    outgoing.output.push(b"hello");
    bench.driver.send(TICKET, ours.as_fd(), outgoing, true);
    let Completion::Sent { outgoing, result, .. } = bench.next() else { panic!("a send was asked for") };
    assert_eq!((result, outgoing.left()), (Err(libc::EPIPE), 5));
}

#[test]
fn what_is_stopped_completes_once_more() {
    let mut bench = Bench::new(Buffering::Best);
    let (ours, _theirs) = pair();
    bench.driver.receive(TICKET, ours.as_fd());
    bench.driver.submit(Wait::No);
    bench.driver.stop_receiving(TICKET);
    let Completion::Received { received: Received::Canceled, more: false, .. } = bench.next() else {
        panic!("receiving was stopped")
    };
    let mut outgoing = Box::<Outgoing>::default();
    outgoing.output.push(&pattern(4 << 20));
    let flight = bench.driver.send(TICKET, ours.as_fd(), outgoing, false);
    bench.driver.submit(Wait::No);
    bench.driver.stop_sending(flight);
    let Completion::Sent { .. } = bench.next() else { panic!("the send was stopped") };
}

#[test]
fn a_listener_gives_every_connection() {
    let mut bench = Bench::new(Buffering::Best);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let address = listener.local_addr().expect("it is bound");
    bench.driver.accept(5, listener.as_fd());
    let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    for _ in &clients {
        let Completion::Accepted { listener: 5, socket: Ok(_), more: true } = bench.next() else {
            panic!("three clients came")
        };
    }
    bench.driver.stop_accepting(5);
    let Completion::Accepted { socket: Err(_), more: false, .. } = bench.next() else {
        panic!("accepting was stopped")
    };
}

#[test]
fn a_sleeping_ring_wakes_by_message_and_by_event() {
    for by_message in [true, false] {
        let (_, doors) = mesh(2).expect("events can be made");
        let sleeper_doors = std::sync::Arc::clone(&doors);
        let sleeper = std::thread::spawn(move || {
            let mut driver = Driver::new(sleeper_doors.event(0)).expect("rings work here");
            sleeper_doors.open(0, driver.ring());
            let begun = std::time::Instant::now();
            driver.submit(Wait::UpTo(Duration::from_secs(60)));
            begun.elapsed()
        });
        while doors.ring(0).is_none() {
            std::thread::yield_now();
        }
        let mut driver = Driver::new(doors.event(1)).expect("rings work here");
        if !by_message {
            driver.never_send_messages();
        }
        let mut completions = VecDeque::new();
        // Once is enough for a sleeper; the other times are for one that had not gone to sleep yet.
        while !sleeper.is_finished() {
            driver.wake(0, &doors);
            driver.submit(Wait::UpTo(Duration::from_millis(10)));
            driver.take(&mut completions, &doors);
        }
        let slept = sleeper.join().expect("the sleeper does not panic");
        assert!(slept < Duration::from_secs(60), "it was woken, by message: {by_message}");
    }
}

#[test]
fn the_alarm_ends_a_wait_once_for_each_time_it_is_set() {
    let mut bench = Bench::new(Buffering::Best);
    for _ in 0..2 {
        bench.driver.set_alarm(|| Duration::from_millis(1));
        bench.driver.set_alarm(|| panic!("it is set already"));
        bench.driver.submit(Wait::Alarm);
        bench.driver.take(&mut bench.completions, &bench.doors);
        assert!(bench.completions.is_empty(), "nobody else is told");
    }
}

#[test]
fn news_are_what_comes_beside_the_sends() {
    let mut bench = Bench::new(Buffering::Best);
    let (ours, mut theirs) = pair();
    bench.driver.receive(TICKET, ours.as_fd());
    let mut outgoing = Box::<Outgoing>::default();
    outgoing.output.push(b"hello");
    bench.driver.send(TICKET, ours.as_fd(), outgoing, true);
    bench.driver.submit(Wait::No);
    assert!(!bench.driver.has_news(), "the send was expected to complete");
    theirs.write_all(b"hello").expect("it fits");
    assert!(bench.driver.has_news());
    bench.driver.submit(Wait::No);
    assert!(bench.driver.has_news(), "still there, until it is taken");
    assert!(matches!(bench.next(), Completion::Sent { result: Ok(5), .. }));
    assert!(matches!(bench.next(), Completion::Received { .. }));
    assert!(!bench.driver.has_news());
}
