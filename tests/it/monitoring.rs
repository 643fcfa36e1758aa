//! Rules, dashboards and the runbook beside the metrics that there are: nothing asks for what no process tells, and each
//! alert has its entry and a test in which it fires.
//!
//! The files are read as text. Whether Prometheus understands them is asked in `prometheus`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Labels that Prometheus makes.
const MADE: [&str; 7] = ["instance", "job", "le", "alertname", "alertstate", "severity", "process"];

/// A metric, as the document has it.
struct Metric {
    is_histogram: bool,
    labels: Vec<String>,
}

/// A metric that something asks for, with the labels that it compares.
#[derive(Debug)]
struct Asked {
    name: String,
    labels: Vec<String>,
}

/// An alert, as its file has it.
struct Alert {
    name: String,
    text: String,
}

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder under deploy that end so, by name.
fn files(folder: &str, end: &str) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(deploy(folder)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let paths = paths.filter(|path| path.to_string_lossy().ends_with(end));
    paths
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), read(&path)))
        .collect()
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':')
}

/// The names in a text, and whatever else looks like one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter| !is_of_name(letter)).filter(|word| !word.is_empty())
}

/// With two colons it is a target of the log.
fn is_of_metric(word: &str) -> bool {
    let prefixes = ["hookline_", "hookline:", "process_"];
    prefixes.iter().any(|prefix| word.starts_with(prefix)) && !word.contains("::")
}

/// The rows of the document's tables: the name in the first column, the labels in the one that is called so.
fn metrics() -> BTreeMap<String, Metric> {
    let (mut found, mut labels_column) = (BTreeMap::new(), None);
    for line in read(&deploy("METRICS.md")).lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').skip(1).map(str::trim).collect();
        let first = cells.first().copied().unwrap_or_default();
        if let Some(name) = first.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
            let labels =
                labels_column.and_then(|column: usize| cells.get(column)).copied().unwrap_or_default();
            let is_histogram = cells.contains(&"histogram");
            let labels = words(labels).map(str::to_owned).collect();
            found.insert(name.to_owned(), Metric { is_histogram, labels });
        } else if let Some(column) = cells.iter().position(|cell| cell.eq_ignore_ascii_case("labels")) {
            labels_column = Some(column);
        }
    }
    assert!(found.len() > 50, "the document is not as it was: {} metrics", found.len());
    found
}

/// What an expression asks for. Names in quotes are taken for names, too: none is meant to be there.
fn asked(expression: &str) -> Vec<Asked> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some((_, from_word)) = rest.find(is_of_name).and_then(|begin| rest.split_at_checked(begin)) {
        let end = from_word.find(|letter| !is_of_name(letter)).unwrap_or(from_word.len());
        let (word, behind) = from_word.split_at(end);
        rest = behind;
        if is_of_metric(word) {
            let compared = behind.strip_prefix('{').and_then(|inside| inside.split('}').next());
            let matchers = compared.unwrap_or_default().split(", ");
            let labels = matchers.filter_map(|matcher| words(matcher).next()).map(str::to_owned).collect();
            found.push(Asked { name: word.to_owned(), labels });
        }
    }
    found
}

/// The labels by which an expression groups and joins, and those that a text shows.
fn shown_labels(text: &str) -> Vec<&str> {
    let lists = ["by (", "on (", "group_left ("].into_iter().flat_map(|begin| {
        text.split(begin).skip(1).filter_map(|rest| rest.split(')').next()).flat_map(words)
    });
    let inserted = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).filter_map(|inside| {
        let inside = inside.trim().split(' ').next()?;
        inside.strip_prefix("$labels.").or_else(|| (!inside.starts_with('$')).then_some(inside))
    });
    lists.chain(inserted).collect()
}

