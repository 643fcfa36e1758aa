//! Tables for the checker: each kind of violation is caught, and what is explained is not.

use hookline_schemas::notification::NotificationType;

use super::*;

const WEBHOOK: &str = "wh_1";

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A ledger of events: id, type, posts, when answered.
fn ledger(entries: &[(&str, EventType, u32, Option<u64>)]) -> Ledger {
    let mut ledger = Ledger::new();
    for (id, event_type, posted, answered) in entries {
        let entry = Entry {
            kind: NotificationType::Pay,
            event_type: *event_type,
            transaction_id: 7,
            payment: 1,
            addressee: None,
            posted: *posted,
            bodies: (0..u64::from(*posted)).collect(),
            first_posted: millis(1),
            answered: answered.map(millis),
        };
        ledger.entries.insert(EventId::new(id), entry);
    }
    ledger
}

fn delivery(id: &str, at: u64) -> Delivery {
    Delivery {
        webhook: WebhookId::new(WEBHOOK),
        event_id: EventId::new(id),
        event_type: Some(EventType::PaymentReceived),
        transaction: None,
        received_at: millis(at),
        answered_at: millis(at),
        fault: None,
        status: 200,
    }
}

fn verdict(ledger: &Ledger, deliveries: &[Delivery], disturbances: &[Disturbance]) -> Verdict {
    let subscriptions =
        [Subscription { webhook: WebhookId::new(WEBHOOK), events: vec![EventType::PaymentReceived] }];
    check(&Evidence {
        ledger,
        deliveries,
        subscriptions: &subscriptions,
        disturbances,
        copy_window: COPY_WINDOW,
    })
}

fn one_paid() -> Ledger {
    ledger(&[("evt_1", EventType::PaymentReceived, 1, Some(10))])
}

#[test]
fn what_was_answered_and_delivered_once_passes() {
    let verdict = verdict(&one_paid(), &[delivery("evt_1", 20)], &[]);
    let expected =
        Verdict { accepted: 1, expected_deliveries: 1, delivered: 1, pass: true, ..Verdict::default() };
    assert_eq!(verdict, expected);
}

#[test]
fn an_answered_event_is_lost_unless_it_was_answered_with_2xx() {
    for (case, deliveries) in [
        ("nothing came", vec![]),
        ("it was refused", vec![Delivery { status: 500, ..delivery("evt_1", 20) }]),
        ("the endpoint was down", vec![Delivery { status: 0, ..delivery("evt_1", 20) }]),
    ] {
        let verdict = verdict(&one_paid(), &deliveries, &[]);
        assert_eq!((verdict.lost, verdict.delivered, verdict.pass), (1, 0, false), "{case}");
        assert_eq!(verdict.notes, ["lost: evt_1 for wh_1"], "{case}");
    }
}

#[test]
fn every_webhook_has_to_get_it() {
    let both = ["wh_1", "wh_2"].map(|webhook| Subscription {
        webhook: WebhookId::new(webhook),
        events: vec![EventType::PaymentReceived],
    });
    let ledger = one_paid();
    let deliveries = [delivery("evt_1", 20)];
    let evidence = Evidence {
        ledger: &ledger,
        deliveries: &deliveries,
        subscriptions: &both,
        disturbances: &[],
        copy_window: COPY_WINDOW,
    };
    let verdict = check(&evidence);
    assert_eq!((verdict.expected_deliveries, verdict.delivered, verdict.lost), (2, 1, 1));
}

