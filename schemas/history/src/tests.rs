//! The history of a small log, written by hand.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_event_log::{
    Epoch, Journal, JournalName, Log, Offset, Partition, PartitionCounts, Table, TableName, partition_of,
};
use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::delivery::{
    AttemptOutcome, AttemptRecord, DeadLetter, DeadReason, FailureReason, LaneRecord, ParkedDelivery, encode,
};
use hookline_schemas::event::{Event, partition_key};
use hookline_schemas::ids::{EventId, GatewayId, OrganizationId, WebhookId};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::payload::EventData;
use hookline_schemas::quarantine::{QuarantinedNotification, key_of, place_of};
use hookline_schemas::redelivery::{LetterFilter, LetterId, Redelivery, RedeliveryKey, RedeliveryProgress};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::seal::Sealer;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::{Webhook, Webhooks, parse_url};

use crate::trace::{TracedOutcome, WaitReason};
use crate::{CancelError, History, LettersOf, RedeliverError, TraceQuery};

const WEBHOOKS: [&str; 4] = ["wh_dead", "wh_delivered", "wh_parked", "wh_silent"];

pub(crate) fn event(transaction: u64, now: Timestamp) -> Event {
    let data = serde_json::json!({ "payment": {
        "paymentId": format!("pay_{transaction}"), "gateway": "gw", "amount": "10.00", "testMode": false,
        "gatewayTransactionId": transaction.to_string(), "invoiceId": format!("order-{transaction}"),
    }});
    let event = serde_json::json!({
        "id": format!("evt_{transaction}"), "fingerprint": 1, "type": "PAYMENT_RECEIVED", "notification": "pay",
        "organization": "org", "gateway": "gw", "club_id": "club", "accepted_at": now, "data": data,
    });
    Event::decode(event.to_string().as_bytes()).expect("an event")
}

pub(crate) fn parked(transaction: u64) -> ParkedDelivery {
    ParkedDelivery {
        webhook: WebhookId::new("wh_parked"),
        event: event(transaction, Clock::start().wall()),
        tries: 1,
        last_failure: Some(FailureReason::Timeout),
        not_before: Timestamp(0),
        deadline: Timestamp(77),
        webhooks_version: 0,
    }
}

fn letter(webhook: &str, transaction: u64, failure: FailureReason) -> DeadLetter {
    let now = Clock::start().wall();
    DeadLetter {
        webhook: WebhookId::new(webhook),
        event: event(transaction, now),
        reason: DeadReason::Deadline,
        tries: 2,
        last_failure: Some(failure),
        dead_at: Timestamp(transaction),
    }
}

fn webhooks() -> Webhooks {
    let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
    let webhook = |id: &str| Webhook {
        id: WebhookId::new(id),
        organization: OrganizationId::new("org"),
        club_id: None,
        url: parse_url("https://example.com/").expect("a URL"),
        events: vec![hookline_schemas::event::EventType::PaymentReceived],
        keys: WebhookKeys::new(&secret),
        headers: CustomHeaders::default(),
        retry_schedule: None,
        deadline: None,
        rate_limit: None,
        paused: false,
        enabled_at: None,
        probed_at: None,
    };
    WEBHOOKS.map(webhook).into_iter().collect()
}

