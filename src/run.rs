//! `hookline run`: all roles in one process over the embedded log.
//!
//! Start: log, key, directory, addresses, roles; ready when each has loaded what it needs. Stop: not ready,
//! the edge finishes what it has accepted, the dispatcher what is in flight, the log is closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use hookline_dispatcher::{Dispatcher, DispatcherError};
use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{Durability, Log, LogFailure, OpenError, ReadError};
use hookline_ingest::{BindError, DirectoryFileError, Ingest, load_directory_file};
use hookline_schemas::time::Clock;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle as TaskHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, durability_label};
use crate::config::Config;
use crate::key::{self, KeyError};
use crate::limits;

/// How long the edge may take to answer what it has accepted: well above `ingest.answer_timeout`.
const EDGE_DRAIN: Duration = Duration::from_secs(45);

/// Why the process ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("failed to open the log")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("failed to load the directory")]
    Directory(#[from] DirectoryFileError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("failed to listen on {address} for admin")]
    BindAdmin {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to start a thread")]
    Thread(#[source] std::io::Error),
    #[error("the edge can't follow its tables")]
    Ingest(#[source] ReadError),
    #[error("the dispatcher stopped")]
    Dispatcher(#[from] DispatcherError),
    #[error(transparent)]
    Log(#[from] LogFailure),
    #[error("stopped with connections that would not end")]
    EdgeNotDrained,
    #[error("a role panicked")]
    Panicked,
}

/// All roles, running.
pub(crate) struct Running {
    log: EmbeddedLog,
    edge: TaskHandle<Result<(), ReadError>>,
    edge_stop: CancellationToken,
    dispatcher: oneshot::Receiver<Result<(), DispatcherError>>,
    dispatcher_thread: JoinHandle<()>,
    dispatcher_stop: CancellationToken,
    tasks: TaskTracker,
    admin_stop: CancellationToken,
    _webhooks: watch::Sender<Option<Arc<hookline_schemas::webhook::Webhooks>>>,
}

impl Running {
    /// Starts everything. When it returns, both addresses are bound and the roles are loading.
    pub(crate) async fn start(config: Config, metrics: PrometheusHandle) -> Result<Self, RunError> {
        let clock = Clock::start();
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        limits::raise_open_files(config.ingest.max_connections);
        let sealer = key::load_or_make(&config.key_file)?;
        let log = open_log(&config, clock).await?;
        if let Some(file) = &config.ingest.directory_file {
            let changes = load_directory_file(file, &log).await?;
            tracing::info!(?changes, file = %file.display(), "loaded the directory");
            if changes.refused > 0 {
                tracing::error!(
                    changes.refused,
                    "the directory is older than its file: the log has no space"
                );
            }
        }

        let gateways = Arc::new(ArcSwap::from_pointee(config.gateways));
        let ingest = Ingest::bind(config.ingest, gateways, log.clone(), sealer, clock).await?;
        let address = config.admin.listen;
        let admin_listener =
            admin::bind(address).await.map_err(|source| RunError::BindAdmin { address, source })?;
        let unnamed = |source| RunError::BindAdmin { address, source };
        let (ingest_address, admin_address) =
            (ingest.local_address().map_err(unnamed)?, admin_listener.local_addr().map_err(unnamed)?);

        let (webhooks_sender, webhooks) = watch::channel(Some(Arc::new(config.webhooks)));
        let dispatcher = Dispatcher::new(config.dispatcher, log.clone(), webhooks, clock)?;
        let (edge_stop, dispatcher_stop, admin_stop) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let admin = Admin {
            durability: log.durability(),
            roles: vec![
                ("ingest", Box::new(ingest.readiness())),
                ("dispatcher", Box::new(dispatcher.readiness())),
            ],
            stopping: edge_stop.clone(),
            metrics,
        };
        let tasks = TaskTracker::new();
        tasks.spawn(admin.serve(admin_listener, admin_stop.clone()));
        let edge = tasks.spawn(ingest.run(edge_stop.clone()));
        let (ended, dispatcher_ended) = oneshot::channel();
        let dispatcher_thread = start_dispatcher(dispatcher, dispatcher_stop.clone(), ended)?;
        tracing::info!(ingest = %ingest_address, admin = %admin_address, "listening");
        Ok(Self {
            log,
            edge,
            edge_stop,
            dispatcher: dispatcher_ended,
            dispatcher_thread,
            dispatcher_stop,
            tasks,
            admin_stop,
            _webhooks: webhooks_sender,
        })
    }

    /// Runs until asked to stop, or until a role or the log fails; then stops in order. Everything that was
    /// acknowledged is in the log when it returns, however it returns.
    pub(crate) async fn until(mut self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let log = self.log.clone();
        let ended = tokio::select! {
            () = stop => {
                tracing::info!("stopping: finishing what is in flight");
                Ok(())
            }
            edge = &mut self.edge => edge_result(edge),
            dispatcher = &mut self.dispatcher => dispatcher_result(dispatcher),
            // Nothing may be written any more: there is nothing to drain into.
            failure = log.failed() => return Err(failure.into()),
        };
        let (edge, dispatcher) = tokio::select! {
            drained = self.drain(&ended) => drained,
            failure = log.failed() => return Err(failure.into()),
        };
        self.admin_stop.cancel();
        self.tasks.close();
        // Peers that read no answer are not waited for.
        let _ = tokio::time::timeout(EDGE_DRAIN, self.tasks.wait()).await;
        let joined = self.dispatcher_thread.join().map_err(|_| RunError::Panicked);
        self.log.close().await;
        ended.and(edge).and(dispatcher).and(joined)
    }
}

impl Running {
    /// First the edge, so that nothing new comes in, then the dispatcher. A role that has ended is not waited
    /// for again.
    async fn drain(&mut self, ended: &Result<(), RunError>) -> (Result<(), RunError>, Result<(), RunError>) {
        self.edge_stop.cancel();
        let edge = if self.edge.is_finished() {
            Ok(())
        } else {
            let drained = tokio::time::timeout(EDGE_DRAIN, &mut self.edge).await;
            drained.map_or_else(|_| Err(RunError::EdgeNotDrained), edge_result)
        };
        self.dispatcher_stop.cancel();
        let dispatcher = match ended {
            Err(RunError::Dispatcher(_) | RunError::Panicked) => Ok(()),
            _ => dispatcher_result((&mut self.dispatcher).await),
        };
        (edge, dispatcher)
    }
}

async fn open_log(config: &Config, clock: Clock) -> Result<EmbeddedLog, RunError> {
    let options = config.log.clone();
    let directory = options.directory.display().to_string();
    let opened = tokio::task::spawn_blocking(move || EmbeddedLog::open(options, clock));
    let log = opened.await.map_err(|_| RunError::Panicked)??;
    let durability = durability_label(log.durability());
    tracing::info!(%directory, %durability, "opened the log");
    if log.durability() == Durability::PageCache {
        tracing::warn!("an acknowledged notification would not survive the power going out");
    }
    metrics::gauge!("hookline_log_durability", "durability" => durability).set(1.0);
    Ok(log)
}

/// The dispatcher has a thread and a runtime of its own: outbound work costs a fifth less there, and a busy
/// edge can't starve it.
fn start_dispatcher(
    dispatcher: Dispatcher<EmbeddedLog>,
    stop: CancellationToken,
    ended: oneshot::Sender<Result<(), DispatcherError>>,
) -> Result<JoinHandle<()>, RunError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Thread)?;
    let run = move || {
        // Nobody listens any more only if the process is ending.
        let _ = ended.send(runtime.block_on(dispatcher.run(stop)));
    };
    std::thread::Builder::new().name("dispatcher".to_owned()).spawn(run).map_err(RunError::Thread)
}

fn edge_result(edge: Result<Result<(), ReadError>, tokio::task::JoinError>) -> Result<(), RunError> {
    edge.map_err(|_| RunError::Panicked)?.map_err(RunError::Ingest)
}

fn dispatcher_result(
    dispatcher: Result<Result<(), DispatcherError>, oneshot::error::RecvError>,
) -> Result<(), RunError> {
    Ok(dispatcher.map_err(|_| RunError::Panicked)??)
}
