//! The end: nothing new is taken, and what is in flight is answered.

use std::time::Duration;

use hookline_schemas::notification::NotificationType::{Check, Pay};
use tokio::net::TcpStream;

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
