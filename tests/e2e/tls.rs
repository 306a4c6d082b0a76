//! TLS as clients and operators meet it: versions, certificates of both sides, listeners, reloads, limits, bad input.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::version;

use crate::certificates::{Authority, Client};
use crate::frames::{Frame, code};
use crate::server::{Address, Connection, Server, run_ringcached};

/// How long something may take to show.
const PATIENCE: Duration = Duration::from_secs(10);

fn wait_for(what: &str, server: &Server, condition: impl Fn() -> bool) {
    wait_until(what, server, || condition().then_some(()));
}

fn wait_until<T>(what: &str, server: &Server, attempt: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(outcome) = attempt() {
            return outcome;
        }
        assert!(Instant::now() < deadline, "{what}: {}", server.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn both_versions_carry_every_protocol() {
    let authority = Authority::new();
    for workers in ["1", "2"] {
        let server = authority.server("", &["-t", workers]);
        for version in [&version::TLS12, &version::TLS13] {
            let mut connection = authority.client().version(version).connect(server.port());
            assert_eq!(connection.ask("set a 0 0 5\r\nhello"), "STORED");
            assert_eq!(connection.ask("mg a v"), "VA 5");
            assert_eq!(connection.receive(7), b"hello\r\n");
            let mut binary = authority.client().version(version).connect(server.port());
            binary.send(Frame::request(code::NOOP).bytes());
            let expected = Frame::response(code::NOOP).bytes();
            assert_eq!(binary.receive(expected.len()), expected);
        }
    }
}

#[test]
fn pipelines_keep_their_order() {
    let authority = Authority::new();
    let server = authority.server("", &["-t", "2"]);
    let mut connection = authority.client().connect(server.port());
    let requests: String = (0..500)
        .map(|n| format!("set key{n} 0 0 {}\r\n{n}\r\nget key{n}\r\n", n.to_string().len()))
        .collect();
    let replies: String = (0..500)
        .map(|n| format!("STORED\r\nVALUE key{n} 0 {}\r\n{n}\r\nEND\r\n", n.to_string().len()))
        .collect();
    connection.send(requests);
    assert_eq!(String::from_utf8_lossy(&connection.receive(replies.len())), replies);
}

#[test]
fn values_of_every_size_come_back() {
    let authority = Authority::new();
    for options in ["", "ssl_wbuf_size=100"] {
        let server = authority.server(options, &["-t", "2", "-I", "4m"]);
        let mut connection = authority.client().connect(server.port());
        for size in [0, 1, 16_000, 16_384, 16_385, 70_000, 3_000_000] {
            let value: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8).collect();
            connection.send([format!("set big 0 0 {size}\r\n").as_bytes(), &value, b"\r\n"].concat());
            assert_eq!(connection.receive(8), b"STORED\r\n");
            connection.send("get big\r\nget big\r\nget big\r\n");
            for _ in 0..3 {
                let head = format!("VALUE big 0 {size}\r\n");
                let reply = connection.receive(head.len() + size + 7);
                assert!(reply.starts_with(head.as_bytes()) && reply.ends_with(b"\r\nEND\r\n"));
                assert!(reply[head.len()..][..size] == value, "a value of {size} bytes is another one");
            }
        }
    }
}

#[test]
fn certificates_of_clients() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let (good, expired, foreign) = (authority.sign(), authority.sign_until(2001), stranger.sign());
    let clients = [
        ("none", authority.client()),
        ("good", authority.client().identity(&good)),
        ("expired", authority.client().identity(&expired)),
        ("foreign", authority.client().identity(&foreign)),
    ];
    // By mode: who is let in.
    let table: [(u8, &[&str]); 4] = [
        (0, &["none", "good", "expired", "foreign"]),
        (1, &["none", "good"]),
        (2, &["good"]),
        (3, &["good"]),
    ];
    for (mode, let_in) in table {
        let options = format!("{},ssl_verify_mode={mode}", authority.trust());
        let server = authority.server(&options, &[]);
        for (name, client) in clients {
            for version in [&version::TLS12, &version::TLS13] {
                let reply = client.version(version).connect(server.port()).try_ask("mn");
                assert_eq!(
                    reply.is_ok(),
                    let_in.contains(&name),
                    "mode {mode}, {name}, {version:?}: {reply:?}"
                );
            }
        }
        if mode > 0 {
            assert!(server.stderr().contains("TLS handshake failed"), "{}", server.stderr());
        }
    }
}

