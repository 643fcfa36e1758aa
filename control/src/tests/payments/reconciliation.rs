//! What no notification has told of is found, and becomes the event that it would have been.

use hookline_schemas::event::EventType;

use super::*;
use crate::payments::{ReconcileRequest, Reconciled};

impl Shop {
    async fn reconcile(&self, repair: bool) -> Reconciled {
        let (gateway, now) = (self.gateway.clone(), self.now());
        let day = Duration::from_secs(24 * 3600);
        let request = ReconcileRequest { gateway, since: now.before(day), until: now.after(day), repair };
        self.rig.control.reconcile(&request).await.expect("the bank answers")
    }

    /// The events in the log, in the order of their offsets.
    async fn events(&self) -> Vec<Event> {
        use hookline_event_log::{Journal, Offset, Partition, ReadLimit};
        let journal = self.rig.log.journal(JournalName::Events);
        let limit = ReadLimit { records: 10_000, bytes: 64 * 1024 * 1024 };
        let batch = journal.read(Partition(0), Offset::START, None, limit).await.expect("events");
        batch.records.iter().map(|record| Event::decode(&record.value).expect("an event")).collect()
    }
}

#[tokio::test]
async fn a_thousand_that_were_dropped_are_found_and_repaired_and_repaired_again_without_effect() {
    let shop = Shop::open().await;
    for number in 0..1_000 {
        let payer = Payer { account_id: Some(format!("client_{}", number % 10)), ..Payer::new("1.00") };
        let _ = shop.pay(payer).await;
    }
    let reported = shop.reconcile(false).await;
    assert_eq!((reported.transactions, reported.missing_count, reported.repaired), (1_000, 1_000, 0));
    assert!(shop.events().await.is_empty(), "who only asks changes nothing");
    let repaired = shop.reconcile(true).await;
    assert_eq!((repaired.missing_count, repaired.repaired), (1_000, 1_000));
    for _ in 0..2 {
        let again = shop.reconcile(true).await;
        assert_eq!((again.missing_count, again.repaired), (0, 0));
    }
    assert_eq!(shop.events().await.len(), 1_000);
    // The notifications come after all: they are the same events.
    shop.tell_all().await;
    shop.taken().await;
    let ids: std::collections::BTreeSet<_> = shop.events().await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), 1_000);
    let totals = shop
        .ask("{ clientTotals(clientId: \"client_3\") { totals { credited payments } } }", json!({}))
        .await;
    assert_eq!(totals["clientTotals"]["totals"], json!([{ "credited": "100.00", "payments": 100 }]));
}

#[tokio::test]
async fn each_kind_of_event_is_found_and_what_is_known_is_not() {
    let shop = Shop::open().await;
    let held = shop.pay(Payer { two_stage: true, ..Payer::new("50.00") }).await;
    let confirmed = shop.pay(Payer { two_stage: true, ..Payer::new("60.00") }).await;
    shop.bank.confirm(PUBLIC_ID, confirmed.transaction_id, "40.00").expect("it is held");
    let cancelled = shop.pay(Payer { two_stage: true, ..Payer::new("70.00") }).await;
    shop.bank.cancel(PUBLIC_ID, cancelled.transaction_id).expect("it is held");
    let declined = shop.pay(Payer { declined: Some(5051), ..Payer::new("80.00") }).await;
    let refunded = shop.pay(Payer::new("90.00")).await;
    let refund = shop.bank.refund(PUBLIC_ID, refunded.transaction_id, "9.00").expect("there is enough");
    // One Pay Completed is known, its refund is not.
    for posted in shop.told().iter().filter(|posted| posted.transaction_id == refunded.transaction_id) {
        shop.tell(posted).await;
    }
    shop.taken().await;
    let reported = shop.reconcile(false).await;
    let mut missing: Vec<_> = reported
        .missing
        .iter()
        .map(|missing| (missing.transaction_id.clone(), missing.event_type, missing.amount.to_string()))
        .collect();
    missing.sort();
    let row = |number: u64, event_type, amount: &str| (number.to_string(), event_type, amount.to_owned());
    assert_eq!(
        missing,
        [
            row(held.transaction_id, EventType::PaymentAuthorized, "50.00"),
            row(confirmed.transaction_id, EventType::PaymentReceived, "40.00"),
            row(cancelled.transaction_id, EventType::PaymentCancelled, "70.00"),
            row(declined.transaction_id, EventType::PaymentFailed, "80.00"),
            row(refund, EventType::PaymentRefunded, "9.00"),
        ]
    );
    assert_eq!(shop.reconcile(true).await.repaired, 5);
    shop.taken().await;
    assert_eq!(shop.payment(&shop.payment_id(confirmed.transaction_id)).await["source"], "RECONCILIATION");
    assert_eq!(shop.payment(&shop.payment_id(refunded.transaction_id)).await["refundedAmount"], "9.00");
    // Told after all, each by its own notification: nothing is new.
    let before = shop.payment(&shop.payment_id(refunded.transaction_id)).await;
    shop.tell_all().await;
    shop.taken().await;
    assert_eq!(shop.payment(&shop.payment_id(refunded.transaction_id)).await, before);
    assert_eq!(shop.reconcile(true).await.missing_count, 0);
}

