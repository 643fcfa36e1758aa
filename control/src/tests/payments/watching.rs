//! Payments as they change, and their way.

use async_graphql::Request;
use futures::{FutureExt, Stream, StreamExt};

use super::super::{caller, data};
use super::*;
use crate::identity::{Caller, Identified};

/// What a caller is told, as it comes; he listens once this returns.
async fn listen(
    shop: &Shop,
    who: Caller,
    arguments: &str,
) -> impl Stream<Item = async_graphql::Response> + Unpin + use<> {
    let query = format!("subscription {{ paymentUpdated{arguments} {{ id status refundedAmount }} }}");
    let request = Request::new(query).data(Identified(Ok(who)));
    let mut stream = Box::pin(shop.rig.schema.execute_stream(request));
    // It begins with its first poll, which may look something up.
    for _ in 0..20 {
        assert!(stream.next().now_or_never().is_none(), "nothing has changed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stream
}

/// Waits until this payment is told to stand so; what was told of others before.
async fn told(
    stream: &mut (impl Stream<Item = async_graphql::Response> + Unpin),
    id: &str,
    status: &str,
) -> Vec<String> {
    let mut others = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").expect("it goes on");
        let payment = data(next)["paymentUpdated"].clone();
        if payment["id"] == id && payment["status"] == status {
            return others;
        }
        others.push(payment["id"].as_str().expect("an id").to_owned());
    }
}

#[tokio::test]
async fn whoever_may_see_a_payment_is_told_of_its_changes() {
    let shop = Shop::open().await;
    let id = shop.top_up().await;
    let mut all = listen(&shop, caller("CASHIER", "org_1", Some(&["club_1"])), "").await;
    let mut this = listen(&shop, caller("OWNER", "org_1", None), &format!(r#"(id: "{id}")"#)).await;
    let mut clients = listen(&shop, caller("OWNER", "org_1", None), r#"(clientId: "client_1")"#).await;
    let mut stranger = listen(&shop, caller("OWNER", "org_2", None), "").await;
    let mut of_another_club = listen(&shop, caller("OWNER", "org_1", Some(&["club_2"])), "").await;
    let another = shop.pay(Payer { account_id: Some("client_2".to_owned()), ..Payer::new("1.00") }).await;
    shop.tell_all().await;
    let another = shop.payment_id(another.transaction_id);
    let _ = told(&mut all, &another, "CONFIRMED").await;
    let payer = Payer {
        invoice_id: Some(id.clone()),
        account_id: Some("client_1".to_owned()),
        ..Payer::new("100.00")
    };
    let _ = shop.pay(payer).await;
    shop.tell_all().await;
    let _ = told(&mut all, &id, "CONFIRMED").await;
    assert!(!told(&mut this, &id, "CONFIRMED").await.contains(&another));
    assert!(!told(&mut clients, &id, "CONFIRMED").await.contains(&another));
    for stream in [&mut stranger, &mut of_another_club] {
        for _ in 0..50 {
            assert!(stream.next().now_or_never().is_none(), "it is not his");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let error = data_or_error(&shop, caller("OWNER", "org_2", None), &format!(r#"(id: "{id}")"#)).await;
    assert_eq!(error, "NOT_FOUND");
}

/// Why somebody may not listen.
async fn data_or_error(shop: &Shop, who: Caller, arguments: &str) -> &'static str {
    let query = format!("subscription {{ paymentUpdated{arguments} {{ id }} }}");
    let request = Request::new(query).data(Identified(Ok(who)));
    let mut stream = Box::pin(shop.rig.schema.execute_stream(request));
    let first = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time").expect("an answer");
    super::super::error(&first).expect("he may not").code()
}

#[tokio::test]
async fn whoever_is_too_slow_is_told_so_and_goes_on() {
    let shop = Shop::open().await;
    let mut slow = listen(&shop, super::super::owner(), "").await;
    let mut last = String::new();
    for number in 0..1_200 {
        let paid = shop.pay(Payer::new(format!("{}.00", number + 1))).await;
        last = shop.payment_id(paid.transaction_id);
    }
    shop.tell_all().await;
    shop.taken().await;
    let first = slow.next().await.expect("it goes on");
    assert_eq!(super::super::error(&first).expect("some were missed").code(), "EVENTS_MISSED");
    let _ = told(&mut slow, &last, "CONFIRMED").await;
}

#[tokio::test]
async fn the_way_of_a_payment_is_told_by_whatever_it_is_called() {
    let shop = Shop::open().await;
    let id = shop.top_up().await;
    let payer = |declined| Payer { invoice_id: Some(id.clone()), declined, ..Payer::new("100.00") };
    let _ = shop.pay(payer(Some(5051))).await;
    let paid = shop.pay(payer(None)).await;
    shop.bank.refund(PUBLIC_ID, paid.transaction_id, "10.00").expect("there is enough");
    for _ in 0..2 {
        shop.tell_all().await;
    }
    shop.taken().await;
    let trace = "query($id: ID!) { paymentTrace(id: $id) { events { id type source } quarantined { key } } }";
    let types = async |id: &str, who: &Caller| -> Result<Vec<String>, String> {
        let response = shop.rig.execute(&Ok(who.clone()), trace, json!({ "id": id })).await;
        if let Some(error) = super::super::error(&response) {
            return Err(error.code().to_owned());
        }
        let events = data(response)["paymentTrace"]["events"].clone();
        let mut types: Vec<_> =
            events.as_array().expect("events").iter().map(|event| event["type"].to_string()).collect();
        types.sort();
        Ok(types)
    };
    let owner = super::super::owner();
    let of_transaction = vec![r#""PAYMENT_RECEIVED""#.to_owned(), r#""PAYMENT_REFUNDED""#.to_owned()];
    let of_top_up = [vec![r#""PAYMENT_FAILED""#.to_owned()], of_transaction.clone()].concat();
    assert_eq!(types(&id, &owner).await, Ok(of_top_up));
    let number = paid.transaction_id.to_string();
    let payment = shop.payment_id(paid.transaction_id);
    let event = shop.told().iter().rev().find_map(|posted| posted.event_id.clone()).expect("an event");
    for name in [number.as_str(), payment.as_str(), event.as_str()] {
        assert_eq!(types(name, &owner).await, Ok(of_transaction.clone()), "{name}");
        let stranger = caller("OWNER", "org_2", None);
        assert_eq!(types(name, &stranger).await, Err("NOT_FOUND".to_owned()), "{name}");
    }
}
