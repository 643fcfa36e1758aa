//! Golden pages.

use super::*;
use crate::report::document::Figure;
use crate::report::{Bound, Series};

fn machine() -> Machine {
    Machine {
        processor: "One CPU".to_owned(),
        processors: 2,
        sha_instructions: false,
        memory_bytes: (15 << 30) + (1 << 29),
        kernel: "Linux 6.8".to_owned(),
        disk: "unknown".to_owned(),
        file_system: "ext4".to_owned(),
        rustc: "rustc 1.90.0".to_owned(),
    }
}

fn goal(measured: Option<f64>, pass: bool) -> WrittenGoal {
    WrittenGoal {
        figure: "check_cpu".to_owned(),
        unit: "ratio".to_owned(),
        measured,
        spread: (measured.map(|value| value - 0.1), measured.map(|value| value + 0.1)),
        times: 5,
        goal: Bound::AtMost(1.25),
        pass,
    }
}

fn document(scenario: &str, written: Written) -> Document {
    Document {
        written: Written { scenario: scenario.to_owned(), ..written },
        command: format!("{scenario} --seed 1"),
        at: "2026-11-22T01:02:03Z".to_owned(),
        commit: Some("0123456789ab".to_owned()),
        machine: machine(),
    }
}

fn ceilings() -> Document {
    let distribution = Distribution {
        name: "answer".to_owned(),
        count: 2000,
        percentiles: vec![(50.0, 0.5), (90.0, 0.9), (99.0, 1.5), (99.9, 4.25), (100.0, 9.0)],
        hdr_histogram_micros: String::new(),
    };
    let written = Written {
        pass: false,
        goals: vec![goal(Some(1.3), false), goal(None, false)],
        failures: vec!["missed: check_cpu\nand why".to_owned()],
        figures: vec![
            Figure { name: "accepted".to_owned(), value: 7.into() },
            Figure { name: "mode".to_owned(), value: "a|b".into() },
            Figure { name: "codes".to_owned(), value: serde_json::json!({ "0": 7 }) },
            Figure {
                name: "arms".to_owned(),
                value: serde_json::json!({ "ours": { "p50": 1.5, "p99": 2 } }),
            },
            Figure { name: "rounds".to_owned(), value: serde_json::json!([{ "p50": 1.5 }]) },
            Figure { name: "turns".to_owned(), value: serde_json::json!([48.0, 83.5, 106]) },
            Figure { name: "seconds".to_owned(), value: vec![1; MOST_TURNS + 1].into() },
        ],
        distributions: vec![distribution],
        series: vec![Series::new("accepted", "per second", vec![(0.0, 1.0)])],
        parts: vec![Written { scenario: "arm".to_owned(), pass: true, ..Written::default() }],
        ..Written::default()
    };
    document("ceilings", written)
}

const MACHINE: &str = "| | |
|---|---|
| processor | One CPU |
| processors | 2 |
| SHA instructions | no |
| memory | 15.5 GiB |
| kernel | Linux 6.8 |
| disk | unknown |
| file system | ext4 |
| compiler | rustc 1.90.0 |
";

/// Of [`ceilings`], with `#` one level above its headings.
const BODY: &str = "
`ceilings --seed 1`, 2026-11-22T01:02:03Z, commit 0123456789ab

## Failures

- missed: check_cpu
  and why

## Goals

| figure | measured | spread | goal | |
|---|---|---|---|---|
| check_cpu | 1.300 ratio | 1.200 to 1.400, 5 times | ≤ 1.25 | **FAIL** |
| check_cpu | – ratio | – to –, 5 times | ≤ 1.25 | **FAIL** |

## Figures

| figure | value |
|---|---|
| accepted | 7 |
| mode | a\\|b |
| codes | 0: 7 |
| arms, ours | p50: 1.5, p99: 2 |
| turns | 48.0, 83.5, 106 |

## Latency

| ms | 50 % | 90 % | 99 % | 99.9 % | 99.99 % | max | of |
|---|---|---|---|---|---|---|---|
| answer | 0.5 | 0.9 | 1.5 | 4.25 | – | 9 | 2000 |

![Latency by percentile](ceilings-latency.svg)

![Over time: per second](ceilings-per-second.svg)

## arm: pass
";

#[test]
fn a_page_shows_failures_goals_figures_plots_parts_and_the_machine() {
    let expected = format!("# ceilings: **FAIL**\n{BODY}\n## Machine\n\n{MACHINE}");
    assert_eq!(page("ceilings", &ceilings()), expected);
}

#[test]
fn together_the_machine_and_all_goals_come_first() {
    let check = Written {
        pass: true,
        parts: vec![Written {
            scenario: "half".to_owned(),
            pass: true,
            goals: vec![goal(Some(1.0), true)],
            ..Written::default()
        }],
        ..Written::default()
    };
    let documents = [("ceilings".to_owned(), ceilings()), ("check-2".to_owned(), document("check", check))];
    let expected = format!(
        "# Results

| scenario | result | when | command |
|---|---|---|---|
| [ceilings](ceilings.md) | **FAIL** | 2026-11-22T01:02:03Z | `ceilings --seed 1` |
| [check](check-2.md) | pass | 2026-11-22T01:02:03Z | `check --seed 1` |

## Machine

{MACHINE}
## Goals

| scenario | figure | measured | spread | goal | |
|---|---|---|---|---|---|
| ceilings | check_cpu | 1.300 ratio | 1.200 to 1.400, 5 times | ≤ 1.25 | **FAIL** |
| ceilings | check_cpu | – ratio | – to –, 5 times | ≤ 1.25 | **FAIL** |
| check, half | check_cpu | 1.000 ratio | 0.900 to 1.100, 5 times | ≤ 1.25 | pass |

## ceilings: **FAIL**
{}
## check: pass

`check --seed 1`, 2026-11-22T01:02:03Z, commit 0123456789ab

### half: pass

#### Goals

| figure | measured | spread | goal | |
|---|---|---|---|---|
| check_cpu | 1.000 ratio | 0.900 to 1.100, 5 times | ≤ 1.25 | pass |
",
        BODY.replace("\n## ", "\n### ")
    );
    assert_eq!(together(&documents), expected);
}

#[test]
fn results_of_several_machines_are_told_apart() {
    let mut other = document("check", Written::default());
    other.machine.processors = 64;
    let documents = [
        ("ceilings".to_owned(), ceilings()),
        ("check".to_owned(), other),
        ("kill".to_owned(), document("kill", Written::default())),
    ];
    let text = together(&documents);
    assert!(text.contains("\n## Machine of ceilings, kill\n"), "{text}");
    assert!(text.contains("\n## Machine of check\n"), "{text}");
}
