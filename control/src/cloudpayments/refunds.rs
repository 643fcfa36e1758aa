//! Refunds: money goes back.

use hookline_schemas::money::Amount;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::values::{Exact, Written, transaction_id};
use super::{CloudPayments, Method, Refused, Site};

/// What is to go back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefundRequest<'a> {
    /// Ours for this refund. Visible ASCII: it is a header's value.
    pub(crate) request_id: &'a str,
    /// The payment.
    pub(crate) transaction_id: u64,
    /// So much of it.
    pub(crate) amount: Amount,
}

/// A refund that CloudPayments has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefundAnswer {
    /// The refund's own number.
    pub(crate) transaction_id: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    transaction_id: u64,
    amount: Exact,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Model<'a> {
    #[serde(borrow)]
    transaction_id: Written<'a>,
}

impl CloudPayments {
    /// Has money sent back (`/payments/refund`). CloudPayments has taken it on, once this returns. The same request id
    /// within the hour is the same refund: CloudPayments answers again what it answered.
    ///
    /// # Errors
    ///
    /// [`Refused::InvalidCredentials`] and [`Refused::Declined`]: nothing goes back by this request.
    /// [`Refused::Unavailable`]: it may or may not, now or within the five minutes that CloudPayments may take; only the
    /// same request id within the hour, or CloudPayments' own list of transactions, can tell.
    pub(crate) async fn refund(
        &self,
        site: Site<'_>,
        refund: &RefundRequest<'_>,
    ) -> Result<RefundAnswer, Refused> {
        let method =
            Method { request_id: Some(refund.request_id), ..Method::named("/payments/refund", "refund") };
        let body = Body { transaction_id: refund.transaction_id, amount: Exact(refund.amount) };
        let answer = self.ask(site, method, &body).await?;
        Envelope::read(&answer)?.model(site.secret, made)
    }
}

fn made(model: &RawValue) -> Option<RefundAnswer> {
    let model: Model<'_> = serde_json::from_str(model.get()).ok()?;
    Some(RefundAnswer { transaction_id: transaction_id(model.transaction_id)? })
}
