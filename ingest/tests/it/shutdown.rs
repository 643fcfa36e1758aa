//! The end: nothing new is taken, and what is in flight is answered.

use std::time::Duration;

use hookline_listener::HandedOver;
use hookline_schemas::notification::NotificationType::{Check, Pay};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Connection, Post};
use crate::harness::{ACCEPTED, Edge, Setup};
use crate::notifications::{check, pay};

/// Waits until nobody listens there any more.
async fn refused(edge: &Edge) {
    let refusing = async {
        while TcpStream::connect(edge.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refusing).await.expect("connections are refused");
}

#[tokio::test]
async fn what_is_in_flight_is_answered_and_what_comes_later_is_refused() {
    let mut edge = Edge::start(Setup::default()).await;
    let post = Post::notification(Pay, &pay("1"));
    let mut in_flight = Connection::open(edge.address).await;
    in_flight.begin(&post).await;
    let mut idle = Connection::open(edge.address).await;
    let checked = idle.post(&Post::notification(Check, &check())).await;
    assert_eq!(checked.parts(), (200, ACCEPTED));

    edge.shutdown.cancel();
    refused(&edge).await;
    assert_eq!(idle.closed().await, "", "nothing is in flight there");
    assert!(edge.goes_on_running().await, "something is in flight");
    in_flight.send(post.body()).await;
    assert_eq!(in_flight.answer().await.parts(), (200, ACCEPTED));
    assert_eq!(in_flight.closed().await, "");
    edge.wait_until_stopped().await;
    assert_eq!(edge.events().await.len(), 1);
}

#[tokio::test]
async fn a_log_that_closes_ends_the_edge() {
    let mut edge = Edge::start(Setup::default()).await;
    let mut idle = Connection::open(edge.address).await;
    assert_eq!(idle.post(&Post::notification(Check, &check())).await.parts(), (200, ACCEPTED));
    edge.log.close().await;
    assert_eq!(idle.closed().await, "");
    edge.wait_until_stopped().await;
    assert!(TcpStream::connect(edge.address).await.is_err());
}

#[tokio::test]
async fn while_it_drains_it_goes_on_and_every_answer_ends_its_connection() {
    let edge = Edge::start(Setup::default()).await;
    let check = Post::notification(Check, &check());
    let mut kept = Connection::open(edge.address).await;
    assert_eq!(kept.post(&check).await.header("Connection"), None);
    edge.drain();
    let mut new = Connection::open(edge.address).await;
    for connection in [&mut kept, &mut new] {
        let answer = connection.post(&check).await;
        assert_eq!((answer.parts(), answer.header("Connection")), ((200, ACCEPTED), Some("close")));
        assert_eq!(connection.closed().await, "");
    }
    edge.assert_goes_on().await;
    edge.close().await;
}

/// He may have a request under way that has not come yet.
#[tokio::test]
async fn who_is_connected_when_it_ends_is_answered_once_more() {
    let mut edge = Edge::start(Setup::default()).await;
    let check = Post::notification(Check, &check());
    let mut kept = Connection::open(edge.address).await;
    assert_eq!(kept.post(&check).await.parts(), (200, ACCEPTED));
    edge.shutdown.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let last = kept.post(&check).await;
    assert_eq!((last.parts(), last.header("Connection")), ((200, ACCEPTED), Some("close")));
    edge.wait_until_stopped().await;
}

#[tokio::test]
async fn who_connects_without_a_word_does_not_hold_up_the_end() {
    let mut edge =
        Edge::start(Setup::with_settings(|settings| settings.head_timeout = Duration::from_secs(600))).await;
    let _silent = TcpStream::connect(edge.address).await.expect("the edge listens");
    edge.assert_goes_on().await;
    edge.shutdown.cancel();
    edge.wait_until_stopped().await;
}

#[tokio::test]
async fn who_connects_after_the_end_waits_in_a_socket_that_was_handed_over() {
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    let handed_over =
        || HandedOver::of([socket.try_clone().expect("another descriptor")]).expect("it listens");
    let setup = || {
        let mut setup = Setup::with_settings(|settings| settings.listen = address);
        setup.handed_over = handed_over();
        setup
    };
    let edge = Edge::start(setup()).await;
    let scratch = edge.close().await;
    let mut early = Connection::open(address).await;
    early.send(&Post::notification(Pay, &pay("1")).bytes()).await;
    assert!(early.answer_within(Duration::from_millis(100)).await.is_none(), "nobody is there");
    let edge = Edge::start_in(scratch, setup()).await;
    assert_eq!(early.answer().await.parts(), (200, ACCEPTED));
    edge.close().await;
    assert!(TcpListener::bind(address).await.is_err(), "it is still held");
}

#[tokio::test]
async fn who_does_not_finish_his_body_does_not_hold_up_the_end() {
    let long = Duration::from_secs(600);
    let mut edge = Edge::start(Setup::with_settings(|settings| settings.body_timeout = long)).await;
    let post = Post::notification(Pay, &pay("1"));
    let mut slow = Connection::open(edge.address).await;
    slow.begin(&post).await;
    edge.shutdown.cancel();
    refused(&edge).await;
    edge.wait_until_stopped().await;
    assert_eq!(slow.answer().await.parts().0, 503, "it is sent again");
}
