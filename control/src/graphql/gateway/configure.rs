//! `configurePaymentGateway`.

use hookline_event_log::Log;
use hookline_registry::{Connection, ConnectionStatus, GatewayRecord, Registry};
use hookline_schemas::ids::{GatewayId, OrganizationId};
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;

use super::credentials;
use super::input::{PaymentGatewayInput, Wanted, first_policy};
use crate::cloudpayments::Site;
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::text::invalid;
use crate::identifiers::new_id;
use crate::store::Change;

/// So many gateways of an organization.
const MAX_GATEWAYS: usize = 100;

/// A gateway as it is to be.
struct Configuration<'a> {
    /// If it is a new one.
    candidate: GatewayId,
    organization: OrganizationId,
    public_id: &'a str,
    secret: &'a Secret,
    connection: Connection,
}

/// Asks CloudPayments about the credentials, and writes the gateway with the answer. The registry that is returned
/// has it.
pub(super) async fn configure<L: Log>(
    api: &Api<L>,
    organization: OrganizationId,
    input: PaymentGatewayInput,
) -> Result<(GatewayId, std::sync::Arc<Registry>), ApiError> {
    let (public_id, secret, wanted) = input.into_parts()?;
    api.store.epoch()?;
    let candidate = GatewayId::new(new_id("gw_"));
    // What can be refused without CloudPayments is.
    let before = record(&*api.store.registry()?, &candidate, &organization, &public_id, api.clock.wall())?;
    wanted.check(&before)?;
    let status = api.ask(Site { public_id: &public_id, secret: &secret }).await;
    let connection = Connection { status, checked_at: api.clock.wall() };
    let configuration =
        Configuration { candidate, organization, public_id: &public_id, secret: &secret, connection };
    let mut id = None;
    let registry = api
        .store
        .write(|registry| {
            let configured = configured(api, registry, &configuration, wanted)?;
            id = Some(configured.id.clone());
            Ok(Change::gateway(&configured))
        })
        .await?;
    Ok((id.unwrap_or(configuration.candidate), registry))
}

/// The record of this organization's site as it stands, or as it is at first.
fn record(
    registry: &Registry,
    candidate: &GatewayId,
    organization: &OrganizationId,
    public_id: &str,
    now: Timestamp,
) -> Result<GatewayRecord, ApiError> {
    let own = || registry.gateways().filter(|gateway| gateway.organization == *organization);
    if let Some(existing) = own().find(|gateway| gateway.public_id == public_id) {
        return Ok(existing.clone());
    }
    if own().count() >= MAX_GATEWAYS {
        return Err(invalid("publicId", format!("an organization has at most {MAX_GATEWAYS} gateways")));
    }
    Ok(GatewayRecord {
        id: candidate.clone(),
        organization: organization.clone(),
        public_id: public_id.to_owned(),
        secrets: Vec::new(),
        connection: Connection { status: ConnectionStatus::Unavailable, checked_at: now },
        is_active: true,
        default_club: None,
        shared_url: false,
        policy: first_policy(),
        payment_page: None,
        description: None,
        created_at: now,
    })
}

fn configured<L: Log>(
    api: &Api<L>,
    registry: &Registry,
    configuration: &Configuration<'_>,
    wanted: Wanted,
) -> Result<GatewayRecord, ApiError> {
    let Configuration { candidate, organization, public_id, secret, connection } = configuration;
    let now = connection.checked_at;
    let mut record = record(registry, candidate, organization, public_id, now)?;
    wanted.apply(&mut record)?;
    let is_accepted = connection.status == ConnectionStatus::Connected;
    if is_accepted {
        api.judge_accepted(registry, &record, secret, now)?;
    } else {
        api.judge_shared(registry, &record, now)?;
    }
    let opened = registry.gateway(&record.id).and_then(|known| known.opened.as_deref());
    let new = credentials::sealed(&api.sealer, &record, secret, is_accepted);
    credentials::replace(&mut record, opened, (new, secret), now);
    record.connection = *connection;
    Ok(record)
}
