//! What must hold: at every attempt, at every commit, and at the end.

use std::collections::{BTreeSet, HashMap, HashSet};

use hookline_event_log::{Epoch, Offset, Partition};
use hookline_schemas::ids::{EventId, WebhookId};

use super::super::Core;
use super::super::endpoint::Route;
use super::identities;
use super::limits::SeenByWebhook;
use super::log::Key;
use super::receivers::{WEBHOOKS, is_down, number_of};
use super::world::{EVENTS, World, payment_of};

type Delivery = (u64, WebhookId);

/// What was seen from outside.
#[derive(Debug, Default)]
pub(super) struct Witness {
    pub(super) delivered: HashMap<Delivery, u32>,
    pub(super) dead: HashSet<Delivery>,
    pub(super) parked: HashMap<Delivery, u32>,
    pub(super) requests_while_down: usize,
    /// Of webhooks that were disabled.
    pub(super) announced: BTreeSet<EventId>,
    /// Drains that ended before their time.
    pub(super) let_go: Vec<Key>,
    pub(super) seen: SeenByWebhook,
    attempted: HashSet<Delivery>,
    /// Under which epochs an event was fetched.
    fetched: HashMap<u64, BTreeSet<Epoch>>,
}

impl Witness {
    pub(super) fn delivered(&mut self, event: u64, webhook: &WebhookId) {
        *self.delivered.entry((event, webhook.clone())).or_default() += 1;
    }

    pub(super) fn dead(&mut self, event: u64, webhook: &WebhookId) {
        self.dead.insert((event, webhook.clone()));
    }

    pub(super) fn parked(&mut self, event: u64, webhook: &WebhookId) {
        *self.parked.entry((event, webhook.clone())).or_default() += 1;
    }

    pub(super) fn let_go(&mut self, key: Key) {
        self.let_go.push(key);
    }

    pub(super) fn fetched(&mut self, event: u64, epoch: Epoch) {
        self.fetched.entry(event).or_default().insert(epoch);
    }

    fn is_settled(&self, delivery: &Delivery) -> bool {
        self.delivered.contains_key(delivery) || self.dead.contains(delivery)
    }
}

/// First attempts of a payment start in order per endpoint, while one owner has its partition of `events`.
/// Refused appends are tried again later: they may change the order.
pub(super) fn attempt(world: &mut World, event: u64, webhook: &WebhookId) {
    world.witness.requests_while_down += usize::from(is_down(webhook, world.now, world.faults));
    // Who has heard of its deletion cancels, and who has not yet goes on.
    let may_be_cancelled = world.is_deleted(webhook);
    let witness = &mut world.witness;
    let is_first = witness.attempted.insert((event, webhook.clone()));
    if !is_first || may_be_cancelled || world.faults.appends {
        return;
    }
    let Some(fetched) = witness.fetched.get(&event).filter(|epochs| epochs.len() == 1) else { return };
    let earlier = (0..event).filter(|other| payment_of(*other) == payment_of(event));
    for other in earlier.filter(|other| witness.fetched.get(other) == Some(fetched)) {
        let delivery = (other, webhook.clone());
        let began = witness.attempted.contains(&delivery) || witness.dead.contains(&delivery);
        assert!(
            began,
            "{event} goes out to {webhook} before {other} of the same payment, at {:?}",
            world.now
        );
    }
}

/// Below the watermark every delivery has been received, stands in `parked`, or among the dead letters.
pub(super) fn watermark(world: &World, partition: Partition, watermark: Offset) {
    let events = world.log.events.get(&partition).map(Vec::as_slice).unwrap_or_default();
    for (_, event) in events.iter().filter(|(offset, _)| *offset < watermark) {
        for webhook in WEBHOOKS.map(WebhookId::new) {
            let key = (number_of(event), webhook);
            let settled = world.witness.is_settled(&key) || world.witness.parked.contains_key(&key);
            assert!(
                settled || world.is_deleted(&key.1),
                "{key:?} is below the watermark {watermark:?} and not settled"
            );
        }
    }
}

/// Below R every parked delivery is settled, or covered by a lane record that is believed: when R is committed,
/// and whenever a lane record reaches the table, from whomever it comes.
pub(super) fn registered(world: &World, partition: Partition, registered: Offset) {
    let lanes: HashMap<_, _> = WEBHOOKS
        .map(WebhookId::new)
        .into_iter()
        .filter_map(|webhook| Some((webhook.clone(), world.log.believed_lane(&webhook)?)))
        .collect();
    for (key, offset) in unsettled(world, partition).filter(|(_, offset)| *offset < registered) {
        let covered = lanes.get(&key.1).is_some_and(|lane| {
            let in_order = !lane.drained && lane.cursor <= offset.0;
            in_order || lane.exceptions.iter().any(|exception| exception.offset == offset.0)
        });
        assert!(covered, "{key:?} at {offset:?} is below R {registered:?} and not covered");
    }
}

/// Nothing that a lane needs is given up.
pub(super) fn needed(world: &World, partition: Partition, needed_from: Offset) {
    let given_up = unsettled(world, partition).find(|(_, offset)| *offset < needed_from);
    assert_eq!(given_up, None, "below {needed_from:?}");
}

fn unsettled(world: &World, partition: Partition) -> impl Iterator<Item = (Delivery, Offset)> {
    let records = world.log.parked_in(partition).iter();
    let keys = records.map(|(offset, parked)| ((number_of(&parked.event), parked.webhook.clone()), *offset));
    keys.filter(|(key, _)| !world.witness.is_settled(key) && !world.is_deleted(&key.1))
}

/// Every event reached every webhook or its dead letters; the totals add up; nothing is left over.
pub(super) fn end(world: &World) {
    let events: u64 = world.log.events.values().map(|events| events.len() as u64).sum();
    for number in 0..EVENTS {
        for webhook in WEBHOOKS.map(WebhookId::new) {
            let key = (number, webhook);
            assert!(world.witness.is_settled(&key) || world.is_deleted(&key.1), "{key:?} was lost");
        }
    }
    let planned: u64 = world.log.watermarks.values().map(|(_, totals)| totals.planned).sum();
    let (fewest, most) = (world.webhooks.len() as u64, WEBHOOKS.len() as u64);
    assert!((events * fewest..=events * most).contains(&planned), "{planned} for {events} events");
    assert!(world.log.watermarks.values().all(|(_, totals)| totals.add_up()));
    identities::at_the_end(world);
    for process in &world.processes {
        nothing_is_left_over(&process.core);
    }
}

fn nothing_is_left_over(core: &Core) {
    assert!(core.attempts.is_empty() && core.appends.is_empty() && core.late_successes.is_empty());
    assert!(core.deliveries.is_empty() && core.revoking.is_empty());
    assert!(core.totals().add_up());
    for endpoint in &core.endpoints {
        assert!(endpoint.in_flight == 0 && endpoint.parking == 0, "{endpoint:?}");
    }
}

/// Everybody sends to everybody directly.
pub(super) fn routes_are_direct(world: &World) {
    for (number, process) in world.processes.iter().enumerate() {
        let now = process.wall_time(world.now);
        for endpoint in process.core.endpoints.iter().filter(|endpoint| endpoint.webhook.is_some()) {
            let is_direct = endpoint.route(now) == Route::Direct;
            assert!(is_direct, "{number} never sends directly again: {endpoint:?}");
        }
    }
}
