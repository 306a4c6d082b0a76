//! `stats settings`: the command line as it holds.
//!
//! Parts that this server has no counterpart of (LRU queues, external storage, proxy) are shown as they were
//! given, or at memcached's defaults, because monitoring looks for the names.

use std::path::PathBuf;

use super::{Lines, Snapshot, yes_no};
use crate::config::Binding;

pub(super) fn write(now: &Snapshot, lines: &mut Lines) {
    write_addresses(now, lines);
    write_limits(now, lines);
    write_queues(now, lines);
    write_storage(now, lines);
    write_encryption(now, lines);
    lines.line("proxy_enabled", "no");
    lines.line("proxy_uring_enabled", "no");
    lines.line("num_napi_ids", now.config.napi_ids);
    match &now.config.memory_file {
        Some(path) => lines.line("memory_file", path.display()),
        None => lines.line("memory_file", "(null)"),
    }
    lines.line("client_flags_size", size_of::<u32>());
}

fn write_addresses(now: &Snapshot, lines: &mut Lines) {
    let config = now.config;
    lines.line("maxbytes", now.memory_limit);
    lines.line("maxconns", config.connections_max);
    lines.line("tcpport", config.port.unwrap_or(0));
    lines.line("udpport", config.udp_port.unwrap_or(0));
    lines.line("inter", config.listen_text.as_deref().unwrap_or("NULL"));
    lines.line("verbosity", now.verbosity);
    lines.line("oldest", 0);
    lines.line("evictions", if config.evictions { "on" } else { "off" });
    match &config.socket_path {
        Some(path) => lines.line("domain_socket", path.display()),
        None => lines.line("domain_socket", "NULL"),
    }
    lines.line("umask", format_args!("{:o}", config.socket_mode));
    lines.line("shutdown_command", yes_no(config.shutdown_enabled));
}

fn write_limits(now: &Snapshot, lines: &mut Lines) {
    let config = now.config;
    lines.line("growth_factor", format_args!("{:.2}", config.growth_factor));
    lines.line("chunk_size", config.chunk_bytes);
    lines.line("num_threads", config.workers);
    lines.line("num_threads_per_udp", config.workers);
    lines.line("stat_key_prefix", char::from(config.prefix_delimiter));
    lines.line("detail_enabled", yes_no(now.counts_prefixes));
    lines.line("reqs_per_event", config.requests_per_turn);
    lines.line("cas_enabled", yes_no(config.cas));
    lines.line("tcp_backlog", config.backlog);
    let binding = match config.binding {
        Binding::Auto => "auto-negotiate",
        Binding::Ascii => "ascii",
        Binding::Binary => "binary",
    };
    lines.line("binding_protocol", binding);
    lines.line("auth_enabled_sasl", yes_no(config.sasl_file.is_some()));
    match &config.auth_file {
        Some(path) => lines.line("auth_enabled_ascii", path.display()),
        None => lines.line("auth_enabled_ascii", "no"),
    }
    lines.line("item_size_max", config.item_bytes_max);
    lines.line("maxconns_fast", yes_no(config.maxconns_fast));
}

fn write_queues(now: &Snapshot, lines: &mut Lines) {
    let config = now.config;
    let tuned = |name: &'static str, lines: &mut Lines| lines.line(name, now.tuning.shown(name));
    for name in [
        "hashpower_init",
        "slab_reassign",
        "slab_automove",
        "slab_automove_ratio",
        "slab_automove_window",
        "slab_chunk_max",
        "lru_crawler",
        "lru_crawler_sleep",
        "lru_crawler_tocrawl",
        "tail_repair_time",
    ] {
        tuned(name, lines);
    }
    lines.line("flush_enabled", yes_no(config.flush_enabled));
    lines.line("dump_enabled", yes_no(config.dump_enabled));
    lines.line("hash_algorithm", "xxh3");
    for name in [
        "lru_maintainer_thread",
        "lru_segmented",
        "hot_lru_pct",
        "warm_lru_pct",
        "hot_max_factor",
        "warm_max_factor",
        "temp_lru",
        "temporary_ttl",
    ] {
        tuned(name, lines);
    }
    lines.line("idle_timeout", config.idle_timeout_seconds);
    lines.line("watcher_logbuf_size", config.watcher_log_bytes);
    lines.line("worker_logbuf_size", config.worker_log_bytes);
    // None is in force, whatever was given.
    lines.line("read_buf_mem_limit", 0);
    lines.line("track_sizes", yes_no(config.track_sizes));
    lines.line("inline_ascii_response", "no");
    tuned("drop_privileges", lines);
}

fn write_storage(now: &Snapshot, lines: &mut Lines) {
    for (name, value) in [
        ("ext_item_size", "512"),
        ("ext_item_age", "4294967295"),
        ("ext_low_ttl", "0"),
        ("ext_recache_rate", "2000"),
        ("ext_wbuf_size", "4194304"),
        ("ext_compact_under", "0"),
        ("ext_drop_under", "0"),
        ("ext_max_sleep", "1000000"),
        ("ext_max_frag", "0.80"),
        ("slab_automove_freeratio", now.tuning.shown("slab_automove_freeratio")),
        ("ext_drop_unread", "no"),
    ] {
        lines.line(name, value);
    }
}

fn write_encryption(now: &Snapshot, lines: &mut Lines) {
    let tls = &now.config.tls;
    let path = |path: &Option<PathBuf>, none: &str| {
        path.as_ref().map_or_else(|| none.to_owned(), |path| path.display().to_string())
    };
    lines.line("ssl_enabled", yes_no(tls.enabled));
    lines.line("ssl_chain_cert", path(&tls.chain, "(null)"));
    lines.line("ssl_key", path(&tls.key, "(null)"));
    lines.line("ssl_verify_mode", tls.verify.bits());
    lines.line("ssl_keyformat", tls.key_format.number());
    lines.line("ssl_ciphers", tls.ciphers.as_deref().unwrap_or("NULL"));
    lines.line("ssl_ca_cert", path(&tls.authorities, "NULL"));
    lines.line("ssl_wbuf_size", tls.send_bytes);
    lines.line("ssl_session_cache", yes_no(tls.session_cache));
    lines.line("ssl_kernel_tls", "no");
    lines.line("ssl_min_version", tls.least_version_name());
}
