//! Top-ups, and the payments that pay them.

use hookline_event_log::{Change, Partition, Table, TableName, TableWatch};
use hookline_schemas::check::{DirectoryKey, TopUp};
use hookline_schemas::delivery::decode;

use super::*;

/// What Check compares with, of this top-up.
pub(super) async fn for_check(shop: &Shop, id: &str) -> TopUp {
    let mut watch = shop.rig.log.table(TableName::TopUps).watch(&[Partition(0)]);
    let key = DirectoryKey::of_top_up(&shop.gateway, id);
    let mut found = None;
    while let Change::Entry(entry) = watch.next().await.expect("an entry") {
        if entry.key == key.0[..] {
            found = entry.value.map(|value| decode(&value).expect("a top-up"));
        }
    }
    found.expect("Check knows it")
}

fn pays(id: &str) -> Payer {
    Payer { invoice_id: Some(id.to_owned()), account_id: Some("client_1".to_owned()), ..Payer::new("100.00") }
}

#[tokio::test]
async fn a_top_up_can_be_paid_where_cloudpayments_says_and_check_knows_it() {
    let shop = Shop::open().await;
    let input = json!({ "clientId": "client_1", "clubId": "club_7", "amount": 100.5,
        "returnUrl": "https://club.example/back", "description": "Two hours" });
    let made = shop.ask(INITIATE, json!({ "input": input })).await["initiateTopUpPayment"].clone();
    let id = made["transactionId"].as_str().expect("an id");
    let orders = shop.bank.orders(PUBLIC_ID);
    assert_eq!(orders.len(), 1);
    assert_eq!(made["paymentUrl"].as_str(), Some(orders[0].url.as_str()));
    let check = for_check(&shop, id).await;
    assert_eq!(
        (check.amount.to_string().as_str(), check.currency.as_str(), check.paid),
        ("100.5", "RUB", false)
    );
    assert_eq!(check.client_id.as_deref(), Some("client_1"));
    assert_eq!(check.club_id.map(|club| club.to_string()).as_deref(), Some("club_7"));
    let payment = shop.payment(id).await;
    assert_eq!((payment["status"].as_str(), payment["id"].as_str()), (Some("PENDING"), Some(id)));
    assert_eq!(payment["paymentUrl"], made["paymentUrl"]);
    assert_eq!(payment["expiresAt"], made["expiresAt"]);
    assert_eq!(check.expires_at.map(Timestamp::to_rfc3339).as_deref(), made["expiresAt"].as_str());
}

