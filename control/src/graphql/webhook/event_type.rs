//! The types of events as IZI names all of them; hookline sends those of payments.

use async_graphql::Enum;
use hookline_schemas::event::EventType;

use crate::error::ApiError;
use crate::graphql::text::invalid;

/// What a webhook can be subscribed to. hookline sends the events of payments; those of sessions, clients, devices,
/// shifts and orders are IZI's own, and a webhook for them is refused here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum WebhookEventType {
    /// The money has been taken.
    PaymentReceived,
    /// The money is held; a PAYMENT_RECEIVED or PAYMENT_CANCELLED follows.
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
    /// A test of a webhook. It goes to the one that is tested, whatever that one asks for, and to no other.
    WebhookTest,
    /// IZI's own: not sent by hookline.
    SessionStarted,
    /// IZI's own: not sent by hookline.
    SessionEnded,
    /// IZI's own: not sent by hookline.
    SessionPaused,
    /// IZI's own: not sent by hookline.
    BalanceToppedUp,
    /// IZI's own: not sent by hookline.
    BonusCredited,
    /// IZI's own: not sent by hookline.
    TariffPurchased,
    /// IZI's own: not sent by hookline.
    ClientRegistered,
    /// IZI's own: not sent by hookline.
    DeviceStatusChanged,
    /// IZI's own: not sent by hookline.
    ShiftOpened,
    /// IZI's own: not sent by hookline.
    ShiftClosed,
    /// IZI's own: not sent by hookline.
    OrderCreated,
}

impl WebhookEventType {
    /// The type that hookline sends, if it does.
    const fn sent(self) -> Option<EventType> {
        Some(match self {
            Self::PaymentReceived => EventType::PaymentReceived,
            Self::PaymentAuthorized => EventType::PaymentAuthorized,
            Self::PaymentFailed => EventType::PaymentFailed,
            Self::PaymentRefunded => EventType::PaymentRefunded,
            Self::PaymentCancelled => EventType::PaymentCancelled,
            Self::PayoutCompleted => EventType::PayoutCompleted,
            Self::PayoutFailed => EventType::PayoutFailed,
            Self::RefundCompleted => EventType::RefundCompleted,
            Self::RefundFailed => EventType::RefundFailed,
            Self::OperationCompleted => EventType::OperationCompleted,
            Self::OperationFailed => EventType::OperationFailed,
            Self::SubscriptionChanged => EventType::SubscriptionChanged,
            Self::ReceiptIssued => EventType::ReceiptIssued,
            Self::CashRegisterReported => EventType::CashRegisterReported,
            Self::SbpTokenReported => EventType::SbpTokenReported,
            Self::WebhookDisabled => EventType::WebhookDisabled,
            Self::WebhookTest => EventType::WebhookTest,
            Self::SessionStarted
            | Self::SessionEnded
            | Self::SessionPaused
            | Self::BalanceToppedUp
            | Self::BonusCredited
            | Self::TariffPurchased
            | Self::ClientRegistered
            | Self::DeviceStatusChanged
            | Self::ShiftOpened
            | Self::ShiftClosed
            | Self::OrderCreated => return None,
        })
    }
}

impl From<EventType> for WebhookEventType {
    fn from(event: EventType) -> Self {
        match event {
            EventType::PaymentReceived => Self::PaymentReceived,
            EventType::PaymentAuthorized => Self::PaymentAuthorized,
            EventType::PaymentFailed => Self::PaymentFailed,
            EventType::PaymentRefunded => Self::PaymentRefunded,
            EventType::PaymentCancelled => Self::PaymentCancelled,
            EventType::PayoutCompleted => Self::PayoutCompleted,
            EventType::PayoutFailed => Self::PayoutFailed,
            EventType::RefundCompleted => Self::RefundCompleted,
            EventType::RefundFailed => Self::RefundFailed,
            EventType::OperationCompleted => Self::OperationCompleted,
            EventType::OperationFailed => Self::OperationFailed,
            EventType::SubscriptionChanged => Self::SubscriptionChanged,
            EventType::ReceiptIssued => Self::ReceiptIssued,
            EventType::CashRegisterReported => Self::CashRegisterReported,
            EventType::SbpTokenReported => Self::SbpTokenReported,
            EventType::WebhookDisabled => Self::WebhookDisabled,
            EventType::WebhookTest => Self::WebhookTest,
        }
    }
}

impl WebhookEventType {
    /// The type that hookline sends, for a field that names one of those.
    pub(in crate::graphql) fn sent_as(self, field: &'static str) -> Result<EventType, ApiError> {
        self.sent().ok_or_else(|| {
            let name = async_graphql::resolver_utils::enum_value(self);
            invalid(field, format!("hookline sends payment events alone, and {name} is none"))
        })
    }
}

/// The types that a webhook asks for, each once, in their order.
pub(super) fn parse(wanted: &[WebhookEventType]) -> Result<Vec<EventType>, ApiError> {
    let mut events = Vec::new();
    for wanted in wanted {
        let event = wanted.sent_as("events")?;
        if !events.contains(&event) {
            events.push(event);
        }
    }
    if events.is_empty() {
        return Err(invalid("events", "it is empty: the webhook would never get one"));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_hookline_sends_has_its_name_here() {
        for event in EventType::ALL {
            let here = WebhookEventType::from(event);
            assert_eq!(async_graphql::resolver_utils::enum_value(here).to_string(), event.as_str());
            assert_eq!(here.sent(), Some(event));
        }
    }

    #[test]
    fn a_type_is_taken_once_and_one_of_izis_own_never() {
        use WebhookEventType::{PaymentFailed, PaymentReceived, ShiftOpened};
        let taken = parse(&[PaymentFailed, PaymentReceived, PaymentFailed]);
        assert_eq!(taken, Ok(vec![EventType::PaymentFailed, EventType::PaymentReceived]));
        for (wanted, part) in [(vec![], "empty"), (vec![PaymentFailed, ShiftOpened], "SHIFT_OPENED")] {
            let error = parse(&wanted).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
