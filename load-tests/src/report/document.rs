//! A report as it stands in a file: with the machine, the command, and the raw data of its plots. Pure.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Machine;
use super::series::Series;
use super::{Bound, Goal, Report, rounded};

/// Options of the command line that say where things are on this machine, or how to print.
const LOCAL_OPTIONS: [&str; 4] = ["--hookline", "--work-dir", "--report", "--report-name"];
/// Points of a percentile curve between 90 and 99 %, between 99 and 99.9 %, and so on.
const POINTS_PER_NINE: u32 = 10;

/// A file of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Document {
    /// What came out.
    #[serde(flatten)]
    pub(super) written: Written,
    /// By which command, without what names places of the machine.
    pub(super) command: String,
    /// When it was over.
    pub(super) at: String,
    /// Of which commit the load tests were, if it is known.
    pub(super) commit: Option<String>,
    /// Where.
    pub(super) machine: Machine,
}

/// A [`Report`] that can be read again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) scenario: String,
    pub(super) pass: bool,
    pub(super) goals: Vec<WrittenGoal>,
    pub(super) failures: Vec<String>,
    /// In their order.
    pub(super) figures: Vec<Figure>,
    pub(super) distributions: Vec<Distribution>,
    pub(super) series: Vec<Series>,
    pub(super) parts: Vec<Written>,
}

/// `from_entries` of jq makes an object of a list of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) value: Value,
}

/// A [`Goal`]; what is not a number is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WrittenGoal {
    pub(super) figure: String,
    pub(super) unit: String,
    pub(super) measured: Option<f64>,
    pub(super) spread: (Option<f64>, Option<f64>),
    pub(super) times: usize,
    pub(super) goal: Bound,
    pub(super) pass: bool,
}

/// A histogram of latencies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Distribution {
    pub(super) name: String,
    pub(super) count: u64,
    /// Percentiles and milliseconds; the last is the slowest of all, at 100.
    pub(super) percentiles: Vec<(f64, f64)>,
    /// All of it, in microseconds, as `HdrHistogram`'s tools read it: V2, deflated, in base64.
    pub(super) hdr_histogram_micros: String,
}

impl Written {
    /// With everything that a report has.
    pub(super) fn of(report: &Report) -> Self {
        let figure =
            |(name, value): &(&str, Value)| Figure { name: (*name).to_owned(), value: value.clone() };
        let histograms = report.histograms.iter().filter(|(_, histogram)| !histogram.is_empty());
        Self {
            scenario: report.scenario.to_owned(),
            pass: report.pass,
            goals: report.goals.iter().map(WrittenGoal::of).collect(),
            failures: report.failures.clone(),
            figures: report.figures.iter().map(figure).collect(),
            distributions: histograms.map(|(name, histogram)| Distribution::of(name, histogram)).collect(),
            series: report.series.clone(),
            parts: report.parts.iter().map(Self::of).collect(),
        }
    }
}

impl WrittenGoal {
    fn of(goal: &Goal) -> Self {
        let number = |value: f64| value.is_finite().then_some(value);
        Self {
            figure: goal.figure.to_owned(),
            unit: goal.unit.to_owned(),
            measured: number(goal.measured),
            spread: (number(goal.spread.0), number(goal.spread.1)),
            times: goal.times,
            goal: goal.goal,
            pass: goal.pass,
        }
    }
}

impl Distribution {
    /// Of microseconds.
    pub(super) fn of(name: &str, micros: &Histogram<u64>) -> Self {
        let mut raw = Vec::new();
        let serialized = V2DeflateSerializer::new().serialize(micros, &mut raw);
        serialized.expect("memory takes all that is written to it");
        Self {
            name: name.to_owned(),
            count: micros.len(),
            percentiles: percentiles(micros),
            hdr_histogram_micros: BASE64_STANDARD.encode(raw),
        }
    }

    /// Milliseconds at a percentile, if there are values enough to tell.
    pub(super) fn at(&self, percentile: f64) -> Option<f64> {
        let found = self.percentiles.iter().find(|(at, _)| (at - percentile).abs() < 1e-6);
        found.map(|(_, millis)| *millis)
    }
}

