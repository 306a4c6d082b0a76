//! `ringbench hits`: replays traces as a cache-aside client (get; on a miss set) at equal `-m`, and compares miss ratios.
//!
//! ```text
//! requests     a file or a cluster -> a list of requests
//! server       replays it against ringcached and memcached
//! inside       replays it against the engine in this process, and against the caches of `ideal`
//! ```

mod ideal;
mod inside;
pub mod requests;
pub mod server;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::clusters::Cluster;
use crate::error::BenchError;
use crate::process::pin_thread;
use crate::report;
use crate::servers::{Kind, ServersArgs};
use ideal::{Lru, S3Fifo};
use requests::Replay;

/// Options of `ringbench hits`.
#[derive(Args, Debug)]
pub struct HitsArgs {
    /// Trace files: .u32.gz (key numbers) or .u32size.gz (key number, value bytes)
    #[arg(required_unless_present = "clusters")]
    traces: Vec<PathBuf>,
    /// Generated requests of these Twitter clusters
    #[arg(long, value_delimiter = ',')]
    clusters: Vec<u32>,
    /// Keys of a generated cluster
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    keys: u32,
    /// Requests of each replay: the first so many
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Megabytes that the values of a trace without sizes sum to
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    footprint: u64,
    /// Memory of the caches in megabytes (-m)
    #[arg(long, value_delimiter = ',', default_value = "64,128", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    memory: Vec<u64>,
    /// Threads of the servers (-t), or shards inside this process
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// How much faster than its own time a cluster's requests are replayed; times to live shrink with it, but not below
    /// three seconds
    #[arg(long, default_value_t = 20.0)]
    speed: f64,
    /// Only inside this process: the engine without a server, beside ideal caches of 44 bytes per record
    #[arg(long)]
    inside: bool,
    #[command(flatten)]
    servers: ServersArgs,
    /// CPU of the client
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What a replay saw, and what the cache held at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Gets.
    pub gets: u64,
    /// Of them without a value.
    pub misses: u64,
    /// Sets that were answered with anything but STORED.
    pub refused: u64,
    /// Keys in the cache.
    pub records: u64,
    /// Of the server's process; 0 inside this one.
    pub resident_bytes: u64,
}

/// One cache's result at one size.
struct Standing {
    name: &'static str,
    held: Held,
}

/// All caches on one replay at one size.
struct Row {
    replay: String,
    memory_megabytes: u64,
    standings: Vec<Standing>,
}

/// Runs the command.
pub fn run(args: &HitsArgs) -> Result<(), BenchError> {
    if !(args.speed > 0.0 && args.speed <= SPEED_MAX) {
        return Err(BenchError::Usage(format!("the speed is above 0 and at most {SPEED_MAX}")));
    }
    let mut rows = Vec::new();
    for replay in load_all(args)? {
        if !args.json {
            report::print(&headline(&replay))?;
        }
        for memory in &args.memory {
            let standings =
                if args.inside { inside(args, &replay, *memory) } else { outside(args, &replay, *memory) }?;
            let row = Row { replay: replay.name.clone(), memory_megabytes: *memory, standings };
            if !args.json {
                report::print(&row.text())?;
            }
            rows.push(row);
        }
    }
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        return report::print(&format!("{:#}", json!({"rows": rows})));
    }
    report::print(&summary(&rows))
}

/// Reads everything before anything is measured, so that a missing file costs no time.
fn load_all(args: &HitsArgs) -> Result<Vec<Replay>, BenchError> {
    let count = args.requests as usize;
    let mut replays = Vec::new();
    for path in &args.traces {
        replays.push(Replay::from_file(path, count, args.footprint * MEGABYTE)?);
    }
    for number in &args.clusters {
        let cluster = Cluster::find(*number).map_err(BenchError::Usage)?;
        replays.push(Replay::from_cluster(cluster, args.keys, count));
    }
    Ok(replays)
}

fn inside(args: &HitsArgs, replay: &Replay, megabytes: u64) -> Result<Vec<Standing>, BenchError> {
    let bytes = megabytes * MEGABYTE;
    Ok(vec![
        Standing { name: "engine", held: inside::replay_engine(replay, bytes, args.threads)? },
        Standing { name: "ideal LRU", held: inside::replay_ideal(replay, Lru::new(bytes)) },
        Standing { name: "ideal S3-FIFO", held: inside::replay_ideal(replay, S3Fifo::new(bytes)) },
    ])
}

fn outside(args: &HitsArgs, replay: &Replay, megabytes: u64) -> Result<Vec<Standing>, BenchError> {
    pin_thread(&[args.client_cpu])?;
    let measure = |kind: Kind| {
        let server = args.servers.start(kind, args.threads, megabytes)?;
        Ok(Standing { name: kind.name(), held: server::replay(&server, replay, args.speed)? })
    };
    Kind::BOTH.into_iter().map(measure).collect()
}

impl Held {
    /// Misses per get.
    pub fn miss_ratio(&self) -> f64 {
        self.misses as f64 / self.gets.max(1) as f64
    }
}

impl Row {
    /// The first cache's misses over the second's.
    fn ratio(&self) -> f64 {
        self.standings[0].held.misses as f64 / self.standings[1].held.misses.max(1) as f64
    }

    fn bytes_per_record(&self, held: &Held) -> f64 {
        (self.memory_megabytes * MEGABYTE) as f64 / held.records.max(1) as f64
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        for standing in &self.standings {
            let held = &standing.held;
            let mut line = format!(
                "  -m {:<6}{:<15}{:>10.4}{:>12}{:>12.1}",
                self.memory_megabytes,
                standing.name,
                held.miss_ratio(),
                held.records,
                self.bytes_per_record(held)
            );
            if held.resident_bytes > 0 {
                line.push_str(&format!("{:>10.1} MiB", held.resident_bytes as f64 / MEGABYTE as f64));
            }
            if held.refused > 0 {
                line.push_str(&format!("  {} refused", held.refused));
            }
            lines.push(line);
        }
        lines.push(format!("            ratio          {:>10.3}", self.ratio()));
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let mut report = json!({
            "replay": self.replay, "memory_megabytes": self.memory_megabytes, "ratio": self.ratio(),
        });
        for standing in &self.standings {
            let held = &standing.held;
            report[standing.name] = json!({
                "miss_ratio": held.miss_ratio(),
                "gets": held.gets,
                "misses": held.misses,
                "refused": held.refused,
                "records": held.records,
                "memory_bytes_per_record": self.bytes_per_record(held),
                "resident_bytes": held.resident_bytes,
            });
        }
        report
    }
}

fn headline(replay: &Replay) -> String {
    let (keys, bytes) = replay.footprint();
    let megabytes = bytes as f64 / MEGABYTE as f64;
    let title = format!(
        "{}: {} requests, {keys} keys, {megabytes:.0} MB of values",
        replay.name,
        replay.requests.len()
    );
    format!("{title}\n           {:<15}{:>12}{:>12}{:>12}", "", "miss ratio", "records", "bytes each")
}

fn summary(rows: &[Row]) -> String {
    let ratios: Vec<f64> = rows.iter().map(Row::ratio).collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
    let (first, second) = (rows[0].standings[0].name, rows[0].standings[1].name);
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    format!("{first}/{second}, misses: {mean:.3} on average, {worst:.3} at worst, {} rows", rows.len())
}

const MEGABYTE: u64 = 1 << 20;
const SPEED_MAX: f64 = 1e6;
