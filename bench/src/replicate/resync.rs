//! The row of a link that was cut: what is sent when it is back, beside what was changed meanwhile.

use std::time::{Duration, Instant};

use super::cost::sets;
use super::nodes::{Folder, Node};
use crate::admin::{LOOK_PAUSE, number};
use crate::client::{Client, append_set, not_a_reply};
use crate::compare::row::{Finding, Goal, Outcome, Ratio, Row, Table};
use crate::compare::setup::Setup;
use crate::encoder::value_key;
use crate::error::BenchError;
use crate::interference::Proxy;
use crate::reply::Piece;

/// The rows of this family.
pub const ROWS: &[Row] = &[Row {
    name: "resync",
    title: "a link cut for 1 s, of 500,000 records of 100 B 20,000 written twice meanwhile",
    measure: resync,
}];

fn resync(setup: &Setup) -> Result<Outcome, BenchError> {
    let folder = Folder::new()?;
    let primary = Node::primary(setup, &folder, "primary", MEMORY_MIB, &[])?;
    let mut plan = sets(setup);
    plan.workload.keys = KEYS;
    primary.fill(&plan)?;
    let proxy = Proxy::start(&primary.admin.replication_address()?)?;
    let replica = Node::replica(setup, &folder, "replica", proxy.address(), MEMORY_MIB, &[])?;

    let mut lines = Vec::new();
    for round in 0..setup.rounds {
        let cut = Instant::now();
        proxy.cut();
        let values = [2 * round, 2 * round + 1].map(|write| format!("{write:0VALUE_BYTES$}"));
        values.iter().try_for_each(|value| write(&primary, value))?;
        std::thread::sleep(CUT_TIME.saturating_sub(cut.elapsed()));
        proxy.heal();
        let healed = Instant::now();
        let [_, last] = &values;
        while !shows(&replica, last)? {
            if healed.elapsed() > RESYNC_TIME_MAX {
                return Err(BenchError::Violated("the replica did not come up with the primary".to_string()));
            }
            std::thread::sleep(LOOK_PAUSE);
        }
        let seconds = healed.elapsed().as_secs_f64();
        let status = primary.admin.status()?;
        let record_bytes = number(&status, "record_bytes") as f64 / number(&status, "records") as f64;
        let sent = primary.admin.link()?.map_or(0, |link| number(&link, "sent_bytes")) as f64;
        let copies = replica.admin.link()?.map_or(0, |link| number(&link, "copies")) as f64;
        let changed = record_bytes * f64::from(CHANGED);
        lines.push((format!("round {}", round + 1), vec![changed, sent, seconds, copies]));
    }
    let worst = lines.iter().map(|(_, figures)| figures[1] / figures[0]).fold(0.0, f64::max);
    let ratios = vec![Ratio {
        name: "bytes sent/bytes changed, the worst round".to_string(),
        value: worst,
        goal: Some(Goal::AtMost(1.05)),
    }];
    let columns = vec!["bytes changed", "bytes sent", "seconds", "full copies"];
    Ok(Outcome::Found(Finding { table: Table { columns, lines }, ratios, ..Finding::default() }))
}

/// Stores `value` under the keys that change.
fn write(node: &Node, value: &str) -> Result<(), BenchError> {
    let mut client = Client::connect(node.target())?;
    let keys: Vec<u32> = (0..CHANGED).collect();
    for keys in keys.chunks(BATCH_KEYS) {
        let mut requests = Vec::new();
        keys.iter().for_each(|key| append_set(&mut requests, &value_key(*key), 0, value.as_bytes()));
        client.exchange(&requests, keys.len(), |piece| match piece {
            Piece::Line(b"STORED") => Ok(true),
            other => Err(not_a_reply("set", other)),
        })?;
    }
    Ok(())
}

/// Whether every key that changes has `value`.
fn shows(node: &Node, value: &str) -> Result<bool, BenchError> {
    let mut client = Client::connect(node.target())?;
    let mut right = 0;
    let keys: Vec<u32> = (0..CHANGED).collect();
    // From behind: what is not there yet is seen at once.
    for keys in keys.rchunks(BATCH_KEYS) {
        let mut request = b"get".to_vec();
        for key in keys {
            request.push(b' ');
            request.extend_from_slice(&value_key(*key));
        }
        request.extend_from_slice(b"\r\n");
        let wanted = right + keys.len();
        client.exchange(&request, 1, |piece| {
            if let Piece::Value { data, .. } = piece {
                right += usize::from(data == value.as_bytes());
            }
            Ok(piece == Piece::Line(b"END"))
        })?;
        if right < wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

const KEYS: u32 = 500_000;
const CHANGED: u32 = 20_000;
const BATCH_KEYS: usize = 100;
const VALUE_BYTES: usize = 100;
const MEMORY_MIB: usize = 256;
const CUT_TIME: Duration = Duration::from_secs(1);
const RESYNC_TIME_MAX: Duration = Duration::from_secs(20);
