//! SIGTERM: not ready, everything in flight is finished, and the next life has nothing to repeat.

use std::time::Duration;

use anyhow::{Context, ensure};
use hookline_load_tests::receiver::Profile;
use hookline_load_tests::simulator::{Mix, Options, Pace, PlanOptions, RetryRule, Simulator};
use http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::bench::Bench;
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
