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
pub mod report;
mod requests;
pub mod row;
mod scaling;
pub mod setup;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::BenchError;
use crate::load::length;
use report::Report;
use row::Row;
use setup::{Setup, find_program};

/// Options of `ringbench compare`.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The ringcached to measure; by default the one beside this program
    #[arg(long)]
    ringcached: Option<PathBuf>,
    /// The memcached to measure against
    #[arg(long, default_value = "memcached")]
    memcached: PathBuf,
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
    /// CPU of the servers that have one thread
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// CPU of the client where it has one thread
    #[arg(long, default_value_t = 1)]
    client_cpu: usize,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Report as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Runs the command. Nothing is printed before every row is measured: a comparison that fails reports nothing.
pub fn run(args: &CompareArgs) -> Result<(), BenchError> {
    let rows = chosen(&args.rows)?;
    let setup = Setup::from_args(args)?;
    let mut report = Report { servers: setup.versions()?, rows: Vec::new() };
    for row in rows {
        let outcome = (row.measure)(&setup)?;
        report.rows.push((row, outcome));
    }
    if args.json {
        crate::report::print(&format!("{:#}", report.json()))
    } else if args.markdown {
        crate::report::print(&report.markdown())
    } else {
        crate::report::print(&report.text())
    }
}

/// Every row, in the order of the report.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    FAMILIES.iter().copied().flatten()
}

const FAMILIES: &[&[Row]] = &[requests::ROWS, large::ROWS, latency::ROWS, scaling::ROWS];

fn chosen(names: &[String]) -> Result<Vec<&'static Row>, BenchError> {
    if names.is_empty() {
        return Ok(rows().collect());
    }
    let find = |name: &String| {
        rows().find(|row| row.name == name).ok_or_else(|| {
            let known: Vec<&str> = rows().map(|row| row.name).collect();
            BenchError::Usage(format!("there is no row {name}; the rows are {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

impl Setup {
    fn from_args(args: &CompareArgs) -> Result<Setup, BenchError> {
        let length = length(args.seconds)?;
        let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
        let ringcached = args.ringcached.clone().unwrap_or_else(|| own.with_file_name("ringcached"));
        let redis = match &args.redis {
            Some(path) => Some(program(path)?),
            None => find_program(Path::new("redis-server")),
        };
        Ok(Setup {
            ringcached: program(&ringcached)?,
            memcached: program(&args.memcached)?,
            redis,
            own,
            server_cpu: args.server_cpu,
            client_cpu: args.client_cpu,
            length,
            rounds: args.rounds,
        })
    }
}

fn program(path: &Path) -> Result<PathBuf, BenchError> {
    let missing = || BenchError::Usage(format!("there is no program {}", path.display()));
    find_program(path).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        let names: Vec<String> = rows().map(|row| row.name.to_string()).collect();
        let found: Vec<&str> = chosen(&names).unwrap().iter().map(|row| row.name).collect();
        assert_eq!(found, names, "a name stands for two rows");
        assert!(matches!(chosen(&["depth2".to_string()]), Err(BenchError::Usage(_))));
    }
}
