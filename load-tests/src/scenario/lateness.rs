//! How late deliveries are.

use std::collections::HashSet;

use hdrhistogram::Histogram;

use crate::receiver::Delivery;
use crate::simulator::{Entry, Ledger, histogram, micros};

/// Microseconds from the answer, which came once the event was durable, to the first receipt at each webhook;
/// zero where the receiver was faster than the answer. Of those deliveries that count.
pub(super) fn of(
    ledger: &Ledger,
    deliveries: &[Delivery],
    counts: impl Fn(&Entry, &Delivery) -> bool,
) -> Histogram<u64> {
    let mut histogram = histogram();
    let mut seen = HashSet::new();
    for delivery in deliveries.iter().filter(|delivery| delivery.is_accepted()) {
        let Some(entry) = ledger.entries.get(&delivery.event_id) else { continue };
        if let Some(answered) = entry.answered
            && counts(entry, delivery)
            && seen.insert((&delivery.webhook, &delivery.event_id))
        {
            histogram.saturating_record(micros(delivery.received_at.saturating_sub(answered)));
        }
    }
    histogram
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hookline_schemas::event::EventType;
    use hookline_schemas::ids::{EventId, WebhookId};
    use hookline_schemas::notification::NotificationType;

    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new();
        let entry = Entry {
            kind: NotificationType::Pay,
            event_type: EventType::PaymentReceived,
            transaction_id: 7,
            payment: 1,
            addressee: None,
            posted: 1,
            bodies: std::collections::BTreeSet::from([1]),
            first_posted: Duration::from_millis(10),
            answered: Some(Duration::from_millis(20)),
        };
        ledger.entries.insert(EventId::new("evt_2"), entry.clone());
        ledger.entries.insert(EventId::new("evt_1"), entry);
        ledger
    }

    fn delivery(webhook: &str, at: u64, status: u16) -> Delivery {
        Delivery {
            webhook: WebhookId::new(webhook),
            event_id: EventId::new("evt_1"),
            event_type: Some(EventType::PaymentReceived),
            transaction: None,
            received_at: Duration::from_millis(at),
            answered_at: Duration::from_millis(at),
            fault: None,
            status,
        }
    }

    #[test]
    fn counts_to_the_first_receipt_of_each_event_at_each_webhook() {
        let deliveries = [
            delivery("wh_1", 21, 500),
            delivery("wh_1", 25, 200),
            delivery("wh_1", 90, 200),
            delivery("wh_2", 19, 200),
            Delivery { event_id: EventId::new("evt_2"), ..delivery("wh_1", 22, 200) },
        ];
        let all = of(&ledger(), &deliveries, |_, _| true);
        assert_eq!((all.len(), all.max() / 10), (3, 500));
        let some = of(&ledger(), &deliveries, |_, delivery| delivery.webhook.as_str() == "wh_2");
        assert_eq!(some.len(), 1);
    }
}
