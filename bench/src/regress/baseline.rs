//! `bench/baseline.json`: what was measured once, how much worse may be, and the comparison with what is measured now.
//!
//! Every figure is one of which more is worse: instructions, or CPU time and latency divided by another server's.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Instructions per operation, under callgrind.
    pub instructions: Section,
    /// Ratios of ringcached to the floor.
    pub floor: Section,
    /// Ratios of ringcached to memcached.
    pub memcached: Section,
}

/// One kind of figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// What the figures depend on besides this repository, by name: the compiler, the peer's version, ...
    pub made_with: BTreeMap<String, String>,
    /// By how much a figure may exceed its baseline; 0.03 is 3 %.
    pub tolerance: f64,
    /// The same where something in `made_with` differs; `None` where the figures then can't be compared at all.
    pub tolerance_elsewhere: Option<f64>,
    /// The figures by row.
    pub rows: BTreeMap<String, f64>,
}

/// What was measured now, in the order of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// As [`Section::made_with`].
    pub made_with: BTreeMap<String, String>,
    /// Rows and figures.
    pub rows: Vec<(String, f64)>,
}

/// A measurement beside its baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What differs in how the two were made: `rustc: 1.95.0 in the baseline, 1.96.0 here`.
    pub differences: Vec<String>,
    /// What is allowed here; `None` where nothing is compared.
    pub tolerance: Option<f64>,
    /// Every row.
    pub rows: Vec<ComparedRow>,
}

/// One figure beside its baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedRow {
    /// Its name.
    pub name: String,
    /// What it is now.
    pub measured: f64,
    /// What it was.
    pub baseline: f64,
}

/// What a change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Worse by more than is allowed.
    Worse,
    /// Not far from the baseline.
    Same,
    /// Better by more than a figure may vary: the baseline should follow.
    Better,
}

impl Baseline {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Baseline, BenchError> {
        let unusable = |reason: String| BenchError::Baseline { path: path.to_path_buf(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        let baseline: Baseline = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        for (name, section) in baseline.sections() {
            section.check().map_err(|reason| unusable(format!("{name}: {reason}")))?;
        }
        Ok(baseline)
    }

    /// Writes the file, for people to read in a diff.
    pub fn write(&self, path: &Path) -> Result<(), BenchError> {
        let text = serde_json::to_string_pretty(self).expect("strings and numbers are always written");
        std::fs::write(path, text + "\n").map_err(BenchError::machine("cannot write the baseline"))
    }

    fn sections(&self) -> [(&'static str, &Section); 3] {
        [("instructions", &self.instructions), ("floor", &self.floor), ("memcached", &self.memcached)]
    }
}

impl Section {
    /// What JSON can't say about itself: figures are above zero, tolerances are not below.
    fn check(&self) -> Result<(), String> {
        for tolerance in [Some(self.tolerance), self.tolerance_elsewhere].into_iter().flatten() {
            if !(tolerance >= 0.0 && tolerance.is_finite()) {
                return Err(format!("{tolerance} is no tolerance"));
            }
        }
        match self.rows.iter().find(|(_, figure)| !(**figure > 0.0 && figure.is_finite())) {
            Some((name, figure)) => Err(format!("{figure} is no figure for {name}")),
            None => Ok(()),
        }
    }

    /// What one figure, made with these, means; `None` where it has no baseline.
    pub fn verdict(
        &self,
        made_with: &BTreeMap<String, String>,
        name: &str,
        measured: f64,
    ) -> Option<Verdict> {
        let row = ComparedRow { name: name.to_string(), measured, baseline: *self.rows.get(name)? };
        Some(row.verdict(self.tolerance_of(made_with)))
    }

    /// Puts every measured row beside its baseline. An error names a row that only one of both has: the file is then of
    /// another version of this program.
    pub fn compare(&self, measurement: &Measurement) -> Result<Comparison, String> {
        let differences = self.differences(&measurement.made_with);
        let tolerance = self.tolerance_of(&measurement.made_with);
        if let Some(gone) = self.rows.keys().find(|name| measurement.rows.iter().all(|row| row.0 != **name)) {
            return Err(format!("it has a row {gone}, which is not measured"));
        }
        let rows = measurement.rows.iter().map(|(name, measured)| {
            let baseline = self.rows.get(name).ok_or_else(|| format!("it lacks the row {name}"))?;
            Ok(ComparedRow { name: name.clone(), measured: *measured, baseline: *baseline })
        });
        Ok(Comparison { differences, tolerance, rows: rows.collect::<Result<_, String>>()? })
    }

    /// Takes over what was measured, and keeps the tolerances.
    pub fn record(&mut self, measurement: &Measurement) {
        self.made_with.clone_from(&measurement.made_with);
        self.rows = measurement.rows.iter().map(|(name, figure)| (name.clone(), rounded(*figure))).collect();
    }

    fn tolerance_of(&self, made_with: &BTreeMap<String, String>) -> Option<f64> {
        if *made_with == self.made_with { Some(self.tolerance) } else { self.tolerance_elsewhere }
    }

    fn differences(&self, here: &BTreeMap<String, String>) -> Vec<String> {
        let names =
            self.made_with.keys().chain(here.keys().filter(|name| !self.made_with.contains_key(*name)));
        let of = |made_with: &BTreeMap<String, String>, name| {
            made_with.get(name).map_or("nothing", String::as_str).to_string()
        };
        let both = names.map(|name| (name, of(&self.made_with, name), of(here, name)));
        both.filter(|(_, there, here)| there != here)
            .map(|(name, there, here)| format!("{name}: {there} in the baseline, {here} here"))
            .collect()
    }
}

impl Comparison {
    /// What the change of a row means.
    pub fn verdict(&self, row: &ComparedRow) -> Verdict {
        row.verdict(self.tolerance)
    }

    /// The rows with this verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &ComparedRow> {
        self.rows.iter().filter(move |row| self.verdict(row) == verdict)
    }
}

impl ComparedRow {
    /// Relative to the baseline; 0.1 is 10 % more.
    pub fn change(&self) -> f64 {
        self.measured / self.baseline - 1.0
    }

