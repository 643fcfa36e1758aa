//! Refunds of a payment: those that were asked for here, and those that CloudPayments told of. One that is both is one.

use serde::{Deserialize, Serialize};

use super::{PaymentRecord, PaymentStatus, happened_at};
use crate::event::{Event, EventType};
use crate::ids::{GatewayId, RefundId};
use crate::money::Amount;
use crate::notification::NotificationType;
use crate::payload::{EventData, PaymentData};
use crate::time::Timestamp;

/// So many refunds of a payment are asked for at most: all of them stand in one record.
pub const MAX_REFUNDS: usize = 100;

/// Money that went back, or is to go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// How much.
    pub amount: Amount,
    /// How it stands.
    pub state: RefundState,
    /// Its own number at CloudPayments, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// When it was asked for here, else when it happened.
    pub at: Timestamp,
    /// That it was asked for here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<RefundIntent>,
}

/// How a refund stands. What is later in this list outweighs what is before it: a refund through SBP is accepted first,
/// and may be declined in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// Asked for; whether CloudPayments has done it is not known yet. Its sum can't be asked for again.
    Requested,
    /// The money went back.
    Completed,
    /// It did not.
    Declined,
}

impl RefundState {
    /// What an event tells of its refund. A Refund notification with a status that is no end tells of one that is under
    /// way; a Fail of a refund is its end.
    pub fn of(event: &Event) -> Self {
        let status = match &event.data {
            EventData::Payment(data) => data.status.as_deref(),
            _ => None,
        };
        let is_notification = event.notification == Some(NotificationType::Refund);
        let is_under_way = is_notification && !matches!(status, Some("Declined" | "Cancelled" | "Rejected"));
        match event.event_type {
            EventType::RefundFailed if is_under_way => Self::Requested,
            EventType::RefundFailed => Self::Declined,
            _ => Self::Completed,
        }
    }
}

/// What was told of a refund whose payment nobody knew then: a Fail names no more than the refund's own number. An entry
/// of `payments`, which the payment takes once it is known to have that refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanRefund {
    /// What was told.
    pub state: RefundState,
}

impl OrphanRefund {
    /// The key of its entry.
    pub fn key_of(gateway: &GatewayId, transaction_id: &str) -> String {
        format!("orphan_refund/{gateway}/{transaction_id}")
    }
}

/// Who asked for a refund, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundIntent {
    /// Its id: CloudPayments processes it once under this `X-Request-ID`.
    pub id: RefundId,
    /// Who asked.
    pub requested_by: String,
    /// Why, in his words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why CloudPayments has declined it, in its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The refunds of the payment that were known when it was asked for, by their own numbers: none of them is this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_before: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRequest {
    /// The id that it is to have.
    pub id: RefundId,
    /// How much; none: all that is left.
    pub amount: Option<Amount>,
    /// Who asks.
    pub requested_by: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Why a refund can't be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRefundable {
    /// Only money that was taken goes back.
    #[error("the payment is {}: only a CONFIRMED one is refunded", .0.as_str())]
    NotReceived(PaymentStatus),
    /// More than what is left.
    #[error("{0} is left of the payment")]
    Above(Amount),
    /// There is no more room in the record.
    #[error("the payment has {MAX_REFUNDS} refunds already")]
    TooMany,
}

impl PaymentRecord {
    /// Reserves what is asked for: from here on nobody else can ask for it. How much it is.
    ///
    /// # Errors
    ///
    /// If it is more than what is left, or the payment was not received.
    pub fn request_refund(&mut self, request: RefundRequest) -> Result<Amount, NotRefundable> {
        let status = self.status();
        if status != PaymentStatus::Confirmed {
            return Err(NotRefundable::NotReceived(status));
        }
        let left = self.refundable();
        let amount = request.amount.unwrap_or(left);
        if amount > left || amount.is_zero() {
            return Err(NotRefundable::Above(left));
        }
        if self.refunds.len() >= MAX_REFUNDS {
            return Err(NotRefundable::TooMany);
        }
        let RefundRequest { id, requested_by, reason, at, .. } = request;
        let known_before = self.refunds.iter().filter_map(|refund| refund.transaction_id.clone()).collect();
        self.refunds.push(Refund {
            amount,
            state: RefundState::Requested,
            transaction_id: None,
            at,
            intent: Some(RefundIntent { id, requested_by, reason, refusal: None, known_before }),
        });
        self.order_refunds();
        Ok(amount)
    }

