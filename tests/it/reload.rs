//! SIGHUP: what counts at once, what waits for a restart, and what is wrong.

use std::time::Duration;

use anyhow::ensure;
use hookline_load_tests::fixtures::Shape;
use http::StatusCode;

use crate::bench::{Bench, SOON, fixture};
use crate::client::{self, NEW_SECRET, OLD_SECRET, typed_url};

const RELOADS: &str = "hookline_reloads_total";
const GOOD: (&str, &str) = (RELOADS, "outcome=\"ok\"");
const BAD: (&str, &str) = (RELOADS, "outcome=\"failed\"");
const READ: &str = "the gateways and the webhooks were read again";

fn rewrite(bench: &Bench, words: &str, by: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&bench.launch.config)?;
    ensure!(text.contains(words), "{words:?} is not in\n{text}");
    Ok(std::fs::write(&bench.launch.config, text.replace(words, by))?)
}

/// How often this was printed.
fn printed(bench: &Bench, words: &str) -> anyhow::Result<usize> {
    Ok(std::fs::read_to_string(&bench.launch.output)?.matches(words).count())
}

/// Waits until this was printed so often: lines are written beside what they tell of.
async fn is_printed(bench: &Bench, words: &str, times: usize) -> anyhow::Result<()> {
    let deadline = bench.clock.elapsed() + SOON;
    while printed(bench, words)? < times {
        ensure!(bench.clock.elapsed() < deadline, "{words:?} was not printed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(printed(bench, words)? == times, "{words:?} was printed too often");
    Ok(())
}

async fn status_with(bench: &Bench, secret: &str, number: u64) -> anyhow::Result<StatusCode> {
    let pay = fixture(Shape::Pay2026, number);
    Ok(client::post(bench.ingest, &typed_url(&pay), secret, &pay).await?.status)
}

#[tokio::test]
async fn gateways_change_without_a_restart_and_a_bad_file_changes_nothing() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let hookline = bench.start().await?;
    ensure!(status_with(&bench, OLD_SECRET, 1).await? == StatusCode::OK);
    ensure!(status_with(&bench, "another", 2).await? == StatusCode::UNAUTHORIZED);

    rewrite(&bench, OLD_SECRET, "another")?;
    hookline.reload()?;
    bench.metric_reaches(&hookline, GOOD, 1.0).await?;
    // They are told beside the reload.
    let deadline = bench.clock.elapsed() + SOON;
    while status_with(&bench, "another", 2).await? != StatusCode::OK {
        ensure!(bench.clock.elapsed() < deadline, "the new secret does not count");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ensure!(status_with(&bench, OLD_SECRET, 3).await? == StatusCode::UNAUTHORIZED);

    rewrite(&bench, "\"another\"", "7")?;
    hookline.reload()?;
    bench.metric_reaches(&hookline, BAD, 1.0).await?;
    is_printed(&bench, "stay as they were", 1).await?;
    ensure!(status_with(&bench, NEW_SECRET, 4).await? == StatusCode::OK);
    bench.stop(hookline).await
}

#[tokio::test]
async fn the_log_filter_changes_and_what_needs_a_restart_is_named() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    bench.configure("[telemetry]\nlog_filter = \"info\"\n[cloudpayments]\ntimeout = \"9s\"")?;
    let hookline = bench.start().await?;
    hookline.reload()?;
    bench.metric_reaches(&hookline, GOOD, 1.0).await?;
    is_printed(&bench, READ, 1).await?;
    ensure!(printed(&bench, "after a restart alone")? == 0);

    rewrite(&bench, "\"9s\"", "\"8s\"")?;
    hookline.reload()?;
    bench.metric_reaches(&hookline, GOOD, 2.0).await?;
    is_printed(&bench, READ, 2).await?;
    is_printed(&bench, "keys=cloudpayments.timeout", 1).await?;

    rewrite(&bench, "\"info\"", "\"error\"")?;
    hookline.reload()?;
    bench.metric_reaches(&hookline, GOOD, 3.0).await?;

    rewrite(&bench, "\"error\"", "\"hookline=loud\"")?;
    hookline.reload()?;
    bench.metric_reaches(&hookline, BAD, 1.0).await?;
    is_printed(&bench, "telemetry.log_filter: ", 1).await?;
    ensure!(printed(&bench, READ)? == 2, "only errors were printed since");
    bench.stop(hookline).await
}