    /// Without a tolerance nothing is compared, so everything is the same.
    fn verdict(&self, tolerance: Option<f64>) -> Verdict {
        match tolerance {
            Some(tolerance) if self.change() > tolerance => Verdict::Worse,
            Some(tolerance) if self.measured * (1.0 + tolerance) < self.baseline => Verdict::Better,
            _ => Verdict::Same,
        }
    }
}

/// Four digits say more than any tolerance needs, and make small diffs.
fn rounded(figure: f64) -> f64 {
    format!("{figure:.3e}").parse().expect("a number was just written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn section() -> Section {
        Section {
            made_with: names(&[("rustc", "1.95.0")]),
            tolerance: 0.03,
            tolerance_elsewhere: Some(0.2),
            rows: [("get".to_string(), 100.0), ("set".to_string(), 200.0)].into(),
        }
    }

    fn measurement(rows: &[(&str, f64)]) -> Measurement {
        Measurement {
            made_with: names(&[("rustc", "1.95.0")]),
            rows: rows.iter().map(|(name, figure)| (name.to_string(), *figure)).collect(),
        }
    }

    fn verdicts(compared: &Comparison) -> Vec<Verdict> {
        compared.rows.iter().map(|row| compared.verdict(row)).collect()
    }

    #[test]
    fn a_row_beyond_the_tolerance_is_told_from_the_others() {
        let verdicts_of =
            |get, set| verdicts(&section().compare(&measurement(&[("set", set), ("get", get)])).unwrap());
        assert_eq!(verdicts_of(102.9, 200.0), [Verdict::Same, Verdict::Same]);
        assert_eq!(verdicts_of(103.1, 200.0), [Verdict::Same, Verdict::Worse]);
        assert_eq!(verdicts_of(97.2, 206.1), [Verdict::Worse, Verdict::Same]);
        assert_eq!(verdicts_of(97.0, 190.0), [Verdict::Better, Verdict::Better]);
    }

    #[test]
    fn rows_that_only_one_side_has_are_errors() {
        let error_of = |rows| section().compare(&measurement(rows)).unwrap_err();
        assert!(error_of(&[("get", 1.0)]).contains("set"));
        assert!(error_of(&[("get", 1.0), ("set", 1.0), ("delete", 1.0)]).contains("delete"));
        assert!(error_of(&[]).contains("get"));
    }

    #[test]
    fn what_was_made_otherwise_is_compared_loosely_or_not_at_all() {
        let mut elsewhere = measurement(&[("get", 115.0), ("set", 241.0)]);
        elsewhere.made_with = names(&[("rustc", "1.96.0"), ("valgrind", "3.20")]);
        let mut section = section();
        let compared = section.compare(&elsewhere).unwrap();
        assert_eq!(verdicts(&compared), [Verdict::Same, Verdict::Worse]);
        let expected =
            ["rustc: 1.95.0 in the baseline, 1.96.0 here", "valgrind: nothing in the baseline, 3.20 here"];
        assert_eq!(compared.differences, expected);
        section.tolerance_elsewhere = None;
        let compared = section.compare(&elsewhere).unwrap();
        assert_eq!((verdicts(&compared), compared.differences.len()), (vec![Verdict::Same; 2], 2));
    }

    #[test]
    fn a_recorded_section_compares_as_the_same() {
        let mut section = section();
        let measured = measurement(&[("set", 1234.567), ("delete", 0.123_456)]);
        section.record(&measured);
        assert_eq!(section.rows, [("delete".to_string(), 0.1235), ("set".to_string(), 1235.0)].into());
        assert_eq!(section.tolerance, 0.03);
        assert_eq!(verdicts(&section.compare(&measured).unwrap()), [Verdict::Same, Verdict::Same]);
    }

    #[test]
    fn files_that_are_no_baseline_are_refused() {
        let path = std::env::temp_dir().join(format!("ringbench-baseline-{}.json", std::process::id()));
        let error_of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Baseline::read(&path).unwrap_err().to_string()
        };
        let whole = Baseline { instructions: section(), floor: section(), memcached: section() };
        whole.write(&path).unwrap();
        assert_eq!(Baseline::read(&path).unwrap(), whole);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(error_of("").contains("--record"));
        assert!(error_of("{}").contains("instructions"));
        assert!(error_of(&text.replace("floor", "ceiling")).contains("ceiling"));
        assert!(error_of(&text.replace("0.03", "-0.03")).contains("no tolerance"));
        assert!(error_of(&text.replace("100.0", "0.0")).contains("no figure for get"));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Baseline::read(&path), Err(BenchError::Baseline { .. })));
    }
}
