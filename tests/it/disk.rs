//! What a disk can do to a promise: be slow, fail, be full, or be cut off from a killed process.

use std::time::Duration;

use anyhow::ensure;
use hookline_load_tests::checker::Disturbance;
use hookline_load_tests::fixtures::Shape;
use hookline_load_tests::process::Hookline;
use hookline_load_tests::receiver::Profile;
use hookline_load_tests::simulator::{Options, Simulator};
use hookline_schemas::ids::WebhookId;
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, SOON, fixture};
use crate::client::{self, Answer};
use crate::faulty_disk::{Fault, FaultyDisk};

/// How long an answer must stay away while the sync is held.
const HELD: Duration = Duration::from_millis(700);

/// A hookline whose syncs are held from now on.
async fn with_held_syncs() -> anyhow::Result<(Bench, FaultyDisk, Hookline)> {
    let mut bench = Bench::new(&[("wh_1", Profile::Healthy)]).await?;
    let disk = FaultyDisk::under(&mut bench)?;
    let hookline = bench.start().await?;
    disk.switch_on(Fault::Hold)?;
    Ok((bench, disk, hookline))
}

#[tokio::test]
async fn no_answer_leaves_before_the_sync() -> anyhow::Result<()> {
    let (bench, disk, hookline) = with_held_syncs().await?;
    let pay = fixture(Shape::Pay2026, 1);
    let paying = bench.post(&pay);
    tokio::pin!(paying);
    let meanwhile = async {
        disk.holds_a_sync(&bench).await?;
        let check = tokio::time::timeout(HELD, bench.post(&fixture(Shape::Check, 1))).await??;
        tokio::time::sleep(HELD).await;
        anyhow::Ok(check)
    };
    let check = tokio::select! {
        answer = &mut paying => anyhow::bail!("{answer:?} left before the sync"),
        check = meanwhile => check?,
    };
    ensure!(check.is_accepted(), "Check waits for no disk: {check:?}");
    disk.switch_off(Fault::Hold)?;
    let answer = paying.await?;
    ensure!(answer.is_accepted(), "{answer:?}");
    bench.stop(hookline).await
}

/// The test above can fail: where the sync is left out, the answer is there while it would be held.
#[tokio::test]
async fn an_answer_without_a_sync_shows() -> anyhow::Result<()> {
    let (bench, disk, hookline) = with_held_syncs().await?;
    disk.switch_on(Fault::Skip)?;
    let answer = tokio::time::timeout(SOON, bench.post(&fixture(Shape::Pay2026, 1))).await??;
    ensure!(answer.is_accepted(), "{answer:?}");
    disk.switch_off(Fault::Hold)?;
    bench.stop(hookline).await
}

#[tokio::test]
async fn what_was_answered_survives_kill_9() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_healthy", Profile::Healthy), ("wh_down", Profile::Down)]).await?;
    let hookline = bench.start().await?;
    let options = Options { payments: 150, ..Options::default() };
    let ledger = Simulator::new(bench.target(), options, bench.clock).run(CancellationToken::new()).await;
    let at = bench.clock.elapsed();
    hookline.kill().await?;
    bench.receiver.set_profile(&WebhookId::new("wh_down"), Profile::Healthy);
    let kill = Disturbance { at, until: bench.clock.elapsed() };
    let hookline = bench.start().await?;
    let verdict = bench.nothing_lost(&ledger, &[kill]).await?;
    ensure!(verdict.accepted >= 150 && verdict.delivered == 2 * verdict.accepted, "{verdict:?}");
    bench.stop(hookline).await
}

#[tokio::test]
async fn a_failed_sync_ends_the_process() -> anyhow::Result<()> {
    let mut bench = Bench::new(&[("wh_healthy", Profile::Healthy), ("wh_down", Profile::Down)]).await?;
    let disk = FaultyDisk::under(&mut bench)?;
    let hookline = bench.start().await?;
    let mut ids = bench.pay(1..=20).await?;
    disk.switch_on(Fault::Eio)?;
    match bench.post(&fixture(Shape::Pay2026, 21)).await {
        // The process may be gone before the answer has left.
        Err(_) => {}
        Ok(answer) => ensure!(answer.is_to_be_sent_again(), "{answer:?}"),
    }
    let status = bench.end_of(hookline).await?;
    ensure!(status.code() == Some(74), "{status}\n{}", bench.launch.last_output());

    bench.receiver.set_profile(&WebhookId::new("wh_down"), Profile::Healthy);
    let hookline = bench.start().await?;
    ids.extend(bench.pay([21]).await?);
    for webhook in ["wh_healthy", "wh_down"] {
        bench.delivered(webhook, &ids).await?;
    }
    bench.stop(hookline).await
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_nothing_else() -> anyhow::Result<()> {
    let slow = Profile::Slow(Duration::from_millis(800));
    let mut bench = Bench::new(&[("wh_healthy", Profile::Healthy), ("wh_slow", slow)]).await?;
    let disk = FaultyDisk::under(&mut bench)?;
    let hookline = bench.start().await?;
    let mut ids = bench.pay(1..=5).await?;
    disk.switch_on(Fault::Enospc)?;
    ensure!(bench.accepted_by("wh_slow").is_empty(), "the deliveries are still under way");
    for shape in [Shape::Pay2026, Shape::Fail, Shape::Refund] {
        let answer = bench.post(&fixture(shape, 6)).await?;
        ensure!(answer.is_to_be_sent_again(), "{shape:?}: {answer:?}");
    }
    everything_but_appends_goes_on(&bench).await?;
    bench.delivered("wh_slow", &ids).await?;
    // Positions can't be committed now: that is tried again for as long as it takes.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let answer = bench.post(&fixture(Shape::Pay2026, 6)).await?;
    ensure!(answer.is_to_be_sent_again(), "{answer:?}");

    disk.switch_off(Fault::Enospc)?;
    ids.extend(bench.pay([6]).await?);
    for webhook in ["wh_healthy", "wh_slow"] {
        bench.delivered(webhook, &ids).await?;
        let accepted = bench.accepted_by(webhook);
        ensure!(accepted.len() == ids.len(), "one life, no copies: {accepted:?}");
    }
    bench.stop(hookline).await
}

/// Check and liveness.
pub(crate) async fn everything_but_appends_goes_on(bench: &Bench) -> anyhow::Result<()> {
    let check = bench.post(&fixture(Shape::Check, 6)).await?;
    ensure!(check.is_accepted(), "{check:?}");
    let Answer { status, .. } = client::get(bench.launch.admin, "/livez").await?;
    ensure!(status == StatusCode::OK, "{status}");
    Ok(())
}