#[test]
fn listeners_of_every_kind() {
    let authority = Authority::new();
    let good = authority.sign();
    let options = authority.options(&format!("{},ssl_verify_mode=1", authority.trust()));
    let listen = "notls:127.0.0.1:0,btls:127.0.0.1:0;mtls:proto[ascii]:127.0.0.1:0";
    let server = Server::ringcached(&["-Z", "-l", listen, "-o", &options]);
    let [flags, plain, server_only, mutual] = server.ports()[..] else { panic!("{:?}", server.ports()) };
    let works = |client: Client<'_>, port| client.connect(port).try_ask("mn").is_ok();
    assert!(works(authority.client(), flags) && works(authority.client(), server_only));
    assert!(!works(authority.client(), mutual));
    assert!(works(authority.client().identity(&good), mutual));
    let mut connection = Connection::open(&Address::Tcp(([127, 0, 0, 1], plain).into())).unwrap();
    assert_eq!(connection.ask("mn"), "MN");
    assert!(!works(authority.client(), plain), "no TLS where none is");
}

#[test]
fn new_certificates_are_for_new_connections() {
    let authority = Authority::new();
    let server = authority.server("", &["-t", "2", "-v"]);
    let mut old = authority.client().connect(server.port());
    assert_eq!(old.ask("mn"), "MN");
    let by_command: fn(&Server, &Authority) = |server, authority| {
        assert_eq!(authority.client().connect(server.port()).ask("refresh_certs"), "OK");
    };
    let by_signal: fn(&Server, &Authority) = |server, _| {
        server.signal("HUP");
        wait_for("SIGHUP is not heard", server, || server.stderr().contains("certificates read"));
    };
    for refresh in [by_command, by_signal] {
        let next = authority.sign();
        authority.install(&next);
        refresh(&server, &authority);
        let mut new = authority.client().connect(server.port());
        assert_eq!(new.ask("mn"), "MN");
        assert!(new.peer() == next.certificate && old.peer() != next.certificate);
        assert_eq!(old.ask("mn"), "MN", "an old connection goes on");
    }

    let before = authority.client().connect(server.port()).stat("stats", "ssl_handshake_errors");
    let last = authority.sign();
    authority.write("chain.pem", "no certificate");
    let refused = old.ask("refresh_certs");
    assert!(refused.starts_with("Error loading the certificate chain: "), "{refused}");
    server.signal("HUP");
    wait_for("a bad file is not told", &server, || {
        server.stderr().contains("the certificates stay what they were")
    });
    let mut new = authority.client().connect(server.port());
    assert_eq!(new.ask("mn"), "MN");
    assert!(new.peer() != last.certificate);
    assert_eq!(new.stat("stats", "ssl_handshake_errors"), before);
}

#[test]
fn plain_text_on_an_encrypted_port_and_the_other_way_round() {
    let authority = Authority::new();
    let options = authority.options("");
    let server = Server::ringcached(&["-Z", "-o", &options, "-l", "notls:127.0.0.1:0"]);
    let [encrypted, plain] = server.ports()[..] else { panic!("{:?}", server.ports()) };
    let mut established = authority.client().connect(encrypted);
    assert_eq!(established.ask("mn"), "MN");

    let mut text = Connection::open(&Address::Tcp(([127, 0, 0, 1], encrypted).into())).unwrap();
    text.send("get a\r\n");
    assert_eq!(text.receive_to_end(), b"", "a stranger is told nothing");
    wait_for("plain text is not told", &server, || server.stderr().contains("what came is not TLS"));

    let mut other = authority.client().connect(plain);
    assert!(other.try_ask("mn").is_err());
    wait_for("TLS is not told", &server, || server.stderr().contains("TLS on a port without it"));
    assert_eq!(established.ask("mn"), "MN", "nobody else is disturbed");
    assert_eq!(established.stat("stats", "ssl_handshake_errors").as_deref(), Some("1"));
}

