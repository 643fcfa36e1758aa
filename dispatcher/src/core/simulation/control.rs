//! What comes from the table `control`: what owners ask for there, and by which webhooks deliveries are parked.

use std::sync::Arc;

use hookline_event_log::Partition;
use hookline_schemas::delivery::{Disabled, DisabledReason, LaneCounts, LaneRecord};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, Webhooks};

use super::super::lane::MAX_EXCEPTIONS;
use super::super::{Core, Input};
use super::faults::Faults;
use super::one_lane::{DELIVERED, FAILED, GONE, OneLane};
use super::receivers::webhook;
use super::settings;

const DAY: u64 = 24 * 3_600;

#[test]
fn what_its_owner_asks_for_is_enabled_and_probed_first() {
    let mut one = OneLane::gone(settings(), 40);
    let now = one.now;
    one.change(|webhook| webhook.enabled_at = Some(now));
    assert_eq!((one.disabled(), one.in_flight.len()), (None, 1));
    one.answer(&GONE);
    assert_eq!(one.disabled(), Some(DisabledReason::Gone));
    // What else changes brings no old wish back.
    one.change(|webhook| webhook.rate_limit = None);
    one.change(|webhook| webhook.enabled_at = None);
    one.wait(DAY);
    assert!(one.in_flight.is_empty() && one.disabled().is_some());
    let now = one.now;
    one.change(|webhook| webhook.enabled_at = Some(now));
    assert_eq!((one.disabled(), one.in_flight.len()), (None, 1));
}

#[test]
fn a_probe_that_its_owner_asks_for_is_made_once() {
    let mut one = OneLane::gone(settings(), 40);
    for asked_at in [1, 2] {
        one.change(|webhook| webhook.probed_at = Some(Timestamp(asked_at)));
        assert_eq!(one.in_flight.len(), 1, "whatever the clock says");
        one.answer(&FAILED);
        one.change(|webhook| webhook.rate_limit = None);
        one.wait(DAY);
        assert!(one.in_flight.is_empty() && one.disabled().is_some());
    }
    one.change(|webhook| webhook.probed_at = Some(Timestamp(3)));
    one.answer(&DELIVERED);
    one.wait(2);
    assert_eq!(one.disabled(), None);
}

#[test]
fn what_can_not_be_done_as_it_was_asked_for_is_left_undone() {
    let mut one = OneLane::new(settings());
    let ask = |webhook: &mut Webhook| {
        webhook.enabled_at = Some(Timestamp(webhook.enabled_at.unwrap_or_default().0 + 1));
        webhook.probed_at = webhook.enabled_at;
    };
    one.change(ask);
    assert!(one.in_flight.is_empty(), "nothing waits");
    one.park(1);
    one.answer(&DELIVERED);
    one.change(|webhook| webhook.paused = true);
    one.park(3);
    one.change(ask);
    assert!(one.in_flight.is_empty(), "it is paused");
}

/// As an owner wrote it down.
fn disabled_at(at: u64) -> LaneRecord {
    let disabled = Disabled { at: Timestamp(at), reason: DisabledReason::Gone, is_announced: true };
    LaneRecord {
        tail: 40,
        disabled: Some(disabled),
        counts: LaneCounts { registered: 40, ..LaneCounts::default() },
        url: Some(webhook("wh", Faults::NONE).url_fingerprint()),
        ..LaneRecord::unknown(WebhookId::new("wh"))
    }
}

#[test]
fn what_was_asked_for_while_nobody_had_the_lane_is_not_lost() {
    for (enabled_at, is_enabled) in [(None, false), (Some(4), false), (Some(5), false), (Some(6), true)] {
        let enabled_at = enabled_at.map(Timestamp);
        // A probe is not made again.
        let known = Webhook { enabled_at, probed_at: Some(Timestamp(7)), ..webhook("wh", Faults::NONE) };
        let one = OneLane::resume(settings(), Some(disabled_at(5)), vec![known]);
        assert_eq!(one.in_flight.len(), usize::from(is_enabled), "{enabled_at:?}");
        let is_written = one.written.as_ref().is_some_and(|record| record.disabled.is_none());
        assert_eq!(is_written, is_enabled, "{enabled_at:?}");
    }
}

/// Everybody sees what was asked for; who does not own the lane goes by what its owner writes.
#[test]
fn what_is_asked_for_is_for_the_owner_of_the_lane() {
    let mut core = Core::new(settings(), 1, 1, Timestamp(0));
    let mut step = |input| {
        let mut actions = Vec::new();
        core.step(input, Timestamp(1), &mut actions);
        actions
    };
    let webhooks = |asked_at| {
        let webhook = Webhook { enabled_at: asked_at, probed_at: asked_at, ..webhook("wh", Faults::NONE) };
        Input::Webhooks(Arc::new([webhook].into_iter().collect()))
    };
    step(webhooks(None));
    step(Input::LaneSeen { webhook: WebhookId::new("wh"), record: Some(disabled_at(5)) });
    assert!(step(webhooks(Some(Timestamp(6)))).is_empty());
    assert!(!core.owns_lanes(Partition(0)));
    assert!(core.endpoints.iter().all(|endpoint| endpoint.disabled.is_some()), "its owner may not know yet");
}

#[test]
fn what_is_parked_says_by_which_webhooks() {
    let mut one = OneLane::down(settings(), 3);
    let known = |version| {
        let webhooks = Webhooks::from_iter([webhook("wh", Faults::NONE)]);
        Input::Webhooks(Arc::new(webhooks.with_version(version)))
    };
    for version in [7, 9] {
        one.step(known(version));
        one.fetch(version);
        assert_eq!(one.parked.last().map(|(_, parked)| parked.webhooks_version), Some(version));
    }
}

/// It was parked by webhooks that are older.
#[test]
fn what_is_parked_again_says_by_which_webhooks() {
    let mut one = OneLane::new(settings());
    for _ in 0..MAX_EXCEPTIONS {
        one.park_until(Timestamp(one.now.0 + 1_000_000));
    }
    let webhooks = Webhooks::from_iter([webhook("wh", Faults::NONE)]);
    one.step(Input::Webhooks(Arc::new(webhooks.with_version(7))));
    one.park(2);
    let before = one.parked.len();
    one.answer(&FAILED);
    assert_eq!(one.parked.len(), before + 1, "there is no place for it");
    assert_eq!(one.parked.last().map(|(_, parked)| parked.webhooks_version), Some(7));
}
