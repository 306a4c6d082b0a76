//! Commands about the node, and the counters that commands leave behind.

use std::sync::atomic::Ordering;

use ringcache_engine::Now;

use super::{Conversation, SHARDS, World};
use crate::config::Config;
use crate::session::Progress;

#[test]
fn short_answers() {
    Conversation::new()
        .step("version\r\n", "VERSION 1.6.45\r\n")
        .step("version 1 2\r\n", "VERSION 1.6.45\r\n")
        .step("mn\r\n", "MN\r\n")
        .step("verbosity 1\r\n", "OK\r\n")
        .step("verbosity\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("verbosity x\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("shutdown\r\n", "SERVER_ERROR: shutdown not enabled\r\n")
        .step("cache_memlimit\r\n", "ERROR\r\n")
        .step("cache_memlimit 7\r\n", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n")
        .step(
            "cache_memlimit 1000000001\r\n",
            "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n",
        )
        .step("debugtime p\r\n", "ERROR\r\n")
        .step("stats nonsense\r\n", "ERROR\r\n")
        .step("stats noreply\r\n", "ERROR\r\n")
        .step("stats reset\r\n", "RESET\r\n")
        .play();
}

#[test]
fn flush_all_reaches_every_shard() {
    let mut fill = String::new();
    let mut stored = String::new();
    let mut get = "get".to_owned();
    for key in 0..20 {
        fill += &format!("set k{key} 0 0 1\r\nx\r\n");
        stored += "STORED\r\n";
        get += &format!(" k{key}");
    }
    get += "\r\n";
    Conversation::new()
        .step(&fill, &stored)
        .step("flush_all\r\n", "OK\r\n")
        .step(&get, "END\r\n")
        .step(&fill, &stored)
        .step("flush_all 0\r\n", "OK\r\n")
        .step(&get, "END\r\n")
        .step(&fill, &stored)
        .step("flush_all -1 noreply\r\n", "")
        .step(&get, "END\r\n")
        .step("set k1 0 0 1\r\ny\r\n", "STORED\r\n")
        .step("get k1\r\n", "VALUE k1 0 1\r\ny\r\nEND\r\n")
        .step("flush_all x\r\n", "CLIENT_ERROR invalid exptime argument\r\n")
        .play();
}

#[test]
fn flush_all_with_a_delay() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        assert_eq!(
            world.ask("set a 0 0 1\r\nx\r\nset b 0 0 1\r\nx\r\nflush_all 3\r\n"),
            b"STORED\r\nSTORED\r\nOK\r\n"
        );
        world.advance(2);
        assert_eq!(world.ask("get a b\r\n"), b"VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\nx\r\nEND\r\n");
        world.advance(1);
        assert_eq!(world.ask("get a b\r\n"), b"END\r\n");
        world.advance(1);
        assert_eq!(world.ask("set a 0 0 1\r\nx\r\nget a\r\n"), b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn forbidden_flush_all_is_counted() {
    let mut world = World::with_config(2, Config { flush_enabled: false, ..Config::default() });
    assert_eq!(
        world.ask("set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\n"),
        b"STORED\r\nCLIENT_ERROR flush_all not allowed\r\nVALUE a 0 1\r\nx\r\nEND\r\n"
    );
    assert_eq!(world.node.workers[0].cmd_flush.value(), 1);
}

#[test]
fn quit_comes_after_the_answers_before_it() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        for key in 0..10 {
            world.send(format!("set k{key} 0 0 1\r\nx\r\n").as_bytes(), usize::MAX);
        }
        world.send(b"quit\r\nset late 0 0 1\r\nx\r\n", usize::MAX);
        world.settle();
        assert_eq!(world.progress, Progress::Close);
        assert_eq!(world.received, b"STORED\r\n".repeat(10));
        assert_eq!(world.session.writes_waiting(), 0);
    }
}

#[test]
fn shutdown_stops_the_node() {
    let mut world = World::with_config(1, Config { shutdown_enabled: true, ..Config::default() });
    assert_eq!(world.ask("shutdown now\r\n"), b"CLIENT_ERROR invalid shutdown mode\r\n");
    assert!(!world.node.stopping.load(Ordering::Acquire));
    assert_eq!(world.ask("shutdown graceful\r\n"), b"");
    assert_eq!(world.progress, Progress::Close);
    assert!(world.node.stopping.load(Ordering::Acquire));
}

#[test]
fn verbosity_stops_at_two() {
    let mut world = World::new(1);
    assert_eq!(world.ask("verbosity 9\r\n"), b"OK\r\n");
    assert_eq!(world.node.verbosity.load(Ordering::Relaxed), 2);
}

#[test]
fn commands_count_as_memcacheds_do() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        world.ask(
            "get a b\r\nset a 0 0 1\r\n1\r\nadd a 0 0 1\r\n1\r\nget a\r\nmg a\r\nmg b\r\nms b 1\r\n2\r\n",
        );
        world.ask("incr a 1\r\ndecr a 1\r\nincr x 1\r\ndecr x 1\r\nma a\r\nma y\r\nma z N0 MD\r\n");
        world.ask("touch a 0\r\ntouch x 0\r\ngat 0 a x\r\nmg a T0\r\nmg x T0\r\n");
        world.ask("delete x\r\ndelete z\r\nmd x\r\nmd a C1\r\nmd a I\r\nmd a\r\nme b\r\n");
        world.ask("cas q 0 0 1 1\r\nx\r\ncas b 0 0 1 1\r\nx\r\nset e 0 1 1\r\nx\r\nset f 0 0 1\r\nx\r\nflush_all\r\n");
        world.ask("set e 0 1 1\r\nx\r\n");
        // No owner has cleaned up yet: it is seen that something was there.
        world.now = Now::from_unix_millis(world.now.unix_millis + 2000);
        world.ask("get e\r\n");
        let counters = &world.node.workers[0];
        let values = [
            ("cmd_get", counters.cmd_get.value(), 6),
            ("get_hits", counters.get_hits.value(), 2),
            ("get_misses", counters.get_misses.value(), 4),
            ("get_expired", counters.get_expired.value(), 1),
            ("cmd_set", counters.cmd_set.value(), 8),
            ("cmd_touch", counters.cmd_touch.value(), 6),
            ("touch_hits", counters.touch_hits.value(), 3),
            ("touch_misses", counters.touch_misses.value(), 3),
            ("incr_hits", counters.incr_hits.value(), 2),
            ("incr_misses", counters.incr_misses.value(), 2),
            ("decr_hits", counters.decr_hits.value(), 1),
            ("decr_misses", counters.decr_misses.value(), 1),
            ("delete_hits", counters.delete_hits.value(), 2),
            ("delete_misses", counters.delete_misses.value(), 3),
            ("cas_misses", counters.cas_misses.value(), 1),
            ("cas_badval", counters.cas_badval.value(), 1),
            ("cas_hits", counters.cas_hits.value(), 0),
            ("cmd_flush", counters.cmd_flush.value(), 1),
            ("cmd_meta", counters.cmd_meta.value(), 1),
        ];
        for (name, value, expected) in values {
            assert_eq!(value, expected, "{name} with {shards} shards");
        }
    }
}
