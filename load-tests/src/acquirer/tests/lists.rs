//! What stands at the bank, as the API shows it.

use std::collections::BTreeSet;

use super::*;

/// The keys of the documented model.
const KEYS: [&str; 63] = [
    "ReasonCode",
    "PublicId",
    "TerminalUrl",
    "TransactionId",
    "Amount",
    "Currency",
    "CurrencyCode",
    "PaymentAmount",
    "PaymentCurrency",
    "PaymentCurrencyCode",
    "InvoiceId",
    "AccountId",
    "Email",
    "Description",
    "JsonData",
    "CreatedDate",
    "CreatedDateIso",
    "PayoutDate",
    "PayoutDateIso",
    "PayoutAmount",
    "AuthDate",
    "AuthDateIso",
    "ConfirmDate",
    "ConfirmDateIso",
    "AuthCode",
    "TestMode",
    "Rrn",
    "OriginalTransactionId",
    "FallBackScenarioDeclinedTransactionId",
    "IpAddress",
    "IpCountry",
    "IpCity",
    "IpRegion",
    "IpDistrict",
    "IpLatitude",
    "IpLongitude",
    "CardFirstSix",
    "CardLastFour",
    "CardExpDate",
    "CardType",
    "CardProduct",
    "CardCategory",
    "EscrowAccumulationId",
    "IssuerBankCountry",
    "Issuer",
    "CardTypeCode",
    "Status",
    "StatusCode",
    "CultureName",
    "Reason",
    "CardHolderMessage",
    "Type",
    "Refunded",
    "Name",
    "Token",
    "SubscriptionId",
    "GatewayName",
    "AndroidPay",
    "WalletType",
    "TotalFee",
    "VatAboveTotalFee",
    "ProcessorAndPartnerFee",
    "VatWithinProcessorFee",
];

async fn paid(acquirer: &Acquirer, payment: &Payer) -> anyhow::Result<u64> {
    Ok(acquirer.pay("pk_1", payment).await?.transaction_id)
}

fn of_order(amount: &str, invoice_id: &str) -> Payer {
    Payer { invoice_id: Some(invoice_id.to_owned()), ..Payer::new(amount) }
}

#[tokio::test]
async fn a_transaction_has_the_documented_keys_with_the_types_of_the_api() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let payment = Payer { account_id: Some("client-3".to_owned()), ..of_order("10.50", "order-17") };
    let id = paid(&acquirer, &Payer { test_mode: true, ..payment.clone() }).await?;
    assert!(id > u64::from(u32::MAX));
    let got = call(&acquirer, "/payments/get", json!({ "TransactionId": id })).await?;
    let model = got.get("Model").and_then(Value::as_object).context("a model")?;
    let keys: BTreeSet<&str> = model.keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(KEYS));
    for (key, expected) in [
        ("TransactionId", json!(id)),
        ("Amount", json!(10.5)),
        ("InvoiceId", json!("order-17")),
        ("AccountId", json!("client-3")),
        ("TestMode", json!(true)),
        ("Status", json!("Completed")),
        ("StatusCode", json!(3)),
        ("ReasonCode", json!(0)),
        ("Type", json!(0)),
        ("OriginalTransactionId", json!(null)),
        ("Refunded", json!(false)),
    ] {
        assert_eq!(model.get(key), Some(&expected), "{key}");
    }
    let text = |key: &str| model.get(key).and_then(Value::as_str).unwrap_or_default();
    assert!(text("CreatedDate").starts_with("/Date(") && text("CreatedDate").ends_with(")/"));
    assert_eq!((text("CreatedDateIso").len(), text("CreatedDateIso").contains('Z')), (19, false));
    let written = got.to_string();
    assert!(PRIVATE.iter().all(|private| written.contains(private)), "{written}");

    let declined = paid(&acquirer, &Payer { declined: Some(5051), ..payment }).await?;
    let got = call(&acquirer, "/payments/get", json!({ "TransactionId": declined })).await?;
    assert!(succeeded(&got), "it is the request that succeeds");
    for (key, expected) in [
        ("Status", json!("Declined")),
        ("StatusCode", json!(5)),
        ("ReasonCode", json!(5051)),
        ("Reason", json!("InsufficientFunds")),
        ("ConfirmDateIso", json!(null)),
    ] {
        assert_eq!(got.pointer(&format!("/Model/{key}")), Some(&expected), "{key}");
    }
    assert!(!succeeded(&call(&acquirer, "/payments/get", json!({ "TransactionId": 1 })).await?));
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn the_last_operation_of_an_order_is_found() -> anyhow::Result<()> {
    let acquirer = start().await?;
    paid(&acquirer, &Payer { declined: Some(5051), ..of_order("100.00", "order-1") }).await?;
    let payment = paid(&acquirer, &of_order("100.00", "order-1")).await?;
    let refund = acquirer.refund("pk_1", payment, "40.00")?;
    paid(&acquirer, &of_order("7", "order-2")).await?;
    let found = async |path: &str, invoice_id: &str| {
        let answer = call(&acquirer, path, json!({ "InvoiceId": invoice_id })).await?;
        anyhow::Ok(answer.pointer("/Model/TransactionId").and_then(Value::as_u64))
    };
    assert_eq!(found("/payments/find", "order-1").await?, Some(payment));
    assert_eq!(found("/v2/payments/find", "order-1").await?, Some(refund));
    assert_eq!(found("/v2/payments/find", "order-3").await?, None);
    let nothing = call(&acquirer, "/payments/find", json!({ "InvoiceId": "order-3" })).await?;
    assert_eq!(nothing, json!({ "Success": false, "Message": "Not found" }));
    acquirer.stop().await;
    Ok(())
}

