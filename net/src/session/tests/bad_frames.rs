//! Frames that memcached refuses: what is answered, what is swallowed and what ends the connection.

use super::binary::{Frames, gat};
use super::frames::{Frame, code, status};
use super::{Conversation, Progress, World};
use crate::config::Config;

#[test]
fn commands_that_do_not_exist_are_swallowed() {
    let request = |opcode| Frame::request(opcode).extras([0; 4]).key("key").value("value");
    let mut frames = Frames::new();
    for opcode in [code::VERBOSITY, 0x1f, 0x25, 0x30, 0x3c, 0x80, 0xff] {
        let noop = Frame::request(code::NOOP);
        let expect = [Frame::error(opcode, status::UNKNOWN), Frame::response(code::NOOP)];
        frames = frames.step(&[request(opcode), noop], &expect);
    }
    for opcode in [code::SASL_LIST, code::SASL_AUTH, code::SASL_STEP] {
        let send = match opcode {
            code::SASL_LIST => Frame::request(opcode),
            _ => Frame::request(opcode).key("PLAIN").value("\0a\0b"),
        };
        frames = frames.step(&[send], &[Frame::error(opcode, status::UNKNOWN)]);
    }
    frames.play();
}

/// Each ends its connection, behind the answers to what came before.
#[test]
fn lengths_that_make_no_sense_close() {
    let noop = Frame::request(code::NOOP);
    let announced = |frame: &Frame, at: usize, bytes: &[u8]| {
        let mut frame = frame.bytes();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let get = Frame::request(code::GET).key("key");
    let long_key = Frame::request(code::GET).key([b'k'; 251]);
    let cases = [
        // A body that is shorter than key and extras, and one that is too long for any item.
        (announced(&get, 8, &2_u32.to_be_bytes()), Frame::error(code::GET, status::UNKNOWN)),
        (announced(&get, 8, &(1_u32 << 30 | 1).to_be_bytes()), Frame::error(code::GET, status::INVALID)),
        (long_key.bytes(), Frame::error(code::GET, status::INVALID)),
        // Parts that the command does not have, or misses.
        (get.clone().extras([0; 4]).bytes(), Frame::error(code::GET, status::INVALID)),
        (get.clone().value("v").bytes(), Frame::error(code::GET, status::INVALID)),
        (Frame::request(code::GETQ).bytes(), Frame::error(code::GETQ, status::INVALID)),
        (Frame::request(code::SET).key("k").bytes(), Frame::error(code::SET, status::INVALID)),
        (Frame::store(code::SETQ, "", 0, 0, "v").bytes(), Frame::error(code::SETQ, status::INVALID)),
        (Frame::store(code::APPEND, "k", 0, 0, "v").bytes(), Frame::error(code::APPEND, status::INVALID)),
        (
            Frame::request(code::INCREMENT).key("k").extras([0; 19]).bytes(),
            Frame::error(code::INCREMENT, status::INVALID),
        ),
        (
            Frame::count(code::DECREMENTQ, "", 1, 1, 0).bytes(),
            Frame::error(code::DECREMENTQ, status::INVALID),
        ),
        (Frame::request(code::TOUCH).key("k").bytes(), Frame::error(code::TOUCH, status::INVALID)),
        (Frame::request(code::DELETE).bytes(), Frame::error(code::DELETE, status::INVALID)),
        (Frame::request(code::FLUSH).extras([0; 3]).bytes(), Frame::error(code::FLUSH, status::INVALID)),
        (Frame::request(code::FLUSH).key("k").bytes(), Frame::error(code::FLUSH, status::INVALID)),
        (Frame::request(code::NOOP).key("k").bytes(), Frame::error(code::NOOP, status::INVALID)),
        (Frame::request(code::VERSION).value("v").bytes(), Frame::error(code::VERSION, status::INVALID)),
        (Frame::request(code::QUIT).extras("v").bytes(), Frame::error(code::QUIT, status::INVALID)),
        (Frame::request(code::STAT).extras("v").bytes(), Frame::error(code::STAT, status::INVALID)),
    ];
    for (send, error) in cases {
        let (stored, response) = (Frame::store(code::SET, "a", 0, 0, "b"), Frame::response(code::SET));
        Conversation::with_config(Config { cas: false, ..Config::default() })
            .step(
                [stored.bytes(), send.clone(), noop.bytes()].concat(),
                [response.bytes(), error.bytes()].concat(),
            )
            .play();
        let mut world = World::new(3);
        world.ask(&send);
        assert_eq!(world.progress, Progress::Close, "{error:?}");
    }
}

#[test]
fn another_first_byte_closes() {
    for byte in [0x81, b'g', 0] {
        let mut world = World::new(2);
        let bytes = [Frame::store(code::SETQ, "a", 0, 0, "b").bytes(), vec![byte]].concat();
        assert_eq!(world.ask(bytes), b"");
        assert_eq!(world.progress, Progress::Close);
    }
}

#[test]
fn a_value_that_is_not_asked_for_is_the_next_request() {
    let next = Frame::request(code::NOOP).bytes();
    Frames::new()
        .step(
            &[gat(code::TOUCH, "k", 0).value(&next)],
            &[Frame::error(code::TOUCH, status::NOT_FOUND), Frame::response(code::NOOP)],
        )
        .step(
            &[Frame::request(code::STAT).key("reset").value(&next)],
            &[Frame::response(code::STAT), Frame::response(code::NOOP)],
        )
        .play();
}
