//! Plots as SVG. Pure: from a written report to text.
//!
//! The fonts are the viewer's: nothing of the system is asked for them.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::document::{Distribution, Written};
use super::series::Series;

const SIZE: (u32, u32) = (840, 420);
const FONT: &str = "sans-serif";
/// Where the median stands on the axis of percentiles.
const MEDIAN: f64 = std::f64::consts::LOG10_2;

/// One plot of a report.
#[derive(Debug)]
pub(super) struct Plot<'a> {
    /// The name of its file.
    pub(super) file: String,
    pub(super) title: String,
    shown: Shown<'a>,
}

#[derive(Debug)]
enum Shown<'a> {
    Latencies(&'a [Distribution]),
    OverTime(Vec<&'a Series>),
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// All plots of a report without its parts; `stem` begins the names of its files.
pub(super) fn plots<'a>(stem: &str, written: &'a Written) -> Vec<Plot<'a>> {
    let mut plots = Vec::new();
    if !written.distributions.is_empty() {
        plots.push(Plot {
            file: format!("{stem}-latency.svg"),
            title: "Latency by percentile".to_owned(),
            shown: Shown::Latencies(&written.distributions),
        });
    }
    let mut units: Vec<&str> = Vec::new();
    for series in &written.series {
        if !units.contains(&series.unit.as_str()) {
            units.push(&series.unit);
        }
    }
    plots.extend(units.into_iter().map(|unit| Plot {
        file: format!("{stem}-{}.svg", slug(unit)),
        title: format!("Over time: {unit}"),
        shown: Shown::OverTime(written.series.iter().filter(|series| series.unit == unit).collect()),
    }));
    plots
}

/// Letters and digits, with a dash between words.
pub(super) fn slug(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

impl Plot<'_> {
    /// The whole file.
    pub(super) fn svg(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        match &self.shown {
            Shown::Latencies(distributions) => draw_latencies(&area, &self.title, distributions)?,
            Shown::OverTime(series) => draw_over_time(&area, &self.title, series)?,
        }
        area.present()?;
        drop(area);
        Ok(text)
    }
}

/// An axis of percentiles, by the number of nines: 3 is 99.9 %.
#[derive(Clone)]
struct Nines(RangedCoordf64);

impl Ranged for Nines {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, nines: &f64, limit: (i32, i32)) -> i32 {
        self.0.map(nines, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        let marked = [0.0, MEDIAN].into_iter().chain((1..).map(f64::from));
        marked.take_while(|nines| *nines <= self.0.range().end).collect()
    }

    fn range(&self) -> Range<f64> {
        self.0.range()
    }
}

impl ValueFormatter<f64> for Nines {
    fn format(nines: &f64) -> String {
        format!("{} %", (1e8 - 10_f64.powf(8.0 - nines)).round() / 1e6)
    }
}

/// The higher the percentile the wider: each further nine takes as much room as the one before.
fn draw_latencies(area: &Area<'_>, title: &str, distributions: &[Distribution]) -> anyhow::Result<()> {
    let curves: Vec<Vec<(f64, f64)>> = distributions.iter().map(curve).collect();
    let (_, right) = bounds(curves.iter().flatten().map(|(nines, _)| *nines));
    let (bottom, top) = bounds(curves.iter().flatten().map(|(_, millis)| *millis));
    let nines = Nines((0.0..right.max(1.0)).into());
    let millis = (10_f64.powf(bottom.log10().floor())..10_f64.powf(top.log10().floor() + 1.0)).log_scale();
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(nines, millis)?;
    chart.configure_mesh().x_desc("percentile; each curve ends at its slowest").y_desc("ms").draw()?;
    for ((number, curve), distribution) in curves.into_iter().enumerate().zip(distributions) {
        let color = Palette99::pick(number).stroke_width(2);
        chart
            .draw_series(LineSeries::new(curve, color))?
            .label(&distribution.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color));
    }
    let legend = &mut chart.configure_series_labels();
    legend
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