/// The median, and a curve: closer and closer to 100, as far as the count of values tells, and then the maximum.
fn percentiles(micros: &Histogram<u64>) -> Vec<(f64, f64)> {
    let millis = |micros: u64| rounded(Duration::from_micros(micros).as_secs_f64() * 1000.0);
    let count = f64::from(u32::try_from(micros.len()).unwrap_or(u32::MAX));
    let one_in = (0..).map(|point| 10_f64.powf(f64::from(point) / f64::from(POINTS_PER_NINE)));
    let told = one_in.take_while(|one_in| *one_in <= count);
    let mut quantiles: Vec<f64> = told.map(|one_in| 1.0 - 1.0 / one_in).chain([0.5]).collect();
    quantiles.sort_by(f64::total_cmp);
    let point = |quantile: f64| {
        let percentile = (quantile * 1e8).round() / 1e6;
        (percentile, millis(micros.value_at_quantile(quantile)))
    };
    quantiles.into_iter().map(point).chain([(100.0, millis(micros.max()))]).collect()
}

/// A command line without what names places of this machine, or could be a secret: names of options, numbers and
/// plain words stay.
pub(super) fn command(arguments: impl IntoIterator<Item = String>) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut is_left_out = false;
    for argument in arguments {
        let (name, value) = argument.split_once('=').map_or((argument.as_str(), None), |(n, v)| (n, Some(v)));
        if std::mem::take(&mut is_left_out) || argument == "--json" {
            continue;
        }
        if LOCAL_OPTIONS.contains(&name) {
            is_left_out = value.is_none();
            continue;
        }
        told.push(if is_plain(name) { name.to_owned() } else { "…".to_owned() });
        told.extend(value.map(|value| if is_plain(value) { value.to_owned() } else { "…".to_owned() }));
    }
    told.join(" ")
}

fn is_plain(word: &str) -> bool {
    let is_number = word.parse::<f64>().is_ok();
    let is_word = word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
    is_number || (is_word && word.len() <= 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::histogram;

    #[test]
    fn a_command_tells_neither_places_nor_secrets() {
        for (line, expected) in [
            ("kill --log kafka --cycles 30", "kill --log kafka --cycles 30"),
            ("--json kill --report /tmp/a --hookline=/b --cycles=30", "kill --cycles 30"),
            (
                "steady --work-dir /data --minutes 10 --duplicates 0.05",
                "steady --minutes 10 --duplicates 0.05",
            ),
            ("peers --svix http://127.0.0.1:8071 --token aB3dE", "peers --svix … --token …"),
        ] {
            assert_eq!(command(line.split(' ').map(str::to_owned)), expected);
        }
    }

    #[test]
    fn a_curve_goes_as_far_as_its_values_tell() {
        let mut micros = histogram();
        (1..=1000).for_each(|milli| micros.saturating_record(milli * 1000));
        let distribution = Distribution::of("answer", &micros);
        let at = |percentile| distribution.at(percentile).map(f64::round);
        assert_eq!(
            [50.0, 90.0, 99.0, 99.9, 99.99, 100.0].map(at),
            [Some(500.0), Some(900.0), Some(990.0), Some(999.0), None, Some(1000.0)],
            "{distribution:?}"
        );
        assert!(distribution.percentiles.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1));
    }

    #[test]
    fn the_raw_data_are_the_whole_histogram() {
        let mut micros = histogram();
        [70, 70, 9_000_000].into_iter().for_each(|value| micros.saturating_record(value));
        let distribution = Distribution::of("answer", &micros);
        let raw = BASE64_STANDARD.decode(distribution.hdr_histogram_micros).expect("base64");
        let read: Histogram<u64> =
            hdrhistogram::serialization::Deserializer::new().deserialize(&mut raw.as_slice()).expect("V2");
        assert_eq!(read, micros);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut report = Report::of_measurements("check");
        report.figure("z_first", 7);
        report.figure("a_second", "text");
        report.goal(Goal::judge("check_p99", "ms", &[0.5, 0.7, 0.6], Bound::AtMost(1.0)));
        report.goal(Goal::judge("never", "ms", &[], Bound::AtMost(1.0)));
        report.series.push(Series::new("accepted", "per second", vec![(0.0, 1.0), (1.0, 2.5)]));
        let mut micros = histogram();
        micros.saturating_record(1234);
        report.histograms.push(("answer".to_owned(), micros));
        report.parts = vec![Report::of_measurements("part")];
        let written = Written::of(&report);
        let text = serde_json::to_string(&written).expect("JSON");
        assert_eq!(serde_json::from_str::<Written>(&text).expect("a report"), written);
        let names: Vec<&str> = written.figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names, ["z_first", "a_second"]);
        assert_eq!((written.goals.len(), written.pass, written.parts.len()), (2, false, 1));
    }
}
