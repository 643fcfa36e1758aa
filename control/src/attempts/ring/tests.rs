//! The ring by itself, against what a list would say.

use std::mem::size_of;

use super::*;

fn place(number: u64) -> Place {
    Place {
        started_at: Timestamp(number / 3),
        partition: Partition(u16::try_from(number % 7).expect("small")),
        offset: Offset(number),
    }
}

fn webhook(number: u64) -> WebhookId {
    WebhookId::new(format!("wh_{number}"))
}

fn event(number: u64) -> EventId {
    EventId::new(format!("evt_{number}"))
}

/// The attempt with this number: of one of 100 webhooks and one of 1000 events; every fifth failed.
fn push(ring: &mut Ring, number: u64) {
    let (webhook, event) = (webhook(number % 100), event_hash(&event(number % 1_000)));
    ring.push(place(number), Sighting { webhook: &webhook, event, is_delivered: !number.is_multiple_of(5) });
}

fn everything(webhooks: &[WebhookId]) -> Wanted<'_> {
    Wanted { webhooks, event: None, is_delivered: None, before: None }
}

#[test]
fn a_million_attempts_take_32_bytes_each_and_are_found_by_everything_that_is_asked() {
    const COUNT: u64 = 1_000_000;
    assert_eq!(size_of::<Entry>(), 32);
    let mut ring = Ring::new(1_000_000);
    (0..COUNT).for_each(|number| push(&mut ring, number));
    assert_eq!((ring.entries.len(), ring.since()), (1_000_000, None));
    let all: Vec<_> = (0..100).map(webhook).collect();
    let (one, some) = ([webhook(7)], [webhook(7), webhook(8), webhook(1_000)]);
    let (rare, before) = (event(107), place(500_000));
    for (wanted, takes) in [
        (everything(&all), (|_| true) as fn(u64) -> bool),
        (everything(&one), |number| number % 100 == 7),
        (everything(&some), |number| matches!(number % 100, 7 | 8)),
        (Wanted { event: Some(&rare), ..everything(&all) }, |number| number % 1_000 == 107),
        (Wanted { event: Some(&rare), ..everything(&[webhook(8)]) }, |_| false),
        (Wanted { is_delivered: Some(false), ..everything(&all) }, |number| number % 5 == 0),
        (Wanted { is_delivered: Some(true), ..everything(&one) }, |number| number % 100 == 7),
        (Wanted { is_delivered: Some(false), ..everything(&one) }, |_| false),
        (Wanted { before: Some(before), ..everything(&one) }, |number| {
            number % 100 == 7 && place(number) < place(500_000)
        }),
        (everything(&[]), |_| false),
    ] {
        let mut expected: Vec<_> = (0..COUNT).filter(|number| takes(*number)).map(place).collect();
        expected.sort_unstable_by(|one, other| other.cmp(one));
        expected.truncate(101);
        assert_eq!(ring.newest(wanted, 101), expected, "{wanted:?}");
    }
    let at_event = ring.at_event(&one, &rare);
    assert_eq!(at_event.len(), 1_000);
    assert!(at_event.iter().all(|attempt| attempt.webhook == webhook(7) && attempt.is_delivered));
}

#[test]
fn beyond_the_capacity_the_oldest_fall_out_and_it_is_known_since_when_all_is_there() {
    let mut ring = Ring::new(10);
    (0..10).for_each(|number| push(&mut ring, number));
    assert_eq!(ring.since(), None);
    (10..13).for_each(|number| push(&mut ring, number));
    let all: Vec<_> = (0..100).map(webhook).collect();
    let mut expected: Vec<_> = (3..13).map(place).collect();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(ring.newest(everything(&all), 100), expected);
    assert_eq!(ring.since(), Some(Timestamp(1)), "number 2 began at 0");
}

#[test]
fn webhooks_without_attempts_are_forgotten_and_their_numbers_given_again() {
    let mut ring = Ring::new(5);
    for number in 0..1_000 {
        let webhook = webhook(number);
        ring.push(place(number), Sighting { webhook: &webhook, event: number, is_delivered: true });
        assert_eq!(ring.newest(everything(&[webhook]), 9), [place(number)]);
    }
    assert_eq!((ring.webhooks.by_name.len(), ring.webhooks.slots.len()), (5, 5));
    assert_eq!(ring.newest(everything(&[webhook(994)]), 9), []);
    assert_eq!(ring.newest(everything(&[webhook(995)]), 9), [place(995)]);
}

#[test]
fn what_was_read_partition_by_partition_is_put_in_order() {
    let mut ring = Ring::new(4);
    let attempt = |started_at| Place {
        started_at: Timestamp(started_at),
        partition: Partition(0),
        offset: Offset(started_at),
    };
    let one = webhook(1);
    for started_at in [5, 1, 9, 3] {
        ring.push(attempt(started_at), Sighting { webhook: &one, event: 1, is_delivered: true });
    }
    ring.sort();
    ring.push(attempt(10), Sighting { webhook: &one, event: 1, is_delivered: true });
    assert_eq!(ring.newest(everything(&[one]), 9), [10, 9, 5, 3].map(attempt));
}

#[test]
fn what_retention_is_known_to_have_taken_is_not_offered_again() {
    let mut ring = Ring::new(100);
    (0..100).for_each(|number| push(&mut ring, number));
    ring.expire(Partition(3), Offset(50));
    ring.expire(Partition(3), Offset(20));
    let all: Vec<_> = (0..100).map(webhook).collect();
    let left = ring.newest(everything(&all), 100);
    let is_there = |number: &u64| number % 7 != 3 || *number >= 50;
    assert_eq!(left.len(), (0..100).filter(is_there).count());
    assert!(left.iter().all(|place| is_there(&place.offset.0)));
}
