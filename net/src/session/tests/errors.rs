//! Lines and data blocks that are not what they should be.

use super::{Conversation, FRAGMENTS, Random, SHARDS, World};
use crate::config::Config;
use crate::session::Progress;

const BAD: &str = "CLIENT_ERROR bad command line format\r\n";

#[test]
fn malformed_lines() {
    let long = "k".repeat(251);
    let key = "k".repeat(250);
    Conversation::new()
        .step("nonsense\r\n", "ERROR\r\n")
        .step("nonsense noreply\r\n", "")
        .step("GET k\r\n", "ERROR\r\n")
        .step("\r\n", BAD)
        .step("mn\n", BAD)
        .step("    \r\n", "ERROR\r\n")
        .step("get\r\n", BAD)
        .step("get    \r\n", BAD)
        .step("gets\r\n", BAD)
        .step(format!("set {key} 0 0 1\r\na\r\n"), "STORED\r\n")
        .step(format!("get {key}\r\n"), format!("VALUE {key} 0 1\r\na\r\nEND\r\n"))
        .step(format!("get {key} {long}\r\n"), BAD)
        .step(format!("gat 0 {key} {long}\r\n"), BAD)
        .step(format!("delete {long}\r\n"), BAD)
        .step(format!("incr {long} 1\r\n"), BAD)
        .step(format!("touch {long} 1\r\n"), BAD)
        .step("set k 0 0\r\n", BAD)
        .step("set k 0 0 x\r\n", BAD)
        .step("set k 0 0 -1\r\n", BAD)
        .step("set k 0 0 2147483647\r\n", BAD)
        .play();
}

#[test]
fn data_of_a_refused_store_is_swallowed() {
    let long = "k".repeat(251);
    Conversation::new()
        .step(format!("set {long} 0 0 6\r\nget k\n\r\n"), BAD)
        .step("set k x 0 6\r\nget k\n\r\n", BAD)
        .step("set k -1 0 6\r\nget k\n\r\n", BAD)
        .step("set k 0 x 6\r\nget k\n\r\n", BAD)
        .step("cas k 0 0 6\r\nget k\n\r\n", BAD)
        .step("cas k 0 0 6 x\r\nget k\n\r\n", BAD)
        .step("cas k 0 0 6 noreply\r\nget k\n\r\n", "")
        .step("get k\r\n", "END\r\n")
        .play();
}

#[test]
fn bad_data_chunk() {
    Conversation::new()
        .step("set k 0 0 3\r\nabcde", "CLIENT_ERROR bad data chunk\r\n")
        .step("set k 0 0 3\r\nabcdef\r\n", format!("CLIENT_ERROR bad data chunk\r\n{BAD}"))
        .step("set k 0 0 3\r\nab\r\n\r\n", format!("CLIENT_ERROR bad data chunk\r\n{BAD}"))
        .step("get k\r\n", "END\r\n")
        .play();
}

#[test]
fn too_large_values_take_the_old_one_with_them() {
    let config = Config { item_bytes_max: 1024, ..Config::default() };
    // 48 + 8 + 1 + 1 + 2 leave 964 bytes for the value of a key of one byte.
    let (fits, large) = ("x".repeat(964), "x".repeat(965));
    Conversation::with_config(config)
        .step(format!("set k 0 0 964\r\n{fits}\r\n"), "STORED\r\n")
        .step("get k\r\n", format!("VALUE k 0 964\r\n{fits}\r\nEND\r\n"))
        .step(format!("add k 0 0 965\r\n{large}\r\n"), "SERVER_ERROR object too large for cache\r\n")
        .step("get k\r\n", format!("VALUE k 0 964\r\n{fits}\r\nEND\r\n"))
        .step(format!("set k 1 0 964\r\n{fits}\r\n"), "SERVER_ERROR object too large for cache\r\n")
        .step("get k\r\n", "END\r\n")
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step(format!("set k 0 0 965 noreply\r\n{large}\r\n"), "")
        .step("get k\r\n", "END\r\n")
        .step("set k 0 0 1\r\na\r\n", "STORED\r\n")
        .step(format!("ms k 965 ME q\r\n{large}\r\n"), "SERVER_ERROR object too large for cache\r\n")
        .step("get k\r\n", "END\r\n")
        .step(format!("set k 0 0 960\r\n{}\r\n", "x".repeat(960)), "STORED\r\n")
        .step("append k 0 0 10\r\n0123456789\r\n", "NOT_STORED\r\n")
        .play();
}

#[test]
fn a_declared_length_reserves_nothing() {
    let mut world = World::with_config(
        1,
        Config { item_bytes_max: 1 << 30, memory_bytes: 64 << 20, ..Config::default() },
    );
    world.send(b"set k 0 0 1000000000\r\nabc", usize::MAX);
    assert!(world.session.kept.capacity() < 1 << 20);
    let mut world = World::new(1);
    world.send(b"set k 0 0 1000000000\r\nabc", usize::MAX);
    assert_eq!(world.session.kept.capacity(), 0);
    world.settle();
    assert_eq!(world.received, b"SERVER_ERROR object too large for cache\r\n");
}

#[test]
fn lines_without_an_end() {
    for fragment in FRAGMENTS {
        let mut world = World::new(2);
        world.send(&[b'x'; 2049], fragment);
        assert_eq!(world.progress, Progress::Close, "fragments of {fragment}");
        assert_eq!(world.received, b"");

        let mut world = World::new(2);
        let mut line = b"  get ".to_vec();
        for _ in 0..1000 {
            line.extend_from_slice(b"missing ");
        }
        world.send(&line, fragment);
        assert_eq!(world.progress, Progress::Receive);
        world.send(b"\r\n", fragment);
        world.settle();
        assert_eq!(world.received, b"END\r\n");
    }
}

#[test]
fn http_is_closed_silently() {
    let mut world = World::new(1);
    world.send(b"GET / HTTP/1.1\r\n", usize::MAX);
    assert_eq!((world.progress, &world.received[..]), (Progress::Close, &b""[..]));
}

/// Random bytes made of words the parser knows: nothing may panic, and the session must not hang.
#[test]
fn rubbish_never_panics() {
    const WORDS: [&[u8]; 40] = [
        b"get",
        b"gets",
        b"gat",
        b"gats",
        b"set",
        b"add",
        b"cas",
        b"append",
        b"mg",
        b"ms",
        b"md",
        b"ma",
        b"me",
        b"mn",
        b"incr",
        b"decr",
        b"touch",
        b"delete",
        b"flush_all",
        b"stats",
        b"k",
        b"kk",
        b"0",
        b"1",
        b"-1",
        b"5",
        b"noreply",
        b" ",
        b" ",
        b" ",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"v",
        b"b",
        b"T5",
        b"N5",
        b"q",
        b"\xff\0",
        b"Zm9v",
    ];
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut input = Vec::new();
        for _ in 0..400 {
            input.extend_from_slice(WORDS[random.below(WORDS.len())]);
            if random.below(4) > 0 {
                input.push(b' ');
            }
        }
        let mut world = World::new(SHARDS[random.below(3)]);
        world.send(&input, FRAGMENTS[random.below(FRAGMENTS.len())]);
        world.settle();
    }
}
