//! What is answered and appended where all is well: every type, at both URLs, in every spelling.

use std::collections::BTreeSet;

use hookline_schemas::event::{Event, EventType};
use hookline_schemas::ids::{EventId, GatewayId, Meaning};
use hookline_schemas::notification::NotificationType;

use crate::client::{Answer, Connection, Post, SHARED_URL, typed_url};
use crate::harness::{ACCEPTED, Edge, NOT_ACCEPTED, Setup};
use crate::notifications::{Pairs, cancel, check, confirm, fail, pay, refund, without_payment};

/// A notification, what it is called, whether its fields tell so too, and the event that it becomes.
struct Row {
    kind: NotificationType,
    pairs: Pairs,
    fields_tell: bool,
    event_type: EventType,
    /// The parts of its identity, where it has a transaction.
    identity: Option<(Meaning, &'static str)>,
}

fn row(
    kind: NotificationType,
    pairs: Pairs,
    event_type: EventType,
    meaning: Meaning,
    key: &'static str,
) -> Row {
    Row { kind, pairs, fields_tell: true, event_type, identity: Some((meaning, key)) }
}

fn row_by_fields(kind: NotificationType, fields_tell: bool, event_type: EventType) -> Row {
    Row { kind, pairs: without_payment(kind), fields_tell, event_type, identity: None }
}

fn rows() -> Vec<Row> {
    use NotificationType::{Cancel, Confirm, Fail, Kkt, Pay, Receipt, Recurrent, Refund, SbpToken};
    let hold = pay("102").with("Status", "Authorized");
    let payout = pay("106").with("OperationType", "CardPayout");
    vec![
        row(Pay, pay("101"), EventType::PaymentReceived, Meaning::Received, "101"),
        row(Pay, hold, EventType::PaymentAuthorized, Meaning::Authorized, "102"),
        row(Pay, payout, EventType::PayoutCompleted, Meaning::Other, "pay/CardPayout/106"),
        row(Confirm, confirm("102"), EventType::PaymentReceived, Meaning::Received, "102"),
        row(Fail, fail("103"), EventType::PaymentFailed, Meaning::Failed, "103"),
        row(Refund, refund("104", "101"), EventType::PaymentRefunded, Meaning::Refunded, "104"),
        row(Cancel, cancel("105"), EventType::PaymentCancelled, Meaning::Cancelled, "105"),
        row_by_fields(Recurrent, true, EventType::SubscriptionChanged),
        row_by_fields(Receipt, true, EventType::ReceiptIssued),
        row_by_fields(Kkt, false, EventType::CashRegisterReported),
        row_by_fields(SbpToken, false, EventType::SbpTokenReported),
    ]
}

/// Every spelling of the notification at every URL that takes it.
fn spellings(kind: NotificationType, pairs: &Pairs, fields_tell: bool) -> Vec<Post> {
    let typed = typed_url("gw_club", kind);
    let urls = [Some(typed.as_str()), fields_tell.then_some(SHARED_URL)];
    let written = |url: &str| {
        [
            Post::form(url, pairs.form()),
            Post::form(url, pairs.form_in_upper_case()),
            Post::bare(url, pairs.form()),
            Post::json(url, pairs.json()),
        ]
    };
    urls.into_iter().flatten().flat_map(written).map(|post| post.signed("secret of club")).collect()
}

fn assert_accepted(answer: &Answer, what: &Post) {
    assert_eq!(answer.parts(), (200, ACCEPTED), "{what:?}");
    assert_eq!(answer.header("Content-Type"), Some("application/json"), "{what:?}");
}

#[tokio::test]
async fn every_spelling_of_a_notification_at_either_url_is_one_event() {
    let edge = Edge::start(Setup::default()).await;
    let mut connection = Connection::open(edge.address).await;
    for Row { kind, pairs, fields_tell, event_type, identity } in rows() {
        let posts = spellings(kind, &pairs, fields_tell);
        for post in &posts {
            assert_accepted(&connection.post(post).await, post);
        }
        let is_ours = |event: &Event| event.notification == Some(kind) && event.event_type == event_type;
        let events: Vec<_> = edge.events().await.into_iter().filter(is_ours).collect();
        assert_eq!(events.len(), posts.len(), "{kind} {event_type:?}: a record for each answer");
        let ids: BTreeSet<_> = events.iter().map(|event| event.id.clone()).collect();
        assert_eq!(ids.len(), 1, "{kind} {event_type:?}: {ids:?}");
        if let Some((meaning, key)) = identity {
            assert_eq!(ids, BTreeSet::from([EventId::compute("pk_club", meaning, key)]), "{kind}");
        }
        for event in &events {
            assert_eq!(Some(&event.data), events.first().map(|first| &first.data), "{kind}");
            assert_eq!(event.gateway.as_ref().map(GatewayId::as_str), Some("gw_club"), "{kind}");
        }
    }
    edge.close().await;
}

#[tokio::test]
async fn a_check_in_every_spelling_is_answered_and_leaves_nothing() {
    let edge = Edge::start(Setup::default()).await;
    let posts = spellings(NotificationType::Check, &check(), true);
    for post in &posts {
        assert_accepted(&edge.post(post).await, post);
    }
    assert_eq!(edge.answered("check"), posts.len() as u64);
    edge.assert_nothing_appended().await;
}

#[tokio::test]
async fn a_pay_and_the_confirm_of_the_same_payment_are_one_event() {
    let edge = Edge::start(Setup::default()).await;
    let pay = Post::notification(NotificationType::Pay, &pay("7"));
    let confirm = Post::notification(NotificationType::Confirm, &confirm("7"));
    for post in [&pay, &confirm] {
        assert_accepted(&edge.post(post).await, post);
    }
    let ids: Vec<_> = edge.events().await.into_iter().map(|event| event.id).collect();
    let expected = EventId::compute("pk_club", Meaning::Received, "7");
    assert_eq!(ids, [expected.clone(), expected]);
}

#[tokio::test]
async fn the_shared_url_finds_the_gateway_whose_key_signed() {
    let edge = Edge::start(Setup::default()).await;
    for (name, transaction) in [("club", "1"), ("other", "2")] {
        let post = Post::form(SHARED_URL, pay(transaction).form()).signed(&format!("secret of {name}"));
        assert_accepted(&edge.post(&post).await, &post);
        let expected = EventId::compute(&format!("pk_{name}"), Meaning::Received, transaction);
        let events = edge.events().await;
        let event = events.iter().find(|event| event.id == expected).expect("the event");
        assert_eq!(event.gateway, Some(GatewayId::new(format!("gw_{name}"))));
    }
}

#[tokio::test]
async fn notifications_sent_at_once_over_one_connection_are_answered_in_their_order() {
    let edge = Edge::start(Setup::default()).await;
    let unknown_invoice = check().with("InvoiceId", "nobody's");
    let sent = [
        Post::notification(NotificationType::Check, &check()).bytes(),
        Post::notification(NotificationType::Pay, &pay("1")).bytes(),
        Post::notification(NotificationType::Check, &unknown_invoice).bytes(),
        Post::notification(NotificationType::Check, &pay("1")).bytes(),
    ];
    let mut connection = Connection::open(edge.address).await;
    connection.send(&sent.concat()).await;
    for expected in [ACCEPTED, ACCEPTED, r#"{"code":10}"#, NOT_ACCEPTED] {
        assert_eq!(connection.answer().await.parts(), (200, expected));
    }
    assert_eq!(edge.events().await.len(), 1);
}
