//! Requests as datagrams: memcached's answers, memcached's frame, and bounds on what a stranger can cause.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use crate::frames::{Frame, code};
use crate::server::{REPLY_TIMEOUT, Server, run_ringcached};

/// How long nothing comes before nothing is taken to come.
const SILENCE: Duration = Duration::from_millis(300);
/// Payload of a full datagram.
const PART_BYTES: usize = 1392;
const FLAGS: [&str; 2] = ["-U", "-1"];

/// A client with a socket of its own.
struct Client {
    socket: UdpSocket,
    request: u16,
}

impl Client {
    fn of(server: &Server) -> Client {
        Client::at("127.0.0.1", server.udp_port())
    }

    fn at(host: &str, port: u16) -> Client {
        let socket = UdpSocket::bind((host, 0)).expect("loopback has free ports");
        socket.connect((host, port)).expect("a datagram socket connects at once");
        socket.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a positive time");
        Client { socket, request: 0 }
    }

    /// Sends a request; the id it has.
    fn send(&mut self, commands: &[u8]) -> u16 {
        self.request = self.request.wrapping_add(0x0101);
        let header = [self.request.to_be_bytes(), [0, 0], [0, 1], [0, 0]].concat();
        self.socket.send(&[&header, commands].concat()).expect("a datagram leaves");
        self.request
    }

    /// One message: the answer to one command.
    fn receive(&self) -> Vec<u8> {
        let mut parts: Vec<Option<Vec<u8>>> = Vec::new();
        while parts.is_empty() || parts.iter().any(Option::is_none) {
            let mut buffer = [0; 2000];
            let length = self.socket.recv(&mut buffer).expect("an answer comes");
            let number = |at: usize| usize::from(u16::from_be_bytes([buffer[at], buffer[at + 1]]));
            assert_eq!((number(0), number(6)), (usize::from(self.request), 0), "the frame repeats the id");
            let (sequence, total) = (number(2), number(4));
            parts.resize(total, None);
            assert!(length == PART_BYTES + 8 || sequence + 1 == total, "only the last one is shorter");
            parts[sequence] = Some(buffer[8..length].to_vec());
        }
        parts.into_iter().flatten().flatten().collect()
    }

    /// The messages of a datagram whose last command is `mn`, joined.
    fn receive_to_marker(&self) -> Vec<u8> {
        let mut all = Vec::new();
        while !all.ends_with(b"MN\r\n") {
            let mut buffer = [0; 2000];
            let length = self.socket.recv(&mut buffer).expect("an answer comes");
            all.extend_from_slice(&buffer[8..length]);
        }
        all
    }

    fn ask(&mut self, commands: impl AsRef<[u8]>) -> String {
        self.send(commands.as_ref());
        String::from_utf8(self.receive()).expect("the answer is text")
    }

