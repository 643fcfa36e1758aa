//! Bodies that are too large, too slow, cut off or not what their type should hold.

use std::time::Duration;

use hookline_event_log::JournalName;
use hookline_schemas::delivery::decode;
use hookline_schemas::notification::NotificationType::{Check, Pay};
use hookline_schemas::quarantine::QuarantinedNotification;
use hookline_schemas::time::Clock;

use crate::client::{Connection, Post, SHARED_URL, typed_url};
use crate::harness::{ACCEPTED, Edge, NOT_ACCEPTED, Setup, eventually};
use crate::notifications::{check, pay};

const KIB: usize = 1024;

#[tokio::test]
async fn a_body_of_declared_length_is_refused_before_it_is_read() {
    for (url, length) in [
        (typed_url("gw_club", Pay), 10 * KIB * KIB),
        (typed_url("gw_club", Pay), 256 * KIB + 1),
        (SHARED_URL.to_owned(), 64 * KIB + 1),
    ] {
        let edge = Edge::start(Setup::default()).await;
        let mut connection = Connection::open(edge.address).await;
        connection.send(&Post::form(&url, "").signed("secret of club").head_of_length(length)).await;
        let answer = connection.answer().await;
        edge.assert_refused(&answer, 413, "too_large").await;
        assert_eq!(connection.closed().await, "");
    }
}

#[tokio::test]
async fn a_body_of_undeclared_length_is_refused_once_it_is_too_large() {
    let edge = Edge::start(Setup::default()).await;
    let head = Post::form(&typed_url("gw_club", Pay), "").signed("secret of club").head("POST");
    let mut connection = Connection::open(edge.address).await;
    connection.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await;
    let limit = 256 * KIB;
    for _ in 0..limit / KIB {
        connection.send(format!("400\r\n{}\r\n", "x".repeat(KIB)).as_bytes()).await;
    }
    let early = connection.answer_within(Duration::from_millis(50)).await;
    assert!(early.is_none(), "the limit itself is no refusal: {early:?}");
    connection.send(b"1\r\nx").await;
    let answer = connection.answer().await;
    edge.assert_refused(&answer, 413, "too_large").await;
    assert_eq!(connection.closed().await, "");
}

#[tokio::test]
async fn a_body_in_chunks_is_put_together() {
    let edge = Edge::start(Setup::default()).await;
    let post = Post::notification(Pay, &pay("1"));
    let mut connection = Connection::open(edge.address).await;
    connection.send(format!("{}Transfer-Encoding: chunked\r\n\r\n", post.head("POST")).as_bytes()).await;
    for part in post.body().chunks(100) {
        connection.send(format!("{:x}\r\n", part.len()).as_bytes()).await;
        connection.send(&[part, b"\r\n"].concat()).await;
        tokio::task::yield_now().await;
    }
    connection.send(b"0\r\n\r\n").await;
    assert_eq!(connection.answer().await.parts(), (200, ACCEPTED));
    assert_eq!(edge.events().await.len(), 1);
}

#[tokio::test]
async fn a_slow_body_is_refused_in_time() {
    let timeout = Duration::from_millis(150);
    let edge = Edge::start(Setup::with_settings(|settings| settings.body_timeout = timeout)).await;
    let post = Post::notification(Pay, &pay("1"));
    let mut connection = Connection::open(edge.address).await;
    connection.send(&post.head_of_length(post.body().len())).await;
    let clock = Clock::start();
    let mut drops = post.body().chunks(1);
    let answer = loop {
        connection.send(drops.next().expect("the body outlasts the time-out")).await;
        if let Some(answer) = connection.answer_within(Duration::from_millis(10)).await {
            break answer;
        }
    };
    let took = clock.elapsed();
    assert!((timeout / 2..Duration::from_secs(3)).contains(&took), "{took:?}");
    edge.assert_refused(&answer, 503, "slow_body").await;
    assert_eq!(connection.closed().await, "");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let edge = Edge::start(Setup::default()).await;
    let post = Post::notification(Pay, &pay("1"));
    let mut connection = Connection::open(edge.address).await;
    connection.send(&post.head_of_length(post.body().len() + 1)).await;
    connection.send(post.body()).await;
    connection.end_sending().await;
    let answer = connection.answer().await;
    edge.assert_refused(&answer, 400, "broken_body").await;
}

#[tokio::test]
async fn a_sender_that_vanishes_leaves_nothing() {
    let edge = Edge::start(Setup::default()).await;
    let post = Post::notification(Pay, &pay("1"));
    let mut connection = Connection::open(edge.address).await;
    connection.begin(&post).await;
    drop(connection);
    eventually("the broken body is counted", || edge.answered("broken_body") == 1).await;
    edge.assert_nothing_appended().await;
    edge.assert_goes_on().await;
}

