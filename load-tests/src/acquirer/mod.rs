//! CloudPayments as a whole: sites that take payments, post their notifications to the addresses that were set, and
//! answer the API. One server on the loopback with the sites that it was given, each with its secrets, its settings
//! and its own way of misbehaving.
//!
//! Who is who: a *payer* calls [`Acquirer::pay`]; the *merchant*, in his cabinet, calls [`Acquirer::confirm`],
//! [`Acquirer::cancel`] and [`Acquirer::refund`]; *hookline* asks over the socket, and is posted to. Both ways lead to
//! the same transactions, so that a test compares what hookline believes with what stands at the bank
//! ([`Acquirer::transactions`]) and with what it was told ([`Acquirer::posted`]). Load is the
//! [`simulator`](crate::simulator)'s part, which knows no transactions and forgets nothing that it posted.
//!
//! Each family of methods has a file of its own; `site` holds what all of them work on, `notify` posts. Where the
//! documentation says nothing (what an unknown method answers, what a refusal says), this server does something
//! reasonable, and nobody should rest on it.

mod account;
mod answer;
mod faults;
mod fields;
mod lists;
mod notifications;
mod notify;
mod orders;
mod payments;
mod reasons;
mod refunds;
mod repeats;
mod site;
mod sum;
mod transaction;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::secret::Secret;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use faults::Fault;
pub use notifications::NotificationSettings;
pub use notify::Posted;
pub use orders::Order;
pub use payments::{Paid, Payer};
pub use transaction::{PRIVATE, Status, TransactionView};

use crate::serve::{locked, serve};
use crate::simulator::RetryRule;
use notify::{Notice, POSTED_AT_ONCE};
use site::{Desk, OpenSite};

/// Paths that are counted one by one; requests at further ones are answered and not counted.
const MAX_PATHS: usize = 1_000;

/// How long a connection to hookline is kept without a request: less than hookline keeps it, or a Check would be
/// declined because both let go of it at once.
const KEPT_IDLE: Duration = Duration::from_secs(1);

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

/// What a site is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// For trying it out. Whether a payment is one in test mode its payer says.
    Test,
    /// For money.
    Production,
}

impl Terminal {
    /// How many requests are answered at a time; one more is answered with 429.
    pub const fn requests_at_once(self) -> usize {
        match self {
            Self::Test => 5,
            Self::Production => 30,
        }
    }
}

/// A site as it is at first.
#[derive(Debug, Clone)]
pub struct Site {
    /// The login.
    pub public_id: String,
    /// The passwords, any of which is good; the newest, by which notifications are signed, first.
    pub api_secrets: Vec<Secret>,
    /// How it answers.
    pub profile: Profile,
    /// How many requests it answers at a time.
    pub terminal: Terminal,
}

impl Site {
    /// A healthy one for money with one secret.
    pub fn new(public_id: impl Into<String>, api_secret: impl Into<String>) -> Self {
        let api_secrets = vec![Secret::new(api_secret)];
        let (profile, terminal) = (Profile::Healthy, Terminal::Production);
        Self { public_id: public_id.into(), api_secrets, profile, terminal }
    }
}

/// A running API; ends when it is dropped.
#[derive(Debug)]
pub struct Acquirer {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinSet<()>,
}

/// What the connections and the posts share.
#[derive(Debug)]
struct State {
    /// By public id.
    sites: Mutex<HashMap<String, OpenSite>>,
    /// By path.
    requests: Mutex<BTreeMap<String, u64>>,
    desk: Desk,
    retry: Mutex<RetryRule>,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Places for posts.
    posting: Semaphore,
    /// Notifications on their way. Closed from the start, which refuses nothing: whoever waits is told when it is
    /// empty.
    deliveries: TaskTracker,
    stop: CancellationToken,
    runtime: Handle,
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
        let state = Arc::new(State::open(sites));
        let mut server = JoinSet::new();
        let shared = Arc::clone(&state);
        let connection = move |stream| serve_connection(stream, Arc::clone(&shared));
        server.spawn(serve(listener, state.stop.clone(), connection));
        Ok(Self { address, state, server })
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

    /// Has every documented type, Check as well, posted below this address: `http://127.0.0.1:PORT/.../pay`. An
    /// unknown site changes nothing.
    pub fn post_to(&self, public_id: &str, base: &str) {
        for kind in notifications::DOCUMENTED {
            self.set_notification(public_id, kind, NotificationSettings::posted_to(format!("{base}/{kind}")));
        }
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

    /// Moves the clock of all sites on: what is younger than an hour may then be older.
    pub fn advance(&self, by: Duration) {
        self.state.desk.advance(by);
    }

    /// Stops; once this returns the port is closed, and so is every connection, and nothing is posted any more.
    pub async fn stop(mut self) {
        self.state.stop.cancel();
        while self.server.join_next().await.is_some() {}
        self.state.deliveries.wait().await;
    }

    fn change(&self, public_id: &str, change: impl FnOnce(&mut OpenSite)) {
        if let Some(site) = locked(&self.state.sites).get_mut(public_id) {
            change(site);
        }
    }
}

impl Drop for Acquirer {
    fn drop(&mut self) {
        self.state.stop.cancel();
    }
}

impl State {
    fn open(sites: Vec<Site>) -> Self {
        let deliveries = TaskTracker::new();
        deliveries.close();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let sites = sites.into_iter().map(|site| (site.public_id.clone(), OpenSite::open(site)));
        Self {
            sites: Mutex::new(sites.collect()),
            requests: Mutex::default(),
            desk: Desk::open(),
            retry: Mutex::new(RetryRule::scaled_down()),
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(KEPT_IDLE)
                .pool_timer(TokioTimer::new())
                .build(connector),
            posting: Semaphore::new(POSTED_AT_ONCE),
            deliveries,
            stop: CancellationToken::new(),
            runtime: Handle::current(),
        }
    }

    /// Does this at a site; what is due for posting then is on its way once this returns.
    fn at<R>(self: &Arc<Self>, public_id: &str, act: impl FnOnce(&mut OpenSite) -> R) -> anyhow::Result<R> {
        let mut sites = locked(&self.sites);
        let site = sites.get_mut(public_id).with_context(|| format!("there is no site {public_id}"))?;
        let result = act(site);
        let due: Vec<Arc<Notice>> = site.take_due();
        drop(sites);
        due.into_iter().for_each(|notice| self.send(public_id, notice));
        Ok(result)
    }

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
