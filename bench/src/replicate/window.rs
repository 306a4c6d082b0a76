//! The row of a replica that stands still: what its link costs the primary in memory, beside the window it may fill.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::cost::sets;
use super::nodes::{COPY_TIME_MAX, Folder, Node};
use crate::admin::number;
use crate::compare::row::{Finding, Goal, Outcome, Ratio, Row, Table};
use crate::compare::setup::Setup;
use crate::error::BenchError;
use crate::load::{Plan, measure};
use crate::process::resident_bytes;

/// The rows of this family.
pub const ROWS: &[Row] = &[Row {
    name: "window",
    title: "SET 100 B at full rate into a full cache of 64 MiB while the replica is stopped: memory of its link",
    measure: window,
}];

fn window(setup: &Setup) -> Result<Outcome, BenchError> {
    let folder = Folder::new()?;
    // The primary must not give the link up while it is measured.
    let patience = ["--replication-timeout-ms", "600000"];
    let primary = Node::primary(setup, &folder, "primary", MEMORY_MIB, &patience)?;
    let mut plan = Plan { depth: 16, ..sets(setup) };
    plan.workload.keys = KEYS;
    primary.fill(&plan)?;
    let address = primary.admin.replication_address()?;
    let replica = Node::replica(setup, &folder, "replica", &address, MEMORY_MIB, &patience)?;
    let load = || measure(primary.target(), &plan, None).map(drop);
    // Whatever the load itself needs, the primary has after this.
    load()?;

    let mut lines = Vec::new();
    for round in 0..setup.rounds {
        let before = resident_bytes(primary.server.pid())?;
        load()?;
        let running = resident_bytes(primary.server.pid())?;
        signal(&replica, Signal::STOP)?;
        load()?;
        let stopped = resident_bytes(primary.server.pid())?;
        let in_kernel = queued_bytes(&address)?;
        signal(&replica, Signal::CONT)?;
        let growth = |before: u64, after: u64| after.saturating_sub(before) as f64;
        let link = growth(running, stopped) + in_kernel as f64;
        let figures =
            vec![growth(before, running), growth(running, stopped), in_kernel as f64, link / WINDOW_BYTES];
        lines.push((format!("round {}", round + 1), figures));
        replica.admin.await_copy(COPY_TIME_MAX)?;
    }
    let worst = lines.iter().map(|(_, figures)| figures[3]).fold(0.0, f64::max);
    let ratios = vec![Ratio {
        name: "memory of the link/its window, the worst round".to_string(),
        value: worst,
        goal: Some(Goal::AtMost(1.01)),
    }];
    let notes = vec![
        "growth of the resident memory while the replica is stopped, and what waits in the sockets of the link on both sides"
            .to_string(),
        format!("evictions: {}", number(&primary.admin.status()?, "evictions")),
    ];
    let columns = vec!["grown, running", "grown, stopped", "in sockets", "of the window"];
    Ok(Outcome::Found(Finding { table: Table { columns, lines }, ratios, notes, ..Finding::default() }))
}

fn signal(node: &Node, signal: Signal) -> Result<(), BenchError> {
    let pid = i32::try_from(node.server.pid()).ok().and_then(Pid::from_raw).expect("it is running");
    kill_process(pid, signal).map_err(BenchError::machine("cannot signal a replica"))
}

/// Bytes that wait in the sockets of connections to `address`: sent and not acknowledged, received and not taken.
fn queued_bytes(address: &str) -> Result<u64, BenchError> {
    let sockets = fs::read_to_string("/proc/net/tcp")
        .map_err(BenchError::machine("cannot read the state of sockets from /proc"))?;
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("it has a port");
    Ok(sockets.lines().filter_map(|line| queued(line, port)).sum())
}

/// Of a line of /proc/net/tcp: number, local address, other address, state, the two queues.
fn queued(line: &str, port: u16) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let mut is_of = || fields.next().is_some_and(|address| address.ends_with(&format!(":{port:04X}")));
    let (is_local, is_other) = (is_of(), is_of());
    let (waiting_to_go, waiting_to_be_taken) = fields.nth(1)?.split_once(':')?;
    let bytes = |field| u64::from_str_radix(field, 16).ok();
    (is_local || is_other).then_some(bytes(waiting_to_go)? + bytes(waiting_to_be_taken)?)
}

const KEYS: u32 = 1_000_000;
const MEMORY_MIB: usize = 64;
/// As `--replication-window` is by default.
const WINDOW_BYTES: f64 = (4 << 20) as f64;

#[cfg(test)]
mod tests {
    use super::queued;

    #[test]
    fn queues_of_the_link_are_found() {
        let line = "  12: 0100007F:2B68 0100007F:9C40 01 00000010:00000002 00:00000000 00000000 0 0 1 1 0";
        assert_eq!(queued(line, 0x2B68), Some(18), "the primary's side");
        assert_eq!(queued(line, 0x9C40), Some(18), "the replica's side");
        assert_eq!(queued(line, 80), None);
        assert_eq!(queued("  sl  local_address rem_address   st tx_queue rx_queue", 80), None);
    }
}
