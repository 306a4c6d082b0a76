//! Servers side by side: A B C A B C ..., so that a disturbance of the machine meets all of them, then medians.

use super::row::{Curve, Goal, Plot, Ratio, Table};
use super::setup::{Launch, Program, Setup};
use crate::child::Server;
use crate::error::BenchError;
use crate::figures::Measured;
use crate::load::{Plan, measure, preload};

/// A running server and what it is asked.
pub struct Contender {
    /// As in the report.
    pub name: String,
    /// Stopped when dropped.
    pub server: Server,
    /// The load.
    pub plan: Plan,
}

impl Contender {
    /// Starts `program` and stores the keys of `plan`.
    pub fn start(
        setup: &Setup,
        program: Program,
        launch: &Launch,
        plan: &Plan,
    ) -> Result<Contender, BenchError> {
        let server = setup.start(program, launch)?;
        preload(server.target(), plan)?;
        Ok(Contender { name: program.name().to_string(), server, plan: plan.clone() })
    }
}

/// All rounds of one contender.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Who.
    pub name: String,
    /// One run per round.
    pub runs: Vec<Measured>,
}

/// Lets every contender run `rounds` times, in turn.
pub fn contest(contenders: &[Contender], rounds: u32) -> Result<Vec<Standing>, BenchError> {
    let mut standings: Vec<Standing> = contenders
        .iter()
        .map(|contender| Standing { name: contender.name.clone(), runs: Vec::new() })
        .collect();
    for _ in 0..rounds {
        for (contender, standing) in contenders.iter().zip(&mut standings) {
            let server = &contender.server;
            standing.runs.push(measure(server.target(), &contender.plan, Some(server.pid()))?);
        }
    }
    Ok(standings)
}

/// What is read from a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Requests per second.
    Throughput,
    /// Server CPU per key, microseconds. For requests of one key it is the CPU per request.
    Cpu,
    /// Of it in user mode.
    UserCpu,
    /// Of it in the kernel.
    SystemCpu,
    /// Server CPU per byte of the values read, nanoseconds.
    CpuPerByte,
    /// Half of the requests took at most so long, microseconds.
    P50,
    /// 99 of 100.
    P99,
    /// 999 of 1000.
    P999,
    /// Keys that were not there; not a median but the sum of all rounds.
    Misses,
    /// Error replies; the sum of all rounds.
    Errors,
}

impl Figure {
    /// As the head of a column.
    pub fn title(self) -> &'static str {
        match self {
            Figure::Throughput => "requests/s",
            Figure::Cpu => "CPU us/key",
            Figure::UserCpu => "user us",
            Figure::SystemCpu => "system us",
            Figure::CpuPerByte => "CPU ns/byte",
            Figure::P50 => "p50 us",
            Figure::P99 => "p99 us",
            Figure::P999 => "p99.9 us",
            Figure::Misses => "misses",
            Figure::Errors => "errors",
        }
    }

    /// As the beginning of a ratio's name.
    pub fn name(self) -> &'static str {
        match self {
            Figure::Throughput => "throughput",
            Figure::Cpu => "CPU per key",
            Figure::CpuPerByte => "CPU per byte",
            Figure::P50 => "p50",
            Figure::P99 => "p99",
            Figure::P999 => "p99.9",
            other => other.title(),
        }
    }

    fn of(self, run: &Measured) -> f64 {
        let share = || run.server.expect("the server's process is known").per(run.figures.keys);
        match self {
            Figure::Throughput => run.rate(),
            Figure::Cpu => share().total_us,
            Figure::UserCpu => share().user_us,
            Figure::SystemCpu => share().system_us,
            Figure::CpuPerByte => {
                let server = run.server.expect("the server's process is known");
                server.total_ns as f64 / run.figures.value_bytes.max(1) as f64
            }
            Figure::P50 => run.percentile_us(50.0),
            Figure::P99 => run.percentile_us(99.0),
            Figure::P999 => run.percentile_us(99.9),
            Figure::Misses => run.figures.misses as f64,
            Figure::Errors => run.figures.errors as f64,
        }
    }
}

impl Standing {
    /// The median of all rounds, or their sum for counts.
    pub fn figure(&self, figure: Figure) -> f64 {
        let figures = self.runs.iter().map(|run| figure.of(run));
        match figure {
            Figure::Misses | Figure::Errors => figures.sum(),
            _ => median(figures.collect()),
        }
    }

    /// Latency percentiles of all rounds together.
    pub fn latency_curve(&self) -> Curve {
        let mut runs = self.runs.iter();
        let mut all = runs.next().expect("there is at least one round").figures.clone();
        runs.for_each(|run| all.add(&run.figures));
        Curve { plot: Plot::LatencyByPercentile, name: self.name.clone(), points: all.percentiles_us() }
    }
}

/// One line per standing; columns of counts only where something was counted.
pub fn table(standings: &[Standing], figures: &[Figure]) -> Table {
    let mut figures = figures.to_vec();
    for count in [Figure::Misses, Figure::Errors] {
        if standings.iter().any(|standing| standing.figure(count) > 0.0) {
            figures.push(count);
        }
    }
    let columns = figures.iter().map(|figure| figure.title()).collect();
    let line = |standing: &Standing| {
        (standing.name.clone(), figures.iter().map(|figure| standing.figure(*figure)).collect())
    };
    Table { columns, lines: standings.iter().map(line).collect() }
}

/// The first standing's `figure` against that of each of the others, with the goal given for it.
pub fn ratios(standings: &[Standing], figure: Figure, goals: &[(Program, Goal)]) -> Vec<Ratio> {
    let [first, others @ ..] = standings else { return Vec::new() };
    let against = |other: &Standing| Ratio {
        name: format!("{}, {}/{}", figure.name(), first.name, other.name),
        value: first.figure(figure) / other.figure(figure),
        goal: goals.iter().find(|(program, _)| program.name() == other.name).map(|(_, goal)| *goal),
    };
    others.iter().map(against).collect()
}

/// The middle one; the mean of the middle two of an even number.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![5.0]), 5.0);
    }
}
