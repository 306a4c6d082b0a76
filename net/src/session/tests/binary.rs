//! Conversations in the binary protocol. Most are held without CAS uniques (`-C`), so that every byte is known.

use super::frames::{Frame, code, status};
use super::{Conversation, Progress, World};
use crate::config::{Binding, Config};

/// A conversation whose steps are frames.
pub struct Frames(Conversation);

impl Frames {
    pub fn new() -> Self {
        Self::with_config(Config::default())
    }

    fn with_config(config: Config) -> Self {
        Self(Conversation::with_config(Config { cas: false, ..config }))
    }

    pub fn step(self, send: &[Frame], expect: &[Frame]) -> Self {
        let bytes = |frames: &[Frame]| frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>();
        Self(self.0.step(bytes(send), bytes(expect)))
    }

    pub fn play(&self) {
        self.0.play();
    }
}

fn get(opcode: u8, key: &str) -> Frame {
    Frame::request(opcode).key(key)
}

fn hit(opcode: u8, flags: u32, value: &str) -> Frame {
    Frame::response(opcode).extras(flags.to_be_bytes()).value(value)
}

pub fn gat(opcode: u8, key: &str, exptime: u32) -> Frame {
    Frame::request(opcode).extras(exptime.to_be_bytes()).key(key)
}

fn number(opcode: u8, number: u64) -> Frame {
    Frame::response(opcode).value(number.to_be_bytes())
}

/// Sends frames and reads those that come back.
fn ask(world: &mut World, frames: &[Frame]) -> Vec<Frame> {
    Frame::read_all(&world.ask(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>()))
}

fn ask_one(world: &mut World, frame: Frame) -> Frame {
    let mut replies = ask(world, &[frame]);
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies.remove(0)
}

#[test]
fn storing_and_fetching() {
    Frames::new()
        .step(&[get(code::GET, "k")], &[Frame::error(code::GET, status::NOT_FOUND)])
        .step(
            &[Frame::store(code::SET, "k", 7, 0, "value").opaque(9)],
            &[Frame::response(code::SET).opaque(9)],
        )
        .step(&[get(code::GET, "k").opaque(0xdead_beef)], &[hit(code::GET, 7, "value").opaque(0xdead_beef)])
        .step(&[get(code::GETK, "k")], &[hit(code::GETK, 7, "value").key("k")])
        .step(
            &[get(code::GETQ, "k"), get(code::GETKQ, "k")],
            &[hit(code::GETQ, 7, "value"), hit(code::GETKQ, 7, "value").key("k")],
        )
        .step(&[get(code::GETQ, "none"), get(code::GETKQ, "none")], &[])
        .step(&[get(code::GETK, "none")], &[Frame { status: 1, ..Frame::response(code::GETK).key("none") }])
        .step(&[Frame::store(code::SET, [0, 255, 10, 13], 0, 0, "")], &[Frame::response(code::SET)])
        .step(
            &[Frame::request(code::GETK).key([0, 255, 10, 13])],
            &[hit(code::GETK, 0, "").key([0, 255, 10, 13])],
        )
        .step(&[Frame::request(code::NOOP).opaque(3)], &[Frame::response(code::NOOP).opaque(3)])
        .play();
}

#[test]
fn conditional_storing() {
    Frames::new()
        .step(
            &[Frame::store(code::REPLACE, "k", 0, 0, "a")],
            &[Frame::error(code::REPLACE, status::NOT_FOUND)],
        )
        .step(&[Frame::store(code::ADD, "k", 1, 0, "b")], &[Frame::response(code::ADD)])
        .step(&[Frame::store(code::ADD, "k", 2, 0, "c")], &[Frame::error(code::ADD, status::EXISTS)])
        .step(&[Frame::store(code::REPLACE, "k", 3, 0, "d")], &[Frame::response(code::REPLACE)])
        .step(&[get(code::GET, "k")], &[hit(code::GET, 3, "d")])
        .play();
}

