//! Dumps of all records, and the commands that tune what is not here.

use std::collections::BTreeSet;

use super::{Conversation, SHARDS, World};
use crate::config::Config;

fn tracking() -> Config {
    Config { track_sizes: true, ..Config::default() }
}

#[test]
fn one_record_in_every_form() {
    Conversation::with_config(tracking())
        .step("lru_crawler metadump all\r\n", "OK\r\nEND\r\n")
        .step("lru_crawler mgdump hash\r\n", "OK\r\nEN\r\n")
        .step("stats sizes\r\n", "END\r\n")
        .step("stats cachedump 1 0\r\n", "END\r\n")
        .step("set a:b%\u{e9} 5 100 3\r\nabc\r\n", "STORED\r\n")
        .step(
            "lru_crawler metadump all\r\n",
            "OK\r\nkey=a%3Ab%25%C3%A9 exp=1700000100 la=1700000000 cas={cas} fetch=no cls=1 size={size} \
             flags=5 \nEND\r\n",
        )
        .step("touch a:b%\u{e9} 0\r\n", "TOUCHED\r\n")
        .step(
            "lru_crawler metadump 1\r\nmn\r\n",
            "OK\r\nkey=a%3Ab%25%C3%A9 exp=-1 la=1700000000 cas={cas} fetch=yes cls=1 size={size} flags=5 \n\
             END\r\nMN\r\n",
        )
        .step("mn\r\nlru_crawler mgdump 5,1\r\n", "MN\r\nOK\r\nmg a:b%\u{e9}\r\nEN\r\n")
        .step("stats cachedump 1 0\r\nmn\r\n", "ITEM a:b%\u{e9} [3 b; 0 s]\r\nEND\r\nMN\r\n")
        .step("stats cachedump 2 0\r\n", "END\r\n")
        .step("stats sizes\r\n", "STAT 64 1\r\nEND\r\n")
        .step("lru_crawler metadump 2\r\n", "OK\r\nEND\r\n")
        .step("lru_crawler mgdump 63\r\n", "OK\r\nEN\r\n")
        .step("lru_crawler mgdump 64\r\n", "BADCLASS invalid class id\r\n")
        .step("lru_crawler metadump 0\r\n", "BADCLASS invalid class id\r\n")
        .step("lru_crawler metadump x\r\n", "BADCLASS invalid class id\r\n")
        .step("lru_crawler metadump all x\r\nlru_crawler metadump\r\n", "ERROR\r\nERROR\r\n")
        .step("delete a:b%\u{e9}\r\nlru_crawler mgdump all\r\n", "DELETED\r\nOK\r\nEN\r\n")
        .play();
}

#[test]
fn binary_keys_come_in_base64() {
    Conversation::new()
        .step("ms AP8KDQ== 1 b\r\nx\r\n", "HD\r\n")
        .step("lru_crawler mgdump all\r\n", "OK\r\nmg AP8KDQ== b\r\nEN\r\n")
        .step("stats cachedump 1 0\r\n", "END\r\n")
        .play();
}

/// Writes that are under way come before the dump that follows them, whichever shard they go to.
#[test]
fn a_dump_shows_every_record_once_and_sees_the_writes_before_it() {
    const KEYS: usize = 3_000;
    for shards in SHARDS {
        let mut world = World::new(shards);
        let mut send = String::new();
        for key in 0..KEYS {
            send += &format!("set key{key} 0 0 1 noreply\r\nx\r\n");
        }
        send += "lru_crawler mgdump all\r\nmn\r\n";
        let text = String::from_utf8(world.ask(send)).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.remove(0), lines.pop(), lines.pop()), ("OK", Some("MN"), Some("EN")));
        let keys: BTreeSet<&str> = lines.iter().map(|line| line.strip_prefix("mg key").unwrap()).collect();
        assert_eq!((lines.len(), keys.len()), (KEYS, KEYS), "{shards} shards");
    }
}

