//! Money that goes back: never more than came in, and once, whatever happens on the way.

use super::*;
use futures::future::join_all;
use hookline_load_tests::acquirer::Fault;

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
    assert_eq!((error.code(), error.field()), ("VALIDATION_ERROR", Some("transactionId")));
    assert_eq!(shop.bank.requests_at("/payments/refund"), 0);
}

/// What another process may have asked for is looked for first: CloudPayments may have forgotten its id.
#[tokio::test]
async fn what_a_former_control_asked_for_is_looked_for_before_it_is_asked_again() {
    for was_made in [true, false] {
        let shop = Shop::open().await;
        let (paid, id) = shop.received().await;
        // One of the same sum that was known before is not the one.
        shop.bank.refund(PUBLIC_ID, paid.transaction_id, "30.00").expect("there is enough");
        shop.tell_all().await;
        shop.becomes(&id, |payment| payment["refundedAmount"] == "30.00").await;
        let fault = if was_made { Fault::Hang(PATIENCE) } else { Fault::Unavailable };
        shop.bank.misbehave(PUBLIC_ID, "/payments/refund", vec![fault]);
        tokio::select! {
            answered = shop.refund(&id, Some("30.00")) => panic!("nobody has answered: {answered:?}"),
            () = until(async || shop.bank.requests_at("/payments/refund") == 1) => {}
        }
        until(async || !was_made || shop.refunded_at_the_bank(paid.transaction_id) == "60.00").await;
        shop.bank.advance(Duration::from_secs(2 * 3600));
        let shop = shop.next().await;
        shop.becomes(&id, |payment| payment["refundedAmount"] == "60.00").await;
        assert_eq!(shop.refunded_at_the_bank(paid.transaction_id), "60.00", "made then: {was_made}");
        assert_eq!(
            shop.bank.requests_at("/payments/refund"),
            2 - u64::from(was_made),
            "made then: {was_made}"
        );
        assert_eq!(shop.payment(&id).await["refunds"].as_array().map(Vec::len), Some(2));
    }
}

/// A no behind a try that nobody has answered may only say that CloudPayments is at that one.
#[tokio::test]
async fn a_no_behind_a_try_that_was_not_answered_is_not_the_last_word() {
    let shop = Shop::open().await;
    let (paid, id) = shop.received().await;
    let faults = vec![Fault::DoneThen503, Fault::Refuse("it is under way".to_owned())];
    shop.bank.misbehave(PUBLIC_ID, "/payments/refund", faults);
    let refund = refund_of(shop.refund(&id, Some("30.00")).await);
    shop.becomes(&id, |payment| payment["refundedAmount"] == "30.00").await;
    assert_eq!(shop.payment(&id).await["refunds"][0]["id"], refund["refundId"]);
    assert_eq!(shop.refunded_at_the_bank(paid.transaction_id), "30.00");
    assert_eq!(shop.bank.requests_at("/payments/refund"), 3);
}

#[tokio::test]
async fn open_refunds_are_looked_at_in_turn() {
    let shop = Shop::open().await;
    shop.bank.misbehave(PUBLIC_ID, "/payments/refund", vec![Fault::Unavailable; 50]);
    for _ in 0..3 {
        let (_, id) = shop.received().await;
        let asking = shop.refund(&id, None);
        let reserved = shop.becomes(&id, |payment| payment["refunds"][0]["status"] == "PENDING");
        tokio::select! {
            answered = asking => panic!("nobody has answered: {answered:?}"),
            () = reserved => {}
        }
    }
    let view = &shop.rig.api().payments.view;
    let (mut behind, mut seen) = (String::new(), std::collections::BTreeSet::new());
    loop {
        let page = view.with_open_refunds(&behind, 2).await.expect("a view");
        let Some(last) = page.last() else { break };
        behind = last.key();
        seen.extend(page.iter().map(|payment| payment.key()));
    }
    assert_eq!(seen.len(), 3);
    let (count, oldest) = view.open_refunds().await.expect("a view");
    let records = view.with_open_refunds("", 3).await.expect("a view");
    let asked_at = records.iter().flat_map(|payment| payment.open_refunds()).map(|(refund, _)| refund.at);
    assert_eq!((count, oldest), (3, asked_at.min()), "what the metrics tell");
}

/// A Fail of a refund names no payment: whatever comes first, it ends the same.
#[tokio::test]
async fn a_refund_that_failed_in_the_end_is_told_of_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let shop = Shop::open().await;
        let (paid, id) = shop.received().await;
        let refund = shop.bank.refund(PUBLIC_ID, paid.transaction_id, "30.00").expect("there is enough");
        let told = shop.told().into_iter().find(|posted| posted.transaction_id == refund).expect("a Refund");
        let fail = format!(
            "TransactionId={refund}&Amount=30.00&Currency=RUB&DateTime=2026-05-28+12:55:43&OperationType=Refund\
             &Reason=Error&ReasonCode=5006&Status=Declined&TestMode=0"
        );
        for which in order {
            match which {
                0 => shop.tell(&told).await,
                _ => shop.tell_body(NotificationType::Fail, fail.as_bytes()).await,
            }
            shop.taken().await;
        }
        let payment = shop.payment(&id).await;
        assert_eq!(payment["refunds"][0]["status"], "DECLINED", "{order:?}");
        assert_eq!(
            (&payment["refundedAmount"], &payment["refundableAmount"]),
            (&json!("0"), &json!("100.00"))
        );
    }
}
