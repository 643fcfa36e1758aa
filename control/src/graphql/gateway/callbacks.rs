//! Has CloudPayments post its notifications to us.

use futures::StreamExt;
use futures::stream;
use hookline_event_log::Log;
use hookline_registry::{GatewayRecord, Registry};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;

use super::output::{CallbackResult, CallbackType};
use crate::cloudpayments::Site;
use crate::error::ApiError;
use crate::graphql::Api;
use crate::graphql::text::invalid;
use crate::identity::Caller;

/// Requests at once: CloudPayments takes five of a site in test mode.
const AT_ONCE: usize = 3;

/// Sets the address of every type that can be set, and says of each what came of it.
pub(super) async fn set<L: Log>(
    api: &Api<L>,
    caller: &Caller,
    id: &GatewayId,
) -> Result<Vec<CallbackResult>, ApiError> {
    let registry = api.store.registry()?;
    let gateway = api.managed_gateway(caller, &registry, id)?;
    let missing = "the operator has to set cloudpayments.callback_url: where CloudPayments reaches hookline";
    let base = api.callback_url.as_deref().ok_or_else(|| ApiError::Unavailable(missing.to_owned()))?;
    let secret = counting_secret(api, &registry, gateway)?;
    let site = Site { public_id: &gateway.public_id, secret };
    let set = CallbackType::SETTABLE.map(|kind| set_one(api, site, kind, kind.url(base, id)));
    let mut results: Vec<_> = stream::iter(set).buffered(AT_ONCE).collect().await;
    results.push(CallbackResult {
        kind: CallbackType::Check,
        url: CallbackType::Check.url(base, id),
        is_set: false,
        message: Some("Check can be set in CloudPayments' cabinet alone: paste the url there".to_owned()),
    });
    Ok(results)
}

async fn set_one<L: Log>(api: &Api<L>, site: Site<'_>, kind: CallbackType, url: String) -> CallbackResult {
    let refused = api.cloudpayments.set_notification(site, kind.notification(), &url).await.err();
    CallbackResult {
        kind,
        url,
        is_set: refused.is_none(),
        message: refused.map(|refused| refused.to_string()),
    }
}

/// The newest that CloudPayments has accepted.
fn counting_secret<'a, L: Log>(
    api: &Api<L>,
    registry: &'a Registry,
    gateway: &GatewayRecord,
) -> Result<&'a Secret, ApiError> {
    let opened = Api::<L>::opened_secrets(registry, &gateway.id)?;
    let now = api.clock.wall();
    let mut counting = gateway.secrets.iter().zip(opened).filter(|(secret, _)| secret.counts(now));
    let unverified = || invalid("id", "CloudPayments has accepted no API secret of this gateway yet");
    counting.next().map(|(_, opened)| opened).ok_or_else(unverified)
}