#[test]
fn a_listing_ends_at_its_limit_and_at_two_mebibytes() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        for key in 0..9_000 {
            world.ask(format!("set {key:0>240} 0 0 1 noreply\r\nx\r\n"));
        }
        for limit in [1, 7, 600] {
            let text = String::from_utf8(world.ask(format!("stats cachedump 1 {limit}\r\n"))).unwrap();
            assert_eq!(text.lines().count(), limit + 1, "{shards} shards");
        }
        let all = world.ask("stats cachedump 1 0\r\n");
        assert!(all.len() <= (2 << 20) + 5 && all.len() > (2 << 20) - 300, "{} bytes", all.len());
        assert!(all.ends_with(b" s]\r\nEND\r\n"));
    }
}

#[test]
fn sizes_add_up() {
    for shards in SHARDS {
        let mut world = World::with_config(shards, tracking());
        for key in 0..500 {
            world.ask(format!("set k{key} 0 0 {len} noreply\r\n{:len$}\r\n", "", len = key));
        }
        let text = String::from_utf8(world.ask("stats sizes\r\n")).unwrap();
        let sizes = text.strip_suffix("END\r\n").unwrap().lines().map(|line| {
            let (size, count) = line.strip_prefix("STAT ").unwrap().split_once(' ').unwrap();
            (size.parse().unwrap(), count.parse().unwrap())
        });
        let sizes: Vec<(u64, u64)> = sizes.collect();
        assert_eq!(sizes.iter().map(|(_, count)| count).sum::<u64>(), 500, "{text}");
        assert!(sizes.is_sorted() && sizes.iter().all(|(size, _)| size % 32 == 0), "{text}");
    }
}

#[test]
fn a_client_that_does_not_read_holds_its_dump_and_no_other_command() {
    for shards in SHARDS {
        let mut world = World::new(shards);
        for key in 0..9_000 {
            world.ask(format!("set {key:0>240} 0 0 1 noreply\r\nx\r\n"));
        }
        world.send_at_once(b"lru_crawler metadump all\r\n");
        for _ in 0..1_000 {
            world.run_step();
            world.resume();
        }
        let waiting = world.output.len();
        assert!((256 << 10..280 << 10).contains(&waiting), "{waiting} bytes wait");
        assert!(world.node.crawls.is_running());
        world.settle();
        assert_eq!(world.received.iter().filter(|byte| **byte == b'\n').count(), 9_000 + 2);
        assert!(!world.node.crawls.is_running());
    }
}

#[test]
fn one_crawl_at_a_time() {
    let mut world = World::new(2);
    let crawl = world.node.crawls.begin().expect("none is under way");
    const BUSY: &[u8] = b"BUSY currently processing crawler request\r\n";
    for command in ["metadump all", "mgdump 1", "metadump 2", "crawl all"] {
        assert_eq!(world.ask(format!("lru_crawler {command}\r\n")), BUSY, "{command}");
    }
    assert_eq!(world.ask("stats cachedump 1 0\r\n"), b"END\r\n", "no crawl");
    drop(crawl);
    assert_eq!(world.ask("lru_crawler crawl all\r\nlru_crawler crawl 1,2\r\n"), b"OK\r\nOK\r\n");
    assert_eq!(world.node.crawls.starts(), 3);
}

#[test]
fn forbidden_dumps_are_refused() {
    Conversation::with_config(Config { dump_enabled: false, ..tracking() })
        .step("lru_crawler metadump all\r\n", "ERROR metadump not allowed\r\n")
        .step("lru_crawler mgdump all\r\n", "ERROR key dump not allowed\r\n")
        .step("stats cachedump 1 0\r\n", "CLIENT_ERROR stats cachedump not allowed\r\n")
        .step("stats sizes\r\n", "END\r\n")
        .play();
}

