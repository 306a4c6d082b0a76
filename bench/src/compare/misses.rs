//! The row of misses: traces and generated clusters replayed at equal `-m`.

use std::path::Path;

use super::row::{Finding, Goal, Outcome, Ratio, Row, Table};
use super::setup::{Program, Setup};
use crate::clusters::Cluster;
use crate::error::BenchError;
use crate::hits::requests::Replay;
use crate::hits::{Held, server};
use crate::process::pin_thread;

/// The rows of this family.
pub const ROWS: &[Row] = &[Row {
    name: "misses",
    title: "cache-aside replay of traces and generated clusters at -m 64 and 128, -t 2: misses",
    measure: misses,
}];

/// A replay has no noise worth a second round: the order of requests is given.
fn misses(setup: &Setup) -> Result<Outcome, BenchError> {
    let Some(traces) = &setup.traces else {
        return Ok(Outcome::Skipped("--traces says where the traces lie".to_string()));
    };
    let columns = vec!["misses/gets", "records", "bytes per record"];
    let mut finding = Finding { table: Table { columns, lines: Vec::new() }, ..Finding::default() };
    for replay in replays(traces)? {
        for memory_mib in MEMORY_MIB {
            let mut ratio = 1.0;
            for program in [Program::Memcached, Program::Ringcached] {
                let held = measure(setup, program, memory_mib, &replay)?;
                let of_all = held.miss_ratio();
                let bytes_each = (memory_mib << 20) as f64 / held.records.max(1) as f64;
                let name = format!("{} -m {memory_mib} {}", replay.name, program.name());
                finding.table.lines.push((name, vec![of_all, held.records as f64, bytes_each]));
                ratio = of_all / ratio;
            }
            let name = format!("misses, ringcached/memcached, {} -m {memory_mib}", replay.name);
            finding.ratios.push(Ratio { name, value: ratio, goal: Some(Goal::AtMost(1.0)) });
        }
    }
    finding.ratios.insert(0, average(&finding.ratios));
    Ok(Outcome::Found(finding))
}

fn replays(traces: &Path) -> Result<Vec<Replay>, BenchError> {
    let read = |name: &&str| Replay::from_file(&traces.join(name), REQUESTS, FOOTPRINT_BYTES);
    let mut replays = TRACES.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    for number in CLUSTERS {
        let cluster = Cluster::find(number).map_err(BenchError::Usage)?;
        replays.push(Replay::from_cluster(cluster, CLUSTER_KEYS, CLUSTER_REQUESTS));
    }
    Ok(replays)
}

/// On a thread of its own, because a pinned thread pins every server that it starts later.
fn measure(setup: &Setup, program: Program, memory_mib: usize, replay: &Replay) -> Result<Held, BenchError> {
    let mut launch = setup.launch();
    (launch.threads, launch.memory_mib) = (2, memory_mib);
    let running = setup.start(program, &launch)?;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            pin_thread(&[setup.client_cpu])?;
            server::replay(&running, replay, speed(replay))
        });
        client.join().expect("a replay returns its failures")
    })
}

/// How much faster than its own time a replay goes; a trace has none.
fn speed(replay: &Replay) -> f64 {
    replay.rate.map_or(1.0, |rate| CLUSTER_RATE / rate)
}

fn average(ratios: &[Ratio]) -> Ratio {
    let value = ratios.iter().map(|ratio| ratio.value).sum::<f64>() / ratios.len() as f64;
    let name = "misses, ringcached/memcached, average".to_string();
    Ratio { name, value, goal: Some(Goal::AtMost(0.9)) }
}

const TRACES: [&str; 3] = ["orm-busy.u32.gz", "oltp.u32.gz", "cloudphysics.u32size.gz"];
/// Clusters with times to live of minutes, days and hours, whose data does not fit.
const CLUSTERS: [u32; 3] = [4, 53, 7];
const CLUSTER_KEYS: u32 = 1_000_000;
const REQUESTS: usize = 1_000_000;
const CLUSTER_REQUESTS: usize = 500_000;
const FOOTPRINT_BYTES: u64 = 512 << 20;
const MEMORY_MIB: [usize; 2] = [64, 128];
/// Requests per second that a cluster is replayed at: both servers keep up with it on one connection.
const CLUSTER_RATE: f64 = 10_000.0;
