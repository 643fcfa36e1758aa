//! What an endpoint may be asked for, and what nobody may have to wait for because of it: checked at every
//! attempt and at every delivery.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;

use super::super::AttemptKey;
use super::super::breaker::Breaker;
use super::receivers::HEALED;
use super::settings;
use super::world::World;

/// Within this time everything goes out to a receiver that is well, whatever the others do.
const PROMPTLY: Duration = Duration::from_secs(1);
/// By then every partition has been taken over for the first time, which now and then takes seconds.
const TAKEN_OVER: Timestamp = Timestamp(7_000);
/// The last event of a run comes before this, and all that operators do to webhooks ends.
const LATEST_EVENT: Timestamp = Timestamp(130_000);
/// How long it takes to find out, to drain what waits, and to write down that it is done.
const SLACK: Duration = Duration::from_secs(60);

/// What was seen of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When attempts began, in the latest second.
    began: VecDeque<Timestamp>,
    /// Since when it is down, with the latest key at that moment: what began since has a later one.
    down: Option<(Timestamp, u64)>,
    /// How many attempts have succeeded since it has come back; none, if it never went.
    came_back: Option<usize>,
}

/// By webhook.
pub(super) type SeenByWebhook = HashMap<WebhookId, Seen>;

/// An attempt begins: within the rate, and alone while the endpoint is down; once it is back, one more at once
/// for each that has succeeded. All of it as seen by the only process that sends.
pub(super) fn attempt(world: &mut World, process: usize, attempt: AttemptKey, webhook: &WebhookId) {
    let core = &world.processes[process].core;
    let (now, cap) = (world.now, core.settings.endpoint_concurrency);
    if !world.faults.leave_one_process_alone() {
        return;
    }
    let endpoint = core.endpoint(core.attempts[&attempt].endpoint);
    let at_it = |key| core.attempts[key].endpoint == core.attempts[&attempt].endpoint;
    let seen = world.witness.seen.entry(webhook.clone()).or_default();
    let keys = core.attempts.keys().filter(|key| at_it(key));
    let allowed = match seen.down {
        Some(_) => 1,
        None => seen.came_back.map_or(cap, |succeeded| cap.min(1 + succeeded)),
    };
    let began_since = seen.down.map_or(0, |(_, key)| key);
    let in_flight = keys.filter(|key| key.0 > began_since).count();
    assert!(in_flight <= allowed, "{in_flight} at {webhook} at once at {now:?}: {endpoint:?} {seen:?}");
    seen.began.push_back(now);
    while seen.began.front().is_some_and(|began| began.after(Duration::from_secs(1)) <= now) {
        seen.began.pop_front();
    }
    let rate = endpoint.webhook.as_ref().and_then(|webhook| webhook.rate_limit);
    let most = rate.map_or(usize::MAX, |rate| rate.get() as usize + 1.max(rate.get() as usize / 10));
    assert!(seen.began.len() <= most, "{} in a second at {webhook} at {now:?}", seen.began.len());
}

/// A process has taken a step, before which this was its latest key.
pub(super) fn stepped(world: &mut World, process: usize, latest_key: u64) {
    if !world.faults.leave_one_process_alone() {
        return;
    }
    for endpoint in &world.processes[process].core.endpoints {
        let seen = world.witness.seen.entry(endpoint.id.clone()).or_default();
        match endpoint.breaker {
            Breaker::Open { since, .. } if seen.down.is_none_or(|(known, _)| known != since) => {
                seen.down = Some((since, latest_key));
            }
            Breaker::Open { .. } => {}
            Breaker::Closed { .. } | Breaker::HalfOpen if seen.down.take().is_some() => {
                seen.came_back = Some(0);
            }
            Breaker::Closed { .. } | Breaker::HalfOpen => {}
        }
    }
}

/// A receiver has got what it was sent: at once, if it is well and no process of ours is not.
pub(super) fn delivered(world: &mut World, event: u64, webhook: &WebhookId) {
    if let Some(succeeded) = world.witness.seen.get_mut(webhook).and_then(|seen| seen.came_back.as_mut()) {
        *succeeded += 1;
    }
    let took = world.now.since(world.came_at(event).max(TAKEN_OVER));
    let starves = world.faults.are_receivers_alone() && webhook.as_str() == "wh_healthy" && took > PROMPTLY;
    assert!(!starves, "{event} got to {webhook} after {took:?} only, at {:?}", world.now);
}

/// Once all is well, what waits for a probe or for its own next try is over within the schedules; and what
/// always fails, by its deadline. Clocks that differ may add what they differ by, each time.
pub(super) fn ended_in_time(world: &World) {
    let settings = settings();
    let longest = |schedule: &[Duration]| schedule.iter().max().copied().unwrap_or_default();
    let apart = if world.faults.clocks { Duration::from_secs(600) } else { Duration::ZERO };
    let waits = longest(&settings.probe_schedule) + longest(&settings.retry_schedule);
    let healed = HEALED.after(waits + apart + SLACK);
    let dead = LATEST_EVENT.after(settings.deadline + apart * 2 + SLACK);
    let latest = if world.faults.poison { healed.max(dead) } else { healed };
    assert!(world.now <= latest, "settled at {:?} only, not by {latest:?}", world.now);
}
