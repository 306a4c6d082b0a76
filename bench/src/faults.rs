//! `ringbench faults`: real nodes that follow each other, and their links, are broken in every way that a seed can say;
//! then what they show is compared with what was acknowledged.
//!
//! ```text
//! faults -> plan        what a seed means
//!   |-> scenario        one run: start, write, break, mend, judge
//!   |     |-> cluster -> nodes, namespace, interference     processes, networks, lines
//!   |     '-> writers -> ledger, records, talk              what was written and answered, what may be shown
//!   '-> flips           instead of runs: single bits, each watched until a node has noticed it
//! ```

mod cluster;
mod flips;
mod ledger;
mod namespace;
mod nodes;
mod plan;
mod records;
mod scenario;
mod talk;
mod writers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use self::namespace::Namespace;
use self::plan::{Kind, Plan};
use self::scenario::Found;
use crate::error::BenchError;
use crate::report;

/// Options of `ringbench faults`.
#[derive(Args, Debug)]
pub struct FaultsArgs {
    /// The ringcached to try; by default the one beside this program
    #[arg(long)]
    ringcached: Option<PathBuf>,
    /// Runs; each takes some seconds
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// Seed of the first run; each further one has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What goes wrong, in turns; by default everything that this machine allows
    #[arg(long, value_delimiter = ',')]
    kind: Vec<Kind>,
    /// Instead of runs: turn so many bits on the way, half of them with compression
    #[arg(long, conflicts_with_all = ["runs", "kind"], value_parser = clap::value_parser!(u64).range(2..))]
    flips: Option<u64>,
    /// Where the logs of runs that failed are kept
    #[arg(long, default_value = "fault-logs")]
    keep: PathBuf,
}

/// Runs the command; exit code 1 where anything was lost or wrong.
pub fn run(args: &FaultsArgs) -> Result<(), BenchError> {
    let own = std::env::current_exe().map_err(BenchError::machine("cannot find this program"))?;
    let ringcached = args.ringcached.clone().unwrap_or_else(|| own.with_file_name("ringcached"));
    if let Some(flips) = args.flips {
        return flips::run(flips, args.seed, &ringcached, &Folder::new(args.seed)?.0);
    }
    let kinds = if args.kind.is_empty() { allowed() } else { args.kind.clone() };
    let mut lines = BTreeMap::<String, Line>::new();
    for (kind, seed) in kinds.iter().cycle().zip(args.seed..).take(args.runs as usize) {
        let plan = Plan::new(*kind, seed);
        let folder = Folder::new(seed)?;
        let found = scenario::run(&plan, &ringcached, &folder.0);
        tell(&plan, &found)?;
        if !found.wrong.is_empty() {
            folder.keep(&args.keep.join(format!("{}-{seed}", kind.name())), &plan, &found)?;
        }
        lines.entry(kind.name()).or_default().add(&found);
    }
    let failed: u64 = lines.values().map(|line| line.failed).sum();
    report::print(&table(&lines))?;
    if failed > 0 {
        return Err(BenchError::Violated(format!("{failed} of {} runs failed", args.runs)));
    }
    Ok(())
}

/// Everything; what needs root only where we are.
fn allowed() -> Vec<Kind> {
    let kinds = Kind::value_variants().iter().copied();
    kinds.filter(|kind| *kind != Kind::Namespace || Namespace::is_allowed()).collect()
}

/// Files of one run, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(seed: u64) -> Result<Folder, BenchError> {
        let path = std::env::temp_dir().join(format!("ringbench-{}-{seed}", std::process::id()));
        fs::create_dir_all(&path).map_err(BenchError::machine("cannot make a folder for a run"))?;
        Ok(Folder(path))
    }

    /// Keeps the logs, and what is wrong beside them.
    fn keep(&self, place: &Path, plan: &Plan, found: &Found) -> Result<(), BenchError> {
        let failed = || BenchError::machine("cannot keep the logs of a run");
        fs::create_dir_all(place).map_err(failed())?;
        for file in fs::read_dir(&self.0).map_err(failed())?.flatten() {
            if file.path().extension().is_some_and(|extension| extension == "log") {
                fs::copy(file.path(), place.join(file.file_name())).map_err(failed())?;
            }
        }
        let wrong = format!("{plan}\n{}\n{}\n", found.wrong.join("\n"), found.statuses.join("\n"));
        fs::write(place.join("wrong"), wrong).map_err(failed())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Says how a run went, and how to repeat it where something is wrong.
fn tell(plan: &Plan, found: &Found) -> Result<(), BenchError> {
    let Found { count, lost, .. } = found;
    let mut text = format!("{plan}: {} acked, {} in doubt, {lost} lost", count.acked, count.doubt);
    for wrong in &found.wrong {
        write!(text, "\n    WRONG: {wrong}").expect("a string takes every write");
    }
    if !found.wrong.is_empty() {
        let again = format!("ringbench faults --runs 1 --kind {} --seed {}", plan.kind.name(), plan.seed);
        write!(text, "\n    again: {again}").expect("a string takes every write");
    }
    report::print(&text)
}

/// What came of all runs of a kind.
#[derive(Default)]
struct Line {
    runs: u64,
    failed: u64,
    faults: u64,
    acked: u64,
    doubt: u64,
    refused: u64,
    lost: u64,
    lost_millis: u64,
    lag_millis: u64,
    unequal: u64,
    harmed: u64,
    resumes: u64,
    nacks: u64,
    full_copies: BTreeMap<String, u64>,
}

impl Line {
    fn add(&mut self, found: &Found) {
        self.runs += 1;
        self.failed += u64::from(!found.wrong.is_empty());
        self.faults += found.faults;
        self.acked += found.count.acked;
        self.doubt += found.count.doubt;
        self.refused += found.count.refused + found.count.unanswered;
        self.lost += found.lost;
        self.lost_millis = self.lost_millis.max(found.lost_millis);
        self.lag_millis = self.lag_millis.max(found.lag_millis);
        self.unequal += found.unequal;
        self.harmed += found.harmed;
        self.resumes += found.resumes;
        self.nacks += found.nacks;
        for (cause, count) in &found.full_copies {
            *self.full_copies.entry(cause.clone()).or_default() += count;
        }
    }
}

fn table(lines: &BTreeMap<String, Line>) -> String {
    let mut text = format!(
        "{:<13} {:>5} {:>6} {:>6} {:>9} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6}  {}\n",
        "kind",
        "runs",
        "failed",
        "faults",
        "acked",
        "in doubt",
        "refused",
        "lost*",
        "of ms",
        "lag ms",
        "unequal",
        "resumes",
        "nacks",
        "full copies"
    );
    for (kind, line) in lines {
        let copies = line.full_copies.iter().map(|(cause, count)| format!("{cause} {count}"));
        writeln!(
            text,
            "{kind:<13} {:>5} {:>6} {:>6} {:>9} {:>8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>6}  {}",
            line.runs,
            line.failed,
            line.faults,
            line.acked,
            line.doubt,
            line.refused,
            line.lost,
            line.lost_millis,
            line.lag_millis,
            line.unequal,
            line.resumes,
            line.nacks,
            copies.collect::<Vec<_>>().join(", ")
        )
        .expect("a string takes every write");
    }
    text + "* by asynchronous primaries that were killed; `of ms`: the first was acknowledged so long before"
}
