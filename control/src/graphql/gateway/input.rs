//! What a gateway is configured with.

use async_graphql::{ID, InputObject, MaybeUndefined};
use hookline_registry::GatewayRecord;
use hookline_schemas::gateway::{Acceptance, CheckPolicy};
use hookline_schemas::money::Amount;
use hookline_schemas::secret::Secret;
use hookline_schemas::webhook::parse_url;

use super::output::{AcceptanceType, GatewayType};
use crate::error::ApiError;
use crate::graphql::scalars::SecretText;
use crate::graphql::text::{self, invalid, update};

/// The longest address of a payment page, in bytes.
const MAX_PAGE: usize = 1_000;

/// A site at CloudPayments, and what it accepts. The same organization and Public ID again replaces the API secret
/// and what else is given.
#[derive(Debug, InputObject)]
pub(crate) struct PaymentGatewayInput {
    /// Whose it is. It must be the organization of the token.
    pub(super) organization_id: ID,
    /// Through whom payments are made.
    #[graphql(name = "type")]
    kind: GatewayType,
    /// The Public ID of the site, from CloudPayments' cabinet.
    pub(super) public_id: String,
    /// The API secret of the site, from CloudPayments' cabinet. It is stored encrypted and never returned.
    #[graphql(secret)]
    api_secret: SecretText,
    /// In your own words. Absent: as it was. Null: none.
    description: MaybeUndefined<String>,
    /// What the gateway accepts. What is absent stays as it is.
    settings: Option<GatewaySettingsInput>,
}

/// What a gateway accepts. Absent: as it was. Null clears the default club, the limits and the currency.
#[derive(Debug, Clone, InputObject)]
pub(crate) struct GatewaySettingsInput {
    /// The club of a payment that names none.
    default_club_id: MaybeUndefined<ID>,
    /// Whether the gateway takes part in the URL that all gateways share, /payments/cloudpayments/callback. Off at
    /// first; at most 64 gateways can.
    shared_url: Option<bool>,
    /// Payments whose AccountId is no known client. Refused at first.
    unknown_clients: Option<AcceptanceType>,
    /// Payments whose InvoiceId is no pending top-up. Refused at first.
    unknown_invoices: Option<AcceptanceType>,
    /// Payments without an InvoiceId. Refused at first.
    without_invoice: Option<AcceptanceType>,
    /// Automatic charges of a subscription. Accepted at first.
    subscription_charges: Option<AcceptanceType>,
    /// Payments in CloudPayments' test mode. Accepted at first.
    test_payments: Option<AcceptanceType>,
    /// The smallest sum, inclusive: a decimal like "1.00".
    min_amount: MaybeUndefined<String>,
    /// The largest sum, inclusive: a decimal like "100000.00".
    max_amount: MaybeUndefined<String>,
    /// The only currency, as RUB.
    currency: MaybeUndefined<String>,
    /// Where top-ups are paid: a page of your own with CloudPayments' widget. It is called with publicId, invoiceId,
    /// accountId, amount, currency, clubId, description and returnUrl as its query. Null: at an order that CloudPayments
    /// makes for each.
    payment_page: MaybeUndefined<String>,
}

/// As a gateway is at first.
pub(super) const fn first_policy() -> CheckPolicy {
    CheckPolicy {
        paused: false,
        test_payments: Acceptance::Accept,
        unknown_clients: Acceptance::Refuse,
        unknown_invoices: Acceptance::Refuse,
        without_invoice: Acceptance::Refuse,
        subscription_charges: Acceptance::Accept,
        max_amount: None,
        min_amount: None,
        currency: None,
    }
}

impl PaymentGatewayInput {
    /// Its parts, once Public ID and secret have been checked.
    pub(super) fn into_parts(self) -> Result<(String, Secret, Wanted), ApiError> {
        text::public_id(&self.public_id)?;
        text::api_secret(&self.api_secret.0)?;
        let GatewayType::CloudPayments = self.kind;
        let wanted = Wanted { description: self.description, settings: self.settings };
        Ok((self.public_id, self.api_secret.0, wanted))
    }
}

/// What is to change beside the secret.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    description: MaybeUndefined<String>,
    settings: Option<GatewaySettingsInput>,
}

impl Wanted {
    /// Whether it could be written into the record.
    pub(super) fn check(&self, record: &GatewayRecord) -> Result<(), ApiError> {
        self.clone().apply(&mut record.clone())
    }

    /// Writes it into the record.
    pub(super) fn apply(self, record: &mut GatewayRecord) -> Result<(), ApiError> {
        update(&mut record.description, self.description, text::description)?;
        match self.settings {
            Some(settings) => settings.apply(record),
            None => Ok(()),
        }
    }
}

impl GatewaySettingsInput {
    fn apply(self, record: &mut GatewayRecord) -> Result<(), ApiError> {
        update(&mut record.payment_page, self.payment_page, payment_page)?;
        update(&mut record.default_club, self.default_club_id, |id| text::club("defaultClubId", &id))?;
        record.shared_url = self.shared_url.unwrap_or(record.shared_url);
        let policy = &mut record.policy;
        for (current, wanted) in [
            (&mut policy.unknown_clients, self.unknown_clients),
            (&mut policy.unknown_invoices, self.unknown_invoices),
            (&mut policy.without_invoice, self.without_invoice),
            (&mut policy.subscription_charges, self.subscription_charges),
            (&mut policy.test_payments, self.test_payments),
        ] {
            *current = wanted.map_or(*current, Acceptance::from);
        }
        update(&mut policy.min_amount, self.min_amount, |sum| amount("minAmount", &sum))?;
        update(&mut policy.max_amount, self.max_amount, |sum| amount("maxAmount", &sum))?;
        update(&mut policy.currency, self.currency, currency)?;
        match (policy.min_amount, policy.max_amount) {
            (Some(min), Some(max)) if min > max => Err(invalid("minAmount", "it is above maxAmount")),
            _ => Ok(()),
        }
    }
}

fn amount(field: &'static str, sum: &str) -> Result<Amount, ApiError> {
    sum.parse().map_err(|_| invalid(field, "a decimal like \"100.00\" is taken"))
}

fn payment_page(url: String) -> Result<String, ApiError> {
    let is_web = parse_url(&url).is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")));
    if is_web && url.len() <= MAX_PAGE && !url.contains('#') {
        Ok(url)
    } else {
        Err(invalid(
            "paymentPage",
            format!("an http or https address of at most {MAX_PAGE} bytes, without #, is taken"),
        ))
    }
}

fn currency(name: String) -> Result<String, ApiError> {
    if name.len() == 3 && name.bytes().all(|letter| letter.is_ascii_uppercase()) {
        Ok(name)
    } else {
        Err(invalid("currency", "three capital letters like RUB are taken"))
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::{InputType, Value};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_parsed_input_shows_no_secret() {
        let input = json!({ "organizationId": "org_1", "type": "CLOUDPAYMENTS", "publicId": "pk_1",
            "apiSecret": "s3cret" });
        let value = Value::from_json(input).expect("a value");
        let parsed = PaymentGatewayInput::parse(Some(value)).expect("an input");
        let shown = format!("{parsed:?}");
        assert!(shown.contains("pk_1") && !shown.contains("s3cret"), "{shown}");
    }
}
