//! Who may: the organization's border first, then the role, then the club. Beyond the border everything is
//! NOT_FOUND, so that nothing is said of what belongs to others.

use async_graphql::{Context, ID};
use hookline_event_log::Log;
use hookline_registry::{GatewayRecord, Known, Registry, WebhookRecord};
use hookline_schemas::gateway::Gateway;
use hookline_schemas::ids::{GatewayId, OrganizationId, WebhookId};
use hookline_schemas::secret::Secret;
use hookline_schemas::webhook::Webhook;

use super::Api;
use crate::error::ApiError;
use crate::identity::{Caller, Role, caller};

/// Why an object of the configuration is not changed here.
const CONFIGURED: ApiError = ApiError::Forbidden("it stands in the operator's configuration");

/// A gateway, wherever it stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum AnyGateway<'a> {
    Registered(&'a GatewayRecord),
    Configured(&'a Gateway),
}

/// A webhook, wherever it stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum AnyWebhook<'a> {
    Registered(&'a Known<WebhookRecord, Webhook>),
    Configured(&'a Webhook),
}

/// Someone of an organization. The platform is nobody's.
pub(super) fn member<'a>(context: &'a Context<'_>) -> Result<&'a Caller, ApiError> {
    let caller = caller(context)?;
    match caller.role {
        Role::Platform => Err(ApiError::Forbidden("PLATFORM is for clients alone")),
        Role::Owner | Role::Admin | Role::Other(_) => Ok(caller),
    }
}

/// The platform itself.
pub(super) fn platform(context: &Context<'_>) -> Result<(), ApiError> {
    match caller(context)?.role {
        Role::Platform => Ok(()),
        Role::Owner | Role::Admin | Role::Other(_) => Err(ApiError::Forbidden("PLATFORM is needed")),
    }
}

/// Whether the organization is the caller's.
pub(super) fn own_organization(caller: &Caller, organization: &ID) -> Result<OrganizationId, ApiError> {
    if caller.organization.as_str() == organization.as_str() {
        Ok(caller.organization.clone())
    } else {
        Err(ApiError::NotFound("organization"))
    }
}

impl<L: Log> Api<L> {
    /// The gateways of the caller's organization, those of the configuration first.
    pub(super) fn gateways_of<'a>(
        &'a self,
        caller: &'a Caller,
        registry: &'a Registry,
    ) -> impl Iterator<Item = AnyGateway<'a>> {
        let configured = self.configured.gateways.iter();
        let configured = configured.filter(|gateway| gateway.organization == caller.organization);
        let mut registered: Vec<_> =
            registry.gateways().filter(|gateway| gateway.organization == caller.organization).collect();
        registered.sort_by_key(|gateway| gateway.created_at);
        configured.map(AnyGateway::Configured).chain(registered.into_iter().map(AnyGateway::Registered))
    }

    /// A gateway that the caller may see.
    pub(super) fn gateway_of<'a>(
        &'a self,
        caller: &Caller,
        registry: &'a Registry,
        id: &GatewayId,
    ) -> Result<AnyGateway<'a>, ApiError> {
        if let Some(known) = registry.gateway(id)
            && known.record.organization == caller.organization
        {
            return Ok(AnyGateway::Registered(&known.record));
        }
        let mut configured = self.configured.gateways.iter();
        let found =
            configured.find(|gateway| gateway.id == *id && gateway.organization == caller.organization);
        found.map(AnyGateway::Configured).ok_or(ApiError::NotFound("gateway"))
    }

    /// A gateway that the caller may change.
    pub(super) fn managed_gateway<'a>(
        &'a self,
        caller: &Caller,
        registry: &'a Registry,
        id: &GatewayId,
    ) -> Result<&'a GatewayRecord, ApiError> {
        let found = self.gateway_of(caller, registry, id)?;
        caller.manages_organization()?;
        match found {
            AnyGateway::Registered(record) => Ok(record),
            AnyGateway::Configured(_) => Err(CONFIGURED),
        }
    }

    /// The webhooks that the caller may see, those of the configuration first.
    pub(super) fn webhooks_of<'a>(
        &'a self,
        caller: &'a Caller,
        registry: &'a Registry,
    ) -> impl Iterator<Item = AnyWebhook<'a>> {
        let mut configured: Vec<_> = self.configured.webhooks.iter().map(|webhook| &**webhook).collect();
        configured.sort_by(|one, other| one.id.cmp(&other.id));
        let mut registered: Vec<_> =
            registry.webhooks().filter_map(|webhook| registry.webhook(&webhook.id)).collect();
        registered.sort_by_key(|known| known.record.created_at);
        let all = configured.into_iter().map(AnyWebhook::Configured);
        all.chain(registered.into_iter().map(AnyWebhook::Registered)).filter(|webhook| {
            webhook.organization() == &caller.organization && caller.may_enter(webhook.club()).is_ok()
        })
    }

    /// A webhook that the caller may see.
    pub(super) fn webhook_of<'a>(
        &'a self,
        caller: &Caller,
        registry: &'a Registry,
        id: &WebhookId,
    ) -> Result<AnyWebhook<'a>, ApiError> {
        let found = self.webhook_of_organization(caller, registry, id)?;
        caller.may_enter(found.club())?;
        Ok(found)
    }

    /// A webhook that the caller may change.
    pub(super) fn managed_webhook<'a>(
        &'a self,
        caller: &Caller,
        registry: &'a Registry,
        id: &WebhookId,
    ) -> Result<&'a WebhookRecord, ApiError> {
        match self.tested_webhook(caller, registry, id)? {
            AnyWebhook::Registered(known) => Ok(&known.record),
            AnyWebhook::Configured(_) => Err(CONFIGURED),
        }
    }

    /// A webhook that the caller may have tested: it may stand in the configuration, because nothing of it changes.
    pub(super) fn tested_webhook<'a>(
        &'a self,
        caller: &Caller,
        registry: &'a Registry,
        id: &WebhookId,
    ) -> Result<AnyWebhook<'a>, ApiError> {
        let found = self.webhook_of_organization(caller, registry, id)?;
        caller.manages()?;
        caller.may_enter(found.club())?;
        Ok(found)
    }

    fn webhook_of_organization<'a>(
        &'a self,
        caller: &Caller,
        registry: &'a Registry,
        id: &WebhookId,
    ) -> Result<AnyWebhook<'a>, ApiError> {
        let registered = registry.webhook(id).map(AnyWebhook::Registered);
        let configured = || self.configured.webhooks.find(id).map(|webhook| AnyWebhook::Configured(webhook));
        let found = registered.or_else(configured);
        found
            .filter(|webhook| *webhook.organization() == caller.organization)
            .ok_or(ApiError::NotFound("webhook"))
    }

    /// The API secrets of a gateway, in their order.
    pub(super) fn opened_secrets<'a>(
        registry: &'a Registry,
        id: &GatewayId,
    ) -> Result<&'a [Secret], ApiError> {
        let opened = registry.gateway(id).and_then(|known| known.opened.as_deref());
        let sealed = || {
            ApiError::Unavailable("its API secrets can't be opened with the key of this process".to_owned())
        };
        opened.ok_or_else(sealed)
    }
}

impl<'a> AnyWebhook<'a> {
    pub(super) fn id(&self) -> &'a WebhookId {
        match self {
            Self::Registered(known) => &known.record.id,
            Self::Configured(webhook) => &webhook.id,
        }
    }

    pub(super) fn organization(&self) -> &'a OrganizationId {
        match self {
            Self::Registered(known) => &known.record.organization,
            Self::Configured(webhook) => &webhook.organization,
        }
    }

    pub(super) fn club(&self) -> Option<&'a hookline_schemas::ids::ClubId> {
        match self {
            Self::Registered(known) => known.record.club.as_ref(),
            Self::Configured(webhook) => webhook.club_id.as_ref(),
        }
    }
}
