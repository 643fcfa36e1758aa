//! One arm: a fresh hookline with its healthy endpoints, alone or beside the zoo.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use hookline_schemas::event::EventType;
use tokio_util::sync::CancellationToken;

use super::super::bench::{Bench, Layout, Subscriber};
use super::super::fleet::Fleet;
use super::super::{Surroundings, lateness, progress_line, sites};
use super::{Options, table};
use crate::admin::WebhookState;
use crate::config::{Config, Webhook};
use crate::process::Usage;
use crate::receiver::Profile;
use crate::report::{Report, rounded, watched};
use crate::simulator::{Ledger, Mix, Options as SimulatorOptions, Pace, PlanOptions, RetryRule, Simulator};
use crate::zoo::{Kind, Zoo};

/// What everybody asks for. Not that a webhook has been disabled, which only an arm with the zoo would bring.
const EVENTS: [EventType; 2] = [EventType::PaymentReceived, EventType::PaymentFailed];
/// For a whole attempt: whoever hangs does so for the run of a test, and not for all of it.
const ATTEMPT_TIMEOUT: &str = "2s";
/// Before it is measured: connections are opened, and those that are down are known to be.
const WARM_UP: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// After the last answer, until all has to be delivered to the healthy ones.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);
/// Payments under way at once: more than ever are, so that none waits for another.
const CONCURRENCY: usize = 256;
/// No arm needs more payments; the end of the measured part ends the posting.
const MOST_PAYMENTS: u64 = 10_000_000;
/// So much may be added to what is held half-way.
const GROWTH_BYTES: u64 = 16 * 1024 * 1024;
/// So many files beside a quarter more.
const GROWTH_FILES: usize = 32;

/// What was measured in one arm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arm {
    /// From durable to delivered, of the healthy ones, in milliseconds.
    pub(super) p99: f64,
}

/// What the measured part leaves behind.
#[derive(Debug)]
struct Measured {
    from: Duration,
    until: Duration,
    cpu: Duration,
    looks: Vec<Usage>,
    webhooks: Vec<WebhookState>,
    attempts: BTreeMap<String, f64>,
}

/// Goes through one arm.
pub(super) async fn run(
    surroundings: &Surroundings,
    options: &Options,
    has_zoo: bool,
) -> anyhow::Result<(Report, Arm)> {
    let zoo = Zoo::open().await?;
    let subscribers = (0..options.healthy).map(|number| Subscriber {
        id: sites::webhook(number),
        events: EVENTS.to_vec(),
        profile: Profile::Healthy,
    });
    let subscribers: Vec<_> = subscribers.collect();
    let adjust = |config: &mut Config| {
        config.dispatcher.attempt_timeout = Some(ATTEMPT_TIMEOUT.to_owned());
        if has_zoo {
            populate(config, &zoo);
        }
    };
    let (bench, fleet) = Bench::set_up(surroundings, &subscribers, options.seed, Layout::One, adjust).await?;
    let measured = Box::pin(measure(&bench, fleet, surroundings.deadline, options, has_zoo)).await;
    let mut found = None;
    let result = measured.map(|(report, arm)| {
        found = Some(arm);
        report
    });
    let report = bench.clear_up(result).await?;
    Ok((report, found.context("an arm with a report was measured")?))
}

/// A webhook for each of them, of the same organization as the healthy ones.
fn populate(config: &mut Config, zoo: &Zoo) {
    let Some(pattern) = config.webhooks.first().cloned() else { return };
    let webhook =
        |kind| Webhook { id: table::webhook(kind).to_string(), url: zoo.url(kind), ..pattern.clone() };
    config.webhooks.extend(Kind::ALL.into_iter().map(webhook));
}

fn load(options: &Options) -> SimulatorOptions {
    SimulatorOptions {
        payments: MOST_PAYMENTS,
        concurrency: CONCURRENCY,
        pace: Pace::Open { per_second: options.per_second },
        retry: RetryRule::scaled_down(),
        plan: PlanOptions {
            seed: options.seed,
            mix: Mix::received_and_failed(),
            shared_url_share: 0.0,
            duplicate_share: 0.0,
            ..PlanOptions::default()
        },
    }
}

