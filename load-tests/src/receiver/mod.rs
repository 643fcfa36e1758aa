//! The integrators: one server on the loopback with an endpoint per webhook, each with its secret and its
//! own way of misbehaving.
//!
//! It owns the record of what came ([`Delivery`]). It judges each request as an integrator has to: both
//! signatures, the age of the timestamp, the id in the body. It does not know what should have come; that is
//! the checker's part.

mod endpoint;
mod foreign;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::time::Clock;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::serve::{locked, serve};
use endpoint::OpenEndpoint;

/// How an endpoint behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Answers 200 at once.
    Healthy,
    /// Answers so many of a hundred requests with 500, at random.
    Flaky {
        /// Of a hundred.
        per_cent: u8,
    },
    /// Answers 200 after this time.
    Slow(Duration),
    /// Says nothing for this time, then closes the connection.
    Hang(Duration),
    /// Answers this status at once.
    Status(u16),
    /// Closes the connection without an answer, until it is told otherwise.
    Down,
    /// Answers 200 at once and judges nothing: for senders that sign in other ways. Only the transaction is looked for.
    Foreign,
}

/// A webhook's endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Whose; also the last segment of its URL.
    pub webhook: WebhookId,
    /// Verifies what comes.
    pub secret: WebhookSecret,
    /// How it behaves at first.
    pub profile: Profile,
}

/// Why an integrator would refuse a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// `X-IZI-Signature` is missing or wrong.
    IziSignature,
    /// One of the headers of Standard Webhooks is missing, or the signature wrong, or the timestamp too far
    /// from now.
    StandardSignature,
    /// The body is not a payload of the contract.
    NotAPayload,
    /// The `id` in the body is not the `webhook-id`.
    IdMismatch,
}

/// One request that came. Times count from the start of the clock that the receiver was given.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// At which endpoint.
    pub webhook: WebhookId,
    /// The header `webhook-id`, empty if it was missing.
    pub event_id: EventId,
    /// The `type` in the body, where it is a payload.
    pub event_type: Option<EventType>,
    /// `data.gatewayTransactionId`, where there is one.
    pub transaction: Option<String>,
    /// When it came.
    pub received_at: Duration,
    /// When it was answered.
    pub answered_at: Duration,
    /// What was wrong with it.
    pub fault: Option<Fault>,
    /// The status that it was answered with; 0 where the connection was closed instead.
    pub status: u16,
}

impl Delivery {
    /// Answered with 2xx: the integrator has it.
    pub const fn is_accepted(&self) -> bool {
        matches!(self.status, 200..=299)
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Deliveries; further ones are answered but only counted ([`Receiver::forgotten`]).
    pub deliveries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deliveries: 4_000_000 }
    }
}

/// A running receiver; ends when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    server: JoinSet<()>,
}

/// What the connections share.
#[derive(Debug)]
struct State {
    clock: Clock,
    limits: Limits,
    /// By path.
    endpoints: HashMap<String, OpenEndpoint>,
    deliveries: Mutex<Vec<Delivery>>,
    random: Mutex<StdRng>,
    accepted: AtomicU64,
    forgotten: AtomicU64,
    connections: AtomicUsize,
}

impl Receiver {
    /// Listens on a free port of the loopback; connections are accepted once this returns. The seed decides
    /// which requests a flaky endpoint refuses.
    ///
    /// # Errors
    ///
    /// If no port can be bound.
    pub async fn start(
        endpoints: Vec<Endpoint>,
        limits: Limits,
        seed: u64,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to bind the receiver")?;
        let address = listener.local_addr()?;
        let endpoints = endpoints.into_iter().map(|endpoint| (path(&endpoint.webhook), endpoint.into()));
        let state = Arc::new(State {
            clock,
            limits,
            endpoints: endpoints.collect(),
            deliveries: Mutex::default(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            accepted: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        let mut server = JoinSet::new();
        let shared = Arc::clone(&state);
        let connection = move |stream| serve_connection(stream, Arc::clone(&shared));
        server.spawn(serve(listener, stop.clone(), connection));
        Ok(Self { address, state, stop, server })
    }

    /// The URL of a webhook's endpoint.
    pub fn url(&self, webhook: &WebhookId) -> String {
        format!("http://{}{}", self.address, path(webhook))
    }

    /// Changes how an endpoint behaves from the next request on. An unknown webhook changes nothing.
    pub fn set_profile(&self, webhook: &WebhookId, profile: Profile) {
        if let Some(endpoint) = self.state.endpoints.get(&path(webhook)) {
            *locked(&endpoint.profile) = profile;
        }
    }

    /// Everything that came until now, in the order of the answers.
    pub fn snapshot(&self) -> Vec<Delivery> {
        locked(&self.state.deliveries).clone()
    }

    /// How many requests were answered with 2xx.
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// How many deliveries came after the limit was reached. Not zero: a verdict would not be true.
    pub fn forgotten(&self) -> u64 {
        self.state.forgotten.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Stops; once this returns the port is closed, and so is every connection.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.server.join_next().await.is_some() {}
    }
}

impl State {
    fn record(&self, delivery: Delivery) {
        if delivery.is_accepted() {
            self.accepted.fetch_add(1, Ordering::Relaxed);
        }
        let mut deliveries = locked(&self.deliveries);
        if deliveries.len() < self.limits.deliveries {
            deliveries.push(delivery);
        } else {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn path(webhook: &WebhookId) -> String {
    format!("/hooks/{webhook}")
}

async fn serve_connection(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| endpoint::answer(&state, request));
    state.connections.fetch_add(1, Ordering::Relaxed);
    // An error is the caller's connection ending, or ours at an endpoint that is down.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    state.connections.fetch_sub(1, Ordering::Relaxed);
}