/// Bodies that nobody can read, and why.
fn unreadable() -> [(&'static str, String); 5] {
    let readable = pay("1").form();
    [
        ("a field is not UTF-8", readable.replace("InvoiceId=elsewhere", "InvoiceId=%ff%fe")),
        ("Amount stands in the body twice", format!("{readable}&Amount=1.00")),
        ("Amount stands in the body twice", format!("{readable}&%41mount=1.00")),
        (
            "the form body holds a byte outside of the urlencoded alphabet",
            readable.replace("2026-05-29+12", "2026-05-29 12"),
        ),
        ("the form body holds a broken escape", format!("{readable}&Reason=%d")),
    ]
}

#[tokio::test]
async fn a_payment_that_cannot_be_read_is_accepted_into_quarantine() {
    for (reason, body) in unreadable() {
        let edge = Edge::start(Setup::default()).await;
        let post = Post::form(&typed_url("gw_club", Pay), body.clone()).signed("secret of club");
        assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED), "{body}");
        assert_eq!(edge.answered("quarantined"), 1, "{body}");
        let records = edge.records(JournalName::Quarantine).await;
        let [record] = records.as_slice() else { panic!("one record, not {records:?}") };
        let kept: QuarantinedNotification = decode(&record.value).expect("a quarantined notification");
        assert_eq!(kept.reason, reason, "{body}");
        assert_eq!(edge.events().await, [], "{body}");
        edge.assert_goes_on().await;
    }
}

#[tokio::test]
async fn a_check_that_cannot_be_read_is_never_approved() {
    let edge = Edge::start(Setup::default()).await;
    let readable = check().form();
    let bodies = [
        readable.replace("InvoiceId=i-1", "InvoiceId=%ff%fe"),
        format!("{readable}&Amount=100.00"),
        readable.replace("2026-05-29+12", "2026-05-29 12"),
        format!("{readable}&Reason=%d"),
        String::new(),
    ];
    for body in &bodies {
        let post = Post::form(&typed_url("gw_club", Check), body.clone()).signed("secret of club");
        assert_eq!(edge.post(&post).await.parts(), (200, NOT_ACCEPTED), "{body}");
    }
    let json = Post::json(&typed_url("gw_club", Check), "[]").signed("secret of club");
    assert_eq!(edge.post(&json).await.parts(), (200, NOT_ACCEPTED));
    assert_eq!(edge.counter("hookline_ingest_checks_total{code=\"13\"}"), bodies.len() as u64 + 1);
    edge.assert_nothing_appended().await;
    edge.assert_goes_on().await;
}

#[tokio::test]
async fn a_payment_is_never_swallowed_as_a_check() {
    let edge = Edge::start(Setup::default()).await;
    // Everything that a Check needs to be approved is there; the rest only what comes after it has.
    let only_later = [
        ("GatewayName", "Tbank"),
        ("AuthCode", "1"),
        ("Token", "tk"),
        ("Rrn", "6"),
        ("TotalFee", "1"),
        ("ReasonCode", "5051"),
        ("PaymentTransactionId", "1"),
        ("Status", "Declined"),
    ];
    for (key, value) in only_later {
        let answer = edge.post(&Post::notification(Check, &check().with(key, value))).await;
        assert_eq!(answer.parts(), (200, NOT_ACCEPTED), "{key}");
    }
    assert_eq!(edge.counter("hookline_ingest_type_conflicts_total"), only_later.len() as u64);
    edge.assert_nothing_appended().await;
    assert!(edge.answers_checks().await);
}

#[tokio::test]
async fn a_payment_with_half_of_its_fields_is_a_payment_at_the_shared_url() {
    let edge = Edge::start(Setup::default()).await;
    // Without GatewayName the fields say Confirm, which means the same: the money has been received.
    let pairs = pay("1").without("GatewayName").without("TotalFee");
    let post = Post::form(SHARED_URL, pairs.form()).signed("secret of club");
    assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED));
    assert_eq!(edge.events().await.len(), 1);
}

#[tokio::test]
async fn an_unknown_type_at_the_shared_url_is_to_be_sent_again() {
    for body in ["Message=hello".to_owned(), pay("1").form() + "&Amount=1.00"] {
        let edge = Edge::start(Setup::default()).await;
        let answer = edge.post(&Post::form(SHARED_URL, body).signed("secret of club")).await;
        edge.assert_refused(&answer, 200, "unknown_type").await;
    }
}
