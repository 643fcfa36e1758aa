//! `/orders/create` and `/orders/cancel`: a page at which a payer pays. Nobody serves the page: whoever plays the payer
//! pays by its `InvoiceId`.

use anyhow::{Context, ensure};
use hookline_schemas::time::Timestamp;
use serde_json::{Value, json};

use super::Acquirer;
use super::answer::Envelope;
use super::fields::Fields;
use super::site::{Desk, OpenSite};
use super::sum::Sum;
use super::transaction::{dated, iso};

/// An order as it was made and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What it is cancelled by.
    pub id: String,
    /// Where the payer is sent.
    pub url: String,
    /// With two decimals.
    pub amount: String,
    /// As CloudPayments spells it.
    pub currency: String,
    /// What is paid for.
    pub description: String,
    /// The merchant's order number.
    pub invoice_id: Option<String>,
    /// The client.
    pub account_id: Option<String>,
    /// The merchant's own JSON.
    pub json_data: Option<String>,
    /// Where the payer goes once it is paid.
    pub success_redirect_url: Option<String>,
    /// Where he goes if it is not.
    pub fail_redirect_url: Option<String>,
    /// The money is held first: `RequireConfirmation`.
    pub is_two_stage: bool,
    /// Nobody can pay it any more.
    pub is_cancelled: bool,
    /// The payment, the last if there are several, and its time.
    pub paid: Option<(u64, Timestamp)>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Acquirer {
    /// The orders of a site as they were made; none for an unknown one.
    pub fn orders(&self, public_id: &str) -> Vec<Order> {
        self.state.at(public_id, |site| site.orders.clone()).unwrap_or_default()
    }
}

impl OpenSite {
    /// The last order with this number of the merchant's.
    pub(super) fn order_of(&self, invoice_id: &str) -> Option<&Order> {
        self.orders.iter().rfind(|order| order.invoice_id.as_deref() == Some(invoice_id))
    }

    /// Notes the payment, if an order has this number.
    pub(super) fn order_is_paid(&mut self, invoice_id: &str, transaction_id: u64, now: Timestamp) {
        let order = self.orders.iter_mut().rfind(|order| order.invoice_id.as_deref() == Some(invoice_id));
        if let Some(order) = order {
            order.paid = Some((transaction_id, now));
        }
    }
}

/// `/orders/create`.
pub(super) fn create(site: &mut OpenSite, fields: &Fields, desk: &Desk) -> anyhow::Result<Envelope> {
    ensure!(site.orders.len() < site.room, "the site keeps no more than {}", site.room);
    let amount = fields.sum("Amount").filter(|amount| !amount.is_zero()).context("Amount is needed")?;
    let owned = |name: &str| fields.text(name).map(str::to_owned);
    let number = desk.next_number();
    let id = format!("order{number}");
    let order = Order {
        url: format!("https://orders.cloudpayments.ru/d/{id}"),
        id,
        amount: amount.to_string(),
        currency: owned("Currency").unwrap_or_else(|| "RUB".to_owned()),
        description: owned("Description").context("Description is needed")?,
        invoice_id: owned("InvoiceId"),
        account_id: owned("AccountId"),
        json_data: fields.json_text("JsonData"),
        success_redirect_url: owned("SuccessRedirectUrl"),
        fail_redirect_url: owned("FailRedirectUrl"),
        is_two_stage: fields.flag("RequireConfirmation"),
        is_cancelled: false,
        paid: None,
        created_at: desk.now(),
    };
    let model = model(&order, number, amount, fields);
    site.orders.push(order);
    Ok(Envelope::found(&model))
}

fn model(order: &Order, number: u64, amount: Sum, fields: &Fields) -> Value {
    json!({
        "Id": order.id,
        "Number": number,
        "Amount": amount.number(),
        "Currency": order.currency,
        "CurrencyCode": 0,
        "Email": fields.text("Email"),
        "Phone": fields.text("Phone"),
        "Description": order.description,
        "RequireConfirmation": order.is_two_stage,
        "Url": order.url,
        "CultureName": fields.text("CultureName").unwrap_or("ru-RU"),
        "CreatedDate": dated(order.created_at),
        "CreatedDateIso": iso(order.created_at),
        "PaymentDate": null,
        "PaymentDateIso": null,
        "StatusCode": 0,
        "Status": "Created",
        "InternalId": number,
    })
}

/// `/orders/cancel`.
pub(super) fn cancel(site: &mut OpenSite, fields: &Fields) -> anyhow::Result<Envelope> {
    let id = fields.text("Id").context("Id is needed")?;
    let order = site.orders.iter_mut().find(|order| order.id == id).context("Not found")?;
    ensure!(order.paid.is_none(), "the order is paid");
    order.is_cancelled = true;
    Ok(Envelope::done())
}
