//! The demonstration: every kind of notification in, two integrators out, one of whom fails now and then.

use std::time::Duration;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use tokio_util::sync::CancellationToken;

use super::{Bench, Subscriber, Surroundings, progress_line};
use crate::receiver::Profile;
use crate::report::{Report, rounded, watched};
use crate::simulator::{Mix, Options as SimulatorOptions, Pace, PlanOptions, RetryRule, Simulator};

/// After the last answer, until all has to be delivered.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// Runs it.
///
/// # Errors
///
/// If it could not be run; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, payments: u64) -> anyhow::Result<Report> {
    let subscribers = [
        Subscriber {
            id: WebhookId::new("wh_club_network"),
            events: vec![EventType::PaymentReceived, EventType::PaymentFailed],
            profile: Profile::Healthy,
        },
        Subscriber {
            id: WebhookId::new("wh_bookkeeping"),
            events: EventType::ALL.to_vec(),
            profile: Profile::Flaky { per_cent: 2 },
        },
    ];
    // A temporary directory may be in memory; the log then says so.
    let bench =
        Bench::set_up(surroundings, &subscribers, 1, |config| config.log.allow_page_cache = true).await?;
    let result = Box::pin(demonstrate(&bench, surroundings.deadline, payments)).await;
    bench.clear_up(result).await
}

async fn demonstrate(bench: &Bench, deadline: Duration, payments: u64) -> anyhow::Result<Report> {
    let mut hookline = bench.launch.start(bench.clock).await?;
    eprintln!("hookline runs; CloudPayments is simulated, and so are two integrators:");
    for subscription in &bench.subscriptions {
        eprintln!("  {} asks for {} types of events", subscription.webhook, subscription.events.len());
    }
    let plan = PlanOptions {
        mix: Mix::everything(),
        shared_url_share: 0.3,
        duplicate_share: 0.05,
        ..PlanOptions::default()
    };
    let options = SimulatorOptions {
        payments,
        concurrency: 32,
        pace: Pace::Closed,
        retry: RetryRule::scaled_down(),
        plan,
    };
    let simulator = Simulator::new(bench.target.clone(), options, bench.clock);
    let progress = simulator.progress();
    let began = bench.clock.elapsed();
    let line = || {
        let seconds = bench.clock.elapsed().saturating_sub(began).as_secs_f64();
        progress_line(&progress, Some(payments), seconds, bench.receiver.accepted())
    };
    let work = Box::pin(async {
        let ledger = simulator.run(CancellationToken::new()).await;
        bench.drain(&mut hookline, &ledger, &[], DRAIN_WITHIN).await?;
        let dead = hookline.metric("hookline_dispatcher", "outcome=\"dead\"").await?;
        anyhow::Ok((ledger, dead))
    });
    let (ledger, dead) = watched(bench.clock, deadline, line, work).await?;
    let (mut report, _) = bench.conclude("demo", hookline, &ledger, &[]).await?;
    report.figure("dead", rounded(dead));
    report.require(dead == 0.0, || {
        "there are dead letters, and no receiver refused anything for good".to_owned()
    });
    report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &ledger.answer_micros);
    report.latency(["check_p50_ms", "check_p99_ms", "check_p999_ms"], &ledger.check_micros);
    Ok(report)
}
