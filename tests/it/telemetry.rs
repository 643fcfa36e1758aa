//! What a process says of itself: its metrics, beside the document that describes them, and its log lines.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use anyhow::{Context, ensure};
use hookline_load_tests::fixtures::Shape;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::ids::WebhookId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Command;

use crate::bench::{Bench, PROGRAM, SOON, fixture};
use crate::client;
use crate::command_line::{hookline, text};
use crate::control::Scene;

const DOCUMENT: &str = include_str!("../../deploy/METRICS.md");

/// What a process over the embedded log tells only in a state of its own, and which.
const ELSEWHERE: [(&str, &str); 18] = [
    ("hookline_log_pending_bytes", "over Kafka"),
    ("hookline_log_producers_replaced_total", "over Kafka"),
    ("hookline_log_broker_errors_total", "over Kafka"),
    ("hookline_log_owned_partitions", "over Kafka"),
    ("hookline_log_acknowledge_seconds", "over Kafka"),
    ("hookline_log_kafka_brokers", "over Kafka"),
    ("hookline_log_kafka_round_trip_seconds", "over Kafka"),
    ("hookline_log_kafka_queue_records", "over Kafka"),
    ("hookline_log_kafka_partitions", "over Kafka"),
    ("hookline_log_kafka_reader_lag_records", "over Kafka"),
    ("hookline_log_expired_unread_total", "when retention was faster than a reader"),
    ("hookline_reloads_total", "after SIGHUP"),
    ("hookline_ingest_tls_certificate_expiry_timestamp_seconds", "where the edge speaks TLS"),
    ("hookline_control_missing_payments_total", "after a reconciliation"),
    ("hookline_control_reconciliations_total", "after a reconciliation"),
    ("hookline_control_sockets", "after a subscription"),
    ("hookline_control_sockets_ended_total", "after a subscription"),
    ("hookline_dispatcher_redelivered_total", "after a redelivery"),
];

/// A delivery is a line in the log, so a payment makes that many: the queue of lines is full soon.
const LOUD_WEBHOOKS: usize = 32;

/// The labels of each metric, as the document has them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let words =
        |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let row = |row: &str| {
        let cells: Vec<&str> = row.split('|').collect();
        let name = words(cells.get(1)?).into_iter().next()?;
        Some((name, words(cells.get(4)?)))
    };
    rows.map(|line| row(line).expect("a row of the table")).collect()
}

/// The sets of labels of each metric on a page.
fn exposed(page: &str) -> BTreeMap<String, BTreeSet<BTreeSet<String>>> {
    let kinds: BTreeMap<&str, &str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut all = BTreeMap::<String, BTreeSet<BTreeSet<String>>>::new();
    for sample in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, _) = sample.rsplit_once(' ').expect("a sample has a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let name = of_histogram.filter(|name| kinds.get(name) == Some(&"histogram")).unwrap_or(name);
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('='));
        let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le").collect();
        all.entry(name.to_owned()).or_default().insert(labels);
    }
    all
}

