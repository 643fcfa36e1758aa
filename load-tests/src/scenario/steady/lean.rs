//! Steady load at full speed: everything delivered exactly once, the lag and the memory flat.
//!
//! At 20,000 deliveries per second a receiver that judges them all, and a ledger of every post, would be what is
//! measured; so they go to a [`sink`](crate::sink), and what was posted is kept in a few bytes each. Payments are posted
//! without their Checks, and always at a rate: a caller who waits for the edge alone would outrun every dispatcher.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;

use super::super::lone::Lone;
use super::super::poster::{Posted, Posting};
use super::super::{Surroundings, per_second};
use super::judgement::{Look, deliveries_per_second, lag_growth, memory_growth, thinned};
use crate::process::{Hookline, cpu_of};
use crate::report::{Bound, Goal, Report, rounded, watched};
use crate::simulator::Pace;

/// hookline has nothing to do, and what its start needed is given back.
const IDLE: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// From SIGTERM to the exit.
const STOP_WITHIN: Duration = Duration::from_secs(40);
/// In a shorter course memory grows because everything warms up: whether it is flat is not judged.
const FLAT_FROM: Duration = Duration::from_secs(120);
/// So many looks are shown.
const SHOWN: usize = 60;
/// On two processors, with the sink and the caller on the same machine.
const DELIVERIES_PER_SECOND: f64 = 20_000.0;
/// More than the windows of all partitions hold: 16 times 512.
const FULL_WINDOW: u64 = 12_000;
/// Between two looks at the memory while the window is full, which is soon over.
const CLOSE_LOOK_INTERVAL: Duration = Duration::from_millis(20);
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// What is posted, and to how many it goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Payments in all; each is one notification.
    pub payments: u64,
    /// Payments per second.
    pub per_second: u32,
    /// Payments under way at once.
    pub concurrency: usize,
    /// Webhooks; each gets every event.
    pub webhooks: u16,
    /// Decides what is posted.
    pub seed: u64,
}

/// What the processes have used from the first post until everything was delivered.
#[derive(Debug, Clone, Copy)]
struct Cost {
    hookline: Duration,
    sink: Duration,
    own: Duration,
}

impl Cost {
    fn until_now(lone: &Lone, hookline: &Hookline) -> anyhow::Result<Self> {
        Ok(Self { hookline: hookline.usage()?.cpu, sink: lone.sink.cpu()?, own: cpu_of("self")? })
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            hookline: self.hookline.saturating_sub(earlier.hookline),
            sink: self.sink.saturating_sub(earlier.sink),
            own: self.own.saturating_sub(earlier.own),
        }
    }
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a broken promise or a missed goal is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let seconds = options.payments / u64::from(options.per_second.max(1));
    ensure!(
        Duration::from_secs(seconds) < surroundings.deadline,
        "posting takes {seconds} s: --deadline has to be longer"
    );
    let lone = Lone::set_up(surroundings, options.webhooks, options.seed).await?;
    let result = Box::pin(measure(&lone, surroundings.deadline, options)).await;
    lone.clear_up(&result, |report| report.pass);
    let mut report = result?;
    let lone = Lone::set_up(surroundings, options.webhooks, options.seed).await?;
    let result = Box::pin(fill_window(&lone, surroundings.deadline, &mut report)).await;
    lone.clear_up(&result, |()| true);
    result?;
    Ok(report)
}

async fn measure(lone: &Lone, deadline: Duration, options: &Options) -> anyhow::Result<Report> {
    let mut hookline = lone.start(|_| {}).await?;
    tokio::time::sleep(IDLE).await;
    let idle = hookline.usage()?.rss_anon_bytes;
    let poster =
        lone.poster(options.payments, Pace::Open { per_second: options.per_second }, options.concurrency);
    let progress = poster.progress();
    let looks = RefCell::new(Vec::new());
    let before = Cost::until_now(lone, &hookline)?;
    let line = || line(&progress, options.payments, looks.borrow().last());
    let work = async {
        let began = lone.clock.elapsed();
        let posted = tokio::select! {
            posted = poster.run() => posted?,
            failed = look_on(lone, &mut hookline, began, &looks) => return Err(failed),
        };
        lone.drain(&posted).await?;
        anyhow::Ok((posted, Cost::until_now(lone, &hookline)?.since(before)))
    };
    let (posted, cost) = watched(lone.clock, deadline, line, Box::pin(work)).await?;
    let parked = hookline.metric("hookline_dispatcher_parked_total", "reason=").await?;
    let status = hookline.stop(STOP_WITHIN).await?;
    let mut report = Report::of_measurements("steady-lean");
    report.require(status.success(), || format!("hookline stopped with {status}"));
    lone.judge(&posted, &mut report).await?;
    report.figure("parked", parked);
    let looks = looks.take();
    add_cost(&mut report, lone.expected(&posted), cost);
    add_course(&mut report, &looks);
    add_goals(&mut report, &looks, options, idle);
    Ok(report)
}

