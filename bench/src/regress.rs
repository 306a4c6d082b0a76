//! `ringbench regress`: is this commit slower than `bench/baseline.json` allows? Instructions under callgrind are the tight
//! gate, because they don't vary; ratios of timed runs are the wide one.

mod baseline;
mod instructions;
mod timed;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::compare::setup::{Site, program};
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
    /// Measure one kind of figures only
    #[arg(long, value_enum)]
    only: Option<Kind>,
    #[command(flatten)]
    site: Site,
    /// Runs the counted operations; by default the one beside this program
    #[arg(long)]
    ringcount: Option<PathBuf>,
    /// The valgrind to count with
    #[arg(long, default_value = "valgrind")]
    valgrind: PathBuf,
}

/// The two gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Instructions per operation, under callgrind
    Instructions,
    /// Ratios to the floor and to memcached
    Timed,
}

/// Runs the command.
pub fn run(args: &RegressArgs) -> Result<(), BenchError> {
    let mut baseline = Baseline::read(&args.baseline)?;
    let measured = Measured::of(args, &baseline)?;
    if args.record {
        measured.record(&mut baseline);
        return baseline.write(&args.baseline);
    }
    let mut compared = Vec::new();
    for (title, section, measurement) in measured.beside(&baseline) {
        let comparison = compare(section, measurement, &args.baseline)?;
        report::print(&text(title, &comparison))?;
        compared.push(comparison);
    }
    judge(&compared, &args.baseline)
}

/// What was measured of each section.
struct Measured {
    instructions: Option<Measurement>,
    timed: Option<timed::Ratios>,
}

impl Measured {
    fn of(args: &RegressArgs, baseline: &Baseline) -> Result<Measured, BenchError> {
        // A program that is missing is found before anything is measured.
        let setup = (args.only != Some(Kind::Instructions)).then(|| timed::setup(&args.site)).transpose()?;
        let instructions = match args.only {
            Some(Kind::Timed) => None,
            _ => Some(instructions::count(&ringcount(args)?, &program(&args.valgrind)?)?),
        };
        let timed = setup.map(|setup| timed::measure(&setup, baseline)).transpose()?;
        Ok(Measured { instructions, timed })
    }

    fn record(&self, baseline: &mut Baseline) {
        if let Some(instructions) = &self.instructions {
            baseline.instructions.record(instructions);
        }
        if let Some(timed) = &self.timed {
            baseline.floor.record(&timed.floor);
            baseline.memcached.record(&timed.memcached);
        }
    }

    fn beside<'a>(&'a self, baseline: &'a Baseline) -> Vec<(&'static str, &'a Section, &'a Measurement)> {
        let instructions = self
            .instructions
            .iter()
            .map(|counted| ("instructions per operation", &baseline.instructions, counted));
        let timed = self.timed.iter().flat_map(|timed| {
            [
                ("ringcached/floor", &baseline.floor, &timed.floor),
                ("ringcached/memcached", &baseline.memcached, &timed.memcached),
            ]
        });
        instructions.chain(timed).collect()
    }
}

fn ringcount(args: &RegressArgs) -> Result<PathBuf, BenchError> {
    let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
    program(&args.ringcount.clone().unwrap_or_else(|| own.with_file_name("ringcount")))
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