#[tokio::test]
async fn a_refund_that_was_made_here_and_told_to_nobody_is_missing() {
    let shop = Shop::open().await;
    let (_, id) = shop.received().await;
    let _ = super::super::data(shop.refund(&id, Some("30.00")).await);
    let repaired = shop.reconcile(true).await;
    let missing: Vec<_> = repaired.missing.iter().map(|missing| missing.event_type).collect();
    assert_eq!(missing, [EventType::PaymentRefunded], "integrators have not heard of it");
    shop.taken().await;
    let payment = shop.payment(&id).await;
    assert_eq!(payment["refundedAmount"], "30.00", "it counts once");
    assert_eq!(payment["refunds"].as_array().map(Vec::len), Some(1));
}

/// A site that is registered again is another gateway, and its payments are the same.
#[tokio::test]
async fn what_was_known_of_a_site_is_known_when_it_is_registered_again() {
    let mut shop = Shop::open().await;
    let _ = shop.received().await;
    let delete = "mutation($id: ID!) { deleteGateway(id: $id) }";
    let _ = shop.ask(delete, json!({ "id": shop.gateway.to_string() })).await;
    let again = shop.configure(r#"defaultClubId: "club_1""#).await;
    assert_ne!(shop.gateway, again);
    shop.gateway = again;
    assert_eq!(shop.reconcile(true).await.missing_count, 0);
    let totals =
        shop.ask("{ clientTotals(clientId: \"client_1\") { totals { credited } } }", json!({})).await;
    assert_eq!(totals["clientTotals"]["totals"], json!([{ "credited": "100.00" }]));
}

/// A hold that was taken days after it began is on no page of what began lately.
#[tokio::test]
async fn what_became_of_a_hold_is_asked_for_however_old_it_is() {
    let shop = Shop::open().await;
    let held = shop.pay(Payer { two_stage: true, ..Payer::new("50.00") }).await;
    shop.tell_all().await;
    let id = shop.payment_id(held.transaction_id);
    shop.status_becomes(&id, "AUTHORIZED").await;
    shop.bank.confirm(PUBLIC_ID, held.transaction_id, "20.00").expect("it is held");
    let (since, until) = (shop.now().after(PATIENCE), shop.now().after(PATIENCE * 2));
    let request = ReconcileRequest { gateway: shop.gateway.clone(), since, until, repair: true };
    let reconciled = shop.rig.control.reconcile(&request).await.expect("the bank answers");
    assert_eq!((reconciled.transactions, reconciled.repaired), (1, 1));
    shop.status_becomes(&id, "CONFIRMED").await;
    assert_eq!(shop.payment(&id).await["amount"], "20.00");
    let reconciled = shop.rig.control.reconcile(&request).await.expect("the bank answers");
    assert_eq!(reconciled.transactions, 0, "nothing is held any more");
}

#[tokio::test]
async fn a_top_up_that_was_paid_unheard_of_is_paid() {
    let shop = Shop::open().await;
    let id = shop.top_up().await;
    let payer = Payer {
        invoice_id: Some(id.clone()),
        account_id: Some("client_1".to_owned()),
        ..Payer::new("100.00")
    };
    let _ = shop.pay(payer).await;
    assert_eq!(shop.payment(&id).await["status"], "PENDING");
    assert_eq!(shop.reconcile(true).await.repaired, 1);
    shop.status_becomes(&id, "CONFIRMED").await;
    assert_eq!(shop.payment(&id).await["source"], "RECONCILIATION");
    assert!(super::top_ups::for_check(&shop, &id).await.paid, "nobody pays it twice");
}

#[tokio::test]
async fn the_schedule_repairs_what_is_old_enough_if_that_is_wanted() {
    for (repair, reconcile_after, expected) in
        [(true, Duration::ZERO, 1), (false, Duration::ZERO, 0), (true, Duration::from_secs(900), 0)]
    {
        let mut setup = Setup::default();
        setup.payments.reconcile_every = Duration::from_millis(200);
        setup.payments.reconcile_after = reconcile_after;
        setup.payments.repair = repair;
        let shop = Shop::with(setup).await;
        let _ = shop.pay(Payer::new("1.00")).await;
        // Bounds are whole seconds: it is in the past of each by then.
        let asked = shop.bank.requests_at("/v2/payments/list");
        until(async || shop.bank.requests_at("/v2/payments/list") >= asked + 10).await;
        assert_eq!(shop.events().await.len(), expected, "{repair} {reconcile_after:?}");
        let compared = format!("compared/{}", shop.gateway);
        assert!(shop.rig.api().payments.view.entry(&compared).await.expect("a view").is_some());
    }
}

#[tokio::test]
async fn nothing_is_compared_by_halves() {
    use crate::payments::ReconcileError;
    use hookline_load_tests::acquirer::Fault;
    let shop = Shop::open().await;
    let _ = shop.pay(Payer::new("1.00")).await;
    shop.bank.misbehave(PUBLIC_ID, "/v2/payments/list", vec![Fault::Unavailable]);
    let (since, until) = (shop.now().before(PATIENCE), shop.now().after(PATIENCE));
    let request =
        |gateway: &str| ReconcileRequest { gateway: GatewayId::new(gateway), since, until, repair: true };
    let refused = shop.rig.control.reconcile(&request(shop.gateway.as_str())).await;
    assert!(matches!(refused, Err(ReconcileError::NotAnswered(_))), "{refused:?}");
    let refused = shop.rig.control.reconcile(&request("gw_of_nobody")).await;
    assert!(matches!(refused, Err(ReconcileError::NotNow(_))), "{refused:?}");
    assert!(shop.events().await.is_empty());
}
