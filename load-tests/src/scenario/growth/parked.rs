//! A million deliveries wait in a thousand lanes, because their endpoints are down: how long a start takes after an
//! orderly stop and after kill -9, until it is ready and until somebody else gets what was posted meanwhile.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;

use super::arm::{Arm, Started};
use super::tenants::{self, Site, Tenant};
use super::{FAN_OUT, Options};
use crate::admin::Admin;
use crate::receiver::Profile;
use crate::report::{Bound, Goal, Report, rounded};
use crate::scenario::Surroundings;

/// Organizations whose endpoints are down: each has ten lanes.
const DOWN: u32 = 100;
/// The one whose endpoints take everything.
const HEALTHY: u32 = DOWN;
/// Before each kill so many of all are parked anew: it shall find what was written down a moment ago, and what was not.
const FRESH_SHARE: u64 = 20;
/// From the start until it is ready.
const START_SECONDS: f64 = 5.0;
/// Anonymous memory.
const MEMORY_MIB: f64 = 512.0;
/// After a start, before the memory is looked at: lanes and connections are in use.
const SETTLE: Duration = Duration::from_secs(2);

/// How it ended before it was started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

/// A start, in seconds.
#[derive(Debug, Clone, Copy)]
struct Start {
    after: End,
    ready: f64,
    cpu: f64,
    first_delivery: f64,
    rss_anon_bytes: u64,
}

pub(super) async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let down = Tenant { webhooks: FAN_OUT, profile: Profile::Down };
    let mut tenants: Vec<Tenant> = (0..DOWN).map(|_| down).collect();
    tenants.push(Tenant { webhooks: FAN_OUT, profile: Profile::Healthy });
    let mut arm = Arm::set_up(surroundings, "parked", &tenants).await?;
    let measured = Box::pin(measure(&mut arm, options)).await;
    arm.clear_up(measured).await
}

async fn measure(arm: &mut Arm, options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::of_measurements("start with parked deliveries");
    arm.start().await?;
    park(arm, options.parked).await?;
    report.figure("lanes", DOWN * u32::from(FAN_OUT));
    report.figure("log_bytes", arm.log_bytes());
    let (mut starts, mut stop_seconds) = (Vec::new(), Vec::new());
    let mut rss_anon_bytes = arm.usage()?.rss_anon_bytes;
    let mut parked = options.parked;
    for _ in 0..options.rounds {
        for after in [End::Killed, End::Stopped] {
            match after {
                End::Killed => {
                    let fresh = fresh(options.parked);
                    park_more(arm, parked, fresh).await?;
                    parked += fresh;
                    arm.kill().await?;
                }
                End::Stopped => stop_seconds.push(rounded(arm.stop().await?.as_secs_f64())),
            }
            let start = start(arm, after, parked).await?;
            eprintln!("{start:.3?}");
            rss_anon_bytes = rss_anon_bytes.max(start.rss_anon_bytes);
            starts.push(start);
        }
    }
    report.figure("parked", parked);
    report.figure("stop_seconds", stop_seconds);
    judge(&mut report, &starts, rss_anon_bytes);
    Ok(report)
}

/// So many more deliveries, of whole events.
const fn fresh(parked: u64) -> u64 {
    parked / FRESH_SHARE / FAN_OUT as u64 * FAN_OUT as u64
}

