//! Nothing alive is lost while it fits, and what has expired gives its memory back without being touched.

use std::time::Duration;

use crate::server::{Connection, Server};

const MEMORY_MIB: u64 = 64;
const VALUE_BYTES: usize = 1_000;
/// What a record costs beyond its value: header, key, alignment and index.
const RECORD_OVERHEAD: u64 = 100;
const PER_BATCH: usize = 500;

#[test]
fn nothing_alive_is_lost_at_three_quarters_of_the_memory() {
    // Random overwrites of ten times the memory, while the living stay at 75 %.
    let records = MEMORY_MIB * (1 << 20) * 3 / 4 / (VALUE_BYTES as u64 + RECORD_OVERHEAD);
    let writes = MEMORY_MIB * (1 << 20) * 10 / VALUE_BYTES as u64;
    let server = Server::ringcached(&["-m", &MEMORY_MIB.to_string(), "-t", "2"]);
    let mut connection = server.connect();
    let mut rounds = vec![0_u32; records as usize];
    store(&mut connection, (0..records).map(|key| (key, 0)));
    let mut state = 88_172_645_463_325_252_u64;
    let mut left = writes;
    while left > 0 {
        let batch: Vec<(u64, u32)> = (0..PER_BATCH as u64)
            .map(|_| {
                let key = random(&mut state) % records;
                rounds[key as usize] += 1;
                (key, rounds[key as usize])
            })
            .collect();
        store(&mut connection, batch.into_iter());
        left = left.saturating_sub(PER_BATCH as u64);
    }
    assert_eq!(server.stat_number("evictions"), 0);
    assert_eq!(server.stat_number("curr_items"), records);
    for (key, round) in rounds.iter().enumerate() {
        check(&mut connection, key as u64, *round);
    }
}

#[test]
fn a_full_cache_evicts_and_stays_within_its_memory() {
    let server = Server::ringcached(&["-m", "32", "-t", "2"]);
    let mut connection = server.connect();
    store(&mut connection, (0..150_000).map(|key| (key, 0)));
    assert!(server.stat_number("evictions") > 0);
    let held = server.stat_number("curr_items") * VALUE_BYTES as u64;
    assert!(held > 16 << 20, "only {held} bytes of values are held in 32 MiB");
    assert!(held < 32 << 20);
    check(&mut connection, 149_999, 0);
}

#[test]
fn a_full_cache_that_may_not_evict_says_so() {
    let server = Server::ringcached(&["-m", "32", "-t", "1", "-M"]);
    let mut connection = server.connect();
    let value = "x".repeat(10_000);
    let refused = (0..10_000).map(|key| format!("set k{key} 0 0 10000\r\n{value}\r\n")).find_map(|command| {
        connection.send(command);
        let reply = connection.receive_line();
        (reply != "STORED").then_some(reply)
    });
    assert_eq!(refused.as_deref(), Some("SERVER_ERROR out of memory storing object"));
    assert_eq!(connection.ask("mg k0 s"), "HD s10000", "what was stored before is still there");
    assert_eq!(connection.ask("delete k0"), "DELETED");
}

#[test]
fn expired_memory_comes_back_untouched() {
    let server = Server::ringcached(&["-m", &MEMORY_MIB.to_string(), "-t", "2"]);
    let mut connection = server.connect();
    store_with(&mut connection, (0..20_000).map(|key| (key, 0)), 2);
    store(&mut connection, (20_000..20_010).map(|key| (key, 0)));
    assert_eq!(server.stat_number("curr_items"), 20_010);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    // Nothing but stats is asked in the meantime.
    while server.stat_number("curr_items") > 10 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} are still counted",
            server.stat_number("curr_items")
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(server.stat_number("bytes") < 20 * (VALUE_BYTES as u64 + RECORD_OVERHEAD));
    check(&mut connection, 20_005, 0);
}

