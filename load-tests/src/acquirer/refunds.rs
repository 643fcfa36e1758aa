//! Money back, from the cabinet and by `/payments/refund`: of a completed payment, in parts, never more than it was.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use super::Acquirer;
use super::answer::Envelope;
use super::fields::Fields;
use super::site::{Desk, OpenSite};
use super::sum::Sum;
use super::transaction::Status;
use crate::fixtures::Shape;

/// Older payments are not refunded.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Acquirer {
    /// Sends money back as the merchant does in his cabinet; posts Refund. The refund's own number.
    ///
    /// # Errors
    ///
    /// If there is no such payment, it is not completed or older than a year, or so much is not left of it.
    pub fn refund(&self, public_id: &str, transaction_id: u64, amount: &str) -> anyhow::Result<u64> {
        let amount = amount.parse()?;
        let desk = &self.state.desk;
        self.state.at(public_id, |site| site.refund(transaction_id, amount, desk))?
    }
}

impl OpenSite {
    fn refund(&mut self, id: u64, amount: Sum, desk: &Desk) -> anyhow::Result<u64> {
        self.ensure_room()?;
        let now = desk.now();
        let payment = self.transaction(id)?;
        ensure!(payment.original.is_none() && payment.status == Status::Completed, "it is not completed");
        ensure!(now.since(payment.created_at) <= YEAR, "it is older than a year");
        ensure!(!amount.is_zero() && amount <= payment.left(), "so much is not left of it");
        payment.refunded = payment.refunded.plus(amount);
        let refund = payment.refund(desk.next_number(), amount, now);
        let id = refund.id;
        self.notify(refund.notification(Shape::Refund, now));
        self.transactions.insert(id, refund);
        Ok(id)
    }
}

/// `/payments/refund`.
pub(super) fn refund(site: &mut OpenSite, fields: &Fields, desk: &Desk) -> anyhow::Result<Envelope> {
    let amount = fields.sum("Amount").context("Amount is needed")?;
    let id = site.refund(fields.transaction_id()?, amount, desk)?;
    Ok(Envelope::found(&json!({ "TransactionId": id })))
}
