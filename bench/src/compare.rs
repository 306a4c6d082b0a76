//! `ringbench compare`: ringcached beside memcached, the floor and Redis. Rows are data in `compare/`: one file per family,
//! each with a table of rows; adding a row is adding a line there and, for a new family, a line in [`FAMILIES`].
//!
//! ```text
//! compare -> rows (requests, ...) -> contest   starts servers, A B A B, medians
//!              '-> row: Finding   -> report    text, JSON, Markdown
//! ```

pub mod contest;
mod large;
mod latency;
mod memory;
mod misses;
mod remote;
pub mod report;
mod requests;
pub mod row;
mod scaling;
pub mod setup;
mod storm;
mod tls;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::BenchError;
use crate::load::length;
use crate::progress::announce;
use report::Report;
use row::Row;
use setup::{Setup, Site, find_program, program};

/// Options of `ringbench compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    #[command(flatten)]
    site: Site,
    /// The redis-server to measure against; by default the installed one, if any
    #[arg(long)]
    redis: Option<PathBuf>,
    /// Which rows, in this order; all by default
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Length of each round of each server
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds of each server; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Folder with the traces that the row about misses replays
    #[arg(long)]
    traces: Option<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Report as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Draw the curves of every row that has some into this folder, as SVG
    #[arg(long)]
    plots: Option<PathBuf>,
}

/// Runs the command. Nothing is printed before every row is measured: a comparison that fails reports nothing.
pub fn run(args: &CompareArgs) -> Result<(), BenchError> {
    let rows = chosen(&args.rows)?;
    let redis = match &args.redis {
        Some(path) => Some(program(path)?),
        None => find_program(Path::new("redis-server")),
    };
    let traces = args.traces.as_deref().map(folder).transpose()?;
    let setup = Setup { redis, traces, ..args.site.setup(length(args.seconds)?, args.rounds)? };
    let mut report = Report { servers: setup.versions()?, rows: Vec::new() };
    for (done, row) in rows.iter().enumerate() {
        announce(&format!("{} of {}: {}, {}", done + 1, rows.len(), row.name, row.title));
        let outcome = (row.measure)(&setup)?;
        report.rows.push((row, outcome));
    }
    if let Some(folder) = &args.plots {
        report.draw(folder)?;
    }
    if args.json {
        crate::report::print(&format!("{:#}", report.json()))
    } else if args.markdown {
        crate::report::print(&report.markdown())
    } else {
        crate::report::print(&report.text())
    }
}

fn folder(path: &Path) -> Result<PathBuf, BenchError> {
    let missing = || BenchError::Usage(format!("there is no folder {}", path.display()));
    path.is_dir().then(|| path.to_path_buf()).ok_or_else(missing)
}

const FAMILIES: &[&[Row]] = &[
    requests::ROWS,
    large::ROWS,
    latency::ROWS,
    remote::ROWS,
    memory::ROWS,
    misses::ROWS,
    storm::ROWS,
    tls::ROWS,
    scaling::ROWS,
];

/// The rows of these names; all for none.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Row>, BenchError> {
    choose(FAMILIES, names)
}

/// The rows of these names among `families`; all for none.
pub fn choose(
    families: &'static [&'static [Row]],
    names: &[String],
) -> Result<Vec<&'static Row>, BenchError> {
    let all = || families.iter().copied().flatten();
    if names.is_empty() {
        return Ok(all().collect());
    }
    let find = |name: &String| {
        all().find(|row| row.name == name).ok_or_else(|| {
            let known: Vec<&str> = all().map(|row| row.name).collect();
            BenchError::Usage(format!("there is no row {name}; the rows are {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        let names: Vec<String> = FAMILIES.iter().copied().flatten().map(|row| row.name.to_string()).collect();
        let found: Vec<&str> = chosen(&names).unwrap().iter().map(|row| row.name).collect();
        assert_eq!(found, names, "a name stands for two rows");
        assert!(matches!(chosen(&["depth2".to_string()]), Err(BenchError::Usage(_))));
    }
}
