//! Datagrams without a socket: several commands in one, some of them for other shards, each answered on its own.

use super::{SHARDS, World};
use crate::config::Config;
use crate::limits::UDP_ANSWER_BYTES_MAX;
use crate::session::datagram::{Answer, Datagram, Stage};
use crate::session::tests::frames::{Frame, code};

/// The answers to a datagram, one by one, and how it ended.
fn ask(world: &mut World, commands: &[u8]) -> (Vec<Vec<u8>>, Stage) {
    let mut datagram = Datagram::new();
    let mut answers = Vec::new();
    let mut tell = |answer: Answer<'_>| match answer {
        Answer::Whole(output) => answers.push(output.pieces().flatten().copied().collect()),
        Answer::TooLarge => answers.push(b"too large".to_vec()),
    };
    let mut stage = world.reach(|reach| datagram.begin(commands, reach, &mut tell));
    while stage == Stage::Waiting {
        stage = world
            .deliver(|shard, outcome, reach| datagram.handle_outcome(shard, outcome, reach, &mut tell))
            .expect("what waits has a write under way");
    }
    (answers, stage)
}

fn texts(world: &mut World, commands: impl AsRef<[u8]>) -> Vec<String> {
    let (answers, stage) = ask(world, commands.as_ref());
    assert_eq!(stage, Stage::Over);
    answers.iter().map(|answer| String::from_utf8_lossy(answer).into_owned()).collect()
}

#[test]
fn each_command_is_answered_by_itself() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        for number in 0..30 {
            let key = format!("k{number}");
            let asked = format!(
                "set {key} 0 0 1\r\n1\r\nget {key}\r\nset {key} 0 0 1 noreply\r\n2\r\nincr {key} 3\r\nget x {key} {key}\r\n\
                 mg {key} q v\r\nmg x q v\r\ndelete {key}\r\nmn\r\n"
            );
            let value = |value: u8| format!("VALUE {key} 0 1\r\n{value}\r\n");
            let expected = [
                "STORED\r\n".to_owned(),
                value(1) + "END\r\n",
                "5\r\n".to_owned(),
                value(5) + &value(5) + "END\r\n",
                "VA 1\r\n5\r\n".to_owned(),
                "DELETED\r\n".to_owned(),
                "MN\r\n".to_owned(),
            ];
            assert_eq!(texts(&mut world, asked), expected, "{shards} shards");
        }
        assert_eq!(world.node.workers[0].conn_yields.value(), 0);
    }
}

#[test]
fn frames_and_lines_are_told_apart_by_datagram() {
    for shards in SHARDS {
        let mut world = World::with_config(shards, Config { cas: false, ..Config::default() });
        let frames = [Frame::store(code::SET, "k", 0, 0, "v"), Frame::request(code::GETK).key("k")];
        let (answers, stage) = ask(&mut world, &frames.map(|frame| frame.bytes()).concat());
        assert_eq!(stage, Stage::Over);
        let answers: Vec<Frame> =
            answers.iter().map(|bytes| Frame::read(bytes).expect("a frame").0).collect();
        assert_eq!((answers.len(), answers[0].status, answers[1].value.as_slice()), (2, 0, &b"v"[..]));
        assert_eq!(texts(&mut world, "get k\r\n"), ["VALUE k 0 1\r\nv\r\nEND\r\n"]);
    }
}

#[test]
fn what_is_cut_off_is_not_executed() {
    for cut in ["get k", "set k 0 0 3\r\nab", "x", "mn\r\nset k 0 0 3\r\n"] {
        let mut world = World::new(2);
        let (answers, stage) = ask(&mut world, cut.as_bytes());
        assert_eq!((answers.len(), stage), (usize::from(cut.starts_with("mn")), Stage::Cut), "{cut}");
        assert_eq!(texts(&mut world, "get k\r\n"), ["END\r\n"]);
    }
    let frame = Frame::request(code::GET).key("k").bytes();
    assert_eq!(ask(&mut World::new(1), &frame[..frame.len() - 1]), (vec![], Stage::Cut));
}

#[test]
fn what_follows_an_end_is_not_executed() {
    let mut world = World::new(2);
    assert_eq!(texts(&mut world, "mn\r\nquit\r\nset k 0 0 1\r\nv\r\n"), ["MN\r\n"]);
    assert_eq!(texts(&mut world, "get / HTTP/1.0\r\nget k\r\n"), ["END\r\n", "END\r\n"]);
}

/// A `get` whose values are more than a session makes at a time is one answer; one that is longer than may be sent is
/// none, and the next command is answered.
#[test]
fn long_answers_stay_whole() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        let value = "x".repeat(60_000);
        world.ask(format!("set k 0 0 60000\r\n{value}\r\n"));
        let line = |keys: usize| format!("get{}\r\nmn\r\n", " k".repeat(keys));
        let one = format!("VALUE k 0 60000\r\n{value}\r\n");
        let whole = UDP_ANSWER_BYTES_MAX / one.len();
        assert!(texts(&mut world, line(whole)) == [one.repeat(whole) + "END\r\n", "MN\r\n".to_owned()]);
        assert_eq!(texts(&mut world, line(whole + 1)), ["too large", "MN\r\n"]);
    }
}

/// Goal: whatever comes, nothing panics, and what waits is what has a write under way.
#[test]
fn rubbish_never_panics() {
    const PIECES: [&[u8]; 12] = [
        b"get k\r\n",
        b"get k k k",
        b"set k 0 0 1\r\n1\r\n",
        b"set l 0 0 1 noreply\r\n1\r\n",
        b"\r\n",
        b"mg k v N30\r\n",
        b"watch\r\n",
        b"lru_crawler metadump all\r\n",
        b"flush_all\r\n",
        b"stats\r\n",
        b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"incr k 1\r\n",
    ];
    for shards in SHARDS {
        let mut world = World::new(shards);
        let mut random = super::Random::new(u64::from(shards));
        for _ in 0..2000 {
            let mut commands = Vec::new();
            for _ in 0..random.below(6) {
                commands.extend_from_slice(PIECES[random.below(PIECES.len())]);
            }
            commands.truncate(commands.len() - random.below(3).min(commands.len()));
            ask(&mut world, &commands);
        }
    }
}
