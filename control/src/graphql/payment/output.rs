//! Payments as callers see them.

use async_graphql::{Enum, ID, SimpleObject};
use hookline_schemas::event::EventSource;
use hookline_schemas::money::Amount;
use hookline_schemas::payment::{self, PaymentRecord, RefundState, TopUpRecord};
use hookline_schemas::reason::{RetryClass, retry_class, words};
use hookline_schemas::time::Timestamp;

use crate::graphql::decimal::Decimal;
use crate::graphql::page::PageInfo;
use crate::graphql::scalars::DateTime;
use crate::payments::view::{Shown, Totals};

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "payment::PaymentStatus")]
pub(crate) enum PaymentStatus {
    /// Nobody has paid yet. A try that failed leaves a top-up open: the payer may try again.
    Pending,
    /// The money is held.
    Authorized,
    /// The money has been taken.
    Confirmed,
    /// The money was held, or taken, and was let go.
    Cancelled,
    /// The try has failed, or the top-up was not paid in time.
    Failed,
}

/// Whether another try may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "RetryClass")]
pub(crate) enum RetryHint {
    /// Not with this card.
    Hard,
    /// Once the payer has corrected something.
    Conditional,
    /// Later, as it is.
    Temporary,
}

/// How something became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "EventSource")]
pub(crate) enum PaymentSource {
    /// As it happened: by a notification, or from hookline itself.
    Notification,
    /// By asking CloudPayments: a notification did not come.
    Reconciliation,
}

/// How a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum RefundStatus {
    /// Asked for; CloudPayments has not said yet what came of it. Its sum is reserved.
    Pending,
    /// The money went back.
    Completed,
    /// It did not, and can be asked for again.
    Declined,
}

/// A payment: a top-up that was asked for here, or a payment that came by itself.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct Payment {
    /// Its id: `transactionId` of initiateTopUpPayment, or, of a payment that came by itself, `paymentId` of its
    /// webhooks. `payment` and `refundPayment` take either.
    pub(crate) id: ID,
    /// Where it stands.
    pub(crate) status: PaymentStatus,
    /// The sum: what was taken, else what is held, or asked for. Null, as long as only a refund of it is known.
    amount: Option<Decimal>,
    /// The currency of its sums.
    currency: Option<String>,
    /// Who pays.
    pub(crate) client_id: Option<ID>,
    /// The club that it is for.
    club_id: ID,
    /// The gateway that it goes through.
    gateway_id: ID,
    /// When it was asked for, else when it began.
    created_at: DateTime,
    /// When the money was held.
    authorized_at: Option<DateTime>,
    /// When the money was taken.
    confirmed_at: Option<DateTime>,
    /// When it was let go.
    cancelled_at: Option<DateTime>,
    /// The number of its transaction at CloudPayments; of several tries the one that counts.
    gateway_transaction_id: Option<ID>,
    /// The order number at CloudPayments.
    invoice_id: Option<ID>,
    /// The subscription, where it is an automatic charge.
    subscription_id: Option<ID>,
    /// T-Pay, Sbp, SberPay; null for a card.
    payment_method: Option<String>,
    /// What went back.
    refunded_amount: Decimal,
    /// What can still be refunded: neither back nor on its way back.
    refundable_amount: Decimal,
    /// Each refund, the earliest first.
    refunds: Vec<PaymentRefund>,
    /// No money moves: the site is in test mode.
    test_mode: bool,
    /// Why it failed; while a top-up is open, why its latest try did.
    reason: Option<String>,
    /// The same as CloudPayments' number.
    reason_code: Option<u32>,
    /// The same in CloudPayments' words.
    reason_detail: Option<String>,
    /// Whether another try may succeed, where CloudPayments says so.
    retry: Option<RetryHint>,
    /// Where it can be paid, while that is so.
    payment_url: Option<String>,
    /// Until when it can be paid.
    expires_at: Option<DateTime>,
    /// What the payer reads.
    description: Option<String>,
    /// How it became known.
    source: PaymentSource,
}

