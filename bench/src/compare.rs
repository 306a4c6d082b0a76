//! `ringbench compare`: ringcached, memcached and the floor side by side. Each server is pinned to CPU 0 and the client to
//! CPU 1; rounds alternate between the servers, so that a disturbance of the machine meets all of them; each figure is
//! the median of its rounds.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::child::Server;
use crate::driver::Reading;
use crate::error::BenchError;
use crate::figures::Measured;
use crate::keys::Distribution;
use crate::load::{Plan, length, measure, preload};
use crate::report;
use crate::workload::{Mix, Operation, Protocol, Workload};

/// Options of `ringbench compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The ringcached to measure; by default the one beside this program
    #[arg(long)]
    ringcached: Option<PathBuf>,
    /// The memcached to measure against
    #[arg(long, default_value = "memcached")]
    memcached: PathBuf,
    /// Which rows, in this order
    #[arg(long, value_delimiter = ',', default_value = "depth1,depth16,multiget50,set16,zipf8")]
    rows: Vec<Row>,
    /// Length of each round of each server
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds of each server; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Count the replies' bytes only: the cheapest client, for throughput at saturation
    #[arg(long)]
    blind: bool,
    /// CPU of the servers
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// CPU of the client
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// One kind of load; all with 100-byte values and 50 connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Gets, one open on each connection.
    Depth1,
    /// Gets, 16 open on each connection.
    Depth16,
    /// Gets of 50 keys, one open on each connection.
    Multiget50,
    /// Sets, 16 open on each connection.
    Set16,
    /// 90 % gets and 10 % sets of a million keys by Zipf's law, 8 open on each connection.
    Zipf8,
}

/// Runs the command.
pub fn run(args: &CompareArgs) -> Result<(), BenchError> {
    let length = length(args.seconds)?;
    let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
    let ringcached = args.ringcached.clone().unwrap_or_else(|| own.with_file_name("ringcached"));
    let contenders = [
        Contender::start("ringcached", &ringcached, SERVER_ARGUMENTS, args.server_cpu)?,
        Contender::start("memcached", &args.memcached, MEMCACHED_ARGUMENTS, args.server_cpu)?,
        Contender::start("floor", &own, &["floor", "--port", "{port}"], args.server_cpu)?,
    ];
    let versions: Vec<String> = contenders.iter().map(Contender::version).collect::<Result<_, _>>()?;
    if !args.json {
        report::print(&format!("{}\n", versions.join("; ")))?;
    }
    let mut reports = Vec::new();
    for row in &args.rows {
        let plan = row.plan(length, args);
        let result = compare_row(&contenders, &plan, args.rounds)?;
        if args.json {
            reports.push(row_json(*row, &result));
        } else {
            report::print(&row_text(*row, &result))?;
        }
    }
    if args.json {
        report::print(&format!("{:#}", json!({"servers": versions, "rows": reports})))?;
    }
    Ok(())
}

struct Contender {
    name: &'static str,
    server: Server,
}

impl Contender {
    fn start(
        name: &'static str,
        path: &Path,
        arguments: &[&str],
        cpu: usize,
    ) -> Result<Contender, BenchError> {
        Ok(Contender { name, server: Server::start(path, arguments, cpu)? })
    }

    /// The name, and what the server answers to `version`.
    fn version(&self) -> Result<String, BenchError> {
        let died = |source| BenchError::Died { source: Some(source) };
        let mut stream = File::from(self.server.target().connect()?);
        stream.write_all(b"version\r\n").map_err(died)?;
        let mut line = String::new();
        BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut line).map_err(died)?;
        let version = line.trim_end().strip_prefix("VERSION ").map(|version| format!(" {version}"));
        Ok(format!("{}{}", self.name, version.unwrap_or_default()))
    }
}

/// The median figures of one server in one row. CPU times are per key: for single gets and sets, per request.
#[derive(Clone, Debug)]
struct Standing {
    name: &'static str,
    requests_per_second: f64,
    user_us: f64,
    system_us: f64,
    total_us: f64,
    p50_us: f64,
    p99_us: f64,
    misses: u64,
    errors: u64,
}

/// A B C A B C ..., then the medians.
fn compare_row(contenders: &[Contender], plan: &Plan, rounds: u32) -> Result<Vec<Standing>, BenchError> {
    for contender in contenders {
        preload(contender.server.target(), plan)?;
    }
    let mut runs = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            runs.push(measure(contender.server.target(), plan, Some(contender.server.pid()))?);
        }
    }
    Ok(contenders.iter().zip(&runs).map(|(contender, runs)| Standing::of(contender.name, runs)).collect())
}

impl Standing {
    fn of(name: &'static str, runs: &[Measured]) -> Standing {
        let share = |run: &Measured| run.server.expect("the server's process is known").per(run.figures.keys);
        let median_of = |figure: &dyn Fn(&Measured) -> f64| median(runs.iter().map(figure).collect());
        Standing {
            name,
            requests_per_second: median_of(&Measured::rate),
            user_us: median_of(&|run| share(run).user_us),
            system_us: median_of(&|run| share(run).system_us),
            total_us: median_of(&|run| share(run).total_us),
            p50_us: median_of(&|run| run.percentile_us(50.0)),
            p99_us: median_of(&|run| run.percentile_us(99.0)),
            misses: runs.iter().map(|run| run.figures.misses).sum(),
            errors: runs.iter().map(|run| run.figures.errors).sum(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "requests_per_second": self.requests_per_second,
            "server_cpu_us_per_key": {"user": self.user_us, "system": self.system_us, "total": self.total_us},
            "latency_us": {"p50": self.p50_us, "p99": self.p99_us},
            "misses": self.misses,
            "errors": self.errors,
        })
    }
}

