//! A real Prometheus: it takes the rules, each alert fires when it should, and beside a running hookline none pages.
//!
//! Where Prometheus is missing the tests say that they were skipped; with `CI=true` that is a failure.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use hookline_load_tests::fixtures::Shape;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::time::Clock;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::bench::{Bench, fixture, free_address, scratch};
use crate::client;

/// The script's exit status where promtool is missing (EX_UNAVAILABLE).
const UNAVAILABLE: i32 = 69;
/// For all tests of the rules, on a machine that does other things as well.
const CHECKED_WITHIN: Duration = Duration::from_secs(300);
/// For Prometheus to start, to look twice, and for what it has found at the start to settle.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

fn deployed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

/// Says so past the test harness; where nothing is to be skipped it is a failure.
fn skip(name: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{name}: {reason}");
    // Nobody is left to tell if standard error is closed.
    let _ = std::io::stderr().write_all(format!("skipped {name}: {reason}\n").as_bytes());
}

#[tokio::test]
async fn prometheus_takes_the_rules_and_each_alert_fires_when_it_should() -> anyhow::Result<()> {
    let check = Command::new(deployed().join("check")).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(CHECKED_WITHIN, check).await.context("the check hangs")??;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(UNAVAILABLE) {
        skip("the tests of the rules", said.trim());
        return Ok(());
    }
    ensure!(output.status.success(), "{said}");
    Ok(())
}

/// A Prometheus that scrapes one hookline; killed when it is dropped.
struct Prometheus {
    address: SocketAddr,
    /// Its end is the end of the value.
    _child: Child,
    directory: TempDir,
}

impl Prometheus {
    /// Starts it with the real rules, looking every second. `None` where it is missing.
    fn start(target: SocketAddr) -> anyhow::Result<Option<Self>> {
        let directory = scratch()?;
        let config = directory.path().join("prometheus.yml");
        let rules = hurried_rules(directory.path())?;
        std::fs::write(
            &config,
            format!(
                "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{:?}]\nscrape_configs:\n\
                 - job_name: hookline\n  static_configs: [{{ targets: [\"{target}\"], labels: {{ process: run }} }}]\n",
                rules.join("*.yml")
            ),
        )?;
        let address = free_address()?;
        let output = std::fs::File::create(directory.path().join("prometheus.log"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn();
        match child {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            child => Ok(Some(Self { address, _child: child?, directory })),
        }
    }

    /// What its API answers.
    async fn ask(&self, path: &str) -> anyhow::Result<Value> {
        let answer = client::get(self.address, path).await?;
        let value: Value = serde_json::from_str(&answer.body).with_context(|| answer.body.clone())?;
        ensure!(value.get("status") == Some(&"success".into()), "{path}: {value}");
        value.get("data").cloned().context("an answer without data")
    }

    /// The value of an expression that has one.
    async fn value(&self, expression: &str) -> anyhow::Result<f64> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let data = self.ask(&format!("/api/v1/query?query={query}")).await?;
        let value = data.pointer("/result/0/value/1").and_then(Value::as_str);
        Ok(value.with_context(|| format!("{expression} has no value"))?.parse()?)
    }

    /// All that has to hold beside a hookline that is well.
    async fn is_content(&self, rules: usize) -> anyhow::Result<()> {
        ensure!(self.value("min(up{job=\"hookline\"})").await? == 1.0, "the target is not up");
        let groups = self.ask("/api/v1/rules").await?;
        let groups = groups.get("groups").and_then(Value::as_array).context("groups")?;
        let all: Vec<_> =
            groups.iter().filter_map(|group| group.get("rules")?.as_array()).flatten().collect();
        ensure!(all.len() == rules, "{} of {rules} rules are loaded", all.len());
        for rule in all {
            ensure!(rule.get("health") == Some(&"ok".into()), "{rule}");
        }
        let journals = "count(count by (journal) (hookline_dispatcher_unaccounted_deliveries))";
        let journals = self.value(journals).await?;
        ensure!(journals == 2.0, "{journals} journals are accounted for, not events and parked deliveries");
        let unaccounted = self.value("sum(abs(hookline_dispatcher_unaccounted_deliveries))").await?;
        ensure!(unaccounted == 0.0, "{unaccounted} deliveries are unaccounted for");
        let alerts = self.ask("/api/v1/alerts").await?;
        let alerts = alerts.get("alerts").and_then(Value::as_array).context("alerts")?;
        let page = alerts.iter().find(|alert| alert.pointer("/labels/severity") == Some(&"page".into()));
        ensure!(page.is_none(), "{page:?}");
        Ok(())
    }

    /// Waits until all of that holds.
    async fn becomes_content(&self, rules: usize, clock: Clock) -> anyhow::Result<()> {
        let deadline = clock.elapsed() + SETTLED_WITHIN;
        while let Err(reason) = self.is_content(rules).await {
            let log = || std::fs::read_to_string(self.directory.path().join("prometheus.log"));
            ensure!(clock.elapsed() < deadline, "{reason:#}\n{}", log()?);
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// The rules, evaluated every second whatever their groups say.
fn hurried_rules(directory: &Path) -> anyhow::Result<PathBuf> {
    let rules = directory.join("rules");
    std::fs::create_dir(&rules)?;
    for entry in std::fs::read_dir(deployed().join("rules"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?.replace("    interval: 2m\n", "    interval: 1s\n");
        std::fs::write(rules.join(path.file_name().context("a file has a name")?), text)?;
    }
    Ok(rules)
}

fn count_rules(directory: &Path) -> anyhow::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(directory.join("rules"))? {
        let text = std::fs::read_to_string(entry?.path())?;
        count += text
            .lines()
            .filter(|line| ["- alert: ", "- record: "].iter().any(|begin| line.trim().starts_with(begin)))
            .count();
    }
    Ok(count)
}

#[tokio::test]
async fn beside_a_hookline_that_is_well_every_rule_evaluates_and_nobody_is_paged() -> anyhow::Result<()> {
    // What this machine's disk has left says nothing about hookline.
    let reserve = |config: &mut hookline_load_tests::config::Config| {
        config.log.embedded.reserve = Some("4 MiB".to_owned());
    };
    let bench = Bench::with(&[("wh_1", Profile::Healthy), ("wh_back", Profile::Down)], reserve).await?;
    let hookline = bench.start().await?;
    let Some(prometheus) = Prometheus::start(bench.launch.admin)? else {
        skip("the scrape by Prometheus", "prometheus is not here");
        return bench.stop(hookline).await;
    };
    let ids = bench.pay(1..=20).await?;
    for number in 21..=40 {
        let answer = bench.post(&fixture(Shape::Check, number)).await?;
        ensure!(answer.is_accepted(), "{answer:?}");
    }
    bench.delivered("wh_1", &ids).await?;
    bench.receiver.set_profile(&hookline_schemas::ids::WebhookId::new("wh_back"), Profile::Healthy);
    bench.delivered("wh_back", &ids).await?;

    prometheus.becomes_content(count_rules(prometheus.directory.path())?, bench.clock).await?;
    // The objective's border is one of the histogram's, written as the rules write it.
    prometheus.value("sum(hookline_ingest_answer_seconds_bucket{path=\"check\", le=\"0.1\"})").await?;
    let checks = prometheus.value("sum(hookline_ingest_answers_total{outcome=\"check\"})").await?;
    let delivered =
        prometheus.value("sum(hookline_dispatcher_attempts_total{outcome=\"delivered\"})").await?;
    ensure!((checks, delivered) == (20.0, 40.0), "{checks} Checks, {delivered} deliveries");
    bench.stop(hookline).await
}
