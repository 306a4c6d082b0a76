//! The row of a full copy while the primary is written to as fast as it takes it: every one must come to its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::cost::sets;
use super::nodes::{Folder, Node};
use crate::admin::number;
use crate::compare::row::{Finding, Goal, Outcome, Ratio, Row, Table};
use crate::compare::setup::Setup;
use crate::driver::Reading;
use crate::error::BenchError;
use crate::load::{Plan, measure};

/// The rows of this family.
pub const ROWS: &[Row] = &[Row {
    name: "storm",
    title: "full copy of 1,000,000 records of 100 B under SETs of them, 50 connections, depth 64, blind client",
    measure: storm,
}];

fn storm(setup: &Setup) -> Result<Outcome, BenchError> {
    let folder = Folder::new()?;
    let primary = Node::primary(setup, &folder, "primary", MEMORY_MIB, &[])?;
    let mut plan = Plan { depth: 64, reading: Reading::Blind, ..sets(setup) };
    plan.workload.keys = KEYS;
    primary.fill(&plan)?;
    let address = primary.admin.replication_address()?;
    let mut lines = Vec::new();
    for round in 0..setup.rounds {
        let is_over = AtomicBool::new(false);
        let figures = std::thread::scope(|scope| {
            let load = scope.spawn(|| load_until(&is_over, &primary, &plan));
            std::thread::sleep(WARM_UP);
            let copied = copy(setup, &folder, &primary, &address);
            is_over.store(true, Ordering::Relaxed);
            let rate = load.join().expect("a load returns its failures")?;
            let (seconds, copies, sent_bytes) = copied?;
            Ok::<_, BenchError>(vec![rate, seconds, copies, sent_bytes])
        })?;
        lines.push((format!("round {}", round + 1), figures));
    }
    let completed = lines.iter().filter(|(_, figures)| figures[2] == 1.0).count();
    let ratios = vec![Ratio {
        name: format!("copies completed under the load, of {}", setup.rounds),
        value: completed as f64,
        goal: Some(Goal::AtLeast(f64::from(setup.rounds))),
    }];
    let columns = vec!["SET/s", "seconds", "full copies", "bytes sent"];
    Ok(Outcome::Found(Finding { table: Table { columns, lines }, ratios, ..Finding::default() }))
}

/// Runs the load again and again, with a breath to connect, and returns the lowest rate.
fn load_until(is_over: &AtomicBool, primary: &Node, plan: &Plan) -> Result<f64, BenchError> {
    let mut lowest = f64::INFINITY;
    while !is_over.load(Ordering::Relaxed) {
        lowest = lowest.min(measure(primary.target(), plan, None)?.rate());
    }
    Ok(lowest)
}

/// Seconds from the start of a replica to the end of its full copy, how many copies it took, and the bytes sent.
fn copy(
    setup: &Setup,
    folder: &Folder,
    primary: &Node,
    address: &str,
) -> Result<(f64, f64, f64), BenchError> {
    let began = Instant::now();
    let replica = Node::replica(setup, folder, "replica", address, MEMORY_MIB, &[])?;
    let seconds = began.elapsed().as_secs_f64();
    let link = primary.admin.link()?.unwrap_or_default();
    let copies = replica.admin.link()?.map_or(0, |link| number(&link, "copies"));
    Ok((seconds, copies as f64, number(&link, "sent_bytes") as f64))
}

const KEYS: u32 = 1_000_000;
const MEMORY_MIB: usize = 512;
const WARM_UP: Duration = Duration::from_millis(300);
