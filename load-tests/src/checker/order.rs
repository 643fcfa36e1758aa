//! The order of a payment's events at a webhook.
//!
//! The rule: where one event of a payment was answered before the next was posted, its first attempt comes
//! before the next one's first attempt, at every webhook that asked for both. What is tried again, later, is
//! in no order; neither are pairs of which a disturbance touched the time from the first post of the earlier
//! to its first attempt: a new owner of the partition may be late with one, and the old one early with both.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use hookline_schemas::ids::{EventId, WebhookId};

use super::{Addressees, Evidence};
use crate::simulator::Entry;

/// Attempts are started in order, on connections of their own: of two that were started within this time the
/// second may be the first to be seen.
const SLACK: Duration = Duration::from_millis(250);

/// Two events that came in the wrong order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inversion<'a> {
    webhook: &'a WebhookId,
    earlier: &'a EventId,
    later: &'a EventId,
    ahead: Duration,
}

impl fmt::Display for Inversion<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { webhook, earlier, later, ahead } = self;
        write!(formatter, "out of order: {later} at {webhook} {:.3} s before {earlier}", ahead.as_secs_f64())
    }
}

/// When each event was first tried at each webhook, whatever came of it.
type FirstAttempts<'a> = HashMap<(&'a WebhookId, &'a EventId), Duration>;

/// The pairs in the wrong order, by webhook and payment.
pub(super) fn inversions<'a>(evidence: &Evidence<'a>, addressees: &Addressees<'a>) -> Vec<Inversion<'a>> {
    let first_attempts = first_attempts(evidence);
    let mut inversions = Vec::new();
    for (earlier, later) in ordered_pairs(evidence) {
        for subscription in addressees.of(earlier.1) {
            let tried = |id: &'a EventId| first_attempts.get(&(&subscription.webhook, id)).copied();
            let Some((of_earlier, of_later)) = tried(earlier.0).zip(tried(later.0)) else { continue };
            let disturbed = evidence
                .disturbances
                .iter()
                .any(|disturbance| disturbance.touches(earlier.1.first_posted, of_earlier));
            if of_later + SLACK < of_earlier && !disturbed {
                let webhook = &subscription.webhook;
                let ahead = of_earlier - of_later;
                inversions.push(Inversion { webhook, earlier: earlier.0, later: later.0, ahead });
            }
        }
    }
    inversions.sort_by_key(|inversion| (inversion.webhook, inversion.earlier, inversion.later));
    inversions
}

fn first_attempts<'a>(evidence: &Evidence<'a>) -> FirstAttempts<'a> {
    let mut first_attempts = FirstAttempts::new();
    for delivery in evidence.deliveries {
        first_attempts
            .entry((&delivery.webhook, &delivery.event_id))
            .and_modify(|first| *first = delivery.received_at.min(*first))
            .or_insert(delivery.received_at);
    }
    first_attempts
}

type Posted<'a> = (&'a EventId, &'a Entry);

