//! `stats replication`: role and history, how far replicas are behind, what links have cost, and what went wrong.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use ringcache_engine::Now;

use super::{Baseline, Lines};
use crate::node::Node;
use crate::replication::history::Cause;
use crate::replication::node::{Entry, Replication};
use crate::replication::operator::mode;

/// Writes the lines; of a node that does not replicate one.
pub(super) fn write(node: &Node, now: Now, lines: &mut Lines<'_>) {
    let Some(replication) = &node.replicating else { return lines.line("role", "standalone") };
    let histories = replication.histories().clone();
    lines.line("role", replication.role().name());
    lines.line("node", format_args!("{:032x}", replication.node));
    lines.line("mode", mode(replication.options.quorum));
    lines.line("history", histories.current);
    write_links(replication, now, lines);
    write_totals(replication, lines);
    let counters = Baseline::take(node).counters;
    lines.line("writes_refused", counters.writes_refused);
    lines.line("writes_in_doubt", counters.writes_in_doubt);
}

/// What the links stand at: the one that is furthest behind counts.
fn write_links(replication: &Replication, now: Now, lines: &mut Lines<'_>) {
    let (mut replicas, mut following, mut sources) = (BTreeSet::new(), 0, BTreeSet::new());
    let (mut lag_millis, mut lag_records, mut lag_bytes) = (0, 0, 0);
    for entry in replication.entries() {
        match entry {
            Entry::Feed { node, tally, .. } => {
                replicas.insert(node);
                following += tally.following.load(Ordering::Relaxed);
                lag_millis = lag_millis.max(tally.lag_millis(now.unix_millis).unwrap_or(0));
                lag_records = lag_records.max(tally.lag_records().unwrap_or(0));
                lag_bytes = lag_bytes.max(tally.unacknowledged_bytes.load(Ordering::Relaxed));
            }
            Entry::Follow { node, .. } => drop(sources.insert(node)),
        }
    }
    lines.line("replicas", replicas.len());
    lines.line("links_following", following);
    lines.line("sources", sources.len());
    lines.line("lag_ms", lag_millis);
    lines.line("lag_records", lag_records);
    lines.line("lag_bytes", lag_bytes);
}

/// What all links since the start have done.
fn write_totals(replication: &Replication, lines: &mut Lines<'_>) {
    let totals = replication.totals();
    lines.line("lag_p50_ms", totals.lag_millis(500));
    lines.line("lag_p99_ms", totals.lag_millis(990));
    lines.line("lag_max_ms", totals.lag_millis(1000));
    lines.line("sent_bytes", totals.sent_bytes);
    lines.line("record_bytes", totals.record_bytes);
    let amplification = totals.sent_bytes as f64 / totals.record_bytes.max(1) as f64;
    lines.line("amplification", format_args!("{amplification:.3}"));
    // Batches are copied to be summed, and large values are sent by plain vectored sends (decisions/0015).
    lines.line("copied_percent", 100);
    lines.line("resumes", totals.resumes);
    for (cause, count) in Cause::ALL.iter().zip(totals.copies) {
        lines.line(&format!("full_copies_{}", cause.name()), count);
    }
    lines.line("damaged_batches_sent", totals.nacks);
    lines.line("received_bytes", totals.received_bytes);
    lines.line("applied_records", totals.applied);
    lines.line("full_copies_received", totals.copies_received);
    lines.line("damaged_batches", totals.damaged_batches);
    lines.line("damaged_records", totals.damaged_records);
    lines.line("no_memory_records", totals.no_memory);
}
