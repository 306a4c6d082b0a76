//! The row of the eviction storm: sets at full rate into a full cache, against the same load before it was full.

use std::time::{Duration, Instant};

use super::contest::{Figure, Standing, ratios, table};
use super::requests::gets;
use super::row::{Finding, Goal, Outcome, Ratio, Row};
use super::setup::{Launch, Program, Setup};
use crate::child::Server;
use crate::client::Client;
use crate::error::BenchError;
use crate::load::{Plan, measure};
use crate::mix::{Mix, Operation};

/// The rows of this family.
pub const ROWS: &[Row] = &[Row {
    name: "storm",
    title: "SET 100 B of ever new keys, 50 connections, depth 16, -m 512: empty, then full",
    measure: storm,
}];

/// Each round has servers of its own, because only a new one is not full.
fn storm(setup: &Setup) -> Result<Outcome, BenchError> {
    let programs = [Program::Ringcached, Program::Memcached];
    let mut standings = Vec::new();
    for program in programs {
        for state in ["empty", "full"] {
            standings.push(Standing { name: format!("{} {state}", program.name()), runs: Vec::new() });
        }
    }
    for _ in 0..setup.rounds {
        for (program, pair) in programs.into_iter().zip(standings.chunks_mut(2)) {
            let launch = Launch { memory_mib: MEMORY_MIB, ..setup.launch() };
            let server = setup.start(program, &launch)?;
            let mut plan = sets(setup);
            pair[0].runs.push(round(&server, &plan)?);
            fill(&server, &mut plan)?;
            pair[1].runs.push(round(&server, &plan)?);
        }
    }
    let goal = Goal::AtMost(2.0);
    Ok(Outcome::Found(Finding {
        table: table(&standings, &[Figure::Throughput, Figure::P50, Figure::P99, Figure::P999, Figure::Cpu]),
        ratios: vec![full_to_empty(&standings[..2], Some(goal)), full_to_empty(&standings[2..], None)],
        curves: standings.iter().map(Standing::latency_curve).collect(),
        notes: Vec::new(),
    }))
}

/// Random keys out of so many that each is new. The length leaves the cache empty enough to end before it is full.
fn sets(setup: &Setup) -> Plan {
    let mut plan = Plan { depth: 16, length: setup.length.min(EMPTY_LENGTH_MAX), ..gets(setup) };
    plan.workload.mix = Mix::only(Operation::Set);
    plan.workload.keys = u32::MAX;
    plan
}

fn round(server: &Server, plan: &Plan) -> Result<crate::figures::Measured, BenchError> {
    measure(server.target(), plan, Some(server.pid()))
}

/// Goes on with new keys until the server evicts.
fn fill(server: &Server, plan: &mut Plan) -> Result<(), BenchError> {
    let mut client = Client::connect(server.target())?;
    let start = Instant::now();
    if client.stat("evictions")? > 0 {
        return Err(BenchError::Usage(
            "the cache was full before the load on the empty one ended".to_string(),
        ));
    }
    while client.stat("evictions")? == 0 {
        if start.elapsed() > FILL_TIME_MAX {
            return Err(BenchError::Usage(format!(
                "the server has evicted nothing in {} s of sets",
                FILL_TIME_MAX.as_secs()
            )));
        }
        plan.workload.seed += 1;
        measure(server.target(), plan, None)?;
    }
    plan.workload.seed += 1;
    Ok(())
}

fn full_to_empty(pair: &[Standing], goal: Option<Goal>) -> Ratio {
    let full_first = [pair[1].clone(), pair[0].clone()];
    let ratio = ratios(&full_first, Figure::P99, &[]).remove(0);
    Ratio { goal, ..ratio }
}

const MEMORY_MIB: usize = 512;
const EMPTY_LENGTH_MAX: Duration = Duration::from_secs(1);
const FILL_TIME_MAX: Duration = Duration::from_secs(30);
