//! Connections: ten thousand at once, one too many, idle ones, ones that never read, and too few descriptors.

use std::time::{Duration, Instant};

use crate::server::{Connection, Server, Transport};

/// What a machine with an ordinary limit can be asked for.
const CONNECTIONS: usize = 10_000;

/// Without CAS uniques an item is eight bytes smaller, for every command and every owner.
#[test]
fn the_largest_item_is_memcacheds_with_and_without_cas() {
    for (flags, fixed_bytes) in [(&["-t", "3", "-I", "1k"][..], 59), (&["-t", "3", "-I", "1k", "-C"], 51)] {
        let server = Server::ringcached(flags);
        let mut connection = server.connect();
        let largest = 1024 - fixed_bytes - 2;
        for number in 10..30 {
            let value = "x".repeat(largest);
            assert_eq!(
                connection.ask(&format!("set {number} 0 0 {largest}\r\n{value}")),
                "STORED",
                "{flags:?}"
            );
            assert_eq!(connection.ask(&format!("append {number} 0 0 1\r\nx")), "NOT_STORED", "{flags:?}");
            let value = format!("{value}x");
            let answer = connection.ask(&format!("set {number} 0 0 {}\r\n{value}", value.len()));
            assert_eq!(answer, "SERVER_ERROR object too large for cache", "{flags:?}");
            let most = largest - 1;
            assert_eq!(connection.ask(&format!("set {number} 0 0 {most}\r\n{}", &value[..most])), "STORED");
            assert_eq!(connection.ask(&format!("append {number} 0 0 1\r\nx")), "STORED", "{flags:?}");
        }
    }
}

#[test]
fn ten_thousand_connections_are_open_at_once() {
    let count = CONNECTIONS.min(descriptors_left());
    if count < CONNECTIONS {
        eprintln!("only {count} connections: the limit of open files of this process allows no more");
    }
    let server = Server::ringcached(&["-c", &(count + 100).to_string(), "-t", "2"]);
    let mut connections: Vec<Connection> = (0..count).map(|_| server.connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(format!("set k{} 0 0 5\r\n{number:05}\r\nget k{}\r\n", number % 7, number % 7));
        let expected = format!("STORED\r\nVALUE k{} 0 5\r\n{number:05}\r\nEND\r\n", number % 7);
        assert_eq!(String::from_utf8_lossy(&connection.receive(expected.len())), expected);
    }
    let stat = connections[count - 1].stat("stats", "curr_connections").expect("it is among the stats");
    assert!(stat.parse::<usize>().expect("a number") >= count, "{stat} of {count}");
}

#[test]
fn idle_connections_cost_little_memory() {
    const IDLE: usize = 1_000;
    const BYTES_MAX: u64 = 2 << 20;
    let server = Server::ringcached(&["-c", "2000", "-t", "1"]);
    let mut connections: Vec<Connection> = (0..IDLE).map(|_| server.connect()).collect();
    // Each one has been in use, so that what it keeps afterwards is counted.
    connections.iter_mut().for_each(|connection| assert_eq!(connection.ask("mn"), "MN"));
    drop(connections);
    let before = settled_bytes(&server);
    let mut connections: Vec<Connection> = (0..IDLE).map(|_| server.connect()).collect();
    connections.iter_mut().for_each(|connection| assert_eq!(connection.ask("mn"), "MN"));
    let cost = settled_bytes(&server).saturating_sub(before);
    assert!(cost < BYTES_MAX, "{IDLE} idle connections cost {cost} bytes");
}

/// Whichever worker has them.
#[test]
fn every_connection_is_listed() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut connections: Vec<Connection> = (0..6).map(|_| server.connect()).collect();
    connections.iter_mut().for_each(|connection| assert_eq!(connection.ask("mn"), "MN"));
    connections[0].send("stats conns\r\n");
    let listed = String::from_utf8(connections[0].receive_until(b"END\r\n")).expect("stats are text");
    assert_eq!(
        listed.matches(":addr tcp:127.0.0.1:").count() - listed.matches("conn_listening").count(),
        6,
        "{listed}"
    );
    assert!(listed.matches(":secs_since_last_cmd 0").count() >= 6, "{listed}");
    for worker in 0..2 {
        assert_eq!(listed.matches(&format!(":ringcache_worker {worker}\r\n")).count(), 3, "{listed}");
    }
}

#[test]
fn connections_over_a_unix_socket_show_its_path() {
    let server = Server::ringcached_on(Transport::Unix, &["-t", "2"]);
    let mut connection = server.connect();
    connection.send("stats conns\r\n");
    let listed = String::from_utf8(connection.receive_until(b"END\r\n")).expect("stats are text");
    assert_eq!(listed.matches(":addr unix:/").count(), 2, "{listed}");
    assert_eq!(listed.matches(":listen_addr unix:/").count(), 1, "{listed}");
}

#[test]
fn one_connection_too_many_is_told_so() {
    const MAX: usize = 64;
    let server = Server::ringcached(&["-c", &MAX.to_string(), "-t", "2"]);
    let mut connections = Vec::new();
    let refused = (0..MAX * 3).find_map(|_| {
        let mut connection = server.connect();
        // The refusal comes unasked, so it is there before or instead of the reply.
        let _ = connection.try_send("mn\r\n");
        let reply = connection.receive_line();
        if reply == "MN" {
            connections.push(connection);
            return None;
        }
        Some(reply)
    });
    assert_eq!(refused.as_deref(), Some("ERROR Too many open connections"));
    assert!(connections.len() <= MAX, "{} were let in", connections.len());
    assert_eq!(connections[0].ask("mn"), "MN", "the others are served");
    drop(connections);
    assert!(eventually(|| Connection::open(server.address()).is_ok_and(|mut again| again.ask("mn") == "MN")));
    assert!(server.stat_number("rejected_connections") >= 1);
}

