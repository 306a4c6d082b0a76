//! The row of reads across workers: keys of the worker that serves the connection, and keys of the other one.

use std::time::Duration;

use super::contest::median;
use super::row::{Finding, Goal, Outcome, Ratio, Row, Table};
use super::setup::{Program, Setup};
use crate::error::BenchError;
use crate::remote::{Owner, RemotePlan, RemoteRun, measure, store};

/// The rows of this family.
pub const ROWS: &[Row] = &[Row {
    name: "remote",
    title: "GET 100 B, 50 connections, depth 16, -t 2 on both CPUs: keys of the other worker against own keys",
    measure: remote,
}];

fn remote(setup: &Setup) -> Result<Outcome, BenchError> {
    let mut launch = setup.launch();
    launch.threads = 2;
    launch.cpus = vec![setup.server_cpu, setup.client_cpu];
    let server = setup.start(Program::Ringcached, &launch)?;
    store(server.target())?;
    let plan = RemotePlan { connections: 50, depth: 16, length: setup.length.max(LENGTH_MIN) };
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for _ in 0..setup.rounds {
        own.push(measure(server.target(), server.pid(), Owner::Own, plan)?);
        other.push(measure(server.target(), server.pid(), Owner::Other, plan)?);
    }
    let (own, other) = (line("own keys", &own), line("other worker's keys", &other));
    let value = other.1[CPU] / own.1[CPU];
    let name = "CPU per request, other worker's keys/own keys".to_string();
    Ok(Outcome::Found(Finding {
        table: Table { columns: COLUMNS.to_vec(), lines: vec![own, other] },
        ratios: vec![Ratio { name, value, goal: Some(Goal::AtMost(1.15)) }],
        ..Finding::default()
    }))
}

fn line(name: &str, runs: &[RemoteRun]) -> (String, Vec<f64>) {
    let of = |figure: fn(&RemoteRun) -> f64| median(runs.iter().map(figure).collect());
    let rate = of(|run| run.requests as f64 / run.seconds);
    let cpu = [of(|run| run.cpu.total_us), of(|run| run.cpu.user_us), of(|run| run.cpu.system_us)];
    (name.to_string(), [vec![rate], cpu.to_vec()].concat())
}

const COLUMNS: [&str; 4] = ["requests/s", "CPU us/key", "user us", "system us"];
/// Place of the CPU time in [`COLUMNS`].
const CPU: usize = 1;
const LENGTH_MIN: Duration = Duration::from_millis(100);
