//! Steady load, nothing breaks: how fast, how late, and at what cost; and nothing lost, nothing twice.

mod judgement;
pub mod lean;

use std::time::Duration;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout, Subscriber};
use super::fleet::Fleet;
use super::{Surroundings, lateness, per_second, progress_line};
use crate::process::Usage;
use crate::receiver::{Delivery, Profile};
use crate::report::{Report, rounded, watched};
use crate::simulator::{Ledger, Mix, Options as SimulatorOptions, Pace, PlanOptions, RetryRule, Simulator};

/// After the last answer, until all has to be delivered.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);

/// What is posted, and to how many it goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Payments in all; each is a Check and one more notification.
    pub payments: u64,
    /// Payments under way at once.
    pub concurrency: usize,
    /// When they begin.
    pub pace: Pace,
    /// Webhooks; each gets every event.
    pub webhooks: u16,
    /// Decides what is posted.
    pub seed: u64,
    /// The share of notifications at the shared URL.
    pub shared_url_share: f64,
    /// The share of notifications that is posted twice.
    pub duplicate_share: f64,
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let events = vec![EventType::PaymentReceived, EventType::PaymentFailed];
    let subscribers: Vec<Subscriber> = (1..=options.webhooks.max(1))
        .map(|number| Subscriber {
            id: WebhookId::new(format!("wh_{number}")),
            events: events.clone(),
            profile: Profile::Healthy,
        })
        .collect();
    let (bench, fleet) = Bench::set_up(surroundings, &subscribers, options.seed, Layout::One, |_| {}).await?;
    let result = Box::pin(measure(&bench, fleet, surroundings.deadline, options)).await;
    bench.clear_up(result).await
}

async fn measure(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<Report> {
    fleet.start(&["hookline"]).await?;
    let simulator = Simulator::new(
        bench.target.clone(),
        SimulatorOptions {
            payments: options.payments,
            concurrency: options.concurrency,
            pace: options.pace,
            retry: RetryRule::scaled_down(),
            plan: PlanOptions {
                seed: options.seed,
                mix: Mix::received_and_failed(),
                shared_url_share: options.shared_url_share,
                duplicate_share: options.duplicate_share,
                ..PlanOptions::default()
            },
        },
        bench.clock,
    );
    let progress = simulator.progress();
    let began = bench.clock.elapsed();
    let line = || {
        let seconds = bench.clock.elapsed().saturating_sub(began).as_secs_f64();
        progress_line(&progress, Some(options.payments), seconds, bench.receiver.accepted())
    };
    let work = Box::pin(async {
        let before = fleet.usage()?;
        let ledger = simulator.run(CancellationToken::new()).await;
        let at_end = fleet.usage()?;
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        anyhow::Ok((ledger, before, at_end, fleet.usage()?))
    });
    let (ledger, before, at_end, after) = watched(bench.clock, deadline, line, work).await?;
    let (mut report, deliveries) = bench.conclude("steady", fleet, &ledger, &[]).await?;
    add_figures(&mut report, &ledger, &deliveries);
    add_cost(&mut report, &ledger, before, after);
    report.figure("rss_anon_bytes", at_end.rss_anon_bytes.max(after.rss_anon_bytes));
    Ok(report)
}

fn add_figures(report: &mut Report, ledger: &Ledger, deliveries: &[Delivery]) {
    let seconds = ledger.duration().as_secs_f64();
    report.figure("posting_seconds", rounded(seconds));
    report.figure("accepted_per_second", rounded(per_second(ledger.accepted, seconds)));
    report.figure("posts_per_second", rounded(per_second(ledger.posts, seconds)));
    report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &ledger.answer_micros);
    report.latency(["check_p50_ms", "check_p99_ms", "check_p999_ms"], &ledger.check_micros);
    let delivery = lateness::of(ledger, deliveries, |_, _| true);
    report.latency(["delivery_p50_ms", "delivery_p99_ms", "delivery_p999_ms"], &delivery);
}

/// CPU time of hookline from the first post until all was delivered. Two denominators, because half of the
/// posts are Checks, which cost a fraction.
fn add_cost(report: &mut Report, ledger: &Ledger, before: Usage, after: Usage) {
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    report.figure("cpu_seconds", rounded(cpu));
    for (name, count) in [
        ("cpu_seconds_per_million_posts", ledger.posts),
        ("cpu_seconds_per_million_accepted", ledger.accepted),
    ] {
        let per_million = if count == 0 { 0.0 } else { cpu / per_second(count, 1_000_000.0) };
        report.figure(name, rounded(per_million));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;

    #[test]
    fn cost_is_per_million() {
        let ledger = Ledger { posts: 2_000, accepted: 1_000, ..Ledger::new() };
        let usage = |millis| Usage { cpu: Duration::from_millis(millis), rss_anon_bytes: 0, open_files: 0 };
        let mut report = Report::new("steady", &Verdict::default());
        add_cost(&mut report, &ledger, usage(100), usage(150));
        let figure = |name| {
            let found = report.figures.iter().find(|(key, _)| *key == name);
            found.and_then(|(_, value)| value.as_f64())
        };
        assert_eq!(figure("cpu_seconds_per_million_posts"), Some(25.0));
        assert_eq!(figure("cpu_seconds_per_million_accepted"), Some(50.0));
    }
}