#[test]
fn a_storm_of_connections_is_survived() {
    let mut server = Server::ringcached(&["-c", "200", "-t", "2"]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let address = server.address().clone();
            scope.spawn(move || {
                for number in 0..1_000 {
                    let Ok(mut connection) = Connection::open(&address) else { continue };
                    // Closed at once, after half a command, or after a whole one that nobody reads.
                    let sent = ["", "get k", "get k\r\n"][(number + thread) % 3];
                    let _ = connection.try_send(sent);
                }
            });
        }
    });
    assert!(server.is_running(), "{}", server.stderr());
    assert!(eventually(|| server.connect().ask("mn") == "MN"));
    // The one that asks is counted.
    assert!(
        eventually(|| server.stat_number("curr_connections") <= 5),
        "{}",
        server.stat("curr_connections")
    );
}

#[test]
fn too_few_descriptors_are_survived() {
    let mut server = Server::ringcached(&["-t", "2"]);
    let mut early = server.connect();
    assert_eq!(early.ask("mn"), "MN");
    // What the server holds, and five more: as if something else had spent the rest.
    let held = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("the server runs").count();
    server.limit_descriptors(held + 5);
    let connections: Vec<_> = (0..50).filter_map(|_| Connection::open(server.address()).ok()).collect();
    assert_eq!(early.ask("mn"), "MN", "those who came before are served");
    std::thread::sleep(Duration::from_millis(200));
    assert!(server.is_running(), "{}", server.stderr());
    drop(connections);
    assert!(eventually(|| asks_in_time(&server)), "those who come later are served again");
}

#[test]
fn a_limit_above_the_hard_one_is_refused_with_a_reason() {
    let output = crate::server::run_limited(64, &["-c", "10000", "-l", "127.0.0.1", "-p", "-1"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(0));
    assert!(!text.is_empty() && !text.contains("panicked"), "{text}");
}

#[test]
fn a_client_that_never_reads_is_held_back_not_buffered() {
    const VALUE: usize = 1_000_000;
    const GETS: usize = 2_000;
    let server = Server::ringcached(&["-t", "1"]);
    let mut connection = server.connect();
    connection.send(format!("set k 0 0 {VALUE}\r\n{}\r\n", "v".repeat(VALUE)));
    assert_eq!(connection.receive_line(), "STORED");
    let before = server.resident_bytes();
    connection.set_timeouts(Duration::from_millis(300));
    // Two gigabytes of answers are asked for and none is read; the sending ends when the server stops reading.
    let _ = connection.try_send("get k\r\n".repeat(GETS));
    assert_eq!(server.connect().ask("mn"), "MN", "others are served meanwhile");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "the server buffers {grown} bytes");
    connection.set_timeouts(Duration::from_secs(20));
    let reply = format!("VALUE k 0 {VALUE}\r\n{}\r\nEND\r\n", "v".repeat(VALUE));
    for _ in 0..5 {
        assert!(connection.receive(reply.len()) == reply.as_bytes(), "what was held back comes in order");
    }
}

#[test]
fn clients_that_never_read_small_answers_are_held_back_too() {
    let server = Server::ringcached(&["-t", "2"]);
    let before = server.resident_bytes();
    let requests = "mg none k Oabcdefghijklmnopqrstuvwxyz\r\n".repeat(10_000);
    let mut connections: Vec<Connection> = (0..20).map(|_| server.connect()).collect();
    for connection in &mut connections {
        connection.set_timeouts(Duration::from_millis(100));
        while connection.try_send(&requests).is_ok() {}
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "the server buffers {grown} bytes for {} connections", connections.len());
    assert_eq!(server.connect().ask("mn"), "MN");
}

#[test]
fn idle_connections_are_dropped_when_asked_for() {
    let server = Server::ringcached(&["-o", "idle_timeout=1"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask("mn"), "MN");
    assert_eq!(connection.receive_to_end(), b"");
    assert!(server.stat_number("idle_kicks") >= 1);
}

#[test]
fn connections_are_spread_over_the_workers() {
    let server = Server::ringcached(&["-t", "4"]);
    let mut connections: Vec<Connection> = (0..40).map(|_| server.connect()).collect();
    connections.iter_mut().for_each(|connection| assert_eq!(connection.ask("mn"), "MN"));
    let counts: Vec<u64> = (0..4)
        .filter_map(|worker| connections[0].stat("stats", &format!("ringcache_worker_{worker}_connections")))
        .map(|value| value.parse().expect("a number"))
        .collect();
    if counts.len() == 4 {
        assert!(counts.iter().all(|count| (8..=12).contains(count)), "{counts:?}");
    }
}

/// Resident memory once it has stopped changing.
fn settled_bytes(server: &Server) -> u64 {
    let mut last = server.resident_bytes();
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(50));
        let bytes = server.resident_bytes();
        if bytes == last {
            break;
        }
        last = bytes;
    }
    last
}

fn asks_in_time(server: &Server) -> bool {
    let Ok(mut connection) = Connection::open(server.address()) else { return false };
    connection.set_timeouts(Duration::from_millis(500));
    connection.try_send("mn\r\n").is_ok() && connection.receive_line() == "MN"
}

fn eventually(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// How many sockets this process may still open.
fn descriptors_left() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux has it");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("it is listed");
    let soft: usize = line.split_whitespace().nth(3).and_then(|number| number.parse().ok()).unwrap_or(1024);
    // Other tests of this binary hold sockets at the same time.
    soft.saturating_sub(500)
}
