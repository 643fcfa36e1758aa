//! One arm: a fresh hookline, a warm-up, the measured part with or without bad endpoints, and the time in which
//! all that was held up has to arrive.

use std::num::NonZero;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::super::bench::{Bench, Layout};
use super::super::fleet::Fleet;
use super::super::{Surroundings, lateness, per_second, progress_line, require_no_dead_letters, sites};
use super::Options;
use super::pairs::{Arm, Percentiles};
use crate::checker::Disturbance;
use crate::config::Config;
use crate::process;
use crate::receiver::{Delivery, Profile};
use crate::report::{Report, rounded, watched};
use crate::simulator::{
    Ledger, Mix, Options as SimulatorOptions, Pace, PlanOptions, Progress, RetryRule, Simulator,
};

/// How the bad ones are bad, each for the same part of the measured time.
const BAD: [Profile; 3] =
    [Profile::Hang(Duration::from_secs(30)), Profile::Status(500), Profile::Status(429)];
/// Seldom enough that probes are no load, often enough that who is healed does not wait for long.
const PROBES: [&str; 2] = ["2s", "5s"];
/// Before it is measured, everybody healthy, at least: connections are opened and positions committed.
const WARM_UP: Duration = Duration::from_secs(3);
/// By then each endpoint has had so many events: its connection is open.
const WARM_UP_EVENTS: u32 = 2;
/// How long hookline is driven as fast as it goes to find out how fast that is.
const SATURATION: Duration = Duration::from_secs(6);
/// Payments under way at once to drive it so.
const SATURATING: usize = 64;
/// Payments under way at once in an open loop: more than ever are, so that none waits for another.
const CONCURRENCY: usize = 256;
/// Between two looks at the memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// After the last answer, until all has to be delivered: attempts that hang end after 15 s.
const DRAIN_WITHIN: Duration = Duration::from_secs(90);
/// No arm needs more payments; the end of the measured part ends the posting.
const MOST_PAYMENTS: u64 = 10_000_000;

/// What an arm is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everybody is healthy.
    Healthy,
    /// Some are bad.
    Bad,
    /// Some are bad, and hookline is killed in the middle.
    Killed,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy arm",
            Self::Bad => "bad arm",
            Self::Killed => "bad arm with a kill",
        }
    }
}

/// What the measured part leaves behind.
#[derive(Debug, Default)]
struct Measured {
    from: Duration,
    until: Duration,
    rss_anon_bytes: u64,
    cpu: Cpu,
    disturbances: Vec<Disturbance>,
}

/// Time of processors.
#[derive(Debug, Clone, Copy, Default)]
struct Cpu {
    hookline: Duration,
    /// Of whatever else the machine did: where that is much, arms are hardly comparable.
    others: Duration,
}

impl Cpu {
    /// What has been used until now; hookline runs.
    fn now(fleet: &Fleet) -> anyhow::Result<Self> {
        let hookline = fleet.usage()?.cpu;
        let ours = hookline + process::cpu_of("self")?;
        Ok(Self { hookline, others: process::cpu_of_machine()?.saturating_sub(ours) })
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            hookline: self.hookline.saturating_sub(earlier.hookline),
            others: self.others.saturating_sub(earlier.others),
        }
    }
}

/// Measures how many events per second hookline takes and delivers, everybody healthy: the lesser of both.
pub(super) async fn saturation(
    surroundings: &Surroundings,
    options: &Options,
) -> anyhow::Result<(Report, f64)> {
    let (bench, fleet) = set_up(surroundings, options).await?;
    let measured = Box::pin(saturate(&bench, fleet, surroundings.deadline, options)).await;
    let mut saturated = 0.0;
    let result = measured.map(|(report, per_second)| {
        saturated = per_second;
        report
    });
    Ok((bench.clear_up(result).await?, saturated))
}

/// Goes through one arm.
pub(super) async fn run(
    surroundings: &Surroundings,
    options: &Options,
    kind: Kind,
    per_second: u32,
) -> anyhow::Result<(Report, Arm)> {
    let (bench, fleet) = set_up(surroundings, options).await?;
    let measured = Box::pin(measure(&bench, fleet, surroundings.deadline, options, kind, per_second)).await;
    let mut found = None;
    let result = measured.map(|(report, arm)| {
        found = Some(arm);
        report
    });
    let report = bench.clear_up(result).await?;
    Ok((report, found.context("an arm with a report was measured")?))
}

