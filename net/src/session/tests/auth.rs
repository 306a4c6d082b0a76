//! Clients that have to say who they are: SASL in the binary protocol, a first `set` in the text protocol.

use super::frames::{Frame, code, status};
use super::{FRAGMENTS, Progress, World};
use crate::auth::users::{Layout, Users};
use crate::config::{Binding, Config};

const USERS: &[u8] = b"ann:secret word\nbob:other\n";

fn sasl(shards: u16) -> World {
    let config =
        Config { binding: Binding::Binary, sasl_file: Some("users".into()), cas: false, ..Config::default() };
    with_users(shards, config, Layout::Fields)
}

fn text(shards: u16) -> World {
    let config = Config { binding: Binding::Ascii, auth_file: Some("users".into()), ..Config::default() };
    with_users(shards, config, Layout::Pairs)
}

fn with_users(shards: u16, config: Config, layout: Layout) -> World {
    let world = World::with_config(shards, config);
    world.node.auth.replace(Users::parse(USERS, layout).unwrap());
    world
}

fn plain(opcode: u8, mechanism: &str, value: &str) -> Frame {
    Frame::request(opcode).key(mechanism).value(value)
}

fn done(opcode: u8) -> Frame {
    Frame::response(opcode).value("Authenticated")
}

/// Sends frames in pieces and reads those that come back.
fn ask(world: &mut World, frames: &[Frame], fragment: usize) -> Vec<Frame> {
    world.send(&frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>(), fragment);
    world.settle();
    Frame::read_all(&std::mem::take(&mut world.received))
}

fn counted(world: &World) -> (u64, u64) {
    (world.node.workers[0].auth_cmds.value(), world.node.workers[0].auth_errors.value())
}

#[test]
fn the_right_password_opens() {
    for fragment in FRAGMENTS {
        let mut world = sasl(2);
        let send = [
            Frame::request(code::SASL_LIST),
            Frame::request(code::VERSION),
            plain(code::SASL_AUTH, "PLAIN", "\0ann\0secret word").opaque(4),
            Frame::store(code::SET, "k", 0, 0, "v"),
        ];
        let expect = [
            Frame::response(code::SASL_LIST).value("PLAIN"),
            Frame::response(code::VERSION).value("1.6.45"),
            done(code::SASL_AUTH).opaque(4),
            Frame::response(code::SET),
        ];
        assert_eq!(ask(&mut world, &send, fragment), expect);
        assert_eq!(counted(&world), (1, 0));
    }
}

#[test]
fn a_wrong_password_may_be_corrected() {
    for fragment in FRAGMENTS {
        let mut world = sasl(2);
        let auth = |value| plain(code::SASL_AUTH, "PLAIN", value);
        let wrong = [
            "\0ann\0secret",
            "\0ann\0",
            "\0carl\0secret word",
            "bob\0ann\0secret word",
            "ann\0secret word",
            "\0",
        ];
        for value in wrong {
            let reply = ask(&mut world, &[auth(value)], fragment);
            assert_eq!(reply, [Frame::error(code::SASL_AUTH, status::AUTH)], "{value:?}");
        }
        let other =
            [plain(code::SASL_AUTH, "CRAM-MD5", "x"), plain(code::SASL_STEP, "PLAIN", "\0bob\0other")];
        let refused = other.clone().map(|frame| Frame::error(frame.opcode, status::AUTH));
        assert_eq!(ask(&mut world, &other, fragment), refused);
        assert_eq!(ask(&mut world, &[auth("\0bob\0other")], fragment), [done(code::SASL_AUTH)]);
        assert_eq!(counted(&world), (9, 8));
    }
}

#[test]
fn the_credentials_may_follow_in_a_step() {
    let mut world = sasl(1);
    let send = [plain(code::SASL_AUTH, "plain", ""), plain(code::SASL_STEP, "PLAIN", "bob\0bob\0other")];
    let expect = [Frame::error(code::SASL_AUTH, status::AUTH_CONTINUES), done(code::SASL_STEP)];
    assert_eq!(ask(&mut world, &send, 1), expect);
}

#[test]
fn nothing_else_is_done_before() {
    for opcode in [code::GET, code::SETQ, code::NOOP, code::STAT, code::FLUSH, code::QUIT, 0x30] {
        let mut world = sasl(2);
        let reply = ask(&mut world, &[Frame::request(opcode), Frame::request(code::VERSION)], usize::MAX);
        assert_eq!(reply, [Frame::error(opcode, status::AUTH)]);
        assert_eq!(world.progress, Progress::Close);
    }
}

