//! An empty log, and one of gibibytes: both deliver the same.
//!
//! The large one is filled through the edge with events that no webhook asks for, so that it holds what a log holds after
//! days of deliveries, and none of them has to be made. The empty one is made anew each time.

use std::sync::Arc;
use std::time::Duration;

use super::arm::Arm;
use super::tenants::{self, Site, Tenant};
use super::turns::{Size, alternate, judge};
use super::{FAN_OUT, Options};
use crate::receiver::Profile;
use crate::report::{Report, rounded};
use crate::scenario::Surroundings;

/// Between two looks at how large the log is.
const FILL_STEP: u64 = 10_000;
/// Before it is measured: connections are open, and what stood in the log has been passed.
const WARM_UP_EVENTS: u64 = 2_000;
/// The organization whose events are delivered; the other one has no webhooks.
const DELIVERED: u32 = 0;
const KEPT: u32 = 1;

pub(super) async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let tenants = [
        Tenant { webhooks: FAN_OUT, profile: Profile::Healthy },
        Tenant { webhooks: 0, profile: Profile::Healthy },
    ];
    let mut large = Arm::set_up(surroundings, "large log", &tenants).await?;
    let measured = Box::pin(measure(surroundings, &mut large, &tenants, options)).await;
    large.clear_up(measured).await
}

async fn measure(
    surroundings: &Surroundings,
    large: &mut Arm,
    tenants: &[Tenant],
    options: &Options,
) -> anyhow::Result<Report> {
    let mut report = Report::of_measurements("growth of the log");
    let filled = fill(large, options.log_bytes).await?;
    report.figure("events_in_the_log", filled);
    report.figure("log_bytes", large.log_bytes());
    let sites = tenants::sites(DELIVERED..=DELIVERED);
    let (mut start_seconds, mut caught_up_cpu, mut memory) = (Vec::new(), Vec::new(), 0);
    let rounds = alternate(options.rounds, async |size| match size {
        Size::Small => {
            let mut small = Arm::set_up(surroundings, "empty log", tenants).await?;
            let cost = Box::pin(cost(&mut small, &sites, options.events)).await;
            Ok(small.clear_up(cost).await?.delivery)
        }
        Size::Large => {
            let cost = Box::pin(cost(large, &sites, options.events)).await?;
            start_seconds.push(rounded(cost.started.as_secs_f64()));
            caught_up_cpu.push(rounded(cost.caught_up_cpu.as_secs_f64()));
            memory = large.usage()?.rss_anon_bytes.max(memory);
            large.stop().await?;
            Ok(cost.delivery)
        }
    });
    let rounds = Box::pin(rounds).await?;
    report.figure("large_start_seconds", start_seconds);
    report.figure("large_caught_up_cpu_seconds", caught_up_cpu);
    report.figure("large_rss_anon_bytes", memory);
    judge(&mut report, "growth_log", &rounds);
    Ok(report)
}

/// Posts until the log is as large as that. How many events stand in it.
async fn fill(arm: &mut Arm, bytes: u64) -> anyhow::Result<u64> {
    let sites: Arc<[Site]> = tenants::sites(KEPT..=KEPT);
    arm.start().await?;
    let mut filled = 0;
    while arm.log_bytes() < bytes {
        arm.fill(&sites, FILL_STEP).await?;
        filled += FILL_STEP;
    }
    // All that stands before it has been planned once this has been delivered.
    arm.deliver(&tenants::sites(DELIVERED..=DELIVERED), WARM_UP_EVENTS).await?;
    arm.stop().await?;
    Ok(filled)
}

/// What one start and what is delivered after it cost.
struct Cost {
    /// Until it was ready.
    started: Duration,
    /// On its processors, until all that follows the log had come to its end: the view of payments reads every one anew.
    caught_up_cpu: Duration,
    /// Of a delivery, in microseconds.
    delivery: f64,
}

async fn cost(arm: &mut Arm, sites: &Arc<[Site]>, events: u64) -> anyhow::Result<Cost> {
    let started = arm.start().await?;
    arm.deliver(sites, WARM_UP_EVENTS).await?;
    let caught_up_cpu = arm.rest().await?;
    Ok(Cost { started, caught_up_cpu, delivery: arm.cost(sites, events).await? })
}
