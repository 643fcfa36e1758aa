//! What the edge tells of itself.

use hookline_schemas::notification::NotificationType::{Check, Pay};

use crate::client::{Connection, Post};
use crate::gated::GatedLog;
use crate::harness::{ACCEPTED, DIRECTORY, Edge, Scratch, Setup, eventually};
use crate::notifications::{check, pay};

#[tokio::test]
async fn a_payment_is_counted_for_its_gateway_and_its_append_is_measured() {
    let edge = Edge::start(Setup::default()).await;
    let before = edge.metrics();
    assert!(!before.contains("last_notification_timestamp_seconds{"), "nothing came yet: {before}");
    for post in [Post::notification(Pay, &pay("1")), Post::notification(Check, &check())] {
        assert_eq!(edge.post(&post).await.parts(), (200, ACCEPTED));
    }
    let page = edge.metrics();
    for line in [
        "hookline_ingest_gateway_notifications_total{gateway=\"gw_club\"} 2\n",
        "hookline_ingest_gateway_notifications_total{gateway=\"gw_other\"} 0\n",
        "hookline_ingest_notifications_total{type=\"pay\",outcome=\"appended\"} 1\n",
        "hookline_ingest_notifications_total{type=\"check\",outcome=\"check\"} 1\n",
        "hookline_ingest_notifications_total{type=\"fail\",outcome=\"quarantined\"} 0\n",
        "hookline_ingest_append_wait_seconds_count 1\n",
        "hookline_ingest_append_seconds_count 1\n",
        "hookline_ingest_gateways 2\n",
        "hookline_ingest_directory_entries{table=\"clients\"} 1\n",
        "hookline_ingest_directory_entries{table=\"top_ups\"} 1\n",
        "hookline_ingest_permits{kind=\"requests\"} 56\n",
        "hookline_ingest_permits{kind=\"checks\"} 8\n",
        "hookline_ingest_permits{kind=\"bytes\"} 8388608\n",
        "hookline_ingest_permits_in_use{kind=\"requests\"} 0\n",
        "hookline_ingest_permits_in_use{kind=\"bytes\"} 0\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    let last = "hookline_ingest_gateway_last_notification_timestamp_seconds{gateway=\"gw_club\"} ";
    let last = page.lines().find_map(|line| line.strip_prefix(last)).expect("a sample");
    assert!(last.parse::<u64>().expect("seconds") > 1_700_000_000, "{last}");
    assert!(!page.contains("timestamp_seconds{gateway=\"gw_other\"}"), "nothing came for it: {page}");
}

#[tokio::test]
async fn a_forged_notification_is_nobodys() {
    let edge = Edge::start(Setup::default()).await;
    let forged = Post::form("/payments/cloudpayments/gw_club/pay", pay("1").form()).signed("a guess");
    assert_eq!(edge.post(&forged).await.status, 401);
    assert!(edge.metrics().contains("gateway_notifications_total{gateway=\"gw_club\"} 0\n"));
}

#[tokio::test]
async fn permits_are_in_use_while_an_append_is_not_acknowledged() {
    let scratch = Scratch::new();
    let log = GatedLog::new(scratch.open_loaded(DIRECTORY).await);
    log.gates.acknowledgements.shut();
    let edge = Edge::launch(scratch, log.clone(), Setup::default()).await;
    edge.wait_until_ready().await;
    let mut connection = Connection::open(edge.address).await;
    connection.send(&Post::notification(Pay, &pay("1")).bytes()).await;
    eventually("it is written", || log.gates.written() == 1).await;
    let has_waited = || edge.metrics().contains("hookline_ingest_append_wait_seconds_count 1\n");
    eventually("the log has taken it, whatever becomes of it", has_waited).await;
    let page = edge.metrics();
    for line in [
        "hookline_ingest_permits_in_use{kind=\"requests\"} 1\n",
        "hookline_ingest_permits_in_use{kind=\"checks\"} 0\n",
        "hookline_ingest_permits_in_use{kind=\"bytes\"} 1024\n",
        "hookline_ingest_append_seconds_count 0\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    log.gates.acknowledgements.open();
    assert_eq!(connection.answer().await.parts(), (200, ACCEPTED));
    assert!(edge.metrics().contains("hookline_ingest_append_seconds_count 1\n"));
}