/// The names that are not told, and the labels that they do not have.
fn unknown(expression: &str, known: &BTreeMap<String, Metric>, recorded: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for Asked { name, labels } in asked(expression) {
        if recorded.contains(&name) {
            continue;
        }
        // A histogram is told in parts, and anything else as a whole.
        let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let histogram = whole.and_then(|whole| known.get(whole)).filter(|metric| metric.is_histogram);
        let Some(metric) = histogram.or_else(|| known.get(&name).filter(|metric| !metric.is_histogram))
        else {
            wrong.push(name);
            continue;
        };
        let is_known = |label: &String| metric.labels.contains(label) || MADE.contains(&label.as_str());
        wrong
            .extend(labels.iter().filter(|label| !is_known(label)).map(|label| format!("{name}{{{label}}}")));
    }
    let all: BTreeSet<&str> = known.values().flat_map(|metric| &metric.labels).map(String::as_str).collect();
    let is_nobodys = |label: &&str| !all.contains(label) && !MADE.contains(label);
    wrong.extend(
        shown_labels(expression).into_iter().filter(is_nobodys).map(|label| format!("label {label}")),
    );
    wrong
}

/// The rules without what is no rule: comments, and the names of groups.
fn rules() -> String {
    let is_rule = |line: &&str| !line.trim_start().starts_with('#') && !line.starts_with("  - name:");
    let files = files("prometheus/rules", ".yml");
    files.values().flat_map(|text| text.lines().filter(is_rule)).collect::<Vec<_>>().join("\n")
}

fn recorded(rules: &str) -> BTreeSet<String> {
    let records = rules.split("- record: ").skip(1);
    records.filter_map(|rest| rest.lines().next()).map(str::to_owned).collect()
}

fn alerts() -> Vec<Alert> {
    let rules = rules();
    let texts = rules.split("- alert: ").skip(1).map(|rest| rest.split("groups:").next().unwrap_or(rest));
    let alerts = texts.map(|text| Alert {
        name: text.lines().next().expect("a name stands behind the word").to_owned(),
        text: text.to_owned(),
    });
    alerts.collect()
}

/// The strings under this key, wherever they stand.
fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| match value {
            Value::String(text) if name == key => found.push(text),
            _ => strings(value, key, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| strings(value, key, found)),
        _ => {}
    }
}

fn dashboards() -> BTreeMap<String, Value> {
    let files = files("grafana/dashboards", ".json");
    let parse = |text: &str| serde_json::from_str(text).expect("a dashboard is JSON");
    files.into_iter().map(|(name, text)| (name, parse(&text))).collect()
}

fn whole_runbook() -> String {
    read(&deploy("RUNBOOK.md"))
}

/// The section of the runbook that has an entry for each alert.
fn runbook() -> String {
    let text = whole_runbook();
    let (_, section) = text.split_once("## Alerts\n").expect("there is a section for alerts");
    section.split("\n## ").next().unwrap_or_default().to_owned()
}