#[test]
fn broken_streams_end_their_own_connection_only() {
    let authority = Authority::new();
    let server = authority.server("", &["-t", "2"]);
    let mut established = authority.client().connect(server.port());
    assert_eq!(established.ask("set a 0 0 1\r\nx"), "STORED");

    // Half a greeting, and no more.
    let mut hello = Vec::new();
    authority.client().begin().write_tls(&mut hello).expect("a Vec takes every write");
    let mut half = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    half.write_all(&hello[..hello.len() / 2]).unwrap();
    drop(half);

    // A record that nobody has encrypted, on a connection that was all right; and a record without its end.
    let mut damaged = authority.client().connect(server.port());
    assert_eq!(damaged.ask("mn"), "MN");
    damaged.socket().write_all(&[0x17, 3, 3, 0, 32]).unwrap();
    damaged.socket().write_all(&[7; 32]).unwrap();
    assert!(damaged.try_ask("delete a").is_err());
    let mut torn = authority.client().connect(server.port());
    assert_eq!(torn.ask("mn"), "MN");
    torn.socket().write_all(&[0x17, 3, 3, 0, 32, 7, 7]).unwrap();
    drop(torn);

    wait_for("the damage is not told", &server, || server.stderr().contains("TLS connection broke"));
    assert_eq!(established.ask("get a"), "VALUE a 0 1");
    established.receive(8);
    let stat = |name| authority.client().connect(server.port()).stat("stats", name);
    assert_eq!(stat("ssl_proto_errors").as_deref(), Some("1"));
    wait_for("half a greeting is not counted", &server, || {
        stat("ssl_handshake_errors").as_deref() == Some("1")
    });
    wait_for("connections stay", &server, || stat("curr_connections").as_deref() == Some("2"));
}

