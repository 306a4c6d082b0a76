//! The row of memory: what a record costs beside its key and value in a full cache, and what the process takes beside `-m`.

use super::row::{Finding, Goal, Outcome, Ratio, Row, Table};
use super::setup::{Program, Setup};
use crate::error::BenchError;
use crate::fill::{Full, fill};

/// The rows of this family.
pub const ROWS: &[Row] = &[Row {
    name: "memory",
    title: "records of 20-byte keys and 10, 64, 200 and 1000 B that a full cache of -m 256 holds",
    measure: memory,
}];

/// Nothing here depends on time, so each cache is filled once.
fn memory(setup: &Setup) -> Result<Outcome, BenchError> {
    let columns = vec!["records", "bytes over the data", "RSS over -m, MiB", "refused sets"];
    let mut finding = Finding { table: Table { columns, lines: Vec::new() }, ..Finding::default() };
    for value_bytes in VALUES_BYTES {
        for program in [Program::Ringcached, Program::Memcached] {
            let mut launch = setup.launch();
            launch.memory_mib = MEMORY_MIB;
            let server = setup.start(program, &launch)?;
            let full = fill(&server, (MEMORY_MIB as u64) << 20, value_bytes)?;
            let beside_mib = resident_beside_mib(&full);
            let name = format!("{} {value_bytes} B", program.name());
            let figures =
                vec![full.records as f64, full.bytes_over_the_data, beside_mib, full.refused as f64];
            finding.table.lines.push((name, figures));
            if program == Program::Ringcached {
                finding.ratios.push(judged(
                    "bytes over the data",
                    value_bytes,
                    full.bytes_over_the_data,
                    44.0,
                ));
                finding.ratios.push(judged("RSS over -m in MiB", value_bytes, beside_mib, 24.0));
            }
        }
    }
    Ok(Outcome::Found(finding))
}

fn resident_beside_mib(full: &Full) -> f64 {
    full.resident_bytes as f64 / f64::from(1 << 20) - MEMORY_MIB as f64
}

fn judged(what: &str, value_bytes: usize, value: f64, most: f64) -> Ratio {
    Ratio { name: format!("{what}, ringcached, {value_bytes} B"), value, goal: Some(Goal::AtMost(most)) }
}

const MEMORY_MIB: usize = 256;
const VALUES_BYTES: [usize; 4] = [10, 64, 200, 1000];
