//! Clients that have to say who they are: what an operator sees of it, files that change, starts that are refused.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::frames::{Frame, code, status};
use crate::server::{Directory, Server, ringcached_path, run, run_ringcached};

/// How long a signal may take to show.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

fn file(directory: &Directory, text: &str) -> PathBuf {
    let path = directory.path().join("users");
    fs::write(&path, text).expect("the directory was just made");
    path
}

fn auth(value: &str) -> Frame {
    Frame::request(code::SASL_AUTH).key("PLAIN").value(value)
}

#[test]
fn sasl() {
    let directory = Directory::create();
    let users = file(&directory, "ann:secret\nbob:other:\n");
    let server = Server::ringcached_with_file("MEMCACHED_SASL_PWDB", &users, &["-S", "-t", "2"]);
    let mut connection = server.connect();
    let frames = [auth("\0ann\0wrong"), auth("\0bob\0other"), Frame::request(code::NOOP)];
    connection.send(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>());
    let expect = [
        Frame::error(code::SASL_AUTH, status::AUTH),
        Frame::response(code::SASL_AUTH).value("Authenticated"),
        Frame::response(code::NOOP),
    ];
    let expect: Vec<u8> = expect.iter().flat_map(Frame::bytes).collect();
    assert_eq!(connection.receive(expect.len()), expect);

    let mut stranger = server.connect();
    stranger.send(Frame::request(code::GET).key("k").bytes());
    assert_eq!(stranger.receive_to_end(), Frame::error(code::GET, status::AUTH).bytes());
    let mut text = server.connect();
    text.send("version\r\n");
    assert_eq!(text.receive_to_end(), b"", "the text protocol is off");
    let log = server.stderr();
    assert!(log.contains("authentication failed: unknown user or wrong password"), "{log}");
    assert!(!log.contains("secret") && !log.contains("wrong\0"), "{log}");
}

#[test]
fn text_users_and_a_file_that_changes() {
    let directory = Directory::create();
    let users = file(&directory, "ann:secret");
    let path = users.to_str().expect("a temporary path is text");
    let server = Server::ringcached(&["-Y", path, "-t", "2", "-v"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask("get k"), "CLIENT_ERROR unauthenticated");
    assert_eq!(connection.ask("set a 0 0 9\r\nann wrong"), "CLIENT_ERROR authentication failure");
    assert_eq!(connection.ask("set a 0 0 10\r\nann secret"), "STORED");
    assert_eq!(connection.stat("stats", "auth_errors").as_deref(), Some("1"));
    assert_eq!(connection.stat("stats settings", "auth_enabled_ascii").as_deref(), Some(path));

    file(&directory, "ann:changed\nbob:too\n");
    server.signal("HUP");
    let deadline = Instant::now() + RELOAD_TIMEOUT;
    while server.connect().ask("set a 0 0 7\r\nbob too") != "STORED" {
        assert!(Instant::now() < deadline, "the file is not read again: {}", server.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.connect().ask("set a 0 0 10\r\nann secret"), "CLIENT_ERROR authentication failure");
    assert_eq!(connection.ask("mn"), "MN", "whoever was known stays so");

    file(&directory, "no colon\n");
    server.signal("HUP");
    let deadline = Instant::now() + RELOAD_TIMEOUT;
    while !server.stderr().contains("line 1: it has to be user:password") {
        assert!(Instant::now() < deadline, "a bad file is not reported: {}", server.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.connect().ask("set a 0 0 7\r\nbob too"), "STORED", "the users stay who they were");
}

#[test]
fn the_binary_protocol_is_off_where_text_users_are() {
    let directory = Directory::create();
    let users = file(&directory, "ann:secret\n");
    let server = Server::ringcached(&["-Y", users.to_str().expect("a temporary path is text")]);
    let mut connection = server.connect();
    let bytes = [Frame::request(code::VERSION).bytes(), b"\r\n".to_vec()].concat();
    connection.send(bytes);
    assert_eq!(connection.receive_line(), "CLIENT_ERROR unauthenticated");
}

#[test]
fn starts_that_are_refused() {
    let directory = Directory::create();
    let users = file(&directory, "ann:secret\n");
    let users = users.to_str().expect("a temporary path is text");
    for (flags, code, reason) in [
        (&["-S"][..], 64, "MEMCACHED_SASL_PWDB"),
        (&["-Y", users, "-B", "binary"], 64, "BINARY"),
        (&["-Y", users, "-B", "auto"], 64, "BINARY"),
        (&["-Y", "/no/such/file"], 1, "/no/such/file"),
    ] {
        let output = run_ringcached(flags);
        assert_eq!(output.status.code(), Some(code), "{flags:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(reason), "{flags:?}: {output:?}");
    }
    for (flags, file, code, reason) in [
        (&["-S", "-B", "ascii"][..], users, 64, "ASCII"),
        (&["-S", "-B", "auto"], users, 64, "ASCII"),
        (&["-S"], "/no/such/file", 1, "/no/such/file"),
    ] {
        let output = run(Command::new(ringcached_path()).args(flags).env("MEMCACHED_SASL_PWDB", file));
        assert_eq!(output.status.code(), Some(code), "{flags:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(reason), "{flags:?}: {output:?}");
    }
    fs::write(directory.path().join("users"), "ann\n").expect("it was written before");
    let output = run_ringcached(&["-Y", users]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 1"), "{output:?}");
}
