//! Dispatchers share the work: three deliver what one can not.
//!
//! What limits here is the number of attempts that a dispatcher has in flight per endpoint: an endpoint that
//! takes 50 ms gets 20 deliveries a second for each of them. More load than one dispatcher can send, and less
//! than three can, comes in. One dispatcher alone parks the rest. A backlog would not show the difference: an
//! endpoint's lane is drained by one owner, however many dispatchers there are, and while it is not empty
//! everything new joins it. So each measurement begins with topics of its own.

use std::time::Duration;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout, Subscriber};
use super::brokers::Brokers;
use super::fleet::Fleet;
use super::{Surroundings, per_second, progress_line, require_no_dead_letters, run_name};
use crate::config::{Config, Kafka};
use crate::receiver::Profile;
use crate::report::{Report, rounded, watched};
use crate::simulator::{Mix, Options as SimulatorOptions, Pace, PlanOptions, RetryRule, Simulator};

/// What an endpoint takes for an answer.
const LATENCY: Duration = Duration::from_millis(50);
/// Attempts that one dispatcher has in flight at an endpoint: at most 80 deliveries a second.
const ENDPOINT_CONCURRENCY: u16 = 4;
/// Webhooks; each gets every event.
const WEBHOOKS: u16 = 3;
/// Events per second: 2.1 times what one dispatcher can send to an endpoint. Of three, the one with most
/// partitions (6 of 16) gets 0.8 times what it can.
const EVENTS_PER_SECOND: u32 = 168;
/// How many dispatchers there are first, and then.
const DISPATCHERS: [(&str, u16); 2] = [("one dispatcher", 1), ("three dispatchers", 3)];
/// Three have to deliver so many times what one does.
const LEAST_RATIO: f64 = 1.8;
/// Each of three has to deliver this share.
const LEAST_SHARE: f64 = 0.15;
/// From the first post until it is measured.
const WARM_UP: Duration = Duration::from_secs(5);
/// After the last answer, until all has to be delivered: what one dispatcher could not send waits in lanes.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);
/// No run needs more payments; the end of the measurement ends the posting.
const MOST_PAYMENTS: u64 = 1_000_000;

/// How long is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// With each number of dispatchers.
    pub measured: Duration,
}

/// Deliveries in the measured time.
#[derive(Debug)]
struct Measured {
    per_second: f64,
    /// Of each dispatcher.
    attempts: Vec<f64>,
    /// Partitions of events that each owns.
    partitions: Vec<f64>,
}

impl Measured {
    /// The least share of all attempts that a dispatcher made.
    fn least_share(&self) -> f64 {
        let all: f64 = self.attempts.iter().sum();
        self.attempts.iter().map(|attempts| attempts / all.max(1.0)).fold(1.0, f64::min)
    }
}

/// Runs it, over one broker.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let brokers = Brokers::start(&hookline_local_kafka::script(), 1).await?;
    let (mut parts, mut rates) = (Vec::new(), Vec::new());
    for (name, dispatchers) in DISPATCHERS {
        let (part, per_second) =
            Box::pin(with_dispatchers(surroundings, &brokers, name, dispatchers, options)).await?;
        parts.push(part);
        rates.push(per_second);
    }
    let mut report = Report::of_parts("spread", parts);
    let ratio = rates.last().copied().unwrap_or_default() / rates.first().copied().unwrap_or(f64::NAN);
    report.figure("ratio", rounded(ratio));
    report.require(ratio >= LEAST_RATIO, || {
        format!("three dispatchers deliver {ratio:.2} times what one does, and not {LEAST_RATIO}")
    });
    Ok(report)
}

async fn with_dispatchers(
    surroundings: &Surroundings,
    brokers: &Brokers,
    name: &'static str,
    dispatchers: u16,
    options: &Options,
) -> anyhow::Result<(Report, f64)> {
    let subscribers: Vec<Subscriber> = (1..=WEBHOOKS)
        .map(|number| Subscriber {
            id: WebhookId::new(format!("wh_{number}")),
            events: vec![EventType::PaymentReceived, EventType::PaymentFailed],
            profile: Profile::Slow(LATENCY),
        })
        .collect();
    let log = Kafka::of_run(brokers.bootstrap_servers(), &run_name("spread"), 1);
    let layout = Layout::Several { log, edges: 1, dispatchers, controls: 0 };
    let adjust = |config: &mut Config| config.dispatcher.endpoint_concurrency = Some(ENDPOINT_CONCURRENCY);
    let (bench, fleet) = Bench::set_up(surroundings, &subscribers, 1, layout, adjust).await?;
    let mut rate = 0.0;
    let measured = Box::pin(measure(&bench, fleet, name, surroundings.deadline, options)).await;
    let result = measured.map(|(report, measured)| {
        rate = measured.per_second;
        report
    });
    Ok((bench.clear_up(result).await?, rate))
}

