//! The sites of gateways, to ask CloudPayments in their name.

use std::sync::Arc;

use hookline_registry::Registry;
use hookline_schemas::gateway::Gateway;
use hookline_schemas::ids::{GatewayId, OrganizationId};
use hookline_schemas::time::Clock;

use crate::cloudpayments::Site;
use crate::error::ApiError;
use crate::store::{self, Known};

/// Registered gateways, and those of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Sites {
    pub(super) known: Known,
    pub(super) configured: Arc<Vec<Gateway>>,
    pub(super) clock: Clock,
}

impl Sites {
    /// A gateway as notifications are verified with it now, paused or not.
    ///
    /// # Errors
    ///
    /// [`ApiError::NotFound`] if it has been removed; [`ApiError::Unavailable`] if its secrets can't be opened, or
    /// CloudPayments has accepted none of them.
    pub(crate) fn gateway(&self, id: &GatewayId) -> Result<Gateway, ApiError> {
        if let Some(configured) = self.configured.iter().find(|gateway| gateway.id == *id) {
            return Ok(configured.clone());
        }
        let registry = self.registry()?;
        let known = registry.gateway(id).ok_or(ApiError::NotFound("gateway"))?;
        let opened = known.opened.as_deref();
        let gateway = opened.and_then(|secrets| known.record.to_gateway(secrets, self.clock.wall()));
        gateway.ok_or_else(|| {
            ApiError::Unavailable(
                "the gateway is not connected: CloudPayments has not accepted its API secret, or no key opens it"
                    .to_owned(),
            )
        })
    }

    /// The gateways of an organization that take payments now.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] as long as the registry has not been read.
    pub(crate) fn of_organization(&self, organization: &OrganizationId) -> Result<Vec<Gateway>, ApiError> {
        let is_open = |gateway: &Gateway| gateway.organization == *organization && !gateway.policy.paused;
        let registered = self.registry()?.open_gateways(self.clock.wall());
        let all = self.configured.iter().cloned().chain(registered);
        Ok(all.filter(is_open).collect())
    }

    /// The ids of all gateways that are connected.
    pub(crate) fn ids(&self) -> Vec<GatewayId> {
        let registered = self.registry().map(|registry| registry.open_gateways(self.clock.wall()));
        let all = self.configured.iter().cloned().chain(registered.unwrap_or_default());
        all.map(|gateway| gateway.id).collect()
    }

    fn registry(&self) -> Result<Arc<Registry>, ApiError> {
        store::registry(&self.known)
    }
}

/// Who asks CloudPayments for a gateway: by the newest API secret that counts.
///
/// # Errors
///
/// [`ApiError::Unavailable`] if it has none.
pub(crate) fn site_of(gateway: &Gateway) -> Result<Site<'_>, ApiError> {
    let none =
        || ApiError::Unavailable("the gateway has no API secret that CloudPayments accepts".to_owned());
    let secret = gateway.api_secrets.first().ok_or_else(none)?;
    Ok(Site { public_id: &gateway.public_id, secret })
}
