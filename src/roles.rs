//! The roles of a process: which there are, and one of them while it runs.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hookline_control::ControlPlane;
use hookline_dispatcher::Dispatcher;
use hookline_event_log::Log;
use hookline_ingest::Ingest;
use hookline_registry::FollowError;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::run::RunError;

/// How long the edge may take to answer what it has accepted: well above `ingest.answer_timeout`.
pub(crate) const EDGE_DRAIN: Duration = Duration::from_secs(45);

/// Which roles a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    /// All: `hookline run`.
    All,
    /// The edge: `hookline ingest`.
    Ingest,
    /// Delivery: `hookline dispatcher`.
    Dispatcher,
    /// The control plane: `hookline control`.
    Control,
    /// Delivery until nothing is left: `hookline dispatcher --until-drained`.
    Drain,
}

impl Roles {
    /// Whether the edge is one of them.
    pub(crate) const fn have_ingest(self) -> bool {
        matches!(self, Self::All | Self::Ingest)
    }

    /// Whether the control plane is one of them.
    pub(crate) const fn have_control(self) -> bool {
        matches!(self, Self::All | Self::Control)
    }

    /// Whether the dispatcher is one of them.
    pub(crate) const fn have_dispatcher(self) -> bool {
        matches!(self, Self::All | Self::Dispatcher | Self::Drain)
    }
}

/// The subcommand.
impl fmt::Display for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::All => "run",
            Self::Ingest => "ingest",
            Self::Dispatcher => "dispatcher",
            Self::Control => "control",
            Self::Drain => "dispatcher --until-drained",
        })
    }
}

/// When a role is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// While the edge goes on.
    BesideTheEdge,
    /// The edge itself.
    Edge,
    /// Once nobody needs it any more.
    Last,
}

/// Resolves once a role has ended.
type Running = Pin<Box<dyn Future<Output = Result<(), RunError>> + Send>>;

/// A role, running.
pub(crate) struct Role {
    turn: Turn,
    stop: CancellationToken,
    /// How long its stopping may take, where it does not bound that itself.
    stop_within: Option<Duration>,
    /// `None` once it has ended.
    running: Option<Running>,
}

impl Role {
    /// Runs the edge as a task among these.
    pub(crate) fn ingest<L: Log>(ingest: Ingest<L>, tasks: &TaskTracker) -> Self {
        let stop = CancellationToken::new();
        let edge = tasks.spawn(ingest.run(stop.clone()));
        let running = async { edge.await.map_err(|_| RunError::Panicked)?.map_err(RunError::Ingest) };
        Self { turn: Turn::Edge, stop, stop_within: Some(EDGE_DRAIN), running: Some(Box::pin(running)) }
    }

    /// Runs the dispatcher on a thread and a runtime of its own: outbound work costs a fifth less there, and a
    /// busy edge can't starve it. It bounds its own stopping (`dispatcher.drain_timeout`).
    pub(crate) fn dispatcher<L: Log>(dispatcher: Dispatcher<L>) -> Result<Self, RunError> {
        let stop = CancellationToken::new();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Thread)?;
        let (ended, end) = oneshot::channel();
        let shutdown = stop.clone();
        let thread = move || {
            // Nobody listens any more only if the process is ending.
            let _ = ended.send(runtime.block_on(dispatcher.run(shutdown)));
        };
        let thread = std::thread::Builder::new()
            .name("dispatcher".to_owned())
            .spawn(thread)
            .map_err(RunError::Thread)?;
        let running = async move {
            let result = end.await;
            thread.join().map_err(|_| RunError::Panicked)?;
            Ok(result.map_err(|_| RunError::Panicked)??)
        };
        Ok(Self { turn: Turn::BesideTheEdge, stop, stop_within: None, running: Some(Box::pin(running)) })
    }

    /// Runs the control plane as a task among these.
    pub(crate) fn control<L: Log>(control: ControlPlane<L>, tasks: &TaskTracker) -> Self {
        let stop = CancellationToken::new();
        let control = tasks.spawn(control.run(stop.clone()));
        let running = async { control.await.map_err(|_| RunError::Panicked)?.map_err(RunError::Lanes) };
        Self {
            turn: Turn::BesideTheEdge,
            stop,
            stop_within: Some(EDGE_DRAIN),
            running: Some(Box::pin(running)),
        }
    }

    /// Follows what organizations register, as a task among these: every other role goes by it.
    pub(crate) fn registry(
        telling: impl Future<Output = Result<(), FollowError>> + Send + 'static,
        tasks: &TaskTracker,
    ) -> Self {
        let stop = CancellationToken::new();
        let told = tasks.spawn(stop.clone().run_until_cancelled_owned(telling));
        let running = async {
            // Asked to stop it tells nothing.
            match told.await.map_err(|_| RunError::Panicked)? {
                Some(ended) => Ok(ended?),
                None => Ok(()),
            }
        };
        Self { turn: Turn::Last, stop, stop_within: None, running: Some(Box::pin(running)) }
    }

    /// When it is stopped.
    pub(crate) const fn turn(&self) -> Turn {
        self.turn
    }

    /// Asks it to finish what it has begun, and waits for that. How it ended, unless [`first_end`] said so
    /// before.
    pub(crate) async fn stop(&mut self) -> Result<(), RunError> {
        self.stop.cancel();
        let Some(running) = self.running.take() else { return Ok(()) };
        match self.stop_within {
            Some(most) => tokio::time::timeout(most, running).await.unwrap_or(Err(RunError::EdgeNotDrained)),
            None => running.await,
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<(), RunError>> {
        let Some(running) = &mut self.running else { return Poll::Pending };
        let ended = running.as_mut().poll(context);
        if ended.is_ready() {
            self.running = None;
        }
        ended
    }
}

/// Waits until one of them ends. Dropping the future loses nothing.
pub(crate) async fn first_end(roles: &mut [Role]) -> Result<(), RunError> {
    poll_fn(|context| {
        let ends = roles.iter_mut().map(|role| role.poll_end(context));
        ends.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}