#[test]
fn quiet_stores_speak_of_errors_only() {
    Frames::new()
        .step(
            &[Frame::store(code::REPLACEQ, "k", 0, 0, "a")],
            &[Frame::error(code::REPLACEQ, status::NOT_FOUND)],
        )
        .step(&[Frame::store(code::ADDQ, "k", 0, 0, "b"), Frame::store(code::SETQ, "k", 0, 0, "c")], &[])
        .step(&[Frame::store(code::ADDQ, "k", 0, 0, "d")], &[Frame::error(code::ADDQ, status::EXISTS)])
        .step(&[Frame::store(code::REPLACEQ, "k", 0, 0, "e"), get(code::GET, "k")], &[hit(code::GET, 0, "e")])
        .step(&[get(code::APPENDQ, "k").value("f"), get(code::PREPENDQ, "k").value("d")], &[])
        .step(&[get(code::APPENDQ, "none").value("f")], &[Frame::error(code::APPENDQ, status::NOT_STORED)])
        .step(&[get(code::GET, "k")], &[hit(code::GET, 0, "def")])
        .step(&[get(code::DELETEQ, "k")], &[])
        .step(&[get(code::DELETEQ, "k")], &[Frame::error(code::DELETEQ, status::NOT_FOUND)])
        .play();
}

#[test]
fn joining() {
    Frames::new()
        .step(&[get(code::APPEND, "k").value("x")], &[Frame::error(code::APPEND, status::NOT_STORED)])
        .step(&[get(code::PREPEND, "k").value("x")], &[Frame::error(code::PREPEND, status::NOT_STORED)])
        .step(&[Frame::store(code::SET, "k", 5, 0, "b")], &[Frame::response(code::SET)])
        .step(&[get(code::APPEND, "k").value("c")], &[Frame::response(code::APPEND)])
        .step(&[get(code::PREPEND, "k").value("a")], &[Frame::response(code::PREPEND)])
        .step(&[get(code::GET, "k")], &[hit(code::GET, 5, "abc")])
        .play();
}

#[test]
fn deleting() {
    Frames::new()
        .step(&[get(code::DELETE, "k")], &[Frame::error(code::DELETE, status::NOT_FOUND)])
        .step(
            &[Frame::store(code::SETQ, "k", 5, 0, "b"), get(code::DELETE, "k")],
            &[Frame::response(code::DELETE)],
        )
        .step(&[get(code::GET, "k")], &[Frame::error(code::GET, status::NOT_FOUND)])
        .play();
}

#[test]
fn counting() {
    const NEVER: u32 = u32::MAX;
    Frames::new()
        .step(
            &[Frame::count(code::INCREMENT, "k", 1, 5, NEVER)],
            &[Frame::error(code::INCREMENT, status::NOT_FOUND)],
        )
        .step(
            &[Frame::count(code::INCREMENTQ, "k", 1, 5, NEVER)],
            &[Frame::error(code::INCREMENTQ, status::NOT_FOUND)],
        )
        .step(&[Frame::count(code::INCREMENT, "k", 1, 5, 0)], &[number(code::INCREMENT, 5)])
        .step(&[Frame::count(code::INCREMENT, "k", 10, 5, 0)], &[number(code::INCREMENT, 15)])
        .step(&[Frame::count(code::DECREMENT, "k", 6, 5, 0)], &[number(code::DECREMENT, 9)])
        .step(&[get(code::GET, "k")], &[hit(code::GET, 0, "9 ")])
        .step(
            &[Frame::count(code::DECREMENTQ, "k", 1, 5, 0), Frame::count(code::INCREMENTQ, "k", 3, 5, 0)],
            &[],
        )
        .step(&[Frame::count(code::DECREMENT, "k", 100, 5, 0)], &[number(code::DECREMENT, 0)])
        .step(&[Frame::count(code::INCREMENT, "k", u64::MAX, 0, NEVER)], &[number(code::INCREMENT, u64::MAX)])
        .step(&[Frame::count(code::INCREMENT, "k", 1, 0, NEVER)], &[number(code::INCREMENT, 0)])
        .step(&[Frame::count(code::DECREMENT, "down", 1, u64::MAX, 0)], &[number(code::DECREMENT, u64::MAX)])
        .step(
            &[Frame::store(code::SETQ, "text", 0, 0, "x"), Frame::count(code::INCREMENTQ, "text", 1, 0, 0)],
            &[Frame::error(code::INCREMENTQ, status::NON_NUMERIC)],
        )
        .play();
}