/// Waits until the page has all of these texts.
async fn page_with(bench: &Bench, texts: &[&str]) -> anyhow::Result<String> {
    let deadline = bench.clock.elapsed() + SOON;
    loop {
        let page = client::get(bench.launch.admin, "/metrics").await?.body;
        if texts.iter().all(|text| page.contains(text)) {
            return Ok(page);
        }
        ensure!(bench.clock.elapsed() < deadline, "not all of {texts:?} are in {page}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// A process to which happens what happens to most: payments, a Check, and an endpoint that is down and comes back.
async fn page_of_a_busy_process() -> anyhow::Result<String> {
    let webhooks = [("wh_1", Profile::Healthy), ("wh_down", Profile::Down)];
    let bench = Bench::new(&webhooks).await?;
    let hookline = bench.start().await?;
    let ids = bench.pay(1..6).await?;
    let check = fixture(Shape::Check, 7);
    ensure!(bench.post(&check).await?.is_accepted());
    bench.delivered("wh_1", &ids).await?;
    let while_down = page_with(&bench, &["hookline_dispatcher_endpoint_backlog{"]).await?;
    bench.receiver.set_profile(&WebhookId::new("wh_down"), Profile::Healthy);
    bench.delivered("wh_down", &ids).await?;
    let told_late = [
        "hookline_control_open_refunds 0",
        "hookline_dispatcher_committed{",
        "hookline_dispatcher_lag_records{",
    ];
    let page = page_with(&bench, &told_late).await?;
    bench.stop(hookline).await?;
    Ok(while_down + &page)
}

/// A process that is asked to register a site at a simulated CloudPayments.
async fn page_of_a_control_plane() -> anyhow::Result<String> {
    let scene = Scene::new().await?;
    let running = scene.start().await?;
    let owner = scene.client("org_demo", "OWNER").await?;
    scene.configure(&owner).await?;
    let page = page_with(&scene.bench, &["hookline_control_active 1"]).await?;
    scene.bench.stop(running).await?;
    Ok(page)
}

#[tokio::test]
async fn the_document_lists_what_a_process_tells_and_nothing_else() -> anyhow::Result<()> {
    let pages = page_of_a_busy_process().await? + &page_of_a_control_plane().await?;
    let (documented, exposed) = (documented(), exposed(&pages));
    for (name, sets) in &exposed {
        let labels = documented.get(name).with_context(|| format!("{name} is in no table"))?;
        ensure!(sets.iter().all(|set| set == labels), "{name} has {sets:?}, the table says {labels:?}");
    }
    let elsewhere: BTreeMap<&str, &str> = ELSEWHERE.into_iter().collect();
    let missing: Vec<_> = documented
        .keys()
        .filter(|name| !exposed.contains_key(*name) && !elsewhere.contains_key(name.as_str()))
        .collect();
    ensure!(missing.is_empty(), "told nowhere: {missing:?}");
    let wrong: Vec<_> = elsewhere.keys().filter(|name| !documented.contains_key(**name)).collect();
    ensure!(wrong.is_empty(), "in no table: {wrong:?}");
    Ok(())
}

#[tokio::test]
async fn json_lines_are_one_object_each_with_their_fields_beside_the_message() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_1", Profile::Healthy)]).await?;
    bench.configure("[telemetry]\nlog_format = \"json\"\nlog_filter = \"debug\"\n")?;
    let hookline = bench.start().await?;
    let ids = bench.pay(1..4).await?;
    bench.delivered("wh_1", &ids).await?;
    bench.stop(hookline).await?;
    let output = std::fs::read_to_string(&bench.launch.output)?;
    let mut listening = None;
    for line in output.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        for member in ["timestamp", "level", "target"] {
            ensure!(line.get(member).is_some_and(Value::is_string), "{member} is not in {line}");
        }
        if line.get("message") == Some(&"listening".into()) {
            listening = line.get("admin").cloned();
        }
    }
    ensure!(listening == Some(bench.launch.admin.to_string().into()), "{listening:?}");
    ensure!(output.contains("stopping"), "the last lines are there: {output}");
    Ok(())
}

#[tokio::test]
async fn what_was_logged_stands_before_the_last_words() -> anyhow::Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?;
    let bench = Bench::with(&[], |config| config.ingest.listen = address).await?;
    let output = hookline(bench.path(), &["run", "--config", "hookline.toml"]).await?;
    ensure!(output.status.code() == Some(73), "{output:?}");
    let said = text(&output.stderr);
    let logged = said.find("opened the log").with_context(|| format!("no log line in {said}"))?;
    let last_words =
        said.find("hookline: failed to start the edge").with_context(|| format!("no word in {said}"))?;
    ensure!(logged < last_words, "{said}");
    Ok(())
}

#[tokio::test]
async fn nobody_waits_for_a_stderr_that_nobody_reads() -> anyhow::Result<()> {
    let names: Vec<String> = (0..LOUD_WEBHOOKS).map(|index| format!("wh_{index}")).collect();
    let webhooks: Vec<_> = names.iter().map(|name| (name.as_str(), Profile::Healthy)).collect();
    let bench = Bench::new(&webhooks).await?;
    bench.configure("[telemetry]\nlog_filter = \"info\"\n")?;
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(&bench.launch.config).current_dir(bench.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn()?;
    let deadline = bench.clock.elapsed() + SOON;
    while !client::get(bench.launch.admin, "/readyz").await.is_ok_and(|answer| answer.status == 200) {
        ensure!(bench.clock.elapsed() < deadline, "it waits for its stderr");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let name = "hookline_log_lines_dropped_total ";
    let mut number = 0;
    let latest = loop {
        let ids = bench.pay(number..number + 50).await?;
        number += 50;
        let page = page_with(&bench, &[name]).await?;
        let dropped = page.lines().find_map(|line| line.strip_prefix(name)).context("a sample")?;
        if dropped.parse::<u64>()? > 0 {
            break ids;
        }
        ensure!(bench.clock.elapsed() < deadline + SOON, "nothing was dropped after {number} payments");
    };
    bench.delivered("wh_0", &latest).await?;
    let id = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    kill_process(id.context("it runs")?, Signal::TERM)?;
    let status = tokio::time::timeout(SOON, process.wait()).await.context("it waits for its stderr")??;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}
