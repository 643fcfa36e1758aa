//! The life of a webhook: disabled, enabled, paused, moved to another URL, deleted with a backlog.

use std::time::Duration;

use hookline_event_log::Offset;
use hookline_schemas::delivery::{
    BreakerRecord, Disabled, DisabledReason, ExceptionRecord, LaneCounts, LaneRecord,
};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;

use super::super::ByHand;
use super::faults::Faults;
use super::one_lane::{DELIVERED, FAILED, GONE, OneLane};
use super::receivers::webhook;
use super::settings;
use crate::endpoints::ByHandError;
use crate::settings::Settings;

const DAY: u64 = 24 * 3_600;

#[test]
fn gone_disables_at_once_and_is_announced_once() {
    let mut one = OneLane::new(settings());
    one.park(6);
    assert_eq!(one.in_flight.len(), 4);
    one.answer_all(&GONE);
    assert_eq!((one.disabled(), one.announced), (Some(DisabledReason::Gone), 1));
    one.wait(DAY);
    assert!(one.in_flight.is_empty() && one.announced == 1);
    assert_eq!(one.core.gauges().backlog, 6, "all of them keep their places");
    assert_eq!(one.core.counts().disabled_gone, 1);
}

#[test]
fn what_is_sent_directly_to_one_that_is_gone_is_parked() {
    let mut one = OneLane::new(settings());
    one.fetch(0);
    one.answer(&GONE);
    one.follow();
    assert_eq!((one.disabled(), one.core.gauges().backlog), (Some(DisabledReason::Gone), 1));
    one.fetch(1);
    one.follow();
    assert!(one.in_flight.is_empty(), "what comes later waits with it");
    assert_eq!(one.core.gauges().backlog, 2);
}

#[test]
fn failing_for_too_long_disables() {
    let mut one = OneLane::down(Settings { disable_after: Duration::from_secs(600), ..settings() }, 5);
    let down_since = one.now;
    let mut probes = 0;
    while one.disabled().is_none() {
        one.wait(1);
        assert!(one.in_flight.len() <= 1);
        probes += one.in_flight.len();
        one.answer_all(&FAILED);
    }
    let took = one.now.since(down_since).as_secs();
    assert!((600..=900).contains(&took) && probes <= 20, "{probes} probes in {took} seconds");
    assert_eq!((one.disabled(), one.announced), (Some(DisabledReason::Failing), 1));
    one.wait(DAY);
    assert!(one.in_flight.is_empty());
}

/// Once there is something to go by: one attempt, then two at once, four, up to the cap.
fn starts_slowly(one: &mut OneLane, cap: usize) {
    let mut rounds = Vec::new();
    for _ in 0..7 {
        rounds.push(one.in_flight.len());
        one.answer_all(&DELIVERED);
    }
    let expected: Vec<_> = [1, 1, 2, 4, 8, 16, 32].into_iter().map(|round| cap.min(round)).collect();
    assert_eq!(rounds, expected, "the probe first");
}

#[test]
fn what_comes_back_gets_its_backlog_slowly_at_first() {
    for cap in [4, 16, 50] {
        let mut one = OneLane::down(Settings { endpoint_concurrency: cap, ..settings() }, 300);
        one.wait(5);
        starts_slowly(&mut one, cap);
    }
}

#[test]
fn enabled_by_hand_it_is_probed_first() {
    let mut one = OneLane::gone(settings(), 40);
    assert_eq!(one.by_hand(ByHand::Enable), Ok(()));
    assert_eq!((one.disabled(), one.in_flight.len()), (None, 1));
    one.answer(&FAILED);
    assert!(one.in_flight.is_empty() && one.disabled().is_none());
    one.wait(5);
    starts_slowly(&mut one, 4);
}

