//! What a person and a script get to see: progress on stderr, a summary and one JSON line on stdout, and files with
//! tables, plots and raw data where they are asked for.

mod document;
pub mod files;
mod goal;
mod machine;
mod markdown;
mod plot;
mod series;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use hookline_schemas::time::Clock;
use serde_json::{Map, Value};

use crate::checker::Verdict;
pub use goal::{Bound, Goal};
pub use series::Series;

/// The outcome of a scenario.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which scenario.
    pub scenario: &'static str,
    /// Whether it passed.
    pub pass: bool,
    /// Numbers, in the order in which they are shown.
    pub figures: Vec<(&'static str, Value)>,
    /// Figures that have a goal.
    pub goals: Vec<Goal>,
    /// Why it did not pass.
    pub failures: Vec<String>,
    /// What changed over time; for a plot.
    pub series: Vec<Series>,
    /// Latencies in microseconds, by name; for a plot, and as raw data.
    pub histograms: Vec<(String, Histogram<u64>)>,
    /// The reports of its parts, where it has some.
    pub parts: Vec<Report>,
}

impl Report {
    /// Begins with what the checker says; [`Report::require`] may still fail it.
    pub fn new(scenario: &'static str, verdict: &Verdict) -> Self {
        let mut report = Self {
            pass: verdict.pass,
            failures: verdict.notes.clone(),
            ..Self::of_parts(scenario, Vec::new())
        };
        for (name, value) in [
            ("accepted", verdict.accepted),
            ("expected_deliveries", verdict.expected_deliveries),
            ("delivered", verdict.delivered),
            ("lost", verdict.lost),
            ("copies", verdict.copies),
            ("copies_after_disturbance", verdict.copies_after_disturbance),
            ("copies_of_replans", verdict.copies_of_replans),
            ("copies_of_reposts", verdict.copies_of_reposts),
            ("copies_unexplained", verdict.copies_unexplained),
            ("out_of_order", verdict.out_of_order),
            ("bad_signatures", verdict.bad_signatures),
            ("malformed", verdict.malformed),
            ("unexpected", verdict.unexpected),
            ("checks_unanswered", verdict.checks_unanswered),
            ("given_up", verdict.given_up),
        ] {
            report.figure(name, value);
        }
        let codes = verdict.checks_by_code.iter().map(|(code, count)| (code.to_string(), (*count).into()));
        report.figure("checks_by_code", Value::Object(codes.collect()));
        let refused: u64 =
            verdict.checks_by_code.iter().filter(|(code, _)| **code != 0).map(|(_, count)| count).sum();
        report.require(refused == 0, || format!("{refused} Checks were refused"));
        report.require(verdict.given_up == 0, || format!("{} notifications given up", verdict.given_up));
        report
    }

    /// Of measurements alone: there was nothing that could be lost. It fails with its first missed goal.
    pub fn of_measurements(scenario: &'static str) -> Self {
        Self { pass: true, ..Self::of_parts(scenario, Vec::new()) }
    }

    /// Of several parts; passes if each of them did.
    pub fn of_parts(scenario: &'static str, parts: Vec<Self>) -> Self {
        let pass = !parts.is_empty() && parts.iter().all(|part| part.pass);
        Self {
            scenario,
            pass,
            figures: Vec::new(),
            goals: Vec::new(),
            failures: Vec::new(),
            series: Vec::new(),
            histograms: Vec::new(),
            parts,
        }
    }

    /// Adds a number.
    pub fn figure(&mut self, name: &'static str, value: impl Into<Value>) {
        self.figures.push((name, value.into()));
    }

    /// Adds the percentiles of a histogram of microseconds, in milliseconds, and keeps it under what stands before
    /// `_p50` in the first name.
    pub fn latency(&mut self, names: [&'static str; 3], micros: &Histogram<u64>) {
        for (name, quantile) in names.into_iter().zip([0.5, 0.99, 0.999]) {
            let value = Duration::from_micros(micros.value_at_quantile(quantile));
            self.figure(name, rounded(value.as_secs_f64() * 1000.0));
        }
        let [median, ..] = names;
        let name = median.split_once("_p50").map_or(median, |(name, _)| name);
        self.histograms.push((name.to_owned(), micros.clone()));
    }

    /// Adds a figure that has a goal; the scenario fails unless it is reached.
    pub fn goal(&mut self, goal: Goal) {
        self.require(goal.pass, || format!("missed: {goal}"));
        self.goals.push(goal);
    }

    /// Fails the scenario unless this holds.
    pub fn require(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.pass = false;
            self.failures.push(otherwise());
        }
    }

    /// For a person.
    pub fn summary(&self) -> String {
        let mut text = format!("{}: {}\n", self.scenario, if self.pass { "PASS" } else { "FAIL" });
        // Raw data are for scripts alone.
        for (name, value) in self.figures.iter().filter(|(name, _)| !name.ends_with("rounds")) {
            let _ = writeln!(text, "  {name:<38} {value}");
        }
        for goal in &self.goals {
            let _ = writeln!(text, "  {goal}");
        }
        for failure in &self.failures {
            let _ = writeln!(text, "  ! {failure}");
        }
        text.extend(self.parts.iter().map(Self::summary));
        text
    }

