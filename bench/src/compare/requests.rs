//! Rows of small requests: server CPU per key, throughput at saturation, and both cores shared with the client.

use super::contest::{Contender, Figure, contest, ratios, table};
use super::row::{Finding, Goal, Outcome, Row};
use super::setup::{Program, Setup};
use crate::driver::Reading;
use crate::error::BenchError;
use crate::keys::Distribution;
use crate::load::Plan;
use crate::mix::{Mix, Operation};
use crate::workload::{Protocol, Workload};

/// The rows of this family.
pub const ROWS: &[Row] = &[
    Row {
        name: "depth1",
        title: "GET 100 B, 50 connections, depth 1",
        measure: |setup| cpu(setup, gets(setup), &[at_most(MEMCACHED, 0.85), at_most(FLOOR, 1.2)]),
    },
    Row {
        name: "depth16",
        title: "GET 100 B, 50 connections, depth 16",
        measure: |setup| {
            let plan = Plan { depth: 16, ..gets(setup) };
            cpu(setup, plan, &[at_most(MEMCACHED, 0.45), at_most(FLOOR, 1.5)])
        },
    },
    Row {
        name: "multiget50",
        title: "GET of 50 keys, 100 B, 50 connections, depth 1",
        measure: |setup| cpu(setup, multigets(setup), &[at_most(MEMCACHED, 0.45), at_most(FLOOR, 1.5)]),
    },
    Row {
        name: "saturation16",
        title: "GET 100 B, 50 connections, depth 16, blind client: throughput",
        measure: |setup| saturation(setup, Plan { depth: 16, ..gets(setup) }),
    },
    Row {
        name: "saturation50",
        title: "GET of 50 keys, 100 B, 50 connections, depth 1, blind client: throughput",
        measure: |setup| saturation(setup, multigets(setup)),
    },
    Row {
        name: "set16",
        title: "SET 100 B, 50 connections, depth 16",
        measure: |setup| {
            let mut plan = Plan { depth: 16, ..gets(setup) };
            plan.workload.mix = Mix::only(Operation::Set);
            cpu(setup, plan, &[at_most(MEMCACHED, 0.5)])
        },
    },
    Row {
        name: "shared",
        title: "90/10 GET/SET 100 B, Zipf 1.0 of 1 M keys, 50 connections, depth 8, -t 2, two CPUs shared with a blind client",
        measure: shared,
    },
];

/// Single gets of a hundred thousand keys, one open on each of 50 connections.
pub fn gets(setup: &Setup) -> Plan {
    Plan {
        workload: Workload { mix: Mix::only(Operation::Get), ..Workload::default() },
        pin: vec![setup.client_cpu],
        length: setup.length,
        ..Plan::default()
    }
}

fn multigets(setup: &Setup) -> Plan {
    let mut plan = gets(setup);
    plan.workload.multiget = 50;
    plan
}

fn cpu(setup: &Setup, plan: Plan, goals: &[(Program, Goal)]) -> Result<Outcome, BenchError> {
    let standings = contest(&contenders(setup, &plan)?, setup.rounds)?;
    let mut ratios_found = ratios(&standings, Figure::Cpu, goals);
    ratios_found.extend(ratios(&standings, Figure::Throughput, &[]));
    Ok(Outcome::Found(Finding {
        table: table(&standings, COLUMNS),
        ratios: ratios_found,
        curves: standings.iter().map(super::contest::Standing::latency_curve).collect(),
        notes: notes(setup),
    }))
}

fn saturation(setup: &Setup, plan: Plan) -> Result<Outcome, BenchError> {
    let plan = Plan { reading: Reading::Blind, ..plan };
    let standings = contest(&contenders(setup, &plan)?, setup.rounds)?;
    Ok(Outcome::Found(Finding {
        table: table(&standings, COLUMNS),
        ratios: ratios(&standings, Figure::Throughput, &[(MEMCACHED, Goal::AtLeast(2.0))]),
        notes: notes(setup),
        ..Finding::default()
    }))
}

/// Two client threads and two server threads on two CPUs: what a request costs both sides together. One client thread
/// stays on each CPU, because the scheduler's luck in spreading them is worth a third of the throughput otherwise.
fn shared(setup: &Setup) -> Result<Outcome, BenchError> {
    let cpus = vec![setup.server_cpu, setup.client_cpu];
    let mut plan = Plan { depth: 8, threads: 2, pin: cpus.clone(), reading: Reading::Blind, ..gets(setup) };
    plan.workload.mix = "get=90,set=10".parse().expect("a constant mix");
    plan.workload.keys = 1_000_000;
    plan.workload.distribution = Distribution::Zipf { exponent: 1.0 };
    let mut launch = setup.launch();
    launch.threads = 2;
    launch.cpus = cpus;
    let contenders = [
        Contender::start(setup, Program::Ringcached, &launch, &plan)?,
        Contender::start(setup, MEMCACHED, &launch, &plan)?,
    ];
    let standings = contest(&contenders, setup.rounds)?;
    let mut ratios_found = ratios(&standings, Figure::Throughput, &[(MEMCACHED, Goal::AtLeast(1.5))]);
    ratios_found.extend(ratios(&standings, Figure::Cpu, &[]));
    Ok(Outcome::Found(Finding {
        table: table(&standings, COLUMNS),
        ratios: ratios_found,
        ..Finding::default()
    }))
}

/// Every program, each with the keys stored.
fn contenders(setup: &Setup, plan: &Plan) -> Result<Vec<Contender>, BenchError> {
    let launch = setup.launch();
    let start = |program, plan: &Plan| Contender::start(setup, program, &launch, plan);
    let mut contenders = vec![
        start(Program::Ringcached, plan)?,
        start(Program::Memcached, plan)?,
        start(Program::Floor, plan)?,
    ];
    if setup.redis.is_some() {
        let mut plan = plan.clone();
        plan.workload.protocol = Protocol::Resp;
        contenders.push(start(Program::Redis, &plan)?);
    }
    Ok(contenders)
}

fn notes(setup: &Setup) -> Vec<String> {
    let missing = setup.redis.is_none().then(|| "skipped: redis-server is not installed".to_string());
    missing.into_iter().collect()
}

fn at_most(program: Program, most: f64) -> (Program, Goal) {
    (program, Goal::AtMost(most))
}

const MEMCACHED: Program = Program::Memcached;
const FLOOR: Program = Program::Floor;
const COLUMNS: &[Figure] =
    &[Figure::Throughput, Figure::Cpu, Figure::UserCpu, Figure::SystemCpu, Figure::P50, Figure::P99];
