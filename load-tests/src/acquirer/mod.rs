//! CloudPayments' API: one server on the loopback with the sites that it was given, each with its secrets, its
//! settings and its own way of misbehaving.
//!
//! What is posted to hookline is the [`simulator`](crate::simulator)'s part; here hookline asks. Each family of
//! methods has a file of its own. Where the documentation says nothing (what an unknown method answers, what a
//! refusal says), this server does something reasonable, and nobody should rest on it.

mod account;
mod answer;
mod fields;
mod notifications;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::secret::Secret;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use notifications::NotificationSettings;

use crate::serve::{locked, serve};

/// Paths that are counted one by one; requests at further ones are answered and not counted.
const MAX_PATHS: usize = 1_000;

/// How a site's requests are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// As documented.
    Healthy,
    /// With 503, whatever the secret.
    Unavailable,
    /// Not at all: the connection is closed after this time.
    Hang(Duration),
    /// With 302 to this address, whatever the secret.
    Redirect(String),
    /// With 200 and a page of HTML, whatever the secret.
    Garbage,
}

/// A site as it is at first.
#[derive(Debug, Clone)]
pub struct Site {
    /// The login.
    pub public_id: String,
    /// The passwords, any of which is good.
    pub api_secrets: Vec<Secret>,
    /// How it answers.
    pub profile: Profile,
}

impl Site {
    /// A healthy one with one secret.
    pub fn new(public_id: impl Into<String>, api_secret: impl Into<String>) -> Self {
        let api_secrets = vec![Secret::new(api_secret)];
        Self { public_id: public_id.into(), api_secrets, profile: Profile::Healthy }
    }
}

/// A running API; ends when it is dropped.
#[derive(Debug)]
pub struct Acquirer {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    server: JoinSet<()>,
}

/// What the connections share.
#[derive(Debug)]
struct State {
    /// By public id.
    sites: Mutex<HashMap<String, OpenSite>>,
    /// By path.
    requests: Mutex<BTreeMap<String, u64>>,
}

/// A site as it is now.
#[derive(Debug)]
struct OpenSite {
    api_secrets: Vec<Secret>,
    profile: Profile,
    notifications: HashMap<NotificationType, NotificationSettings>,
}

impl Acquirer {
    /// Listens on a free port of the loopback; connections are accepted once this returns.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start(sites: Vec<Site>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to bind the acquirer")?;
        let address = listener.local_addr()?;
        let sites = sites.into_iter().map(|Site { public_id, api_secrets, profile }| {
            (public_id, OpenSite { api_secrets, profile, notifications: HashMap::new() })
        });
        let state = Arc::new(State { sites: Mutex::new(sites.collect()), requests: Mutex::default() });
        let stop = CancellationToken::new();
        let mut server = JoinSet::new();
        let shared = Arc::clone(&state);
        let connection = move |stream| serve_connection(stream, Arc::clone(&shared));
        server.spawn(serve(listener, stop.clone(), connection));
        Ok(Self { address, state, stop, server })
    }

    /// The base of its methods' addresses: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on these are the site's secrets. An unknown site changes nothing.
    pub fn set_secrets(&self, public_id: &str, api_secrets: Vec<Secret>) {
        self.change(public_id, |site| site.api_secrets = api_secrets);
    }

    /// Changes how a site answers from the next request on. An unknown site changes nothing.
    pub fn set_profile(&self, public_id: &str, profile: Profile) {
        self.change(public_id, |site| site.profile = profile);
    }

    /// Sets a notification as the merchant does in the cabinet, where Check can be set as well. An unknown site
    /// changes nothing.
    pub fn set_notification(&self, public_id: &str, kind: NotificationType, settings: NotificationSettings) {
        self.change(public_id, |site| drop(site.notifications.insert(kind, settings)));
    }

    /// How a site's notification is set now; `None` where nobody has set it, or the site is unknown.
    pub fn notification(&self, public_id: &str, kind: NotificationType) -> Option<NotificationSettings> {
        locked(&self.state.sites).get(public_id)?.notifications.get(&kind).cloned()
    }

    /// How many requests came until now, by path, whatever they were answered.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        locked(&self.state.requests).clone()
    }

    /// How many requests came at this path, whatever they were answered.
    pub fn requests_at(&self, path: &str) -> u64 {
        locked(&self.state.requests).get(path).copied().unwrap_or_default()
    }

    /// Stops; once this returns the port is closed, and so is every connection.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.server.join_next().await.is_some() {}
    }

    fn change(&self, public_id: &str, change: impl FnOnce(&mut OpenSite)) {
        if let Some(site) = locked(&self.state.sites).get_mut(public_id) {
            change(site);
        }
    }
}

impl State {
    fn count(&self, path: &str) {
        let mut requests = locked(&self.requests);
        if let Some(count) = requests.get_mut(path) {
            *count += 1;
        } else if requests.len() < MAX_PATHS {
            requests.insert(path.to_owned(), 1);
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer::answer(&state, request));
    // An error is the caller's connection ending, or ours at a site that hangs.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests;
