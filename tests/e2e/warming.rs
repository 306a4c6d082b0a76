//! `--warm-from`: a node asks another server for what it does not have, once for each key, and lives without it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{Connection, REPLY_TIMEOUT, Server};

/// A node in front of the server on that port, with further flags, which reaches it.
fn in_front_of(port: u16, flags: &[&str]) -> Server {
    let address = format!("127.0.0.1:{port}");
    let server = Server::ringcached(&[&["-t", "2", "--warm-from", &address], flags].concat());
    let workers = server.stat_number("threads");
    await_stat(&server, "ringcache_warm_open", workers);
    server
}

fn await_stat(server: &Server, name: &str, value: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.stat_number(name) != value {
        assert!(Instant::now() < deadline, "{name} is {}, not {value}", server.stat_number(name));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends, and gives what comes up to `end`.
fn exchange(connection: &mut Connection, send: impl AsRef<[u8]>, end: &str) -> String {
    connection.send(send);
    receive(connection, end)
}

fn receive(connection: &mut Connection, end: &str) -> String {
    String::from_utf8_lossy(&connection.receive_until(end.as_bytes())).into_owned()
}

/// Upstreams that speak meta commands, and tell how long a value lives.
fn upstreams() -> impl Iterator<Item = Server> {
    let ringcached = || Some(Server::ringcached(&["-t", "1"]));
    let memcached = || Server::memcached(&["-t", "1"]);
    [ringcached as fn() -> Option<Server>, memcached].into_iter().filter_map(|start| start())
}

#[test]
fn a_miss_shows_what_the_upstream_has() {
    for upstream in upstreams() {
        let mut there = upstream.connect();
        let line = |key: u32| format!("k{key} {key} {}\r\nvalue {key}\r\n", 6 + key.to_string().len());
        for key in 0..200 {
            let stored = line(key).replacen(&format!(" {key} "), &format!(" {key} 100 "), 1);
            assert_eq!(there.ask(format!("set {}", stored.trim_end()).as_str()), "STORED");
        }
        assert_eq!(there.ask("set forever 0 0 1\r\nx"), "STORED");

        let front = in_front_of(upstream.port(), &[]);
        let mut here = front.connect();
        let keys: String = (0..200).map(|key| format!(" k{key}")).collect();
        let values: String = (0..200).map(|key| format!("VALUE {}", line(key))).collect();
        for _ in 0..2 {
            let reply = exchange(&mut here, format!("get nothing{keys} nothing\r\n"), "END\r\n");
            assert_eq!(reply, format!("{values}END\r\n"));
        }
        assert_eq!(exchange(&mut here, "mg forever v t\r\n", "x\r\n"), "VA 1 t-1\r\nx\r\n");
        let reply = here.ask("mg k7 t f");
        let left = reply.strip_prefix("HD t").and_then(|rest| rest.strip_suffix(" f7"));
        let left = left.and_then(|left| left.parse().ok());
        assert!(left.is_some_and(|left: u32| (80..=100).contains(&left)), "{reply}");
        assert_eq!(front.stat_number("ringcache_warm_hits"), 201);
        assert_eq!(front.stat_number("get_hits"), 402, "to clients they were hits from the first on");
        assert_eq!(front.stat_number("ringcache_warm_errors"), 0);
    }
}

#[test]
fn reads_that_touch_find_it_and_touch_it_here() {
    let upstream = Server::ringcached(&["-t", "1"]);
    let mut there = upstream.connect();
    for key in 0..20 {
        assert_eq!(there.ask(&format!("set k{key} 5 500 3\r\nabc")), "STORED");
    }
    let front = in_front_of(upstream.port(), &[]);
    let mut here = front.connect();
    for key in 0..10 {
        let (one, other) = (2 * key, 2 * key + 1);
        let reply = exchange(&mut here, format!("gat 50 k{one}\r\nmg k{one} t\r\n"), "t50\r\n");
        assert_eq!(reply, format!("VALUE k{one} 5 3\r\nabc\r\nEND\r\nHD t50\r\n"));
        let reply = exchange(&mut here, format!("mg k{other} T77 v\r\nmg k{other} t\r\n"), "t77\r\n");
        assert_eq!(reply, "VA 3\r\nabc\r\nHD t77\r\n");
    }
    assert_eq!(here.ask("gat 50 nothing"), "END");
    assert_eq!(here.ask("mg nothing T50 v"), "EN");
    assert_eq!((front.stat_number("touch_hits"), front.stat_number("touch_misses")), (20, 2));
    let reply = there.ask("mg k0 t");
    let left = reply.strip_prefix("HD t").and_then(|left| left.parse().ok());
    assert!(left.is_some_and(|left: u32| (400..=500).contains(&left)), "{reply}: the upstream's stays");
}

#[test]
fn what_was_touched_here_ends_here() {
    let upstream = Server::ringcached(&["-t", "1"]);
    let mut there = upstream.connect();
    for key in ["a", "b", "c"] {
        assert_eq!(there.ask(&format!("set {key} 0 0 3\r\nabc")), "STORED");
    }
    let front = in_front_of(upstream.port(), &[]);
    let mut here = front.connect();
    assert_eq!(exchange(&mut here, "gat 2 a\r\n", "END\r\n"), "VALUE a 0 3\r\nabc\r\nEND\r\n");
    assert_eq!(exchange(&mut here, "mg b T2 v\r\n", "abc\r\n"), "VA 3\r\nabc\r\n");
    assert_eq!(exchange(&mut here, "get c\r\n", "END\r\n"), "VALUE c 0 3\r\nabc\r\nEND\r\n");
    assert_eq!(here.ask("touch c 2"), "TOUCHED");
    let deadline = Instant::now() + Duration::from_secs(20);
    while exchange(&mut here, "get a b c\r\n", "END\r\n") != "END\r\n" {
        assert!(Instant::now() < deadline, "a value has come back with the life that it had");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn keys_that_were_stored_in_base64_are_found() {
    for upstream in upstreams() {
        let mut there = upstream.connect();
        assert_eq!(there.ask("ms Zm9v 3 b\r\nbar"), "HD");
        let front = in_front_of(upstream.port(), &[]);
        let mut here = front.connect();
        assert_eq!(here.ask("mg Zm9v T50 b"), "EN", "only text asks");
        assert_eq!(front.stat_number("ringcache_warm_asked"), 0);
        assert_eq!(there.ask("ms YmF6 3 b\r\nbar"), "HD");
        assert_eq!(exchange(&mut here, "get baz\r\n", "END\r\n"), "VALUE baz 0 3\r\nbar\r\nEND\r\n");
        assert_eq!(front.stat_number("ringcache_warm_errors"), 0);
    }
}

#[test]
fn what_was_written_here_does_not_come_back() {
    let upstream = Server::ringcached(&["-t", "1"]);
    let mut there = upstream.connect();
    let front = in_front_of(upstream.port(), &[]);
    let mut here = front.connect();
    for key in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(there.ask(&format!("set {key} 0 0 3\r\nold")), "STORED");
    }
    assert_eq!(here.ask("delete a"), "NOT_FOUND", "what is here decides");
    assert_eq!(here.ask("get a"), "END");
    assert_eq!(exchange(&mut here, "get b\r\n", "END\r\n"), "VALUE b 0 3\r\nold\r\nEND\r\n");
    assert_eq!(here.ask("delete b"), "DELETED");
    assert_eq!(here.ask("get b"), "END");
    assert_eq!(here.ask("set c 0 -1 3\r\nnew"), "STORED");
    assert_eq!(here.ask("get c"), "END", "expired at once");
    assert_eq!(here.ask("incr d 1"), "NOT_FOUND");
    assert_eq!(here.ask("get d"), "END");
    assert_eq!(here.ask("md e"), "NF");
    assert_eq!(here.ask("get e"), "END");
    assert_eq!(here.ask("flush_all"), "OK");
    assert_eq!(here.ask("get f"), "END", "a flush is a write of every key");
    await_stat(&front, "ringcache_warm_open", 0);
}

#[test]
fn one_question_answers_everybody() {
    let upstream = Stub::start(Stub::SPEAKS_META);
    let front = in_front_of(upstream.port, &["-c", "1200", "--warm-timeout-ms", "20000"]);
    let mut clients: Vec<Connection> = (0..1000).map(|_| front.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("get cold\r\n"));
    let mut asked = upstream.accept_question("mg cold v f t k\r\n");
    await_stat(&front, "ringcache_warm_coalesced", 999);
    asked.write_all(b"VA 2 f3 t-1 kcold\r\nhi\r\n").expect("the node is there");
    for client in &mut clients {
        assert_eq!(receive(client, "END\r\n"), "VALUE cold 3 2\r\nhi\r\nEND\r\n");
    }
    assert_eq!(front.stat_number("ringcache_warm_asked"), 1);
}

#[test]
fn answers_keep_their_order_around_what_is_waited_for() {
    let upstream = Stub::start(Stub::SPEAKS_META);
    let front = in_front_of(upstream.port, &["-t", "1", "--warm-timeout-ms", "20000"]);
    let mut here = front.connect();
    here.send("set a 0 0 1\r\n1\r\nget a cold a\r\nset b 0 0 1\r\n2\r\nget b\r\nset cold 0 0 3\r\nnew\r\nget cold\r\n");
    let mut asked = upstream.accept_question("mg cold v f t k\r\n");
    asked.write_all(b"VA 3 f0 t-1 kcold\r\nold\r\n").expect("the node is there");
    let expected = "STORED\r\nVALUE a 0 1\r\n1\r\nVALUE cold 0 3\r\nold\r\nVALUE a 0 1\r\n1\r\nEND\r\nSTORED\r\nVALUE b 0 1\r\n2\r\nEND\r\n\
                    STORED\r\nVALUE cold 0 3\r\nnew\r\nEND\r\n";
    assert_eq!(String::from_utf8_lossy(&here.receive(expected.len())), expected);
}

#[test]
fn a_write_while_the_answer_is_under_way_stands() {
    let upstream = Stub::start(Stub::SPEAKS_META);
    let front = in_front_of(upstream.port, &["-t", "1", "--warm-timeout-ms", "20000"]);
    let (mut one, mut other) = (front.connect(), front.connect());
    for (key, write, written, seen) in [
        ("a", "delete a", "NOT_FOUND", "END\r\n"),
        ("b", "set b 0 0 3\r\nnew", "STORED", "VALUE b 0 3\r\nnew\r\nEND\r\n"),
        ("c", "flush_all", "OK", "END\r\n"),
    ] {
        one.send(format!("get {key}\r\n"));
        let mut asked = upstream.accept_question(&format!("mg {key} v f t k\r\n"));
        assert_eq!(other.ask(write), written);
        asked.write_all(format!("VA 3 f0 t-1 k{key}\r\nold\r\n").as_bytes()).expect("the node is there");
        assert_eq!(receive(&mut one, "END\r\n"), seen, "{write}");
        assert_eq!(exchange(&mut one, format!("get {key}\r\n"), "END\r\n"), seen, "{write}");
    }
}

#[test]
fn an_upstream_that_stops_costs_one_timeout() {
    let upstream = Server::ringcached(&["-t", "1"]);
    assert_eq!(upstream.connect().ask("set late 0 0 1\r\nx"), "STORED");
    let front = in_front_of(upstream.port(), &["--warm-timeout-ms", "300"]);
    let mut here = front.connect();
    assert_eq!(here.ask("set mine 0 0 1\r\n1"), "STORED");
    upstream.signal("STOP");
    // Enough keys for the shards of both workers.
    let keys: String = (0..32).map(|key| format!(" k{key}")).collect();
    assert_eq!(exchange(&mut here, format!("get late{keys}\r\n"), "END\r\n"), "END\r\n");
    assert_eq!(front.stat_number("ringcache_warm_open"), 0, "it owes answers to both");
    assert_eq!(exchange(&mut here, "get mine other\r\n", "END\r\n"), "VALUE mine 0 1\r\n1\r\nEND\r\n");
    // The connections are given up, and made again once there is somebody.
    await_stat(&front, "ringcache_warm_errors", 2);
    upstream.signal("CONT");
    await_stat(&front, "ringcache_warm_open", 2);
    assert_eq!(exchange(&mut here, "get late\r\n", "END\r\n"), "VALUE late 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn an_upstream_that_dies_leaves_plain_misses() {
    let upstream = Server::ringcached(&["-t", "1"]);
    let front = in_front_of(upstream.port(), &[]);
    let mut here = front.connect();
    upstream.signal("KILL");
    await_stat(&front, "ringcache_warm_open", 0);
    let asked = front.stat_number("ringcache_warm_asked");
    assert_eq!(exchange(&mut here, "get a b c\r\ngat 5 d\r\nmg e v\r\n", "EN\r\n"), "END\r\nEND\r\nEN\r\n");
    assert_eq!(front.stat_number("ringcache_warm_asked"), asked);
}

#[test]
fn what_is_too_large_here_is_passed_over() {
    let upstream = Server::ringcached(&["-t", "1", "-I", "4m"]);
    let mut there = upstream.connect();
    let large = "x".repeat(3 << 20);
    for (key, length) in [("far", 3 << 20), ("barely", (1 << 20) - 10)] {
        assert_eq!(there.ask(&format!("set {key} 0 0 {length}\r\n{}", &large[..length])), "STORED");
    }
    assert_eq!(there.ask("set small 0 0 1\r\nx"), "STORED");
    let front = in_front_of(upstream.port(), &["--warm-timeout-ms", "20000"]);
    let reply = exchange(&mut front.connect(), "get far small barely small\r\n", "END\r\n");
    assert_eq!(reply, "VALUE small 0 1\r\nx\r\nVALUE small 0 1\r\nx\r\nEND\r\n");
    assert_eq!(front.stat_number("ringcache_warm_too_large"), 2);
    assert_eq!(front.stat_number("ringcache_warm_errors"), 0);
}

#[test]
fn a_server_without_meta_commands_is_asked_the_classic_way() {
    let upstream = Stub::start(Stub::SPEAKS_CLASSIC);
    let front = in_front_of(upstream.port, &["-t", "1", "--warm-timeout-ms", "20000"]);
    let mut here = front.connect();
    here.send("get cold\r\nmg cold t\r\n");
    let mut asked = upstream.accept_question("get cold\r\n");
    asked.write_all(b"VALUE cold 9 2\r\nhi\r\nEND\r\n").expect("the node is there");
    assert_eq!(receive(&mut here, "END\r\n"), "VALUE cold 9 2\r\nhi\r\nEND\r\n");
    let left = here.receive_line();
    assert!(left == "HD t60" || left == "HD t59", "{left}: it does not say how long it lives");
}

#[test]
fn garbage_ends_the_connection_and_is_no_value() {
    let upstream = Stub::start(Stub::SPEAKS_META);
    let front = in_front_of(upstream.port, &["-t", "1", "--warm-timeout-ms", "20000"]);
    let mut here = front.connect();
    here.send("get cold\r\nget cool\r\n");
    let mut asked = upstream.accept_question("mg cold v f t k\r\nmg cool v f t k\r\n");
    asked.write_all(b"VA 3 f0 t-1 kcool\r\nbad\r\n").expect("the node is there");
    assert_eq!(receive(&mut here, "END\r\n"), "END\r\n");
    assert_eq!(receive(&mut here, "END\r\n"), "END\r\n");
    assert_eq!(front.stat_number("ringcache_warm_errors"), 1);
    assert_eq!(front.stat_number("curr_items"), 0);
}

/// A server that says hello as one of memcached's kind does, and leaves the rest to the test.
struct Stub {
    port: u16,
    questions: mpsc::Receiver<(TcpStream, Vec<u8>)>,
}

impl Stub {
    const SPEAKS_META: &str = "MN\r\n";
    /// Some servers hang up.
    const SPEAKS_CLASSIC: &str = "";

    fn start(hello: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let (sender, questions) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, sender) = (stream.expect("it listens"), sender.clone());
                thread::spawn(move || serve(stream, hello, &sender));
            }
        });
        Self { port, questions }
    }

    /// Waits until so much has been asked on one connection.
    fn accept_question(&self, expected: &str) -> TcpStream {
        let mut all = String::new();
        loop {
            let (stream, piece) = self.questions.recv_timeout(REPLY_TIMEOUT).expect("the node asks");
            all.push_str(&String::from_utf8_lossy(&piece));
            assert!(expected.starts_with(&all), "{all} and not {expected}");
            if all == expected {
                return stream;
            }
        }
    }
}

/// Answers the first questions of who has just connected, and hands on all others.
fn serve(mut stream: TcpStream, hello: &str, questions: &mpsc::Sender<(TcpStream, Vec<u8>)>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let answer = match &buffer[..length] {
            b"mn\r\n" if hello.is_empty() => return,
            b"mn\r\n" => hello,
            probe if probe.starts_with(b"get ringcached:") => "END\r\n",
            question => {
                let stream = stream.try_clone().expect("descriptors");
                if questions.send((stream, question.to_vec())).is_err() {
                    return;
                }
                continue;
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
