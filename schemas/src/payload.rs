//! What integrators receive: the body of a webhook. Its JSON Schemas stand in `schemas/json`.
//!
//! The contract: `id`, `type`, `timestamp`, `clubId` are always there; `data` depends on the type. Amounts
//! are decimal strings, transaction numbers are strings (they pass 2^32).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::delivery::DisabledReason;
use crate::event_type::EventType;
use crate::ids::{ClubId, EventId, GatewayId, PaymentId, WebhookId};
use crate::money::Amount;
use crate::reason::RetryClass;

/// The body of a webhook.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Payload<D> {
    /// The event's id, the same on every attempt; also the header `webhook-id`.
    pub id: EventId,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When it happened (RFC 3339, UTC), as the notification says; where it does not, when it was accepted.
    pub timestamp: String,
    /// The club that it is about; empty where it is about all of them.
    pub club_id: ClubId,
    /// The particulars.
    pub data: D,
}

/// The particulars of an event, by what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventData {
    /// `PAYMENT_*`, `PAYOUT_*`, `REFUND_*`, `OPERATION_*`.
    Payment(Box<PaymentData>),
    /// `SUBSCRIPTION_CHANGED`.
    Subscription(SubscriptionData),
    /// `RECEIPT_ISSUED`.
    Receipt(ReceiptData),
    /// `CASH_REGISTER_REPORTED`, `SBP_TOKEN_REPORTED`.
    Notice(NoticeData),
    /// `WEBHOOK_DISABLED`.
    Webhook(WebhookData),
    /// `WEBHOOK_TEST`.
    Test(TestData),
}

/// A payment, or another operation with money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentData {
    /// The payment; for a refund the one that is refunded.
    pub payment_id: PaymentId,
    /// The gateway that it came through.
    pub gateway: GatewayId,
    /// The transaction's number at CloudPayments; for a refund the refund's own.
    pub gateway_transaction_id: String,
    /// For a refund: the number of the transaction that is refunded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_transaction_id: Option<String>,
    /// The order number of the top-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<String>,
    /// The client who pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The subscription, where it is an automatic charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// The sum, as a decimal string.
    pub amount: Amount,
    /// Its currency; refunds and cancellations do not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The status at CloudPayments: Completed, Authorized, Declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Payment, Refund or `CardPayout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_type: Option<String>,
    /// T-Pay, Sbp, `SberPay`; absent for a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    /// The card system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_type: Option<String>,
    /// The last four digits of the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_last_four: Option<String>,
    /// No money moved: the site is in test mode.
    pub test_mode: bool,
    /// When it happened (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// Why it failed, in CloudPayments' words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it failed, as a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<u32>,
    /// Whether another try may succeed, where CloudPayments says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryClass>,
}

/// A subscription whose status changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionData {
    /// The gateway that it came through.
    pub gateway: GatewayId,
    /// Its id at CloudPayments.
    pub subscription_id: String,
    /// Active, `PastDue`, Cancelled, Rejected or Expired.
    pub status: String,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What is charged each time, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Day, Week or Month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How many intervals lie between two charges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// Charges that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successful_transactions: Option<u32>,
    /// Charges that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_transactions: Option<u32>,
    /// The latest charge (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transaction_at: Option<String>,
    /// The next charge (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_transaction_at: Option<String>,
}

/// An online receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptData {
    /// The gateway that it came through.
    pub gateway: GatewayId,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_id: Option<String>,
    /// The transaction that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_transaction_id: Option<String>,
    /// The order number of the top-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<String>,
    /// The client who paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Income, `IncomeReturn`, Expense or `ExpenseReturn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt_type: Option<String>,
    /// The sum, as a decimal string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Where the receipt can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A notification of which only the references are passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoticeData {
    /// The gateway that it came through.
    pub gateway: GatewayId,
    /// The transaction that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_transaction_id: Option<String>,
    /// The order number of the top-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<String>,
    /// The client that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The status that it reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// A webhook that gets nothing any more until it is enabled again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookData {
    /// Which.
    pub webhook_id: WebhookId,
    /// Why.
    pub reason: DisabledReason,
}

/// Nothing has happened: somebody wants to see whether this webhook gets what is sent to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestData {
    /// The webhook that is tested.
    pub webhook_id: WebhookId,
    /// Says to people that this is a test.
    pub message: String,
}

impl TestData {
    /// What a test says.
    pub const MESSAGE: &str = "This is a test: nothing has happened, and nothing is to be done.";
}

/// The JSON Schemas of what integrators receive, by file name.
pub fn json_schemas() -> Vec<(&'static str, String)> {
    fn pretty(schema: &schemars::Schema) -> String {
        serde_json::to_string_pretty(schema).unwrap_or_default() + "\n"
    }
    vec![
        ("payment.schema.json", pretty(&schemars::schema_for!(Payload<PaymentData>))),
        ("subscription.schema.json", pretty(&schemars::schema_for!(Payload<SubscriptionData>))),
        ("receipt.schema.json", pretty(&schemars::schema_for!(Payload<ReceiptData>))),
        ("notice.schema.json", pretty(&schemars::schema_for!(Payload<NoticeData>))),
        ("webhook.schema.json", pretty(&schemars::schema_for!(Payload<WebhookData>))),
        ("test.schema.json", pretty(&schemars::schema_for!(Payload<TestData>))),
    ]
}
