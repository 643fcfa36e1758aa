//! The event: the immutable record of something that happened to a payment.
//!
//! Format: one JSON object, camelCase in `data` as integrators see it, snake_case around it. Unknown members
//! are ignored, so a later version may add some. It holds no card token, first six digits, expiry, name,
//! e-mail or address of the payer, and no raw body.

mod from_notification;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use from_notification::{NotUnderstood, Source, from_notification, partition_key};

use crate::ids::{ClubId, EventId, GatewayId, OrganizationId};
use crate::notification::NotificationType;
use crate::payload::EventData;
use crate::time::Timestamp;

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
}

impl EventType {
    /// Every type.
    pub const ALL: [Self; 15] = [
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
        }
    }
}

/// The record in `events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its identity; the outbound `webhook-id`.
    pub id: EventId,
    /// XXH3 of the notification's body: tells a repetition from a second notification under the same id.
    pub fingerprint: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// The notification that told of it.
    pub notification: NotificationType,
    /// Whose it is.
    pub organization: OrganizationId,
    /// Through which gateway it came.
    pub gateway: GatewayId,
    /// The club that it is about.
    pub club_id: ClubId,
    /// When it happened, as the notification says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// When the edge accepted it; deadlines of deliveries count from here.
    pub accepted_at: Timestamp,
    /// What integrators get to know.
    pub data: EventData,
}

/// The part of an event's record that the repeat memory needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EventIdentity {
    /// As in [`Event`].
    pub id: EventId,
    /// As in [`Event`].
    pub fingerprint: u64,
}

/// A record in `events` that this version can't read.
#[derive(Debug, thiserror::Error)]
#[error("the record is not an event of this version")]
pub struct NotAnEvent(#[from] serde_json::Error);

impl Event {
    /// The record as it stands in the log.
    pub fn encode(&self) -> Vec<u8> {
        // A struct of strings and numbers always serializes; an empty record would be dead-lettered as
        // unreadable rather than lost.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// If it is not an event of this version.
    pub fn decode(record: &[u8]) -> Result<Self, NotAnEvent> {
        Ok(serde_json::from_slice(record)?)
    }
}
