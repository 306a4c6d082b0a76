//! Plots as SVG: latency by percentile, throughput by depth. White ground and strong colours, readable on light and dark
//! pages; every curve is labelled where it ends, and all text is text.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::{
    ChartBuilder, Circle, Color, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea, IntoFont, LineSeries,
    RGBColor, Ranged, SVGBackend, TRANSPARENT, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::compare::row::{Curve, Plot};
use crate::error::BenchError;

/// Writes the curves of one plot, of which there is at least one with a point, into `path`.
pub fn write(path: &Path, title: &str, curves: &[Curve]) -> Result<(), BenchError> {
    std::fs::write(path, svg(title, curves)).map_err(BenchError::machine("cannot write the plot"))
}

fn svg(title: &str, curves: &[Curve]) -> String {
    let curves: Vec<Placed> = curves.iter().map(Placed::of).collect();
    let plot = curves.first().expect("a plot has a curve").plot;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::horizontal(plot, points().map(|point| point.0));
    let y = Axis::vertical(plot, points().map(|point| point.1));
    let mut text = String::new();
    draw(&mut text, title, (x, y), &curves).expect("a string takes whatever is drawn");
    text
}

type Canvas<'t> = DrawingArea<SVGBackend<'t>, Shift>;
type DrawError = DrawingAreaErrorKind<std::io::Error>;

fn draw(text: &mut String, title: &str, (x, y): (Axis, Axis), curves: &[Placed]) -> Result<(), DrawError> {
    let titles = (x.title, y.title);
    let canvas = SVGBackend::with_string(text, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    canvas.draw(&Text::new(title.to_string(), (20, 18), (FONT, 20).into_font().color(&INK)))?;
    let mut chart = ChartBuilder::on(&canvas)
        .margin_top(56)
        .margin_right(LABEL_WIDTH)
        .margin_bottom(12)
        .margin_left(12)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style((FONT, 16).into_font().color(&INK))
        .axis_desc_style((FONT, 16).into_font().color(&INK))
        .x_desc(titles.0)
        .y_desc(titles.1)
        .draw()?;
    for curve in curves {
        chart.draw_series(LineSeries::new(curve.points.iter().copied(), curve.colour.stroke_width(2)))?;
        if curve.plot == Plot::ThroughputByDepth {
            let dots = curve.points.iter().map(|point| Circle::new(*point, 3, curve.colour.filled()));
            chart.draw_series(dots)?;
        }
    }
    let ends = curves.iter().filter_map(|curve| curve.points.last()).map(|point| chart.backend_coord(point));
    label_ends(&canvas, curves, ends.collect())?;
    canvas.present()
}

/// Names each curve at its end, the names far enough from each other to be read.
fn label_ends(canvas: &Canvas<'_>, curves: &[Placed], ends: Vec<(i32, i32)>) -> Result<(), DrawError> {
    let rows = apart(&ends.iter().map(|end| end.1).collect::<Vec<_>>());
    for ((curve, end), row) in curves.iter().zip(ends).zip(rows) {
        let style = (FONT, 17).into_font().color(&curve.colour).pos(Pos::new(HPos::Left, VPos::Center));
        canvas.draw(&Text::new(curve.name.clone(), (end.0 + 10, row), style))?;
    }
    Ok(())
}

/// The rows moved down as little as keeps each [`LABEL_HEIGHT`] below the one above it, in the order given.
fn apart(rows: &[i32]) -> Vec<i32> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| rows[*at]);
    let mut moved = rows.to_vec();
    for pair in order.windows(2) {
        moved[pair[1]] = moved[pair[1]].max(moved[pair[0]] + LABEL_HEIGHT);
    }
    moved
}

/// A curve whose points lie on the axes' scales.
struct Placed {
    plot: Plot,
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

impl Placed {
    fn of(curve: &Curve) -> Placed {
        let place = |(x, y): &(f64, f64)| match curve.plot {
            // The fastest request of all says little, and the slowest would be infinitely far away.
            Plot::LatencyByPercentile => {
                (*x > 0.0 && *x < 100.0).then(|| (-(1.0 - x / 100.0).log10(), y.log10()))
            }
            Plot::ThroughputByDepth => Some((x.log2(), *y)),
        };
        Placed {
            plot: curve.plot,
            name: curve.name.clone(),
            colour: colour(&curve.name),
            points: curve.points.iter().filter_map(place).collect(),
        }
    }
}

/// One server has one colour in all plots.
fn colour(name: &str) -> RGBColor {
    let known = COLOURS.iter().find(|(server, _)| name.starts_with(server));
    known.map_or(INK, |(_, colour)| *colour)
}

/// A scale: where its marks are and what they say.
struct Axis {
    title: &'static str,
    from: f64,
    to: f64,
    marks: Vec<(f64, String)>,
}

impl Axis {
    fn horizontal(plot: Plot, places: impl Iterator<Item = f64>) -> Axis {
        let to = places.fold(1.0, f64::max);
        let (title, marks) = match plot {
            Plot::LatencyByPercentile => {
                let nines = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"].into_iter().enumerate();
                ("percentile", nines.map(|(place, label)| (place as f64, label.to_string())).collect())
            }
            Plot::ThroughputByDepth => {
                let powers = (0..=to as u32).map(|power| (f64::from(power), (1u64 << power).to_string()));
                ("requests open on each connection", powers.collect())
            }
        };
        // A mark at the very end stays, whatever the logarithm rounded.
        Axis { title, from: 0.0, to: to + 1e-6, marks }.within()
    }