/// Pairs of one payment of which the first stood in the log before the second was posted.
fn ordered_pairs<'a>(evidence: &Evidence<'a>) -> Vec<(Posted<'a>, Posted<'a>)> {
    let mut by_payment: HashMap<u64, Vec<Posted<'a>>> = HashMap::new();
    for posted in &evidence.ledger.entries {
        by_payment.entry(posted.1.payment).or_default().push(posted);
    }
    let mut pairs = Vec::new();
    for events in by_payment.values().filter(|events| events.len() > 1) {
        for earlier in events {
            let stood = |later: &&Posted<'a>| {
                earlier.1.answered.is_some_and(|answered| answered <= later.1.first_posted)
            };
            pairs.extend(events.iter().filter(stood).map(|later| (*earlier, *later)));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hookline_schemas::event::EventType;
    use hookline_schemas::notification::NotificationType;

    use super::*;
    use crate::checker::{COPY_WINDOW, Disturbance, Subscription};
    use crate::receiver::Delivery;
    use crate::simulator::Ledger;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Events of one payment, or of several: id, payment, posted, answered.
    fn ledger(events: &[(&str, u64, u64, Option<u64>)]) -> Ledger {
        let mut ledger = Ledger::new();
        for (id, payment, posted, answered) in events {
            let entry = Entry {
                kind: NotificationType::Pay,
                event_type: EventType::PaymentReceived,
                transaction_id: 7,
                payment: *payment,
                addressee: None,
                posted: 1,
                bodies: BTreeSet::from([1]),
                first_posted: millis(*posted),
                answered: answered.map(millis),
            };
            ledger.entries.insert(EventId::new(*id), entry);
        }
        ledger
    }

    fn delivery((id, at, status): (&str, u64, u16)) -> Delivery {
        Delivery {
            webhook: WebhookId::new("wh_1"),
            event_id: EventId::new(id),
            event_type: Some(EventType::PaymentReceived),
            transaction: None,
            received_at: millis(at),
            answered_at: millis(at),
            fault: None,
            status,
        }
    }

    fn count(ledger: &Ledger, deliveries: &[(&str, u64, u16)], disturbances: &[Disturbance]) -> usize {
        let deliveries: Vec<_> = deliveries.iter().copied().map(delivery).collect();
        let subscriptions = ["wh_1", "wh_2"].map(|webhook| Subscription {
            webhook: WebhookId::new(webhook),
            events: vec![EventType::PaymentReceived],
        });
        let evidence = Evidence {
            ledger,
            deliveries: &deliveries,
            subscriptions: &subscriptions,
            disturbances,
            copy_window: COPY_WINDOW,
        };
        inversions(&evidence, &Addressees::new(&subscriptions)).len()
    }

    #[test]
    fn first_attempts_of_a_payment_come_in_the_order_in_which_it_was_answered() {
        let one_payment = [("evt_1", 1, 10, Some(20)), ("evt_2", 1, 20, Some(30))];
        let side_by_side = [("evt_1", 1, 10, Some(20)), ("evt_2", 1, 15, Some(30))];
        let unanswered = [("evt_1", 1, 10, None), ("evt_2", 1, 20, Some(30))];
        let two_payments = [("evt_1", 1, 10, Some(20)), ("evt_2", 2, 20, Some(30))];
        let wrong = vec![("evt_2", 1_000, 200), ("evt_1", 2_000, 200)];
        for (case, events, deliveries, expected) in [
            ("in order", &one_payment, vec![("evt_1", 1_000, 200), ("evt_2", 2_000, 200)], 0),
            ("the wrong order", &one_payment, wrong.clone(), 1),
            ("within the slack", &one_payment, vec![("evt_2", 1_000, 200), ("evt_1", 1_250, 200)], 0),
            ("beyond the slack", &one_payment, vec![("evt_2", 1_000, 200), ("evt_1", 1_251, 200)], 1),
            (
                "the first attempt counts, not the one that succeeded",
                &one_payment,
                vec![("evt_1", 900, 500), ("evt_2", 1_000, 200), ("evt_1", 2_000, 200)],
                0,
            ),
            ("one of them never came", &one_payment, vec![("evt_2", 1_000, 200)], 0),
            ("posted before the other was answered", &side_by_side, wrong.clone(), 0),
            ("the earlier was never answered", &unanswered, wrong.clone(), 0),
            ("of different payments", &two_payments, wrong, 0),
        ] {
            assert_eq!(count(&ledger(events), &deliveries, &[]), expected, "{case}");
        }
    }

    #[test]
    fn a_disturbance_excuses_the_pairs_that_it_touches() {
        let ledger = ledger(&[("evt_1", 1, 500, Some(600)), ("evt_2", 1, 700, Some(800))]);
        let deliveries = [("evt_2", 1_000, 200), ("evt_1", 2_000, 200)];
        for (case, at, until, expected) in [
            ("over before the earlier was posted", 100, 499, 1),
            ("just when it was posted", 100, 500, 0),
            ("in between", 900, 1_100, 0),
            ("just when it came", 2_000, 9_000, 0),
            ("after it came", 2_001, 9_000, 1),
        ] {
            let disturbance = Disturbance { at: millis(at), until: millis(until) };
            assert_eq!(count(&ledger, &deliveries, &[disturbance]), expected, "{case}");
        }
    }
}