#[test]
fn a_probe_by_hand_that_succeeds_enables() {
    let mut one = OneLane::gone(settings(), 40);
    assert_eq!(one.by_hand(ByHand::Probe), Ok(()));
    assert_eq!(one.in_flight.len(), 1);
    one.answer(&FAILED);
    one.wait(DAY);
    assert!(one.in_flight.is_empty(), "one, and no others");
    assert_eq!(one.disabled(), Some(DisabledReason::Gone));
    assert_eq!(one.by_hand(ByHand::Probe), Ok(()));
    starts_slowly(&mut one, 4);
    one.wait(2);
    assert_eq!(one.disabled(), None);
}

/// Asked for twice, the second wish must not outlive the success of the first.
#[test]
fn a_probe_by_hand_opens_no_door_that_is_shut_later() {
    for is_gone in [false, true] {
        let mut one = OneLane::gone(settings(), 40);
        assert_eq!(one.by_hand(ByHand::Probe), Ok(()));
        assert_eq!(one.by_hand(ByHand::Probe), Ok(()));
        one.answer(&DELIVERED);
        if is_gone {
            one.answer_all(&GONE);
        } else {
            one.change(|webhook| webhook.paused = true);
            one.answer_all(&DELIVERED);
            assert_eq!(one.by_hand(ByHand::Probe), Err(ByHandError::Paused));
        }
        one.wait(DAY);
        assert!(one.in_flight.is_empty(), "gone: {is_gone}");
    }
}

/// Said by the second try of a delivery, right after its neighbour has passed.
#[test]
fn one_that_comes_back_and_is_gone_then_is_probed_by_hand_alone() {
    let mut one = OneLane::down(settings(), 40);
    one.wait(5);
    one.answer(&DELIVERED);
    one.answer(&GONE);
    assert_eq!(one.disabled(), Some(DisabledReason::Gone));
    assert_eq!(one.by_hand(ByHand::Probe), Ok(()));
    assert_eq!(one.in_flight.len(), 1);
}

#[test]
fn while_it_is_paused_nothing_is_sent_and_then_a_probe_first() {
    let mut one = OneLane::new(settings());
    one.park(40);
    one.change(|webhook| webhook.paused = true);
    one.answer_all(&DELIVERED);
    one.fetch(0);
    one.follow();
    one.wait(DAY);
    assert!(one.in_flight.is_empty());
    assert_eq!(one.core.gauges().backlog, 37);
    one.change(|webhook| webhook.paused = false);
    starts_slowly(&mut one, 4);
}

/// An exception is on its way from the log when its webhook is paused, or when its endpoint goes down.
#[test]
fn what_is_loaded_too_late_waits_again() {
    for goes_down in [false, true] {
        let mut one = OneLane::new(settings());
        one.is_slow_to_load = true;
        one.park_until(Timestamp(one.now.0 + 2_000));
        one.park(3);
        one.wait(2);
        match goes_down {
            true => one.answer_all(&FAILED),
            false => one.change(|webhook| webhook.paused = true),
        }
        one.answer_all(&FAILED);
        one.load();
        assert!(one.in_flight.is_empty(), "down: {goes_down}");
        one.is_slow_to_load = false;
        one.change(|webhook| webhook.paused = false);
        for _ in 0..40 {
            one.answer_all(&DELIVERED);
            one.wait(1);
        }
        let LaneCounts { registered, delivered, .. } = one.counts();
        assert_eq!((registered, delivered), (4, 4), "down: {goes_down}");
    }
}

#[test]
fn a_new_url_is_probed_at_once_and_nothing_is_known_of_it() {
    for is_gone in [false, true] {
        let mut one = match is_gone {
            true => OneLane::gone(settings(), 40),
            false => OneLane::down(settings(), 40),
        };
        let known = one.written.clone().and_then(|record| record.url);
        one.change(|webhook| webhook.url = "https://example.com/new".parse().expect("a URL"));
        assert_eq!(one.in_flight.len(), 1);
        let written = one.written.clone().expect("a lane record");
        assert_eq!((written.disabled, written.breaker.failed_probes), (None, Some(0)));
        assert!(written.url.is_some() && written.url != known);
        starts_slowly(&mut one, 4);
    }
}

