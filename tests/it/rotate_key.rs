//! The sealing key changes while hookline runs, and what the old one has sealed stays readable.

use std::fs;

use anyhow::ensure;
use hookline_load_tests::fixtures::Shape;
use hookline_load_tests::receiver::Profile;
use http::StatusCode;

use crate::bench::{Bench, eventually, fixture};
use crate::client::{self, NEW_SECRET, typed_url};
use crate::command_line::{hookline, text};

/// 32 bytes.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Posts a payment that is not understood: it is sealed and put into quarantine.
async fn quarantine(bench: &Bench, number: u64) -> anyhow::Result<()> {
    let broken = fixture(Shape::Pay2026, number);
    let body = text(&broken.body).replace("Amount=1490.00", "Amount=much").into();
    let answer =
        client::post_bytes(bench.ingest, &typed_url(&broken), NEW_SECRET, broken.content_type(), body)
            .await?;
    ensure!(answer.is_accepted(), "{answer:?}");
    Ok(())
}

/// Whether this payment is told of, which only who opens it can.
async fn is_told(bench: &Bench, number: u64) -> anyhow::Result<bool> {
    let payment = fixture(Shape::Pay2026, number).transaction_id.to_string();
    let output = hookline(bench.path(), &["trace", &payment, "--config", "hookline.toml"]).await?;
    Ok(text(&output.stdout).starts_with("quarantined"))
}

#[tokio::test]
async fn what_the_old_key_has_sealed_is_read_with_both_and_after_a_restart() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let running = bench.start().await?;
    quarantine(&bench, 1).await?;
    let old = fs::read_to_string(bench.path().join("hookline.key"))?;
    // Whether something in `control` is sealed anew does not matter here: the process reads the keys in any case.
    hookline(bench.path(), &["rotate-key", "--config", "hookline.toml"]).await?;
    let both = fs::read_to_string(bench.path().join("hookline.key"))?;
    ensure!(both.lines().count() == 2 && both.ends_with(&old), "the new one first, the old one behind it");
    quarantine(&bench, 2).await?;
    ensure!(is_told(&bench, 1).await? && is_told(&bench, 2).await?);
    bench.stop(running).await?;

    let running = bench.start().await?;
    ensure!(is_told(&bench, 1).await? && is_told(&bench, 2).await?);
    bench.stop(running).await?;
    // The old key alone does not open what was sealed after it: the new one had sealed it.
    fs::write(bench.path().join("hookline.key"), &old)?;
    let running = bench.start().await?;
    ensure!(is_told(&bench, 1).await? && !is_told(&bench, 2).await?);
    bench.stop(running).await?;
    for line in both.lines() {
        ensure!(!bench.launch.last_output().contains(line), "a key in the log lines");
    }
    Ok(())
}

#[tokio::test]
async fn sighup_reads_the_keys_again_and_a_file_with_a_problem_changes_nothing() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_1", Profile::Healthy)]).await?;
    let running = bench.start().await?;
    let file = bench.path().join("hookline.key");
    let old = fs::read_to_string(&file)?;
    for (written, said) in [
        (format!("{old}short\n"), "line 2 of the key file"),
        (format!("{KEY}\n"), "lacks the key that seals now"),
        (format!("{KEY}\n# the one before\n{old}"), "the sealing keys were read again"),
    ] {
        fs::write(&file, written)?;
        running.reload()?;
        eventually(bench.clock, || bench.launch.last_output().contains(said)).await?;
        ensure!(!bench.launch.last_output().contains("the webhooks stay as they were"));
    }
    quarantine(&bench, 1).await?;
    // A problem in the configuration does not keep the keys from being read.
    bench.configure("[colours]\nsky = \"blue\"\n")?;
    fs::write(&file, format!("{KEY}\n"))?;
    running.reload()?;
    eventually(bench.clock, || {
        let said = bench.launch.last_output();
        said.contains("the webhooks stay as they were") && said.contains("keys=1")
    })
    .await?;
    let output = bench.launch.last_output();
    ensure!(!output.contains(KEY) && !output.contains(old.trim()), "{output}");
    bench.stop(running).await
}

#[tokio::test]
async fn keys_are_not_changed_at_the_address() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let running = bench.start().await?;
    for path in ["/sealing/rotate", "/sealing/check", "/sealing"] {
        let answer = client::ask(bench.launch.admin, path).await?;
        ensure!(answer.status == StatusCode::FORBIDDEN, "{path}: {answer:?}");
    }
    bench.stop(running).await
}
