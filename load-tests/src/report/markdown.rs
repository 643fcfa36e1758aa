//! Reports as Markdown: one, or those of a directory together. Pure.

use std::fmt::Write as _;

use serde_json::Value;

use super::document::{Distribution, Document, Written, WrittenGoal};
use super::machine::Machine;
use super::plot;

/// Percentiles that a table shows; the last is the maximum.
const PERCENTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0];

/// A list of at most so many numbers is one of turns.
const MOST_TURNS: usize = 10;

/// One report with everything; `stem` begins the names of its plots.
pub(super) fn page(stem: &str, document: &Document) -> String {
    let mut text = String::new();
    add_heading(&mut text, 1, &document.written);
    add_origin(&mut text, document);
    add_body(&mut text, 2, stem, &document.written);
    let _ = write!(text, "\n## Machine\n\n{}", machine_table(&document.machine));
    text
}

/// All of a directory, each with the stem of its files.
pub(super) fn together(documents: &[(String, Document)]) -> String {
    let mut text = "# Results\n\n| scenario | result | when | command |\n|---|---|---|---|\n".to_owned();
    for (stem, document) in documents {
        let Document { written, command, at, .. } = document;
        let name = &written.scenario;
        let _ = writeln!(
            text,
            "| [{name}]({stem}.md) | {} | {at} | `{}` |",
            verdict(written.pass),
            cell(command)
        );
    }
    add_machines(&mut text, documents);
    let goals =
        documents.iter().flat_map(|(_, document)| all_goals(&document.written.scenario, &document.written));
    let rows: Vec<String> =
        goals.map(|(scenario, goal)| format!("| {scenario} {}", goal_row(goal))).collect();
    if !rows.is_empty() {
        text +=
            "\n## Goals\n\n| scenario | figure | measured | spread | goal | |\n|---|---|---|---|---|---|\n";
        rows.iter().for_each(|row| text += row);
    }
    for (stem, document) in documents {
        text.push('\n');
        add_heading(&mut text, 2, &document.written);
        add_origin(&mut text, document);
        add_body(&mut text, 3, stem, &document.written);
    }
    text
}

fn all_goals<'a>(scenario: &str, written: &'a Written) -> Vec<(String, &'a WrittenGoal)> {
    let own = written.goals.iter().map(|goal| (scenario.to_owned(), goal));
    let parts = written.parts.iter();
    own.chain(parts.flat_map(|part| all_goals(&format!("{scenario}, {}", part.scenario), part))).collect()
}

/// One table where all ran on one machine; else one for each, with the scenarios that ran there.
fn add_machines(text: &mut String, documents: &[(String, Document)]) {
    let mut machines: Vec<(&Machine, Vec<&str>)> = Vec::new();
    for (_, Document { written, machine, .. }) in documents {
        match machines.iter_mut().find(|(known, _)| *known == machine) {
            Some((_, scenarios)) => scenarios.push(&written.scenario),
            None => machines.push((machine, vec![&written.scenario])),
        }
    }
    let are_several = machines.len() > 1;
    for (machine, scenarios) in machines {
        let of = if are_several { format!(" of {}", scenarios.join(", ")) } else { String::new() };
        let _ = write!(text, "\n## Machine{of}\n\n{}", machine_table(machine));
    }
}

fn machine_table(machine: &Machine) -> String {
    let sha = if machine.sha_instructions { "yes" } else { "no" };
    // Tenths of a GiB, as people speak of memory.
    let tenths = (machine.memory_bytes * 10) >> 30;
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (name, value) in [
        ("processor", machine.processor.clone()),
        ("processors", machine.processors.to_string()),
        ("SHA instructions", sha.to_owned()),
        ("memory", format!("{}.{} GiB", tenths / 10, tenths % 10)),
        ("kernel", machine.kernel.clone()),
        ("disk", machine.disk.clone()),
        ("file system", machine.file_system.clone()),
        ("compiler", machine.rustc.clone()),
    ] {
        let _ = writeln!(text, "| {name} | {} |", cell(&value));
    }
    text
}

fn add_heading(text: &mut String, level: usize, written: &Written) {
    let _ = writeln!(text, "{} {}: {}", "#".repeat(level.min(6)), written.scenario, verdict(written.pass));
}