/// As in memcached: each of these begins a new login.
#[test]
fn who_was_known_is_forgotten_by_another_login() {
    for again in [Frame::request(code::SASL_LIST), plain(code::SASL_AUTH, "PLAIN", "\0ann\0x")] {
        let mut world = sasl(2);
        let auth = plain(code::SASL_AUTH, "PLAIN", "\0bob\0other");
        assert_eq!(ask(&mut world, &[auth.clone(), auth], 7).len(), 2);
        let replies = ask(&mut world, &[again, Frame::request(code::NOOP)], 7);
        assert_eq!(replies[1], Frame::error(code::NOOP, status::AUTH));
    }
}

#[test]
fn odd_logins_are_refused_and_swallowed() {
    let mut world = sasl(2);
    let long_name = plain(code::SASL_AUTH, &"x".repeat(33), "\0ann\0secret word");
    let long_value = plain(code::SASL_AUTH, "PLAIN", &"\0".repeat(100_000));
    let send = [long_name, long_value, Frame::request(code::VERSION)];
    let expect = [
        Frame::error(code::SASL_AUTH, status::INVALID),
        Frame::error(code::SASL_AUTH, status::AUTH),
        Frame::response(code::VERSION).value("1.6.45"),
    ];
    assert_eq!(ask(&mut world, &send, 1000), expect);
    assert_eq!(world.session.kept.capacity(), 0, "nothing of it was kept");
}

#[test]
fn a_first_set_opens_the_text_protocol() {
    for fragment in FRAGMENTS {
        let mut world = text(2);
        let send = "get k\r\nset k 0 0 1\r\n\
                    version\r\nset auth x y 15\r\nann secret word\r\nset k 0 0 1\r\na\r\nget k\r\n";
        let expect = "CLIENT_ERROR unauthenticated\r\nCLIENT_ERROR bad command line termination\r\n\
                      CLIENT_ERROR unauthenticated\r\nSTORED\r\nSTORED\r\nVALUE k 0 1\r\na\r\nEND\r\n";
        // The data of the second command is one byte and two that should be its end.
        let send = send.replacen("set k 0 0 1\r\nversion", "set k 0 0 1\r\nxyzversion", 1);
        world.send(send.as_bytes(), fragment);
        world.settle();
        assert_eq!(String::from_utf8_lossy(&world.received), expect, "by {fragment}");
        assert_eq!(counted(&world), (1, 0));
    }
}

#[test]
fn wrong_first_sets_are_told_apart() {
    let mut world = text(2);
    for (send, expect) in [
        ("set a 0 0 9\r\nann wrong\r\n", "CLIENT_ERROR authentication failure\r\n"),
        ("set a 0 0 4\r\nann \r\n", "CLIENT_ERROR authentication failure\r\n"),
        ("set a 0 0 3\r\nann\r\n", "CLIENT_ERROR bad authentication token format\r\n"),
        ("set a 0 0 0\r\n\r\n", "CLIENT_ERROR bad authentication token format\r\n"),
        ("set a 0 0\r\n", "CLIENT_ERROR unauthenticated\r\n"),
        ("set a 0 0 x\r\n", "CLIENT_ERROR unauthenticated\r\n"),
        ("set a 0 0 16385\r\n", "CLIENT_ERROR auth token too long\r\n"),
        ("mg a v\r\n", "CLIENT_ERROR unauthenticated\r\n"),
        ("set a 0 0 9 noreply more\r\nbob other\r\n", "STORED\r\n"),
        ("get a\r\n", "END\r\n"),
    ] {
        assert_eq!(String::from_utf8_lossy(&world.ask(send)), expect, "{send:?}");
    }
    assert_eq!(counted(&world), (3, 2));
}

#[test]
fn lines_that_can_be_no_login_close() {
    for line in ["mn\r\n", "\n", "quit\n", &"x".repeat(2049)] {
        let mut world = text(1);
        assert_eq!(world.ask(line), b"");
        assert_eq!(world.progress, Progress::Close, "{line:?}");
    }
}

#[test]
fn a_new_file_holds_for_the_next_login() {
    let mut world = text(1);
    assert_eq!(world.ask("set a 0 0 9\r\nbob other\r\n"), b"STORED\r\n");
    let users = Users::parse(b"bob:changed", Layout::Pairs).unwrap();
    world.node.auth.replace(users);
    assert_eq!(world.ask("mn\r\n"), b"MN\r\n", "who was known stays so");
    world.session = super::Session::new();
    assert_eq!(world.ask("set a 0 0 9\r\nbob other\r\n"), b"CLIENT_ERROR authentication failure\r\n");
    assert_eq!(world.ask("set a 0 0 11\r\nbob changed\r\n"), b"STORED\r\n");
}
