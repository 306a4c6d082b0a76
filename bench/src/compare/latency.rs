//! Rows of latency: the tail at a fixed rate, and the median of a single connection.

use super::contest::{Contender, Figure, Standing, contest, ratios, table};
use super::requests::gets;
use super::row::{Finding, Goal, Outcome, Row};
use super::setup::{Program, Setup};
use crate::error::BenchError;
use crate::load::Plan;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    Row {
        name: "tail",
        title: "GET 100 B, 50 connections, depth 1, open loop at 70 % of memcached's maximum",
        measure: tail,
    },
    Row { name: "latency", title: "GET 100 B, one connection, depth 1, client polls", measure: latency },
];

/// memcached's maximum is measured first, on the server that is measured afterwards.
fn tail(setup: &Setup) -> Result<Outcome, BenchError> {
    let closed = gets(setup);
    let mut contenders = contenders(setup, &closed)?;
    let maximum = contest(&contenders[1..2], setup.rounds)?[0].figure(Figure::Throughput);
    let rate = maximum * SHARE_OF_MAXIMUM;
    for contender in &mut contenders {
        contender.plan.rate = Some(rate);
    }
    let standings = contest(&contenders, setup.rounds)?;
    let goals = [(Program::Memcached, Goal::AtMost(1.0))];
    let mut ratios_found = ratios(&standings, Figure::P99, &goals);
    ratios_found.extend(ratios(&standings, Figure::P999, &goals));
    ratios_found.sort_by_key(|ratio| ratio.goal.is_none());
    let mut notes = vec![format!("rate: {rate:.0} requests/s; memcached's maximum: {maximum:.0}")];
    notes.extend(standings.iter().filter_map(|standing| missed_rate(standing, rate)));
    Ok(Outcome::Found(Finding {
        table: table(&standings, COLUMNS),
        ratios: ratios_found,
        curves: standings.iter().map(Standing::latency_curve).collect(),
        notes,
    }))
}

/// Ringcached twice: with the spin that operators are told of, and as it comes, without.
fn latency(setup: &Setup) -> Result<Outcome, BenchError> {
    let plan = Plan { connections: 1, polls: true, ..gets(setup) };
    let mut launch = setup.launch();
    launch.ringcached_arguments = vec!["--spin-us".to_string(), SPIN_US.to_string()];
    let mut spinning = Contender::start(setup, Program::Ringcached, &launch, &plan)?;
    spinning.name = format!("ringcached spin {SPIN_US}");
    let mut all = vec![spinning];
    all.extend(contenders(setup, &plan)?);
    let standings = contest(&all, setup.rounds)?;
    let goal = |most| [(Program::Memcached, Goal::AtMost(most))];
    let with_spin = [standings[0].clone(), standings[2].clone()];
    let mut ratios_found = ratios(&with_spin, Figure::P50, &goal(0.5));
    ratios_found.extend(ratios(&standings[1..], Figure::P50, &goal(1.0)));
    Ok(Outcome::Found(Finding {
        table: table(&standings, COLUMNS),
        ratios: ratios_found,
        curves: standings.iter().map(Standing::latency_curve).collect(),
        notes: Vec::new(),
    }))
}

fn contenders(setup: &Setup, plan: &Plan) -> Result<Vec<Contender>, BenchError> {
    let start = |program| Contender::start(setup, program, &setup.launch(), plan);
    Ok(vec![start(Program::Ringcached)?, start(Program::Memcached)?, start(Program::Floor)?])
}

fn missed_rate(standing: &Standing, rate: f64) -> Option<String> {
    let reached = standing.figure(Figure::Throughput);
    (reached < rate * 0.99).then(|| format!("{} answered {reached:.0} requests/s only", standing.name))
}

const SHARE_OF_MAXIMUM: f64 = 0.7;
/// As docs/operating.md advises.
const SPIN_US: u32 = 50;
const COLUMNS: &[Figure] = &[
    Figure::Throughput,
    Figure::P50,
    Figure::P99,
    Figure::P999,
    Figure::Cpu,
    Figure::UserCpu,
    Figure::SystemCpu,
];