#[test]
fn touching() {
    Frames::new()
        .step(&[gat(code::TOUCH, "k", 10)], &[Frame::error(code::TOUCH, status::NOT_FOUND)])
        .step(&[gat(code::GAT, "k", 10)], &[Frame::error(code::GAT, status::NOT_FOUND)])
        .step(&[gat(code::GATQ, "k", 10), gat(code::GATKQ, "k", 10)], &[])
        .step(&[gat(code::GATK, "k", 10)], &[Frame { status: 1, ..Frame::response(code::GATK).key("k") }])
        .step(&[Frame::store(code::SETQ, "k", 0x0102_0304, 0, "v")], &[])
        .step(&[gat(code::TOUCH, "k", 10)], &[Frame::response(code::TOUCH).extras([1, 2, 3, 4])])
        .step(&[gat(code::GAT, "k", 10)], &[hit(code::GAT, 0x0102_0304, "v")])
        .step(&[gat(code::GATQ, "k", 0)], &[hit(code::GATQ, 0x0102_0304, "v")])
        .step(&[gat(code::GATK, "k", 0)], &[hit(code::GATK, 0x0102_0304, "v").key("k")])
        // An exptime without a sign: this one is in the year 2106.
        .step(&[gat(code::GATKQ, "k", u32::MAX)], &[hit(code::GATKQ, 0x0102_0304, "v").key("k")])
        // And this one is over, but what it ends is still the answer.
        .step(&[gat(code::GAT, "k", 2_592_001)], &[hit(code::GAT, 0x0102_0304, "v")])
        .step(&[get(code::GET, "k")], &[Frame::error(code::GET, status::NOT_FOUND)])
        .play();
}

#[test]
fn a_touch_changes_when_a_record_ends() {
    for shards in [1, 3] {
        let mut world = World::new(shards);
        ask(&mut world, &[Frame::store(code::SETQ, "k", 0, 100, "v"), gat(code::GATQ, "k", 10)]);
        world.advance(9);
        assert_eq!(ask_one(&mut world, get(code::GET, "k")).status, 0);
        world.advance(1);
        assert_eq!(ask_one(&mut world, get(code::GET, "k")).status, 1);
    }
}

#[test]
fn compare_and_swap() {
    for shards in [1, 2, 3] {
        let mut world = World::new(shards);
        let store = |opcode, value: &str| Frame::store(opcode, "k", 0, 0, value);
        assert_eq!(
            ask_one(&mut world, store(code::SET, "a").cas(5)),
            Frame::error(code::SET, status::NOT_FOUND)
        );
        let stored = ask_one(&mut world, store(code::SET, "a"));
        assert_ne!(stored.cas, 0);
        let found = ask_one(&mut world, get(code::GET, "k"));
        assert_eq!(found.cas, stored.cas);
        for opcode in [code::SET, code::ADD, code::REPLACE, code::SETQ] {
            let reply = ask_one(&mut world, store(opcode, "x").cas(stored.cas + 1));
            assert_eq!(reply, Frame::error(opcode, status::EXISTS));
        }
        // With a CAS all three stores are the same.
        let mut cas = stored.cas;
        for opcode in [code::SET, code::ADD, code::REPLACE] {
            let reply = ask_one(&mut world, store(opcode, "b").cas(cas));
            assert_eq!((reply.status, reply.cas > cas), (0, true), "{reply:?}");
            cas = reply.cas;
        }
        let append = get(code::APPEND, "k").value("c");
        assert_eq!(ask_one(&mut world, append.clone().cas(1)), Frame::error(code::APPEND, status::EXISTS));
        cas = ask_one(&mut world, append.cas(cas)).cas;
        assert_eq!(ask_one(&mut world, get(code::GET, "k")).value, b"bc");
        let missing = get(code::APPEND, "none").value("c").cas(1);
        assert_eq!(ask_one(&mut world, missing), Frame::error(code::APPEND, status::NOT_STORED));
        let delete = get(code::DELETE, "k");
        assert_eq!(ask_one(&mut world, delete.clone().cas(1)), Frame::error(code::DELETE, status::EXISTS));
        assert_eq!(ask_one(&mut world, delete.cas(cas)), Frame::response(code::DELETE));
        let counters = &world.node.workers[0];
        assert_eq!((counters.cas_misses.value(), counters.cas_hits.value()), (1, 3));
        assert_eq!((counters.cas_badval.value(), counters.cmd_set.value()), (4, 12));
        assert_eq!((counters.delete_hits.value(), counters.delete_misses.value()), (1, 0));
    }
}