    /// The refund that was asked for under this id.
    pub fn refund(&self, id: &RefundId) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.is_intent(id))
    }

    /// The refunds that were asked for, and of which it is not known whether CloudPayments has made them.
    pub fn open_refunds(&self) -> impl Iterator<Item = (&Refund, &RefundIntent)> {
        let open = self.refunds.iter().filter(|refund| refund.state == RefundState::Requested);
        open.filter_map(|refund| Some((refund, refund.intent.as_ref()?)))
    }

    /// Takes that CloudPayments has made a refund, as this transaction. What its notification told before is one with it.
    ///
    /// A transaction that another intent has already is not this one's: then nothing changes.
    pub fn refund_made(&mut self, id: &RefundId, transaction_id: &str) {
        let told = self.refunds.iter().position(|refund| refund.is_transaction(transaction_id));
        let is_anothers = told
            .and_then(|place| self.refunds.get(place))
            .is_some_and(|refund| refund.intent.as_ref().is_some_and(|intent| intent.id != *id));
        if is_anothers || self.refund(id).is_none() {
            return;
        }
        let is_ours = |refund: &Refund| refund.is_intent(id);
        let told = told.filter(|place| !self.refunds.get(*place).is_some_and(is_ours));
        let told = told.map(|place| self.refunds.remove(place));
        if let Some(refund) = self.refunds.iter_mut().find(|refund| refund.is_intent(id)) {
            refund.transaction_id = Some(transaction_id.to_owned());
            refund.state = refund.state.max(RefundState::Completed);
            if let Some(told) = told {
                refund.amount = told.amount;
                refund.state = refund.state.max(told.state);
            }
        }
        self.order_refunds();
    }

    /// Takes that CloudPayments has declined a refund, and will not make it: its sum can be asked for again.
    pub fn refund_declined(&mut self, id: &RefundId, refusal: &str) {
        let ours = self.refunds.iter_mut().find(|refund| refund.is_intent(id));
        if let Some(refund) = ours.filter(|refund| refund.state == RefundState::Requested)
            && let Some(intent) = &mut refund.intent
        {
            intent.refusal = Some(refusal.to_owned());
            refund.state = RefundState::Declined;
        }
    }

    /// Takes what was told of one of its refunds before anybody knew whose it was; whether anything has changed.
    pub fn take_orphan(&mut self, transaction_id: &str, state: RefundState) -> bool {
        let refund = self.refunds.iter_mut().find(|refund| refund.is_transaction(transaction_id));
        let Some(refund) = refund.filter(|refund| refund.state < state) else { return false };
        refund.state = state;
        true
    }

    /// Takes a notification of a refund.
    pub(super) fn take_refund(&mut self, event: &Event, data: &PaymentData, state: RefundState) {
        let transaction_id = &data.gateway_transaction_id;
        match self.refunds.iter_mut().find(|refund| refund.is_transaction(transaction_id)) {
            Some(refund) => {
                refund.state = refund.state.max(state);
                if refund.intent.is_none() {
                    refund.at = refund.at.min(happened_at(event));
                }
            }
            None => self.refunds.push(Refund {
                amount: data.amount,
                state,
                transaction_id: Some(transaction_id.clone()),
                at: happened_at(event),
                intent: None,
            }),
        }
        self.order_refunds();
    }

    fn order_refunds(&mut self) {
        self.refunds.sort_by(|one, other| one.order().cmp(&other.order()));
    }
}

impl Refund {
    fn is_intent(&self, id: &RefundId) -> bool {
        self.intent.as_ref().is_some_and(|intent| intent.id == *id)
    }

    /// Whether it is this transaction.
    pub fn is_transaction(&self, transaction_id: &str) -> bool {
        self.transaction_id.as_deref() == Some(transaction_id)
    }

    fn order(&self) -> (Timestamp, Option<&RefundId>, Option<&str>) {
        (self.at, self.intent.as_ref().map(|intent| &intent.id), self.transaction_id.as_deref())
    }
}
