//! The binary protocol over sockets. `session::tests::binary` has the same commands for every fragment size; this
//! shows that the bytes expected there are memcached's, and that they pass through sockets.
//!
//! CAS uniques are each server's own and not compared here.

use crate::frames::{Frame, code, status};
use crate::server::{Connection, Server, Transport};

/// What is sent and what comes back.
type Step = (Frame, Vec<Frame>);

/// Every command that stores, reads, counts or removes, each hit and missed.
fn steps() -> Vec<Step> {
    let get = |opcode| Frame::request(opcode).key("key");
    let touched = |opcode, exptime: u32| get(opcode).extras(exptime.to_be_bytes());
    let hit = |opcode, value: &str| Frame::response(opcode).extras([0, 0, 1, 2]).value(value);
    let number = |opcode, number: u64| Frame::response(opcode).value(number.to_be_bytes());
    let miss = |opcode| Frame::error(opcode, status::NOT_FOUND);
    vec![
        (get(code::GET).opaque(1), vec![miss(code::GET).opaque(1)]),
        (get(code::GETQ), vec![]),
        (get(code::GETK), vec![Frame { status: 1, ..Frame::response(code::GETK).key("key") }]),
        (get(code::GETKQ), vec![]),
        (get(code::DELETE), vec![miss(code::DELETE)]),
        (get(code::DELETEQ), vec![miss(code::DELETEQ)]),
        (touched(code::TOUCH, 9), vec![miss(code::TOUCH)]),
        (touched(code::GAT, 9), vec![miss(code::GAT)]),
        (touched(code::GATQ, 9), vec![]),
        (touched(code::GATK, 9), vec![Frame { status: 1, ..Frame::response(code::GATK).key("key") }]),
        (touched(code::GATKQ, 9), vec![]),
        (Frame::store(code::REPLACE, "key", 0, 0, "x"), vec![miss(code::REPLACE)]),
        (get(code::APPEND).value("x"), vec![Frame::error(code::APPEND, status::NOT_STORED)]),
        (get(code::PREPENDQ).value("x"), vec![Frame::error(code::PREPENDQ, status::NOT_STORED)]),
        (Frame::store(code::ADD, "key", 258, 0, "b").opaque(77), vec![Frame::response(code::ADD).opaque(77)]),
        (Frame::store(code::ADDQ, "key", 0, 0, "c"), vec![Frame::error(code::ADDQ, status::EXISTS)]),
        (get(code::GET), vec![hit(code::GET, "b")]),
        (get(code::APPENDQ).value("c"), vec![]),
        (get(code::PREPEND).value("a"), vec![Frame::response(code::PREPEND)]),
        (get(code::GETQ), vec![hit(code::GETQ, "abc")]),
        (get(code::GETK), vec![hit(code::GETK, "abc").key("key")]),
        (get(code::GETKQ).opaque(5), vec![hit(code::GETKQ, "abc").key("key").opaque(5)]),
        (touched(code::TOUCH, 0), vec![Frame::response(code::TOUCH).extras([0, 0, 1, 2])]),
        (touched(code::GAT, 100), vec![hit(code::GAT, "abc")]),
        (touched(code::GATQ, u32::MAX), vec![hit(code::GATQ, "abc")]),
        (touched(code::GATK, 100), vec![hit(code::GATK, "abc").key("key")]),
        (touched(code::GATKQ, 0), vec![hit(code::GATKQ, "abc").key("key")]),
        (
            Frame::count(code::INCREMENT, "key", 1, 1, 0),
            vec![Frame::error(code::INCREMENT, status::NON_NUMERIC)],
        ),
        (Frame::store(code::SETQ, "key", 258, 0, ""), vec![]),
        (Frame::store(code::REPLACEQ, "key", 258, 0, "9"), vec![]),
        (Frame::count(code::INCREMENT, "key", 1, 1, 0), vec![number(code::INCREMENT, 10)]),
        (Frame::count(code::DECREMENTQ, "key", 1, 1, 0), vec![]),
        (Frame::count(code::DECREMENT, "key", 100, 1, 0), vec![number(code::DECREMENT, 0)]),
        (get(code::DELETE), vec![Frame::response(code::DELETE)]),
        (Frame::count(code::INCREMENTQ, "key", 1, 1, u32::MAX), vec![miss(code::INCREMENTQ)]),
        (Frame::count(code::DECREMENT, "key", 1, 40, 0), vec![number(code::DECREMENT, 40)]),
        (Frame::count(code::INCREMENT, "key", 2, 0, 0), vec![number(code::INCREMENT, 42)]),
        (get(code::DELETEQ), vec![]),
        (
            Frame::store(code::SET, "key", 0, 0, "x".repeat(1_100_000)),
            vec![Frame::error(code::SET, status::TOO_LARGE)],
        ),
        (Frame::store(code::SETQ, "key", 258, 0, "v".repeat(300_000)), vec![]),
        (get(code::GET), vec![hit(code::GET, &"v".repeat(300_000))]),
        (Frame::request(code::STAT).key("none"), vec![miss(code::STAT)]),
        (Frame::request(code::STAT).key("reset").opaque(4), vec![Frame::response(code::STAT).opaque(4)]),
        (Frame::request(0x3f), vec![Frame::error(0x3f, status::UNKNOWN)]),
        (Frame::request(code::SASL_LIST), vec![Frame::error(code::SASL_LIST, status::UNKNOWN)]),
        (Frame::request(code::FLUSHQ), vec![]),
        (get(code::GET), vec![miss(code::GET)]),
        (Frame::request(code::FLUSH).extras([0; 4]), vec![Frame::response(code::FLUSH)]),
        (Frame::request(code::NOOP).opaque(u32::MAX), vec![Frame::response(code::NOOP).opaque(u32::MAX)]),
    ]
}