/// The transactions of a page.
async fn page(acquirer: &Acquirer, body: Value) -> anyhow::Result<Vec<u64>> {
    let answer = call(acquirer, "/v2/payments/list", body).await?;
    let models = answer.get("Model").and_then(Value::as_array).with_context(|| answer.to_string())?;
    Ok(models.iter().filter_map(|model| model.get("TransactionId")?.as_u64()).collect())
}

#[tokio::test]
async fn pages_have_a_hundred_transactions_in_the_order_of_time() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let mut expected = Vec::new();
    for number in 0..250 {
        let declined = (number % 10 == 0).then_some(5005);
        expected.push(paid(&acquirer, &Payer { declined, ..Payer::new("5.00") }).await?);
    }
    let of_status = |page: u64, statuses: Value| {
        let (from, to) = ("2020-01-01T00:00:00+03:00", "2120-01-01T00:00:00Z");
        json!({ "CreatedDateGte": from, "CreatedDateLte": to, "PageNumber": page, "Statuses": statuses })
    };
    let all = |page: u64| of_status(page, json!([]));
    let mut listed = Vec::new();
    for (number, length) in [(1, 100), (2, 100), (3, 50), (4, 0)] {
        let found = page(&acquirer, all(number)).await?;
        assert_eq!(found.len(), length, "page {number}");
        listed.extend(found);
    }
    assert_eq!(listed, expected);
    let declined = of_status(1, json!(["Declined", "Authorized"]));
    assert_eq!(page(&acquirer, declined).await?.len(), 25);
    for body in [
        all(0),
        of_status(1, json!(["Nothing"])),
        json!({ "CreatedDateGte": "2020-01-01T00:00:00Z", "PageNumber": 1 }),
        json!({ "CreatedDateGte": "2020-01-01", "CreatedDateLte": "2120-01-01T00:00:00Z", "PageNumber": 1 }),
    ] {
        assert!(!succeeded(&call(&acquirer, "/v2/payments/list", body.clone()).await?), "{body}");
    }
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_time_with_its_offset_parts_the_list() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let first = paid(&acquirer, &Payer::new("1.00")).await?;
    acquirer.advance(Duration::from_secs(3 * 24 * 60 * 60));
    let second = paid(&acquirer, &Payer::new("2.00")).await?;
    let got = call(&acquirer, "/payments/get", json!({ "TransactionId": second })).await?;
    let created = got.pointer("/Model/CreatedDateIso").and_then(Value::as_str).context("a date")?.to_owned();
    let from = |offset: &str| {
        let (from, to) = (format!("{created}{offset}"), "2120-01-01T00:00:00Z");
        json!({ "CreatedDateGte": from, "CreatedDateLte": to, "PageNumber": 1 })
    };
    assert_eq!(page(&acquirer, from("Z")).await?, [second]);
    // The same hands of the clock west of Greenwich are later.
    assert_eq!(page(&acquirer, from("-01:00")).await?, [0_u64; 0]);
    let day = created.split('T').next().unwrap_or_default();
    let listed = call(&acquirer, "/payments/list", json!({ "Date": day })).await?;
    let numbers = listed.get("Model").and_then(Value::as_array).context("a list")?;
    let numbers: Vec<_> = numbers.iter().filter_map(|model| model.get("TransactionId")?.as_u64()).collect();
    assert_eq!(numbers, [second]);
    assert_ne!(first, second);
    acquirer.stop().await;
    Ok(())
}