/// Money that went back, or is to go back.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct PaymentRefund {
    /// Its id, where it was asked for here.
    id: Option<ID>,
    /// How it stands.
    status: RefundStatus,
    /// How much.
    amount: Decimal,
    /// When it was asked for, else when it happened.
    created_at: DateTime,
    /// Its own number at CloudPayments, once that is known.
    gateway_transaction_id: Option<ID>,
    /// Why, in the words of whoever asked.
    reason: Option<String>,
    /// Why CloudPayments has declined it.
    refusal: Option<String>,
}

/// One page of payments.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct PaymentConnection {
    /// The latest first.
    pub(crate) nodes: Vec<Payment>,
    /// Where it ends.
    pub(crate) page_info: PageInfo,
}

/// A top-up that can be paid.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct InitiatedPayment {
    /// Where the payer pays.
    pub(crate) payment_url: String,
    /// The payment's id.
    pub(crate) transaction_id: ID,
    /// From here on it can't be paid.
    pub(crate) expires_at: DateTime,
}

/// What came of a refund.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct RefundResult {
    /// Whether the money went back. If not, it is on its way: see `status`.
    pub(crate) success: bool,
    /// Its id.
    pub(crate) refund_id: ID,
    /// How much.
    pub(crate) amount: Decimal,
    /// COMPLETED; or PENDING, while CloudPayments has not said what came of it: it is asked until it has, and the
    /// payment's refunds tell.
    pub(crate) status: RefundStatus,
}

/// What a client was credited with and got back. Worked out from the payments each time.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct ClientTotals {
    /// Whose.
    pub(crate) client_id: ID,
    /// By currency; empty for a client without payments.
    pub(crate) totals: Vec<CurrencyTotals>,
}

/// Sums in one currency.
#[derive(Debug, Clone, SimpleObject)]
pub(crate) struct CurrencyTotals {
    /// Which.
    currency: String,
    /// What was taken.
    credited: Decimal,
    /// What went back.
    refunded: Decimal,
    /// How many payments were credited.
    payments: usize,
}

impl From<Totals> for CurrencyTotals {
    fn from(Totals { currency, credited, refunded, payments }: Totals) -> Self {
        Self { currency, credited: Decimal(credited), refunded: Decimal(refunded), payments }
    }
}

impl RefundStatus {
    pub(crate) const fn of(state: RefundState) -> Self {
        match state {
            RefundState::Requested => Self::Pending,
            RefundState::Completed => Self::Completed,
            RefundState::Declined => Self::Declined,
        }
    }
}

impl From<&payment::Refund> for PaymentRefund {
    fn from(refund: &payment::Refund) -> Self {
        let intent = refund.intent.as_ref();
        Self {
            id: intent.map(|intent| ID::from(intent.id.as_str())),
            status: RefundStatus::of(refund.state),
            amount: Decimal(refund.amount),
            created_at: DateTime(refund.at),
            gateway_transaction_id: refund.transaction_id.as_ref().map(ID::from),
            reason: intent.and_then(|intent| intent.reason.clone()),
            refusal: intent.and_then(|intent| intent.refusal.clone()),
        }
    }
}

impl Payment {
    /// As it stands now; none, where there is nothing to show.
    pub(crate) fn new(shown: &Shown, now: Timestamp) -> Option<Self> {
        match (&shown.top_up, &shown.payment) {
            (None, Some(payment)) => Some(Self::of_payment(payment)),
            (Some(top_up), None) => Some(Self::of_top_up(top_up, now)),
            (Some(top_up), Some(payment)) => Some(Self::of_both(top_up, payment, now)),
            (None, None) => None,
        }
    }

