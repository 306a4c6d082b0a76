//! Names, their order and the arithmetic of the reports.

use std::time::Duration;

use ringcache_engine::ShardStats;

use super::{Baseline, Counters, Lines, Snapshot, Sums, added, classes, general, settings};
use crate::config::Config;
use crate::observe::WatchCounts;
use crate::server::tls::TlsCounts;

/// Names of `stats` in a memcached 1.6.45 with default settings, in its order.
const GENERAL: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections \
    curr_connections total_connections rejected_connections connection_structures response_obj_oom \
    response_obj_count response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom \
    reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed \
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval \
    touch_hits touch_misses store_too_large store_no_memory auth_cmds auth_errors bytes_read bytes_written \
    limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads conn_yields \
    hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues slab_reassign_chunk_rescues \
    slab_reassign_inline_reclaim slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem \
    slab_reassign_last_busy_status slab_reassign_running slabs_moved lru_crawler_running lru_crawler_starts \
    lru_maintainer_juggles malloc_fails log_worker_dropped log_worker_written log_watcher_skipped \
    log_watcher_sent log_watchers unexpected_napi_ids round_robin_fallback bytes curr_items total_items \
    slab_global_page_pool expired_unfetched evicted_unfetched evicted_active evictions reclaimed \
    crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru \
    direct_reclaims lru_bumps_dropped";

const SETTINGS: &str = "maxbytes maxconns tcpport udpport inter verbosity oldest evictions domain_socket umask \
    shutdown_command growth_factor chunk_size num_threads num_threads_per_udp stat_key_prefix detail_enabled \
    reqs_per_event cas_enabled tcp_backlog binding_protocol auth_enabled_sasl auth_enabled_ascii item_size_max \
    maxconns_fast hashpower_init slab_reassign slab_automove slab_automove_ratio slab_automove_window \
    slab_chunk_max lru_crawler lru_crawler_sleep lru_crawler_tocrawl tail_repair_time flush_enabled \
    dump_enabled hash_algorithm lru_maintainer_thread lru_segmented hot_lru_pct warm_lru_pct hot_max_factor \
    warm_max_factor temp_lru temporary_ttl idle_timeout watcher_logbuf_size worker_logbuf_size \
    read_buf_mem_limit track_sizes inline_ascii_response drop_privileges ext_item_size ext_item_age \
    ext_low_ttl ext_recache_rate ext_wbuf_size ext_compact_under ext_drop_under ext_max_sleep ext_max_frag \
    slab_automove_freeratio ext_drop_unread ssl_enabled ssl_chain_cert ssl_key ssl_verify_mode ssl_keyformat \
    ssl_ciphers ssl_ca_cert ssl_wbuf_size ssl_session_cache ssl_kernel_tls ssl_min_version proxy_enabled \
    proxy_uring_enabled num_napi_ids memory_file client_flags_size";

const ITEMS: &str = "number number_hot number_warm number_cold age_hot age_warm age mem_requested evicted \
    evicted_nonzero evicted_time outofmemory tailrepairs reclaimed expired_unfetched evicted_unfetched \
    evicted_active crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm \
    moves_within_lru direct_reclaims hits_to_hot hits_to_warm hits_to_cold hits_to_temp";

const SLABS: &str = "chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks \
    free_chunks_end get_hits cmd_set delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits";

fn snapshot(config: &Config) -> Snapshot<'_> {
    Snapshot {
        config,
        counters: Sums::default(),
        records: ShardStats::default(),
        memory_limit: config.memory_bytes,
        verbosity: 0,
        tuning: config.tuning.clone(),
        crawl_running: false,
        crawl_starts: 0,
        counts_prefixes: false,
        watch: WatchCounts::default(),
        tls: TlsCounts::default(),
        warm_open: None,
        unix_seconds: 1_800_000_000,
        uptime_seconds: 7,
        cpu_user: Duration::from_micros(1_000_002),
        cpu_system: Duration::ZERO,
    }
}

/// Names and values of a report.
fn lines(write: fn(&Snapshot, &mut Lines), now: &Snapshot) -> Vec<(String, String)> {
    let mut out = Vec::new();
    write(now, &mut Lines { out: &mut out });
    let text = String::from_utf8(out).unwrap();
    let parted = text.split_terminator("\r\n").map(|line| {
        let (name, value) = line.strip_prefix("STAT ").unwrap().split_once(' ').unwrap();
        (name.to_owned(), value.to_owned())
    });
    parted.collect()
}

fn names(write: fn(&Snapshot, &mut Lines), now: &Snapshot) -> Vec<String> {
    lines(write, now).into_iter().map(|(name, _)| name).collect()
}

fn value(write: fn(&Snapshot, &mut Lines), now: &Snapshot, name: &str) -> String {
    lines(write, now).into_iter().find(|(known, _)| known == name).expect(name).1
}

#[test]
fn general_names_are_complete_and_in_order() {
    let config = Config::default();
    let got = names(general::write, &snapshot(&config));
    let expected: Vec<&str> = GENERAL.split_whitespace().collect();
    assert_eq!(expected.len(), 93, "lines of a memcached 1.6.45 at default settings");
    assert_eq!(got[..93], expected);
    assert!(got[93..].iter().all(|name| name.starts_with("ringcache_")), "{:?}", &got[93..]);
}

