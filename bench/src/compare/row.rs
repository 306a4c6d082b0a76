//! What a row is and what it finds. A row is data plus one function; the function measures and returns a [`Finding`],
//! and `compare/report.rs` alone decides how findings look.

use super::setup::Setup;
use crate::error::BenchError;

/// One line of the comparison: a load, and what must come out of it.
pub struct Row {
    /// As on the command line and in JSON.
    pub name: &'static str,
    /// For people: the load in one line.
    pub title: &'static str,
    /// Starts servers, measures, stops them. Called from the main thread only (see `Server::start`).
    pub measure: fn(&Setup) -> Result<Outcome, BenchError>,
}

/// What became of a row.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was measured.
    Found(Finding),
    /// This machine or this command line can't measure it; the reason.
    Skipped(String),
}

/// What a row found.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// Figures of each server.
    pub table: Table,
    /// Ringcached against the others; first those with a goal.
    pub ratios: Vec<Ratio>,
    /// For plots.
    pub curves: Vec<Curve>,
    /// What a reader must know beside the figures, such as a peer that is not installed.
    pub notes: Vec<String>,
}

/// One line per server or case, one figure per column.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Names of the figures with their units.
    pub columns: Vec<&'static str>,
    /// Who, and as many figures as there are columns.
    pub lines: Vec<(String, Vec<f64>)>,
}

/// One figure of one server divided by the same figure of another, or another quotient that is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    /// Names it, the same in every run: `CPU per key, ringcached/memcached`.
    pub name: String,
    /// The quotient of the medians.
    pub value: f64,
    /// What it must be, if anything.
    pub goal: Option<Goal>,
}

/// What a ratio must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Not above this.
    AtMost(f64),
    /// Not below this.
    AtLeast(f64),
}

/// Points to draw, in ascending order of x.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Which plot it belongs to.
    pub plot: Plot,
    /// Who.
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// The plots that curves belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plot {
    /// Latency in microseconds (y) at a percentile (x, 0 to 100).
    LatencyByPercentile,
    /// Requests per second (y) with so many requests open on each connection (x).
    ThroughputByDepth,
}

impl Goal {
    /// Whether `value` is as it must be; what is not a number never is.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Goal::AtMost(most) => value <= most,
            Goal::AtLeast(least) => value >= least,
        }
    }
}

impl Ratio {
    /// Whether the goal is met; `None` without a goal.
    pub fn is_met(&self) -> Option<bool> {
        self.goal.map(|goal| goal.is_met(self.value))
    }
}

impl Finding {
    /// Ratios whose goal is not met.
    pub fn lost(&self) -> impl Iterator<Item = &Ratio> {
        self.ratios.iter().filter(|ratio| ratio.is_met() == Some(false))
    }
}

impl Plot {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Plot::LatencyByPercentile => "latency_us_by_percentile",
            Plot::ThroughputByDepth => "requests_per_second_by_depth",
        }
    }

    /// As in the name of a drawing.
    pub fn file_name(self) -> &'static str {
        match self {
            Plot::LatencyByPercentile => "latency",
            Plot::ThroughputByDepth => "throughput",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_include_their_bound_and_refuse_what_is_no_number() {
        assert!(Goal::AtMost(0.5).is_met(0.5) && !Goal::AtMost(0.5).is_met(0.51));
        assert!(Goal::AtLeast(2.0).is_met(2.0) && !Goal::AtLeast(2.0).is_met(1.99));
        assert!(!Goal::AtMost(1.0).is_met(f64::NAN) && !Goal::AtLeast(1.0).is_met(f64::NAN));
    }
}
