//! SIGTERM: not ready, everything in flight is finished, and the next life has nothing to repeat.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use hookline_load_tests::receiver::Profile;
use hookline_load_tests::simulator::{Mix, Options, Pace, PlanOptions, RetryRule, Simulator};
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::bench::{self, Bench, PROGRAM, SOON};
use crate::client;

#[tokio::test]
async fn stopped_under_load_nothing_is_lost_and_nothing_repeated() -> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_healthy", Profile::Healthy), ("wh_down", Profile::Down)]).await?;
    let hookline = bench.start().await?;
    let intervals = vec![Duration::from_millis(100)];
    let options = Options {
        payments: 100_000,
        concurrency: 16,
        pace: Pace::Open { per_second: 150 },
        retry: RetryRule { intervals, attempts: 200, answer_timeout: Duration::from_secs(5) },
        plan: PlanOptions { mix: Mix::received_and_failed(), duplicate_share: 0.0, ..PlanOptions::default() },
    };
    let enough = CancellationToken::new();
    let load = Simulator::new(bench.target(), options, bench.clock);
    let lives = async {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        bench.stop(hookline).await?;
        let healthy = Profile::Healthy;
        bench.receiver.set_profile(&bench.subscriptions.last().context("two")?.webhook, healthy);
        let hookline = bench.start().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        enough.cancel();
        anyhow::Ok(hookline)
    };
    let (ledger, hookline) = tokio::join!(load.run(enough.clone()), lives);
    let hookline = hookline?;
    let verdict = bench.nothing_lost(&ledger, &[]).await?;
    ensure!(verdict.accepted > 100 && verdict.given_up == 0, "{verdict:?}");
    bench.stop(hookline).await?;
    // What was posted once has come once, as nobody was killed.
    let verdict = bench.judge(&ledger, &[]);
    ensure!(verdict.pass && verdict.copies_unexplained == 0, "{verdict:?}");
    Ok(())
}

#[tokio::test]
async fn it_is_not_ready_while_it_stops() -> anyhow::Result<()> {
    let slow = Profile::Slow(Duration::from_millis(1500));
    let bench = Bench::new(&[("wh_slow", slow)]).await?;
    let hookline = bench.start().await?;
    let ready = client::get(bench.launch.admin, "/readyz").await?;
    ensure!(ready.status == StatusCode::OK && ready.body.contains("\"ready\":true"), "{ready:?}");
    let ids = bench.pay([1]).await?;
    // The attempt is under way: stopping waits for it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let looking = async {
        let deadline = bench.clock.elapsed() + Duration::from_secs(3);
        loop {
            let answer = client::get(bench.launch.admin, "/readyz").await?;
            if answer.status == StatusCode::SERVICE_UNAVAILABLE {
                return anyhow::Ok(answer);
            }
            ensure!(bench.clock.elapsed() < deadline, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (stopped, not_ready) = tokio::join!(bench.stop(hookline), looking);
    stopped?;
    let not_ready = not_ready?;
    ensure!(not_ready.body.contains("\"stopping\":true"), "{not_ready:?}");
    bench.delivered("wh_slow", &ids).await
}

#[tokio::test]
async fn asked_to_stop_before_the_log_is_open_it_ends_as_asked_and_sighup_kills_nobody() -> anyhow::Result<()>
{
    let scratch = bench::scratch()?;
    let nowhere = bench::free_address()?;
    let text = format!("[log]\nbackend = \"kafka\"\n[log.kafka]\nbootstrap_servers = [\"{nowhere}\"]\n");
    std::fs::write(scratch.path().join("hookline.toml"), text)?;
    let mut hookline = Command::new(PROGRAM)
        .args(["ingest", "--config", "hookline.toml"])
        .env("HOOKLINE_SEALING__KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .env("RUST_LOG", "hookline=loud")
        .current_dir(scratch.path())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(hookline.stderr.take().context("it has a stderr")?).lines();
    // It has begun once it says something; then it waits for the cluster.
    let first = tokio::time::timeout(SOON, lines.next_line()).await??.context("a line")?;
    ensure!(first.contains("RUST_LOG is malformed"), "{first}");
    let process_id = hookline.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let process_id = process_id.context("it runs")?;
    kill_process(process_id, Signal::HUP)?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    ensure!(hookline.try_wait()?.is_none(), "SIGHUP ended it");
    kill_process(process_id, Signal::TERM)?;
    let status = tokio::time::timeout(SOON, hookline.wait()).await??;
    ensure!(status.code() == Some(0), "{status}");
    Ok(())
}
