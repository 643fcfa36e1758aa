//! A process is replaced, and nobody outside notices: sockets that are handed over, an edge that stays to the last, and
//! what the service manager hears of it.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hookline_load_tests::receiver::Profile;
use hookline_load_tests::simulator::{Mix, Options, Pace, PlanOptions, RetryRule, Simulator};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, PROGRAM, SOON, free_address};

const RESTARTS: u32 = 3;

/// The sockets of the configuration, held for as long as the test lasts.
fn hold_sockets(bench: &mut Bench) -> anyhow::Result<()> {
    let bound = [bench.ingest, bench.launch.admin].map(|address| TcpListener::bind(address).map(Arc::new));
    bench.launch.sockets = bound.into_iter().collect::<Result<_, _>>()?;
    Ok(())
}

#[tokio::test]
async fn replaced_again_and_again_under_load_no_callback_fails() -> anyhow::Result<()> {
    let mut bench = Bench::new(&[("wh_healthy", Profile::Healthy)]).await?;
    hold_sockets(&mut bench)?;
    let mut hookline = bench.start().await?;
    let options = Options {
        payments: 100_000,
        concurrency: 8,
        pace: Pace::Open { per_second: 40 },
        retry: RetryRule { intervals: Vec::new(), attempts: 1, answer_timeout: Duration::from_secs(30) },
        plan: PlanOptions { mix: Mix::received_and_failed(), duplicate_share: 0.0, ..PlanOptions::default() },
    };
    let enough = CancellationToken::new();
    let load = Simulator::new(bench.target(), options, bench.clock).with_connections_by_turns();
    let lives = async {
        for _ in 0..RESTARTS {
            tokio::time::sleep(Duration::from_millis(500)).await;
            bench.stop(hookline).await?;
            hookline = bench.start().await?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        enough.cancel();
        anyhow::Ok(hookline)
    };
    let (ledger, hookline) = tokio::join!(load.run(enough.clone()), lives);
    ensure!(ledger.unanswered.total() == 0, "{:?}", ledger.unanswered);
    let verdict = bench.nothing_lost(&ledger, &[]).await?;
    ensure!(verdict.accepted > 50 && verdict.given_up == 0 && verdict.copies == 0, "{verdict:?}");
    bench.stop(hookline?).await
}

#[tokio::test]
async fn what_comes_while_the_dispatcher_finishes_is_accepted_and_delivered_by_the_next_process()
-> anyhow::Result<()> {
    let bench = Bench::new(&[("wh_slow", Profile::Slow(Duration::from_millis(1500)))]).await?;
    let hookline = bench.start().await?;
    let mut ids = bench.pay([1]).await?;
    // The attempt is under way: the dispatcher waits for it, and starts nothing new.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let late = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        bench.pay(2..=5).await
    };
    let (stopped, late) = tokio::join!(bench.stop(hookline), late);
    stopped?;
    ids.extend(late?);
    let delivered = bench.accepted_by("wh_slow").len();
    ensure!(delivered == 1, "what came late is left for the next process: {delivered}");
    let hookline = bench.start().await?;
    bench.delivered("wh_slow", &ids).await?;
    bench.stop(hookline).await
}

#[tokio::test]
async fn a_socket_that_nothing_is_configured_for_is_refused_before_anything_starts() -> anyhow::Result<()> {
    let mut bench = Bench::new(&[]).await?;
    let other = free_address()?;
    bench.launch.sockets = vec![Arc::new(TcpListener::bind(other)?)];
    let refused = bench.start().await.err().context("it must not start")?.to_string();
    let parts = [
        "exit status: 78".to_owned(),
        format!("a socket that listens on {other}"),
        format!("ingest.listen is {}", bench.ingest),
    ];
    ensure!(parts.iter().all(|part| refused.contains(part)), "{refused}");
    ensure!(!bench.path().join("data").exists(), "nothing was begun");
    Ok(())
}

/// Waits until the service manager hears this.
async fn hears(socket: &UnixDatagram, what: &str) -> anyhow::Result<()> {
    let listening = async {
        loop {
            let mut message = [0; 256];
            let length = socket.recv(&mut message).await?;
            let message = String::from_utf8_lossy(message.get(..length).unwrap_or_default()).into_owned();
            if message.lines().any(|line| line.starts_with(what)) {
                return anyhow::Ok(message);
            }
            ensure!(message.starts_with("WATCHDOG=1"), "{message:?} before {what}");
        }
    };
    let heard = tokio::time::timeout(SOON, listening).await.with_context(|| format!("no {what}"))??;
    ensure!(what != "RELOADING=1" || heard.contains("MONOTONIC_USEC="), "{heard:?}");
    Ok(())
}

#[tokio::test]
async fn the_service_manager_hears_of_the_start_of_life_of_reloads_and_of_the_end() -> anyhow::Result<()> {
    let bench = Bench::new(&[]).await?;
    let path = bench.path().join("notify.sock");
    let manager = UnixDatagram::bind(&path)?;
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config", "hookline.toml"]).current_dir(bench.path());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut child = command.kill_on_drop(true).spawn()?;
    let process = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("it runs")?;
    hears(&manager, "READY=1").await?;
    hears(&manager, "WATCHDOG=1").await?;
    hears(&manager, "WATCHDOG=1").await?;
    kill_process(process, Signal::HUP)?;
    hears(&manager, "RELOADING=1").await?;
    hears(&manager, "READY=1").await?;
    kill_process(process, Signal::TERM)?;
    hears(&manager, "STOPPING=1").await?;
    let status = tokio::time::timeout(SOON, child.wait()).await.context("it does not end")??;
    ensure!(status.success(), "{status}");
    Ok(())
}
