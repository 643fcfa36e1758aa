//! Requests that are wrong before their body counts: URL, method, Content-Type, head.

use std::time::Duration;

use hookline_schemas::notification::NotificationType::Pay;

use crate::client::{Connection, Post, typed_url};
use crate::gated::GatedLog;
use crate::harness::{ACCEPTED, DIRECTORY, Edge, NOT_ACCEPTED, Scratch, Setup};
use crate::notifications::pay;

#[tokio::test]
async fn only_posts_are_taken() {
    let edge = Edge::start(Setup::default()).await;
    let get = Post::bare(&typed_url("gw_club", Pay), "").head("GET") + "\r\n";
    let mut connection = Connection::open(edge.address).await;
    connection.send(get.as_bytes()).await;
    let answer = connection.answer().await;
    assert_eq!(answer.header("Allow"), Some("POST"));
    edge.assert_refused(&answer, 405, "not_post").await;
}

#[tokio::test]
async fn only_forms_and_json_are_taken() {
    let edge = Edge::start(Setup::default()).await;
    let post = Post::bare(&typed_url("gw_club", Pay), pay("1").form());
    let post = post.header("Content-Type", "text/xml").signed("secret of club");
    let answer = edge.post(&post).await;
    edge.assert_refused(&answer, 415, "neither_form_nor_json").await;
}

#[tokio::test]
async fn unknown_urls_are_not_found() {
    let paths = ["/", "/payments/cloudpayments/gw_club", "/payments/cloudpayments/gw_club/chargeback"];
    for path in paths {
        let edge = Edge::start(Setup::default()).await;
        let answer = edge.post(&Post::form(path, pay("1").form()).signed("secret of club")).await;
        edge.assert_refused(&answer, 404, "not_found").await;
    }
}

#[tokio::test]
async fn what_follows_a_refused_request_is_no_part_of_its_body() {
    let edge = Edge::start(Setup::default()).await;
    let inner = Post::notification(Pay, &pay("1"));
    let outer = Post::form("/nowhere", inner.bytes());
    let mut connection = Connection::open(edge.address).await;
    connection.send(&[outer.bytes(), Post::notification(Pay, &pay("2")).bytes()].concat()).await;
    assert_eq!(connection.answer().await.parts(), (404, NOT_ACCEPTED));
    // The edge may close the connection instead of reading on; it must not take the body for a request.
    if let Some(next) = connection.answer_within(Duration::from_millis(200)).await {
        assert_eq!(next.parts(), (200, ACCEPTED));
        let transactions = edge.events().await.len();
        assert_eq!(transactions, 1);
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_closes_its_connection_in_time() {
    let edge = Edge::start(Setup::with_settings(|settings| {
        settings.head_timeout = Duration::from_millis(100);
    }))
    .await;
    let mut connection = Connection::open(edge.address).await;
    let head = Post::notification(Pay, &pay("1")).head("POST");
    connection.send(head.as_bytes()).await;
    let sent = connection.closed().await;
    assert!(!sent.contains("200 OK"), "{sent}");
    edge.assert_nothing_appended().await;
    edge.assert_goes_on().await;
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed_in_time() {
    let edge = Edge::start(Setup::with_settings(|settings| {
        settings.head_timeout = Duration::from_millis(100);
    }))
    .await;
    assert_eq!(Connection::open(edge.address).await.closed().await, "");
    let mut idle = Connection::open(edge.address).await;
    assert_eq!(idle.post(&Post::notification(Pay, &pay("1"))).await.parts(), (200, ACCEPTED));
    assert_eq!(idle.closed().await, "");
}

#[tokio::test]
async fn a_connection_that_goes_on_asking_outlives_the_time_for_a_head() {
    let limit = Duration::from_secs(1);
    let edge = Edge::start(Setup::with_settings(|settings| settings.head_timeout = limit)).await;
    let mut connection = Connection::open(edge.address).await;
    for transaction in ["1", "2", "3", "4"] {
        assert_eq!(
            connection.post(&Post::notification(Pay, &pay(transaction))).await.parts(),
            (200, ACCEPTED)
        );
        tokio::time::sleep(limit * 2 / 5).await;
    }
    assert_eq!(connection.closed().await, "", "once it is idle for so long");
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_head() {
    let limit = Duration::from_millis(100);
    let scratch = Scratch::new();
    let log = GatedLog::new(scratch.open_loaded(DIRECTORY).await);
    log.gates.acknowledgements.shut();
    let setup = Setup::with_settings(|settings| settings.head_timeout = limit);
    let edge = Edge::launch(scratch, log.clone(), setup).await;
    edge.wait_until_ready().await;
    let mut connection = Connection::open(edge.address).await;
    connection.send(&Post::notification(Pay, &pay("1")).bytes()).await;
    assert!(connection.answer_within(limit * 4).await.is_none(), "nothing is durable yet");
    log.gates.acknowledgements.open();
    assert_eq!(connection.answer().await.parts(), (200, ACCEPTED));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let edge = Edge::start(Setup::default()).await;
    let post = Post::notification(Pay, &pay("1")).header("X-Padding", "x".repeat(20 * 1024));
    let mut connection = Connection::open(edge.address).await;
    connection.send(&post.head_of_length(0)).await;
    let sent = connection.closed().await;
    assert!(!sent.contains("200 OK"), "{sent}");
    edge.assert_nothing_appended().await;
    edge.assert_goes_on().await;
}
