//! `lru_crawler metadump` and `mgdump`, `stats cachedump` and `stats sizes`, over real sockets and workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::server::{Connection, Server};

const BUSY: &str = "BUSY currently processing crawler request";

/// Goal: every key that lives through the whole dump appears exactly once. Method: other connections overwrite, add
/// and delete all the while; the added ones make the index grow under the dump.
#[test]
fn a_dump_under_writes_shows_every_stable_key_exactly_once() {
    const STABLE: usize = 40_000;
    for workers in ["1", "3"] {
        let server = Server::ringcached(&["-t", workers, "-m", "256"]);
        let mut connection = server.connect();
        fill(&mut connection, "stable", 0..STABLE);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || write_until(&mut server.connect(), writer, STABLE, is_over));
            }
            for form in ["metadump", "mgdump"] {
                let keys = dumped_keys(&mut connection, form);
                let stable = keys.iter().filter(|(key, _)| key.starts_with("stable"));
                assert_eq!(stable.count(), STABLE, "{workers} workers, {form}");
                let twice = keys.iter().find(|(_, count)| **count != 1);
                assert_eq!(twice, None, "{workers} workers, {form}");
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert_eq!(connection.ask("mn"), "MN", "the connection is an ordinary one again");
    }
}

fn write_until(connection: &mut Connection, writer: usize, stable: usize, is_over: &AtomicBool) {
    let mut round = writer;
    while !is_over.load(Ordering::Relaxed) {
        let mut send = String::new();
        for step in 0..50 {
            let key = (round * 50 + step) * 7 % stable;
            send += &format!("set stable{key} 0 0 5 noreply\r\nagain\r\n");
            send += &format!("set new{writer}-{round}-{step} 0 0 3 noreply\r\nnew\r\n");
            send += &format!("delete new{writer}-{}-{step} noreply\r\n", round / 2);
        }
        connection.send(send + "mn\r\n");
        assert_eq!(connection.receive_line(), "MN");
        round += 1;
    }
}

#[test]
fn a_slow_reader_holds_up_nobody_and_keeps_the_crawl_to_itself() {
    const KEYS: usize = 60_000;
    for workers in ["1", "2"] {
        let server = Server::ringcached(&["-t", workers, "-m", "256"]);
        let mut other = server.connect();
        fill(&mut other, &"long".repeat(30), 0..KEYS);
        let mut slow = server.connect();
        slow.send("lru_crawler metadump all\r\nmn\r\n");
        assert_eq!(slow.receive_line(), "OK");
        // More lines than the sockets' buffers and the session hold, so that the dump can't end by itself.
        for _ in 0..20 {
            assert_eq!(other.ask("lru_crawler mgdump all"), BUSY);
            assert_eq!(other.ask("mn"), "MN");
        }
        assert_eq!(other.stat("stats", "lru_crawler_running").as_deref(), Some("1"));
        let rest = slow.receive_until(b"MN\r\n");
        assert_eq!(rest.iter().filter(|byte| **byte == b'\n').count(), KEYS + 2);
        assert!(rest.ends_with(b" \nEND\r\nMN\r\n"));
        assert_eq!(other.ask("lru_crawler crawl all"), "OK");
    }
}

#[test]
fn a_client_that_leaves_ends_its_dump() {
    let server = Server::ringcached(&["-t", "2", "-m", "256"]);
    let mut other = server.connect();
    fill(&mut other, &"long".repeat(30), 0..60_000);
    let mut leaving = server.connect();
    leaving.send("lru_crawler metadump all\r\n");
    assert_eq!(leaving.receive_line(), "OK");
    assert_eq!(other.ask("lru_crawler mgdump all"), BUSY);
    drop(leaving);
    let deadline = Instant::now() + Duration::from_secs(10);
    while other.ask("lru_crawler crawl all") != "OK" {
        assert!(Instant::now() < deadline, "the dump of a closed connection goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As `echo "lru_crawler metadump all" | nc` does it.
#[test]
fn a_client_that_has_nothing_more_to_say_gets_the_whole_dump() {
    let server = Server::ringcached(&["-t", "2"]);
    fill(&mut server.connect(), "key", 0..5_000);
    let mut connection = server.connect();
    connection.send("lru_crawler mgdump all\r\n");
    connection.end_sending();
    let all = connection.receive_to_end();
    assert_eq!(all.iter().filter(|byte| **byte == b'\n').count(), 5_000 + 2);
    assert!(all.ends_with(b"EN\r\n"));
}

#[test]
fn a_dump_is_no_idle_connection() {
    let server = Server::ringcached(&["-t", "1", "-o", "idle_timeout=1", "-m", "256"]);
    fill(&mut server.connect(), &"long".repeat(30), 0..60_000);
    let mut slow = server.connect();
    slow.send("lru_crawler metadump all\r\n");
    assert_eq!(slow.receive_line(), "OK");
    std::thread::sleep(Duration::from_millis(3500));
    assert!(slow.receive_until(b"END\r\n").ends_with(b"END\r\n"));
}

#[test]
fn forbidden_dumps_are_refused() {
    let server = Server::ringcached(&["-X"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask("lru_crawler metadump all"), "ERROR metadump not allowed");
    assert_eq!(connection.ask("stats cachedump 1 1"), "CLIENT_ERROR stats cachedump not allowed");
}

#[test]
fn sizes_are_counted_when_they_are_tracked() {
    let server = Server::ringcached(&["-t", "2", "-o", "track_sizes"]);
    let mut connection = server.connect();
    fill(&mut connection, "key", 0..1_000);
    connection.send("stats sizes\r\n");
    let text = String::from_utf8(connection.receive_until(b"END\r\n")).expect("stats are text");
    let counts = text.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    assert_eq!(counts.sum::<u64>(), 1_000, "{text}");
}

fn fill(connection: &mut Connection, prefix: &str, numbers: std::ops::Range<usize>) {
    let mut send = String::new();
    for number in numbers {
        send += &format!("set {prefix}{number} 0 0 1 noreply\r\nx\r\n");
        if send.len() > 100_000 {
            connection.send(std::mem::take(&mut send));
        }
    }
    connection.send(send + "mn\r\n");
    assert_eq!(connection.receive_line(), "MN");
}

/// How often each key is in a dump.
fn dumped_keys(connection: &mut Connection, form: &str) -> HashMap<String, u32> {
    connection.send(format!("lru_crawler {form} all\r\n"));
    let end: &[u8] = if form == "mgdump" { b"\nEN\r\n" } else { b"\nEND\r\n" };
    let text = String::from_utf8(connection.receive_until(end)).expect("the keys are text");
    let mut keys = HashMap::new();
    for line in text.lines() {
        let key = line.strip_prefix("mg ").or_else(|| line.strip_prefix("key=")?.split(' ').next());
        if let Some(key) = key {
            *keys.entry(key.to_owned()).or_default() += 1;
        }
    }
    keys
}