async fn measure(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    options: &Options,
    has_zoo: bool,
) -> anyhow::Result<(Report, Arm)> {
    fleet.start(&["hookline"]).await?;
    let name = if has_zoo { "beside the zoo" } else { "alone" };
    let simulator = Simulator::new(bench.target.clone(), load(options), bench.clock);
    let progress = simulator.progress();
    let line = || {
        let seconds = bench.clock.elapsed().as_secs_f64();
        format!("{name}: {}", progress_line(&progress, None, seconds, bench.receiver.accepted()))
    };
    let work = Box::pin(async {
        let stop = CancellationToken::new();
        let posting = async { anyhow::Ok(simulator.run(stop.clone()).await) };
        let course = async {
            let measured = course(bench, &mut fleet, options).await;
            stop.cancel();
            measured
        };
        tokio::try_join!(posting, course)
    });
    let (ledger, measured) = watched(bench.clock, deadline, line, work).await?;
    bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
    let (mut report, deliveries) = bench.conclude(name, fleet, &ledger, &[]).await?;
    let lateness = lateness::of(&ledger, &deliveries, |entry, _| is_measured(entry.answered, &measured));
    report.latency(["delivery_p50_ms", "delivery_p99_ms", "delivery_p999_ms"], &lateness);
    report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &ledger.answer_micros);
    table::judge(&mut report, has_zoo, &measured.webhooks, &measured.attempts);
    add_figures(&mut report, &measured, &ledger);
    require_rest(&mut report, &measured.looks);
    let p99 = Duration::from_micros(lateness.value_at_quantile(0.99)).as_secs_f64() * 1000.0;
    Ok((report, Arm { p99 }))
}

fn is_measured(answered: Option<Duration>, measured: &Measured) -> bool {
    answered.is_some_and(|at| measured.from <= at && at <= measured.until)
}

/// The measured part; the load goes on while hookline is asked how it went.
async fn course(bench: &Bench, fleet: &mut Fleet, options: &Options) -> anyhow::Result<Measured> {
    tokio::time::sleep(WARM_UP).await;
    let from = bench.clock.elapsed();
    let cpu_before = fleet.usage()?.cpu;
    let mut looks = Vec::new();
    while bench.clock.elapsed() < from + options.measured {
        tokio::time::sleep(LOOK_INTERVAL).await;
        fleet.check_alive()?;
        looks.push(fleet.usage()?);
    }
    let cpu = fleet.usage()?.cpu.saturating_sub(cpu_before);
    let until = bench.clock.elapsed();
    let admin = fleet.admin("hookline")?;
    let attempts = admin.metrics().await?.by("hookline_dispatcher_attempts_total", "outcome");
    let webhooks = admin.webhooks().await?;
    Ok(Measured { from, until, cpu, looks, webhooks, attempts })
}

fn add_figures(report: &mut Report, measured: &Measured, ledger: &Ledger) {
    report.figure("payments", ledger.entries.len());
    report.figure("cpu_seconds", rounded(measured.cpu.as_secs_f64()));
    let attempts = measured.attempts.iter().map(|(outcome, count)| (outcome.clone(), (*count).into()));
    report.figure("attempts", serde_json::Value::Object(attempts.collect()));
}

/// At the end hookline holds little more than half-way: nothing is collected for as long as somebody is bad.
fn require_rest(report: &mut Report, looks: &[Usage]) {
    let tenth = (looks.len() / 10).max(1);
    let middle = looks.iter().skip(looks.len().saturating_sub(tenth) / 2).take(tenth);
    let end = looks.iter().rev().take(tenth);
    let most = |looks: Vec<&Usage>| {
        let bytes = looks.iter().map(|look| look.rss_anon_bytes).max();
        let files = looks.iter().map(|look| look.open_files).max();
        (bytes.unwrap_or_default(), files.unwrap_or_default())
    };
    let (middle, end) = (most(middle.collect()), most(end.collect()));
    report.figure("rss_anon_bytes_half_way", middle.0);
    report.figure("rss_anon_bytes_at_the_end", end.0);
    report.figure("open_files_half_way", middle.1);
    report.figure("open_files_at_the_end", end.1);
    report.require(!looks.is_empty(), || "nobody looked at hookline".to_owned());
    report.require(end.0 <= (middle.0 + GROWTH_BYTES).max(middle.0 + middle.0 / 4), || {
        format!("hookline held {} bytes at the end, and {} half-way", end.0, middle.0)
    });
    report.require(end.1 <= middle.1 + middle.1 / 4 + GROWTH_FILES, || {
        format!("hookline had {} files open at the end, and {} half-way", end.1, middle.1)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_growing_is_not_at_rest() {
        const MIB: u64 = 1024 * 1024;
        let look = |megabytes: u64, open_files: usize| Usage {
            cpu: Duration::ZERO,
            rss_anon_bytes: megabytes * MIB,
            open_files,
        };
        let course = |each: &dyn Fn(u64) -> Usage| (0..100).map(each).collect::<Vec<_>>();
        for (case, looks, pass) in [
            ("level", course(&|_| look(50, 300)), true),
            ("up to a level", course(&|at| look(at.min(50), 300)), true),
            ("a little", course(&|at| look(50 + at / 10, 300)), true),
            ("more and more", course(&|at| look(50 + at, 300)), false),
            (
                "more and more files",
                course(&|at| look(50, 100 + usize::try_from(at).unwrap_or(0) * 4)),
                false,
            ),
            ("nobody looked", Vec::new(), false),
        ] {
            let mut report = Report { pass: true, ..Report::of_parts("arm", Vec::new()) };
            require_rest(&mut report, &looks);
            assert_eq!(report.pass, pass, "{case}");
        }
    }
}
