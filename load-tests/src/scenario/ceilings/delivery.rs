//! What a delivery costs: the time of hookline's process per attempt, beside that of a client that has nothing to do but
//! to sign twice and to post.
//!
//! Both post to a sink, over as many connections at most, the same bodies under the same headers. hookline works off a
//! backlog, so that it never waits for events; all of its threads count, with the log, the journal of attempts and the
//! commits, from the moment that a tenth is delivered until nine tenths are.
//!
//! By its defaults hookline would put a backlog into the lanes: the window is no place to wait for a receiver, and ten
//! of them take a full window in more time than a delivery may wait there. That costs an append for each delivery, and is
//! not what a delivery costs while hookline keeps up. So here the window is smaller, its patience without end, and the
//! queues hold everything, because a reader's first piece may be more than the window; that nothing was parked is
//! required.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::super::lone::{FOR_EVER, Lone};
use super::super::poster::Posted;
use super::super::{Surroundings, per_second};
use crate::ceiling;
use crate::ceiling::signing_client::Spent;
use crate::process::Hookline;
use crate::report::{Bound, Goal, Report, rounded, watched};
use crate::sink::SinkProcess;

/// Events, each for every webhook.
const EVENTS: u32 = 30_000;
const WEBHOOKS: u16 = 10;
/// Requests in flight at each webhook: hookline's default.
const IN_FLIGHT: u16 = 32;
/// Of each partition: enough that all that may be in flight is, and little beside a whole backlog.
const WINDOW_EVENTS: u16 = 128;
/// Between two looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// For the client alone.
const CLIENT_WITHIN: Duration = Duration::from_secs(300);
/// What is posted does not matter.
const SEED: u64 = 1;

/// One measurement of either.
#[derive(Debug, Default)]
struct Arm {
    attempts: u64,
    cpu: Duration,
    seconds: f64,
    /// What the sink used in all.
    sink_cpu: Duration,
    requests: u64,
    connections: u64,
    rss_anon_bytes: u64,
    /// Deliveries that were put into a lane: those cost more than an attempt.
    parked: f64,
}

impl Arm {
    fn micros_per_attempt(&self) -> f64 {
        1e6 / per_second(self.attempts, self.cpu.as_secs_f64())
    }

    fn reuse(&self) -> f64 {
        1.0 - per_second(self.connections, 1.0) / per_second(self.requests, 1.0)
    }

    fn to_json(&self) -> Value {
        json!({
            "attempts": self.attempts,
            "cpu_seconds": rounded(self.cpu.as_secs_f64()),
            "cpu_seconds_per_million": rounded(self.micros_per_attempt()),
            "attempts_per_second": rounded(per_second(self.attempts, self.seconds)),
            "requests": self.requests,
            "connections": self.connections,
            "sink_cpu_seconds_per_million": rounded(1e6 / per_second(self.requests, self.sink_cpu.as_secs_f64())),
            "rss_anon_bytes": self.rss_anon_bytes,
            "parked": self.parked,
        })
    }
}

/// Adds the figures of delivery: both, so many times in turn, in the other order every other time.
///
/// # Errors
///
/// If a measurement could not be made, or a delivery got lost in one.
pub(super) async fn measure(
    surroundings: &Surroundings,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut ratios, mut reuse, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (ours, ceiling) = if round.is_multiple_of(2) {
            let ceiling = Box::pin(measure_ceiling()).await?;
            (Box::pin(measure_ours(surroundings, report)).await?, ceiling)
        } else {
            (Box::pin(measure_ours(surroundings, report)).await?, Box::pin(measure_ceiling()).await?)
        };
        let ratio = ours.micros_per_attempt() / ceiling.micros_per_attempt();
        eprintln!(
            "delivery, round {round} of {rounds}: {:.1} µs an attempt, the bare client {:.1} µs: {ratio:.2}",
            ours.micros_per_attempt(),
            ceiling.micros_per_attempt()
        );
        report.require(ours.parked == 0.0, || {
            format!("{} deliveries were parked: what was measured is not what a delivery costs", ours.parked)
        });
        ratios.push(ratio);
        reuse.push(ours.reuse());
        raw.push(json!({ "ours": ours.to_json(), "ceiling": ceiling.to_json() }));
    }
    report.figure("delivery_rounds", raw);
    report.goal(Goal::judge("delivery_cpu", "ratio", &ratios, Bound::AtMost(1.3)));
    report.goal(Goal::judge("connection_reuse", "share", &reuse, Bound::AtLeast(0.99)));
    Ok(())
}

