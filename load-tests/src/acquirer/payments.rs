//! Payments from the payer's side and from the merchant's cabinet, and the same by the API: `/payments/confirm` and
//! `/payments/void`.

use std::sync::Arc;

use anyhow::{Context, ensure};
use hookline_schemas::notification::NotificationType;

use super::Acquirer;
use super::answer::Envelope;
use super::fields::Fields;
use super::notify::Notice;
use super::reasons::refusal;
use super::site::{Desk, OpenSite};
use super::sum::Sum;
use super::transaction::{Status, Transaction, TransactionView};
use crate::fixtures::Shape;
use crate::simulator::answered_code;

/// Who pays, and how it goes at the bank.
#[derive(Debug, Clone)]
pub struct Payer {
    /// The sum: digits, perhaps a dot and two digits.
    pub amount: String,
    /// As CloudPayments spells it.
    pub currency: String,
    /// The order that is paid. What is left open here is said by the order with this number, if there is one: whose
    /// it is, the merchant's data, and whether the money is held first.
    pub invoice_id: Option<String>,
    /// The client.
    pub account_id: Option<String>,
    /// The money is held first.
    pub two_stage: bool,
    /// The bank declines for this reason.
    pub declined: Option<u32>,
    /// No money moves.
    pub test_mode: bool,
    /// The merchant's own JSON.
    pub data: Option<String>,
}

impl Payer {
    /// Pays so many roubles at once, for no order.
    pub fn new(amount: impl Into<String>) -> Self {
        Self {
            amount: amount.into(),
            currency: "RUB".to_owned(),
            invoice_id: None,
            account_id: None,
            two_stage: false,
            declined: None,
            test_mode: false,
            data: None,
        }
    }
}

/// What came of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    /// Its number.
    pub transaction_id: u64,
    /// What the Check was answered; none if it was not asked, or its answer has no code.
    pub check_code: Option<u32>,
    /// How it stands.
    pub status: Status,
}

impl Acquirer {
    /// What a payer does at the payment form: Check is posted, where its address is set, and decides; then the bank
    /// decides; then Pay or Fail is posted, which is on its way when this returns.
    ///
    /// # Errors
    ///
    /// If the site is not known or full, the amount is none, or its order was cancelled. A payment that was declined
    /// is none.
    pub async fn pay(&self, public_id: &str, payment: &Payer) -> anyhow::Result<Paid> {
        let state = &self.state;
        let (transaction, check) = state.at(public_id, |site| site.begin(payment, &state.desk))??;
        let (check_code, refused) = match check {
            None => (None, None),
            Some(check) => {
                let answer = state.post(public_id, &check).await;
                let code = answer.as_ref().and_then(answered_code);
                (code.and_then(|code| u32::try_from(code).ok()), refusal(answer.as_ref()))
            }
        };
        let declined = refused.or(payment.declined);
        let (transaction_id, status) =
            state.at(public_id, |site| site.decide(transaction, declined, &state.desk))??;
        Ok(Paid { transaction_id, check_code, status })
    }

    /// Takes the money that is held, or a part of it, as the merchant does in his cabinet; posts Confirm.
    ///
    /// # Errors
    ///
    /// If there is no such hold, or it is less.
    pub fn confirm(&self, public_id: &str, transaction_id: u64, amount: &str) -> anyhow::Result<()> {
        let amount = amount.parse()?;
        let desk = &self.state.desk;
        self.state.at(public_id, |site| site.confirm(transaction_id, amount, desk))?
    }

    /// Releases the money that is held, as the merchant does in his cabinet; posts Cancel.
    ///
    /// # Errors
    ///
    /// If there is no such hold.
    pub fn cancel(&self, public_id: &str, transaction_id: u64) -> anyhow::Result<()> {
        let desk = &self.state.desk;
        self.state.at(public_id, |site| site.cancel(transaction_id, desk))?
    }

    /// What stands at the bank, in the order of the numbers; nothing for an unknown site.
    pub fn transactions(&self, public_id: &str) -> Vec<TransactionView> {
        self.state.at(public_id, |site| site.views()).unwrap_or_default()
    }
}

