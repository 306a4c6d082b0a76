//! Counters and what the `stats` commands print of them.
//!
//! Each worker writes its own counters and nobody else's, so a bump costs a load and a store. A `stats` command
//! sums them up; `stats reset` can't clear what another worker owns, so it remembers the sums as a baseline that
//! later reports subtract. Names and their order are memcached's; `docs/monitoring.md` tells which of them mean
//! something else here.

mod classes;
mod conns;
pub mod detail;
mod general;
mod listing;
mod replication;
mod settings;

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use ringcache_engine::{Now, ShardId, ShardStats};

use crate::config::{Config, Tuning};
use crate::dump::Form;
use crate::node::Node;
use crate::observe::WatchCounts;
use crate::server::tls::TlsCounts;
use crate::sys;

/// Answers `stats <what>`: appends the whole reply to `out`, its last line included. `what` is the rest of the
/// command's line; words that a report does not want are ignored. False when there are no such statistics: `out`
/// is untouched.
///
/// Cost: one pass over the counters of every worker and shard, and one system call.
pub fn report(node: &Node, now: Now, what: &[u8], out: &mut Vec<u8>) -> bool {
    let mut words = what.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let write: fn(&Snapshot, &mut Lines) = match words.next().unwrap_or_default() {
        b"" => general::write,
        b"settings" => settings::write,
        b"items" => classes::write_items,
        b"slabs" => classes::write_slabs,
        b"sizes" => |_, lines| lines.line("sizes_status", "disabled"),
        b"conns" => {
            conns::write(&node.roster.lines(now.seconds.0), &mut Lines { out });
            out.extend_from_slice(b"END\r\n");
            return true;
        }
        b"replication" => {
            replication::write(node, now, &mut Lines { out });
            out.extend_from_slice(b"END\r\n");
            return true;
        }
        b"reset" => {
            reset(node);
            out.extend_from_slice(b"RESET\r\n");
            return true;
        }
        b"detail" => {
            detail::write(node, words, out);
            return true;
        }
        b"cachedump" => {
            out.extend_from_slice(listing::refusal(&node.config, words));
            return true;
        }
        _ => return false,
    };
    write(&Snapshot::take(node, now), &mut Lines { out });
    out.extend_from_slice(b"END\r\n");
    true
}

/// What to dump when `stats <what>` asks for statistics that are made by a walk over all records.
pub fn dump(config: &Config, what: &[u8]) -> Option<Form> {
    let mut words = what.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    match words.next() {
        Some(b"sizes") => config.track_sizes.then_some(Form::Sizes),
        Some(b"cachedump") => listing::asked(config, words),
        _ => None,
    }
}

fn reset(node: &Node) {
    let latest = Baseline::take(node);
    *node.baseline.lock().expect("nothing panics while holding it") = latest;
    node.observers.forget_prefixes();
    node.tls.reset();
}

/// A counter with one writer: the bump is a load and a store, not a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`; only the owning worker may call it.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes `amount` away; only the owning worker may call it.
    #[inline]
    pub fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// The value; any thread.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Defines the counters of a worker and their sums from one list of names.
macro_rules! counters {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        /// Counters of one worker, named as memcached names them.
        #[derive(Debug, Default)]
        #[expect(missing_docs, reason = "the names are memcached's stats names; docs/monitoring.md explains them")]
        pub struct Counters {
            $($(#[$attribute])* pub $name: Counter,)*
        }

        /// The counters of all workers, summed.
        #[derive(Clone, Debug, Default)]
        struct Sums {
            $($name: u64,)*
        }

        impl Sums {
            fn add(&mut self, worker: &Counters) {
                $(self.$name = self.$name.wrapping_add(worker.$name.value());)*
            }

            /// What was counted since `earlier`.
            fn since(&self, earlier: &Sums) -> Sums {
                Sums { $($name: self.$name.wrapping_sub(earlier.$name),)* }
            }
        }
    };
}

counters! {
    curr_connections,
    total_connections,
    rejected_connections,
    cmd_get,
    cmd_set,
    cmd_flush,
    cmd_touch,
    cmd_meta,
    get_hits,
    get_misses,
    get_expired,
    get_flushed,
    delete_hits,
    delete_misses,
    incr_hits,
    incr_misses,
    decr_hits,
    decr_misses,
    cas_hits,
    cas_misses,
    cas_badval,
    touch_hits,
    touch_misses,
    store_too_large,
    store_no_memory,
    auth_cmds,
    auth_errors,
    bytes_read,
    bytes_written,
    conn_yields,
    idle_kicks,
    listen_disabled,
    listen_disabled_micros,
    /// 1 while connections past the limit are held back.
    not_accepting,
    /// Datagrams with requests, and those that are none, that are parted, that find no room or no allowance.
    udp_requests,
    udp_malformed,
    udp_parted,
    udp_dropped,
    udp_limited,
    /// Turns of the loop, and how many of them slept.
    turns,
    sleeps,
    /// Looks for work before sleep, and how many of them found some.
    looks,
    looks_paid,
    /// Writes that replication refused, and those that were answered as being in doubt.
    writes_refused,
    writes_in_doubt,
    /// Writes handed to other workers and batches they went in.
    mesh_writes,
    mesh_batches,
    /// Keys asked of the upstream, what it answered, those who waited for another's question, answers that did not come
    /// in time, connections that ended, bytes of values, values too large to be kept.
    warm_asked,
    warm_hits,
    warm_misses,
    warm_coalesced,
    warm_timeouts,
    warm_errors,
    warm_bytes,
    warm_too_large,
}

/// A worker's counters on cache lines of their own.
pub type WorkerStats = CachePadded<Counters>;

/// Everything countable of a node at one moment; what `stats reset` keeps.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    counters: Sums,
    records: ShardStats,
}

