//! What operators see and do: the endpoints at the admin address, and webhooks that change without a restart.

use anyhow::{Context, ensure};
use hookline_load_tests::receiver::{Delivery, Fault, Profile};
use http::StatusCode;
use serde_json::Value;

use crate::bench::{Bench, SOON, eventually, webhook_secret};
use crate::client;

/// What the admin address says of an endpoint.
async fn status(bench: &Bench, webhook: &str) -> anyhow::Result<Value> {
    let answer = client::get(bench.launch.admin, &format!("/webhooks/{webhook}")).await?;
    ensure!(answer.status == StatusCode::OK, "{answer:?}");
    Ok(serde_json::from_str(&answer.body)?)
}

/// Waits until a member of it has this value.
async fn becomes(bench: &Bench, webhook: &str, member: &str, value: Value) -> anyhow::Result<()> {
    let deadline = bench.clock.elapsed() + SOON;
    loop {
        let now = status(bench, webhook).await?;
        if now.get(member) == Some(&value) {
            return Ok(());
        }
        ensure!(bench.clock.elapsed() < deadline, "{member} does not become {value}: {now}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Writes the configuration with these words in place of others.
fn rewrite(bench: &Bench, words: &str, by: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&bench.launch.config)?;
    ensure!(text.contains(words), "{words:?} is not in\n{text}");
    Ok(std::fs::write(&bench.launch.config, text.replace(words, by))?)
}

#[tokio::test]
async fn webhooks_change_without_a_restart() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_1", Profile::Healthy), ("wh_2", Profile::Healthy)]).await?;
    let hookline = bench.start().await?;
    rewrite(&bench, "id = \"wh_1\"", "id = \"wh_1\"\npaused = true")?;
    hookline.reload()?;
    becomes(&bench, "wh_1", "state", "paused".into()).await?;
    let ids = bench.pay(1..4).await?;
    bench.delivered("wh_2", &ids).await?;
    becomes(&bench, "wh_1", "backlog", 3.into()).await?;
    ensure!(bench.accepted_by("wh_1").is_empty());

    rewrite(&bench, "paused = true", "paused = \"perhaps\"")?;
    hookline.reload()?;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let said = "the webhooks stay as they were";
    eventually(bench.clock, || bench.launch.last_output().contains(said)).await?;
    becomes(&bench, "wh_1", "state", "paused".into()).await?;

    rewrite(&bench, "paused = \"perhaps\"", "rate_limit = 100")?;
    hookline.reload()?;
    bench.delivered("wh_1", &ids).await?;
    becomes(&bench, "wh_1", "backlog", 0.into()).await?;
    becomes(&bench, "wh_1", "delivered", 3.into()).await?;
    bench.stop(hookline).await
}

/// The receiver has the first secret from beginning to end.
#[tokio::test]
async fn a_secret_is_rotated_without_a_restart() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_1", Profile::Healthy)]).await?;
    let hookline = bench.start().await?;
    let first = format!("secret = {:?}", webhook_secret(0));
    let (second, end) = (webhook_secret(1), "previous_secret_until = \"9999-01-01T00:00:00Z\"");
    rewrite(&bench, &first, &format!("secret = {second:?}\nprevious_{first}\n{end}\npaused = true"))?;
    hookline.reload()?;
    becomes(&bench, "wh_1", "state", "paused".into()).await?;
    let ids = bench.pay(1..4).await?;
    rewrite(&bench, "paused = true", "paused = false")?;
    hookline.reload()?;
    bench.delivered("wh_1", &ids).await?;
    ensure!(!bench.launch.last_output().contains("counts no more"));

    rewrite(&bench, end, "previous_secret_until = \"2001-01-01T00:00:00Z\"")?;
    rewrite(&bench, "paused = false", "paused = true")?;
    hookline.reload()?;
    becomes(&bench, "wh_1", "state", "paused".into()).await?;
    let said = "wh_1: its previous secret counts no more since 2001-01-01";
    eventually(bench.clock, || bench.launch.last_output().contains(said)).await?;
    bench.pay(4..5).await?;
    rewrite(&bench, "paused = true", "paused = false")?;
    hookline.reload()?;
    let is_refused = |delivery: &Delivery| delivery.fault == Some(Fault::IziSignature);
    eventually(bench.clock, || bench.receiver.snapshot().iter().any(is_refused)).await?;
    ensure!(bench.accepted_by("wh_1").len() == 3);
    bench.stop(hookline).await
}

#[tokio::test]
async fn the_admin_address_shows_and_moves_endpoints() -> anyhow::Result<()> {
    let bench = Bench::with(&[("wh_down", Profile::Down), ("wh_up", Profile::Healthy)], |config| {
        config.dispatcher.probe_schedule = Some(vec!["1h".to_owned()]);
    })
    .await?;
    let hookline = bench.start().await?;
    let ids = bench.pay(1..9).await?;
    becomes(&bench, "wh_down", "backlog", 8.into()).await?;
    becomes(&bench, "wh_down", "state", "down".into()).await?;
    bench.receiver.set_profile(&hookline_schemas::ids::WebhookId::new("wh_down"), Profile::Healthy);
    let admin = bench.launch.admin;
    let all: Value = serde_json::from_str(&client::get(admin, "/webhooks").await?.body)?;
    let names: Vec<_> =
        all.as_array().context("a list")?.iter().filter_map(|one| one.get("id")?.as_str()).collect();
    ensure!(names == ["wh_down", "wh_up"], "{all}");
    for (path, expected) in [
        ("/webhooks/wh_nobody/probe", StatusCode::NOT_FOUND),
        ("/webhooks/wh_up/probe", StatusCode::CONFLICT),
        ("/webhooks/wh_down/forget", StatusCode::NOT_FOUND),
        ("/webhooks/wh_down", StatusCode::METHOD_NOT_ALLOWED),
        ("/webhooks/wh_up/enable", StatusCode::ACCEPTED),
        ("/webhooks/wh_down/probe", StatusCode::ACCEPTED),
    ] {
        let answer = client::ask(admin, path).await?;
        ensure!(answer.status == expected, "{path}: {answer:?}");
    }
    ensure!(client::get(admin, "/webhooks/wh_down/probe").await?.status == StatusCode::METHOD_NOT_ALLOWED);
    bench.delivered("wh_down", &ids).await?;
    becomes(&bench, "wh_down", "state", "active".into()).await?;
    bench.stop(hookline).await
}