/// The number of nines and milliseconds; the slowest of all stands where one in so many is. What took no time at all
/// has no place on a logarithmic axis.
fn curve(distribution: &Distribution) -> Vec<(f64, f64)> {
    let last = f64::from(u32::try_from(distribution.count).unwrap_or(u32::MAX)).log10();
    let nines = |percentile: f64| if percentile < 100.0 { 2.0 - (100.0 - percentile).log10() } else { last };
    let points = distribution.percentiles.iter().filter(|(_, millis)| *millis > 0.0);
    points.map(|(percentile, millis)| (nines(*percentile), *millis)).collect()
}

fn draw_over_time(area: &Area<'_>, title: &str, series: &[&Series]) -> anyhow::Result<()> {
    let points = || series.iter().flat_map(|series| &series.points);
    let (left, right) = bounds(points().map(|(seconds, _)| *seconds));
    let (_, top) = bounds(points().map(|(_, value)| *value));
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(90)
        .build_cartesian_2d(left..right.max(left + 1.0), 0.0..if top > 0.0 { top * 1.05 } else { 1.0 })?;
    let unit = series.first().map_or("", |series| series.unit.as_str());
    chart.configure_mesh().x_desc("seconds").y_desc(unit).draw()?;
    for (number, series) in series.iter().enumerate() {
        let color = Palette99::pick(number).stroke_width(2);
        chart
            .draw_series(LineSeries::new(series.points.iter().copied(), color))?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], color));
    }
    let legend = &mut chart.configure_series_labels();
    legend
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

/// The lowest and the highest; of nothing, 1 and 1.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .filter(|value| value.is_finite())
        .map(|value| (value, value))
        .reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))
        .unwrap_or((1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::histogram;

    fn written() -> Written {
        let mut micros = histogram();
        (1..=20_000).for_each(|micro| micros.saturating_record(micro));
        let series =
            |name: &str, unit: &str| Series::new(name, unit, vec![(0.0, 3.0), (1.0, 5.0), (2.0, 0.0)]);
        Written {
            distributions: ["answer", "check <&>"].map(|name| Distribution::of(name, &micros)).to_vec(),
            series: vec![
                series("accepted", "per second"),
                series("lag", "events"),
                series("delivered", "per second"),
            ],
            ..Written::default()
        }
    }

    /// Lines of two or more points in the color of a series: its path, and its mark in the legend.
    fn lines(svg: &str, number: usize) -> usize {
        let document = roxmltree::Document::parse(svg).expect("XML");
        let (red, green, blue) = Palette99::pick(number).rgb();
        let color = format!("#{red:02X}{green:02X}{blue:02X}");
        let lines = document.descendants().filter(|node| node.has_tag_name((SVG, "polyline")));
        lines.filter(|line| line.attribute("stroke") == Some(&color)).count()
    }

    const SVG: &str = "http://www.w3.org/2000/svg";

    #[test]
    fn each_unit_has_a_plot_and_each_series_a_path() {
        let written = written();
        let plots = plots("kill", &written);
        let files: Vec<&str> = plots.iter().map(|plot| plot.file.as_str()).collect();
        assert_eq!(files, ["kill-latency.svg", "kill-per-second.svg", "kill-events.svg"]);
        for (plot, series) in plots.iter().zip([2, 2, 1]) {
            let svg = plot.svg().expect("a plot");
            let paths: Vec<usize> = (0..3).map(|number| lines(&svg, number)).collect();
            let expected: Vec<usize> = (0..3).map(|number| if number < series { 2 } else { 0 }).collect();
            assert_eq!(paths, expected, "{}", plot.file);
        }
    }

    #[test]
    fn the_percentiles_are_named() {
        let written = written();
        let svg = plots("kill", &written).first().expect("a plot").svg().expect("a plot");
        let document = roxmltree::Document::parse(&svg).expect("XML");
        let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).map(str::trim).collect();
        for expected in ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "answer", "check <&>", "ms"] {
            assert!(texts.contains(&expected), "{expected}: {texts:?}");
        }
    }

    #[test]
    fn what_has_no_points_is_a_plot_without_lines() {
        let mut written = written();
        written.series.iter_mut().for_each(|series| series.points.clear());
        written.distributions.iter_mut().for_each(|distribution| distribution.percentiles.clear());
        for plot in plots("kill", &written) {
            let svg = plot.svg().expect("a plot");
            roxmltree::Document::parse(&svg).expect("XML");
        }
    }
}