/// Looks once a second, for as long as it is asked to. An error is its only end.
async fn look_on(
    lone: &Lone,
    hookline: &mut Hookline,
    began: Duration,
    looks: &RefCell<Vec<Look>>,
) -> anyhow::Error {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        match look(lone, hookline, began).await {
            Ok(look) => looks.borrow_mut().push(look),
            Err(error) => return error,
        }
    }
}

async fn look(lone: &Lone, hookline: &mut Hookline, began: Duration) -> anyhow::Result<Look> {
    if let Some(status) = hookline.has_ended()? {
        anyhow::bail!("hookline ended by itself: {status}");
    }
    Ok(Look {
        at: lone.clock.elapsed().saturating_sub(began),
        lag: hookline.metric("hookline_dispatcher_lag_records", "partition=").await?,
        rss_anon_bytes: hookline.usage()?.rss_anon_bytes,
        delivered: lone.sink.counts().await?.distinct,
    })
}

fn line(progress: &Posting, payments: u64, look: Option<&Look>) -> String {
    let (accepted, unanswered) = (progress.accepted(), progress.unanswered());
    let seen = look.map_or_else(String::new, |look| {
        let Look { lag, rss_anon_bytes, delivered, .. } = look;
        format!(", {delivered} delivered, lag {lag}, {} MiB", rss_anon_bytes / 1024 / 1024)
    });
    format!("{accepted}/{payments} accepted, {unanswered} unanswered{seen}")
}

fn add_cost(report: &mut Report, deliveries: u64, cost: Cost) {
    for (name, time) in [
        ("cpu_seconds_per_million_deliveries", cost.hookline),
        ("sink_cpu_seconds_per_million_deliveries", cost.sink),
        ("caller_cpu_seconds_per_million_deliveries", cost.own),
    ] {
        report.figure(name, rounded(time.as_secs_f64() / per_second(deliveries, 1e6)));
    }
}

fn add_course(report: &mut Report, looks: &[Look]) {
    let shown = |value: fn(&Look) -> Value| thinned(looks, SHOWN).map(value).collect::<Vec<Value>>();
    report.figure("at_seconds", shown(|look| rounded(look.at.as_secs_f64()).into()));
    report.figure("lag_events", shown(|look| look.lag.into()));
    report.figure("rss_anon_mebibytes", shown(|look| (look.rss_anon_bytes / 1024 / 1024).into()));
    report.figure("delivered_until", shown(|look| look.delivered.into()));
    let most = looks.iter().map(|look| look.rss_anon_bytes).max();
    report.figure("rss_anon_bytes_most", most.unwrap_or_default());
}

fn add_goals(report: &mut Report, looks: &[Look], options: &Options, idle: u64) {
    let rate = deliveries_per_second(looks);
    // Who asks for less can't get as much.
    if f64::from(options.per_second) * f64::from(options.webhooks) >= DELIVERIES_PER_SECOND {
        let goal = Bound::AtLeast(DELIVERIES_PER_SECOND);
        report.goal(Goal::judge("deliveries_per_second", "1/s", &[rate], goal));
    } else {
        report.figure("deliveries_per_second", rounded(rate));
    }
    let second = Bound::AtMost(f64::from(options.per_second));
    report.goal(Goal::judge("lag_growth", "events", &[lag_growth(looks)], second));
    if looks.last().is_some_and(|look| look.at >= FLAT_FROM) {
        report.goal(Goal::judge("memory_flat", "ratio", &[memory_growth(looks)], Bound::AtMost(1.1)));
    } else {
        report.figure("memory_growth", rounded(memory_growth(looks)));
    }
    report.goal(Goal::judge("memory_idle", "MiB", &[mebibytes(idle)], Bound::AtMost(64.0)));
}

/// Measures the memory while the windows of all partitions are full: hookline begins with a backlog of more than they
/// hold.
async fn fill_window(lone: &Lone, deadline: Duration, report: &mut Report) -> anyhow::Result<()> {
    let posted: Posted = lone.fill(FULL_WINDOW, deadline).await?;
    let hookline = lone.start(|_| {}).await?;
    let most = std::cell::Cell::new(0);
    let look_on = async {
        loop {
            most.set(most.get().max(hookline.usage()?.rss_anon_bytes));
            tokio::time::sleep(CLOSE_LOOK_INTERVAL).await;
        }
    };
    let line = || format!("full window: {:.0} MiB", mebibytes(most.get()));
    let work = async {
        tokio::select! {
            failed = look_on => failed,
            drained = lone.drain(&posted) => drained,
        }
    };
    watched(lone.clock, deadline, line, Box::pin(work)).await?;
    let parked = hookline.metric("hookline_dispatcher_parked_total", "reason=").await?;
    let status = hookline.stop(STOP_WITHIN).await?;
    let mut judged = Report::of_measurements("full window");
    judged.require(status.success(), || format!("hookline stopped with {status}"));
    lone.judge(&posted, &mut judged).await?;
    for failure in judged.failures {
        report.require(false, || format!("full window: {failure}"));
    }
    report.figure("full_window_parked", parked);
    let most = mebibytes(most.get());
    report.goal(Goal::judge("memory_full_window", "MiB", &[most], Bound::AtMost(512.0)));
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) * 1024.0 / MEBIBYTE
}