impl Baseline {
    fn take(node: &Node) -> Self {
        let mut now = Self::default();
        for worker in &node.workers {
            now.counters.add(worker);
        }
        for shard in 0..node.config.workers {
            now.records = added(now.records, node.engine.stats(ShardId(shard)));
        }
        now
    }

    /// Counts since `earlier`; what is a present state and no count stays as it is.
    fn since(&self, earlier: &Baseline) -> Baseline {
        let mut counters = self.counters.since(&earlier.counters);
        counters.curr_connections = self.counters.curr_connections;
        counters.not_accepting = self.counters.not_accepting;
        let (latest, before) = (self.records, earlier.records);
        let records = ShardStats {
            total_items: latest.total_items.wrapping_sub(before.total_items),
            evictions: latest.evictions.wrapping_sub(before.evictions),
            evicted_unfetched: latest.evicted_unfetched.wrapping_sub(before.evicted_unfetched),
            reclaimed: latest.reclaimed.wrapping_sub(before.reclaimed),
            expired_unfetched: latest.expired_unfetched.wrapping_sub(before.expired_unfetched),
            too_large: latest.too_large.wrapping_sub(before.too_large),
            no_memory: latest.no_memory.wrapping_sub(before.no_memory),
            slabs_cleaned: latest.slabs_cleaned.wrapping_sub(before.slabs_cleaned),
            records_moved: latest.records_moved.wrapping_sub(before.records_moved),
            ..latest
        };
        Baseline { counters, records }
    }
}

/// Two shards' statistics as if they were one's.
fn added(one: ShardStats, other: ShardStats) -> ShardStats {
    ShardStats {
        items: one.items + other.items,
        bytes: one.bytes + other.bytes,
        total_items: one.total_items + other.total_items,
        evictions: one.evictions + other.evictions,
        evicted_unfetched: one.evicted_unfetched + other.evicted_unfetched,
        reclaimed: one.reclaimed + other.reclaimed,
        expired_unfetched: one.expired_unfetched + other.expired_unfetched,
        too_large: one.too_large + other.too_large,
        no_memory: one.no_memory + other.no_memory,
        slabs_used: one.slabs_used + other.slabs_used,
        committed_bytes: one.committed_bytes + other.committed_bytes,
        index_bytes: one.index_bytes + other.index_bytes,
        index_buckets: one.index_buckets + other.index_buckets,
        index_growing: one.index_growing + other.index_growing,
        slabs_cleaned: one.slabs_cleaned + other.slabs_cleaned,
        records_moved: one.records_moved + other.records_moved,
        evicted_idle_seconds: one.evicted_idle_seconds.max(other.evicted_idle_seconds),
        tombstones: one.tombstones + other.tombstones,
    }
}

/// All that a report prints, free of the node, so that reports can be tested without one.
struct Snapshot<'n> {
    config: &'n Config,
    counters: Sums,
    records: ShardStats,
    memory_limit: u64,
    verbosity: u8,
    tuning: Tuning,
    crawl_running: bool,
    crawl_starts: u64,
    counts_prefixes: bool,
    watch: WatchCounts,
    tls: TlsCounts,
    /// Shards that ask an upstream; `None`: there is none.
    warm_open: Option<usize>,
    unix_seconds: u32,
    uptime_seconds: u32,
    cpu_user: Duration,
    cpu_system: Duration,
}

impl<'n> Snapshot<'n> {
    fn take(node: &'n Node, now: Now) -> Self {
        let baseline = node.baseline.lock().expect("nothing panics while holding it").clone();
        let Baseline { counters, records } = Baseline::take(node).since(&baseline);
        let (cpu_user, cpu_system) = sys::cpu_times();
        Self {
            config: &node.config,
            counters,
            records,
            memory_limit: node.engine.memory_limit(),
            verbosity: node.verbosity.load(Ordering::Relaxed),
            tuning: node.tuning.lock().expect("nothing panics while holding it").clone(),
            crawl_running: node.crawls.is_running(),
            crawl_starts: node.crawls.starts(),
            counts_prefixes: node.observers.counts_prefixes(),
            watch: node.observers.watch_counts(),
            tls: node.tls.counts(now.seconds),
            warm_open: node.warming.as_ref().map(|warming| warming.open_shards()),
            unix_seconds: now.seconds.0,
            uptime_seconds: now.seconds.0.saturating_sub(node.started.0),
            cpu_user,
            cpu_system,
        }
    }
}

/// The reply under construction.
struct Lines<'o> {
    out: &'o mut Vec<u8>,
}

impl Lines<'_> {
    /// Appends `STAT <name> <value>`.
    fn line(&mut self, name: &str, value: impl Display) {
        write!(self.out, "STAT {name} {value}\r\n").expect("a Vec takes every write");
    }

    /// Appends a line for each name with the value 0: notions that this server has no counterpart of.
    fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.line(name, 0);
        }
    }

    /// Appends lines of one class: `STAT <before><name> <value>`.
    fn class_line(&mut self, before: &str, name: &str, value: u64) {
        write!(self.out, "STAT {before}{name} {value}\r\n").expect("a Vec takes every write");
    }
}

/// memcached's way to say a switch.
fn yes_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

#[cfg(test)]
mod tests;
