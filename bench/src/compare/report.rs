//! How findings look: text for a terminal, JSON for programs and plots, Markdown for `docs/benchmarks.md`.

use std::path::Path;

use serde_json::{Value, json};

use super::row::{Curve, Finding, Goal, Outcome, Plot, Ratio, Row};
use crate::error::BenchError;

/// The whole comparison.
pub struct Report {
    /// Name and version of each server.
    pub servers: Vec<String>,
    /// What became of each row, in the order asked for.
    pub rows: Vec<(&'static Row, Outcome)>,
}

impl Report {
    /// A block per row and a summary of all goals.
    pub fn text(&self) -> String {
        let mut blocks = vec![self.servers.join("; ")];
        blocks.extend(self.rows.iter().map(|(row, outcome)| row_text(row, outcome)));
        blocks.push(self.summary());
        blocks.join("\n\n")
    }

    /// One document with everything, curves included.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|(row, outcome)| row_json(row, outcome)).collect();
        json!({"servers": self.servers, "rows": rows})
    }

    /// One table with every judged ratio, then one table per row.
    pub fn markdown(&self) -> String {
        let mut lines = vec![
            self.servers.join("; "),
            String::new(),
            "| row | ratio | measured | goal | |".to_string(),
            "|---|---|---|---|---|".to_string(),
        ];
        for (row, outcome) in &self.rows {
            match outcome {
                Outcome::Skipped(reason) => lines.push(format!("| {} | skipped: {reason} | | | |", row.name)),
                Outcome::Found(finding) => lines.extend(
                    finding.ratios.iter().map(|ratio| format!("| {} | {} |", row.name, ratio_cells(ratio))),
                ),
            }
        }
        for (row, outcome) in &self.rows {
            if let Outcome::Found(finding) = outcome {
                lines.push(format!("\n`{}`: {}\n", row.name, row.title));
                lines.extend(table_markdown(finding));
                lines.extend(finding.notes.iter().map(|note| format!("\n{note}")));
            }
        }
        lines.join("\n")
    }

    /// One file per row and plot: `depth1-latency.svg`.
    pub fn draw(&self, folder: &Path) -> Result<(), BenchError> {
        std::fs::create_dir_all(folder).map_err(BenchError::machine("cannot make the folder of plots"))?;
        for (row, outcome) in &self.rows {
            let Outcome::Found(finding) = outcome else { continue };
            for plot in [Plot::LatencyByPercentile, Plot::ThroughputByDepth] {
                let curves: Vec<Curve> =
                    finding.curves.iter().filter(|curve| curve.plot == plot).cloned().collect();
                if !curves.is_empty() {
                    let path = folder.join(format!("{}-{}.svg", row.name, plot.file_name()));
                    crate::plot::write(&path, row.title, &curves)?;
                }
            }
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let found = self.rows.iter().filter_map(|(row, outcome)| match outcome {
            Outcome::Found(finding) => Some((row, finding)),
            Outcome::Skipped(_) => None,
        });
        let (mut goals, mut lost) = (0, Vec::new());
        for (row, finding) in found {
            goals += finding.ratios.iter().filter(|ratio| ratio.goal.is_some()).count();
            lost.extend(finding.lost().map(|ratio| format!("  {}: {}", row.name, ratio_text(ratio))));
        }
        let mut lines = vec![format!("{} of {goals} goals met", goals - lost.len())];
        lines.extend(lost);
        lines.join("\n")
    }
}

fn row_text(row: &Row, outcome: &Outcome) -> String {
    let mut lines = vec![format!("{}: {}", row.name, row.title)];
    match outcome {
        Outcome::Skipped(reason) => lines.push(format!("  skipped: {reason}")),
        Outcome::Found(finding) => {
            let widths: Vec<usize> =
                finding.table.columns.iter().map(|title| title.len().max(FIGURE_WIDTH) + 2).collect();
            let mut head = format!("  {:<NAME_WIDTH$}", "");
            for (title, width) in finding.table.columns.iter().zip(&widths) {
                head.push_str(&format!("{title:>width$}"));
            }
            lines.push(head);
            for (name, figures) in &finding.table.lines {
                let mut line = format!("  {name:<NAME_WIDTH$}");
                for (figure, width) in figures.iter().zip(&widths) {
                    line.push_str(&format!("{:>width$}", figure_text(*figure)));
                }
                lines.push(line);
            }
            lines.extend(finding.ratios.iter().map(|ratio| format!("  {}", ratio_text(ratio))));
            lines.extend(finding.notes.iter().map(|note| format!("  {note}")));
        }
    }
    lines.join("\n")
}

fn ratio_text(ratio: &Ratio) -> String {
    let Ratio { name, value, .. } = ratio;
    match (ratio.goal, ratio.is_met()) {
        (Some(goal), Some(met)) => {
            format!("{name}: {value:.2} (goal {}: {})", goal_text(goal), verdict(met))
        }
        _ => format!("{name}: {value:.2}"),
    }
}

fn ratio_cells(ratio: &Ratio) -> String {
    let goal = ratio.goal.map(goal_text).unwrap_or_default();
    let met = ratio.is_met().map(verdict).unwrap_or_default();
    format!("{} | {:.2} | {goal} | {met}", ratio.name, ratio.value)
}

fn table_markdown(finding: &Finding) -> Vec<String> {
    let mut lines = vec![
        format!("| | {} |", finding.table.columns.join(" | ")),
        format!("|---|{}", "---|".repeat(finding.table.columns.len())),
    ];
    for (name, figures) in &finding.table.lines {
        let cells: Vec<String> = figures.iter().map(|figure| figure_text(*figure)).collect();
        lines.push(format!("| {name} | {} |", cells.join(" | ")));
    }
    lines
}

fn row_json(row: &Row, outcome: &Outcome) -> Value {
    let finding = match outcome {
        Outcome::Skipped(reason) => return json!({"row": row.name, "title": row.title, "skipped": reason}),
        Outcome::Found(finding) => finding,
    };
    let table: Vec<Value> = finding
        .table
        .lines
        .iter()
        .map(|(name, figures)| {
            let mut line = json!({"name": name});
            for (title, figure) in finding.table.columns.iter().zip(figures) {
                line[*title] = json!(figure);
            }
            line
        })
        .collect();
    let ratios: Vec<Value> = finding.ratios.iter().map(ratio_json).collect();
    let curves: Vec<Value> = finding
        .curves
        .iter()
        .map(|curve| json!({"plot": curve.plot.name(), "name": curve.name, "points": curve.points}))
        .collect();
    json!({
        "row": row.name,
        "title": row.title,
        "figures": table,
        "ratios": ratios,
        "curves": curves,
        "notes": finding.notes,
    })
}

fn ratio_json(ratio: &Ratio) -> Value {
    let mut report = json!({"name": ratio.name, "value": ratio.value});
    match ratio.goal {
        Some(Goal::AtMost(most)) => report["at_most"] = json!(most),
        Some(Goal::AtLeast(least)) => report["at_least"] = json!(least),
        None => {}
    }
    if let Some(met) = ratio.is_met() {
        report["met"] = json!(met);
    }
    report
}

fn goal_text(goal: Goal) -> String {
    match goal {
        Goal::AtMost(most) => format!("<= {most}"),
        Goal::AtLeast(least) => format!(">= {least}"),
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "LOST" }
}

/// Four digits that count, whatever the unit.
fn figure_text(figure: f64) -> String {
    match figure.abs() {
        size if size >= 1000.0 || size == 0.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.3}"),
    }
}

