//! `watch` and `stats detail` over real sockets and workers.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::certificates::Authority;
use crate::server::{Address, Connection, Server};

/// The next event without its time and number.
fn event(watcher: &mut Connection) -> String {
    let line = String::from_utf8(watcher.receive_until(b"\n")).expect("events are text");
    let mut parts = line.trim_end().splitn(3, ' ');
    let (time, number, event) = (parts.next(), parts.next(), parts.next());
    assert!(time.is_some_and(|time| time.starts_with("ts=")), "{line:?}");
    assert!(number.is_some_and(|number| number.starts_with("gid=")), "{line:?}");
    event.expect("an event has a type").to_owned()
}

fn watch(server: &Server, streams: &str) -> Connection {
    let mut watcher = server.connect();
    assert_eq!(watcher.ask(&format!("watch {streams}")), "OK");
    watcher
}

/// Whichever worker has the client, the watcher and the key.
#[test]
fn every_command_is_streamed() {
    for workers in ["1", "3"] {
        let server = Server::ringcached(&["-t", workers]);
        let mut watchers: Vec<Connection> =
            (0..3).map(|_| watch(&server, "fetchers mutations deletions")).collect();
        for client in 0..3 {
            let mut connection = server.connect();
            for number in 0..6 {
                let key = format!("k{client}-{number}");
                let mut ask = |command: String, reply: &str| assert_eq!(connection.ask(&command), reply);
                ask(format!("get {key}"), "END");
                ask(format!("set {key} 0 100 2\r\nab"), "STORED");
                ask(format!("append {key} 0 0 1\r\nc"), "STORED");
                ask(format!("touch {key} 0"), "TOUCHED");
                ask(format!("delete {key}"), "DELETED");
                for watcher in &mut watchers {
                    let mut next = |expected: &str| {
                        let event = event(watcher);
                        let cfd = event.find(" cfd=").map(|at| at + 5);
                        let shown = cfd.map_or(event.clone(), |at| {
                            let end = event[at..].find(' ').map_or(event.len(), |end| at + end);
                            assert!(event[at..end].parse::<u32>().is_ok_and(|fd| fd > 2), "{event}");
                            format!("{}N{}", &event[..at], &event[end..])
                        });
                        assert_eq!(shown, expected, "{workers} workers");
                    };
                    next(&format!("type=item_get key={key} status=not_found clsid=0 cfd=N size=0"));
                    next(&format!(
                        "type=item_store key={key} status=stored cmd=set ttl=100 clsid=1 cfd=N size=2"
                    ));
                    next(&format!(
                        "type=item_store key={key} status=stored cmd=append ttl=0 clsid=1 cfd=N size=1"
                    ));
                    next(&format!("type=item_get key={key} status=found clsid=1 cfd=N size=3"));
                    next(&format!("type=deleted key={key} cmd=delete clsid=1 size=3"));
                }
            }
        }
    }
}

/// Goal: what is noted does not depend on which worker owns the key, also where a command needs a write of its own.
#[test]
fn refused_stores_and_touches_into_the_past_are_noted_alike() {
    let server = Server::ringcached(&["-t", "4", "-I", "1k"]);
    let mut watcher = watch(&server, "fetchers mutations deletions");
    let mut connection = server.connect();
    assert_eq!(connection.ask("stats detail on"), "OK");
    let large = "x".repeat(2000);
    for number in 0..24 {
        let key = format!("p:{number}");
        assert_eq!(connection.ask(&format!("set {key} 0 0 1\r\nv")), "STORED");
        assert_eq!(connection.ask(&format!("gat -1 {key}")), format!("VALUE {key} 0 1"));
        assert_eq!((connection.receive_line(), connection.receive_line()), ("v".into(), "END".into()));
        assert_eq!(connection.ask(&format!("set {key} 0 0 1\r\nv")), "STORED");
        assert_eq!(connection.ask(&format!("mg {key} T-1")), "HD");
        let refusal = "SERVER_ERROR object too large for cache";
        assert_eq!(connection.ask(&format!("set {key} 0 0 2000\r\n{large}")), refusal);
        for expected in [
            format!("type=item_store key=p%3A{number} status=stored cmd=set"),
            format!("type=item_get key=p%3A{number} status=found"),
            format!("type=item_store key=p%3A{number} status=stored cmd=set"),
            format!("type=item_get key=p%3A{number} status=found"),
            format!("type=item_store key=p%3A{number} status=too_large cmd=set"),
        ] {
            let event = event(&mut watcher);
            assert!(event.starts_with(&expected), "{event}, not {expected}");
        }
    }
    assert_eq!(connection.ask("stats detail dump"), "PREFIX p get 48 hit 48 set 72 del 0");
}

