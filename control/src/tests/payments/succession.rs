//! Payments across controls: what is kept, what a deposed one writes, and what the next one goes on with.

use bytes::Bytes;
use hookline_event_log::{Epoch, Partition, Table, TableName};
use hookline_load_tests::acquirer::Fault;
use hookline_schemas::delivery::encode;
use hookline_schemas::payment::PaymentRecord;

use super::*;

#[tokio::test]
async fn a_restart_keeps_payments_and_goes_on_where_it_stopped() {
    let shop = Shop::open().await;
    let (_, id) = shop.received().await;
    let before = shop.payment(&id).await;
    // Its position is written down within a second.
    let position = async || shop.rig.api().payments.view.entry("positions").await.expect("a view").is_some();
    until(position).await;
    let top_up = shop.top_up().await;
    let shop = shop.next().await;
    assert_eq!(shop.payment(&id).await, before);
    assert_eq!(shop.payment(&top_up).await["status"], "PENDING");
    let (_, another) = shop.received().await;
    assert_ne!(another, id);
}

/// The process dies after CloudPayments has made the refund, and before that is written down.
#[tokio::test]
async fn the_next_control_asks_for_an_open_refund_again_and_the_money_goes_back_once() {
    let shop = Shop::open().await;
    let (paid, id) = shop.received().await;
    let faults = vec![Fault::Hang(Duration::from_secs(60))];
    shop.bank.misbehave(PUBLIC_ID, "/payments/refund", faults);
    tokio::select! {
        answered = shop.refund(&id, Some("30.00")) => panic!("nobody has answered: {answered:?}"),
        () = until(async || shop.refunded_at_the_bank(paid.transaction_id) == "30.00") => {}
    }
    let shop = shop.next().await;
    shop.becomes(&id, |payment| payment["refundedAmount"] == "30.00").await;
    assert_eq!(shop.refunded_at_the_bank(paid.transaction_id), "30.00");
    assert_eq!(shop.bank.requests_at("/payments/refund"), 1, "what it has made was found");
}

#[tokio::test]
async fn what_a_deposed_control_writes_over_is_written_anew() {
    let shop = Shop::open().await;
    let (_, id) = shop.received().await;
    let _ = super::super::data(shop.refund(&id, Some("30.00")).await);
    let before = shop.payment(&id).await;
    let view = &shop.rig.api().payments.view;
    let key = format!("payment/{}/{}", shop.gateway, shop.bank.transactions(PUBLIC_ID)[0].transaction_id);
    let known = view.payment(&key).await.expect("a view").expect("a payment");
    // As it was before the refund, under an epoch that has been deposed.
    let late = PaymentRecord { refunds: Vec::new(), ..known.clone() };
    let table = shop.rig.log.table(TableName::Payments);
    let put = table.put(Partition(0), Bytes::from(key.clone()), Some(encode(&late).into()), Epoch(0)).await;
    let version = put.expect("room").await.expect("durable");
    view.sight(version).await.expect("it is seen");
    until(async || view.seen().borrow().overwritten.is_empty()).await;
    assert_eq!(shop.payment(&id).await, before);
    let shop = shop.next().await;
    assert_eq!(shop.payment(&id).await, before, "it stands in the table as it counts");
}

#[tokio::test]
async fn a_control_that_stands_by_writes_nothing() {
    let shop = Shop::open().await;
    let (_, id) = shop.received().await;
    shop.rig.api().payments.step_down().await;
    let input = json!({ "input": { "clientId": "c", "clubId": "club_1", "amount": "1.00" } });
    assert_eq!(shop.rig.refused_with(INITIATE, input).await.code(), "SERVICE_UNAVAILABLE");
    let error = super::super::error(&shop.refund(&id, None).await).expect("it stands by");
    assert_eq!(error.code(), "SERVICE_UNAVAILABLE");
    assert_eq!(shop.bank.requests_at("/payments/refund") + shop.bank.requests_at("/orders/create"), 0);
    assert_eq!(shop.payment(&id).await["status"], "CONFIRMED", "what is known is shown");
}

#[tokio::test]
async fn a_view_that_breaks_is_made_anew_and_whoever_listens_is_told() {
    let shop = Shop::open().await;
    let (_, id) = shop.received().await;
    let before = shop.payment(&id).await;
    let view = &shop.rig.api().payments.view;
    let mut updates = view.updates();
    view.break_it().await;
    let top_up = json!({ "input": { "clientId": "c", "clubId": "club_1", "amount": "1.00" } });
    // What is written now can't be taken by the broken view.
    let refused = shop.rig.refused_with(INITIATE, top_up).await;
    assert!(["SERVICE_UNAVAILABLE", "OUTCOME_UNKNOWN"].contains(&refused.code()), "{refused}");
    let missed = async { while updates.recv().await.is_ok_and(|update| update.is_some()) {} };
    tokio::time::timeout(PATIENCE, missed).await.expect("they are told");
    until(async || view.is_loaded().is_ok()).await;
    assert_eq!(shop.payment(&id).await, before);
    let (_, another) = shop.received().await;
    assert_ne!(another, id, "it goes on");
}
