//! What a session may hold.

use super::{SHARDS, World};
use crate::config::Config;
use crate::limits::{KEPT_INPUT_STEP_BYTES, OUTPUT_BYTES_HIGH};
use crate::session::{Progress, Session};

/// Goal: `-R` bounds what one call executes, and nothing is lost by it.
#[test]
fn a_limit_on_requests_lets_others_in_between() {
    for shards in super::SHARDS {
        let mut world = World::with_config(shards, Config { requests_limit: 3, ..Config::default() });
        world.send_at_once(&b"mn\r\n".repeat(8));
        assert_eq!((world.output.bytes.len(), world.progress), (3 * 4, Progress::Hold));
        world.resume();
        assert_eq!((world.output.bytes.len(), world.progress), (6 * 4, Progress::Hold));
        world.resume();
        assert_eq!((world.output.bytes.len(), world.progress), (8 * 4, Progress::Receive));
        assert_eq!(world.node.workers[0].conn_yields.value(), 2);
    }
}

/// Goal: executing one request at a time costs no more than executing all. Method: what is kept is moved only when half of it
/// is done with.
#[test]
fn kept_input_is_not_moved_for_each_request() {
    let mut world = World::with_config(1, Config { requests_limit: 1, ..Config::default() });
    world.send_at_once(&b"mn\r\n".repeat(1000));
    let (mut moves, mut kept) = (0, world.session.kept.len());
    while world.progress == Progress::Hold {
        world.resume();
        moves += usize::from(world.session.kept.len() != kept);
        kept = world.session.kept.len();
    }
    assert_eq!(world.output.bytes.len(), 4 * 1000);
    assert!((5..20).contains(&moves), "{moves} moves for 1000 requests");
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 136, "{} bytes", size_of::<Session>());
}

#[test]
fn an_idle_session_holds_no_buffer() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        let value = "x".repeat(300_000);
        world
            .send(format!("set k 0 0 300000\r\n{value}\r\nset l 0 0 1\r\nx\r\nget k\r\n").as_bytes(), 10_000);
        world.settle();
        assert!(world.received.ends_with(b"\r\nEND\r\n"));
        assert_eq!(world.session.kept.capacity(), 0);
        assert!(world.session.answers.is_empty());
    }
}

/// Many values in turn need one buffer, which goes when no more come.
#[test]
fn the_buffer_of_a_large_value_serves_the_next() {
    let mut world = World::new(1);
    let set = format!("set k 0 0 300000\r\n{}\r\n", "x".repeat(300_000));
    world.send(set.as_bytes(), 10_000);
    let bytes = world.inputs.bytes();
    assert_eq!(bytes, set.len(), "the buffer has the length of the command");
    for _ in 0..10 {
        world.send(&set.as_bytes()[..200_000], 10_000);
        assert_eq!((world.inputs.bytes(), world.session.kept.capacity()), (0, bytes), "it is in use");
        world.send(&set.as_bytes()[200_000..], 10_000);
        assert_eq!((world.inputs.bytes(), world.session.kept.capacity()), (bytes, 0), "it is spare");
    }
    (0..2).for_each(|_| world.inputs.age());
    assert_eq!(world.inputs.bytes(), 0);
}

/// The output of a client that asks for much and receives nothing stays near its limit, and nothing is lost
/// when it receives at last.
#[test]
fn a_client_that_never_reads_is_held() {
    for shards in SHARDS {
        for verb in ["get", "mg"] {
            let mut world = World::new(shards);
            let value = "x".repeat(9_000);
            world.ask(format!("set k 0 0 9000\r\n{value}\r\n"));
            let line = if verb == "get" { "get k k k k k k k k k k\r\n" } else { "mg k v\r\n" };
            let answer = if verb == "get" {
                format!("VALUE k 0 9000\r\n{value}\r\n").repeat(10) + "END\r\n"
            } else {
                format!("VA 9000\r\n{value}\r\n")
            };
            world.send_at_once(line.repeat(200).as_bytes());
            assert_eq!(world.progress, Progress::Hold);
            assert!(world.output.len() < OUTPUT_BYTES_HIGH + 10_000, "{}", world.output.len());
            assert!(world.received.is_empty());
            world.settle();
            assert_same(&world.received, answer.repeat(200).as_bytes());
        }
    }
}

