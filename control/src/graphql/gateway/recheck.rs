//! Asks CloudPayments again for the gateways of which it could not say anything.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use hookline_event_log::Log;
use hookline_registry::ConnectionStatus;
use hookline_schemas::ids::GatewayId;
use tokio::time::MissedTickBehavior;

use super::check::{self, Save};
use crate::graphql::Api;

/// How often.
pub(crate) const EVERY: Duration = Duration::from_secs(60);

/// Gateways at once.
const AT_ONCE: usize = 8;

/// Asks again and again, as long as this control is the active one. Never ends.
pub(crate) async fn run<L: Log>(api: Arc<Api<L>>, every: Duration) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if api.store.epoch().is_ok() {
            ask_again(&api).await;
        }
    }
}

async fn ask_again<L: Log>(api: &Api<L>) {
    let Ok(registry) = api.store.registry() else { return };
    let unavailable: Vec<GatewayId> = registry
        .gateways()
        .filter(|gateway| gateway.connection.status == ConnectionStatus::Unavailable)
        .map(|gateway| gateway.id.clone())
        .collect();
    stream::iter(unavailable)
        .for_each_concurrent(AT_ONCE, async |id| {
            if let Err(error) = check::check(api, &id, Save::IfChanged).await {
                tracing::warn!(gateway = %id, %error, "a gateway could not be checked");
            }
        })
        .await;
}