#[test]
fn counting_with_cas() {
    let mut world = World::new(3);
    let made = ask_one(&mut world, Frame::count(code::INCREMENT, "n", 1, 8, 0));
    assert_ne!(made.cas, 0);
    let up = |cas| Frame::count(code::INCREMENT, "n", 1, 8, 0).cas(cas);
    assert_eq!(ask_one(&mut world, up(made.cas + 1)), Frame::error(code::INCREMENT, status::EXISTS));
    let reply = ask_one(&mut world, up(made.cas));
    assert_eq!(reply, number(code::INCREMENT, 9).cas(reply.cas));
    assert!(reply.cas > made.cas);
    let touched = ask_one(&mut world, gat(code::TOUCH, "n", 0));
    assert_eq!(touched.cas, reply.cas, "a touch is no new version");
    let counters = &world.node.workers[0];
    assert_eq!((counters.incr_hits.value(), counters.incr_misses.value()), (1, 0));
}

#[test]
fn without_cas_nothing_is_compared_on_a_store() {
    Frames::new()
        .step(&[Frame::store(code::SET, "k", 0, 0, "a").cas(77)], &[Frame::response(code::SET)])
        .step(&[Frame::store(code::ADD, "k", 0, 0, "b").cas(77)], &[Frame::error(code::ADD, status::EXISTS)])
        .step(&[get(code::APPEND, "k").value("b").cas(77)], &[Frame::response(code::APPEND)])
        .step(&[get(code::DELETE, "k").cas(77)], &[Frame::error(code::DELETE, status::EXISTS)])
        .step(&[get(code::GET, "k")], &[hit(code::GET, 0, "ab")])
        .play();
}

#[test]
fn flushing() {
    Frames::new()
        .step(&[Frame::store(code::SETQ, "k", 0, 0, "a"), Frame::request(code::FLUSHQ)], &[])
        .step(&[get(code::GETQ, "k"), Frame::request(code::FLUSH)], &[Frame::response(code::FLUSH)])
        .step(
            &[Frame::store(code::SETQ, "k", 0, 0, "a"), Frame::request(code::FLUSH).extras([0; 4])],
            &[Frame::response(code::FLUSH)],
        )
        .step(&[get(code::GET, "k")], &[Frame::error(code::GET, status::NOT_FOUND)])
        .step(
            &[
                Frame::store(code::SETQ, "k", 0, 0, "a"),
                Frame::request(code::FLUSHQ).extras(100_u32.to_be_bytes()),
            ],
            &[],
        )
        .step(&[get(code::GET, "k")], &[hit(code::GET, 0, "a")])
        .play();
    let forbidden = Config { flush_enabled: false, ..Config::default() };
    Frames::with_config(forbidden)
        .step(&[Frame::store(code::SETQ, "k", 0, 0, "a")], &[])
        .step(&[Frame::request(code::FLUSH)], &[Frame::error(code::FLUSH, status::AUTH)])
        .step(&[Frame::request(code::FLUSHQ)], &[Frame::error(code::FLUSHQ, status::AUTH)])
        .step(&[get(code::GET, "k")], &[hit(code::GET, 0, "a")])
        .play();
}