const NAME_WIDTH: usize = 16;
const FIGURE_WIDTH: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::row::Table;

    const ROW: Row = Row {
        name: "depth1",
        title: "GET",
        measure: |_| Ok(Outcome::Skipped("no test runs it".to_string())),
    };

    fn report() -> Report {
        let ratio = |name: &str, value, goal| Ratio { name: name.to_string(), value, goal };
        let finding = Finding {
            table: Table {
                columns: vec!["requests/s", "CPU us/key"],
                lines: vec![("ringcached".to_string(), vec![220_615.4, 4.4049])],
            },
            ratios: vec![
                ratio("CPU", 0.74, Some(Goal::AtMost(0.85))),
                ratio("throughput", 1.9, Some(Goal::AtLeast(2.0))),
                ratio("p99", 0.5, None),
            ],
            curves: Vec::new(),
            notes: vec!["a note".to_string()],
        };
        let rows = vec![(&ROW, Outcome::Found(finding)), (&ROW, Outcome::Skipped("why".to_string()))];
        Report { servers: vec!["ringcached 1".to_string(), "memcached 2".to_string()], rows }
    }

    #[test]
    fn every_ratio_is_shown_with_its_goal_and_what_became_of_it() {
        let text = report().text();
        for expected in [
            "ringcached 1; memcached 2",
            "220615",
            "4.405",
            "CPU: 0.74 (goal <= 0.85: met)",
            "throughput: 1.90 (goal >= 2: LOST)",
            "p99: 0.50",
            "a note",
            "skipped: why",
            "1 of 2 goals met",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }

    #[test]
    fn programs_read_the_same() {
        let report = report().json();
        let row = &report["rows"][0];
        assert_eq!(row["figures"][0]["requests/s"], 220_615.4);
        assert_eq!(row["ratios"][0]["met"], true);
        assert_eq!(
            row["ratios"][1],
            json!({"name": "throughput", "value": 1.9, "at_least": 2.0, "met": false})
        );
        assert_eq!(report["rows"][1]["skipped"], "why");
    }

    #[test]
    fn markdown_has_one_cell_per_column() {
        for line in report().markdown().lines().filter(|line| line.starts_with("| depth1")) {
            assert_eq!(line.matches('|').count(), 6, "{line}");
        }
    }
}
