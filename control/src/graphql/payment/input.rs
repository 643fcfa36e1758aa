//! What callers say of payments.

use async_graphql::{ID, InputObject};
use hookline_schemas::ids::GatewayId;

use super::output::PaymentStatus;
use crate::error::ApiError;
use crate::graphql::decimal::Decimal;
use crate::graphql::scalars::DateTime;
use crate::graphql::text;
use crate::identity::Caller;
use crate::payments::view::{Cursor, PaymentFilter};
use hookline_schemas::time::Timestamp;

/// What is to be paid.
#[derive(Debug, InputObject)]
pub(crate) struct InitiatePaymentInput {
    /// Who pays: the AccountId of the payment.
    pub(super) client_id: ID,
    /// The club that is credited.
    pub(super) club_id: ID,
    /// The sum: above 0, two decimals at most.
    pub(super) amount: Decimal,
    /// Where the payer comes back to: http or https.
    pub(super) return_url: Option<String>,
    /// What the payer reads.
    pub(super) description: Option<String>,
    /// Through which gateway. It may be left out where the organization has one.
    pub(super) gateway_id: Option<ID>,
}

/// What is to go back.
#[derive(Debug, InputObject)]
pub(crate) struct RefundInput {
    /// The payment: any id that `payment` takes.
    pub(super) transaction_id: ID,
    /// How much; all that is left, where it is left out.
    pub(super) amount: Option<Decimal>,
    /// Why, in your words.
    pub(super) reason: Option<String>,
}

/// Which payments. All that is said has to be so.
#[derive(Debug, Default, InputObject)]
pub(crate) struct PaymentFilterInput {
    /// Of this client.
    client_id: Option<ID>,
    /// For this club.
    club_id: Option<ID>,
    /// Through this gateway.
    gateway_id: Option<ID>,
    /// That stand so.
    status: Option<PaymentStatus>,
    /// In test mode, or not.
    test_mode: Option<bool>,
    /// That began then or later.
    since: Option<DateTime>,
    /// That began earlier.
    until: Option<DateTime>,
}

impl PaymentFilterInput {
    /// What of it the caller may see.
    pub(super) fn confined(self, caller: &Caller, now: Timestamp) -> Result<PaymentFilter, ApiError> {
        let club = self.club_id.as_ref().map(|club| text::club("clubId", club)).transpose()?;
        if let Some(club) = &club {
            caller.may_enter(Some(club))?;
        }
        Ok(PaymentFilter {
            organization: caller.organization.clone(),
            clubs: club.map(|club| vec![club]).or_else(|| caller.clubs.clone()),
            client: self.client_id.map(|client| client.to_string()),
            gateway: self.gateway_id.map(|gateway| GatewayId::new(gateway.as_str())),
            status: self.status.map(Into::into),
            is_test: self.test_mode,
            since: self.since.map(|since| since.0),
            until: self.until.map(|until| until.0),
            now,
        })
    }
}

/// A place in the list of payments, as [`read_cursor`] reads it.
pub(super) fn write_cursor(cursor: &Cursor) -> String {
    format!("{}.{}", cursor.created_at.0, cursor.id)
}

/// The place that was written so.
pub(super) fn read_cursor(text: &str) -> Option<Cursor> {
    let (created_at, id) = text.split_once('.')?;
    Some(Cursor { created_at: Timestamp(created_at.parse().ok()?), id: id.to_owned() })
}