fn add_origin(text: &mut String, document: &Document) {
    let Document { command, at, commit, .. } = document;
    let of = commit.as_ref().map_or_else(String::new, |commit| format!(", commit {commit}"));
    let _ = writeln!(text, "\n`{}`, {at}{of}", cell(command));
}

fn add_body(text: &mut String, level: usize, stem: &str, written: &Written) {
    let headed = |text: &mut String, title: &str| {
        let _ = writeln!(text, "\n{} {title}\n", "#".repeat(level.min(6)));
    };
    if !written.failures.is_empty() {
        headed(text, "Failures");
        written.failures.iter().for_each(|failure| add_failure(text, failure));
    }
    if !written.goals.is_empty() {
        headed(text, "Goals");
        *text += "| figure | measured | spread | goal | |\n|---|---|---|---|---|\n";
        written.goals.iter().for_each(|goal| *text += &goal_row(goal));
    }
    if !written.figures.is_empty() {
        headed(text, "Figures");
        *text += "| figure | value |\n|---|---|\n";
        written.figures.iter().for_each(|figure| add_figure(text, &figure.name, &figure.value));
    }
    if !written.distributions.is_empty() {
        headed(text, "Latency");
        *text +=
            "| ms | 50 % | 90 % | 99 % | 99.9 % | 99.99 % | max | of |\n|---|---|---|---|---|---|---|---|\n";
        written.distributions.iter().for_each(|distribution| *text += &distribution_row(distribution));
    }
    for plot in plot::plots(stem, written) {
        let _ = writeln!(text, "\n![{}]({})", plot.title, plot.file);
    }
    for (part_stem, part) in parts(stem, written) {
        text.push('\n');
        add_heading(text, level, part);
        add_body(text, level + 1, &part_stem, part);
    }
}

/// A number is a row, and so is each number of what has several under their names, and a short list of them: one of each
/// turn. Other lists are raw data, which the JSON has.
fn add_figure(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Array(turns) if turns.len() <= MOST_TURNS && turns.iter().all(Value::is_number) => {
            let turns: Vec<_> = turns.iter().map(Value::to_string).collect();
            let _ = writeln!(text, "| {name} | {} |", turns.join(", "));
        }
        Value::Array(_) => {}
        Value::Object(members) if members.values().any(Value::is_object) => {
            members.iter().for_each(|(member, value)| add_figure(text, &format!("{name}, {member}"), value));
        }
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(member, value)| format!("{member}: {value}")).collect();
            let _ = writeln!(text, "| {name} | {} |", cell(&members.join(", ")));
        }
        Value::String(value) => {
            let _ = writeln!(text, "| {name} | {} |", cell(value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = writeln!(text, "| {name} | {value} |");
        }
    }
}

/// The parts of a report with the stems of their plots.
pub(super) fn parts<'a>(stem: &str, written: &'a Written) -> impl Iterator<Item = (String, &'a Written)> {
    let numbered = (1..).zip(&written.parts);
    numbered.map(move |(number, part)| (format!("{stem}-{number}-{}", plot::slug(&part.scenario)), part))
}

/// What a process said last may have many lines.
fn add_failure(text: &mut String, failure: &str) {
    let _ = writeln!(text, "- {}", failure.lines().collect::<Vec<_>>().join("\n  "));
}

fn goal_row(goal: &WrittenGoal) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let WrittenGoal { figure, unit, measured, spread: (lowest, highest), times, goal, pass } = goal;
    let (lowest, highest, measured) = (number(*lowest), number(*highest), number(*measured));
    let verdict = verdict(*pass);
    format!("| {figure} | {measured} {unit} | {lowest} to {highest}, {times} times | {goal} | {verdict} |\n")
}

fn distribution_row(distribution: &Distribution) -> String {
    let value = |percentile| distribution.at(percentile).map_or_else(|| "–".to_owned(), |at| at.to_string());
    let values = PERCENTILES.map(value).join(" | ");
    format!("| {} | {values} | {} |\n", distribution.name, distribution.count)
}

const fn verdict(pass: bool) -> &'static str {
    if pass { "pass" } else { "**FAIL**" }
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
#[path = "markdown_tests.rs"]
mod tests;