#[test]
fn rules_ask_for_metrics_and_labels_that_there_are() {
    let (rules, known) = (rules(), metrics());
    let recorded = recorded(&rules);
    assert!(asked(&rules).len() > 100, "expressions were found");
    assert_eq!(unknown(&rules, &known, &recorded), Vec::<String>::new());
    let asked: BTreeSet<String> = asked(&rules).into_iter().map(|asked| asked.name).collect();
    let missing: Vec<_> =
        asked.iter().filter(|name| name.contains(':') && !recorded.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn dashboards_ask_for_metrics_and_labels_that_there_are() {
    let (known, recorded) = (metrics(), recorded(&rules()));
    for (name, dashboard) in dashboards() {
        let mut texts = Vec::new();
        strings(&dashboard, "expr", &mut texts);
        strings(&dashboard, "legendFormat", &mut texts);
        assert!(texts.len() > 10, "{name} has expressions");
        for text in texts {
            assert_eq!(unknown(text, &known, &recorded), Vec::<String>::new(), "{name}: {text}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    for (name, dashboard) in dashboards() {
        let text = |pointer: &str| dashboard.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        assert_eq!(text("/uid"), format!("hookline-{name}"), "links need a uid that stays");
        assert_eq!(text("/templating/list/0/type"), "datasource", "{name}");
        let panels = dashboard.get("panels").and_then(Value::as_array).expect("panels");
        let ids: BTreeSet<_> = panels.iter().filter_map(|panel| panel.get("id")?.as_u64()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}: each panel has a number of its own");
        for panel in panels {
            let text = |pointer: &str| panel.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            assert!(
                !text("/title").is_empty() && !text("/fieldConfig/defaults/unit").is_empty(),
                "{name}: {panel}"
            );
            assert_eq!(text("/datasource/uid"), "${datasource}", "{name}: {panel}");
        }
    }
}

#[test]
fn every_alert_names_its_urgency_its_runbook_entry_and_a_dashboard() {
    let dashboards = dashboards();
    let alerts = alerts();
    let names: BTreeSet<_> = alerts.iter().map(|alert| &alert.name).collect();
    assert_eq!(names.len(), alerts.len(), "each alert has a name of its own");
    for Alert { name, text } in &alerts {
        let value = |key: &str| text.split_once(key).and_then(|(_, rest)| rest.lines().next());
        assert!(matches!(value("severity: "), Some("page }" | "ticket }")), "{name}");
        assert!(value("summary: ").is_some() && value("description: ").is_some(), "{name}");
        let anchor = format!("RUNBOOK.md#{}", name.to_lowercase());
        assert_eq!(value("runbook_url: "), Some(anchor.as_str()), "{name}");
        let dashboard = value("dashboard: /d/hookline-").expect("a dashboard");
        assert!(dashboards.contains_key(dashboard), "{name}: {dashboard}");
    }
}

#[test]
fn every_alert_has_its_runbook_entry_and_every_entry_its_alert() {
    let alerts: BTreeSet<_> = alerts().into_iter().map(|alert| alert.name).collect();
    let runbook = runbook();
    let entries = runbook.split("\n### ").skip(1).filter_map(|entry| entry.lines().next());
    assert_eq!(entries.map(str::to_owned).collect::<BTreeSet<_>>(), alerts);
    let anchors: BTreeSet<_> = alerts.iter().map(|alert| alert.to_lowercase()).collect();
    let links = runbook.split("](#").skip(1).filter_map(|rest| rest.split(')').next());
    assert_eq!(links.filter(|link| !anchors.contains(*link)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn the_runbook_names_metrics_and_commands_that_there_are() {
    let (known, runbook) = (metrics(), whole_runbook());
    // People may name a histogram as a whole.
    let histograms = known.iter().filter(|(_, metric)| metric.is_histogram).map(|(name, _)| name.clone());
    let recorded: BTreeSet<String> = recorded(&rules()).into_iter().chain(histograms).collect();
    // Blocks are between backticks, too, and are of the shell.
    let quoted: Vec<&str> =
        runbook.split('`').skip(1).step_by(2).filter(|text| !text.contains('\n')).collect();
    assert!(quoted.len() > 300, "the runbook was read to its end: {}", quoted.len());
    for text in quoted.iter().filter(|text| !text.starts_with("hookline ")) {
        assert_eq!(unknown(text, &known, &recorded), Vec::<String>::new(), "{text}");
    }
    let help =
        std::process::Command::new(crate::bench::PROGRAM).arg("--help").output().expect("hookline runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for command in quoted.iter().filter_map(|text| text.strip_prefix("hookline ")) {
        let name = command.split(' ').next().unwrap_or_default();
        assert!(help.lines().any(|line| line.trim().split(' ').next() == Some(name)), "{command}");
    }
}

#[test]
fn every_alert_fires_in_a_test_of_its_rule() {
    let tests: String = files("prometheus/tests", ".yml").into_values().collect();
    let silent: Vec<_> = alerts()
        .into_iter()
        .map(|alert| alert.name)
        .filter(|name| !tests.contains(&format!("labels: '{{alertname=\"{name}\"")))
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}
