//! `rotateGatewaySecret`.

use std::sync::Arc;

use hookline_event_log::Log;
use hookline_registry::{Connection, ConnectionStatus, Registry};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;

use super::credentials;
use crate::cloudpayments::{Refused, Site};
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::text::{self, invalid};
use crate::identity::Caller;
use crate::store::Change;

/// Asks CloudPayments about the new secret, and writes it before those that count. The registry that is returned has
/// it.
pub(super) async fn rotate<L: Log>(
    api: &Api<L>,
    caller: &Caller,
    id: &GatewayId,
    secret: &Secret,
    overlap_hours: i32,
) -> Result<Arc<Registry>, ApiError> {
    let registry = api.store.registry()?;
    let gateway = api.managed_gateway(caller, &registry, id)?;
    text::api_secret(secret)?;
    let overlap = text::overlap(overlap_hours)?;
    api.store.epoch()?;
    let opened = Api::<L>::opened_secrets(&registry, id)?;
    let newest = gateway.secrets.first().zip(opened.first());
    if newest.is_some_and(|(newest, opened)| newest.is_verified && opened == secret) {
        return Err(invalid("apiSecret", "it is the one that the gateway has already"));
    }
    accepted(api, Site { public_id: &gateway.public_id, secret }).await?;
    let now = api.clock.wall();
    let write = |registry: &Registry| {
        let mut record = api.managed_gateway(caller, registry, id)?.clone();
        api.judge_accepted(registry, &record, secret, now)?;
        let new = credentials::sealed(&api.sealer, &record, secret, true);
        credentials::rotate(&mut record, new, overlap, now)?;
        record.connection = Connection { status: ConnectionStatus::Connected, checked_at: now };
        Ok(Change::gateway(&record))
    };
    api.store.write(write).await
}

async fn accepted<L: Log>(api: &Api<L>, site: Site<'_>) -> Result<(), ApiError> {
    match api.cloudpayments.test(site).await {
        Ok(()) => Ok(()),
        Err(refused @ Refused::InvalidCredentials) => Err(invalid("apiSecret", refused.to_string())),
        Err(refused @ (Refused::Unavailable(_) | Refused::Declined(_))) => {
            Err(ApiError::Unavailable(format!("nothing has changed: {refused}")))
        }
    }
}