async fn measure_ours(surroundings: &Surroundings, report: &mut Report) -> anyhow::Result<Arm> {
    let lone = Lone::set_up(surroundings, WEBHOOKS, SEED).await?;
    let measured = Box::pin(drain(&lone, surroundings.deadline)).await;
    let result = match measured {
        Ok((posted, arm)) => require_all(&lone, &posted, report).await.map(|()| arm),
        Err(error) => Err(error),
    };
    lone.clear_up(&result, |_| true);
    result
}

/// Losses and copies are a failure of the scenario, whatever they cost.
async fn require_all(lone: &Lone, posted: &Posted, report: &mut Report) -> anyhow::Result<()> {
    let mut judged = Report::of_measurements("delivery");
    lone.judge(posted, &mut judged).await?;
    for failure in judged.failures {
        report.require(false, || failure);
    }
    Ok(())
}

/// Makes a backlog, and measures how hookline works it off.
async fn drain(lone: &Lone, deadline: Duration) -> anyhow::Result<(Posted, Arm)> {
    let posted = lone.fill(EVENTS.into(), deadline).await?;
    let hookline = lone.start(|config| {
        let dispatcher = &mut config.dispatcher;
        dispatcher.endpoint_concurrency = Some(IN_FLIGHT);
        dispatcher.window_events = Some(WINDOW_EVENTS);
        dispatcher.budget = Some(FOR_EVER.to_owned());
        dispatcher.endpoint_queue = Some(EVENTS);
    });
    let hookline = hookline.await?;
    let expected = lone.expected(&posted);
    let looked = std::cell::Cell::new(0);
    let line = || format!("delivery: {} of {expected}", looked.get());
    let course = async {
        let mut arm = look(lone, &hookline, expected, &looked).await?;
        lone.drain(&posted).await?;
        arm.parked = hookline.metric("hookline_dispatcher_parked_total", "reason=").await?;
        let counts = lone.sink.counts().await?;
        (arm.requests, arm.connections, arm.sink_cpu) =
            (counts.requests, counts.connections, lone.sink.cpu()?);
        anyhow::Ok(arm)
    };
    let arm = watched(lone.clock, deadline, line, Box::pin(course)).await?;
    let status = hookline.stop(Duration::from_secs(40)).await?;
    ensure!(status.success(), "hookline stopped with {status}");
    Ok((posted, arm))
}

/// Looks from a tenth to nine tenths of what is expected.
async fn look(
    lone: &Lone,
    hookline: &Hookline,
    expected: u64,
    looked: &std::cell::Cell<u64>,
) -> anyhow::Result<Arm> {
    let mut arm = Arm::default();
    let mut before = None;
    loop {
        let (usage, at) = (hookline.usage()?, lone.clock.elapsed());
        let requests = lone.sink.counts().await?.requests;
        looked.set(requests);
        arm.rss_anon_bytes = arm.rss_anon_bytes.max(usage.rss_anon_bytes);
        if requests >= expected / 10 {
            let (cpu, began, first) = *before.get_or_insert((usage.cpu, at, requests));
            if requests >= expected / 10 * 9 {
                ensure!(requests > first, "the backlog was gone before it could be looked at");
                arm.attempts = requests - first;
                arm.cpu = usage.cpu.saturating_sub(cpu);
                arm.seconds = at.saturating_sub(began).as_secs_f64();
                return Ok(arm);
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Has the bare client post as much to a sink of its own.
async fn measure_ceiling() -> anyhow::Result<Arm> {
    let sink = SinkProcess::start(WEBHOOKS, Duration::ZERO).await?;
    let (to, webhooks, events) = (sink.address().to_string(), WEBHOOKS.to_string(), EVENTS.to_string());
    let in_flight = IN_FLIGHT.to_string();
    let arguments = ["signing-client", "--sink", &to, "--webhooks", &webhooks, "--events", &events];
    let arguments = [&arguments[..], &["--in-flight", &in_flight]].concat();
    let spent: Spent = ceiling::measure(&arguments, None, CLIENT_WITHIN).await?;
    let counts = sink.counts().await?;
    let expected = u64::from(EVENTS) * u64::from(WEBHOOKS);
    ensure!(counts.distinct == expected && counts.bad_signatures == 0, "the bare client failed: {counts:?}");
    Ok(Arm {
        attempts: spent.attempts,
        cpu: Duration::from_secs_f64(spent.cpu_seconds),
        seconds: spent.seconds,
        sink_cpu: sink.cpu()?,
        requests: counts.requests,
        connections: counts.connections,
        ..Arm::default()
    })
}