#[test]
fn values_up_to_the_item_limit_are_exact() {
    let server = Server::ringcached(&["-m", "256", "-I", "32m", "-t", "2"]);
    let mut connection = server.connect();
    for bytes in [1, 4_096, 65_535, 1 << 20, 5_000_000, (32 << 20) - 100] {
        let value: Vec<u8> = (0..bytes).map(|at| b'a' + (at % 23) as u8).collect();
        connection.send(format!("set big 0 0 {bytes}\r\n"));
        connection.send(&value);
        connection.send("\r\n");
        assert_eq!(connection.receive_line(), "STORED", "{bytes} bytes");
        connection.send("get big\r\n");
        assert_eq!(connection.receive_line(), format!("VALUE big 0 {bytes}"));
        assert!(connection.receive(bytes) == value, "{bytes} bytes come back as they were");
        assert_eq!(connection.receive(7), b"\r\nEND\r\n");
    }
    connection.send(format!("set big 0 0 {}\r\n", 32 << 20));
    connection.send(vec![b'x'; 32 << 20]);
    connection.send("\r\n");
    assert_eq!(connection.receive_line(), "SERVER_ERROR object too large for cache");
    assert_eq!(connection.ask("get big"), "END");
}

#[test]
fn a_large_value_that_is_replaced_while_it_is_sent_stays_whole() {
    const BYTES: usize = 900_000;
    let server = Server::ringcached(&["-t", "2"]);
    let (mut reader, mut writer) = (server.connect(), server.connect());
    let store = |letter: &str| format!("set k 0 0 {BYTES}\r\n{}\r\n", letter.repeat(BYTES));
    writer.send(store("a"));
    assert_eq!(writer.receive_line(), "STORED");
    for letters in ["ab", "bc", "cd", "de"] {
        let (old, new) = letters.split_at(1);
        reader.send("get k\r\nmn\r\n");
        assert_eq!(reader.receive_line(), format!("VALUE k 0 {BYTES}"));
        writer.send(store(new));
        writer.send("delete k\r\n".to_owned() + &store("x") + &store(new));
        assert_eq!(writer.receive(3 * 8 + 9).len(), 33);
        assert!(reader.receive(BYTES).iter().all(|byte| *byte == old.as_bytes()[0]), "not mixed with {new}");
        assert_eq!(reader.receive(11), b"\r\nEND\r\nMN\r\n");
    }
}

#[test]
fn the_memory_limit_can_be_changed_while_running() {
    let server = Server::ringcached(&["-m", "64", "-t", "1"]);
    let mut connection = server.connect();
    assert_eq!(connection.ask("cache_memlimit 32"), "OK");
    assert_eq!(connection.stat("stats settings", "maxbytes").as_deref(), Some("33554432"));
    store(&mut connection, (0..60_000).map(|key| (key, 0)));
    assert!(server.stat_number("bytes") < 32 << 20);
}

fn store(connection: &mut Connection, records: impl Iterator<Item = (u64, u32)>) {
    store_with(connection, records, 0);
}

/// Stores values that name their key and round, pipelined, and sees each reply.
fn store_with(connection: &mut Connection, records: impl Iterator<Item = (u64, u32)>, exptime: u32) {
    let mut records = records.peekable();
    while records.peek().is_some() {
        let (mut sent, mut count) = (String::new(), 0);
        for (key, round) in records.by_ref().take(PER_BATCH) {
            sent += &format!("set key{key} 0 {exptime} {VALUE_BYTES}\r\n{}\r\n", value(key, round));
            count += 1;
        }
        connection.send(sent);
        let replies = connection.receive(count * "STORED\r\n".len());
        assert!(replies == "STORED\r\n".repeat(count).as_bytes(), "{}", String::from_utf8_lossy(&replies));
    }
}

fn check(connection: &mut Connection, key: u64, round: u32) {
    connection.send(format!("get key{key}\r\n"));
    let expected = format!("VALUE key{key} 0 {VALUE_BYTES}\r\n{}\r\nEND\r\n", value(key, round));
    let line = connection.receive_until(b"\r\n");
    assert_ne!(line, b"END\r\n", "key{key} is lost");
    let rest = connection.receive(expected.len() - line.len());
    assert!([line, rest].concat() == expected.as_bytes(), "key{key} is not of round {round}");
}

fn value(key: u64, round: u32) -> String {
    let name = format!("{key:08}:{round:06};");
    name.repeat(VALUE_BYTES / name.len() + 1)[..VALUE_BYTES].to_owned()
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}
