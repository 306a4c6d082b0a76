//! Rows of scale: throughput against depth, and against the number of workers.

use super::contest::{Contender, Figure, Standing, contest, ratios, table};
use super::requests::gets;
use super::row::{Curve, Finding, Goal, Outcome, Plot, Ratio, Row};
use super::setup::{Program, Setup};
use crate::driver::Reading;
use crate::error::BenchError;
use crate::load::Plan;

/// The rows of this family.
pub const ROWS: &[Row] = &[
    Row {
        name: "depths",
        title: "GET 100 B, 50 connections, blind client: throughput against depth",
        measure: depths,
    },
    Row {
        name: "workers",
        title: "GET 100 B, depth 16, blind client: throughput against the number of workers",
        measure: workers,
    },
];

fn depths(setup: &Setup) -> Result<Outcome, BenchError> {
    let plan = Plan { reading: Reading::Blind, ..gets(setup) };
    let start = |program| Contender::start(setup, program, &setup.launch(), &plan);
    let mut contenders = [start(Program::Ringcached)?, start(Program::Memcached)?, start(Program::Floor)?];
    let mut finding = Finding::default();
    let mut points = vec![Vec::new(); contenders.len()];
    for depth in [1, 2, 4, 8, 16, 32, 64, 128] {
        for contender in &mut contenders {
            contender.plan.depth = depth;
        }
        let standings = contest(&contenders, setup.rounds)?;
        for (points, standing) in points.iter_mut().zip(&standings) {
            points.push((depth as f64, standing.figure(Figure::Throughput)));
        }
        let found = table(&standings, &[Figure::Throughput, Figure::Cpu, Figure::P50, Figure::P99]);
        finding.table.columns = found.columns;
        let named = |(name, figures)| (format!("{name} {depth}"), figures);
        finding.table.lines.extend(found.lines.into_iter().map(named));
    }
    let curve = |(contender, points): (&Contender, Vec<(f64, f64)>)| Curve {
        plot: Plot::ThroughputByDepth,
        name: contender.name.clone(),
        points,
    };
    finding.curves = contenders.iter().zip(points).map(curve).collect();
    Ok(Outcome::Found(finding))
}

/// Each number of workers on as many CPUs, the client on all others.
fn workers(setup: &Setup) -> Result<Outcome, BenchError> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let counts: Vec<usize> = WORKERS.into_iter().filter(|workers| workers * 2 <= cpus).collect();
    if counts.len() < 2 {
        return Ok(Outcome::Skipped(format!(
            "two workers and as many client threads need 4 CPUs, and this process may use {cpus}"
        )));
    }
    let mut all = Vec::new();
    for workers in &counts {
        all.extend(contest_of_workers(setup, *workers, cpus)?);
    }
    Ok(Outcome::Found(Finding {
        table: table(&all, &[Figure::Throughput, Figure::Cpu, Figure::P50, Figure::P99]),
        ratios: scaling_ratios(&all, &counts),
        ..Finding::default()
    }))
}

fn contest_of_workers(setup: &Setup, workers: usize, cpus: usize) -> Result<Vec<Standing>, BenchError> {
    let plan = Plan {
        depth: 16,
        connections: 50 * workers,
        threads: cpus - workers,
        pin: (workers..cpus).collect(),
        reading: Reading::Blind,
        ..gets(setup)
    };
    let mut launch = setup.launch();
    launch.threads = workers;
    launch.cpus = (0..workers).collect();
    let start = |program| Contender::start(setup, program, &launch, &plan);
    let contenders = [start(Program::Ringcached)?, start(Program::Memcached)?];
    let mut standings = contest(&contenders, setup.rounds)?;
    for standing in &mut standings {
        standing.name = format!("{} -t {workers}", standing.name);
    }
    Ok(standings)
}

/// Ringcached with each number of workers against itself with one, and against memcached with as many.
fn scaling_ratios(standings: &[Standing], counts: &[usize]) -> Vec<Ratio> {
    let mut found = Vec::new();
    for (pair, workers) in standings.chunks(2).zip(counts) {
        if *workers > 1 {
            let alone = [pair[0].clone(), standings[0].clone()];
            let mut scaled = ratios(&alone, Figure::Throughput, &[]);
            // The bar is set for eight workers only: seven eighths of a straight line.
            scaled[0].goal = (*workers == 8).then_some(Goal::AtLeast(7.0));
            found.extend(scaled);
        }
        found.extend(ratios(pair, Figure::Throughput, &[]));
    }
    found.sort_by_key(|ratio| ratio.goal.is_none());
    found
}

const WORKERS: [usize; 4] = [1, 2, 4, 8];