#[test]
fn what_is_addressed_to_one_has_to_reach_that_one_alone() {
    let both = ["wh_1", "wh_2"].map(|webhook| Subscription {
        webhook: WebhookId::new(webhook),
        events: vec![EventType::PaymentReceived],
    });
    let mut ledger = one_paid();
    ledger.entries.values_mut().for_each(|entry| entry.addressee = Some(WebhookId::new("wh_2")));
    let at = |webhook: &str| Delivery { webhook: WebhookId::new(webhook), ..delivery("evt_1", 20) };
    for (deliveries, expected) in [
        (vec![at("wh_2")], (1, 0, 0)),
        (vec![at("wh_1")], (1, 1, 1)),
        (vec![at("wh_1"), at("wh_2")], (1, 0, 1)),
        (vec![], (1, 1, 0)),
    ] {
        let verdict = check(&Evidence {
            ledger: &ledger,
            deliveries: &deliveries,
            subscriptions: &both,
            disturbances: &[],
            copy_window: COPY_WINDOW,
        });
        let found = (verdict.expected_deliveries, verdict.lost, verdict.unexpected);
        assert_eq!(found, expected, "{deliveries:?}");
    }
}

#[test]
fn what_was_never_answered_may_come_or_not() {
    let ledger = ledger(&[("evt_1", EventType::PaymentReceived, 3, None)]);
    for deliveries in [vec![], vec![delivery("evt_1", 20)]] {
        let verdict = verdict(&ledger, &deliveries, &[]);
        assert!(verdict.pass, "{verdict:?}");
        assert_eq!((verdict.accepted, verdict.expected_deliveries), (0, 0));
    }
}

#[test]
fn a_type_that_was_not_asked_for_is_not_expected_and_must_not_come() {
    let ledger = ledger(&[("evt_1", EventType::PaymentRefunded, 1, Some(10))]);
    assert!(verdict(&ledger, &[], &[]).pass);
    let refund = Delivery { event_type: Some(EventType::PaymentRefunded), ..delivery("evt_1", 20) };
    let verdict = verdict(&ledger, &[refund], &[]);
    assert_eq!((verdict.unexpected, verdict.pass), (1, false));
}

#[test]
fn what_nobody_posted_or_asked_for_is_unexpected() {
    let elsewhere = Delivery { webhook: WebhookId::new("wh_9"), ..delivery("evt_1", 20) };
    for unexpected in [delivery("evt_9", 20), elsewhere] {
        let verdict = verdict(&one_paid(), &[delivery("evt_1", 20), unexpected], &[]);
        assert_eq!((verdict.unexpected, verdict.lost, verdict.pass), (1, 0, false));
    }
}

#[test]
fn a_request_that_an_integrator_refuses_fails_even_if_a_good_one_follows() {
    for (fault, expected) in [
        (Fault::IziSignature, (1, 0)),
        (Fault::StandardSignature, (1, 0)),
        (Fault::NotAPayload, (0, 1)),
        (Fault::IdMismatch, (0, 1)),
    ] {
        let bad = Delivery { fault: Some(fault), status: 401, ..delivery("evt_1", 20) };
        let verdict = verdict(&one_paid(), &[bad, delivery("evt_1", 30)], &[]);
        assert_eq!((verdict.bad_signatures, verdict.malformed), expected, "{fault:?}");
        assert_eq!((verdict.lost, verdict.pass), (0, false), "{fault:?}");
    }
}

#[test]
fn an_event_of_another_type_than_posted_fails() {
    let other = Delivery { event_type: Some(EventType::PaymentFailed), ..delivery("evt_1", 20) };
    let verdict = verdict(&one_paid(), &[other], &[]);
    assert_eq!((verdict.malformed, verdict.lost, verdict.pass), (1, 0, false));
}