    /// For a script: one line.
    pub fn json(&self) -> String {
        self.to_value().to_string()
    }

    fn to_value(&self) -> Value {
        let mut object: Map<String, Value> =
            self.figures.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        object.insert("scenario".to_owned(), self.scenario.into());
        object.insert("pass".to_owned(), self.pass.into());
        object.insert("failures".to_owned(), self.failures.clone().into());
        if !self.goals.is_empty() {
            object
                .insert("goals".to_owned(), self.goals.iter().map(|goal| serde_json::json!(goal)).collect());
        }
        if !self.parts.is_empty() {
            object.insert("parts".to_owned(), self.parts.iter().map(Self::to_value).collect());
        }
        Value::Object(object)
    }

    /// Prints the summary, and with `json` the JSON as the last line.
    #[expect(clippy::print_stdout, reason = "the report is what the command line is for")]
    pub fn print(&self, json: bool) {
        print!("{}", self.summary());
        if json {
            println!("{}", self.json());
        }
    }
}

/// Three digits behind the dot are enough for any figure.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Waits for something, with a line on stderr every second, until a deadline.
///
/// # Errors
///
/// Its own error, or that the deadline has passed; it is dropped then.
pub async fn watched<T>(
    clock: Clock,
    deadline: Duration,
    mut line: impl FnMut() -> String,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut work = std::pin::pin!(work);
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = seconds.tick() => {
                let now = clock.elapsed();
                eprintln!("{:>5.0} s  {}", now.as_secs_f64(), line());
                if now >= deadline {
                    bail!("not over after {:.0} s", deadline.as_secs_f64());
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn passing() -> Verdict {
        Verdict { pass: true, accepted: 7, checks_by_code: [(0, 7)].into(), ..Verdict::default() }
    }

    #[test]
    fn the_json_is_one_line_with_scenario_pass_and_figures() {
        let mut report = Report::new("steady", &passing());
        report.figure("accepted_per_second", rounded(1234.56789));
        let line = report.json();
        assert!(!line.contains('\n'));
        let object: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(object["scenario"], "steady");
        assert_eq!(object["pass"], true);
        assert_eq!(object["accepted"], 7);
        assert_eq!(object["accepted_per_second"], 1234.568);
        assert_eq!(object["checks_by_code"]["0"], 7);
    }

    #[test]
    fn refused_checks_and_given_up_notifications_fail_a_run_that_delivered_all() {
        for (verdict, pass) in [
            (passing(), true),
            (Verdict { checks_by_code: [(0, 7), (13, 1)].into(), ..passing() }, false),
            (Verdict { given_up: 1, ..passing() }, false),
            (Verdict { checks_unanswered: 5, ..passing() }, true),
            (Verdict { pass: false, ..passing() }, false),
        ] {
            assert_eq!(Report::new("kill", &verdict).pass, pass, "{verdict:?}");
        }
    }

    #[test]
    fn a_scenario_of_parts_passes_if_each_of_them_does() {
        let part = |pass| Report::new("leader", &Verdict { pass, ..passing() });
        for (parts, pass) in
            [(vec![part(true), part(true)], true), (vec![part(true), part(false)], false), (vec![], false)]
        {
            let report = Report::of_parts("kafka-faults", parts);
            assert_eq!(report.pass, pass);
            let object: Value = serde_json::from_str(&report.json()).expect("JSON");
            assert_eq!((&object["scenario"], &object["pass"]), (&"kafka-faults".into(), &pass.into()));
            for (part, expected) in report.parts.iter().enumerate() {
                assert_eq!(object["parts"][part]["accepted"], 7);
                assert_eq!(object["parts"][part]["pass"], expected.pass);
            }
        }
    }

    #[test]
    fn latencies_are_in_milliseconds() {
        let mut micros = crate::simulator::histogram();
        (1..=1000).for_each(|milli| micros.saturating_record(milli * 1000));
        let mut report = Report::new("steady", &passing());
        report.latency(["p50", "p99", "p999"], &micros);
        let figure = |name| report.figures.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        let p50 = figure("p50").and_then(Value::as_f64).expect("a figure");
        assert!((499.0..502.0).contains(&p50), "{p50}");
        report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &micros);
        let kept: Vec<_> = report.histograms.iter().map(|(name, kept)| (name.as_str(), kept.len())).collect();
        assert_eq!(kept, [("p50", 1000), ("answer", 1000)]);
    }

    #[tokio::test]
    async fn a_deadline_ends_what_does_not_end_by_itself() {
        let clock = Clock::start();
        let endless =
            watched(clock, Duration::ZERO, String::new, std::future::pending::<anyhow::Result<()>>());
        assert!(endless.await.is_err());
        let quick = watched(clock, Duration::ZERO, String::new, async { Ok(7) });
        assert_eq!(quick.await.expect("a result"), 7);
    }
}