#[test]
fn the_node_and_the_connection() {
    Frames::new()
        .step(
            &[Frame::request(code::VERSION).opaque(1)],
            &[Frame::response(code::VERSION).opaque(1).value("1.6.45")],
        )
        .step(
            &[Frame::request(code::STAT).key("sizes")],
            &[Frame::response(code::STAT).key("sizes_status").value("disabled"), Frame::response(code::STAT)],
        )
        .step(&[Frame::request(code::STAT).key("reset")], &[Frame::response(code::STAT)])
        .step(
            &[Frame::request(code::STAT).key("none").opaque(8)],
            &[Frame::error(code::STAT, status::NOT_FOUND).opaque(8)],
        )
        .step(&[Frame::request(code::STAT).key("conns")], &[Frame::error(code::STAT, status::NOT_FOUND)])
        .step(
            &[Frame::store(code::SETQ, "k", 0, 0, "a"), Frame::request(code::QUIT).opaque(7)],
            &[Frame::response(code::QUIT).opaque(7)],
        )
        .play();
}

#[test]
fn a_quiet_quit_says_nothing() {
    let mut world = World::new(2);
    let noop = Frame::request(code::NOOP);
    assert_eq!(ask(&mut world, &[noop.clone(), Frame::request(code::QUITQ), noop]).len(), 1);
    assert_eq!(world.progress, Progress::Close);
}

#[test]
fn statistics_are_frames() {
    let mut world = World::new(2);
    for key in ["", "settings", "items", "slabs"] {
        ask(&mut world, &[Frame::store(code::SETQ, "k", 0, 0, "a")]);
        let mut frames = ask(&mut world, &[Frame::request(code::STAT).key(key).opaque(5)]);
        let last = frames.pop().expect("there is an end");
        assert_eq!(last, Frame::response(code::STAT).opaque(5));
        let text = world.node_stats(key);
        let lines: Vec<(String, String)> = frames
            .iter()
            .map(|frame| {
                assert_eq!((frame.opcode, frame.status, frame.opaque), (code::STAT, 0, 5));
                assert!(!frame.key.is_empty() && frame.extras.is_empty());
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(&frame.key), text(&frame.value))
            })
            .collect();
        let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(lines.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names, "{key}");
        assert!(!names.is_empty() && lines.iter().all(|(_, value)| !value.ends_with('\r')));
    }
}

#[test]
fn large_values_are_refused_before_they_come() {
    let large = "v".repeat(2000);
    let config = Config { item_bytes_max: 1024, ..Config::default() };
    Frames::with_config(config)
        .step(
            &[Frame::store(code::SETQ, "k", 0, 0, "a"), Frame::store(code::ADD, "k", 0, 0, &large)],
            &[Frame::error(code::ADD, status::TOO_LARGE)],
        )
        .step(&[get(code::APPENDQ, "k").value(&large)], &[Frame::error(code::APPENDQ, status::TOO_LARGE)])
        .step(&[get(code::GET, "k")], &[hit(code::GET, 0, "a")])
        // Joined it would be too large, but the part alone is not.
        .step(
            &[get(code::APPEND, "k").value("v".repeat(964))],
            &[Frame::error(code::APPEND, status::NOT_STORED)],
        )
        .step(&[Frame::store(code::SETQ, "k", 0, 0, &large)], &[Frame::error(code::SETQ, status::TOO_LARGE)])
        .step(&[get(code::GET, "k")], &[Frame::error(code::GET, status::NOT_FOUND)])
        .play();
}

#[test]
fn large_values_are_not_copied() {
    let large = "v".repeat(500_000);
    let mut world = World::new(2);
    ask(&mut world, &[Frame::store(code::SETQ, "k", 0, 0, &large)]);
    world.send_at_once(&[get(code::GET, "k").bytes(), get(code::GETK, "k").bytes()].concat());
    assert_eq!(
        (world.output.pinned.len(), world.output.bytes.len() < 200),
        (1, true),
        "the second one waits"
    );
    world.settle();
    let replies = Frame::read_all(&world.received);
    assert!(replies.iter().all(|reply| reply.value == large.as_bytes()), "{}", replies.len());
}

