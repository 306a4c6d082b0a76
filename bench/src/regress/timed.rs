//! Ratios of ringcached to the floor and to memcached in some short rows of `ringbench compare`.
//!
//! A row that is worse than its baseline allows is measured once more, and the better of both counts: a disturbance
//! passes, a slower server stays.

use std::collections::BTreeMap;
use std::time::Duration;

use super::baseline::{Baseline, Measurement, Section, Verdict};
use crate::compare;
use crate::compare::row::{Outcome, Row};
use crate::compare::setup::{Program, Setup, Site};
use crate::error::BenchError;

/// The figures of both sections.
pub struct Ratios {
    /// To the floor.
    pub floor: Measurement,
    /// To memcached.
    pub memcached: Measurement,
}

/// The short rounds of this gate.
pub fn setup(site: &Site) -> Result<Setup, BenchError> {
    site.setup(ROUND_TIME, ROUNDS)
}

/// Measures every row; those that are worse than `baseline` allows, twice.
pub fn measure(setup: &Setup, baseline: &Baseline) -> Result<Ratios, BenchError> {
    let memcached = version(&setup.versions()?, Program::Memcached);
    let mut ratios = Ratios {
        floor: Measurement { made_with: named("processor", processor()), rows: Vec::new() },
        memcached: Measurement { made_with: named("memcached", memcached), rows: Vec::new() },
    };
    for row in compare::chosen(&ROWS.map(str::to_string))? {
        let mut found = measure_row(row, setup)?;
        if is_worse(&found, &ratios, baseline) {
            found = better_of(&found, &measure_row(row, setup)?);
        }
        for figure in found {
            ratios.measurement(figure.to).rows.push((figure.name, figure.value));
        }
    }
    Ok(ratios)
}

/// One ratio of a row.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    name: String,
    to: Program,
    value: f64,
}

fn measure_row(row: &Row, setup: &Setup) -> Result<Vec<Figure>, BenchError> {
    match (row.measure)(setup)? {
        Outcome::Skipped(reason) => Err(BenchError::Usage(format!("{}: {reason}", row.name))),
        Outcome::Found(finding) => {
            let ratios = finding.ratios.iter().filter_map(|ratio| figure(row.name, &ratio.name, ratio.value));
            Ok(ratios.collect())
        }
    }
}

/// What is compared of a row's ratios: CPU time, which a busy machine disturbs least, and the median latency.
fn figure(row: &str, ratio: &str, value: f64) -> Option<Figure> {
    let (name, servers) = ratio.split_once(", ")?;
    if !COMPARED.contains(&name) {
        return None;
    }
    let other = servers.strip_prefix(Program::Ringcached.name())?.strip_prefix('/')?;
    let to = [Program::Floor, Program::Memcached].into_iter().find(|program| program.name() == other)?;
    Some(Figure { name: format!("{row} {name}"), to, value })
}

fn is_worse(found: &[Figure], ratios: &Ratios, baseline: &Baseline) -> bool {
    found.iter().any(|figure| {
        let (section, made_with): (&Section, _) = match figure.to {
            Program::Floor => (&baseline.floor, &ratios.floor.made_with),
            _ => (&baseline.memcached, &ratios.memcached.made_with),
        };
        section.verdict(made_with, &figure.name, figure.value) == Some(Verdict::Worse)
    })
}

fn better_of(first: &[Figure], second: &[Figure]) -> Vec<Figure> {
    let better = |(first, second): (&Figure, &Figure)| Figure {
        value: first.value.min(second.value),
        ..first.clone()
    };
    first.iter().zip(second).map(better).collect()
}

impl Ratios {
    fn measurement(&mut self, to: Program) -> &mut Measurement {
        match to {
            Program::Floor => &mut self.floor,
            _ => &mut self.memcached,
        }
    }
}

fn version(versions: &[String], program: Program) -> String {
    let found = versions.iter().find_map(|version| version.strip_prefix(program.name()));
    found.unwrap_or_default().trim().to_string()
}

fn named(name: &str, value: String) -> BTreeMap<String, String> {
    [(name.to_string(), value)].into()
}

/// The processor's name. A ratio to the floor is about system calls and cache misses, which processors price differently.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown", |(_, model)| model).to_string()
}

/// All with 50 connections and 100-byte values, except `latency`: one connection and a client that polls.
const ROWS: [&str; 5] = ["depth1", "depth16", "multiget50", "set16", "latency"];
const COMPARED: [&str; 2] = ["CPU per key", "p50"];
/// Three servers in five rows: three quarters of a minute in all.
const ROUND_TIME: Duration = Duration::from_millis(600);
const ROUNDS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_there_and_their_ratios_are_understood() {
        assert_eq!(compare::chosen(&ROWS.map(str::to_string)).unwrap().len(), ROWS.len());
        let found = figure("depth1", "CPU per key, ringcached/floor", 1.5);
        let expected = Figure { name: "depth1 CPU per key".to_string(), to: Program::Floor, value: 1.5 };
        assert_eq!(found, Some(expected));
        let found = figure("latency", "p50, ringcached/memcached", 1.0).unwrap();
        assert_eq!((found.name.as_str(), found.to), ("latency p50", Program::Memcached));
        for other in ["throughput, ringcached/floor", "p50, ringcached/redis", "p50, floor/memcached", "p50"]
        {
            assert_eq!(figure("depth1", other, 1.0), None, "{other}");
        }
    }

    #[test]
    fn the_better_of_two_measurements_counts() {
        let figures = |cpu, p50| {
            let figure = |name: &str, value| Figure { name: name.to_string(), to: Program::Floor, value };
            vec![figure("cpu", cpu), figure("p50", p50)]
        };
        assert_eq!(better_of(&figures(1.0, 4.0), &figures(2.0, 3.0)), figures(1.0, 3.0));
    }

    #[test]
    fn versions_are_read_from_the_greeting() {
        let versions = ["ringcached 1.6.45".to_string(), "memcached 1.6.18".to_string(), "floor".to_string()];
        assert_eq!(version(&versions, Program::Memcached), "1.6.18");
        assert_eq!(version(&versions, Program::Floor), "");
        assert_eq!(version(&versions, Program::Redis), "");
    }
}
