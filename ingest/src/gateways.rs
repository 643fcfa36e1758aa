//! The gateways with their keys prepared: an immutable snapshot, exchanged as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hookline_schemas::gateway::Gateway;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;

/// How many gateways may take part in the shared URL: each costs one HMAC per body nobody signed.
const MAX_SHARED: usize = 64;

/// A gateway, ready to verify with.
#[derive(Debug)]
pub(crate) struct ReadyGateway {
    /// The gateway.
    pub(crate) gateway: Gateway,
    keys: Vec<ContentKey>,
}

impl ReadyGateway {
    /// Whether one of its keys made this signature of the body.
    pub(crate) fn signed(&self, body: &[u8], signature: &[u8]) -> bool {
        self.keys.iter().any(|key| key.verifies(body, signature))
    }
}

/// All gateways, as of one moment.
#[derive(Debug)]
pub struct Gateways {
    by_id: HashMap<String, Arc<ReadyGateway>>,
    /// In the order in which they were given.
    all: Vec<Arc<ReadyGateway>>,
    shared: Vec<Arc<ReadyGateway>>,
    /// What an unknown gateway is verified with, so that it takes as long as a known one.
    dummy: ContentKey,
}

/// Why gateways can't stand beside each other: a notification could belong to two of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayConflict {
    /// Two gateways have one id.
    #[error("gateway {0} is named twice")]
    Id(GatewayId),
    /// Two gateways have one public id.
    #[error("gateways {0} and {1} have the same public_id")]
    PublicId(GatewayId, GatewayId),
    /// Two gateways have a secret in common.
    #[error("gateways {0} and {1} have an API secret in common")]
    ApiSecret(GatewayId, GatewayId),
    /// A gateway without a secret would accept nothing, one with an empty secret everything.
    #[error("gateway {0} has no API secret, or an empty one")]
    NoSecret(GatewayId),
    /// Too many gateways take part in the shared URL.
    #[error("{0} gateways have shared_url = true, at most {MAX_SHARED} can")]
    TooManyShared(usize),
}

impl Gateways {
    /// Prepares the keys.
    ///
    /// # Errors
    ///
    /// Every [`GatewayConflict`] at once.
    pub fn new(gateways: Vec<Gateway>) -> Result<Self, Vec<GatewayConflict>> {
        let conflicts = conflicts(&gateways);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let ready = |gateway: Gateway| {
            let keys = gateway.api_secrets.iter().map(ContentKey::new).collect();
            Arc::new(ReadyGateway { gateway, keys })
        };
        let all: Vec<_> = gateways.into_iter().map(ready).collect();
        let shared = all.iter().filter(|ready| ready.gateway.shared_url).cloned().collect();
        let by_id =
            all.iter().map(|ready| (ready.gateway.id.as_str().to_owned(), Arc::clone(ready))).collect();
        Ok(Self { by_id, all, shared, dummy: ContentKey::new(&Secret::new("no gateway has this key")) })
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Gateway> {
        self.all.iter().map(|ready| &ready.gateway)
    }

    /// The gateway that a typed URL names.
    pub(crate) fn find(&self, id: &str) -> Option<&Arc<ReadyGateway>> {
        self.by_id.get(id)
    }

    /// The gateways of the shared URL.
    pub(crate) fn shared(&self) -> &[Arc<ReadyGateway>] {
        &self.shared
    }

    /// Spends the time that a known gateway would take.
    pub(crate) fn pretend(&self, body: &[u8], signature: &[u8]) {
        std::hint::black_box(self.dummy.verifies(body, signature));
    }
}

fn conflicts(gateways: &[Gateway]) -> Vec<GatewayConflict> {
    let mut conflicts = Vec::new();
    let mut ids = HashSet::new();
    let mut public_ids: HashMap<&str, &GatewayId> = HashMap::new();
    let mut secrets: HashMap<&str, &GatewayId> = HashMap::new();
    for gateway in gateways {
        if !ids.insert(&gateway.id) {
            conflicts.push(GatewayConflict::Id(gateway.id.clone()));
        }
        if let Some(other) = public_ids.insert(&gateway.public_id, &gateway.id) {
            conflicts.push(GatewayConflict::PublicId(other.clone(), gateway.id.clone()));
        }
        // An empty secret would be a key that everybody knows.
        let is_empty = |secret: &Secret| secret.expose().trim().is_empty();
        if gateway.api_secrets.is_empty() || gateway.api_secrets.iter().any(is_empty) {
            conflicts.push(GatewayConflict::NoSecret(gateway.id.clone()));
        }
        for secret in &gateway.api_secrets {
            match secrets.insert(secret.expose(), &gateway.id) {
                Some(other) if *other != gateway.id => {
                    conflicts.push(GatewayConflict::ApiSecret(other.clone(), gateway.id.clone()));
                }
                _ => {}
            }
        }
    }
    let shared = gateways.iter().filter(|gateway| gateway.shared_url).count();
    if shared > MAX_SHARED {
        conflicts.push(GatewayConflict::TooManyShared(shared));
    }
    conflicts
}