/// What was noted for a watcher that has gone is not the next one's.
#[test]
fn a_watcher_begins_with_what_happens_from_then_on() {
    let server = Server::ringcached(&["-t", "4"]);
    let mut connections: Vec<Connection> = (0..4).map(|_| server.connect()).collect();
    for round in 0..20 {
        drop(watch(&server, "mutations"));
        for connection in &mut connections {
            assert_eq!(connection.ask("set before 0 0 1\r\nv"), "STORED");
        }
        // Whoever closes is noticed at some time; until then its events are still noted.
        let mut watcher = watch(&server, "mutations");
        for connection in &mut connections {
            assert_eq!(connection.ask(&format!("set after{round} 0 0 1\r\nv")), "STORED");
        }
        for _ in 0..connections.len() {
            let event = event(&mut watcher);
            assert!(event.contains(&format!(" key=after{round} ")), "{event}");
        }
    }
}

#[test]
fn evictions_are_streamed() {
    let server = Server::ringcached(&["-t", "1", "-m", "2", "-I", "100k"]);
    let mut watcher = watch(&server, "evictions");
    let mut connection = server.connect();
    for key in 0..400 {
        connection.send(format!("set key{key} 0 0 10000 noreply\r\n{}\r\n", "x".repeat(10_000)));
    }
    assert_eq!(connection.ask("mn"), "MN");
    let event = event(&mut watcher);
    assert!(event.starts_with("type=eviction key=key"), "{event}");
    assert!(event.contains(" fetch=no ttl=-1 la=") && event.ends_with(" clsid=1 size=10000"), "{event}");
}

#[test]
fn connections_are_streamed_with_the_reason_of_their_end() {
    let server = Server::ringcached(&["-t", "2", "-o", "idle_timeout=1"]);
    let mut watcher = watch(&server, "connevents");
    let mut leaving = server.connect();
    assert_eq!(leaving.ask("mn"), "MN");
    let opened = event(&mut watcher);
    assert!(opened.starts_with("type=conn_new rip=127.0.0.1 rport="), "{opened}");
    let (_, socket) = opened.split_once(" transport=tcp cfd=").expect("the end of the line");
    drop(leaving);
    let closed = event(&mut watcher);
    assert!(closed.starts_with("type=conn_close rip="), "{closed}");
    assert!(closed.ends_with(&format!(" transport=tcp reason=normal cfd={socket}")), "{closed}");
    let _idle = server.connect();
    event(&mut watcher);
    assert!(event(&mut watcher).contains(" reason=idle_timeout "));
    assert_eq!(server.connect().ask("mn"), "MN", "the watcher was idle too, and is still there");
    assert!(event(&mut watcher).starts_with("type=conn_new"));
}

/// Handshakes that fail, and encrypted connections that break later.
#[test]
fn failures_of_tls_are_streamed() {
    let authority = Authority::new();
    let options = authority.options("");
    let server = Server::ringcached(&["-Z", "-t", "2", "-l", "notls:127.0.0.1:0", "-o", &options]);
    let [encrypted, plain] = server.ports()[..] else { panic!("{:?}", server.ports()) };
    let at = |port: u16| Address::Tcp(([127, 0, 0, 1], port).into());
    let mut watcher = Connection::open(&at(plain)).expect("it listens");
    assert_eq!(watcher.ask("watch connevents"), "OK");
    let mut next_failure = || loop {
        let event = event(&mut watcher);
        if let Some(rest) = event.strip_prefix("type=conntlserr fd=") {
            let (descriptor, reason) = rest.split_once(" msg=").expect("a reason");
            assert!(descriptor.parse::<u32>().is_ok_and(|number| number > 2), "{event}");
            return reason.to_owned();
        }
    };
    let mut lost = Connection::open(&at(encrypted)).expect("it listens");
    lost.send("mn\r\n");
    assert_eq!(next_failure(), "what came is not TLS");
    let mut good = authority.client().connect(encrypted);
    assert_eq!(good.ask("mn"), "MN");
    good.socket()
        .write_all(&[
            0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
        ])
        .expect("sent");
    assert!(!next_failure().is_empty());
}

