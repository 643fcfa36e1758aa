//! Reports in a directory: JSON with the raw data, Markdown and plots of each, and a page of all of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hookline_schemas::time::Clock;

use super::Report;
use super::document::{self, Document, Written};
use super::machine::{self, Machine};
use super::{markdown, plot};

/// Where the files of a run go.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Write the report into this directory: JSON, Markdown and plots
    #[arg(long = "report", id = "report_directory", global = true, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// What the names of these files begin with; without it the scenario's name
    #[arg(long = "report-name", global = true, value_name = "NAME", requires = "report_directory", value_parser = parse_stem)]
    pub name: Option<String>,
}

/// The reports of which one page is made.
#[derive(Debug, Clone, clap::Args)]
pub struct Together {
    /// Where `--report` has written them
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// A name of a file that neither leaves the directory nor breaks a link.
fn parse_stem(text: &str) -> Result<String, String> {
    let is_stem = !text.is_empty() && plot::slug(text) == text;
    is_stem.then(|| text.to_owned()).ok_or_else(|| "small letters, digits and single dashes".to_owned())
}

impl Options {
    /// Writes the files of a report, if they are asked for; all of them are whole once this returns. The directory is
    /// made where it is missing; what stood there under the same names is written over.
    ///
    /// # Errors
    ///
    /// If one can't be written.
    pub fn write(&self, report: &Report, work_dir: &Path) -> anyhow::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let document = Document {
            written: Written::of(report),
            command: document::command(std::env::args().skip(1)),
            at: Clock::start().wall().to_rfc3339(),
            commit: machine::commit(),
            machine: Machine::describe(work_dir),
        };
        let stem = self.name.clone().unwrap_or_else(|| plot::slug(report.scenario));
        write(directory, &stem, &document)?;
        eprintln!("the report is {}", directory.join(format!("{stem}.md")).display());
        Ok(())
    }
}

fn write(directory: &Path, stem: &str, document: &Document) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let mut json = serde_json::to_string_pretty(document)?;
    json.push('\n');
    write_file(directory, &format!("{stem}.json"), &json)?;
    write_file(directory, &format!("{stem}.md"), &markdown::page(stem, document))?;
    write_plots(directory, stem, &document.written)
}

fn write_plots(directory: &Path, stem: &str, written: &Written) -> anyhow::Result<()> {
    for plot in plot::plots(stem, written) {
        write_file(directory, &plot.file, &plot.svg()?)?;
    }
    markdown::parts(stem, written).try_for_each(|(stem, part)| write_plots(directory, &stem, part))
}

fn write_file(directory: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = directory.join(name);
    std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// Makes README.md of all reports of a directory; what it says of them passes if each of them did.
///
/// # Errors
///
/// If there is none, or one can't be read, or the page can't be written.
pub fn put_together(options: &Together) -> anyhow::Result<Report> {
    let documents = read(&options.directory)?;
    ensure!(!documents.is_empty(), "there are no reports in {}", options.directory.display());
    write_file(&options.directory, "README.md", &markdown::together(&documents))?;
    let mut report = Report::of_measurements("report");
    report.figure("reports", documents.len());
    for (stem, document) in &documents {
        report.require(document.written.pass, || format!("{stem} did not pass"));
    }
    Ok(report)
}

/// Each with the stem of its files, in the order of these.
fn read(directory: &Path) -> anyhow::Result<Vec<(String, Document)>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))?;
    let mut documents = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let document = serde_json::from_str(&text);
        let document = document.with_context(|| format!("{} is no report", path.display()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        documents.push((stem, document));
    }
    documents.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::report::{Bound, Goal, Series};

    fn report(scenario: &'static str) -> Report {
        let mut report = Report::of_measurements(scenario);
        report.goal(Goal::judge("cpu_ratio", "ratio", &[1.1, 1.2, 1.3], Bound::AtMost(1.25)));
        report.series.push(Series::new("accepted", "per second", vec![(0.0, 1.0), (1.0, 2.0)]));
        let mut micros = crate::simulator::histogram();
        micros.saturating_record(1500);
        report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &micros);
        report
    }

    fn names(directory: &Path) -> BTreeSet<String> {
        let entries = std::fs::read_dir(directory).expect("a directory").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn every_plot_that_a_page_shows_is_written_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let results = directory.path().join("results");
        let mut whole = report("ceilings");
        whole.parts = vec![report("arm"), report("arm")];
        let options = Options { directory: Some(results.clone()), name: None };
        options.write(&whole, directory.path()).expect("files");
        let named = Options { name: Some("ceilings-kafka".to_owned()), ..options };
        named.write(&report("ceilings"), directory.path()).expect("files");
        let together = Together { directory: results.clone() };
        assert!(put_together(&together).expect("a page").pass);

        let files = names(&results);
        assert_eq!(files.iter().filter(|name| name.ends_with(".svg")).count(), 8, "{files:?}");
        for page in ["README.md", "ceilings.md", "ceilings-kafka.md"] {
            let text = std::fs::read_to_string(results.join(page)).expect("a page");
            let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            assert!(links.into_iter().all(|link| files.contains(link)), "{page}: {text}");
            assert!(!text.contains(&*directory.path().to_string_lossy()), "{text}");
        }
        let json = std::fs::read_to_string(results.join("ceilings.json")).expect("a file");
        assert!(!json.contains(&*directory.path().to_string_lossy()), "{json}");
    }

    #[test]
    fn all_together_pass_if_each_of_them_does() {
        let directory = tempfile::tempdir().expect("a directory");
        let together = Together { directory: directory.path().to_owned() };
        assert!(put_together(&together).is_err(), "there is nothing");
        let options = Options { directory: Some(directory.path().to_owned()), name: None };
        let mut failed = report("steady");
        failed.require(false, || "it was slow".to_owned());
        options.write(&failed, directory.path()).expect("files");
        options.write(&report("check"), directory.path()).expect("files");
        let said = put_together(&together).expect("a page");
        assert_eq!((said.pass, said.failures), (false, vec!["steady did not pass".to_owned()]));
    }

    #[test]
    fn nothing_is_written_unless_it_is_asked_for() {
        let directory = tempfile::tempdir().expect("a directory");
        Options { directory: None, name: None }.write(&report("steady"), directory.path()).expect("nothing");
        assert_eq!(names(directory.path()), BTreeSet::new());
    }

    #[test]
    fn a_name_stays_in_its_directory() {
        for (name, expected) in [
            ("kill-kafka", true),
            ("steady-10", true),
            ("", false),
            ("../a", false),
            ("a b", false),
            ("A", false),
        ] {
            assert_eq!(parse_stem(name).is_ok(), expected, "{name}");
        }
    }
}
