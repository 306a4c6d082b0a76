//! What is noted for watchers and for the counts per prefix. Writes to other shards are noted by the worker when
//! they come back, so this is about one shard; `tests/e2e/watch.rs` is about several.

use super::{Conversation, World};
use crate::config::Config;
use crate::limits::OUTPUT_BYTES_HIGH;
use crate::observe::{Streams, Watch};
use crate::output::Output;
use crate::session::Progress;

const ALL: Streams =
    Streams(Streams::FETCHERS.0 | Streams::MUTATIONS.0 | Streams::DELETIONS.0 | Streams::EVICTIONS.0);

/// The events since the last call, without time and number.
fn events(world: &World, watch: &Watch) -> Vec<String> {
    world.node.observers.flush(0, world.now);
    let mut output = Output::default();
    watch.send(&mut output);
    let text = String::from_utf8(output.bytes).unwrap();
    text.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn each_command_is_noted_as_memcached_notes_it() {
    let get = |status: &str, class: u8, size: usize| {
        vec![format!("type=item_get key=a%20b status={status} clsid={class} cfd=0 size={size}")]
    };
    let store = |status: &str, command: &str, ttl: u32, size: usize| {
        vec![format!(
            "type=item_store key=a%20b status={status} cmd={command} ttl={ttl} clsid=1 cfd=0 size={size}"
        )]
    };
    let mut world = World::new(1);
    let watch = world.node.observers.watch(ALL).ok().unwrap();
    // The key is "a b", which only base64 can say.
    for (send, expected) in [
        ("mg YSBi b v\r\n", get("not_found", 0, 0)),
        ("ms YSBi 3 b T60\r\nabc\r\n", store("stored", "set", 60, 3)),
        ("mg YSBi b v\r\n", get("found", 1, 3)),
        ("ms YSBi 3 b ME\r\nabc\r\n", store("not_stored", "add", 0, 3)),
        ("ms YSBi 2 b MR\r\nab\r\n", store("stored", "replace", 0, 2)),
        ("ms YSBi 1 b MA\r\nc\r\n", store("stored", "append", 0, 1)),
        ("ms YSBi 1 b MP\r\nc\r\n", store("stored", "prepend", 0, 1)),
        ("ms YSBi 1 b C1\r\nc\r\n", store("exists", "cas", 0, 1)),
        ("mg YSBi b T9\r\n", get("found", 1, 4)),
        ("ms YSBi 1 b\r\n7\r\n", store("stored", "set", 0, 1)),
        ("ma YSBi b\r\n", get("found", 1, 1)),
        ("md YSBi b I\r\n", vec![]),
        ("md YSBi b\r\n", vec!["type=deleted key=a%20b cmd=delete clsid=1 size=1".to_owned()]),
        ("md YSBi b\r\n", vec![]),
        ("ms YSBi 1 b C1\r\nc\r\n", store("not_found", "cas", 0, 1)),
        ("mn\r\nversion\r\nflush_all\r\n", vec![]),
    ] {
        world.ask(send);
        assert_eq!(events(&world, &watch), expected, "{send}");
    }
    world.ask("get a\r\nset a 0 0 1\r\nx\r\nget a a\r\ngat 0 a\r\ntouch a 0\r\nmg a\r\ndelete a\r\n");
    let kinds: Vec<String> =
        events(&world, &watch).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let expected =
        ["item_get", "item_store", "item_get", "item_get", "item_get", "item_get", "item_get", "deleted"];
    assert_eq!(kinds, expected.map(|kind| format!("type={kind}")));
}

#[test]
fn a_watch_takes_the_connection_over() {
    for shards in [1, 2] {
        let mut world = World::new(shards);
        assert_eq!(world.ask("watch nonsense\r\n"), b"ERROR\r\n");
        assert_eq!(world.ask("set k 0 0 1\r\nx\r\nwatch connevents rawcmds\r\nmn\r\n"), b"STORED\r\nOK\r\n");
        assert_eq!(world.progress, Progress::Hold);
        assert!(world.session.is_watching());
        assert_eq!(world.ask("mn\r\nquit\r\n"), b"", "nobody looks at what comes");
        assert!(world.node.observers.wants(Streams::CONNEVENTS));
        assert_eq!(world.node.observers.watch_counts().watchers, 1);
        world.session = super::Session::new();
        world.node.observers.flush(0, world.now);
        assert_eq!(world.node.observers.wanted(), Streams(0), "the last watcher has gone");
    }
}

#[test]
fn a_watch_without_streams_shows_fetches() {
    let mut world = World::new(1);
    assert_eq!(world.ask("watch\r\n"), b"OK\r\n");
    assert_eq!(world.node.observers.wanted(), Streams::FETCHERS);
}

#[test]
fn forbidden_watchers_are_refused() {
    Conversation::with_config(Config { watch_enabled: false, ..Config::default() })
        .step("watch\r\n", "CLIENT_ERROR watch commands not allowed\r\n")
        .step("watch nonsense\r\n", "CLIENT_ERROR watch commands not allowed\r\n")
        .play();
}

#[test]
fn prefixes_are_counted_while_that_is_asked() {
    let mut world = World::new(1);
    let dump = |world: &mut World| String::from_utf8(world.ask("stats detail dump\r\n")).unwrap();
    world.ask("set a:1 0 0 1\r\nx\r\n");
    assert_eq!(dump(&mut world), "END\r\n");
    assert_eq!(world.ask("stats detail on\r\n"), b"OK\r\n");
    world.ask(
        "set a:1 0 0 1\r\nx\r\nadd a:1 0 0 1\r\nx\r\nset b:c:1 0 0 1 noreply\r\nx\r\nset none 0 0 1\r\nx\r\n",
    );
    world.ask("get a:1 a:2 b:1 none\r\nmg a:1 v\r\ngat 0 a:1\r\ntouch a:1 0\r\nincr a:1 1\r\n");
    world.ask("delete a:1\r\ndelete a:1\r\nmd b:c:1\r\n");
    let expected = "PREFIX a get 4 hit 3 set 2 del 2\r\nPREFIX b get 1 hit 0 set 1 del 1\r\nEND\r\n";
    assert_eq!(dump(&mut world), expected);
    assert_eq!(world.ask("stats detail off\r\n"), b"OK\r\n");
    world.ask("get a:1\r\n");
    assert_eq!(dump(&mut world), expected);
    world.ask("stats reset\r\n");
    assert_eq!(dump(&mut world), "END\r\n");
    assert_eq!(world.ask("stats detail\r\n"), b"CLIENT_ERROR usage: stats detail on|off|dump\r\n");
}

/// Goal: however many prefixes there are, a turn shows only some, and the output does not grow beyond its bound.
#[test]
fn many_prefixes_are_shown_in_steps() {
    const PREFIXES: usize = 5_000;
    let config = Config { detail_enabled: true, ..Config::default() };
    for shards in [1, 3] {
        let mut world = World::with_config(shards, config.clone());
        let long = "p".repeat(200);
        for number in 0..PREFIXES {
            world.ask(format!("get {long}{number:04}:k\r\n"));
        }
        world.send(b"stats detail dump\r\nget k\r\n", usize::MAX);
        assert!(world.output.bytes.len() < OUTPUT_BYTES_HIGH + 100_000, "{}", world.output.bytes.len());
        world.settle();
        let text = String::from_utf8(std::mem::take(&mut world.received)).unwrap();
        let (dump, rest) = text.split_once("END\r\n").unwrap();
        assert_eq!(rest, "END\r\n", "the command behind it is answered");
        let expected: String = (0..PREFIXES)
            .map(|number| format!("PREFIX {long}{number:04} get 1 hit 0 set 0 del 0\r\n"))
            .collect();
        assert_eq!(dump, expected);
    }
}

#[test]
fn the_delimiter_is_a_flag() {
    let config = Config { prefix_delimiter: b'/', detail_enabled: true, ..Config::default() };
    let mut world = World::with_config(1, config);
    world.ask("get a:b/c x:y\r\n");
    assert_eq!(world.ask("stats detail dump\r\n"), b"PREFIX a:b get 1 hit 0 set 0 del 0\r\nEND\r\n");
    let mut world = World::with_config(1, Config { dump_enabled: false, ..Config::default() });
    for what in ["on", "off", "dump", ""] {
        let expected = b"CLIENT_ERROR stats detail not allowed\r\n";
        assert_eq!(world.ask(format!("stats detail {what}\r\n")), expected, "{what}");
    }
}
