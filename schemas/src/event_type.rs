//! The types of events, as integrators subscribe to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What integrators subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventType {
    /// The money has been taken: a Completed Pay, or a Confirm.
    PaymentReceived,
    /// The money is held: an Authorized Pay.
    PaymentAuthorized,
    /// A try has failed; the payer may try again.
    PaymentFailed,
    /// Money of a payment went back, in part or whole.
    PaymentRefunded,
    /// A hold was released.
    PaymentCancelled,
    /// A payout to a card has been made.
    PayoutCompleted,
    /// A payout to a card has failed.
    PayoutFailed,
    /// A refund has been made that was reported as an operation of its own.
    RefundCompleted,
    /// A refund has failed.
    RefundFailed,
    /// An operation of a kind that hookline does not know has succeeded.
    OperationCompleted,
    /// An operation of a kind that hookline does not know has failed.
    OperationFailed,
    /// A subscription changed its status.
    SubscriptionChanged,
    /// An online receipt was made.
    ReceiptIssued,
    /// A cash register reported its state.
    CashRegisterReported,
    /// An SBP account was bound, or was not.
    SbpTokenReported,
    /// Another webhook of the organization gets nothing any more.
    WebhookDisabled,
    /// Somebody tests a webhook: goes to that one alone, whether it asks for it or not.
    WebhookTest,
}

impl EventType {
    /// Every type.
    pub const ALL: [Self; 17] = [
        Self::PaymentReceived,
        Self::PaymentAuthorized,
        Self::PaymentFailed,
        Self::PaymentRefunded,
        Self::PaymentCancelled,
        Self::PayoutCompleted,
        Self::PayoutFailed,
        Self::RefundCompleted,
        Self::RefundFailed,
        Self::OperationCompleted,
        Self::OperationFailed,
        Self::SubscriptionChanged,
        Self::ReceiptIssued,
        Self::CashRegisterReported,
        Self::SbpTokenReported,
        Self::WebhookDisabled,
        Self::WebhookTest,
    ];

    /// The name as integrators see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentReceived => "PAYMENT_RECEIVED",
            Self::PaymentAuthorized => "PAYMENT_AUTHORIZED",
            Self::PaymentFailed => "PAYMENT_FAILED",
            Self::PaymentRefunded => "PAYMENT_REFUNDED",
            Self::PaymentCancelled => "PAYMENT_CANCELLED",
            Self::PayoutCompleted => "PAYOUT_COMPLETED",
            Self::PayoutFailed => "PAYOUT_FAILED",
            Self::RefundCompleted => "REFUND_COMPLETED",
            Self::RefundFailed => "REFUND_FAILED",
            Self::OperationCompleted => "OPERATION_COMPLETED",
            Self::OperationFailed => "OPERATION_FAILED",
            Self::SubscriptionChanged => "SUBSCRIPTION_CHANGED",
            Self::ReceiptIssued => "RECEIPT_ISSUED",
            Self::CashRegisterReported => "CASH_REGISTER_REPORTED",
            Self::SbpTokenReported => "SBP_TOKEN_REPORTED",
            Self::WebhookDisabled => "WEBHOOK_DISABLED",
            Self::WebhookTest => "WEBHOOK_TEST",
        }
    }
}