/// Nothing stands behind a value in this protocol, and yet answers of later requests do not come before it.
#[test]
fn large_values_keep_their_place_behind_writes_away() {
    let large = "v".repeat(100_000);
    let mut world = World::new(2);
    let own = (0..).map(|n| format!("o{n}")).find(|key| world.shard_of(key) == 0).unwrap();
    let other = (0..).map(|n| format!("r{n}")).find(|key| world.shard_of(key) == 1).unwrap();
    ask(&mut world, &[Frame::store(code::SETQ, &own, 0, 0, &large)]);
    let delete = Frame::request(code::DELETE).key(&other);
    let version = Frame::request(code::VERSION);
    let sent = [delete.clone(), get(code::GET, &own), delete, get(code::GET, &own), version];
    world.send_at_once(&sent.iter().flat_map(Frame::bytes).collect::<Vec<u8>>());
    world.settle();
    let replies = Frame::read_all(&world.received);
    let lengths: Vec<usize> = replies.iter().map(|reply| reply.value.len()).collect();
    assert_eq!(lengths, [9, large.len(), 9, large.len(), 6]);
}

/// A get that waits for a write of its own session is answered in its place.
#[test]
fn a_get_sees_the_set_before_it() {
    for shards in [2, 4] {
        let mut world = World::with_config(shards, Config { cas: false, ..Config::default() });
        let (mut send, mut expect) = (Vec::new(), Vec::new());
        for number in 0..500_u32 {
            let (key, value) = (format!("k{}", number % 30), format!("{number}"));
            send.extend(Frame::store(code::SETQ, &key, number, 0, &value).bytes());
            send.extend(get(code::GETKQ, &key).opaque(number).bytes());
            send.extend(gat(code::GATQ, &key, 0).opaque(number).bytes());
            expect.extend(hit(code::GETKQ, number, &value).key(&key).opaque(number).bytes());
            expect.extend(hit(code::GATQ, number, &value).opaque(number).bytes());
        }
        world.send(&send, 777);
        world.settle();
        assert!(world.received == expect, "{shards} shards");
    }
}

#[test]
fn the_binding_decides_where_the_first_byte_does_not() {
    let with = |binding| World::with_config(2, Config { binding, ..Config::default() });
    let noop = Frame::request(code::NOOP);
    for binding in [Binding::Auto, Binding::Binary] {
        assert_eq!(ask_one(&mut with(binding), noop.clone()), Frame::response(code::NOOP));
    }
    let mut world = with(Binding::Binary);
    assert_eq!(world.ask("version\r\n"), b"");
    assert_eq!(world.progress, Progress::Close);
    let mut world = with(Binding::Ascii);
    let version = Frame::request(code::VERSION).bytes();
    assert_eq!(world.ask([version, b"\r\n".to_vec()].concat()), b"ERROR\r\n");
    assert_eq!(world.ask("mn\r\n"), b"MN\r\n");
}

/// `stat` with `detail` counts and shows what was asked before it, also by writes that are with other workers.
#[test]
fn counts_per_prefix_keep_the_order_of_requests() {
    for shards in [1, 2, 4] {
        let mut world = World::with_config(shards, Config { cas: false, ..Config::default() });
        let stat = |key: &str| Frame::request(code::STAT).key(key).bytes();
        let set = |number: u32| Frame::store(code::SETQ, format!("p:{number}"), 0, 0, "v").bytes();
        let mut send = [(0..10).flat_map(set).collect(), stat("detail on")].concat();
        send.extend((10..30).flat_map(set));
        send.extend((0..30).flat_map(|number| Frame::request(code::GETQ).key(format!("p:{number}")).bytes()));
        send.extend([stat("detail dump"), (30..40).flat_map(set).collect()].concat());
        world.send(&send, 777);
        world.settle();
        let shown = world.received.escape_ascii().to_string();
        // Writes to other shards are noted by the worker when they come back, and there is none.
        let sets = if shards == 1 { "set 20 del 0" } else { "set " };
        assert!(shown.contains(&format!("PREFIX p get 30 hit 30 {sets}")), "{shards} shards: {shown}");
    }
}
