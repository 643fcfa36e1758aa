//! CloudPayments as a caller: a Check before each payment, signed notifications over keep-alive
//! connections, the same bytes again until they are answered with code 0.
//!
//! It owns the [`Ledger`]. It does not know what hookline delivers; that is the receiver's part.

mod ledger;
mod picker;
mod plan;
mod post;
mod retry;
mod worker;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Clock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use ledger::{Entry, Ledger, Unanswered, histogram, micros};
pub use picker::Picker;
pub(crate) use plan::subject;
pub use plan::{CallbackUrl, Mix, Payment, PlanOptions, Site, Step, Story, payment};
pub use post::{Signed, answered_code};
pub use retry::RetryRule;
use worker::Worker;

use crate::load::Schedule;

/// The site on whose behalf notifications are posted, and where to.
#[derive(Debug, Clone)]
pub struct Target {
    /// hookline's edges. Each post goes to the next of them, as behind a load balancer: what one did not
    /// answer is posted again to another.
    pub addresses: Vec<SocketAddr>,
    /// The gateway in the typed URLs.
    pub gateway_id: GatewayId,
    /// The site's public id, part of every event's identity.
    pub public_id: String,
    /// The API secret to sign with.
    pub api_secret: Secret,
}

/// When payments begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each worker begins the next payment when the one before is over.
    Closed,
    /// So many payments per second are due, whether hookline keeps up or not; answers are timed from when
    /// the notification was due.
    Open {
        /// Payments per second.
        per_second: u32,
    },
}

impl Pace {
    /// When the payment with this number is due, counted from the beginning; none, where its worker decides.
    pub(crate) fn due(self, number: u64) -> Option<Duration> {
        let Self::Open { per_second } = self else { return None };
        Some(Schedule::new(NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN)).due(number))
    }
}

/// How the simulator posts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Payments in all.
    pub payments: u64,
    /// Payments under way at once; each has a connection of its own.
    pub concurrency: usize,
    /// When they begin.
    pub pace: Pace,
    /// When an unanswered notification is posted again.
    pub retry: RetryRule,
    /// What is posted.
    pub plan: PlanOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            payments: 1000,
            concurrency: 16,
            pace: Pace::Closed,
            retry: RetryRule::scaled_down(),
            plan: PlanOptions::default(),
        }
    }
}

/// How far a run is; for progress lines.
#[derive(Debug, Default)]
pub struct Progress {
    /// Payments that are over.
    pub payments: AtomicU64,
    /// Notifications that were answered with code 0.
    pub accepted: AtomicU64,
    /// Requests that were not answered as they should be.
    pub unanswered: AtomicU64,
}

/// A caller, ready to run. It sends nothing before [`Simulator::run`].
#[derive(Debug)]
pub struct Simulator {
    target: Target,
    options: Options,
    clock: Clock,
    progress: Arc<Progress>,
    picker: Option<Arc<Picker>>,
    connections: Connections,
}

/// How long a worker keeps a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connections {
    /// As long as the edge does.
    Kept,
    /// Every other worker as long as the edge does, and the rest for one request.
    ByTurns,
}

/// What the workers share.
#[derive(Debug)]
struct Shared {
    target: Target,
    key: ContentKey,
    options: Options,
    clock: Clock,
    next_payment: AtomicU64,
    progress: Arc<Progress>,
    picker: Option<Arc<Picker>>,
    connections: Connections,
    /// When the first payment was due.
    started: Duration,
}

impl Simulator {
    /// Prepares a run; times in its ledger count from the start of the clock.
    pub fn new(target: Target, options: Options, clock: Clock) -> Self {
        let progress = Arc::default();
        Self { target, options, clock, progress, picker: None, connections: Connections::Kept }
    }

    /// The same behind a load balancer: it has one edge for each address of the target, in their order.
    #[must_use]
    pub fn behind(self, picker: Arc<Picker>) -> Self {
        Self { picker: Some(picker), ..self }
    }

    /// The same, but every other worker takes a new connection for each request.
    #[must_use]
    pub fn with_connections_by_turns(self) -> Self {
        Self { connections: Connections::ByTurns, ..self }
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Posts until all payments are over, or, once `stop` is cancelled, until those that have begun are. A
    /// payment is over when each of its notifications was answered with code 0 or given up. Dropping the
    /// future ends the run at once.
    pub async fn run(self, stop: CancellationToken) -> Ledger {
        let shared = Arc::new(Shared {
            key: ContentKey::new(&self.target.api_secret),
            target: self.target,
            options: self.options,
            clock: self.clock,
            next_payment: AtomicU64::new(0),
            progress: self.progress,
            picker: self.picker,
            connections: self.connections,
            started: self.clock.elapsed(),
        });
        let mut workers = JoinSet::new();
        for number in 0..shared.options.concurrency.max(1) {
            workers.spawn(work(number, Arc::clone(&shared), stop.clone()));
        }
        let mut ledger = Ledger::new();
        while let Some(finished) = workers.join_next().await {
            match finished {
                Ok(part) => ledger.merge(part),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        ledger
    }
}

async fn work(worker_number: usize, shared: Arc<Shared>, stop: CancellationToken) -> Ledger {
    let mut worker = Worker::new(worker_number, Arc::clone(&shared));
    while !stop.is_cancelled() {
        let number = shared.next_payment.fetch_add(1, Ordering::Relaxed);
        if number >= shared.options.payments {
            break;
        }
        let Some(due) = shared.wait_for_turn(number, &stop).await else { break };
        worker.play(&payment(&shared.options.plan, number), due).await;
        shared.progress.payments.fetch_add(1, Ordering::Relaxed);
    }
    worker.into_ledger()
}

impl Shared {
    /// Which of the target's addresses gets the next request.
    fn pick(&self, turn: usize) -> Option<usize> {
        match &self.picker {
            Some(picker) => picker.pick(turn),
            None => turn.checked_rem(self.target.addresses.len()),
        }
    }

    /// Waits until the payment is due, and says since when it has been. A worker that comes late times from
    /// the moment that was meant; one that slept until then times from its waking, because the timer's own
    /// lateness (a millisecond) is not hookline's.
    async fn wait_for_turn(&self, number: u64, stop: &CancellationToken) -> Option<Duration> {
        let now = self.clock.elapsed();
        let Some(due) = self.options.pace.due(number) else { return Some(now) };
        let due = self.started + due;
        if due <= now {
            return Some(due);
        }
        tokio::select! {
            () = stop.cancelled() => None,
            () = tokio::time::sleep(due - now) => Some(self.clock.elapsed()),
        }
    }
}