#[test]
fn a_copy_needs_a_reason() {
    let kill = |at, until| Disturbance { at: millis(at), until: millis(until) };
    for (case, posted, times, kills, expected) in [
        ("no reason", 1, vec![1_000, 2_000], vec![], (0, 0, 0, 1)),
        ("killed between", 1, vec![1_000, 2_000], vec![kill(1_500, 1_600)], (1, 0, 0, 0)),
        ("planned again", 1, vec![1_000, 2_000], vec![kill(500, 600)], (0, 1, 0, 0)),
        ("still in the socket", 1, vec![550, 2_000], vec![kill(500, 600)], (1, 0, 0, 0)),
        ("killed after the second", 1, vec![7_000, 8_000], vec![kill(8_500, 8_600)], (0, 0, 0, 1)),
        ("at the edge of the window", 1, vec![1_000, 9_000], vec![kill(7_000, 7_100)], (1, 0, 0, 0)),
        ("beyond the window", 1, vec![1_000, 9_000], vec![kill(7_001, 7_100)], (0, 0, 0, 1)),
        ("planned too long before", 1, vec![6_200, 7_000], vec![kill(6_011, 6_100)], (0, 0, 0, 1)),
        (
            "planned again and again",
            1,
            vec![9_500, 9_600, 9_700, 9_800],
            vec![kill(6_010, 6_100), kill(7_000, 7_100)],
            (0, 2, 0, 1),
        ),
        ("one kill, four times", 1, vec![1_000, 2_000, 3_000, 4_000], vec![kill(1_500, 1_600)], (1, 1, 0, 1)),
        (
            "what came twice before a kill may come twice after it, and not thrice",
            1,
            vec![1_000, 1_100, 2_000, 2_100, 2_200],
            vec![kill(1_500, 1_600)],
            (2, 1, 0, 1),
        ),
        ("two bodies of one event", 2, vec![1_000, 2_000], vec![], (0, 0, 1, 0)),
        ("two bodies, three times", 2, vec![1_000, 2_000, 3_000], vec![], (0, 0, 1, 1)),
        (
            "two bodies, both planned again",
            2,
            vec![1_000, 2_000, 3_000, 4_000, 5_000],
            vec![kill(500, 600)],
            (0, 2, 1, 1),
        ),
    ] {
        let ledger = ledger(&[("evt_1", EventType::PaymentReceived, posted, Some(10))]);
        // The order of the record does not matter.
        let deliveries: Vec<_> = times.iter().rev().map(|at| delivery("evt_1", *at)).collect();
        let verdict = verdict(&ledger, &deliveries, &kills);
        let found = (
            verdict.copies_after_disturbance,
            verdict.copies_of_replans,
            verdict.copies_of_reposts,
            verdict.copies_unexplained,
        );
        assert_eq!(found, expected, "{case}");
        assert_eq!(verdict.copies, found.0 + found.1 + found.2 + found.3, "{case}");
        assert_eq!(verdict.pass, expected.3 == 0, "{case}");
    }
}

#[test]
fn the_same_body_posted_again_explains_no_copy() {
    let mut ledger = one_paid();
    ledger.entries.values_mut().for_each(|entry| entry.posted = 9);
    let verdict = verdict(&ledger, &[delivery("evt_1", 20), delivery("evt_1", 30)], &[]);
    assert_eq!((verdict.copies_unexplained, verdict.pass), (1, false));
}

#[test]
fn a_refused_attempt_is_no_copy() {
    let refused = Delivery { status: 500, ..delivery("evt_1", 20) };
    let verdict = verdict(&one_paid(), &[refused, delivery("evt_1", 30)], &[]);
    assert_eq!((verdict.copies, verdict.pass), (0, true));
}

#[test]
fn a_slow_answer_counts_from_its_end() {
    // Came at 1.0 s, answered at 3.0 s, killed at 8.5 s: 5.5 s after the answer is within the window.
    let first = Delivery { answered_at: millis(3_000), ..delivery("evt_1", 1_000) };
    let kills = [Disturbance { at: millis(8_500), until: millis(8_600) }];
    let verdict = verdict(&one_paid(), &[first, delivery("evt_1", 9_000)], &kills);
    assert_eq!((verdict.copies_after_disturbance, verdict.copies_unexplained), (1, 0));
}

#[test]
fn notes_are_bounded() {
    let deliveries: Vec<_> = (0..100).map(|at| delivery("evt_9", at)).collect();
    let verdict = verdict(&one_paid(), &deliveries, &[]);
    assert_eq!((verdict.unexpected, verdict.notes.len()), (100, MAX_NOTES));
}
