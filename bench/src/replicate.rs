//! `ringbench replicate`: what replication costs a primary, how fast it copies, and what it sends. Real servers on the
//! loopback; rows as those of `compare`, each with its goal.
//!
//! ```text
//! replicate -> rows: cost, copying, storm, resync, window -> nodes   servers, and what they say of themselves
//!                '-> Finding                              -> compare/report
//! ```

mod copying;
mod cost;
mod nodes;
mod resync;
mod storm;
mod window;

use clap::Args;

use crate::compare::choose;
use crate::compare::report::Report;
use crate::compare::row::Row;
use crate::compare::setup::Site;
use crate::error::BenchError;
use crate::load::length;
use crate::progress::announce;

/// Options of `ringbench replicate`.
#[derive(Args, Debug)]
pub struct ReplicateArgs {
    #[command(flatten)]
    site: Site,
    /// Which rows, in this order; all by default
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Length of each loaded round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Report as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Runs the command. Nothing is printed before every row is measured.
pub fn run(args: &ReplicateArgs) -> Result<(), BenchError> {
    let rows = chosen(&args.rows)?;
    let setup = args.site.setup(length(args.seconds)?, args.rounds)?;
    let mut report = Report { servers: setup.versions()?, rows: Vec::new() };
    for (done, row) in rows.iter().enumerate() {
        announce(&format!("{} of {}: {}, {}", done + 1, rows.len(), row.name, row.title));
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

const FAMILIES: &[&[Row]] = &[cost::ROWS, copying::ROWS, resync::ROWS, storm::ROWS, window::ROWS];

fn chosen(names: &[String]) -> Result<Vec<&'static Row>, BenchError> {
    choose(FAMILIES, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        let names: Vec<String> = FAMILIES.iter().copied().flatten().map(|row| row.name.to_string()).collect();
        let found: Vec<&str> = chosen(&names).unwrap().iter().map(|row| row.name).collect();
        assert_eq!(found, names, "a name stands for two rows");
        assert!(matches!(chosen(&["copy10".to_string()]), Err(BenchError::Usage(_))));
    }
}
