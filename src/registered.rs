//! What organizations have registered beside what the operator has configured: the gateways of the edge and the
//! webhooks of the dispatcher, exchanged as a whole whenever one of them changes.
//!
//! The configuration comes first: what can't stand beside it is left out, and said so.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hookline_event_log::Log;
use hookline_ingest::Gateways;
use hookline_registry::{FollowError, Registry, follow};
use hookline_schemas::gateway::Gateway;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::{Webhook, Webhooks};
use tokio::sync::watch;

/// Where both are told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// The gateways as of now; none, until they are known.
    pub(crate) gateways: Arc<ArcSwapOption<Gateways>>,
    /// The webhooks as of now; none, until they are known.
    pub(crate) webhooks: watch::Sender<Option<Arc<Webhooks>>>,
    /// The registry alone.
    pub(crate) registry: watch::Sender<Option<Arc<Registry>>>,
}

impl Told {
    /// Nothing is known.
    pub(crate) fn nothing() -> Self {
        Self {
            gateways: Arc::default(),
            webhooks: watch::Sender::new(None),
            registry: watch::Sender::new(None),
        }
    }
}

/// What stands in the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Configured {
    /// Checked beside each other.
    pub(crate) gateways: Vec<Gateway>,
    /// They change when the configuration is read again.
    pub(crate) webhooks: watch::Receiver<Arc<Webhooks>>,
}

/// Follows both, and tells, until the log closes.
///
/// # Errors
///
/// If the registry can't be followed: what is known would grow old.
pub(crate) async fn tell<L: Log>(
    log: L,
    sealer: Sealer,
    configured: Configured,
    told: Told,
    clock: Clock,
) -> Result<(), FollowError> {
    let followed = told.registry.subscribe();
    tokio::select! {
        ended = follow(log, sealer, told.registry.clone()) => ended,
        () = combine(followed, configured, told, clock) => Ok(()),
    }
}

async fn combine(
    mut registry: watch::Receiver<Option<Arc<Registry>>>,
    mut configured: Configured,
    told: Told,
    clock: Clock,
) {
    loop {
        let known = registry.borrow_and_update().clone();
        let webhooks = Arc::clone(&configured.webhooks.borrow_and_update());
        if let Some(registry) = &known {
            told.gateways.store(Some(Arc::new(gateways(&configured.gateways, registry, clock))));
            told.webhooks.send_replace(Some(Arc::new(all_webhooks(&webhooks, registry))));
        }
        tokio::select! {
            changed = registry.changed() => if changed.is_err() { return },
            changed = configured.webhooks.changed() => if changed.is_err() { return },
            () = next_change(known.as_deref(), clock) => {}
        }
    }
}

/// Waits until the gateways change by the passing of time.
async fn next_change(registry: Option<&Registry>, clock: Clock) {
    let now = clock.wall();
    match registry.and_then(|registry| registry.next_change(now)) {
        // A moment later, so that it has passed by then.
        Some(at) => tokio::time::sleep(at.since(now) + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}

fn gateways(configured: &[Gateway], registry: &Registry, clock: Clock) -> Gateways {
    let registered = registry.open_gateways(clock.wall());
    let (gateways, conflicts) =
        Gateways::without_conflicts(configured.iter().cloned().chain(registered).collect());
    for conflict in conflicts {
        tracing::error!(%conflict, "a registered gateway is left out: it can't stand beside the others");
    }
    gateways
}

fn all_webhooks(configured: &Webhooks, registry: &Registry) -> Webhooks {
    let ids: HashSet<&WebhookId> = configured.iter().map(|webhook| &webhook.id).collect();
    let is_free = |webhook: &Webhook| {
        let is_free = !ids.contains(&webhook.id);
        if !is_free {
            tracing::error!(webhook = %webhook.id, "a registered webhook is left out: the configuration has its id");
        }
        is_free
    };
    let configured = configured.iter().map(|webhook| Webhook::clone(webhook));
    let all: Webhooks = configured.chain(registry.open_webhooks().filter(is_free)).collect();
    all.with_version(registry.version())
}
