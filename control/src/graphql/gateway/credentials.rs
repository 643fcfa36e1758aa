//! The API secrets of a gateway: which of them count, and whether they may be anybody's.
//!
//! Whether a Public ID or a secret is another gateway's is judged only once CloudPayments has accepted both
//! together: so nobody finds out by guessing, and nobody can take a Public ID that is not his.

use std::time::Duration;

use hookline_event_log::Log;
use hookline_registry::{ApiSecret, ConnectionStatus, GatewayRecord, Registry};
use hookline_schemas::gateway::MAX_SHARED;
use hookline_schemas::seal::{Sealed, Sealer};
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;

use crate::cloudpayments::{Refused, Site};
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::text::invalid;

/// So many secrets of a gateway count at once.
const MAX_SECRETS: usize = 4;

/// A secret as it is kept.
pub(super) fn sealed(
    sealer: &Sealer,
    record: &GatewayRecord,
    secret: &Secret,
    is_verified: bool,
) -> ApiSecret {
    let sealed = Sealed::new(sealer, &GatewayRecord::secret_place(&record.id), secret);
    ApiSecret { sealed, is_verified, until: None }
}

/// Takes a new secret: accepted, it takes the place of all others, unless it is the newest that counts: then nothing
/// changes, so that an overlap goes on. Otherwise those that count go on, and it waits before them. `opened` are the
/// secrets that the record has, where they can be opened.
pub(super) fn replace(
    record: &mut GatewayRecord,
    opened: Option<&[Secret]>,
    new: (ApiSecret, &Secret),
    now: Timestamp,
) {
    let (new, text) = new;
    let newest_counting = record.secrets.iter().position(|secret| secret.counts(now));
    let is_known = newest_counting.is_some_and(|at| opened.and_then(|opened| opened.get(at)) == Some(text));
    record.secrets.retain(|secret| secret.counts(now));
    match (is_known, new.is_verified) {
        (true, _) => {}
        (false, true) => record.secrets = vec![new],
        (false, false) => record.secrets.insert(0, new),
    }
}

/// Puts an accepted secret before those that count, which cease to at the end of the overlap.
///
/// # Errors
///
/// If so many count already: none of them may cease to before its time.
pub(super) fn rotate(
    record: &mut GatewayRecord,
    new: ApiSecret,
    overlap: Duration,
    now: Timestamp,
) -> Result<(), ApiError> {
    let end = now.after(overlap);
    record.secrets.retain(|secret| secret.counts(now) && end > now);
    if record.secrets.len() >= MAX_SECRETS {
        let details =
            format!("{MAX_SECRETS} secrets count already: wait until an overlap ends, or rotate with none");
        return Err(invalid("overlapHours", details));
    }
    for secret in &mut record.secrets {
        secret.until = Some(secret.until.map_or(end, |until| until.min(end)));
    }
    record.secrets.insert(0, new);
    Ok(())
}

impl<L: Log> Api<L> {
    /// What CloudPayments says of a Public ID with a secret.
    pub(super) async fn ask(&self, site: Site<'_>) -> ConnectionStatus {
        match self.cloudpayments.test(site).await {
            Ok(()) => ConnectionStatus::Connected,
            Err(Refused::InvalidCredentials) => ConnectionStatus::InvalidCredentials,
            Err(refused @ (Refused::Unavailable(_) | Refused::Declined(_))) => {
                tracing::warn!(public_id = site.public_id, %refused, "credentials could not be checked");
                ConnectionStatus::Unavailable
            }
        }
    }

    /// Whether a gateway may have its Public ID and this secret, which CloudPayments has accepted.
    pub(super) fn judge_accepted(
        &self,
        registry: &Registry,
        gateway: &GatewayRecord,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let others = || registry.gateways().filter(|other| other.id != gateway.id);
        let counts = |other: &GatewayRecord| other.secrets.iter().any(|secret| secret.counts(now));
        let has_public_id = others().any(|other| other.public_id == gateway.public_id && counts(other));
        let opened = registry.gateways_with_secrets().filter(|(other, _)| other.id != gateway.id);
        let has_secret = opened
            .flat_map(|(other, opened)| other.secrets.iter().zip(opened))
            .any(|(other, opened)| other.counts(now) && opened == secret);
        let is_configured = self
            .configured
            .gateways
            .iter()
            .any(|other| other.public_id == gateway.public_id || other.api_secrets.contains(secret));
        if has_public_id || has_secret || is_configured {
            return Err(ApiError::AlreadyExists(
                "another gateway has this Public ID or this API secret".to_owned(),
            ));
        }
        self.judge_shared(registry, gateway, now)
    }

    /// Whether there is a place at the shared URL, if the gateway wants one.
    pub(super) fn judge_shared(
        &self,
        registry: &Registry,
        gateway: &GatewayRecord,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let takes_place = |other: &&GatewayRecord| {
            other.id != gateway.id
                && other.shared_url
                && other.secrets.iter().any(|secret| secret.counts(now))
        };
        let configured = self.configured.gateways.iter().filter(|other| other.shared_url).count();
        let taken = registry.gateways().filter(takes_place).count() + configured;
        if gateway.shared_url && taken >= MAX_SHARED {
            let details = format!("at most {MAX_SHARED} gateways can share the URL: use those of each type");
            return Err(invalid("sharedUrl", details));
        }
        Ok(())
    }
}
