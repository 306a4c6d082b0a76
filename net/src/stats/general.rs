//! `stats`: the process, its connections, its commands, its memory.

use std::fmt;
use std::time::Duration;

use super::{Lines, Snapshot};
use crate::config::{Config, MEMCACHED_VERSION};
use crate::limits::{DESCRIPTORS_PER_WORKER, DESCRIPTORS_RESERVED};

pub(super) fn write(now: &Snapshot, lines: &mut Lines) {
    write_process(now, lines);
    write_connections(now, lines);
    write_commands(now, lines);
    write_listening(now, lines);
    write_memory(now, lines);
    write_records(now, lines);
    write_own(now, lines);
}

fn write_process(now: &Snapshot, lines: &mut Lines) {
    lines.line("pid", std::process::id());
    lines.line("uptime", now.uptime_seconds);
    lines.line("time", now.unix_seconds);
    lines.line("version", MEMCACHED_VERSION);
    lines.line("libevent", "none");
    lines.line("pointer_size", usize::BITS);
    lines.line("rusage_user", Micros(now.cpu_user));
    lines.line("rusage_system", Micros(now.cpu_system));
}

fn write_connections(now: &Snapshot, lines: &mut Lines) {
    lines.line("max_connections", now.config.connections_max);
    lines.line("curr_connections", now.counters.curr_connections);
    lines.line("total_connections", now.counters.total_connections);
    if now.config.maxconns_fast {
        lines.line("rejected_connections", now.counters.rejected_connections);
    }
    lines.line("connection_structures", now.counters.curr_connections);
    lines.zeros(&["response_obj_oom", "response_obj_count", "response_obj_bytes"]);
    lines.zeros(&["read_buf_count", "read_buf_bytes", "read_buf_bytes_free", "read_buf_oom"]);
    lines.line("reserved_fds", reserved_descriptors(now.config));
}

/// What the process opens besides connections.
fn reserved_descriptors(config: &Config) -> u64 {
    DESCRIPTORS_RESERVED + u64::from(config.workers) * DESCRIPTORS_PER_WORKER
}

fn write_commands(now: &Snapshot, lines: &mut Lines) {
    let counters = &now.counters;
    lines.line("cmd_get", counters.cmd_get);
    lines.line("cmd_set", counters.cmd_set);
    lines.line("cmd_flush", counters.cmd_flush);
    lines.line("cmd_touch", counters.cmd_touch);
    lines.line("cmd_meta", counters.cmd_meta);
    lines.line("get_hits", counters.get_hits);
    lines.line("get_misses", counters.get_misses);
    lines.line("get_expired", counters.get_expired);
    lines.line("get_flushed", counters.get_flushed);
    lines.line("delete_misses", counters.delete_misses);
    lines.line("delete_hits", counters.delete_hits);
    lines.line("incr_misses", counters.incr_misses);
    lines.line("incr_hits", counters.incr_hits);
    lines.line("decr_misses", counters.decr_misses);
    lines.line("decr_hits", counters.decr_hits);
    lines.line("cas_misses", counters.cas_misses);
    lines.line("cas_hits", counters.cas_hits);
    lines.line("cas_badval", counters.cas_badval);
    lines.line("touch_hits", counters.touch_hits);
    lines.line("touch_misses", counters.touch_misses);
    lines.line("store_too_large", counters.store_too_large);
    lines.line("store_no_memory", counters.store_no_memory);
    lines.line("auth_cmds", counters.auth_cmds);
    lines.line("auth_errors", counters.auth_errors);
}

fn write_listening(now: &Snapshot, lines: &mut Lines) {
    let counters = &now.counters;
    if now.config.idle_timeout_seconds > 0 {
        lines.line("idle_kicks", counters.idle_kicks);
    }
    lines.line("bytes_read", counters.bytes_read);
    lines.line("bytes_written", counters.bytes_written);
    lines.line("limit_maxbytes", now.memory_limit);
    lines.line("accepting_conns", u8::from(counters.not_accepting == 0));
    lines.line("listen_disabled_num", counters.listen_disabled);
    lines.line("time_in_listen_disabled_us", counters.listen_disabled_micros);
    lines.line("threads", now.config.workers);
    lines.line("conn_yields", counters.conn_yields);
}

fn write_memory(now: &Snapshot, lines: &mut Lines) {
    lines.line("hash_power_level", now.records.index_buckets.max(1).ilog2());
    lines.line("hash_bytes", now.records.index_bytes);
    lines.line("hash_is_expanding", u8::from(now.records.index_growing > 0));
    if now.tuning.is_on("slab_reassign") {
        write_reassign(lines);
    }
    lines.line("slabs_moved", 0);
    if now.tuning.is_on("lru_crawler") {
        lines.line("lru_crawler_running", u8::from(now.crawl_running));
        lines.line("lru_crawler_starts", now.crawl_starts);
    }
    if now.tuning.is_on("lru_maintainer_thread") {
        lines.line("lru_maintainer_juggles", 0);
    }
    lines.line("malloc_fails", 0);
    lines.line("log_worker_dropped", now.watch.dropped);
    lines.line("log_worker_written", now.watch.written);
    lines.line("log_watcher_skipped", now.watch.skipped);
    lines.line("log_watcher_sent", now.watch.sent);
    lines.line("log_watchers", now.watch.watchers);
    if now.config.tls.enabled {
        write_encryption(now, lines);
    }
    lines.zeros(&["unexpected_napi_ids", "round_robin_fallback"]);
}