    fn of_payment(payment: &PaymentRecord) -> Self {
        let at = |step: &Option<payment::Step>| step.as_ref().map(|step| DateTime(step.at));
        let is_reconciled = payment.is_reconciled;
        Self {
            id: ID::from(payment.id.as_str()),
            status: payment.status().into(),
            amount: payment.amount().map(Decimal),
            currency: payment.currency.clone(),
            client_id: payment.client_id.as_ref().map(ID::from),
            club_id: ID::from(payment.club_id.as_str()),
            gateway_id: ID::from(payment.gateway.as_str()),
            created_at: DateTime(payment.created_at),
            authorized_at: at(&payment.authorized),
            confirmed_at: at(&payment.received),
            cancelled_at: at(&payment.cancelled),
            gateway_transaction_id: Some(ID::from(&payment.transaction_id)),
            invoice_id: payment.invoice_id.as_ref().map(ID::from),
            subscription_id: payment.subscription_id.as_ref().map(ID::from),
            payment_method: payment.payment_method.clone(),
            refunded_amount: Decimal(payment.refunded()),
            refundable_amount: Decimal(payment.refundable()),
            refunds: payment.refunds.iter().map(PaymentRefund::from).collect(),
            test_mode: payment.test_mode,
            reason: payment
                .failed
                .as_ref()
                .map(|_| words(payment.reason_code.unwrap_or_default()).to_owned()),
            reason_code: payment.reason_code,
            reason_detail: payment.reason.clone(),
            retry: payment.reason_code.and_then(retry_class).map(RetryHint::from),
            payment_url: None,
            expires_at: None,
            description: None,
            source: if is_reconciled { PaymentSource::Reconciliation } else { PaymentSource::Notification },
        }
    }

    fn of_top_up(top_up: &TopUpRecord, now: Timestamp) -> Self {
        let is_over = top_up.expires_at <= now;
        Self {
            id: ID::from(top_up.id.as_str()),
            status: if is_over { PaymentStatus::Failed } else { PaymentStatus::Pending },
            amount: Some(Decimal(top_up.amount)),
            currency: Some(top_up.currency.clone()),
            client_id: Some(ID::from(&top_up.client_id)),
            club_id: ID::from(top_up.club_id.as_str()),
            gateway_id: ID::from(top_up.gateway.as_str()),
            created_at: DateTime(top_up.created_at),
            authorized_at: None,
            confirmed_at: None,
            cancelled_at: None,
            gateway_transaction_id: None,
            invoice_id: Some(ID::from(top_up.id.as_str())),
            subscription_id: None,
            payment_method: None,
            refunded_amount: Decimal(Amount::ZERO),
            refundable_amount: Decimal(Amount::ZERO),
            refunds: Vec::new(),
            test_mode: false,
            reason: is_over.then(|| "Transaction timeout".to_owned()),
            reason_code: None,
            reason_detail: None,
            retry: None,
            payment_url: top_up.payment_url.clone().filter(|_| !is_over),
            expires_at: Some(DateTime(top_up.expires_at)),
            description: top_up.description.clone(),
            source: PaymentSource::Notification,
        }
    }

    fn of_both(top_up: &TopUpRecord, payment: &PaymentRecord, now: Timestamp) -> Self {
        let (open, paid) = (Self::of_top_up(top_up, now), Self::of_payment(payment));
        match payment.status() {
            // A try that failed leaves the top-up open, and says why it failed.
            payment::PaymentStatus::Failed | payment::PaymentStatus::Pending => Self {
                reason: paid.reason.or(open.reason),
                reason_code: paid.reason_code,
                reason_detail: paid.reason_detail,
                retry: paid.retry,
                gateway_transaction_id: paid.gateway_transaction_id,
                test_mode: paid.test_mode,
                ..open
            },
            payment::PaymentStatus::Authorized
            | payment::PaymentStatus::Confirmed
            | payment::PaymentStatus::Cancelled => Self {
                id: open.id,
                created_at: open.created_at,
                expires_at: open.expires_at,
                description: open.description,
                client_id: open.client_id,
                club_id: open.club_id,
                currency: paid.currency.or(open.currency),
                ..paid
            },
        }
    }
}