async fn set_up(surroundings: &Surroundings, options: &Options) -> anyhow::Result<(Bench, Fleet)> {
    let subscribers = sites::subscribers(options.endpoints, Profile::Healthy);
    let adjust = |config: &mut Config| {
        sites::separate(config);
        config.dispatcher.probe_schedule = Some(PROBES.map(str::to_owned).to_vec());
    };
    Bench::set_up(surroundings, &subscribers, options.seed, Layout::One, adjust).await
}

fn load(options: &Options, pace: Pace) -> SimulatorOptions {
    SimulatorOptions {
        payments: MOST_PAYMENTS,
        concurrency: if pace == Pace::Closed { SATURATING } else { CONCURRENCY },
        pace,
        retry: RetryRule::scaled_down(),
        plan: PlanOptions {
            seed: options.seed,
            mix: Mix::received_and_failed(),
            shared_url_share: 0.0,
            duplicate_share: 0.0,
            sites: sites::sites(0..options.endpoints),
            ..PlanOptions::default()
        },
    }
}

/// Posts while something is done, and until that is over.
async fn beside<T>(
    bench: &Bench,
    load: SimulatorOptions,
    deadline: Duration,
    name: &'static str,
    course: impl AsyncFnOnce(&Progress) -> anyhow::Result<T>,
) -> anyhow::Result<(Ledger, T)> {
    let simulator = Simulator::new(bench.target.clone(), load, bench.clock);
    let progress = simulator.progress();
    let line = || {
        let seconds = bench.clock.elapsed().as_secs_f64();
        let line = progress_line(&progress, None, seconds, bench.receiver.accepted());
        format!("{name}: {line}, {} connections", bench.receiver.connections())
    };
    let work = Box::pin(async {
        let stop = CancellationToken::new();
        let posting = async { anyhow::Ok(simulator.run(stop.clone()).await) };
        let course = async {
            let result = course(&progress).await;
            stop.cancel();
            result
        };
        tokio::try_join!(posting, course)
    });
    watched(bench.clock, deadline, line, work).await
}