fn write_reassign(lines: &mut Lines) {
    lines.zeros(&[
        "slab_reassign_rescues",
        "slab_reassign_chunk_rescues",
        "slab_reassign_inline_reclaim",
        "slab_reassign_busy_items",
        "slab_reassign_busy_deletes",
        "slab_reassign_busy_nomem",
    ]);
    lines.line("slab_reassign_last_busy_status", "none");
    lines.line("slab_reassign_running", 0);
}

fn write_records(now: &Snapshot, lines: &mut Lines) {
    let records = &now.records;
    lines.line("bytes", records.bytes);
    lines.line("curr_items", records.items);
    lines.line("total_items", records.total_items);
    lines.line("slab_global_page_pool", 0);
    lines.line("expired_unfetched", records.expired_unfetched);
    lines.line("evicted_unfetched", records.evicted_unfetched);
    if now.tuning.is_on("lru_maintainer_thread") {
        lines.line("evicted_active", 0);
    }
    lines.line("evictions", records.evictions);
    lines.line("reclaimed", records.reclaimed);
    lines.zeros(&["crawler_reclaimed", "crawler_items_checked", "lrutail_reflocked"]);
    if now.tuning.is_on("lru_maintainer_thread") {
        lines.zeros(&[
            "moves_to_cold",
            "moves_to_warm",
            "moves_within_lru",
            "direct_reclaims",
            "lru_bumps_dropped",
        ]);
    }
}

fn write_encryption(now: &Snapshot, lines: &mut Lines) {
    if now.config.tls.session_cache {
        lines.line("ssl_new_sessions", now.tls.new_sessions);
    }
    lines.line("ssl_handshake_errors", now.tls.handshake_errors);
    lines.line("ssl_proto_errors", now.tls.proto_errors);
    lines.line("time_since_server_cert_refresh", now.tls.seconds_since_refresh);
}

/// What memcached has no name for.
fn write_own(now: &Snapshot, lines: &mut Lines) {
    lines.line("ringcache_version", env!("CARGO_PKG_VERSION"));
    lines.line("ringcache_turns", now.counters.turns);
    lines.line("ringcache_sleeps", now.counters.sleeps);
    lines.line("ringcache_spins", now.counters.looks);
    lines.line("ringcache_spins_paid", now.counters.looks_paid);
    lines.line("ringcache_mesh_writes", now.counters.mesh_writes);
    lines.line("ringcache_mesh_batches", now.counters.mesh_batches);
    for (name, count) in [
        ("ringcache_udp_requests", now.counters.udp_requests),
        ("ringcache_udp_malformed", now.counters.udp_malformed),
        ("ringcache_udp_parted", now.counters.udp_parted),
        ("ringcache_udp_dropped", now.counters.udp_dropped),
        ("ringcache_udp_limited", now.counters.udp_limited),
    ] {
        lines.line(name, count);
    }
    if let Some(open) = now.warm_open {
        write_warming(open, now, lines);
    }
    lines.line("ringcache_tls_handshakes", now.tls.handshakes);
    lines.line("ringcache_slabs_used", now.records.slabs_used);
    lines.line("ringcache_slabs_cleaned", now.records.slabs_cleaned);
    lines.line("ringcache_records_moved", now.records.records_moved);
    lines.line("ringcache_committed_bytes", now.records.committed_bytes);
    lines.line("ringcache_index_bytes", now.records.index_bytes);
    lines.line("ringcache_evicted_idle_seconds", now.records.evicted_idle_seconds);
}

fn write_warming(open: usize, now: &Snapshot, lines: &mut Lines) {
    lines.line("ringcache_warm_open", open);
    for (name, count) in [
        ("ringcache_warm_asked", now.counters.warm_asked),
        ("ringcache_warm_hits", now.counters.warm_hits),
        ("ringcache_warm_misses", now.counters.warm_misses),
        ("ringcache_warm_coalesced", now.counters.warm_coalesced),
        ("ringcache_warm_timeouts", now.counters.warm_timeouts),
        ("ringcache_warm_errors", now.counters.warm_errors),
        ("ringcache_warm_bytes", now.counters.warm_bytes),
        ("ringcache_warm_too_large", now.counters.warm_too_large),
    ] {
        lines.line(name, count);
    }
}

/// Seconds with six digits behind the point.
struct Micros(Duration);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}
