//! Rows of large values: server CPU per byte.

use super::contest::{Contender, Figure, contest, ratios, table};
use super::requests::gets;
use super::row::{Finding, Goal, Outcome, Row};
use super::setup::{Program, Setup};
use crate::driver::Reading;
use crate::error::BenchError;
use crate::load::Plan;
use crate::values::Sizes;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    Row {
        name: "large100k",
        title: "GET 100 KB, 10 connections, depth 1, blind client",
        measure: |setup| measure(setup, 100_000),
    },
    Row {
        name: "large1m",
        title: "GET 1 MB, 10 connections, depth 1, blind client",
        measure: |setup| measure(setup, 1_000_000),
    },
];

fn measure(setup: &Setup, value_bytes: usize) -> Result<Outcome, BenchError> {
    let mut plan = Plan { connections: 10, reading: Reading::Blind, ..gets(setup) };
    plan.workload.sizes = Sizes::fixed(value_bytes);
    plan.workload.keys = u32::try_from(ALL_VALUES_BYTES / value_bytes).expect("a small quotient");
    let mut launch = setup.launch();
    launch.value_bytes = value_bytes;
    let start = |program| Contender::start(setup, program, &launch, &plan);
    let contenders = [start(Program::Ringcached)?, start(Program::Memcached)?, start(Program::Floor)?];
    let standings = contest(&contenders, setup.rounds)?;
    let mut ratios_found = ratios(&standings, Figure::CpuPerByte, &[(Program::Memcached, Goal::AtMost(0.9))]);
    ratios_found.extend(ratios(&standings, Figure::Throughput, &[]));
    Ok(Outcome::Found(Finding {
        table: table(&standings, COLUMNS),
        ratios: ratios_found,
        ..Finding::default()
    }))
}

/// More than any cache of a CPU holds, and far less than the servers may.
const ALL_VALUES_BYTES: usize = 200_000_000;
const COLUMNS: &[Figure] = &[
    Figure::Throughput,
    Figure::CpuPerByte,
    Figure::Cpu,
    Figure::UserCpu,
    Figure::SystemCpu,
    Figure::P50,
    Figure::P99,
];