#[test]
fn conditional_names_follow_the_flags() {
    let config = Config { idle_timeout_seconds: 5, maxconns_fast: false, ..Config::default() };
    let got = names(general::write, &snapshot(&config));
    let kicks = got.iter().position(|name| name == "idle_kicks").unwrap();
    assert_eq!((got[kicks - 1].as_str(), got[kicks + 1].as_str()), ("auth_errors", "bytes_read"));
    assert!(!got.contains(&"rejected_connections".to_owned()));
}

#[test]
fn settings_names_are_complete_and_in_order() {
    let config = Config::default();
    let expected: Vec<&str> = SETTINGS.split_whitespace().collect();
    assert_eq!(expected.len(), 80, "lines of a memcached 1.6.45 with everything compiled in");
    assert_eq!(names(settings::write, &snapshot(&config)), expected);
}

#[test]
fn settings_show_the_command_line() {
    let config = Config {
        port: None,
        socket_path: Some("/tmp/x".into()),
        socket_mode: 0o640,
        evictions: false,
        listen_text: Some("proto[ascii]:[::1]:7,a".into()),
        ..Config::default()
    };
    let now = snapshot(&config);
    for (name, expected) in [
        ("maxbytes", "67108864"),
        ("tcpport", "0"),
        ("domain_socket", "/tmp/x"),
        ("umask", "640"),
        ("evictions", "off"),
        ("inter", "proto[ascii]:[::1]:7,a"),
        ("growth_factor", "1.25"),
        ("client_flags_size", "4"),
        ("lru_crawler", "yes"),
    ] {
        assert_eq!(value(settings::write, &now, name), expected, "{name}");
    }
}

#[test]
fn one_class_stands_for_all_records() {
    let config = Config::default();
    let mut now = snapshot(&config);
    assert_eq!(lines(classes::write_items, &now), []);
    assert_eq!(names(classes::write_slabs, &now), ["active_slabs", "total_malloced"]);
    now.records = ShardStats {
        items: 10,
        bytes: 1000,
        slabs_used: 2,
        committed_bytes: 4096 + 512,
        index_bytes: 512,
        ..ShardStats::default()
    };
    let items: Vec<String> = ITEMS.split_whitespace().map(|name| format!("items:1:{name}")).collect();
    assert_eq!(names(classes::write_items, &now), items);
    let mut slabs: Vec<String> = SLABS.split_whitespace().map(|name| format!("1:{name}")).collect();
    slabs.extend(["active_slabs".to_owned(), "total_malloced".to_owned()]);
    assert_eq!(names(classes::write_slabs, &now), slabs);
    for (name, expected) in [("1:chunk_size", "100"), ("1:total_chunks", "40"), ("1:free_chunks", "30")] {
        assert_eq!(value(classes::write_slabs, &now, name), expected, "{name}");
    }
}

#[test]
fn values_are_printed_as_memcached_prints_them() {
    let config = Config::default();
    let mut now = snapshot(&config);
    now.counters.cmd_get = 11;
    now.records.index_buckets = 1 << 16;
    for (name, expected) in [
        ("rusage_user", "1.000002"),
        ("rusage_system", "0.000000"),
        ("version", "1.6.45"),
        ("uptime", "7"),
        ("cmd_get", "11"),
        ("hash_power_level", "16"),
        ("limit_maxbytes", "67108864"),
        ("ringcache_version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(value(general::write, &now, name), expected, "{name}");
    }
}

#[test]
fn sums_take_every_worker() {
    let workers = [Counters::default(), Counters::default()];
    workers[0].cmd_get.add(1);
    workers[1].cmd_get.add(2);
    workers[1].curr_connections.add(5);
    workers[1].curr_connections.sub(1);
    let mut sums = Sums::default();
    workers.iter().for_each(|worker| sums.add(worker));
    assert_eq!((sums.cmd_get, sums.curr_connections), (3, 4));
}

#[test]
fn a_reset_forgets_counts_and_keeps_states() {
    let mut before = Baseline::default();
    before.counters.cmd_set = 10;
    before.counters.curr_connections = 3;
    before.records =
        ShardStats { items: 4, bytes: 400, total_items: 10, evictions: 6, ..ShardStats::default() };
    let mut latest = before.clone();
    latest.counters.cmd_set = 12;
    latest.counters.curr_connections = 2;
    latest.records.items = 5;
    latest.records.total_items = 12;
    let since = latest.since(&before);
    assert_eq!((since.counters.cmd_set, since.counters.curr_connections), (2, 2));
    let records = since.records;
    assert_eq!((records.items, records.bytes, records.total_items, records.evictions), (5, 400, 2, 0));
}

/// Goal: no field of the engine's statistics is left out of the sum. Method: every field differs from zero.
#[test]
fn two_shards_add_up_in_every_field() {
    let one = ShardStats {
        items: 1,
        bytes: 2,
        total_items: 3,
        evictions: 4,
        evicted_unfetched: 5,
        reclaimed: 6,
        expired_unfetched: 7,
        too_large: 8,
        no_memory: 9,
        slabs_used: 10,
        committed_bytes: 11,
        index_bytes: 12,
        index_buckets: 13,
        index_growing: 14,
        slabs_cleaned: 15,
        records_moved: 16,
        evicted_idle_seconds: 17,
        tombstones: 18,
    };
    assert_eq!(added(one, ShardStats::default()), one);
    assert_eq!(added(ShardStats::default(), one), one);
    assert_eq!(added(one, one).records_moved, 32);
}