/// Going back to a read that found the output full forgets what was known of the line behind it.
#[test]
fn a_line_begun_behind_a_full_output_is_parsed_anew() {
    let mut world = World::new(1);
    let value = "x".repeat(9_000);
    world.ask(format!("set k 0 0 9000\r\n{value}\r\n"));
    world.send_at_once(("get k\r\n".repeat(31) + "get" + &" ".repeat(300)).as_bytes());
    assert_eq!(world.progress, Progress::Hold);
    world.send_at_once(b"k\r\n");
    world.settle();
    assert_same(&world.received, format!("VALUE k 0 9000\r\n{value}\r\nEND\r\n").repeat(32).as_bytes());
}

/// As for a client that never reads, behind a write that another worker has.
#[test]
fn answers_behind_a_waiting_write_are_bounded() {
    let mut world = World::new(4);
    let own = (0..).map(|n| format!("o{n}")).find(|key| world.shard_of(key) == 0).unwrap();
    let other = (0..).map(|n| format!("r{n}")).find(|key| world.shard_of(key) == 1).unwrap();
    let value = "x".repeat(9_000);
    world.ask(format!("set {own} 0 0 9000\r\n{value}\r\n"));
    let stream = format!("set {other} 0 0 1\r\nx\r\n") + &format!("get {own}\r\n").repeat(200);
    world.send_at_once(stream.as_bytes());
    assert_eq!(world.progress, Progress::Hold);
    assert!(world.output.is_empty());
    world.settle();
    let expected = "STORED\r\n".to_owned() + &format!("VALUE {own} 0 9000\r\n{value}\r\nEND\r\n").repeat(200);
    assert_same(&world.received, expected.as_bytes());
}

#[test]
fn waiting_writes_are_bounded() {
    let mut world = World::new(2);
    let other = (0..).map(|n| format!("r{n}")).find(|key| world.shard_of(key) == 1).unwrap();
    world.send_at_once(format!("set {other} 0 0 1\r\nx\r\n").repeat(3000).as_bytes());
    assert_eq!(world.progress, Progress::Hold);
    assert_eq!(world.session.writes_waiting(), crate::limits::SESSION_WRITES_WAITING_MAX);
    world.settle();
    assert_eq!(world.received, b"STORED\r\n".repeat(3000));
}

#[test]
fn large_values_travel_whole() {
    for shards in SHARDS {
        let config = Config { item_bytes_max: 8 << 20, ..Config::default() };
        let mut world = World::with_config(shards, config);
        let value: Vec<u8> =
            (0..3_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for key in ["a", "b", "c"] {
            let mut set = format!("set {key} 0 0 {}\r\n", value.len()).into_bytes();
            set.extend_from_slice(&value);
            set.extend_from_slice(b"\r\n");
            world.send(&set, 16 * 1024);
            assert!(world.session.kept.capacity() <= value.len() + 2 * KEPT_INPUT_STEP_BYTES);
        }
        world.settle();
        assert_eq!(std::mem::take(&mut world.received), b"STORED\r\n".repeat(3));
        let received = world.ask("get a b c\r\n");
        let mut expected = Vec::new();
        for key in ["a", "b", "c"] {
            expected.extend_from_slice(format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes());
            expected.extend_from_slice(&value);
            expected.extend_from_slice(b"\r\n");
        }
        expected.extend_from_slice(b"END\r\n");
        assert_same(&received, &expected);
    }
}

/// As `assert_eq`, for bytes that nobody wants to see in full.
fn assert_same(received: &[u8], expected: &[u8]) {
    if received == expected {
        return;
    }
    let at = received.iter().zip(expected).take_while(|(left, right)| left == right).count();
    let shown =
        |bytes: &[u8]| bytes[at..].iter().take(200).copied().collect::<Vec<u8>>().escape_ascii().to_string();
    panic!(
        "{} of {} bytes, from {at} on:\nreceived {}\nexpected {}",
        received.len(),
        expected.len(),
        shown(received),
        shown(expected)
    );
}