#[test]
fn the_crawler_is_switched_and_tuned() {
    const DISABLED: &str = "CLIENT_ERROR lru crawler disabled\r\n";
    Conversation::new()
        .step("lru_crawler enable\r\n", "ERROR failed to start lru crawler thread\r\n")
        .step("lru_crawler disable\r\n", "OK\r\n")
        .step("lru_crawler metadump all\r\nlru_crawler mgdump 99\r\n", DISABLED.repeat(2))
        .step("lru_crawler crawl 1\r\n", DISABLED)
        .step("lru_crawler enable\r\nlru_crawler crawl 1\r\n", "OK\r\nOK\r\n")
        .step("lru_crawler crawl 0\r\n", "BADCLASS invalid class id\r\n")
        .step("lru_crawler sleep 1000000\r\nlru_crawler tocrawl 9\r\n", "OK\r\nOK\r\n")
        .step("lru_crawler sleep 1000001\r\n", "CLIENT_ERROR sleep must be one second or less\r\n")
        .step("lru_crawler sleep x\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("lru_crawler tocrawl x\r\n", "CLIENT_ERROR bad command line format\r\n")
        .step("lru_crawler\r\nlru_crawler nonsense\r\n", "ERROR\r\nERROR\r\n")
        .play();
}

#[test]
fn pages_and_queues_are_tuned_without_effect() {
    const BAD: &str = "CLIENT_ERROR bad command line format\r\n";
    Conversation::new()
        .step("slabs reassign 1 2\r\n", "NOSPARE source class has no spare pages\r\n")
        .step("slabs reassign -1 1\r\n", "BADCLASS invalid src or dst class id\r\n")
        .step("slabs reassign 1 1\r\n", "SAME src and dst class are identical\r\n")
        .step("slabs reassign 99 1\r\n", "BADCLASS invalid src or dst class id\r\n")
        .step("slabs reassign x 1\r\n", BAD)
        .step("slabs\r\nslabs reassign 1\r\nslabs automove\r\n", "ERROR\r\n".repeat(3))
        .step("slabs automove 0\r\nslabs automove 2\r\nslabs automove 3\r\n", "OK\r\nOK\r\nERROR\r\n")
        .step("slabs automove x\r\nslabs automove window x\r\n", BAD.repeat(2))
        .step("slabs automove ratio 0.5\r\nslabs automove ratio\r\n", "OK\r\nERROR\r\n")
        .step("slabs automove window 2\r\n", "CLIENT_ERROR automove window too low or too high\r\n")
        .step("slabs automove window 1800\r\nslabs automove freeratio 0.1\r\n", "OK\r\nOK\r\n")
        .step("lru tune 10 20 0.1 2.0\r\n", "OK\r\n")
        .step("lru tune 70 20 0.1 2\r\n", "ERROR hot and warm pcts must not exceed 80\r\n")
        .step("lru tune 1 2 0 2\r\n", "ERROR hot/warm age factors must be greater than 0\r\n")
        .step("lru tune a b c d\r\nlru tune 1\r\nlru\r\n", "ERROR\r\n".repeat(3))
        .step("lru mode flat\r\nlru mode segmented\r\nlru mode x\r\n", "OK\r\nOK\r\nERROR\r\n")
        .step("lru temp_ttl 5\r\nlru temp_ttl -1\r\nlru temp_ttl x\r\n", "OK\r\nOK\r\nERROR\r\n")
        .play();
}

#[test]
fn settings_show_what_was_tuned() {
    let mut world = World::new(2);
    world.ask("lru tune 11 22 0.5 3\r\nlru mode flat\r\nlru temp_ttl 7\r\nslabs automove 2\r\n");
    world.ask("slabs automove ratio 0.3\r\nslabs automove window 9\r\nlru_crawler sleep 5\r\n");
    world.ask("lru_crawler tocrawl 6\r\nlru_crawler disable\r\n");
    let settings = String::from_utf8(world.ask("stats settings\r\n")).unwrap();
    for line in [
        "hot_lru_pct 11",
        "warm_lru_pct 22",
        "hot_max_factor 0.50",
        "warm_max_factor 3.00",
        "lru_segmented no",
        "temp_lru yes",
        "temporary_ttl 7",
        "slab_automove 2",
        "slab_automove_ratio 0.30",
        "slab_automove_window 9",
        "lru_crawler_sleep 5",
        "lru_crawler_tocrawl 6",
        "lru_crawler no",
        "slab_reassign yes",
    ] {
        assert!(settings.contains(&format!("STAT {line}\r\n")), "{line} is not in\n{settings}");
    }
}