fn judge(report: &mut Report, starts: &[Start], rss_anon_bytes: u64) {
    for (after, ready, cpu, first_delivery) in [
        (
            End::Stopped,
            "start_with_parked_seconds_after_stop",
            "start_cpu_seconds_after_stop",
            "first_delivery_seconds_after_stop",
        ),
        (
            End::Killed,
            "start_with_parked_seconds_after_kill",
            "start_cpu_seconds_after_kill",
            "first_delivery_seconds_after_kill",
        ),
    ] {
        let of = |seconds: fn(&Start) -> f64| -> Vec<f64> {
            starts.iter().filter(|start| start.after == after).map(seconds).collect()
        };
        let shown = |seconds: Vec<f64>| seconds.into_iter().map(rounded).collect::<Vec<f64>>();
        report.figure(cpu, shown(of(|start| start.cpu)));
        report.figure(first_delivery, shown(of(|start| start.first_delivery)));
        report.goal(Goal::judge(ready, "s", &of(|start| start.ready), Bound::AtMost(START_SECONDS)));
    }
    let memory = mebibytes(rss_anon_bytes);
    report.goal(Goal::judge("rss_anon_with_parked", "MiB", &[memory], Bound::AtMost(MEMORY_MIB)));
}

#[expect(clippy::cast_precision_loss, reason = "52 bits are enough for a figure")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

async fn start(arm: &mut Arm, after: End, parked: u64) -> anyhow::Result<Start> {
    let healthy: Arc<[Site]> = tenants::sites(HEALTHY..=HEALTHY);
    let Started { ready, cpu, first_delivery } = arm.start_under_way(&healthy).await?;
    await_backlog(arm, parked).await?;
    tokio::time::sleep(SETTLE).await;
    let rss_anon_bytes = arm.usage()?.rss_anon_bytes;
    let [ready, cpu, first_delivery] = [ready, cpu, first_delivery].map(|time| time.as_secs_f64());
    Ok(Start { after, ready, cpu, first_delivery, rss_anon_bytes })
}

async fn park(arm: &mut Arm, deliveries: u64) -> anyhow::Result<()> {
    park_more(arm, 0, deliveries).await
}

/// Posts what goes to the endpoints that are down, and waits until it stands in their lanes beside what was there.
async fn park_more(arm: &mut Arm, before: u64, deliveries: u64) -> anyhow::Result<()> {
    let sites = tenants::sites(0..DOWN);
    let events = deliveries / u64::from(FAN_OUT);
    ensure!(events > 0, "there is nothing to be parked");
    arm.fill(&sites, events).await?;
    await_backlog(arm, before + events * u64::from(FAN_OUT)).await
}

/// A delivery that is parked twice, as after a kill, counts twice: there may be more.
async fn await_backlog(arm: &mut Arm, least: u64) -> anyhow::Result<()> {
    arm.until("waiting for the lanes", async |admin| Ok(backlog(admin).await? >= least)).await
}

async fn backlog(admin: &Admin) -> anyhow::Result<u64> {
    Ok(admin.webhooks().await?.iter().map(|webhook| webhook.backlog).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(after: End, ready: f64) -> Start {
        Start { after, ready, cpu: ready / 2.0, first_delivery: ready + 0.5, rss_anon_bytes: 0 }
    }

    #[test]
    fn each_way_to_end_is_judged_by_itself_and_so_is_the_memory() {
        for (stopped, killed, mebibytes, missed) in [
            (5.0, 5.0, 512, &[][..]),
            (5.1, 1.0, 1, &["start_with_parked_seconds_after_stop"]),
            (1.0, 5.1, 1, &["start_with_parked_seconds_after_kill"]),
            (1.0, 1.0, 513, &["rss_anon_with_parked"]),
        ] {
            let mut report = Report::of_measurements("parked");
            let starts = [start(End::Stopped, stopped), start(End::Killed, killed)];
            judge(&mut report, &starts, mebibytes << 20);
            let failed = report.goals.iter().filter(|goal| !goal.pass).map(|goal| goal.figure);
            assert_eq!(failed.collect::<Vec<_>>(), missed);
            assert_eq!(report.pass, missed.is_empty());
        }
    }

    #[test]
    fn what_is_parked_anew_is_of_whole_events() {
        for (parked, expected) in [(1_000_000, 50_000), (1_000, 50), (1_999, 90)] {
            assert_eq!(fresh(parked), expected, "{parked}");
        }
    }
}
