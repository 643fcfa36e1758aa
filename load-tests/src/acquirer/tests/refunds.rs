//! Money back.

use super::*;

const REFUND: &str = "/payments/refund";

/// A refund under this request id.
async fn refund_as(acquirer: &Acquirer, request_id: &str, body: &Value) -> anyhow::Result<Value> {
    let mut request = request("POST", REFUND, JSON, &body.to_string())?;
    request.headers_mut().insert("x-request-id", request_id.parse()?);
    let answer = Connection::to(acquirer.address()).send(request, WITHIN).await?;
    Ok(serde_json::from_slice(answer.body())?)
}

#[tokio::test]
async fn parts_go_back_and_never_more_than_was_paid() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let paid = acquirer.pay("pk_1", &Payer::new("100.00")).await?.transaction_id;
    let asked = async |amount: Value| {
        call(&acquirer, REFUND, json!({ "TransactionId": paid, "Amount": amount })).await
    };
    let first = asked(json!(60)).await?;
    let number = first.pointer("/Model/TransactionId").and_then(Value::as_u64).context("a number")?;
    assert_eq!(first, json!({ "Model": { "TransactionId": number }, "Success": true, "Message": null }));
    let refund = standing(&acquirer, number);
    assert_eq!((refund.original, refund.amount.as_str()), (Some(paid), "60.00"));
    for amount in [json!(40.01), json!("41"), json!(0), json!("-1"), json!(null)] {
        assert!(!succeeded(&asked(amount.clone()).await?), "{amount}");
    }
    assert_eq!(standing(&acquirer, paid).refunded, "60.00");
    acquirer.refund("pk_1", paid, "39.99")?;
    assert!(succeeded(&asked(json!("0.01")).await?));
    assert!(acquirer.refund("pk_1", paid, "0.01").is_err(), "nothing is left");
    assert_eq!(standing(&acquirer, paid).refunded, "100.00");
    let shown = call(&acquirer, "/payments/get", json!({ "TransactionId": number })).await?;
    for (key, expected) in
        [("Type", json!(1)), ("OriginalTransactionId", json!(paid)), ("Status", json!("Completed"))]
    {
        assert_eq!(shown.pointer(&format!("/Model/{key}")), Some(&expected), "{key}");
    }
    let shown = call(&acquirer, "/payments/get", json!({ "TransactionId": paid })).await?;
    assert_eq!(shown.pointer("/Model/Refunded"), Some(&json!(true)));
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn only_a_completed_payment_of_the_last_year_goes_back() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let paid = async |payment: Payer| anyhow::Ok(acquirer.pay("pk_1", &payment).await?.transaction_id);
    let held = paid(Payer { two_stage: true, ..Payer::new("5.00") }).await?;
    let declined = paid(Payer { declined: Some(5051), ..Payer::new("5.00") }).await?;
    let completed = paid(Payer::new("5.00")).await?;
    let refund = acquirer.refund("pk_1", completed, "1.00")?;
    for id in [held, declined, refund, 1] {
        let body = json!({ "TransactionId": id, "Amount": 1 });
        assert!(!succeeded(&call(&acquirer, REFUND, body).await?), "{id}");
    }
    acquirer.advance(Duration::from_secs(366 * 24 * 60 * 60));
    let body = json!({ "TransactionId": completed, "Amount": 1 });
    assert!(!succeeded(&call(&acquirer, REFUND, body).await?), "too old");
    assert_eq!(standing(&acquirer, completed).refunded, "1.00");
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn one_request_is_carried_out_once_within_the_hour() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let paid = acquirer.pay("pk_1", &Payer::new("100.00")).await?.transaction_id;
    let body = json!({ "TransactionId": paid, "Amount": "30.00" });
    let too_much = json!({ "TransactionId": paid, "Amount": "300.00" });
    assert!(!succeeded(&refund_as(&acquirer, "one", &too_much).await?));
    // What was refused is asked again; what was done is not done again.
    let first = refund_as(&acquirer, "one", &body).await?;
    assert!(succeeded(&first));
    acquirer.advance(Duration::from_secs(59 * 60));
    assert_eq!(refund_as(&acquirer, "one", &body).await?, first);
    assert_eq!(standing(&acquirer, paid).refunded, "30.00");
    assert_ne!(refund_as(&acquirer, "two", &body).await?, first);
    assert_eq!(standing(&acquirer, paid).refunded, "60.00");
    acquirer.advance(Duration::from_secs(60));
    assert_ne!(refund_as(&acquirer, "one", &body).await?, first, "the hour is over");
    assert_eq!(standing(&acquirer, paid).refunded, "90.00");
    acquirer.stop().await;
    Ok(())
}
