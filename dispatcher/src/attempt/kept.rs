//! The connections that are kept for the next attempt, each endpoint's its own: however many endpoints one receiver
//! serves, none takes or closes another's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hookline_schemas::ids::WebhookId;
use hookline_schemas::webhook::Webhook;
use http::Uri;
use rustc_hash::FxHashMap;

use super::connection::Connection;

/// For how long connections are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// For the next attempt.
    pub(crate) idle: Duration,
    /// At all, however busy: what a name resolves to now has to be found out and judged some time.
    pub(crate) age: Duration,
    /// Of one endpoint.
    pub(crate) most: usize,
}

/// Connections at rest, the latest used last. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    keep: Keep,
    by_endpoint: Arc<Mutex<FxHashMap<WebhookId, Endpoint>>>,
}

#[derive(Debug)]
struct Endpoint {
    /// Where they lead.
    url: Uri,
    resting: Vec<Resting>,
}

#[derive(Debug)]
struct Resting {
    connection: Box<Connection>,
    since: Duration,
}

impl Kept {
    /// Nothing yet.
    pub(crate) fn new(keep: Keep) -> Self {
        Self { keep, by_endpoint: Arc::default() }
    }

    /// A connection to where the webhook leads, if one is kept: the one that was used last.
    pub(crate) fn take(&self, webhook: &Webhook, now: Duration) -> Option<Box<Connection>> {
        let mut by_endpoint = self.locked();
        let endpoint = by_endpoint.get_mut(&webhook.id).filter(|endpoint| endpoint.leads_to(&webhook.url))?;
        while let Some(resting) = endpoint.resting.pop() {
            if resting.is_good(self.keep, now) {
                return Some(resting.connection);
            }
        }
        None
    }

    /// Keeps a connection that leads there, unless it has ended, is old, or enough are kept.
    pub(crate) fn put(&self, webhook: &Webhook, mut connection: Box<Connection>, now: Duration) {
        if connection.has_ended() {
            return;
        }
        let resting = Resting { connection, since: now };
        if !resting.is_good(self.keep, now) {
            return;
        }
        let mut by_endpoint = self.locked();
        let endpoint = by_endpoint
            .entry(webhook.id.clone())
            .or_insert_with(|| Endpoint { url: webhook.url.clone(), resting: Vec::new() });
        if !endpoint.leads_to(&webhook.url) {
            *endpoint = Endpoint { url: webhook.url.clone(), resting: Vec::new() };
        }
        if endpoint.resting.len() < self.keep.most {
            endpoint.resting.push(resting);
        }
    }

    /// Closes what has rested for too long or has ended, and forgets the endpoints of which nothing is left.
    pub(crate) fn tidy(&self, now: Duration) {
        self.locked().retain(|_, endpoint| {
            let keep = self.keep;
            endpoint
                .resting
                .retain_mut(|resting| resting.is_good(keep, now) && !resting.connection.has_ended());
            !endpoint.resting.is_empty()
        });
    }

    /// A panic elsewhere leaves no connection half-used: they are taken out before they are used.
    fn locked(&self) -> MutexGuard<'_, FxHashMap<WebhookId, Endpoint>> {
        self.by_endpoint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    fn leads_to(&self, url: &Uri) -> bool {
        self.url.authority() == url.authority() && self.url.scheme() == url.scheme()
    }
}

impl Resting {
    fn is_good(&self, keep: Keep, now: Duration) -> bool {
        now.saturating_sub(self.since) < keep.idle && now.saturating_sub(self.connection.made_at()) < keep.age
    }
}