    /// Everything that comes until nothing does any more, headers taken off.
    fn receive_all(&self) -> Vec<Vec<u8>> {
        self.socket.set_read_timeout(Some(SILENCE)).expect("a positive time");
        let mut all = Vec::new();
        let mut buffer = [0; 2000];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(length) => all.push(buffer[8..length].to_vec()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.socket.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a positive time");
        all
    }
}

/// Goal: every kind of command is answered, wherever its key lives, and answers of any length arrive whole.
#[test]
fn every_command_is_answered_from_every_worker() {
    for workers in ["1", "2", "4"] {
        let server = Server::ringcached(&[&FLAGS[..], &["-t", workers]].concat());
        for number in 0..40 {
            let mut client = Client::of(&server);
            let (key, value) = (format!("key{number}"), "v".repeat(number * 97));
            let length = value.len();
            assert_eq!(client.ask(format!("set {key} 7 0 {length}\r\n{value}\r\n")), "STORED\r\n");
            let expected = format!("VALUE {key} 7 {length}\r\n{value}\r\nEND\r\n");
            assert_eq!(client.ask(format!("get {key}\r\n")), expected);
            assert_eq!(client.ask(format!("get none {key} {key}\r\n")), {
                let one = expected.strip_suffix("END\r\n").expect("it ends so");
                format!("{one}{expected}")
            });
            assert_eq!(
                client.ask(format!("mg {key} s v\r\n")),
                format!("VA {length} s{length}\r\n{value}\r\n")
            );
            assert_eq!(client.ask(format!("delete {key}\r\n")), "DELETED\r\n");
            client.send(&Frame::request(code::GETK).key(key.as_str()).bytes());
            let (miss, _) = Frame::read(&client.receive()).expect("a frame is answered by a frame");
            assert_eq!((miss.status, miss.key), (1, key.into_bytes()));
        }
    }
}

#[test]
fn large_values_travel_in_many_datagrams() {
    let server = Server::ringcached(&[&FLAGS[..], &["-t", "2", "--udp-limit", "0"]].concat());
    let mut client = Client::of(&server);
    for length in [PART_BYTES, 5_000, 60_000] {
        let value: String = (0..length).map(|at| char::from(b'a' + (at * 7 % 25) as u8)).collect();
        assert_eq!(client.ask(format!("set k 0 0 {length}\r\n{value}\r\n")), "STORED\r\n", "{length}");
        assert_eq!(client.ask("get k\r\n"), format!("VALUE k 0 {length}\r\n{value}\r\nEND\r\n"), "{length}");
    }
}

/// Commands of one datagram are each answered by a message, in order, and see each other.
#[test]
fn commands_of_one_datagram_are_executed_in_order() {
    let server = Server::ringcached(&[&FLAGS[..], &["-t", "4"]].concat());
    let mut client = Client::of(&server);
    for round in 0..20 {
        let keys: Vec<String> = (0..8).map(|number| format!("k{round}-{number}")).collect();
        let asked: Vec<String> = keys
            .iter()
            .map(|key| {
                format!(
                    "set {key} 0 0 1\r\n1\r\nincr {key} 4\r\nset {key} 0 0 1 noreply\r\n7\r\nget {key}\r\n"
                )
            })
            .collect();
        client.send(asked.concat().as_bytes());
        for key in &keys {
            for expected in ["STORED\r\n", "5\r\n", &format!("VALUE {key} 0 1\r\n7\r\nEND\r\n")] {
                assert_eq!(client.receive(), expected.as_bytes(), "{key}");
            }
        }
    }
}

/// Goal: what is no request is dropped, counted by its reason, and disturbs nobody.
#[test]
fn what_is_no_request_is_dropped_and_counted() {
    let server = Server::ringcached(&FLAGS);
    let client = Client::of(&server);
    let parted = [[0, 1, 0, 0, 0, 2, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 1, 0, 0]];
    for header in parted {
        client.socket.send(&[&header[..], b"get k\r\n"].concat()).expect("a datagram leaves");
    }
    for short in [&b""[..], b"\0", b"\0\x01\0\0\0\x01\0\0"] {
        client.socket.send(short).expect("a datagram leaves");
    }
    for cut in ["get k", "set k 0 0 10\r\n12345", "x"] {
        client.socket.send(&[b"\0\x01\0\0\0\x01\0\0", cut.as_bytes()].concat()).expect("a datagram leaves");
    }
    assert_eq!(client.receive_all(), Vec::<Vec<u8>>::new());
    assert_eq!(Client::of(&server).ask("get k\r\n"), "END\r\n", "the next request is a request");
    assert_eq!(server.stat_number("ringcache_udp_parted"), 3);
    assert_eq!(server.stat_number("ringcache_udp_malformed"), 6);
    assert_eq!(server.stat_number("ringcache_udp_requests"), 4, "those that were cut off, and the last");
}

/// Goal: an answer is no request of a service below port 1024, nor of a node on the port of this one.
#[test]
fn sources_that_would_take_an_answer_for_a_request_get_none() {
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let server = Server::ringcached(&["-U", &port.to_string()]);
    let same_port = UdpSocket::bind(("127.0.0.2", port)).expect("the other address has this port free");
    let service = (512..1024).find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok());
    if service.is_none() {
        eprintln!("skipped in part: only root has ports below 1024");
    }
    let mut dropped = 0;
    for socket in [Some(same_port), service].into_iter().flatten() {
        socket.connect(("127.0.0.1", port)).expect("a datagram socket connects at once");
        socket.set_read_timeout(Some(REPLY_TIMEOUT)).expect("a positive time");
        let mut client = Client { socket, request: 0 };
        client.send(b"mn\r\n");
        assert_eq!(client.receive_all(), Vec::<Vec<u8>>::new(), "{:?}", client.socket);
        dropped += 1;
    }
    assert_eq!(server.stat_number("ringcache_udp_dropped"), dropped);
    assert_eq!(Client::at("127.0.0.1", port).ask("mn\r\n"), "MN\r\n");
}

/// What would need a connection is refused, and what an unknown client could read without end too.
#[test]
fn streams_are_refused() {
    let server = Server::ringcached(&[&FLAGS[..], &["-o", "track_sizes"]].concat());
    let mut client = Client::of(&server);
    for (command, answer) in [
        ("watch", "CLIENT_ERROR watch commands not allowed\r\n"),
        ("lru_crawler metadump all", "ERROR metadump not allowed\r\n"),
        ("lru_crawler mgdump all", "ERROR key dump not allowed\r\n"),
        ("stats cachedump 1 0", "ERROR\r\n"),
        ("stats sizes", "ERROR\r\n"),
    ] {
        assert_eq!(client.ask(format!("{command}\r\n")), answer, "{command}");
    }
}

