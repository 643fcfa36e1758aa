//! A new top-up: judged, then made.

use hookline_event_log::Log;
use hookline_schemas::gateway::Gateway;
use hookline_schemas::ids::{GatewayId, TopUpId};
use hookline_schemas::money::Amount;
use hookline_schemas::payment::TopUpRecord;
use hookline_schemas::webhook::parse_url;

use super::input::InitiatePaymentInput;
use super::output::InitiatedPayment;
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::decimal::Decimal;
use crate::graphql::scalars::DateTime;
use crate::graphql::text::{self, invalid};
use crate::identifiers::new_id;
use crate::identity::Caller;
use async_graphql::ID;

/// The currency of gateways that name none.
const CURRENCY: &str = "RUB";

/// The longest address to come back to, in bytes.
const MAX_URL: usize = 2_000;

/// A sum that can be paid: above 0, in whole kopecks.
pub(super) fn payable(field: &'static str, amount: Decimal) -> Result<Amount, ApiError> {
    let Decimal(amount) = amount;
    if amount.is_zero() || amount.decimals() > 2 {
        return Err(invalid(field, "a sum above 0 with two decimals at most is taken"));
    }
    Ok(amount)
}

impl<L: Log> Api<L> {
    /// Makes a top-up for a caller who may.
    pub(super) async fn initiate(
        &self,
        caller: &Caller,
        input: InitiatePaymentInput,
    ) -> Result<InitiatedPayment, ApiError> {
        let club_id = text::club("clubId", &input.club_id)?;
        caller.may_enter(Some(&club_id))?;
        let gateway = self.paying_gateway(caller, input.gateway_id.as_ref())?;
        let amount = payable("amount", input.amount)?;
        within_limits(&gateway, amount)?;
        let now = self.clock.wall();
        let top_up = TopUpRecord {
            id: TopUpId::new(new_id("top_")),
            organization: caller.organization.clone(),
            gateway: gateway.id.clone(),
            club_id,
            client_id: text::name("clientId", &input.client_id)?.to_owned(),
            amount,
            currency: gateway.policy.currency.clone().unwrap_or_else(|| CURRENCY.to_owned()),
            description: input.description.map(text::description).transpose()?,
            return_url: input.return_url.map(return_url).transpose()?,
            payment_url: None,
            created_at: now,
            expires_at: now.after(self.payments.settings.top_up_lifetime),
            is_forgotten: false,
        };
        let registry = self.store.registry()?;
        let page = registry.gateway(&gateway.id).and_then(|known| known.record.payment_page.as_deref());
        let TopUpRecord { id, payment_url, expires_at, .. } =
            self.payments.top_ups.make(top_up, page).await?;
        Ok(InitiatedPayment {
            payment_url: payment_url.unwrap_or_default(),
            transaction_id: ID::from(id.as_str()),
            expires_at: DateTime(expires_at),
        })
    }

    /// The gateway that is named, or the only one.
    fn paying_gateway(&self, caller: &Caller, id: Option<&ID>) -> Result<Gateway, ApiError> {
        let mut gateways = self.payments.sites.of_organization(&caller.organization)?;
        if let Some(id) = id {
            let id = GatewayId::new(id.as_str());
            // Whether it is there at all, before whether it takes payments.
            self.gateway_of(caller, &*self.store.registry()?, &id)?;
            gateways.retain(|gateway| gateway.id == id);
        }
        match (gateways.pop(), gateways.is_empty()) {
            (Some(gateway), true) => Ok(gateway),
            (Some(_), false) => Err(invalid("gatewayId", "the organization has several gateways: name one")),
            (None, _) => Err(invalid("gatewayId", "no gateway of the organization takes payments now")),
        }
    }
}

fn within_limits(gateway: &Gateway, amount: Amount) -> Result<(), ApiError> {
    let policy = &gateway.policy;
    let below = policy.min_amount.filter(|least| amount < *least).map(|least| format!("below {least}"));
    let above = policy.max_amount.filter(|most| amount > *most).map(|most| format!("above {most}"));
    match below.or(above) {
        Some(limit) => Err(invalid("amount", format!("it is {limit}, the limit of the gateway"))),
        None => Ok(()),
    }
}

fn return_url(url: String) -> Result<String, ApiError> {
    let is_web =
        |url: &str| parse_url(url).is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")));
    if url.len() <= MAX_URL && is_web(&url) {
        Ok(url)
    } else {
        Err(invalid("returnUrl", format!("an http or https address of at most {MAX_URL} bytes is taken")))
    }
}