#[test]
fn commands() {
    for transport in [Transport::Tcp, Transport::Unix] {
        for workers in ["1", "2", "4"] {
            play(&Server::ringcached_on(transport, &["-t", workers]));
        }
    }
}

#[test]
fn memcached_answers_the_same() {
    if let Some(server) = Server::memcached(&[]) {
        play(&server);
    }
}

/// Step by step, then pipelined in pieces of several sizes.
fn play(server: &Server) {
    let steps = steps();
    let mut connection = server.connect();
    for (send, expect) in &steps {
        connection.send(send.bytes());
        check(&mut connection, std::slice::from_ref(&(send.clone(), expect.clone())));
    }
    let sent: Vec<u8> = steps.iter().flat_map(|(send, _)| send.bytes()).collect();
    for piece in [usize::MAX, 60_000, 1000, 25] {
        let mut connection = server.connect();
        let mut sender = connection.another_handle();
        std::thread::scope(|scope| {
            scope.spawn(|| sent.chunks(piece.min(sent.len())).for_each(|part| sender.send(part)));
            check(&mut connection, &steps);
        });
    }
}

/// Receives what the steps expect, and behind it the answer to a `noop`, so that nothing surplus stays unseen.
fn check(connection: &mut Connection, steps: &[Step]) {
    for (send, expect) in steps {
        for frame in expect {
            let mut received = connection.receive(frame.bytes().len());
            received.iter_mut().skip(16).take(8).for_each(|byte| *byte = 0);
            assert!(
                received == frame.bytes(),
                "{send:?}\nexpected {frame:?}\nreceived {:?}",
                read(&received)
            );
        }
    }
}

/// Receives one frame.
fn receive(connection: &mut Connection) -> Frame {
    let header = connection.receive(24);
    let body_bytes = u32::from_be_bytes(header[8..12].try_into().expect("a whole header"));
    let bytes = [header, connection.receive(body_bytes as usize)].concat();
    Frame::read(&bytes).expect("a whole frame").0
}

fn read(bytes: &[u8]) -> String {
    match Frame::read(bytes) {
        Some((frame, _)) => format!("{frame:?}"),
        None => bytes.escape_ascii().to_string(),
    }
}

/// The protocol belongs to the connection, and what is stored belongs to nobody.
#[test]
fn both_protocols_see_the_same_records() {
    let server = Server::ringcached(&["-t", "2"]);
    let (mut text, mut binary) = (server.connect(), server.connect());
    binary.send(Frame::store(code::SET, "k", 5, 0, "value").bytes());
    let stored = receive(&mut binary);
    assert_eq!(text.ask("gets k"), format!("VALUE k 5 5 {}", stored.cas));
    assert_eq!((text.receive_line(), text.receive_line()), ("value".into(), "END".into()));
    assert_eq!(text.ask("append k 0 0 1\r\n!"), "STORED");
    binary.send(Frame::request(code::GET).key("k").bytes());
    let found = receive(&mut binary);
    assert_eq!((found.value, found.cas > stored.cas), (b"value!".to_vec(), true));
}

#[test]
fn statistics() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut connection = server.connect();
    connection.send(Frame::request(code::STAT).bytes());
    let mut names = Vec::new();
    loop {
        let frame = receive(&mut connection);
        if frame.key.is_empty() {
            break;
        }
        names.push(String::from_utf8(frame.key).expect("a name"));
    }
    assert!(names.len() > 80 && names.iter().any(|name| name == "curr_items"), "{names:?}");
}

#[test]
fn a_bad_frame_closes_only_its_connection() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut other = server.connect();
    other.send(Frame::store(code::SET, "k", 0, 0, "v").bytes());
    assert_eq!(other.receive(24).len(), 24);
    for (send, expect) in [
        (Frame::request(code::GET).key("k").extras("x"), Frame::error(code::GET, status::INVALID).bytes()),
        (Frame::response(code::GET), vec![]),
        (Frame::request(code::QUIT), Frame::response(code::QUIT).bytes()),
        (Frame::request(code::QUITQ), vec![]),
    ] {
        let mut connection = server.connect();
        let first = Frame::request(code::NOOP);
        connection.send([first.bytes(), send.bytes()].concat());
        let received = connection.receive_to_end();
        assert_eq!(received, [Frame::response(code::NOOP).bytes(), expect].concat(), "{send:?}");
    }
    other.send(Frame::request(code::VERSION).bytes());
    assert_eq!(other.receive(30)[24..], *b"1.6.45");
}
