//! Pages at which a payer pays.

use super::*;

const CREATE: &str = "/orders/create";

#[tokio::test]
async fn an_order_is_paid_by_its_number_and_says_what_the_payer_leaves_open() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let order = json!({
        "Amount": 1490.5, "Description": "a top-up", "InvoiceId": "order-17", "AccountId": "client-3",
        "RequireConfirmation": true, "JsonData": "{\"clubId\":\"club_9\"}", "SuccessRedirectUrl": "https://a.example/",
    });
    let made = call(&acquirer, CREATE, order).await?;
    let text = |key: &str| made.pointer(&format!("/Model/{key}")).and_then(Value::as_str).unwrap_or_default();
    assert!(text("Url").starts_with("https://orders.cloudpayments.ru/d/"), "{made}");
    assert_eq!((text("Status"), text("Currency")), ("Created", "RUB"));
    let [order] = acquirer.orders("pk_1").try_into().map_err(|_| anyhow::anyhow!("one order"))?;
    assert_eq!((order.id.as_str(), order.url.as_str()), (text("Id"), text("Url")));
    assert_eq!((order.amount.as_str(), order.paid), ("1490.50", None));
    assert_eq!(order.success_redirect_url.as_deref(), Some("https://a.example/"));

    let payment = Payer { invoice_id: Some("order-17".to_owned()), ..Payer::new("1490.50") };
    let paid = acquirer.pay("pk_1", &payment).await?;
    assert_eq!(paid.status, Status::Authorized, "the order asks for it");
    let shown = call(&acquirer, "/payments/get", json!({ "TransactionId": paid.transaction_id })).await?;
    assert_eq!(shown.pointer("/Model/AccountId"), Some(&json!("client-3")));
    assert_eq!(shown.pointer("/Model/JsonData"), Some(&json!("{\"clubId\":\"club_9\"}")));
    let paid_by = acquirer.orders("pk_1").first().and_then(|order| order.paid);
    assert_eq!(paid_by.map(|(id, _)| id), Some(paid.transaction_id));
    let cancelled = call(&acquirer, "/orders/cancel", json!({ "Id": order.id })).await?;
    assert!(!succeeded(&cancelled), "it is paid");
    acquirer.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_cancelled_order_is_not_paid() -> anyhow::Result<()> {
    let acquirer = start().await?;
    let made =
        call(&acquirer, CREATE, json!({ "Amount": 5, "Description": "a", "InvoiceId": "order-1" })).await?;
    let id = made.pointer("/Model/Id").cloned().context("an id")?;
    let cancelled = call(&acquirer, "/orders/cancel", json!({ "Id": id })).await?;
    assert_eq!(cancelled, json!({ "Success": true, "Message": null }));
    let payment = Payer { invoice_id: Some("order-1".to_owned()), ..Payer::new("5.00") };
    assert!(acquirer.pay("pk_1", &payment).await.is_err());
    assert!(acquirer.transactions("pk_1").is_empty() && acquirer.posted("pk_1").is_empty());
    for (path, body) in [
        ("/orders/cancel", json!({ "Id": "none" })),
        (CREATE, json!({ "Amount": 5 })),
        (CREATE, json!({ "Description": "a" })),
        (CREATE, json!({ "Amount": 0, "Description": "a" })),
    ] {
        assert!(!succeeded(&call(&acquirer, path, body.clone()).await?), "{path} {body}");
    }
    acquirer.stop().await;
    Ok(())
}