/// As it was written down by an owner that knew of another URL.
fn written(counts: LaneCounts, url: Option<u64>) -> LaneRecord {
    let disabled = Disabled { at: Timestamp(0), reason: DisabledReason::Failing, is_announced: true };
    LaneRecord {
        cursor: 4,
        tail: 40,
        breaker: BreakerRecord { failed_probes: Some(9), next_due: Timestamp(u64::MAX), failing_since: None },
        disabled: Some(disabled),
        counts,
        url,
        ..LaneRecord::unknown(WebhookId::new("wh"))
    }
}

#[test]
fn a_new_url_that_came_while_nobody_looked_is_probed_at_once() {
    let counts = LaneCounts { registered: 40, delivered: 4, ..LaneCounts::default() };
    let known = webhook("wh", Faults::NONE);
    for (url, probes) in [(known.url_fingerprint(), 0), (1, 1)] {
        let record = written(counts, Some(url));
        let mut one = OneLane::resume(settings(), Some(record), vec![known.clone()]);
        assert_eq!((one.in_flight.len(), one.announced), (probes, 0));
        if probes > 0 {
            starts_slowly(&mut one, 4);
        }
    }
}

#[test]
fn a_webhook_that_is_deleted_takes_its_backlog_with_it() {
    let mut one = OneLane::new(settings());
    one.park(250);
    one.park_until(Timestamp(one.now.0 + 60_000));
    one.wait(2);
    assert_eq!(one.in_flight.len(), 4);
    assert_eq!(one.written.as_ref().map(|record| record.exceptions.len()), Some(1));
    one.delete();
    let LaneCounts { registered, cancelled, .. } = one.counts();
    assert_eq!((registered, cancelled), (251, 247), "all but what is in flight");
    // A success, and one that nobody tries again.
    one.answer(&DELIVERED);
    one.answer(&FAILED);
    one.park(2);
    one.answer_all(&DELIVERED);
    one.wait(DAY);
    assert!(one.in_flight.is_empty());
    let counts = LaneCounts { registered: 253, delivered: 3, cancelled: 250, ..LaneCounts::default() };
    assert_eq!(one.counts(), counts);
    let written = one.written.clone().expect("a lane record");
    assert_eq!((written.drained, written.counts, one.registered), (true, counts, Offset(253)));
}

/// The owner before it went without having heard of it.
#[test]
fn a_webhook_that_was_deleted_while_nobody_looked_takes_its_backlog_with_it() {
    let counts = LaneCounts { registered: 40, delivered: 3, ..LaneCounts::default() };
    let exception = ExceptionRecord { offset: 1, tries: 1, due: Timestamp(0), deadline: Timestamp(u64::MAX) };
    let record = LaneRecord { exceptions: vec![exception], ..written(counts, None) };
    let mut one = OneLane::resume(settings(), Some(record), Vec::new());
    assert_eq!(one.counts(), LaneCounts { cancelled: 37, ..counts });
    one.park(2);
    one.wait(DAY);
    let counts = LaneCounts { registered: 42, cancelled: 39, ..counts };
    assert_eq!((one.counts(), one.in_flight.len()), (counts, 0));
    let written = one.written.clone().expect("a lane record");
    assert_eq!((written.drained, written.counts, one.registered), (true, counts, Offset(42)));
}

/// Its delivery is cancelled when the budget ends: there is no copy to be struck.
#[test]
fn a_late_success_of_a_deleted_webhook_is_forgotten() {
    let mut one = OneLane::new(settings());
    one.fetch(0);
    one.delete();
    one.wait(6);
    one.answer(&DELIVERED);
    assert!(one.core.late_successes.is_empty() && one.core.deliveries.is_empty());
    assert_eq!(one.core.totals().cancelled, 1);
}
