//! What was accepted against what came: lost, repeated, and how late. Pure.

use std::collections::HashMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::receiver::Delivery;
use crate::simulator::{histogram, micros};

/// Events of one load, by their place in it.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) began: Duration,
    pub(super) ended: Duration,
    /// The number of the first.
    pub(super) first: u64,
    /// When the sender had answered that it has the event; nothing where it did not.
    pub(super) accepted: Vec<Option<Duration>>,
    /// Not answered, or with something else.
    pub(super) refused: u64,
}

/// A delivery of one of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// Which event.
    pub(super) number: u64,
    /// At which endpoint.
    pub(super) endpoint: &'a str,
    /// When it came.
    pub(super) at: Duration,
}

/// What became of a load.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Events that were accepted.
    pub(super) accepted: u64,
    /// Deliveries that were owed for them, and came.
    pub(super) delivered: u64,
    /// Deliveries that were owed, and did not come.
    pub(super) lost: u64,
    /// Deliveries beyond the first of an event at an endpoint.
    pub(super) repeated: u64,
    /// Deliveries of events that were not accepted: allowed, since the answer may have got lost.
    pub(super) not_owed: u64,
    /// From the first publication to the last first delivery.
    pub(super) lasted: Duration,
    /// From the answer to the first delivery; zero where the delivery was faster.
    pub(super) late_micros: Histogram<u64>,
}

impl Published {
    /// Among everything that a receiver has, what is of this load.
    pub(super) fn arrivals<'a>(&self, deliveries: &'a [Delivery]) -> Vec<Arrival<'a>> {
        let accepted = deliveries.iter().filter(|delivery| delivery.is_accepted());
        let arrivals = accepted.filter_map(|delivery| {
            let number = delivery.transaction.as_ref()?.parse().ok()?;
            self.place(number)?;
            Some(Arrival { number, endpoint: delivery.webhook.as_str(), at: delivery.received_at })
        });
        arrivals.collect()
    }

    /// Compares them, with so many endpoints.
    pub(super) fn compare(&self, arrivals: &[Arrival<'_>], endpoints: u64) -> Outcome {
        let mut first: HashMap<(u64, &str), Duration> = HashMap::new();
        let mut repeated = 0;
        for arrival in arrivals {
            let known = first.get_mut(&(arrival.number, arrival.endpoint));
            if let Some(at) = known {
                repeated += 1;
                *at = arrival.at.min(*at);
            } else {
                first.insert((arrival.number, arrival.endpoint), arrival.at);
            }
        }
        let accepted = self.accepted.iter().flatten().fold(0, |count, _| count + 1);
        let mut outcome = Outcome {
            accepted,
            delivered: 0,
            lost: 0,
            repeated,
            not_owed: 0,
            lasted: Duration::ZERO,
            late_micros: histogram(),
        };
        for ((number, _), at) in first {
            outcome.lasted = outcome.lasted.max(at.saturating_sub(self.began));
            match self.place(number).and_then(|place| *self.accepted.get(place)?) {
                None => outcome.not_owed += 1,
                Some(accepted_at) => {
                    outcome.delivered += 1;
                    outcome.late_micros.saturating_record(micros(at.saturating_sub(accepted_at)));
                }
            }
        }
        outcome.lost = (accepted * endpoints).saturating_sub(outcome.delivered);
        outcome
    }

    fn place(&self, number: u64) -> Option<usize> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (place < self.accepted.len()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::ids::{EventId, WebhookId};

    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Events 100, 101 and 102, of which 101 was not accepted.
    fn published() -> Published {
        let accepted = vec![Some(at(10)), None, Some(at(30))];
        Published { began: at(5), ended: at(40), first: 100, accepted, refused: 1 }
    }

    #[test]
    fn lost_is_what_was_accepted_and_did_not_come_and_repeated_what_came_again() {
        for (case, arrivals, expected) in [
            ("nothing came", &[][..], (0, 4, 0, 0)),
            ("all came", &[(100, "a"), (100, "b"), (102, "a"), (102, "b")], (4, 0, 0, 0)),
            ("one is missing", &[(100, "a"), (102, "a"), (102, "b")], (3, 1, 0, 0)),
            ("one came thrice", &[(100, "a"), (100, "a"), (100, "a"), (100, "b"), (102, "b")], (3, 1, 2, 0)),
            ("a copy makes up for nothing", &[(100, "a"), (100, "a"), (100, "a"), (100, "a")], (1, 3, 3, 0)),
            ("not accepted, delivered", &[(101, "a"), (101, "b"), (101, "b"), (100, "a")], (1, 3, 1, 2)),
        ] {
            let arrivals: Vec<Arrival<'_>> = arrivals
                .iter()
                .map(|(number, endpoint)| Arrival { number: *number, endpoint, at: at(50) })
                .collect();
            let outcome = published().compare(&arrivals, 2);
            let found = (outcome.delivered, outcome.lost, outcome.repeated, outcome.not_owed);
            assert_eq!((outcome.accepted, found), (2, expected), "{case}");
        }
    }

    #[test]
    fn late_counts_from_the_answer_to_the_first_of_the_copies() {
        for (case, arrivals, expected_micros, expected_lasted) in [
            ("later", &[25][..], 15_000, at(20)),
            ("before the answer", &[8], 0, at(3)),
            ("twice, the later one first", &[90, 25], 15_000, at(20)),
        ] {
            let arrivals: Vec<Arrival<'_>> = arrivals
                .iter()
                .map(|millis| Arrival { number: 100, endpoint: "a", at: at(*millis) })
                .collect();
            let outcome = published().compare(&arrivals, 1);
            let found = outcome.late_micros.value_at_quantile(1.0);
            assert!(outcome.late_micros.equivalent(found, expected_micros), "{case}: {found}");
            assert_eq!((outcome.late_micros.len(), outcome.lasted), (1, expected_lasted), "{case}");
        }
    }

    #[test]
    fn only_what_is_of_this_load_is_an_arrival() {
        let delivery = |transaction: Option<&str>, status| Delivery {
            webhook: WebhookId::new("a"),
            event_id: EventId::new(""),
            event_type: None,
            transaction: transaction.map(str::to_owned),
            received_at: at(20),
            answered_at: at(21),
            fault: None,
            status,
        };
        for (delivery, expected) in [
            (delivery(Some("100"), 200), Some(100)),
            (delivery(Some("102"), 200), Some(102)),
            (delivery(Some("99"), 200), None),
            (delivery(Some("103"), 200), None),
            (delivery(Some("100"), 500), None),
            (delivery(Some("x"), 200), None),
            (delivery(None, 200), None),
        ] {
            let deliveries = [delivery];
            let numbers: Vec<u64> =
                published().arrivals(&deliveries).iter().map(|arrival| arrival.number).collect();
            assert_eq!(numbers, expected.into_iter().collect::<Vec<_>>(), "{deliveries:?}");
        }
    }
}