async fn saturate(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<(Report, f64)> {
    fleet.start(&["hookline"]).await?;
    let counts = |progress: &Progress| {
        let accepted = progress.accepted.load(std::sync::atomic::Ordering::Relaxed);
        (bench.clock.elapsed(), accepted, bench.receiver.accepted())
    };
    let course = async |progress: &Progress| {
        tokio::time::sleep(WARM_UP).await;
        let before = counts(progress);
        tokio::time::sleep(SATURATION).await;
        let after = counts(progress);
        let seconds = after.0.saturating_sub(before.0).as_secs_f64();
        Ok((per_second(after.1 - before.1, seconds), per_second(after.2 - before.2, seconds)))
    };
    let load = load(options, Pace::Closed);
    let (ledger, (accepted, delivered)) = beside(bench, load, deadline, "saturation", course).await?;
    bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
    let (mut report, _) = bench.conclude("saturation", fleet, &ledger, &[]).await?;
    report.figure("accepted_per_second", rounded(accepted));
    report.figure("delivered_per_second", rounded(delivered));
    Ok((report, accepted.min(delivered)))
}

async fn measure(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    options: &Options,
    kind: Kind,
    per_second: u32,
) -> anyhow::Result<(Report, Arm)> {
    fleet.start(&["hookline"]).await?;
    let load = load(options, Pace::Open { per_second });
    let warm_up = WARM_UP.max(warm_up(options.endpoints, per_second));
    let course = async |_: &Progress| {
        tokio::time::sleep(warm_up).await;
        course(bench, &mut fleet, options, kind).await
    };
    let (ledger, measured) = beside(bench, load, deadline, kind.name(), course).await?;
    bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
    let dead = fleet.dead_letters().await?;
    let (mut report, deliveries) =
        bench.conclude(kind.name(), fleet, &ledger, &measured.disturbances).await?;
    require_no_dead_letters(&mut report, dead);
    let percentiles = add_figures(&mut report, options, &measured, &ledger, &deliveries);
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let time = measured.until.saturating_sub(measured.from) * u32::try_from(processors)?;
    let others = measured.cpu.others.div_duration_f64(time);
    Ok((report, Arm { percentiles, rss_anon_bytes: measured.rss_anon_bytes, others }))
}

fn warm_up(endpoints: u16, per_second: u32) -> Duration {
    Duration::from_secs(1) * WARM_UP_EVENTS * u32::from(endpoints) / per_second.max(1)
}

/// The measured part; everybody is healthy again, and hookline runs, when this returns.
async fn course(bench: &Bench, fleet: &mut Fleet, options: &Options, kind: Kind) -> anyhow::Result<Measured> {
    let mut measured = Measured { from: bench.clock.elapsed(), ..Measured::default() };
    let cpu_before = Cpu::now(fleet)?;
    let part = options.measured / u32::try_from(BAD.len())?;
    for (number, profile) in BAD.into_iter().enumerate() {
        if kind != Kind::Healthy {
            set_bad(bench, options, profile);
        }
        if kind == Kind::Killed && number == BAD.len() / 2 {
            look_for(bench, fleet, part / 2, &mut measured).await?;
            let at = bench.clock.elapsed();
            fleet.kill("hookline").await?;
            measured.disturbances.push(Disturbance { at, until: bench.clock.elapsed() });
            fleet.start(&["hookline"]).await?;
            look_for(bench, fleet, part / 2, &mut measured).await?;
        } else {
            look_for(bench, fleet, part, &mut measured).await?;
        }
    }
    measured.cpu = Cpu::now(fleet)?.since(cpu_before);
    measured.until = bench.clock.elapsed();
    set_bad(bench, options, Profile::Healthy);
    Ok(measured)
}

async fn look_for(
    bench: &Bench,
    fleet: &mut Fleet,
    time: Duration,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let end = bench.clock.elapsed() + time;
    loop {
        let left = end.saturating_sub(bench.clock.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
        fleet.check_alive()?;
        measured.rss_anon_bytes = measured.rss_anon_bytes.max(fleet.usage()?.rss_anon_bytes);
    }
}

fn set_bad(bench: &Bench, options: &Options, profile: Profile) {
    for number in (0..options.endpoints).filter(|number| is_bad(*number, options)) {
        bench.receiver.set_profile(&sites::webhook(number), profile);
    }
}

/// Spread evenly, because sites take turns: bad ones in a row would be bursts.
fn is_bad(number: u16, options: &Options) -> bool {
    let bad_below = |number: u32| number * u32::from(options.bad) / u32::from(options.endpoints.max(1));
    bad_below(u32::from(number)) != bad_below(u32::from(number) + 1)
}

fn add_figures(
    report: &mut Report,
    options: &Options,
    measured: &Measured,
    ledger: &Ledger,
    deliveries: &[Delivery],
) -> Percentiles {
    let compared: std::collections::HashSet<_> =
        (0..options.endpoints).filter(|number| !is_bad(*number, options)).map(sites::webhook).collect();
    let lateness = lateness::of(ledger, deliveries, |entry, delivery| {
        let is_measured = entry.answered.is_some_and(|at| measured.from <= at && at <= measured.until);
        is_measured && compared.contains(&delivery.webhook)
    });
    report.figure("compared_deliveries", lateness.len());
    report.latency(["delivery_p50_ms", "delivery_p99_ms", "delivery_p999_ms"], &lateness);
    report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &ledger.answer_micros);
    report.figure("rss_anon_bytes", measured.rss_anon_bytes);
    // After a kill there is another process, whose time begins at 0.
    if measured.disturbances.is_empty() {
        report.figure("cpu_seconds", rounded(measured.cpu.hookline.as_secs_f64()));
        report.figure("cpu_seconds_of_others", rounded(measured.cpu.others.as_secs_f64()));
    }
    let refused = deliveries.iter().filter(|delivery| !delivery.is_accepted()).count();
    report.figure("deliveries_refused", refused);
    Percentiles::of(&lateness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(endpoints: u16, bad: u16) -> Options {
        let measured = Duration::from_secs(1);
        Options { endpoints, bad, pairs: 1, measured, per_second: None, seed: 1, is_killed: false }
    }

    #[test]
    fn bad_ones_are_as_many_as_asked_for_and_spread_evenly() {
        for (endpoints, bad) in [(1000, 100), (10, 3), (7, 1), (5, 5), (5, 0)] {
            let options = options(endpoints, bad);
            let found: Vec<u16> = (0..endpoints).filter(|number| is_bad(*number, &options)).collect();
            assert_eq!(found.len(), usize::from(bad));
            let steps = found.windows(2).map(|pair| pair.iter().max().zip(pair.iter().min()));
            let steps: Vec<u16> = steps.flatten().map(|(high, low)| high - low).collect();
            let even = |step: &u16| step.abs_diff(endpoints / bad.max(1)) <= 1;
            assert!(steps.iter().all(even), "{found:?}");
        }
    }

    #[test]
    fn in_the_warm_up_each_endpoint_is_reached() {
        assert_eq!(warm_up(1000, 250), Duration::from_secs(8));
        assert_eq!(warm_up(1000, 4000), Duration::from_millis(500));
    }
}
