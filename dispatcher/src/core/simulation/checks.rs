//! What must hold: at every commit, and at the end.

use std::collections::HashSet;

use hookline_event_log::{Offset, Partition};
use hookline_schemas::ids::WebhookId;

use super::world::{EVENTS, WEBHOOKS, World, number_of};

/// Below the watermark every delivery has been received, stands in `parked`, or among the dead letters.
pub(super) fn watermark(world: &World, partition: Partition, watermark: Offset) {
    let parked: HashSet<(u64, &WebhookId)> = world
        .parked
        .values()
        .flatten()
        .map(|(_, parked)| (number_of(&parked.event), &parked.webhook))
        .collect();
    let events = world.events.get(&partition).map(Vec::as_slice).unwrap_or_default();
    for (_, event) in events.iter().filter(|(offset, _)| *offset < watermark) {
        for webhook in WEBHOOKS.map(WebhookId::new) {
            let key = (number_of(event), webhook);
            let settled = world.delivered.contains_key(&key)
                || world.dead.contains_key(&key)
                || parked.contains(&(key.0, &key.1));
            assert!(settled, "{key:?} is below the watermark {watermark:?} and not settled");
        }
    }
}

/// Below R every parked delivery is settled, or covered by a lane record that has been written; and nothing
/// that a lane needs is given up.
pub(super) fn registered(world: &World, partition: Partition, registered: Offset, needed_from: Offset) {
    let records = world.parked.get(&partition).map(Vec::as_slice).unwrap_or_default();
    for (offset, parked) in records.iter().filter(|(offset, _)| *offset < registered) {
        let key = (number_of(&parked.event), parked.webhook.clone());
        let settled = world.delivered.contains_key(&key) || world.dead.contains_key(&key);
        let covered = world.lanes.get(&parked.webhook).is_some_and(|(_, lane)| {
            let in_order = !lane.drained && lane.cursor <= offset.0;
            in_order || lane.exceptions.iter().any(|exception| exception.offset == offset.0)
        });
        assert!(settled || covered, "{key:?} at {offset:?} is below R {registered:?} and not covered");
        assert!(
            settled || *offset >= needed_from,
            "{key:?} at {offset:?} would be given up below {needed_from:?}"
        );
    }
}

/// Whether the core has committed to the end.
pub(super) fn everything_is_committed(world: &World) -> bool {
    let events = world.events.iter().all(|(partition, events)| {
        let end = events.last().map_or(Offset::START, |(last, _)| last.next());
        world.watermarks.get(partition).is_some_and(|(watermark, _)| *watermark >= end)
    });
    let lanes = world.parked.iter().all(|(partition, parked)| {
        let end = parked.last().map_or(Offset::START, |(last, _)| last.next());
        world.registered.get(partition).is_some_and(|registered| *registered >= end)
    });
    events && lanes
}

/// Every event reached every webhook or its dead letters; the totals add up.
pub(super) fn end(world: &World) {
    for number in 0..EVENTS {
        for webhook in WEBHOOKS.map(WebhookId::new) {
            let key = (number, webhook);
            let settled = world.delivered.contains_key(&key) || world.dead.contains_key(&key);
            assert!(settled, "{key:?} was lost");
        }
    }
    let planned: u64 = world.watermarks.values().map(|(_, totals)| totals.planned).sum();
    assert_eq!(planned, EVENTS * WEBHOOKS.len() as u64);
    assert!(world.watermarks.values().all(|(_, totals)| totals.add_up()));
}
