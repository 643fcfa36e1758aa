//! The endpoints as operators see them: their state, and what can be wanted of them by hand.

use std::sync::Arc;

use hookline_schemas::delivery::Disabled;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Clock;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::core::{ByHand, Waiting};
use crate::metrics;

/// Requests that wait for the dispatcher at most.
const REQUESTS: usize = 64;

/// How an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Gets its deliveries.
    Active,
    /// Does not answer as it should, and is probed.
    Down,
    /// Was down and gets its backlog, slowly at first.
    Recovering,
    /// Gets nothing because its owner wants it so.
    Paused,
    /// Gets nothing until it is enabled.
    Disabled,
}

/// An endpoint, with what became of its deliveries: below the watermarks of the partitions of `events` that are
/// this dispatcher's, and in its lane. Counted since there is the webhook; after a crash up to a minute of what
/// did not go through the lane is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// Its webhook.
    pub id: WebhookId,
    /// How it does.
    pub state: EndpointState,
    /// Since when and why it is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// How the latest attempt failed that did, of those from here: what the metrics call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<&'static str>,
    /// Whether its lane is this dispatcher's: of others' lanes it knows what was written down last.
    pub is_ours: bool,
    /// Attempts in flight from here.
    pub in_flight: usize,
    /// Attempts that may be in flight.
    pub concurrency: usize,
    /// Deliveries in the lane that are not settled.
    pub backlog: u64,
    /// Deliveries planned.
    pub planned: u64,
    /// Deliveries of events that were there already: nothing was sent.
    pub repeated: u64,
    /// Settled by a 2xx.
    pub delivered: u64,
    /// Put into the lane.
    pub parked: u64,
    /// Given up, in `dead_letters`.
    pub dead: u64,
    /// Settled because the webhook is no more.
    pub cancelled: u64,
    /// Taken by retention before they were settled: lost.
    pub expired: u64,
}

impl EndpointStatus {
    /// An endpoint to which nothing has happened.
    pub(crate) fn quiet(id: WebhookId, state: EndpointState) -> Self {
        Self {
            id,
            state,
            disabled: None,
            last_failure: None,
            is_ours: false,
            in_flight: 0,
            concurrency: 0,
            backlog: 0,
            planned: 0,
            repeated: 0,
            delivered: 0,
            parked: 0,
            dead: 0,
            cancelled: 0,
            expired: 0,
        }
    }
}

/// Why something can't be done by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ByHandError {
    /// There is no such webhook.
    #[error("there is no such webhook")]
    Unknown,
    /// Another dispatcher owns its lane.
    #[error("another dispatcher owns its lane: ask that one")]
    NotOurs,
    /// It is paused.
    #[error("it is paused")]
    Paused,
    /// Nothing waits that could be sent.
    #[error("nothing waits for it: there is nothing to probe it with")]
    NothingWaits,
    /// The dispatcher is starting or stopping.
    #[error("the dispatcher does not run")]
    NotRunning,
}

/// What the dispatcher is asked.
#[derive(Debug)]
pub(crate) enum Request {
    Statuses(oneshot::Sender<Vec<EndpointStatus>>),
    ByHand { webhook: WebhookId, wanted: ByHand, answer: oneshot::Sender<Result<(), ByHandError>> },
}

/// A dispatcher's endpoints, from another thread.
#[derive(Debug, Clone)]
pub struct Endpoints {
    requests: mpsc::Sender<Request>,
    oldest: watch::Receiver<Arc<[Waiting]>>,
    clock: Clock,
}

/// Those from another thread, as the dispatcher sees them.
#[derive(Debug)]
pub(crate) struct Operators {
    /// What they want.
    pub(crate) requests: mpsc::Receiver<Request>,
    /// The endpoints with the oldest deliveries, for them to look at.
    pub(crate) oldest: watch::Sender<Arc<[Waiting]>>,
}

impl Endpoints {
    pub(crate) fn new(clock: Clock) -> (Self, Operators) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let (told, oldest) = watch::channel(Arc::default());
        (Self { requests: sender, oldest, clock }, Operators { requests, oldest: told })
    }

    /// The metrics of the 20 endpoints whose oldest deliveries have waited longest, as text for Prometheus. Series of
    /// the others would have to vanish, which those of a recorder never do; so these families are not in it. The
    /// dispatcher is not asked: it leaves word twice a second.
    pub fn metrics(&self) -> String {
        let oldest = Arc::clone(&self.oldest.borrow());
        metrics::of_oldest(&oldest, self.clock.now())
    }

    /// Every endpoint, in the order of the ids.
    ///
    /// # Errors
    ///
    /// If the dispatcher does not run.
    pub async fn statuses(&self) -> Result<Vec<EndpointStatus>, ByHandError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Statuses(answer)).await.map_err(|_| ByHandError::NotRunning)?;
        answered.await.map_err(|_| ByHandError::NotRunning)
    }

    /// Tries an endpoint that is down, or disabled, with the first delivery that waits. Once this returns the
    /// attempt has begun, or will when the rate allows it.
    ///
    /// # Errors
    ///
    /// If it can't be tried; nothing has changed then.
    pub async fn probe(&self, webhook: WebhookId) -> Result<(), ByHandError> {
        self.ask(webhook, ByHand::Probe).await
    }

    /// Sends again to an endpoint that was disabled. Of another one it changes nothing.
    ///
    /// # Errors
    ///
    /// If there is none, or not here.
    pub async fn enable(&self, webhook: WebhookId) -> Result<(), ByHandError> {
        self.ask(webhook, ByHand::Enable).await
    }

    async fn ask(&self, webhook: WebhookId, wanted: ByHand) -> Result<(), ByHandError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::ByHand { webhook, wanted, answer };
        self.requests.send(request).await.map_err(|_| ByHandError::NotRunning)?;
        answered.await.unwrap_or(Err(ByHandError::NotRunning))
    }
}