impl OpenSite {
    /// A payment that nobody has decided yet, and its Check, where that is set.
    fn begin(&mut self, payment: &Payer, desk: &Desk) -> anyhow::Result<(Transaction, Option<Arc<Notice>>)> {
        self.ensure_room()?;
        let amount: Sum = payment.amount.parse()?;
        ensure!(!amount.is_zero(), "nothing can't be paid");
        let order = payment.invoice_id.as_deref().and_then(|invoice_id| self.order_of(invoice_id));
        ensure!(order.is_none_or(|order| !order.is_cancelled), "the order was cancelled");
        let transaction = Transaction {
            id: desk.next_number(),
            original: None,
            amount,
            refunded: Sum::default(),
            status: Status::Declined,
            reason_code: 0,
            currency: payment.currency.clone(),
            invoice_id: payment.invoice_id.clone(),
            account_id: payment.account_id.clone().or_else(|| order?.account_id.clone()),
            data: payment.data.clone().or_else(|| order?.json_data.clone()),
            test_mode: payment.test_mode,
            two_stage: payment.two_stage || order.is_some_and(|order| order.is_two_stage),
            created_at: desk.now(),
            authorized_at: None,
            confirmed_at: None,
        };
        let check = transaction.notification(Shape::Check, transaction.created_at);
        let check = self.is_wanted(NotificationType::Check).then(|| self.make(check));
        Ok((transaction, check))
    }

    /// The bank's decision; without a code against it the payment is made.
    fn decide(
        &mut self,
        mut transaction: Transaction,
        declined: Option<u32>,
        desk: &Desk,
    ) -> anyhow::Result<(u64, Status)> {
        self.ensure_room()?;
        let now = desk.now();
        let (status, shape) = match declined {
            Some(_) => (Status::Declined, Shape::Fail),
            None if transaction.two_stage => (Status::Authorized, Shape::PayAuthorized),
            None if transaction.test_mode => (Status::Completed, Shape::PayInTestMode),
            None => (Status::Completed, Shape::Pay2026),
        };
        transaction.status = status;
        transaction.reason_code = declined.unwrap_or_default();
        transaction.authorized_at = (status != Status::Declined).then_some(now);
        transaction.confirmed_at = (status == Status::Completed).then_some(now);
        let id = transaction.id;
        if let (None, Some(invoice_id)) = (declined, &transaction.invoice_id) {
            self.order_is_paid(invoice_id, id, now);
        }
        self.notify(transaction.notification(shape, transaction.created_at));
        self.transactions.insert(id, transaction);
        Ok((id, status))
    }

    fn confirm(&mut self, id: u64, amount: Sum, desk: &Desk) -> anyhow::Result<()> {
        let hold = self.hold(id)?;
        ensure!(!amount.is_zero() && amount <= hold.amount, "the amount is not a part of what is held");
        hold.amount = amount;
        hold.status = Status::Completed;
        hold.confirmed_at = Some(desk.now());
        let confirm = hold.notification(Shape::Confirm, hold.created_at);
        self.notify(confirm);
        Ok(())
    }

    fn cancel(&mut self, id: u64, desk: &Desk) -> anyhow::Result<()> {
        let hold = self.hold(id)?;
        hold.status = Status::Cancelled;
        let cancel = hold.notification(Shape::Cancel, desk.now());
        self.notify(cancel);
        Ok(())
    }

    fn hold(&mut self, id: u64) -> anyhow::Result<&mut Transaction> {
        let transaction = self.transaction(id)?;
        ensure!(transaction.status == Status::Authorized, "the payment is not authorized");
        Ok(transaction)
    }
}

/// `/payments/confirm`.
pub(super) fn confirm(site: &mut OpenSite, fields: &Fields, desk: &Desk) -> anyhow::Result<Envelope> {
    let amount = fields.sum("Amount").context("Amount is needed")?;
    site.confirm(fields.transaction_id()?, amount, desk)?;
    Ok(Envelope::done())
}

/// `/payments/void`.
pub(super) fn void(site: &mut OpenSite, fields: &Fields, desk: &Desk) -> anyhow::Result<Envelope> {
    site.cancel(fields.transaction_id()?, desk)?;
    Ok(Envelope::done())
}
