//! `deploy/METRICS.md`, made from the tables.

use std::fmt::Write;
use std::fs;

use metrics::Unit;

use super::{Table, tables};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/METRICS.md");

/// Set to anything, it rewrites the file instead of comparing it.
const UPDATE: &str = "UPDATE_METRICS";

const HEAD: &str = "\
# Metrics

`GET /metrics` at the admin address of each process, as Prometheus reads it. This page is made from the tables in the
code, and a test compares both. Labels are bounded: they never hold an address, a payment or a client. A histogram has
the series `_bucket`, `_sum` and `_count`; its borders in seconds lie between 100 µs and a day, with one at each
objective: 0.1 for Checks, 5 for deliveries. A series is there once something has been measured.
";

fn document() -> String {
    let mut text = HEAD.to_owned();
    for Table { title, about, metrics } in tables() {
        write!(text, "\n## {title}\n\n{about}\n\n| name | kind | unit | labels | what it says |\n")
            .expect("a text");
        text.push_str("|---|---|---|---|---|\n");
        for metric in metrics {
            let unit = match metric.unit() {
                Unit::Seconds => "seconds",
                Unit::Bytes => "bytes",
                _ => "–",
            };
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(" ") };
            let (name, kind, help) = (metric.name, metric.kind.as_str(), metric.help);
            writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help} |").expect("a text");
        }
    }
    text
}

#[test]
fn the_document_says_what_the_tables_say() {
    let expected = document();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(FILE, &expected).expect("the file can be written");
    }
    let file = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        file == expected,
        "deploy/METRICS.md is not what the tables say: metrics have changed. If that is meant, run the test again with \
         {UPDATE}=1 and read the difference as an operator would, whose rules and dashboards go by these names."
    );
}

#[test]
fn every_metric_is_there_once_and_named_as_it_must() {
    let mut names = std::collections::BTreeSet::new();
    for metric in tables().flat_map(|table| table.metrics) {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        let is_counter = metric.kind == hookline_telemetry::Kind::Counter;
        assert_eq!(name.ends_with("_total"), is_counter, "{name}");
        assert!(
            !metric.help.is_empty() && !metric.help.contains(['|', '\n', '\\']),
            "{name}: {}",
            metric.help
        );
    }
}
