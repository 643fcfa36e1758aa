//! Gateways: an organization's sites at CloudPayments.
//!
//! CloudPayments is asked before anything is written, and outside of the turn in which writes are judged: one entry
//! then holds secret, settings and what CloudPayments said.

mod callbacks;
mod check;
mod configure;
mod credentials;
mod input;
mod output;
pub(crate) mod recheck;
mod rotate;

use std::sync::Arc;

use async_graphql::{Context, ID, Object};
use hookline_event_log::Log;
use hookline_registry::Registry;
use hookline_schemas::ids::GatewayId;

use self::check::Save;
use self::input::PaymentGatewayInput;
use self::output::{CallbackResult, PaymentGateway};
use super::Api;
use super::access::{member, own_organization};
use super::scalars::SecretText;
use crate::error::ApiError;
use crate::identity::Caller;
use crate::store::Change;

/// How long the previous secret counts as well, unless it is said otherwise: CloudPayments repeats notifications for
/// two days.
const DEFAULT_OVERLAP_HOURS: i32 = 48;

/// What can be asked about gateways.
pub(crate) struct GatewayQueries<L: Log>(pub(super) Arc<Api<L>>);

/// What can be changed about gateways.
pub(crate) struct GatewayMutations<L: Log>(pub(super) Arc<Api<L>>);

impl<L: Log> Api<L> {
    fn show_gateway(
        &self,
        caller: &Caller,
        registry: &Registry,
        id: &GatewayId,
    ) -> Result<PaymentGateway, ApiError> {
        let gateway = self.gateway_of(caller, registry, id)?;
        Ok(PaymentGateway::new(gateway, self.callback_url.as_deref(), self.clock.wall()))
    }
}

#[Object]
impl<L: Log> GatewayQueries<L> {
    /// The gateways of your organization.
    #[graphql(complexity = "5 + child_complexity")]
    async fn gateways(&self, context: &Context<'_>) -> Result<Vec<PaymentGateway>, ApiError> {
        let caller = member(context)?;
        let (registry, now) = (self.0.store.registry()?, self.0.clock.wall());
        let base = self.0.callback_url.as_deref();
        let gateways = self.0.gateways_of(caller, &registry);
        Ok(gateways.map(|gateway| PaymentGateway::new(gateway, base, now)).collect())
    }

    /// One of them.
    async fn gateway(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<PaymentGateway, ApiError> {
        let caller = member(context)?;
        self.0.show_gateway(caller, &*self.0.store.registry()?, &GatewayId::new(id.as_str()))
    }
}

#[Object]
impl<L: Log> GatewayMutations<L> {
    /// Configures a gateway, or configures it anew: the same organization and Public ID again replaces the API secret
    /// and the settings that are given. CloudPayments is asked about the credentials: only if it accepts them the
    /// status is CONNECTED, and the new secret counts. OWNER or ADMIN of the whole organization.
    #[graphql(complexity = "100 + child_complexity")]
    async fn configure_payment_gateway(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The gateway.")] input: PaymentGatewayInput,
    ) -> Result<PaymentGateway, ApiError> {
        let caller = member(context)?;
        let organization = own_organization(caller, &input.organization_id)?;
        caller.manages_organization()?;
        let (id, registry) = configure::configure(&self.0, organization, input).await?;
        self.0.show_gateway(caller, &registry, &id)
    }

    /// Switches a gateway on or off. Off, every Check is refused; notifications of payments that were made are taken
    /// all the same. OWNER or ADMIN of the whole organization.
    #[graphql(complexity = "50 + child_complexity")]
    async fn set_gateway_active(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
        #[graphql(desc = "On or off.")] is_active: bool,
    ) -> Result<PaymentGateway, ApiError> {
        let (api, caller, id) = (&*self.0, member(context)?, GatewayId::new(id.as_str()));
        let switch = |registry: &Registry| {
            let mut record = api.managed_gateway(caller, registry, &id)?.clone();
            record.is_active = is_active;
            Ok(Change::gateway(&record))
        };
        let registry = api.store.write(switch).await?;
        api.show_gateway(caller, &registry, &id)
    }

    /// Gives a gateway a new API secret, while the previous one goes on counting for a while. CloudPayments is asked
    /// first: a secret that it does not accept changes nothing. OWNER or ADMIN of the whole organization.
    #[graphql(complexity = "100 + child_complexity")]
    async fn rotate_gateway_secret(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
        #[graphql(desc = "The new API secret, from CloudPayments' cabinet.", secret)] api_secret: SecretText,
        #[graphql(
            desc = "How long the previous one counts as well: 0 to 168. Notifications that CloudPayments repeats may \
                    be signed with it for two days.",
            default_with = "Some(DEFAULT_OVERLAP_HOURS)"
        )]
        overlap_hours: Option<i32>,
    ) -> Result<PaymentGateway, ApiError> {
        let (caller, id) = (member(context)?, GatewayId::new(id.as_str()));
        let registry = rotate::rotate(
            &self.0,
            caller,
            &id,
            &api_secret.0,
            overlap_hours.unwrap_or(DEFAULT_OVERLAP_HOURS),
        )
        .await?;
        self.0.show_gateway(caller, &registry, &id)
    }

    /// Asks CloudPayments about the newest API secret again, and says what it answers. A secret that it accepts
    /// counts from now on. OWNER or ADMIN of the whole organization.
    #[graphql(complexity = "100 + child_complexity")]
    async fn check_gateway_connection(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<PaymentGateway, ApiError> {
        let (api, caller, id) = (&*self.0, member(context)?, GatewayId::new(id.as_str()));
        api.managed_gateway(caller, &*api.store.registry()?, &id)?;
        check::check(api, &id, Save::Always).await?;
        api.show_gateway(caller, &*api.store.registry()?, &id)
    }

    /// Has CloudPayments post the notifications of this gateway to its callback URLs: Pay, Fail, Confirm, Refund,
    /// Cancel and Recurrent. Check can be set in CloudPayments' cabinet alone. OWNER or ADMIN of the whole
    /// organization.
    #[graphql(complexity = "100 + child_complexity")]
    async fn set_gateway_callbacks(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<Vec<CallbackResult>, ApiError> {
        callbacks::set(&self.0, member(context)?, &GatewayId::new(id.as_str())).await
    }

    /// Deletes a gateway: its notifications are refused from now on. True, once it is gone. OWNER or ADMIN of the
    /// whole organization.
    #[graphql(complexity = "50 + child_complexity")]
    async fn delete_gateway(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which.")] id: ID,
    ) -> Result<bool, ApiError> {
        let (api, caller, id) = (&*self.0, member(context)?, GatewayId::new(id.as_str()));
        let delete =
            |registry: &Registry| Ok(Change::deletion(api.managed_gateway(caller, registry, &id)?.key()));
        api.store.write(delete).await?;
        Ok(true)
    }
}