#[test]
fn limits_hold_for_encrypted_connections() {
    let authority = Authority::new();
    let server = authority.server("idle_timeout=1", &["-c", "2"]);
    let connect = || {
        let mut connection = authority.client().connect(server.port());
        connection.try_ask("mn").is_ok().then_some(connection)
    };
    // Whoever has looked whether the server listens may still be counted.
    let pair = || connect().and_then(|one| Some((one, connect()?)));
    let (mut one, mut two) = wait_until("there is no room for two", &server, pair);
    assert!(connect().is_none(), "there is room for more");
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(2500) {
        assert_eq!(one.ask("mn"), "MN");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(two.receive_to_end(), b"", "idle for too long");
    assert_eq!(one.stat("stats", "idle_kicks").as_deref(), Some("1"));
    wait_until("there is no room again", &server, connect);
}

/// Goal: `-R` counts the requests of a receive, not those of a record.
#[test]
fn many_records_are_no_way_around_the_limit_on_requests() {
    let authority = Authority::new();
    let server = authority.server("", &["-t", "1", "-R", "2"]);
    let mut connection = authority.client().connect(server.port());
    assert_eq!(connection.ask("mn"), "MN");
    connection.send_records(&["mn\r\n"; 20]);
    assert_eq!(connection.receive(20 * 4), b"MN\r\n".repeat(20));
    let yields: u64 =
        connection.stat("stats", "conn_yields").expect("a statistic").parse().expect("a number");
    assert!(yields > 0, "twenty records, two requests each turn");
}

#[test]
fn logins_are_asked_for_behind_tls() {
    let authority = Authority::new();
    let users = authority.write("users", "ann:secret\n");
    let server = authority.server("", &["-Y", &users]);
    let mut connection = authority.client().connect(server.port());
    assert_eq!(connection.ask("get a"), "CLIENT_ERROR unauthenticated");
    assert_eq!(connection.ask("set a 0 0 10\r\nann secret"), "STORED");
    assert_eq!(connection.ask("mn"), "MN");

    let options = authority.options("");
    let flags = ["-Z", "-o", &options, "-S"];
    let server = Server::ringcached_with_file("MEMCACHED_SASL_PWDB", users.as_ref(), &flags);
    let mut connection = authority.client().connect(server.port());
    connection.send(Frame::request(code::SASL_AUTH).key("PLAIN").value("\0ann\0secret").bytes());
    let expected = Frame::response(code::SASL_AUTH).value("Authenticated").bytes();
    assert_eq!(connection.receive(expected.len()), expected);
}

#[test]
fn quit_and_shutdown_are_announced() {
    let authority = Authority::new();
    let mut server = authority.server("", &["-A", "-t", "2"]);
    let mut connection = authority.client().connect(server.port());
    connection.send("mn\r\nquit\r\n");
    assert_eq!(connection.receive_to_end(), b"MN\r\n");
    let mut waiting = authority.client().connect(server.port());
    assert_eq!(waiting.ask("mn"), "MN");
    authority.client().connect(server.port()).send("shutdown\r\n");
    assert_eq!(waiting.receive_to_end(), b"");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn settings_and_statistics_show_tls() {
    let authority = Authority::new();
    let options = "ssl_session_cache,ssl_min_version=3,ssl_ciphers=TLS_AES_128_GCM_SHA256";
    let server = authority.server(options, &["-l", "notls:127.0.0.1:0"]);
    assert!(
        authority.client().version(&version::TLS12).connect(server.port()).try_ask("mn").is_err(),
        "1.3 is the least"
    );
    let mut connection = authority.client().connect(server.port());
    let chain = authority.path("chain.pem");
    for (name, value) in [
        ("ssl_enabled", "yes"),
        ("ssl_chain_cert", chain.to_str().expect("a temporary path is text")),
        ("ssl_session_cache", "yes"),
        ("ssl_min_version", "tlsv1.3"),
        ("ssl_ciphers", "TLS_AES_128_GCM_SHA256"),
    ] {
        assert_eq!(connection.stat("stats settings", name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(connection.stat("stats", "ssl_new_sessions").as_deref(), Some("1"));
    let since = connection.stat("stats", "time_since_server_cert_refresh").expect("it is shown");
    assert!(since.parse::<u32>().is_ok_and(|seconds| seconds < 100), "{since}");
    assert_eq!(connection.ask("stats reset"), "RESET");
    assert_eq!(connection.stat("stats", "ssl_new_sessions").as_deref(), Some("0"));
}

#[test]
fn starts_that_are_refused() {
    let authority = Authority::new();
    let other = Authority::new();
    let file = |authority: &Authority, name| authority.path(name).display().to_string();
    let (chain, key) = (file(&authority, "chain.pem"), file(&authority, "key.pem"));
    let garbage =
        authority.write("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let foreign = file(&other, "key.pem");
    for (options, reason) in [
        ("modern".to_owned(), "Error loading the certificate chain: no file is given"),
        (format!("ssl_chain_cert=/no/such/file,ssl_key={key}"), "/no/such/file"),
        (format!("ssl_chain_cert={key},ssl_key={key}"), "there is no certificate in it"),
        (format!("ssl_chain_cert={garbage},ssl_key={key}"), "Error validating the certificate"),
        (format!("ssl_chain_cert={chain}"), "there is no key in it"),
        (format!("ssl_chain_cert={chain},ssl_key=/no/such/file"), "Error loading the key: /no/such/file"),
        (format!("ssl_chain_cert={chain},ssl_key={chain}"), "Error loading the key"),
        (format!("ssl_chain_cert={chain},ssl_key={key},ssl_keyformat=DER"), "Error loading the key"),
        (format!("ssl_chain_cert={chain},ssl_key={foreign}"), "Error validating the certificate"),
        (authority.options("ssl_verify_mode=2"), "ssl_ca_cert is needed"),
        (authority.options(&format!("ssl_ca_cert={key}")), "Error loading the CA certificate"),
        (authority.options("ssl_ciphers=NULL"), "Error setting the provided cipher(s): NULL"),
    ] {
        let output = run_ringcached(&["-Z", "-l", "127.0.0.1", "-p", "-1", "-o", &options]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{options}: {text}");
        assert!(text.contains(reason), "{options}: {text}");
    }
    let output = run_ringcached(&["--enable-ssl", "--version"]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"memcached 1.6.45\n".to_vec()));
}