    fn vertical(plot: Plot, places: impl Iterator<Item = f64> + Clone) -> Axis {
        let (least, most) = (places.clone().fold(f64::INFINITY, f64::min), places.fold(0.0, f64::max));
        match plot {
            Plot::LatencyByPercentile => {
                let powers = least.floor() as i32..=most.ceil() as i32;
                let steps = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
                let marks = steps.map(|us| (us.log10(), latency_text(us))).collect();
                Axis { title: "latency", from: least - 0.05, to: most + 0.05, marks }.within()
            }
            Plot::ThroughputByDepth => {
                let step = step_below(most / 4.0);
                let marks = (0..=5).map(|count| f64::from(count) * step);
                let marks = marks.map(|rate| (rate, rate_text(rate))).collect();
                Axis { title: "requests/s", from: 0.0, to: most * 1.05, marks }.within()
            }
        }
    }

    /// Without the marks that lie outside.
    fn within(mut self) -> Axis {
        self.marks.retain(|(place, _)| (self.from..=self.to).contains(place));
        self
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (place - self.from) / (self.to - self.from);
        first + (f64::from(last - first) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.marks.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        let mark = self.marks.iter().find(|(mark, _)| mark == place);
        mark.map(|(_, label)| label.clone()).unwrap_or_default()
    }
}

/// The largest of 1, 2, 5, 10, 20, ... that is not above `most`.
fn step_below(most: f64) -> f64 {
    let power = 10f64.powf(most.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * power);
    steps.into_iter().find(|step| *step <= most).unwrap_or(power)
}

fn latency_text(us: f64) -> String {
    match us {
        ..1e3 => format!("{us} us"),
        ..1e6 => format!("{} ms", us / 1e3),
        _ => format!("{} s", us / 1e6),
    }
}

fn rate_text(rate: f64) -> String {
    match rate {
        ..1e3 => format!("{rate}"),
        ..1e6 => format!("{} k", rate / 1e3),
        _ => format!("{} M", rate / 1e6),
    }
}

const SIZE: (u32, u32) = (880, 460);
const FONT: &str = "sans-serif";
/// For the names at the curves' ends.
const LABEL_WIDTH: u32 = 120;
const LABEL_HEIGHT: i32 = 18;
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const GRID: RGBColor = RGBColor(0xd0, 0xd7, 0xde);
const COLOURS: [(&str, RGBColor); 4] = [
    ("ringcached", RGBColor(0x09, 0x69, 0xda)),
    ("memcached", RGBColor(0xcf, 0x22, 0x2e)),
    ("floor", RGBColor(0x6e, 0x77, 0x81)),
    ("redis", RGBColor(0x82, 0x50, 0xdf)),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(plot: Plot, name: &str, points: &[(f64, f64)]) -> Curve {
        Curve { plot, name: name.to_string(), points: points.to_vec() }
    }

    #[test]
    fn percentiles_are_spaced_by_nines_without_the_first_and_the_last() {
        let points = [(0.0, 10.0), (90.0, 100.0), (99.9, 1000.0), (100.0, 5000.0)];
        let placed = Placed::of(&curve(Plot::LatencyByPercentile, "floor", &points));
        let expected = [(1.0, 2.0), (3.0, 3.0)];
        assert_eq!(placed.points.len(), expected.len());
        for (found, expected) in placed.points.iter().zip(expected) {
            assert!((found.0 - expected.0).abs() < 1e-9 && (found.1 - expected.1).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn marks_lie_on_the_axis_and_read_well() {
        let labels = |axis: &Axis| axis.marks.iter().map(|(_, label)| label.clone()).collect::<Vec<_>>();
        let axis = Axis::vertical(Plot::LatencyByPercentile, [1.5, 3.4].into_iter());
        assert_eq!(labels(&axis), ["50 us", "100 us", "200 us", "500 us", "1 ms", "2 ms"]);
        let axis = Axis::vertical(Plot::ThroughputByDepth, [150_000.0, 4_900_000.0].into_iter());
        assert_eq!(labels(&axis), ["0", "1 M", "2 M", "3 M", "4 M", "5 M"]);
        let axis = Axis::horizontal(Plot::ThroughputByDepth, [0.0, 7.0].into_iter());
        assert_eq!(labels(&axis), ["1", "2", "4", "8", "16", "32", "64", "128"]);
        let axis = Axis::horizontal(Plot::LatencyByPercentile, [0.0, 3.0 - 1e-12].into_iter());
        assert_eq!(labels(&axis), ["0 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!(axis.format_ext(&2.0), "99 %");
    }

    #[test]
    fn steps_are_one_two_or_five() {
        for (most, step) in [(1.0, 1.0), (1.9, 1.0), (2.0, 2.0), (49.0, 20.0), (700_000.0, 500_000.0)] {
            assert_eq!(step_below(most), step);
        }
    }

    #[test]
    fn names_at_the_ends_do_not_overlap() {
        assert_eq!(apart(&[100, 300, 200]), [100, 300, 200]);
        assert_eq!(apart(&[100, 100, 105]), [100, 118, 136]);
        assert_eq!(apart(&[200, 190]), [208, 190]);
        assert!(apart(&[]).is_empty());
    }

    #[test]
    fn a_plot_is_text_and_lines_of_every_curve() {
        let curves = [
            curve(Plot::ThroughputByDepth, "ringcached", &[(1.0, 2e5), (128.0, 4e6)]),
            curve(Plot::ThroughputByDepth, "memcached", &[(1.0, 1e5), (128.0, 1e6)]),
        ];
        let text = svg("GET <100 B>", &curves);
        assert!(text.contains("GET &lt;100 B&gt;"), "the title is escaped");
        assert!(text.contains("<polyline"));
        for name in ["ringcached", "memcached", "requests/s", "128"] {
            assert!(text.contains(name), "{name}");
        }
    }
}
