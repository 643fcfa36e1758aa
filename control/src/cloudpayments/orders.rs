//! Orders: a page of CloudPayments where a payer pays.

use hookline_schemas::money::Amount;
use hookline_schemas::webhook::parse_url;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::values::{Exact, Written, text};
use super::{CloudPayments, Method, Refused, Site};

/// What is to be paid, and by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    /// The sum.
    pub(crate) amount: Amount,
    /// Its currency, as `RUB`.
    pub(crate) currency: &'a str,
    /// What the payer reads.
    pub(crate) description: &'a str,
    /// The number that notifications bring back.
    pub(crate) invoice_id: &'a str,
    /// The client who pays.
    pub(crate) account_id: &'a str,
    /// Where the payer's browser goes afterwards, whether it was paid or not.
    pub(crate) return_url: Option<&'a str>,
    /// The club that it is for.
    pub(crate) club_id: &'a str,
}

/// An order that stands at CloudPayments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreatedOrder {
    /// Its id there.
    pub(crate) id: String,
    /// Where it is paid.
    pub(crate) url: String,
}

/// What `/orders/create` takes, as far as we use it: without an e-mail and a phone nobody is written to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    amount: Exact,
    currency: &'a str,
    description: &'a str,
    invoice_id: &'a str,
    account_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    success_redirect_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fail_redirect_url: Option<&'a str>,
    json_data: JsonData<'a>,
}

/// The merchant's own data; notifications bring them back as `Data`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonData<'a> {
    club_id: &'a str,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Model<'a> {
    #[serde(borrow)]
    id: Written<'a>,
    #[serde(borrow)]
    url: Written<'a>,
}

impl CloudPayments {
    /// Has an order made (`/orders/create`). It can be paid, once this returns.
    ///
    /// # Errors
    ///
    /// [`Refused::InvalidCredentials`] and [`Refused::Declined`]: there is no order. [`Refused::Unavailable`]: there may
    /// be one that nobody knows the address of, so that it is not paid; another may be made.
    pub(crate) async fn create_order(
        &self,
        site: Site<'_>,
        order: &Order<'_>,
    ) -> Result<CreatedOrder, Refused> {
        let body = Body {
            amount: Exact(order.amount),
            currency: order.currency,
            description: order.description,
            invoice_id: order.invoice_id,
            account_id: order.account_id,
            success_redirect_url: order.return_url,
            fail_redirect_url: order.return_url,
            json_data: JsonData { club_id: order.club_id },
        };
        let answer = self.ask(site, Method::named("/orders/create", "create_order"), &body).await?;
        Envelope::read(&answer)?.model(site.secret, created)
    }
}

/// The order; none that can't be paid.
fn created(model: &RawValue) -> Option<CreatedOrder> {
    let model: Model<'_> = serde_json::from_str(model.get()).ok()?;
    let url = text(model.url).filter(|url| parse_url(url).is_ok())?;
    Some(CreatedOrder { id: text(model.id)?, url })
}