#[tokio::test]
async fn a_gateway_with_a_page_of_its_own_is_paid_there() {
    let shop = Shop::open().await;
    shop.configure(r#"paymentPage: "https://club.example/pay?lang=ru""#).await;
    let input = json!({ "clientId": "client 1", "clubId": "club_1", "amount": "100.00" });
    let made = shop.ask(INITIATE, json!({ "input": input })).await["initiateTopUpPayment"].clone();
    let expected = format!(
        "https://club.example/pay?lang=ru&publicId={PUBLIC_ID}&invoiceId={}&accountId=client+1&amount=100.00&currency=RUB&clubId=club_1",
        made["transactionId"].as_str().expect("an id")
    );
    assert_eq!(made["paymentUrl"], expected);
    assert!(shop.bank.orders(PUBLIC_ID).is_empty());
}

#[tokio::test]
async fn the_same_again_is_a_duplicate_while_it_can_be_paid() {
    let shop = Shop::open().await;
    let input = json!({ "clientId": "client_1", "clubId": "club_1", "amount": "100.00" });
    let id = shop.top_up().await;
    let error = shop.rig.refused_with(INITIATE, json!({ "input": input })).await;
    assert_eq!((error.code(), error.to_string().as_str()), ("ALREADY_EXISTS", "Duplicate transaction"));
    assert_eq!(error.details(), Some(id.as_str()), "it says which");
    for (field, other) in
        [("amount", "100.01"), ("clientId", "client_2"), ("clubId", "club_2"), ("description", "x")]
    {
        let mut other_input = input.clone();
        other_input[field] = json!(other);
        let _ = shop.ask(INITIATE, json!({ "input": other_input })).await;
    }
    // A failed try leaves it open, and a payment makes room for the next one.
    let _ = shop.pay(Payer { declined: Some(5051), ..pays(&id) }).await;
    shop.tell_all().await;
    shop.becomes(&id, |payment| payment["reasonCode"] == 5051).await;
    let error = shop.rig.refused_with(INITIATE, json!({ "input": input })).await;
    assert_eq!(error.code(), "ALREADY_EXISTS");
    let _ = shop.pay(pays(&id)).await;
    shop.tell_all().await;
    shop.status_becomes(&id, "CONFIRMED").await;
    assert_ne!(shop.top_up().await, id);
}

#[tokio::test]
async fn a_top_up_that_cloudpayments_refuses_is_none() {
    use hookline_load_tests::acquirer::Fault;
    let shop = Shop::open().await;
    let input = json!({ "input": { "clientId": "client_1", "clubId": "club_1", "amount": "100.00" } });
    shop.bank.misbehave(
        PUBLIC_ID,
        "/orders/create",
        vec![Fault::Refuse("no".to_owned()), Fault::Unavailable],
    );
    for code in ["PAYMENT_DECLINED", "SERVICE_UNAVAILABLE"] {
        let error = shop.rig.refused_with(INITIATE, input.clone()).await;
        assert_eq!(error.code(), code, "{error}");
    }
    let id = shop.top_up().await;
    assert_eq!(shop.payment(&id).await["status"], "PENDING", "what was refused is no duplicate");
}

#[tokio::test]
async fn what_can_not_be_paid_is_refused_with_its_field() {
    let shop = Shop::open().await;
    shop.configure(r#"minAmount: "10.00", maxAmount: "1000.00""#).await;
    let good = json!({ "clientId": "client_1", "clubId": "club_1", "amount": "100.00" });
    for (field, value) in [
        ("amount", json!("0.00")),
        ("amount", json!("100.001")),
        ("amount", json!("9.99")),
        ("amount", json!("1000.01")),
        ("clientId", json!("")),
        ("returnUrl", json!("javascript:alert(1)")),
        ("returnUrl", json!("back")),
    ] {
        let mut input = good.clone();
        input[field] = value.clone();
        let error = shop.rig.refused_with(INITIATE, json!({ "input": input })).await;
        assert_eq!(
            (error.code(), error.field()),
            ("VALIDATION_ERROR", Some(field)),
            "{field} {value}: {error}"
        );
    }
    let mut input = good;
    input["gatewayId"] = json!("gw_of_nobody");
    assert_eq!(shop.rig.refused_with(INITIATE, json!({ "input": input })).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn a_payment_is_credited_once_however_often_it_is_told() {
    let shop = Shop::open().await;
    let id = shop.top_up().await;
    let paid = shop.pay(pays(&id)).await;
    for _ in 0..3 {
        shop.tell_all().await;
    }
    shop.status_becomes(&id, "CONFIRMED").await;
    shop.taken().await;
    let payment = shop.payment(&id).await;
    assert_eq!(payment["id"], id.as_str());
    assert_eq!(payment["gatewayTransactionId"], paid.transaction_id.to_string());
    assert_eq!(payment["source"], "NOTIFICATION");
    assert_eq!(shop.payment(&shop.payment_id(paid.transaction_id)).await, payment, "by either id");
    let totals = shop
        .ask(
            "{ clientTotals(clientId: \"client_1\") { totals { currency credited refunded payments } } }",
            json!({}),
        )
        .await;
    let expected = json!([{ "currency": "RUB", "credited": "100.00", "refunded": "0", "payments": 1 }]);
    assert_eq!(totals["clientTotals"]["totals"], expected);
}

#[tokio::test]
async fn a_failed_try_leaves_the_top_up_open_and_says_why() {
    let shop = Shop::open().await;
    let id = shop.top_up().await;
    let _ = shop.pay(Payer { declined: Some(5051), ..pays(&id) }).await;
    shop.tell_all().await;
    shop.becomes(&id, |payment| payment["reasonCode"] == 5051).await;
    let payment = shop.payment(&id).await;
    let told = (&payment["status"], &payment["reason"], &payment["retry"]);
    assert_eq!(told, (&json!("PENDING"), &json!("CloudPayments error 5"), &json!("TEMPORARY")));
    let paid = shop.pay(pays(&id)).await;
    shop.tell_all().await;
    shop.status_becomes(&id, "CONFIRMED").await;
    assert_eq!(shop.payment(&id).await["gatewayTransactionId"], paid.transaction_id.to_string());
}

#[tokio::test]
async fn a_top_up_that_nobody_pays_in_time_has_failed() {
    let mut setup = Setup::default();
    setup.payments.top_up_lifetime = Duration::from_millis(1);
    let shop = Shop::with(setup).await;
    let id = shop.top_up().await;
    shop.status_becomes(&id, "FAILED").await;
    assert_eq!(shop.payment(&id).await["reason"], "Transaction timeout");
    // Whoever pays after all has paid: Check let him.
    let _ = shop.pay(pays(&id)).await;
    shop.tell_all().await;
    shop.status_becomes(&id, "CONFIRMED").await;
}

/// Pay Authorized, then Confirm of a part, or Cancel: in every order of arrival, each told twice.
#[tokio::test]
async fn two_stage_payments_end_the_same_in_every_order() {
    for (ending, status, credited) in [
        ("confirm 100.00", "CONFIRMED", "100.00"),
        ("confirm 60.00", "CONFIRMED", "60.00"),
        ("cancel", "CANCELLED", "0"),
    ] {
        for order in [[0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]] {
            let shop = Shop::open().await;
            let id = shop.top_up().await;
            let paid = shop.pay(Payer { two_stage: true, ..pays(&id) }).await;
            match ending.split_once(' ') {
                Some((_, amount)) => shop.bank.confirm(PUBLIC_ID, paid.transaction_id, amount),
                None => shop.bank.cancel(PUBLIC_ID, paid.transaction_id),
            }
            .expect("it is held");
            let told = shop.told();
            assert_eq!(told.len(), 2);
            for index in order {
                shop.tell(&told[index]).await;
            }
            shop.taken().await;
            let payment = shop.payment(&id).await;
            assert_eq!(payment["status"], status, "{ending} {order:?}");
            let totals = shop
                .ask("{ clientTotals(clientId: \"client_1\") { totals { credited payments } } }", json!({}))
                .await;
            let payments = usize::from(credited != "0");
            let expected = json!([{ "credited": credited, "payments": payments }]);
            assert_eq!(totals["clientTotals"]["totals"], expected, "{ending} {order:?}");
        }
    }
}

#[tokio::test]
async fn check_forgets_a_top_up_a_week_after_its_end_and_the_view_with_its_payment() {
    let mut setup = Setup::default();
    setup.payments.retention = Duration::from_secs(30 * 24 * 3600);
    let shop = Shop::with(setup).await;
    let (id, open) = (shop.top_up().await, shop.top_up_of("client_2").await);
    let _ = shop.pay(pays(&id)).await;
    shop.tell_all().await;
    shop.status_becomes(&id, "CONFIRMED").await;
    let in_days = |days: u64| shop.now().after(Duration::from_secs(days * 24 * 3600));
    let payments = &shop.rig.api().payments;
    payments.forget_aged_by(in_days(6)).await.expect("room");
    assert_eq!(for_check(&shop, &id).await.amount.to_string(), "100.00", "a late Pay finds its club");
    payments.forget_aged_by(in_days(8)).await.expect("room");
    let mut watch = shop.rig.log.table(TableName::TopUps).watch(&[Partition(0)]);
    while let Change::Entry(entry) = watch.next().await.expect("an entry") {
        assert_eq!(entry.value, None, "edges forget it");
    }
    assert_eq!(shop.payment(&id).await["status"], "CONFIRMED");
    assert_eq!(super::super::data(shop.refund(&id, None).await)["refundPayment"]["success"], true);
    payments.forget_aged_by(in_days(31)).await.expect("room");
    for id in [id, open] {
        assert_eq!(shop.rig.refused_with(PAYMENT, json!({ "id": id })).await.code(), "NOT_FOUND");
    }
}
