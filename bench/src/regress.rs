//! `ringbench regress`: is this commit slower than `bench/baseline.json` allows? Instructions under callgrind are the tight
//! gate, because they don't vary; ratios of timed runs are the wide one.

mod baseline;
mod instructions;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::BenchError;
use crate::report;
use baseline::{Baseline, ComparedRow, Comparison, Measurement, Section, Verdict};

/// Options of `ringbench regress`.
#[derive(Args, Debug)]
pub struct RegressArgs {
    /// The file to compare with
    #[arg(long, default_value = "bench/baseline.json")]
    baseline: PathBuf,
    /// Write what is measured into the file instead of comparing; the tolerances stay
    #[arg(long)]
    record: bool,
    /// Runs the counted operations; by default the one beside this program
    #[arg(long)]
    ringcount: Option<PathBuf>,
    /// The valgrind to count with
    #[arg(long, default_value = "valgrind")]
    valgrind: PathBuf,
}

/// Runs the command.
pub fn run(args: &RegressArgs) -> Result<(), BenchError> {
    let mut baseline = Baseline::read(&args.baseline)?;
    let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
    let ringcount = args.ringcount.clone().unwrap_or_else(|| own.with_file_name("ringcount"));
    let counted = instructions::count(&ringcount, &args.valgrind)?;
    if args.record {
        baseline.instructions.record(&counted);
        return baseline.write(&args.baseline);
    }
    let compared = compare(&baseline.instructions, &counted, &args.baseline)?;
    report::print(&text("instructions per operation", &compared))?;
    judge(&[compared], &args.baseline)
}

fn compare(section: &Section, measured: &Measurement, path: &Path) -> Result<Comparison, BenchError> {
    let compared = section.compare(measured);
    compared.map_err(|reason| BenchError::Baseline { path: path.to_path_buf(), reason })
}

/// The report of one section.
fn text(title: &str, compared: &Comparison) -> String {
    let allowed =
        compared.tolerance.map_or("not compared".to_string(), |most| format!("{} allowed", percent(most)));
    let mut lines = vec![format!("{title} ({allowed})")];
    lines.extend(compared.differences.iter().map(|difference| format!("  NOTE {difference}")));
    for row in &compared.rows {
        let mark = match compared.verdict(row) {
            Verdict::Worse => "  WORSE",
            Verdict::Better => "  better",
            Verdict::Same => "",
        };
        lines.push(format!(
            "  {:<24}{:>10}{:>10}{:>9}{mark}",
            row.name,
            figure(row.measured),
            figure(row.baseline),
            percent(row.change())
        ));
    }
    lines.join("\n") + "\n"
}

/// An error that names every row that is worse; and a hint where the baseline lies behind.
fn judge(sections: &[Comparison], path: &Path) -> Result<(), BenchError> {
    let rows_with = |verdict| {
        sections.iter().flat_map(move |compared| compared.with(verdict).map(move |row| (compared, row)))
    };
    if rows_with(Verdict::Better).next().is_some() {
        report::print(
            "better than the baseline: `ringbench regress --record` writes what was measured into it",
        )?;
    }
    let worse: Vec<String> =
        rows_with(Verdict::Worse).map(|(compared, row)| complaint(compared, row)).collect();
    if worse.is_empty() {
        return Ok(());
    }
    Err(BenchError::Violated(format!("slower than {} allows:\n  {}", path.display(), worse.join("\n  "))))
}

fn complaint(compared: &Comparison, row: &ComparedRow) -> String {
    format!(
        "{}: {} is {} over the baseline {}, {} allowed",
        row.name,
        figure(row.measured),
        percent(row.change()),
        figure(row.baseline),
        percent(compared.tolerance.expect("what is worse was compared"))
    )
}

/// Instructions are in the hundreds, ratios about one.
fn figure(figure: f64) -> String {
    if figure < 10.0 { format!("{figure:.3}") } else { format!("{figure:.1}") }
}

fn percent(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}
