//! The gateways with their keys prepared: an immutable snapshot, exchanged as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use hookline_schemas::gateway::{Gateway, MAX_SHARED};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;

use crate::gateway_metrics::{Tallies, Tally};

/// A gateway, ready to verify with.
#[derive(Debug)]
pub(crate) struct ReadyGateway {
    /// The gateway.
    pub(crate) gateway: Gateway,
    keys: Vec<ContentKey>,
    /// Looked up by its first notification: this snapshot may be one that is never used.
    tally: OnceLock<Arc<Tally>>,
}

impl ReadyGateway {
    /// Whether one of its keys made this signature of the body.
    pub(crate) fn signed(&self, body: &[u8], signature: &[u8]) -> bool {
        self.keys.iter().any(|key| key.verifies(body, signature))
    }

    /// What is counted of it, also across snapshots.
    pub(crate) fn tally(&self, tallies: &Tallies) -> &Tally {
        self.tally.get_or_init(|| tallies.of(&self.gateway.id))
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
    #[error("gateway {0} has shared_url = true, and {MAX_SHARED} others have it already")]
    TooManyShared(GatewayId),
}

impl Gateways {
    /// Prepares the keys.
    ///
    /// # Errors
    ///
    /// Every [`GatewayConflict`] at once.
    pub fn new(gateways: Vec<Gateway>) -> Result<Self, Vec<GatewayConflict>> {
        let (gateways, conflicts) = Self::without_conflicts(gateways);
        if conflicts.is_empty() { Ok(gateways) } else { Err(conflicts) }
    }

    /// The same, without those that can't stand beside the ones before them; with what was in their way.
    pub fn without_conflicts(gateways: Vec<Gateway>) -> (Self, Vec<GatewayConflict>) {
        let mut claims = Claims::default();
        let (mut all, mut conflicts) = (Vec::new(), Vec::new());
        for gateway in gateways {
            match claims.claim(&gateway) {
                Ok(()) => all.push(gateway),
                Err(in_the_way) => conflicts.extend(in_the_way),
            }
        }
        (Self::of(all), conflicts)
    }

    fn of(gateways: Vec<Gateway>) -> Self {
        let ready = |gateway: Gateway| {
            let keys = gateway.api_secrets.iter().map(ContentKey::new).collect();
            Arc::new(ReadyGateway { gateway, keys, tally: OnceLock::new() })
        };
        let all: Vec<_> = gateways.into_iter().map(ready).collect();
        let shared = all.iter().filter(|ready| ready.gateway.shared_url).cloned().collect();
        let by_id =
            all.iter().map(|ready| (ready.gateway.id.as_str().to_owned(), Arc::clone(ready))).collect();
        Self { by_id, all, shared, dummy: ContentKey::new(&Secret::new("no gateway has this key")) }
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

/// What belongs to the gateways so far, and to no other.
#[derive(Debug, Default)]
struct Claims {
    ids: HashSet<GatewayId>,
    public_ids: HashMap<String, GatewayId>,
    secrets: HashMap<Secret, GatewayId>,
    shared: usize,
}

impl Claims {
    /// Takes what the gateway needs, all of it or nothing.
    fn claim(&mut self, gateway: &Gateway) -> Result<(), Vec<GatewayConflict>> {
        let conflicts = self.conflicts(gateway);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        self.ids.insert(gateway.id.clone());
        self.public_ids.insert(gateway.public_id.clone(), gateway.id.clone());
        self.secrets.extend(gateway.api_secrets.iter().map(|secret| (secret.clone(), gateway.id.clone())));
        self.shared += usize::from(gateway.shared_url);
        Ok(())
    }

    fn conflicts(&self, gateway: &Gateway) -> Vec<GatewayConflict> {
        let mut conflicts = Vec::new();
        if self.ids.contains(&gateway.id) {
            conflicts.push(GatewayConflict::Id(gateway.id.clone()));
        }
        if let Some(other) = self.public_ids.get(&gateway.public_id) {
            conflicts.push(GatewayConflict::PublicId(other.clone(), gateway.id.clone()));
        }
        // An empty secret would be a key that everybody knows.
        let is_empty = |secret: &Secret| secret.expose().trim().is_empty();
        if gateway.api_secrets.is_empty() || gateway.api_secrets.iter().any(is_empty) {
            conflicts.push(GatewayConflict::NoSecret(gateway.id.clone()));
        }
        let of_others = gateway.api_secrets.iter().filter_map(|secret| self.secrets.get(secret));
        conflicts
            .extend(of_others.map(|other| GatewayConflict::ApiSecret(other.clone(), gateway.id.clone())));
        if gateway.shared_url && self.shared >= MAX_SHARED {
            conflicts.push(GatewayConflict::TooManyShared(gateway.id.clone()));
        }
        conflicts
    }
}
