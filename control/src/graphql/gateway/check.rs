//! Asks CloudPayments about a gateway that is registered, and writes down what it says.

use hookline_event_log::Log;
use hookline_registry::{Connection, ConnectionStatus, GatewayRecord, Registry};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::seal::Sealed;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;

use super::credentials;
use crate::cloudpayments::Site;
use crate::error::ApiError;
use crate::graphql::Api;
use crate::store::Change;

/// When the answer is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Save {
    /// With its time.
    Always,
    /// If it is another than before.
    IfChanged,
}

/// Asks about the newest secret, and writes down the answer. A secret that is accepted counts from now on, alone.
pub(super) async fn check<L: Log>(api: &Api<L>, id: &GatewayId, save: Save) -> Result<(), ApiError> {
    api.store.epoch()?;
    let registry = api.store.registry()?;
    let gone = || ApiError::NotFound("gateway");
    let asked = &registry.gateway(id).ok_or_else(gone)?.record;
    let secret = Api::<L>::opened_secrets(&registry, id)?.first().ok_or_else(gone)?;
    let sealed = newest(asked);
    let status = api.ask(Site { public_id: &asked.public_id, secret }).await;
    let now = api.clock.wall();
    let write = |registry: &Registry| {
        let record = &registry.gateway(id).ok_or_else(gone)?.record;
        let is_news = save == Save::Always || status != record.connection.status;
        // What was asked about is another's place by now, if the secret has changed.
        if !is_news || newest(record) != sealed {
            return Ok(Change::Nothing);
        }
        answered(api, registry, record, secret, Connection { status, checked_at: now })
    };
    api.store.write(write).await.map(drop)
}

fn newest(record: &GatewayRecord) -> Option<&Sealed> {
    record.secrets.first().map(|secret| &secret.sealed)
}

/// The record with what CloudPayments says.
fn answered<L: Log>(
    api: &Api<L>,
    registry: &Registry,
    record: &GatewayRecord,
    secret: &Secret,
    connection: Connection,
) -> Result<Change, ApiError> {
    let mut record = record.clone();
    record.connection = connection;
    let is_verified = record.secrets.first().is_some_and(|newest| newest.is_verified);
    if connection.status == ConnectionStatus::Connected && !is_verified {
        api.judge_accepted(registry, &record, secret, connection.checked_at)?;
        record.secrets = vec![credentials::sealed(&api.sealer, &record, secret, true)];
    }
    forget_ended(&mut record, connection.checked_at);
    Ok(Change::gateway(&record))
}

/// What counts no more need not be kept; the newest is kept, counting or not.
fn forget_ended(record: &mut GatewayRecord, now: Timestamp) {
    let mut is_newest = true;
    record.secrets.retain(|secret| std::mem::take(&mut is_newest) || secret.counts(now));
}