/// Goal: a source that asks for much is not sent more than its allowance, and small answers still come.
#[test]
fn a_source_is_sent_no_more_than_its_allowance() {
    const VALUE_BYTES: usize = 1_000_000;
    const ASKED: u64 = 30;
    let server = Server::ringcached(&[&FLAGS[..], &["--udp-limit", "1"]].concat());
    let mut connection = server.connect();
    connection.send(format!("set large 0 0 {VALUE_BYTES}\r\n{}\r\n", "x".repeat(VALUE_BYTES)));
    assert_eq!(connection.receive_line(), "STORED");
    let before = server.stat_number("bytes_written");
    let mut client = Client::of(&server);
    for _ in 0..ASKED {
        client.send(b"get large\r\n");
    }
    client.receive_all();
    let sent = server.stat_number("bytes_written") - before;
    assert!(sent < 4 << 20, "{sent} bytes");
    assert!(server.stat_number("ringcache_udp_limited") >= ASKED - 4);
    assert_eq!(
        client.ask("mn\r\n"),
        "MN\r\n",
        "what is not much longer than the question is always answered"
    );
}

/// An answer over the largest that is sent is dropped, whoever asks.
#[test]
fn an_answer_without_measure_is_not_sent() {
    let server = Server::ringcached(&[&FLAGS[..], &["--udp-limit", "0"]].concat());
    let mut connection = server.connect();
    connection.send(format!("set k 0 0 500000\r\n{}\r\n", "x".repeat(500_000)));
    assert_eq!(connection.receive_line(), "STORED");
    let mut client = Client::of(&server);
    client.send(format!("get{}\r\nmn\r\n", " k".repeat(200)).as_bytes());
    assert_eq!(client.receive(), b"MN\r\n");
    assert_eq!(server.stat_number("ringcache_udp_limited"), 1);
}

#[test]
fn sockets_are_listed_and_ports_are_told() {
    let server = Server::ringcached(&[&FLAGS[..], &["-t", "2"]].concat());
    let mut connection = server.connect();
    connection.send("stats conns\r\n");
    let text = String::from_utf8(connection.receive_until(b"END\r\n")).expect("it is text");
    let address = format!(":addr udp:127.0.0.1:{}\r\n", server.udp_port());
    assert_eq!(text.matches(&address).count(), 2, "{text}");
    assert_eq!(text.matches(":UDP UDP\r\n").count(), 2, "{text}");
}

#[test]
fn a_port_that_is_taken_is_not_shared() {
    let server = Server::ringcached(&FLAGS);
    let port = server.udp_port().to_string();
    let output = run_ringcached(&["-l", "127.0.0.1", "-p", "-1", "-U", &port]);
    assert_eq!(output.status.code(), Some(71));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&format!("UDP port {port}")), "{text}");
}

#[test]
fn both_families_are_served() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("skipped: this machine has no IPv6");
    }
    let server = Server::ringcached(&[&FLAGS[..], &["-l", "::1"]].concat());
    let mut client = Client::at("::1", server.udp_ports("UDP INET6: ")[0]);
    assert_eq!(client.ask("set k 0 0 1\r\nv\r\n"), "STORED\r\n");
    assert_eq!(Client::of(&server).ask("get k\r\n"), "VALUE k 0 1\r\nv\r\nEND\r\n");
}

/// Goal: byte for byte memcached's answers. Method: the same datagrams to both; the messages of one datagram are
/// compared joined, because memcached sends each value of a `get` in a message of its own.
#[test]
fn datagrams_are_answered_as_memcached_does() {
    let Some(stock) = Server::memcached(&FLAGS) else { return };
    let ours = Server::ringcached(&FLAGS);
    let (mut stock, mut ours) = (Client::of(&stock), Client::of(&ours));
    let long = "x".repeat(4000);
    let value = format!("set long 3 0 4000\r\n{long}\r\n");
    for commands in [
        "set a 0 0 1\r\n1\r\n",
        "set b 5 0 2 noreply\r\n22\r\n",
        &value,
        "get a\r\n",
        "get none\r\n",
        "get none a b long none\r\n",
        "gat 0 a b\r\n",
        "get a\r\nget b\r\nget long\r\n",
        "incr a 5\r\nincr b 1\r\nincr none 1\r\ndecr a 2\r\n",
        "append a 0 0 1\r\n7\r\nget a\r\n",
        "touch a 0\r\ntouch none 0\r\ndelete b\r\ndelete b\r\n",
        "mg a v f s\r\nmg none v\r\n",
        "mg a v q k\r\nmg none v q\r\nms m 1 T0 F3\r\nx\r\nmg m f v\r\nmd m q\r\n",
        "set a 0 0 x\r\nget a\r\n",
        "nonsense\r\n",
        "verbosity 0\r\n",
        "flush_all\r\nget a\r\n",
    ] {
        let ask = |client: &mut Client| {
            client.send(format!("{commands}mn\r\n").as_bytes());
            client.receive_to_marker()
        };
        let (stock, ours) = (ask(&mut stock), ask(&mut ours));
        assert_eq!(ours.escape_ascii().to_string(), stock.escape_ascii().to_string(), "{commands:.60}");
    }
}
