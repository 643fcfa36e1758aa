//! Money that goes back: never more than came in, and once, whatever happens on the way.

use futures::future::join_all;
use hookline_load_tests::acquirer::Fault;
use hookline_schemas::ids::RefundId;
use hookline_schemas::payment::RefundRequest;

use super::*;

fn refund_of(response: async_graphql::Response) -> Value {
    super::super::data(response)["refundPayment"].clone()
}

#[tokio::test]
async fn parts_go_back_up_to_the_original_and_never_above() {
    let shop = Shop::open().await;
    let (paid, id) = shop.received().await;
    let first = refund_of(shop.refund(&id, Some("30.00")).await);
    assert_eq!(
        (&first["success"], &first["amount"], &first["status"]),
        (&json!(true), &json!("30.00"), &json!("COMPLETED"))
    );
    let error = super::super::error(&shop.refund(&id, Some("70.01")).await).expect("too much");
    assert_eq!((error.code(), error.field()), ("VALIDATION_ERROR", Some("amount")), "{error}");
    let rest = refund_of(shop.refund(&id, None).await);
    assert_eq!(rest["amount"], "70.00", "all that is left");
    let error = super::super::error(&shop.refund(&id, None).await).expect("nothing is left");
    assert_eq!(error.code(), "VALIDATION_ERROR");
    let payment = shop.payment(&id).await;
    assert_eq!((&payment["refundedAmount"], &payment["refundableAmount"]), (&json!("100.00"), &json!("0")));
    assert_eq!(payment["refunds"][0]["reason"], "the club was closed");
    assert_eq!(shop.refunded_at_the_bank(paid.transaction_id), "100.00");
}

#[tokio::test]
async fn four_callers_at_once_never_get_more_than_the_original() {
    let shop = Shop::open().await;
    let (paid, id) = shop.received().await;
    let answers = join_all((0..4).map(|_| shop.refund(&id, Some("40.00")))).await;
    let done = answers.iter().filter(|answer| answer.errors.is_empty()).count();
    assert_eq!(done, 2, "{answers:?}");
    assert_eq!(shop.refunded_at_the_bank(paid.transaction_id), "80.00");
    // What the bank would have taken as well was refused before it was asked.
    assert_eq!(shop.bank.requests_at("/payments/refund"), 2);
}

#[tokio::test]
async fn the_answer_and_the_notification_count_once() {
    let shop = Shop::open().await;
    let (_, id) = shop.received().await;
    let _ = refund_of(shop.refund(&id, Some("30.00")).await);
    // One that the cabinet made comes by its notification alone.
    let paid = shop.bank.transactions(PUBLIC_ID)[0].transaction_id;
    shop.bank.refund(PUBLIC_ID, paid, "10.00").expect("there is enough");
    for _ in 0..2 {
        shop.tell_all().await;
    }
    shop.taken().await;
    let payment = shop.payment(&id).await;
    assert_eq!(payment["refundedAmount"], "40.00");
    assert_eq!(payment["refunds"].as_array().map(Vec::len), Some(2));
}

/// Whatever CloudPayments' answer is lost to, the money goes back once, and is said to have gone back.
#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_under_the_same_id() {
    for faults in [
        vec![Fault::DoneThenSilent],
        vec![Fault::DoneThen503, Fault::Unavailable],
        vec![Fault::TooMany, Fault::DoneThenSilent],
        vec![Fault::WithoutEnvelope],
    ] {
        let shop = Shop::open().await;
        let (paid, id) = shop.received().await;
        shop.bank.misbehave(PUBLIC_ID, "/payments/refund", faults.clone());
        let refund = refund_of(shop.refund(&id, Some("30.00")).await);
        shop.becomes(&id, |payment| payment["refundedAmount"] == "30.00").await;
        let refunds = shop.payment(&id).await["refunds"].clone();
        assert_eq!(
            (&refunds[0]["id"], &refunds[0]["status"]),
            (&refund["refundId"], &json!("COMPLETED")),
            "{faults:?}"
        );
        assert_eq!(shop.refunded_at_the_bank(paid.transaction_id), "30.00", "{faults:?}");
        let made = shop.bank.transactions(PUBLIC_ID).iter().filter(|view| view.original.is_some()).count();
        assert_eq!(made, 1, "{faults:?}");
    }
}

#[tokio::test]
async fn what_cloudpayments_declines_can_be_asked_for_again() {
    let shop = Shop::open().await;
    let (_, id) = shop.received().await;
    shop.bank.misbehave(
        PUBLIC_ID,
        "/payments/refund",
        vec![Fault::Refuse("the terminal is closed".to_owned())],
    );
    let error = super::super::error(&shop.refund(&id, None).await).expect("it is declined");
    assert_eq!(error.code(), "PAYMENT_DECLINED");
    assert!(error.to_string().contains("the terminal is closed"), "{error}");
    let payment = shop.payment(&id).await;
    assert_eq!(payment["refundableAmount"], "100.00");
    assert_eq!(payment["refunds"][0]["status"], "DECLINED");
    assert_eq!(refund_of(shop.refund(&id, None).await)["success"], true);
}

#[tokio::test]
async fn only_money_that_was_taken_goes_back() {
    let shop = Shop::open().await;
    let id = shop.top_up().await;
    let error = super::super::error(&shop.refund(&id, None).await).expect("nobody has paid");
    assert_eq!((error.code(), error.field()), ("VALIDATION_ERROR", Some("transactionId")));
    let _ = shop.pay(Payer { two_stage: true, invoice_id: Some(id.clone()), ..Payer::new("100.00") }).await;
    shop.tell_all().await;
    shop.status_becomes(&id, "AUTHORIZED").await;
    let error = super::super::error(&shop.refund(&id, None).await).expect("it is held");
    assert_eq!(error.code(), "VALIDATION_ERROR");
    assert_eq!(shop.bank.requests_at("/payments/refund"), 0);
}

/// An hour after a refund was asked for, CloudPayments has forgotten its id: what it made is looked for first.
#[tokio::test]
async fn after_the_hour_cloudpayments_is_asked_what_it_has_made() {
    for was_made in [true, false] {
        let shop = Shop::open().await;
        let (paid, id) = shop.received().await;
        let long_ago = shop.now().before(Duration::from_secs(2 * 3600));
        if was_made {
            // As if the answer had been lost then.
            shop.bank.refund(PUBLIC_ID, paid.transaction_id, "30.00").expect("there is enough");
        }
        // Another refund of the same sum, that somebody else has asked for, is not this one.
        let other = refund_of(shop.refund(&id, Some("30.00")).await);
        let request = RefundRequest {
            id: RefundId::new("rf_of_long_ago"),
            amount: Some("30.00".parse().expect("a sum")),
            requested_by: "user_1".to_owned(),
            reason: None,
            at: long_ago,
        };
        let key = format!("payment/{}/{}", shop.gateway, paid.transaction_id);
        shop.rig.api().payments.refunds.request(&key, request).await.expect("it is reserved");
        let settled =
            shop.rig.api().payments.refunds.settled(&key, &RefundId::new("rf_of_long_ago"), PATIENCE).await;
        let settled = settled.expect("it is known").expect("it is there");
        assert!(settled.transaction_id.is_some(), "{settled:?}");
        let made = shop.bank.transactions(PUBLIC_ID).iter().filter(|view| view.original.is_some()).count();
        assert_eq!(made, 2, "made then: {was_made}");
        assert_eq!(shop.refunded_at_the_bank(paid.transaction_id), "60.00");
        assert_ne!(other["refundId"], "rf_of_long_ago");
    }
}