fn row_text(row: Row, standings: &[Standing]) -> String {
    let mut lines = vec![
        row.title().to_string(),
        format!(
            "  {:<12}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "requests/s", "user us", "system us", "total us", "p50 us", "p99 us"
        ),
    ];
    for standing in standings {
        let mut line = format!(
            "  {:<12}{:>12.0}{:>10.3}{:>10.3}{:>10.3}{:>10.1}{:>10.1}",
            standing.name,
            standing.requests_per_second,
            standing.user_us,
            standing.system_us,
            standing.total_us,
            standing.p50_us,
            standing.p99_us
        );
        if standing.misses + standing.errors > 0 {
            line.push_str(&format!("  {} misses, {} errors", standing.misses, standing.errors));
        }
        lines.push(line);
    }
    for (other, ratio) in ratios(standings) {
        lines.push(format!(
            "  ringcached/{other}: CPU {:.2}, throughput {:.2}, p99 {:.2}",
            ratio.cpu, ratio.throughput, ratio.p99
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn row_json(row: Row, standings: &[Standing]) -> Value {
    let mut report = json!({"row": row.name(), "title": row.title()});
    for standing in standings {
        report[standing.name] = standing.json();
    }
    for (other, ratio) in ratios(standings) {
        report[format!("ringcached/{other}")] =
            json!({"cpu": ratio.cpu, "throughput": ratio.throughput, "p99": ratio.p99});
    }
    report
}

struct Ratio {
    cpu: f64,
    throughput: f64,
    p99: f64,
}

/// The first standing against each of the others.
fn ratios(standings: &[Standing]) -> Vec<(&'static str, Ratio)> {
    let [first, others @ ..] = standings else { return Vec::new() };
    let against = |other: &Standing| Ratio {
        cpu: first.total_us / other.total_us,
        throughput: first.requests_per_second / other.requests_per_second,
        p99: first.p99_us / other.p99_us,
    };
    others.iter().map(|other| (other.name, against(other))).collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

impl Row {
    const ALL: [Row; 5] = [Row::Depth1, Row::Depth16, Row::Multiget50, Row::Set16, Row::Zipf8];

    fn name(self) -> &'static str {
        match self {
            Row::Depth1 => "depth1",
            Row::Depth16 => "depth16",
            Row::Multiget50 => "multiget50",
            Row::Set16 => "set16",
            Row::Zipf8 => "zipf8",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Row::Depth1 => "GET 100 B, 50 connections, depth 1",
            Row::Depth16 => "GET 100 B, 50 connections, depth 16",
            Row::Multiget50 => "GET of 50 keys, 100 B, 50 connections, depth 1 (CPU per key)",
            Row::Set16 => "SET 100 B, 50 connections, depth 16",
            Row::Zipf8 => "90/10 GET/SET 100 B, Zipf 1.0 of 1 M keys, 50 connections, depth 8",
        }
    }

    fn plan(self, length: Duration, args: &CompareArgs) -> Plan {
        let operation = if self == Row::Set16 { Operation::Set } else { Operation::Get };
        let mut plan = Plan {
            workload: Workload {
                mix: Mix::only(operation),
                multiget: 1,
                value_bytes: 100,
                keys: 100_000,
                distribution: Distribution::Uniform,
                protocol: Protocol::Text,
                verify: false,
            },
            reading: if args.blind { Reading::Blind } else { Reading::Parsed },
            connections: 50,
            depth: 1,
            threads: 1,
            pin: vec![args.client_cpu],
            length,
            rate: None,
        };
        match self {
            Row::Depth1 => {}
            Row::Depth16 | Row::Set16 => plan.depth = 16,
            Row::Multiget50 => plan.workload.multiget = 50,
            Row::Zipf8 => {
                plan.depth = 8;
                plan.workload.mix = "get=90,set=10".parse().expect("a constant mix");
                plan.workload.keys = 1_000_000;
                plan.workload.distribution = Distribution::Zipf { exponent: 1.0 };
            }
        }
        plan
    }
}

impl FromStr for Row {
    type Err = String;

    fn from_str(text: &str) -> Result<Row, String> {
        let named = Row::ALL.into_iter().find(|row| row.name() == text);
        named.ok_or_else(|| format!("the rows are {}", Row::ALL.map(Row::name).join(", ")))
    }
}

/// Of a reply to `version`.
const LINE_BYTES_MAX: u64 = 256;
/// A million keys fit, so that no row measures eviction.
const SERVER_ARGUMENTS: &[&str] = &["-l", "127.0.0.1", "-p", "{port}", "-t", "1", "-m", "1024", "-c", "1024"];
const MEMCACHED_ARGUMENTS: &[&str] =
    &["-l", "127.0.0.1", "-p", "{port}", "-t", "1", "-m", "1024", "-c", "1024", "-U", "0", "-u", "root"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![5.0]), 5.0);
    }

    #[test]
    fn every_row_is_found_by_its_name() {
        for row in Row::ALL {
            assert_eq!(row.name().parse(), Ok(row));
        }
        assert!("depth2".parse::<Row>().is_err());
    }
}
