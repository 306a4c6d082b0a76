//! Rows of what a replica costs while it follows: the primary's CPU per SET, and the answer of a SET that waits for it.

use super::nodes::{Folder, Node};
use crate::admin::number;
use crate::client::Client;
use crate::compare::contest::{Contender, Figure, Standing, contest, table};
use crate::compare::row::{Finding, Goal, Outcome, Ratio, Row};
use crate::compare::setup::{Launch, Program, Setup};
use crate::error::BenchError;
use crate::load::{Plan, preload};
use crate::mix::{Mix, Operation};
use crate::workload::Workload;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    Row {
        name: "async",
        title: "SET 100 B, 50 connections, depth 16: CPU of the primary alone, with and without an async replica on the client's CPU",
        measure: cpu,
    },
    Row {
        name: "async-rate",
        title: "the same at 400,000/s, open loop: the replica can't take requests from the client",
        measure: cpu_at_rate,
    },
    Row {
        name: "semi-sync",
        title: "SET 100 B, 50 connections, 20,000/s, open loop: one replica, async and semi-sync",
        measure: latency,
    },
];

/// Sets of a hundred thousand keys from the client's CPU.
pub fn sets(setup: &Setup) -> Plan {
    Plan {
        workload: Workload { mix: Mix::only(Operation::Set), ..Workload::default() },
        pin: vec![setup.client_cpu],
        length: setup.length,
        ..Plan::default()
    }
}

fn cpu(setup: &Setup) -> Result<Outcome, BenchError> {
    cpu_of(setup, &Plan { depth: 16, ..sets(setup) })
}

/// With as many requests with the replica as without: what a turn finds to do is shared by all of it.
fn cpu_at_rate(setup: &Setup) -> Result<Outcome, BenchError> {
    cpu_of(setup, &Plan { depth: 16, rate: Some(HIGH_RATE), ..sets(setup) })
}

fn cpu_of(setup: &Setup, plan: &Plan) -> Result<Outcome, BenchError> {
    let folder = Folder::new()?;
    let launch = Launch { memory_mib: MEMORY_MIB, ..setup.launch() };
    let plain = setup.start(Program::Ringcached, &launch)?;
    let listening = Node::primary(setup, &folder, "listening", MEMORY_MIB, &[])?;
    let followed = Node::primary(setup, &folder, "primary", MEMORY_MIB, &[])?;
    let address = followed.admin.replication_address()?;
    let replica = Node::replica(setup, &folder, "replica", &address, MEMORY_MIB, &[])?;
    let contender = |name: &str, server| -> Result<Contender, BenchError> {
        let contender = Contender { name: name.to_string(), server, plan: plan.clone() };
        preload(contender.server.target(), plan)?;
        Ok(contender)
    };
    let contenders = [
        contender("replica", followed.server)?,
        contender("replication off", plain)?,
        contender("no replica", listening.server)?,
    ];
    let standings = contest(&contenders, setup.rounds)?;
    let written = Client::connect(contenders[0].server.target())?.stat("cmd_set")?;
    let applied = replica.admin.link()?.map_or(0, |link| number(&link, "applied"));
    let ratios = vec![
        ratio(&standings, Figure::Cpu, 1, Some(Goal::AtMost(1.15))),
        ratio(&standings, Figure::Cpu, 2, None),
        ratio(&standings, Figure::Throughput, 1, None),
    ];
    let notes = vec![format!("the replica applied {applied} records of {written} writes")];
    Ok(Outcome::Found(Finding { table: table(&standings, COLUMNS), ratios, notes, ..Finding::default() }))
}

fn latency(setup: &Setup) -> Result<Outcome, BenchError> {
    let folder = Folder::new()?;
    let plan = Plan { rate: Some(RATE), ..sets(setup) };
    let pair = |name: &str, mode: &str| -> Result<(Contender, Node), BenchError> {
        let primary = Node::primary(setup, &folder, name, MEMORY_MIB, &["--replication-mode", mode])?;
        let address = primary.admin.replication_address()?;
        let replica = Node::replica(setup, &folder, &format!("{name}-replica"), &address, MEMORY_MIB, &[])?;
        preload(primary.target(), &plan)?;
        Ok((Contender { name: name.to_string(), server: primary.server, plan: plan.clone() }, replica))
    };
    let (sync, _its_replica) = pair("semi-sync", "semi-sync")?;
    let (lax, _other_replica) = pair("async", "async")?;
    let standings = contest(&[sync, lax], setup.rounds)?;
    let ratios = vec![
        ratio(&standings, Figure::P99, 1, Some(Goal::AtMost(3.0))),
        ratio(&standings, Figure::P50, 1, None),
        ratio(&standings, Figure::Cpu, 1, None),
    ];
    let curves = standings.iter().map(Standing::latency_curve).collect();
    Ok(Outcome::Found(Finding { table: table(&standings, COLUMNS), ratios, curves, notes: Vec::new() }))
}

fn ratio(standings: &[Standing], figure: Figure, other: usize, goal: Option<Goal>) -> Ratio {
    let (first, other) = (&standings[0], &standings[other]);
    Ratio {
        name: format!("{}, {}/{}", figure.name(), first.name, other.name),
        value: first.figure(figure) / other.figure(figure),
        goal,
    }
}

/// Nothing is evicted.
const MEMORY_MIB: usize = 256;
/// Far below what one worker can do, and far above what a connection alone asks.
const RATE: f64 = 20_000.0;
/// A third of what one worker can do here, so that client and replica fit on one CPU.
const HIGH_RATE: f64 = 400_000.0;
const COLUMNS: &[Figure] = &[
    Figure::Throughput,
    Figure::Cpu,
    Figure::UserCpu,
    Figure::SystemCpu,
    Figure::P50,
    Figure::P99,
    Figure::P999,
];
