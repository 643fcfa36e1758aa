//! 10,000 webhooks: what Prometheus is told of them stays small, and is bounded in its families.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::ensure;
use hookline_load_tests::receiver::Profile;
use hookline_schemas::time::Clock;

use crate::bench::{Bench, SOON, webhook_secret};
use crate::client;

/// What a page of metrics may weigh.
const MOST_BYTES: usize = 5 * 1024 * 1024;
/// Of so many endpoints there is a series by name, in each of two families.
const TOLD_BY_NAME: usize = 20;
const BY_NAME: [&str; 2] =
    ["hookline_dispatcher_endpoint_oldest_undelivered_seconds{", "hookline_dispatcher_endpoint_backlog{"];
const LAG: &str = "hookline_dispatcher_lag_records{";

/// So many webhooks that nothing is sent to, and that want everything.
fn paused(webhooks: usize) -> String {
    (0..webhooks).fold(String::new(), |mut tables, index| {
        let secret = webhook_secret(index + 10);
        // Writing to a string does not fail.
        let _ = write!(
            tables,
            "[[webhooks]]\nid = \"wh_paused_{index:05}\"\norganization = \"org_demo\"\nurl = \"http://127.0.0.1:1/\"\n\
             events = [\"PAYMENT_RECEIVED\"]\nsecret = \"{secret}\"\npaused = true\n"
        );
        tables
    })
}

/// The page, once what waits in lanes is this many, and the log has been looked at.
async fn page(bench: &Bench, waiting: usize) -> anyhow::Result<String> {
    let clock = Clock::start();
    let backlog = format!("hookline_dispatcher_lane_backlog {waiting}");
    loop {
        let answer = client::get(bench.launch.admin, "/metrics").await?;
        let has = |is_it: &dyn Fn(&str) -> bool| answer.body.lines().any(is_it);
        if has(&|line| line == backlog) && has(&|line| line.starts_with(LAG)) {
            return Ok(answer.body);
        }
        ensure!(clock.elapsed() < 4 * SOON, "{backlog} is not there: {}", bench.launch.last_output());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The page of a process with so many webhooks, after one payment for each.
async fn told_of(webhooks: usize) -> anyhow::Result<String> {
    let bench = Bench::new(&[("wh_healthy", Profile::Healthy)]).await?;
    bench.configure(&paused(webhooks))?;
    let hookline = bench.start().await?;
    let ids = bench.pay([1]).await?;
    bench.delivered("wh_healthy", &ids).await?;
    let page = page(&bench, webhooks).await?;
    bench.stop(hookline).await?;
    Ok(page)
}

/// The names and labels of the dispatcher's series, but for those of endpoints by name.
fn series(page: &str) -> BTreeSet<&str> {
    let of_dispatcher = page.lines().filter(|line| line.starts_with("hookline_dispatcher_"));
    let bounded = of_dispatcher.filter(|line| !BY_NAME.iter().any(|name| line.starts_with(name)));
    bounded.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series).collect()
}

#[tokio::test]
async fn ten_thousand_webhooks_are_told_in_as_many_series_as_one_but_for_the_twenty() -> anyhow::Result<()> {
    let (few, many) = (told_of(1).await?, told_of(10_000).await?);
    ensure!(many.len() < MOST_BYTES, "{} bytes", many.len());
    ensure!(series(&few) == series(&many), "{:?}", series(&few).symmetric_difference(&series(&many)));
    for name in BY_NAME {
        let count = |page: &str| page.lines().filter(|line| line.starts_with(name)).count();
        ensure!(
            (count(&few), count(&many)) == (1, TOLD_BY_NAME),
            "{name}: {} and {}",
            count(&few),
            count(&many)
        );
    }
    let lines = |page: &str| page.lines().count();
    let difference = lines(&many).abs_diff(lines(&few));
    ensure!(difference <= (TOLD_BY_NAME - 1) * BY_NAME.len(), "{} and {} lines", lines(&few), lines(&many));
    for line in [
        "hookline_dispatcher_endpoints{state=\"paused\"} 10000",
        "hookline_dispatcher_endpoints{state=\"healthy\"} 1",
        "hookline_dispatcher_parked_total{reason=\"halted\"} 10000",
        "hookline_dispatcher_objective_deliveries_total{outcome=\"in_time\"} 1",
        "hookline_dispatcher_objective_deliveries_total{outcome=\"late\"} 0",
    ] {
        ensure!(many.lines().any(|told| told == line), "{line} is not in\n{many}");
    }
    let unaccounted =
        many.lines().filter(|line| line.starts_with("hookline_dispatcher_unaccounted_deliveries{"));
    let unaccounted: Vec<_> = unaccounted.filter_map(|line| line.rsplit_once(' ')).collect();
    ensure!(
        unaccounted.len() == 16 + 64 && unaccounted.iter().all(|(_, value)| *value == "0"),
        "{unaccounted:?}"
    );
    let described = many.lines().filter(|line| line.starts_with("# TYPE ")).collect::<Vec<_>>();
    ensure!(described.iter().collect::<BTreeSet<_>>().len() == described.len(), "{described:?}");
    Ok(())
}
