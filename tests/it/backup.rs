//! A backup of a process that runs, and a process on a backup.

use std::fs;

use anyhow::ensure;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::ids::WebhookId;
use http::StatusCode;
use serde_json::Value;

use crate::bench::Bench;
use crate::client;
use crate::command_line::{hookline, text};

const BACKUP: [&str; 5] = ["backup", "--config", "hookline.toml", "--to", "backup"];

#[tokio::test]
async fn a_process_on_a_backup_has_all_that_was_answered_before_it() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_up", Profile::Healthy), ("wh_down", Profile::Down)]).await?;
    let running = bench.start().await?;
    let before = bench.pay(1..=20).await?;
    let (backup, meanwhile) = tokio::join!(hookline(bench.path(), &BACKUP), bench.pay(21..=60));
    let (backup, meanwhile) = (backup?, meanwhile?);
    ensure!(backup.status.success(), "{backup:?}");
    ensure!(text(&backup.stdout).contains("the keys are not in it"), "{backup:?}");
    bench.delivered("wh_up", &meanwhile).await?;
    let locked = hookline(bench.path(), &["backup", "verify", "data"]).await?;
    ensure!(locked.status.code() == Some(69), "{locked:?}");
    running.kill().await?;

    let verified = hookline(bench.path(), &["backup", "verify", "backup", "--json"]).await?;
    ensure!(verified.status.success(), "{verified:?}");
    let counted: Value = serde_json::from_slice(&verified.stdout)?;
    let databases = counted.get("databases").and_then(Value::as_array).cloned().unwrap_or_default();
    let of = |name: &str| databases.iter().find(|one| one.get("name") == Some(&name.into()));
    let events = of("events").and_then(|one| one.get("records")?.as_u64());
    ensure!(events >= Some(20), "{counted}");

    fs::rename(bench.path().join("data"), bench.path().join("data.lost"))?;
    fs::rename(bench.path().join("backup"), bench.path().join("data"))?;
    bench.receiver.set_profile(&WebhookId::new("wh_down"), Profile::Healthy);
    let restored = bench.start().await?;
    bench.delivered("wh_down", &before).await?;
    // What came after it, CloudPayments has, and tells again: under the same ids.
    let again = bench.pay(21..=60).await?;
    ensure!(again == meanwhile);
    for webhook in ["wh_up", "wh_down"] {
        bench.delivered(webhook, &again).await?;
        let known = |delivery: &hookline_load_tests::receiver::Delivery| {
            before.contains(&delivery.event_id) || again.contains(&delivery.event_id)
        };
        ensure!(bench.accepted_by(webhook).iter().all(known), "nothing but what was posted");
    }
    bench.stop(restored).await
}

#[tokio::test]
async fn what_stands_there_is_kept_and_strangers_make_no_backups() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let nobody = hookline(bench.path(), &BACKUP).await?;
    ensure!(nobody.status.code() == Some(69), "{nobody:?}");
    let running = bench.start().await?;
    fs::create_dir(bench.path().join("backup"))?;
    fs::write(bench.path().join("backup/kept"), "")?;
    let refused = hookline(bench.path(), &BACKUP).await?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(text(&refused.stderr).contains("exists and is not an empty directory"), "{refused:?}");
    ensure!(!bench.path().join("backup.unfinished").exists());
    let answer = client::get(bench.launch.admin, "/backups").await?;
    ensure!(answer.status == StatusCode::FORBIDDEN, "{answer:?}");
    bench.stop(running).await
}

#[tokio::test]
async fn a_supervisor_without_http_is_told_whether_the_process_is_ready() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let ready = ["ready", "--socket", "data/admin.sock"];
    let output = hookline(bench.path(), &ready).await?;
    ensure!(output.status.code() == Some(69), "{output:?}");
    let running = bench.start().await?;
    let output = hookline(bench.path(), &ready).await?;
    ensure!(output.status.success() && text(&output.stdout) == "ready\n", "{output:?}");
    bench.stop(running).await
}