struct Bench {
    log: EmbeddedLog,
    history: History<EmbeddedLog>,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = EmbeddedOptions {
            partitions: PartitionCounts { events: 2, lanes: 4 },
            map_size: 1 << 28,
            reserve: 1 << 20,
            allow_page_cache: true,
            ..EmbeddedOptions::new(directory.path())
        };
        let log = EmbeddedLog::open(options, Clock::start()).expect("a log");
        let history = History::new(log.clone(), Clock::start());
        Self { log, history, _directory: directory }
    }

    async fn append(&self, to: JournalName, key: &str, value: Vec<u8>) -> u64 {
        let journal = self.log.journal(to);
        let key = Bytes::copy_from_slice(key.as_bytes());
        let partition = partition_of(&key, journal.partitions());
        let appending = journal.append(partition, key, value.into()).await.expect("accepted");
        appending.await.expect("durable").0
    }

    async fn bury(&self, letter: &DeadLetter) -> u64 {
        self.append(JournalName::DeadLetters, letter.webhook.as_str(), encode(letter)).await
    }

    async fn put(&self, near: &str, key: String, value: Vec<u8>) {
        let table = self.log.table(TableName::Lanes);
        let partition = partition_of(near.as_bytes(), table.partitions());
        let putting = table.put(partition, key.into(), Some(value.into()), Epoch(1)).await.expect("accepted");
        putting.await.expect("durable");
    }

    async fn shown(&self) -> Vec<String> {
        let all = self.history.redeliveries().await.expect("read");
        let mut ids: Vec<_> = all.into_iter().map(|status| status.wish.id).collect();
        ids.sort();
        ids
    }

    async fn quarantine(&self, sealer: &Sealer, body: &[u8]) {
        let key = key_of(body);
        let entry = QuarantinedNotification {
            gateway: GatewayId::new("gw"),
            notification: NotificationType::Pay,
            json: false,
            reason: "the amount is missing".to_owned(),
            accepted_at: Timestamp(9),
            sealed_body: QuarantinedNotification::encode_sealed(&sealer.seal(&place_of(&key), body)),
        };
        self.append(JournalName::Quarantine, &key, encode(&entry)).await;
    }

    async fn attempted(&self, webhook: &str, event: &EventId, outcome: AttemptOutcome) {
        let record = AttemptRecord {
            webhook: WebhookId::new(webhook),
            event: event.clone(),
            number: 1,
            started_at: Timestamp(5),
            duration_ms: 3,
            outcome,
            answer: None,
        };
        self.append(JournalName::Attempts, webhook, encode(&record)).await;
    }
}

