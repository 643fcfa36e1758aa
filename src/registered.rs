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

/// Whether this process delivers: only then it has to know every webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivers {
    Yes,
    No,
}

/// What stands in the configuration, as it was read last.
#[derive(Debug)]
pub(crate) struct Configured {
    /// Checked beside each other.
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) webhooks: Webhooks,
}

impl Configured {
    pub(crate) fn new(gateways: &Gateways, webhooks: Webhooks) -> Self {
        Self { gateways: gateways.iter().cloned().collect(), webhooks }
    }
}

/// Follows both, and tells, until the log closes.
///
/// # Errors
///
/// If the registry can't be followed: what is known would grow old. Where it `delivers`, also if there is a webhook that
/// it does not understand.
pub(crate) async fn tell<L: Log>(
    log: L,
    sealer: Sealer,
    configured: watch::Receiver<Arc<Configured>>,
    told: Told,
    delivers: Delivers,
    clock: Clock,
) -> Result<(), FollowError> {
    let followed = told.registry.subscribe();
    tokio::select! {
        ended = follow(log, sealer, told.registry.clone()) => ended,
        ended = combine(followed, configured, told, delivers, clock) => ended,
    }
}

async fn combine(
    mut registry: watch::Receiver<Option<Arc<Registry>>>,
    mut configured: watch::Receiver<Arc<Configured>>,
    told: Told,
    delivers: Delivers,
    clock: Clock,
) -> Result<(), FollowError> {
    loop {
        let known = registry.borrow_and_update().clone();
        let read = Arc::clone(&configured.borrow_and_update());
        if let Some(registry) = &known {
            told.gateways.store(Some(Arc::new(gateways(&read.gateways, registry, clock))));
            match (all_webhooks(&read.webhooks, registry), delivers) {
                (Ok(webhooks), _) => drop(told.webhooks.send_replace(Some(Arc::new(webhooks)))),
                (Err(error), Delivers::Yes) => return Err(error),
                (Err(error), Delivers::No) => tracing::error!(%error, "the webhooks stay as they were"),
            }
        }
        tokio::select! {
            changed = registry.changed() => if changed.is_err() { return Ok(()) },
            changed = configured.changed() => if changed.is_err() { return Ok(()) },
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

fn all_webhooks(configured: &Webhooks, registry: &Registry) -> Result<Webhooks, FollowError> {
    let ids: HashSet<&WebhookId> = configured.iter().map(|webhook| &webhook.id).collect();
    let is_free = |webhook: &Webhook| {
        let is_free = !ids.contains(&webhook.id);
        if !is_free {
            tracing::error!(webhook = %webhook.id, "a registered webhook is left out: the configuration has its id");
        }
        is_free
    };
    let configured = configured.iter().map(|webhook| Webhook::clone(webhook));
    let registered = registry.open_webhooks()?;
    let all: Webhooks = configured.chain(registered.into_iter().filter(is_free)).collect();
    Ok(all.with_version(registry.version()))
}
