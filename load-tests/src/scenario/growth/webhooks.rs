//! Ten webhooks, and thousands: each event goes to the ten of its organization, and organizations take turns.

use std::sync::Arc;

use super::arm::Arm;
use super::tenants::{self, Site, Tenant};
use super::turns::{Size, alternate, judge};
use super::{FAN_OUT, Options};
use crate::report::Report;
use crate::scenario::Surroundings;

/// Before it is measured, everybody has had so many events: places, keys and connections are there.
const WARM_UP_ROUNDS: u64 = 2;
/// So many events at least.
const WARM_UP_EVENTS: u64 = 2_000;

pub(super) async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let mut memory = [0, 0];
    let rounds = alternate(options.rounds, async |size| {
        let organizations = organizations(size, options.webhooks);
        let tenants = tenants::healthy(organizations, FAN_OUT);
        let mut arm = Arm::set_up(surroundings, name(size), &tenants).await?;
        let measured = Box::pin(measure(&mut arm, &tenants, options.events)).await;
        let (cost, rss_anon_bytes) = arm.clear_up(measured).await?;
        let [small, large] = &mut memory;
        let most = if size == Size::Small { small } else { large };
        *most = rss_anon_bytes.max(*most);
        Ok(cost)
    });
    let rounds = Box::pin(rounds).await?;
    let mut report = Report::of_measurements("growth of webhooks");
    let [small, large] = memory;
    report.figure("webhooks", organizations(Size::Large, options.webhooks) * u32::from(FAN_OUT));
    report.figure("events_each", options.events);
    report.figure("small_rss_anon_bytes", small);
    report.figure("large_rss_anon_bytes", large);
    judge(&mut report, "growth_webhooks", &rounds);
    Ok(report)
}

const fn name(size: Size) -> &'static str {
    match size {
        Size::Small => "few webhooks",
        Size::Large => "many webhooks",
    }
}

/// Each has ten webhooks.
fn organizations(size: Size, webhooks: u32) -> u32 {
    match size {
        Size::Small => 1,
        Size::Large => webhooks / u32::from(FAN_OUT),
    }
}

/// What a delivery costs, and the memory once all have come.
async fn measure(arm: &mut Arm, tenants: &[Tenant], events: u64) -> anyhow::Result<(f64, u64)> {
    let sites: Arc<[Site]> = tenants::sites((0_u32..).zip(tenants).map(|(number, _)| number));
    arm.start().await?;
    let warm_up = (WARM_UP_ROUNDS * tenants.len() as u64).max(WARM_UP_EVENTS);
    arm.deliver(&sites, warm_up).await?;
    let cost = arm.cost(&sites, events).await?;
    Ok((cost, arm.usage()?.rss_anon_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arms_differ_in_the_number_of_organizations_alone() {
        for (size, webhooks, expected) in
            [(Size::Small, 10_000, 1), (Size::Large, 10_000, 1_000), (Size::Large, 25, 2)]
        {
            assert_eq!(organizations(size, webhooks), expected, "{size:?} {webhooks}");
        }
    }
}