#[tokio::test]
async fn letters_are_listed_by_filter_and_page_by_page() {
    let bench = Bench::new();
    for transaction in 1..=10 {
        let webhook = if transaction % 2 == 0 { "wh_even" } else { "wh_odd" };
        let failure = if transaction > 6 { FailureReason::Tls } else { FailureReason::Timeout };
        bench.bury(&letter(webhook, transaction, failure)).await;
    }
    let all = LetterFilter::default;
    let even = || Some(WebhookId::new("wh_even"));
    for (filter, expected) in [
        (LetterFilter { webhook: even(), ..all() }, vec![2, 4, 6, 8, 10]),
        (LetterFilter { webhook: even(), failure: Some("tls".to_owned()), ..all() }, vec![8, 10]),
        (
            LetterFilter { webhook: even(), since: Some(Timestamp(4)), until: Some(Timestamp(8)), ..all() },
            vec![4, 6],
        ),
        (LetterFilter { event: Some(EventId::new("evt_7")), ..all() }, vec![7]),
        (LetterFilter { webhook: Some(WebhookId::new("wh_none")), ..all() }, vec![]),
    ] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = bench.history.letters(&filter, after, 2).await.expect("read");
            assert!(page.letters.len() <= 2);
            found.extend(page.letters.iter().map(|letter| letter.dead_at.0));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn letters_of_some_webhooks_are_listed_past_those_of_others() {
    let bench = Bench::new();
    for transaction in 1..=9 {
        for webhook in ["wh_ours", "wh_theirs", "wh_also_ours"] {
            bench.bury(&letter(webhook, transaction, FailureReason::Tls)).await;
        }
        bench.append(JournalName::DeadLetters, "wh_theirs", b"of a later version".to_vec()).await;
    }
    let ours: HashSet<_> = ["wh_ours", "wh_also_ours", "wh_none"].map(WebhookId::new).into_iter().collect();
    // It was another organization's webhook then.
    let mut moved = letter("wh_ours", 10, FailureReason::Tls);
    moved.event.organization = OrganizationId::new("org_2");
    bench.bury(&moved).await;
    let organization = OrganizationId::new("org");
    let whose = Some(LettersOf { webhooks: &ours, organization: &organization });
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = bench.history.letters_of(whose, &LetterFilter::default(), after, 4).await;
        let page = page.expect("read");
        assert_eq!(page.unreadable, 0, "what is others' is not counted");
        found.extend(page.letters.into_iter().map(|letter| (letter.webhook, letter.dead_at.0)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    found.sort();
    let of = |webhook: &str| (1..=9).map(|at| (WebhookId::new(webhook), at)).collect::<Vec<_>>();
    assert_eq!(found, [of("wh_also_ours"), of("wh_ours")].concat());
    let theirs = LetterFilter { webhook: Some(WebhookId::new("wh_theirs")), ..LetterFilter::default() };
    assert_eq!(bench.history.letters_of(whose, &theirs, None, 9).await.expect("read").letters, []);
}

#[tokio::test]
async fn a_redelivery_of_named_letters_ends_behind_the_last_of_them() {
    let bench = Bench::new();
    let mut offsets = Vec::new();
    for transaction in 1..=3 {
        offsets.push(bench.bury(&letter("wh_dead", transaction, FailureReason::Tls)).await);
    }
    let partition = partition_of(b"wh_dead", 4).0;
    let letters: Vec<_> =
        offsets.iter().take(2).map(|offset| LetterId { partition, offset: *offset }).collect();
    let named = LetterFilter { letters, ..LetterFilter::default() };
    let rate = NonZeroU32::MIN;
    let wish = bench.history.redeliver(named, rate).await.expect("written");
    assert_eq!(wish.ends.get(usize::from(partition)), offsets.get(1).map(|offset| offset + 1).as_ref());
    let letters = vec![LetterId { partition: 4, offset: 1 }];
    let nowhere = LetterFilter { letters, ..LetterFilter::default() };
    assert!(matches!(bench.history.redeliver(nowhere, rate).await, Err(RedeliverError::NoSuchLetter)));
}

#[tokio::test]
async fn events_whose_places_are_known_are_read_there_and_nothing_is_looked_through() {
    let bench = Bench::new();
    let mut places = Vec::new();
    for transaction in [1, 2, 3, 1] {
        let event = event(transaction, Clock::start().wall());
        let key = partition_key(&event);
        let offset = bench.append(JournalName::Events, &key, event.encode()).await;
        places.push((partition_of(key.as_bytes(), 2), Offset(offset)));
    }
    let places: Vec<_> =
        [places.first(), places.get(3), places.get(1)].into_iter().flatten().copied().collect();
    let beyond = (Partition(0), Offset(900));
    let (webhooks, places) = (Webhooks::default(), [places, vec![beyond]].concat());
    // By its text it would be another one.
    let query =
        TraceQuery { payment: "evt_3", gateways: &[], places: &places, webhooks: &webhooks, sealer: None };
    let found = bench.history.events_about(query, None).await.expect("read");
    let mut found: Vec<_> = found.iter().map(|found| (found.event.id.as_str(), found.records)).collect();
    found.sort_unstable();
    assert_eq!(found, [("evt_1", 2), ("evt_2", 1)]);
    let found = bench.history.events_about(TraceQuery { places: &[], ..query }, None).await.expect("read");
    assert_eq!(found.first().map(|found| found.event.id.as_str()), Some("evt_3"));
}

#[tokio::test]
async fn a_letter_is_shown_with_its_attempts() {
    let bench = Bench::new();
    let dead = letter("wh_dead", 5, FailureReason::Tls);
    bench.bury(&dead).await;
    let failed = AttemptOutcome::Retryable { reason: FailureReason::Tls, retry_after: None };
    bench.attempted("wh_dead", &dead.event.id, failed.clone()).await;
    bench.attempted("wh_dead", &EventId::new("evt_6"), failed.clone()).await;
    let page = bench.history.letters(&LetterFilter::default(), None, 9).await.expect("read");
    let id = page.letters.first().expect("one").id;
    let shown = bench.history.letter(id).await.expect("read").expect("a letter");
    assert_eq!(shown.letter, dead);
    assert_eq!(shown.attempts.iter().map(|attempt| attempt.outcome.clone()).collect::<Vec<_>>(), [failed]);
    for text in [format!("{}-{}", id.partition, id.offset + 1), "60000-1".to_owned()] {
        assert_eq!(bench.history.letter(text.parse().expect("an id")).await.expect("read"), None, "{text}");
    }
}

#[tokio::test]
async fn a_redelivery_is_wished_for_and_followed_and_cancelled() {
    let bench = Bench::new();
    let offset = bench.bury(&letter("wh_dead", 5, FailureReason::Tls)).await;
    let rate = NonZeroU32::new(50).expect("not zero");
    let wish = bench.history.redeliver(LetterFilter::default(), rate).await.expect("written");
    assert!(wish.ends.contains(&(offset + 1)), "what is there now, and nothing later: {:?}", wish.ends);
    let progress = RedeliveryProgress { redelivered: 1, ..RedeliveryProgress::NONE };
    bench.put(&wish.id, RedeliveryKey::Progress(&wish.id).to_string(), encode(&progress)).await;
    let all = bench.history.redeliveries().await.expect("read");
    assert_eq!(
        all.iter().map(|status| (&status.wish, &status.progress)).collect::<Vec<_>>(),
        [(&wish, &progress)]
    );
    assert!(!all.first().expect("one").is_over());
    bench.history.cancel(&wish.id).await.expect("written");
    assert!(bench.history.redeliveries().await.expect("read").first().expect("one").is_over());
    assert!(matches!(bench.history.cancel("nobody").await, Err(CancelError::Unknown)));
}

#[tokio::test]
async fn a_redelivery_is_shown_for_30_days_from_its_end() {
    let bench = Bench::new();
    let (now, days) = (Clock::start().wall(), |days: u64| Duration::from_secs(days * 24 * 3600));
    for (id, requested, is_cancelled, ended) in [
        ("runs", 90, false, None),
        ("ended", 90, false, Some(29)),
        ("ended_after_it_was_cancelled", 90, true, Some(29)),
        ("ended_long_ago", 90, false, Some(31)),
        ("cancelled", 29, true, None),
        ("cancelled_long_ago", 31, true, None),
    ] {
        let (filter, rate, ends) = (LetterFilter::default(), NonZeroU32::MIN, Vec::new());
        let requested_at = now.before(days(requested));
        let wish = Redelivery { id: id.to_owned(), filter, rate, requested_at, ends, is_cancelled };
        bench.put(id, RedeliveryKey::Wish(id).to_string(), encode(&wish)).await;
        let ended_at = ended.map(|ended| now.before(days(ended)));
        let progress = RedeliveryProgress { ended_at, ..RedeliveryProgress::NONE };
        bench.put(id, RedeliveryKey::Progress(id).to_string(), encode(&progress)).await;
    }
    let kept = ["cancelled", "ended", "ended_after_it_was_cancelled", "runs"];
    assert_eq!(bench.shown().await, kept);
    let wish = bench.history.redeliver(LetterFilter::default(), NonZeroU32::MIN).await.expect("written");
    let written = bench.history.written_redeliveries().await.expect("read");
    let mut written: Vec<_> = written.into_iter().map(|status| status.wish.id).collect();
    written.retain(|id| *id != wish.id);
    written.sort();
    assert_eq!(written, kept, "the others have been removed");
}

#[tokio::test]
async fn the_way_of_a_payment_is_told() {
    let bench = Bench::new();
    let event = event(42, Clock::start().wall());
    for _ in 0..2 {
        bench.append(JournalName::Events, &partition_key(&event), event.encode()).await;
    }
    bench.attempted("wh_delivered", &event.id, AttemptOutcome::Delivered { status: 204 }).await;
    let failed = AttemptOutcome::Retryable { reason: FailureReason::Timeout, retry_after: None };
    bench.attempted("wh_parked", &event.id, failed).await;
    let copy = bench.append(JournalName::Parked, "wh_parked", encode(&parked(42))).await;
    let mut lane = LaneRecord { cursor: copy, ..LaneRecord::unknown(WebhookId::new("wh_parked")) };
    lane.breaker.failed_probes = Some(3);
    lane.breaker.next_due = Timestamp(99);
    bench.put("wh_parked", LaneRecord::key(&lane.webhook), encode(&lane)).await;
    bench.bury(&letter("wh_dead", 42, FailureReason::Status(413))).await;

    let (webhooks, gateways) = (webhooks(), [GatewayId::new("gw")]);
    for (payment, gateways) in
        [("42", &gateways[..]), ("42", &[]), ("order-42", &[]), ("pay_42", &[]), ("evt_42", &[])]
    {
        let query = TraceQuery { payment, gateways, places: &[], webhooks: &webhooks, sealer: None };
        let trace = bench.history.trace(query).await.expect("read");
        let [traced] = trace.events.as_slice() else { panic!("{payment}: {trace:?}") };
        assert_eq!((traced.id.as_str(), traced.records), ("evt_42", 2));
        let ids: Vec<_> = traced.deliveries.iter().map(|delivery| delivery.webhook.as_str()).collect();
        assert_eq!(ids, WEBHOOKS);
        let outcomes: Vec<_> = traced.deliveries.iter().map(|delivery| &delivery.outcome).collect();
        let down = WaitReason::EndpointDown { failed_probes: 3, since: None };
        let waits =
            TracedOutcome::Waiting { because: down, next_try: Some(Timestamp(99)), deadline: Timestamp(77) };
        assert!(
            matches!(outcomes.first(), Some(TracedOutcome::Dead { last_failure: Some(failure), .. }) if failure == "4xx"),
            "{outcomes:?}"
        );
        let delivered = TracedOutcome::Delivered { at: Timestamp(5), status: 204 };
        assert_eq!(outcomes.get(1..), Some(&[&delivered, &waits, &TracedOutcome::NotOnRecord][..]));
    }
    let query =
        TraceQuery { payment: "43", gateways: &gateways, places: &[], webhooks: &webhooks, sealer: None };
    assert!(bench.history.trace(query).await.expect("read").is_empty());
}

#[tokio::test]
async fn what_stands_in_quarantine_is_found_by_who_has_the_key() {
    let bench = Bench::new();
    let sealer = Sealer::new(&[7; 32]);
    let body = b"TransactionId=42&Amount=x&Email=ivan%40example.com&CardFirstSix=424242";
    // It was posted twice, and so was one that is not readable as what it says it is.
    for _ in 0..2 {
        bench.quarantine(&sealer, body).await;
        bench.quarantine(&sealer, b"TransactionId=42 43").await;
    }
    let webhooks = webhooks();
    let other = Sealer::new(&[8; 32]);
    for (payment, sealer, found, sealed) in [
        ("42", Some(&sealer), 1, 1),
        ("4", Some(&sealer), 0, 1),
        ("ivan@example.com", Some(&sealer), 0, 1),
        ("ivan%40example.com", Some(&sealer), 0, 1),
        ("424242", Some(&sealer), 0, 1),
        ("42", None, 0, 2),
        ("42", Some(&other), 0, 2),
    ] {
        let query = TraceQuery { payment, gateways: &[], places: &[], webhooks: &webhooks, sealer };
        let trace = bench.history.trace(query).await.expect("read");
        assert_eq!((trace.quarantined.len(), trace.sealed), (found, sealed), "{payment}");
    }
}

#[tokio::test]
async fn events_of_another_organization_with_the_same_invoice_are_passed_by() {
    let bench = Bench::new();
    let (ours, theirs) = (OrganizationId::new("org"), OrganizationId::new("org_2"));
    for (transaction, organization) in [(1, &ours), (2, &theirs), (3, &ours)] {
        let mut event = event(transaction, Timestamp(transaction));
        event.organization = organization.clone();
        if let EventData::Payment(data) = &mut event.data {
            data.invoice_id = Some("all".to_owned());
        }
        bench.append(JournalName::Events, &partition_key(&event), event.encode()).await;
    }
    let webhooks = Webhooks::default();
    let query = TraceQuery { payment: "all", gateways: &[], places: &[], webhooks: &webhooks, sealer: None };
    for (organization, expected) in [(Some(&ours), &["evt_1", "evt_3"][..]), (Some(&theirs), &["evt_2"])] {
        let found = bench.history.events_about(query, organization).await.expect("read");
        assert_eq!(found.iter().map(|found| found.event.id.as_str()).collect::<Vec<_>>(), expected);
    }
}