async fn measure(
    bench: &Bench,
    mut fleet: Fleet,
    name: &'static str,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<(Report, Measured)> {
    fleet.start_all().await?;
    fleet.await_shares().await?;
    let simulator = Simulator::new(bench.target.clone(), load(), bench.clock);
    let progress = simulator.progress();
    let line = || {
        let seconds = bench.clock.elapsed().as_secs_f64();
        format!("{name}: {}", progress_line(&progress, None, seconds, bench.receiver.accepted()))
    };
    let work = Box::pin(async {
        let stop = CancellationToken::new();
        let posting = async { anyhow::Ok(simulator.run(stop.clone()).await) };
        let measuring = async {
            tokio::time::sleep(WARM_UP).await;
            let measured = deliveries_within(bench, &fleet, options.measured).await;
            stop.cancel();
            measured
        };
        let (ledger, measured) = tokio::try_join!(posting, measuring)?;
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        anyhow::Ok((ledger, measured, fleet.dead_letters().await?))
    });
    let (ledger, measured, dead) = watched(bench.clock, deadline, line, work).await?;
    let (mut report, _) = bench.conclude(name, fleet, &ledger, &[]).await?;
    require_no_dead_letters(&mut report, dead);
    report
        .figure("accepted_per_second", rounded(per_second(ledger.accepted, ledger.duration().as_secs_f64())));
    add_figures(&mut report, &measured);
    Ok((report, measured))
}

fn load() -> SimulatorOptions {
    SimulatorOptions {
        payments: MOST_PAYMENTS,
        concurrency: 64,
        pace: Pace::Open { per_second: EVENTS_PER_SECOND },
        retry: RetryRule::scaled_down(),
        plan: PlanOptions {
            mix: Mix::received_and_failed(),
            shared_url_share: 0.0,
            duplicate_share: 0.0,
            ..PlanOptions::default()
        },
    }
}

async fn deliveries_within(bench: &Bench, fleet: &Fleet, time: Duration) -> anyhow::Result<Measured> {
    let (began, delivered, before) =
        (bench.clock.elapsed(), bench.receiver.accepted(), attempts(fleet).await?);
    tokio::time::sleep(time).await;
    let after = attempts(fleet).await?;
    let delivered = bench.receiver.accepted().saturating_sub(delivered);
    let seconds = bench.clock.elapsed().saturating_sub(began).as_secs_f64();
    Ok(Measured {
        per_second: per_second(delivered, seconds),
        attempts: after.iter().zip(&before).map(|(after, before)| after - before).collect(),
        partitions: fleet.event_partitions().await?,
    })
}

/// Delivering attempts of each dispatcher since it was started.
async fn attempts(fleet: &Fleet) -> anyhow::Result<Vec<f64>> {
    fleet.of_dispatchers("hookline_dispatcher_attempts_total", "outcome=\"delivered\"").await
}

fn add_figures(report: &mut Report, measured: &Measured) {
    report.figure("deliveries_per_second", rounded(measured.per_second));
    report
        .figure("attempts_by_dispatcher", measured.attempts.iter().copied().map(rounded).collect::<Vec<_>>());
    report.figure("partitions_by_dispatcher", measured.partitions.clone());
    let least = measured.least_share();
    report.figure("least_share", rounded(least));
    report.require(least >= LEAST_SHARE, || {
        format!("a dispatcher made {:.0} % of the attempts", 100.0 * least)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_share_is_that_of_the_idlest() {
        for (attempts, expected) in
            [(vec![10.0], 1.0), (vec![10.0, 30.0], 0.25), (vec![50.0, 0.0, 50.0], 0.0), (vec![0.0, 0.0], 0.0)]
        {
            let measured = Measured { per_second: 1.0, attempts, partitions: Vec::new() };
            assert!((measured.least_share() - expected).abs() < 1e-9, "{measured:?}");
        }
    }
}
