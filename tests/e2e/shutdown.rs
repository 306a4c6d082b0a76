//! SIGTERM, SIGINT and the `shutdown` command: answers in flight are sent, then the process ends with 0.

use std::time::{Duration, Instant};

use crate::server::Server;

#[test]
fn sigterm_ends_with_code_zero() {
    ends_cleanly_on("TERM");
}

#[test]
fn sigint_ends_with_code_zero() {
    ends_cleanly_on("INT");
}

#[test]
fn sigusr1_ends_with_code_zero() {
    ends_cleanly_on("USR1");
}

/// SIGHUP is logged at the level of `-v`, which `verbosity` switches on and off.
#[test]
fn sighup_ends_nothing_and_verbosity_decides_what_is_logged() {
    const LINE: &str = "SIGHUP";
    let server = Server::ringcached(&["-t", "2"]);
    let mut connection = server.connect();
    let logged = |server: &Server| server.stderr().matches(LINE).count();
    server.signal("HUP");
    assert_eq!(connection.ask("verbosity 1"), "OK");
    server.signal("HUP");
    let deadline = Instant::now() + Duration::from_secs(10);
    while logged(&server) == 0 {
        assert!(Instant::now() < deadline, "nothing is logged: {}", server.stderr());
        server.signal("HUP");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(connection.ask("verbosity 0"), "OK");
    std::thread::sleep(Duration::from_millis(100));
    let before = logged(&server);
    server.signal("HUP");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(logged(&server), before);
    assert_eq!(connection.ask("mn"), "MN");
}

#[test]
fn answers_in_flight_are_sent_before_the_end() {
    // More than the sockets' buffers hold, so that the server is in the middle of sending when the signal comes.
    const GETS: usize = 200;
    const BYTES: usize = 100_000;
    let mut server = Server::ringcached(&["-t", "2"]);
    let mut connection = server.connect();
    let value = "v".repeat(BYTES);
    connection.send(format!("set k 0 0 {BYTES}\r\n{value}\r\n"));
    assert_eq!(connection.receive_line(), "STORED");
    connection.send("get k\r\n".repeat(2));
    let reply = format!("VALUE k 0 {BYTES}\r\n{value}\r\nEND\r\n");
    assert_eq!(connection.receive(reply.len()).len(), reply.len(), "the first answer is under way");
    server.signal("TERM");
    assert_eq!(connection.receive(reply.len()).len(), reply.len(), "the second one is sent");
    assert_eq!(connection.receive_to_end(), b"", "then the connection is closed");
    assert_eq!(server.wait().code(), Some(0));
    // A client that has not read yet may lose what was never produced, but never gets half an answer's bytes wrong.
    let server = Server::ringcached(&["-t", "2"]);
    let mut connection = server.connect();
    connection.send(format!("set k 0 0 {BYTES}\r\n{value}\r\n"));
    assert_eq!(connection.receive_line(), "STORED");
    connection.send("get k\r\n".repeat(GETS));
    server.signal("TERM");
    let received = connection.receive_to_end();
    let expected = reply.repeat(GETS);
    assert!(expected.as_bytes().starts_with(&received), "what was sent is right");
}

#[test]
fn a_client_that_never_reads_does_not_keep_the_server_alive() {
    let mut server = Server::ringcached(&["-t", "1"]);
    let mut connection = server.connect();
    let value = "v".repeat(500_000);
    connection.send(format!("set k 0 0 500000\r\n{value}\r\n"));
    assert_eq!(connection.receive_line(), "STORED");
    connection.send("get k\r\n".repeat(100));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_shutdown_command_needs_its_flag() {
    let mut server = Server::ringcached(&["-A"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask("shutdown nonsense"), "CLIENT_ERROR invalid shutdown mode");
    connection.send("shutdown\r\n");
    assert_eq!(connection.receive_to_end(), b"");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_unix_socket_is_removed_at_the_end() {
    let mut server = Server::ringcached_on(crate::server::Transport::Unix, &[]);
    let crate::server::Address::Unix(path) = server.address().clone() else { unreachable!("asked for") };
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!path.exists(), "{} is left behind", path.display());
}

fn ends_cleanly_on(signal: &str) {
    for workers in ["1", "2", "4"] {
        let mut server = Server::ringcached(&["-t", workers]);
        let mut idle = server.connect();
        assert_eq!(idle.ask("mn"), "MN");
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal} with {workers} workers: {}", server.stderr());
        assert_eq!(idle.receive_to_end(), b"", "an idle connection is closed");
    }
}