#[test]
fn a_slow_watcher_holds_up_nobody_and_is_told_what_it_missed() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut slow = watch(&server, "mutations");
    let mut connection = server.connect();
    let long = "k".repeat(200);
    for _ in 0..200 {
        connection.send(format!("set {long} 0 0 1\r\nx\r\n").repeat(200));
        let stored = connection.receive("STORED\r\n".len() * 200);
        assert_eq!(stored.len(), "STORED\r\n".len() * 200);
        if connection.stat("stats", "log_watcher_skipped").is_some_and(|skipped| skipped != "0") {
            break;
        }
    }
    assert_ne!(connection.stat("stats", "log_watcher_skipped").as_deref(), Some("0"));
    // What it missed is told with the next line that finds room.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let line = slow.receive_until(b"\n");
        if line.starts_with(b"skipped=") {
            break;
        }
        assert!(
            line.starts_with(b"ts=") && Instant::now() < deadline,
            "{:?}",
            String::from_utf8_lossy(&line)
        );
        assert_eq!(connection.ask("set more 0 0 1\r\nx"), "STORED");
    }
}

#[test]
fn there_are_twenty_watchers_at_most() {
    let server = Server::ringcached(&["-t", "2"]);
    let mut watchers: Vec<Connection> = (0..20).map(|_| watch(&server, "fetchers")).collect();
    let mut late = server.connect();
    assert_eq!(late.ask("watch"), "WATCHER_TOO_MANY log watcher limit reached");
    assert_eq!(late.stat("stats", "log_watchers").as_deref(), Some("20"));
    watchers.pop();
    let deadline = Instant::now() + Duration::from_secs(10);
    while late.ask("watch") != "OK" {
        assert!(Instant::now() < deadline, "a watcher that has gone still counts");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_watcher_does_not_keep_the_server_alive() {
    let mut server = Server::ringcached(&["-t", "2"]);
    let mut watcher = watch(&server, "connevents");
    let begun = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(4), "it did not wait for the end of the watch");
    let _ = watcher.receive_to_end();
}

#[test]
fn prefixes_are_counted_over_all_workers() {
    for workers in ["1", "3"] {
        let server = Server::ringcached(&["-t", workers, "-D", "/"]);
        let mut connections: Vec<Connection> = (0..3).map(|_| server.connect()).collect();
        for connection in &mut connections {
            for key in 0..10 {
                connection
                    .send(format!("set p/{key} 0 0 1 noreply\r\nx\r\nset q/{key} 0 0 1 noreply\r\nx\r\n"));
                connection.send(format!("get p/{key} none/{key}\r\ndelete q/{key} noreply\r\n"));
                assert!(connection.receive_until(b"END\r\n").starts_with(b"VALUE p/"));
            }
            connection.send("stats detail dump\r\n");
            connection.receive_until(b"END\r\n");
        }
        connections[0].send("stats detail dump\r\n");
        let dump = String::from_utf8(connections[0].receive_until(b"END\r\n")).expect("text");
        let expected = "PREFIX none get 30 hit 0 set 0 del 0\r\nPREFIX p get 30 hit 30 set 30 del 0\r\n\
                        PREFIX q get 0 hit 0 set 30 del 30\r\nEND\r\n";
        assert_eq!(dump, expected, "{workers} workers");
        assert_eq!(connections[0].stat("stats settings", "detail_enabled").as_deref(), Some("yes"));
        assert_eq!(connections[0].stat("stats settings", "stat_key_prefix").as_deref(), Some("/"));
    }
}
