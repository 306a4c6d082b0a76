//! Tools that operators point at a memcached, and what monitoring reads: each must work unchanged.
//!
//! They are run where they are installed; `.ci/run peers` installs them. What the Prometheus exporter and mtop read is
//! checked by its names.

/// Starts and stops servers, and talks to them.
#[path = "../e2e/server.rs"]
mod server;

/// Debian's package of memcached: its configuration file and the script that starts it.
mod debian;
/// The tools of libmemcached.
mod libmemcached;
/// The proxy nutcracker, also called twemproxy.
mod nutcracker;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use server::{Server, run, skip};

const MEMCACHED_TOOL: &str = "/usr/share/memcached/scripts/memcached-tool";
const KEYS: usize = 50;

/// What `memcached_exporter` turns into metrics without asking whether it is there, from `stats`.
const EXPORTED: &str = "uptime time get_hits get_misses delete_hits delete_misses incr_hits incr_misses decr_hits \
    decr_misses cas_hits cas_misses cas_badval touch_hits touch_misses cmd_flush cmd_set bytes limit_maxbytes \
    curr_items total_items bytes_read bytes_written curr_connections total_connections rejected_connections \
    conn_yields listen_disabled_num evictions reclaimed store_too_large store_no_memory lru_crawler_starts \
    direct_reclaims crawler_items_checked crawler_reclaimed moves_to_cold moves_to_warm moves_within_lru \
    accepting_conns rusage_user rusage_system";
/// From `stats settings`.
const EXPORTED_SETTINGS: &str = "maxconns lru_crawler_sleep lru_crawler_tocrawl hot_lru_pct warm_lru_pct \
    hot_max_factor warm_max_factor";
/// From `stats items`, of a class.
const EXPORTED_ITEMS: &str = "number age hits_to_hot hits_to_warm hits_to_cold hits_to_temp crawler_reclaimed \
    evicted evicted_nonzero evicted_time evicted_unfetched expired_unfetched outofmemory reclaimed tailrepairs \
    mem_requested moves_to_cold moves_to_warm moves_within_lru number_hot number_warm number_cold age_hot age_warm";
/// From `stats slabs`, of a class.
const EXPORTED_SLABS: &str = "get_hits delete_hits incr_hits decr_hits cas_hits touch_hits cas_badval cmd_set \
    chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end";
/// What `mtop` refuses to do without, besides these.
const NEEDED_BY_MTOP: &str = "pid threads max_connections cmd_get cmd_touch cmd_meta get_expired get_flushed";

/// A server with some records, some of which have been asked for.
fn filled(flags: &[&str]) -> Server {
    let server = Server::ringcached(flags);
    let mut connection = server.connect();
    for key in 0..KEYS {
        assert_eq!(connection.ask(&format!("set key{key} 7 0 6\r\nvalue!")), "STORED");
    }
    connection.send("get key0 key1 none\r\n");
    connection.receive_until(b"END\r\n");
    server
}

fn stats(server: &Server, command: &str) -> HashMap<String, String> {
    let mut connection = server.connect();
    connection.send(format!("{command}\r\n"));
    let text = String::from_utf8(connection.receive_until(b"END\r\n")).expect("stats are text");
    let lines = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn what_the_exporter_and_mtop_read_is_a_number() {
    let server = filled(&["-t", "2"]);
    for (command, prefix, names) in [
        ("stats", "", EXPORTED),
        ("stats", "", NEEDED_BY_MTOP),
        ("stats settings", "", EXPORTED_SETTINGS),
        ("stats items", "items:1:", EXPORTED_ITEMS),
        ("stats slabs", "1:", EXPORTED_SLABS),
    ] {
        let all = stats(&server, command);
        for name in names.split_whitespace() {
            let value = all.get(&format!("{prefix}{name}")).unwrap_or_else(|| panic!("{command}: no {name}"));
            assert!(value.parse::<f64>().is_ok(), "{command}: {name} is {value}");
        }
    }
    let settings = stats(&server, "stats settings");
    for name in ["lru_crawler", "lru_maintainer_thread"] {
        assert!(["yes", "no"].contains(&settings[name].as_str()), "{name}");
    }
    assert_eq!(stats(&server, "stats")["rusage_user"].split('.').count(), 2);
}

#[test]
fn memcached_tool_works() {
    if !Path::new(MEMCACHED_TOOL).is_file() {
        return skip("no memcached-tool");
    }
    for workers in ["1", "2"] {
        let server = filled(&["-t", workers, "-o", "track_sizes"]);
        let tool = |arguments: &[&str]| output_of(MEMCACHED_TOOL, &server, arguments);
        let display = tool(&["display"]);
        let class: Vec<&str> = display.lines().nth(1).expect("a class").split_whitespace().collect();
        assert_eq!((class[0], class[4]), ("1", "50"), "{display}");
        let has_all = |line: &str| line.split_whitespace().eq(["curr_items", "50"]);
        assert!(tool(&["stats"]).lines().any(has_all));
        assert!(tool(&["settings"]).contains("maxconns"));
        assert!(tool(&["sizes"]).lines().any(|line| line.trim_end().ends_with(" 50")));
        let keys = tool(&["keys"]);
        assert_eq!(keys.lines().filter(|line| line.starts_with("key=key")).count(), KEYS, "{keys}");
        assert!(tool(&["keys", "7"]).lines().filter(|line| line.starts_with("key=key")).count() <= 7);
        let dump = tool(&["dump"]);
        assert_eq!(dump.lines().filter(|line| line.starts_with("add key")).count(), KEYS, "{dump}");
        assert!(dump.contains("add key7 7 0 6") && dump.contains("value!"), "{dump}");
    }
}

fn output_of(program: &str, server: &Server, arguments: &[&str]) -> String {
    let address = format!("127.0.0.1:{}", server.port());
    let output = run(Command::new("perl").arg(program).arg(address).args(arguments));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
