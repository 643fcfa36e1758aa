//! `hookline run`, `hookline ingest`, `hookline dispatcher`, `hookline control`: the roles that were asked for, over one log.
//!
//! Start: key, log, directory, addresses, roles; ready when each has loaded what it needs. Stop: not ready,
//! the edge finishes what it has accepted, the dispatcher what is in flight, the log is closed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use hookline_control::{ControlPlane, Parts, StartError, WebhookLimits};
use hookline_dispatcher::{Dispatcher, DispatcherError};
use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::kafka::KafkaLog;
use hookline_event_log::{Log, LogFailure, OpenError, ReadError};
use hookline_history::History;
use hookline_ingest::{BindError, DirectoryFileError, Ingest, load_directory_file};
use hookline_registry::FollowError;
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::Webhooks;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, AdminSocket, Payments, Readiness, Reconcile, Reseal, Sealing};
use crate::config::{Config, LogOptions};
use crate::key::{self, KeyError, KeySource, Keys};
use crate::limits;
use crate::log::{self, Backend};
use crate::registered::{self, Configured, Delivers, Told};
use crate::reload;
use crate::roles::{EDGE_DRAIN, Role, Roles, first_end};
use crate::telemetry::Metrics;

/// Why the process ended other than by being asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(
        "`hookline {0}` needs a log that processes share, and log.backend is \"embedded\", which one process owns: \
         start `hookline run`, which has all roles, or set log.backend = \"kafka\" and log.kafka.bootstrap_servers"
    )]
    NotShared(Roles),
    #[error(
        "`hookline {0}` drains an embedded log that nobody appends to any more, and log.backend is \"kafka\""
    )]
    Shared(Roles),
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
    #[error("failed to look up the own addresses")]
    Address(#[source] std::io::Error),
    #[error("failed to start a thread")]
    Thread(#[source] std::io::Error),
    #[error("the edge can't follow its tables")]
    Ingest(#[source] ReadError),
    #[error("failed to start the control plane")]
    Control(#[from] StartError),
    #[error("the control plane can't follow its tables")]
    Lanes(#[source] ReadError),
    #[error("what organizations have registered can't be followed")]
    Registry(#[from] FollowError),
    #[error("the dispatcher stopped")]
    Dispatcher(#[from] DispatcherError),
    #[error(transparent)]
    Log(#[from] LogFailure),
    #[error("stopped with connections that would not end")]
    EdgeNotDrained,
    #[error("a role panicked")]
    Panicked,
}

/// Runs the roles over the log of the configuration, which was read from this file, until asked to stop or until
/// one of them or the log fails. Everything that was acknowledged is in the log when it returns, however it returns.
pub(crate) async fn run(
    config: Config,
    file: Option<PathBuf>,
    roles: Roles,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    match config.log.clone() {
        LogOptions::Embedded(_) if matches!(roles, Roles::Ingest | Roles::Control) => {
            Err(RunError::NotShared(roles))
        }
        LogOptions::Embedded(options) => {
            let key = key::load_or_make;
            Box::pin(run_over::<EmbeddedLog>(options, key, config, file, roles, metrics, stop)).await
        }
        LogOptions::Kafka(_) if roles == Roles::Drain => Err(RunError::Shared(roles)),
        LogOptions::Kafka(options) => {
            let key = key::load;
            Box::pin(run_over::<KafkaLog>(*options, key, config, file, roles, metrics, stop)).await
        }
    }
}

/// Open the log, prepare, start, run until asked to stop, close the log.
async fn run_over<L: Backend>(
    options: L::Options,
    key: fn(&KeySource) -> Result<Sealer, KeyError>,
    config: Config,
    file: Option<PathBuf>,
    roles: Roles,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let clock = Clock::start();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    limits::raise_open_files(if roles.have_ingest() { config.ingest.max_connections } else { 0 });
    let sealer = key(&config.keys)?;
    let log: L = log::open(options, clock).await?;
    let prepared = Prepared::new(&log, config, roles, sealer, clock).await?;
    let running = prepared.start(&log, clock, metrics, file)?;
    let ended = tokio::select! {
        biased;
        // Nothing may be written any more: there is nothing to drain into.
        failure = log.failed() => return Err(failure.into()),
        ended = running.until(stop) => ended,
    };
    log.close().await;
    ended
}

/// The roles with all that the system may refuse them, the addresses above all. Nothing runs yet.
struct Prepared<L: Log> {
    ingest: Option<Ingest<L>>,
    dispatcher: Option<Dispatcher<L>>,
    control: Option<ControlPlane<L>>,
    admin: TcpListener,
    socket: Option<AdminSocket>,
    payments: Payments<L>,
    keys: Keys,
    sealer: Sealer,
    told: Told,
    configured: Configured,
    /// Those of the configuration, as it is read again.
    webhooks: watch::Sender<Arc<Webhooks>>,
}

impl<L: Backend> Prepared<L> {
    /// The sealer has the keys of the configuration, whatever the roles: each may have to open what another sealed.
    async fn new(
        log: &L,
        config: Config,
        roles: Roles,
        sealer: Sealer,
        clock: Clock,
    ) -> Result<Self, RunError> {
        let told = Told::nothing();
        let control = if roles.have_control() {
            Some(prepare_control(log, &config, &told, sealer.clone(), clock).await?)
        } else {
            None
        };
        let keys = Keys::new(config.keys, sealer.clone());
        let socket = bind_socket(&config.admin_socket).await;
        let ingest = if roles.have_ingest() {
            Some(prepare_edge(log, config.ingest, &told, sealer.clone(), clock).await?)
        } else {
            None
        };
        let address = config.admin.listen;
        let admin = admin::bind(address).await.map_err(|source| RunError::BindAdmin { address, source })?;
        let (webhooks, configured) = watch::channel(Arc::new(config.webhooks));
        let gateways = config.gateways.iter().cloned().collect();
        let configured = Configured { gateways, webhooks: configured };
        let history = History::new(log.clone(), clock);
        let payments = Payments { history, told: told.clone(), sealer: sealer.clone(), reconcile: None };
        let webhooks_told = told.webhooks.subscribe();
        let dispatcher = || Dispatcher::new(config.dispatcher, log.clone(), webhooks_told, clock);
        let dispatcher = roles.have_dispatcher().then(dispatcher).transpose()?;
        let dispatcher = match roles {
            Roles::Drain => dispatcher.map(Dispatcher::until_drained),
            Roles::All | Roles::Ingest | Roles::Dispatcher | Roles::Control => dispatcher,
        };
        Ok(Self {
            ingest,
            dispatcher,
            control,
            admin,
            socket,
            payments,
            keys,
            sealer,
            told,
            configured,
            webhooks,
        })
    }

    /// Starts the roles and the admin address. When it returns, the roles are loading.
    fn start(
        self,
        log: &L,
        clock: Clock,
        mut metrics: Metrics,
        file: Option<PathBuf>,
    ) -> Result<Running, RunError> {
        self.tell_addresses()?;
        let tasks = TaskTracker::new();
        let (mut roles, mut readiness) = (Vec::new(), Vec::<(_, Readiness)>::new());
        if let Some(ingest) = self.ingest {
            readiness.push(("ingest", Box::new(ingest.readiness())));
            metrics.add(ingest.metrics());
            roles.push(Role::ingest(ingest, &tasks));
        }
        let delivers = if self.dispatcher.is_some() { Delivers::Yes } else { Delivers::No };
        let endpoints = self.dispatcher.as_ref().map(Dispatcher::endpoints);
        if let Some(endpoints) = endpoints.clone() {
            metrics.add(move || endpoints.metrics());
        }
        if let Some(dispatcher) = self.dispatcher {
            readiness.push(("dispatcher", Box::new(dispatcher.readiness())));
            roles.push(Role::dispatcher(dispatcher)?);
        }
        let reseal = self.control.as_ref().map(resealing);
        let reconcile = self.control.as_ref().map(reconciling);
        if let Some(control) = self.control {
            readiness.push((admin::CONTROL, Box::new(control.readiness())));
            let look = control.metrics();
            metrics.add(move || {
                look();
                String::new()
            });
            roles.push(Role::control(control, &tasks));
        }
        let telling = registered::tell(log.clone(), self.sealer, self.configured, self.told, delivers, clock);
        roles.push(Role::registry(telling, &tasks));
        let admin = Admin {
            durability: log.durability(),
            roles: readiness,
            // The process is stopping as soon as its first role is.
            stopping: roles.first().map(Role::stopping).unwrap_or_default(),
            metrics,
            endpoints,
            payments: Payments { reconcile, ..self.payments },
            sealing: Sealing { keys: self.keys.clone(), reseal },
            backups: log.backups(),
        };
        let admin_stop = CancellationToken::new();
        tasks.spawn(reload::follow(file, self.keys, self.webhooks, admin_stop.clone()));
        tasks.spawn(admin.serve(self.admin, self.socket, admin_stop.clone()));
        Ok(Running { roles, admin_stop, tasks })
    }

    fn tell_addresses(&self) -> Result<(), RunError> {
        let ingest = self.ingest.as_ref().map(Ingest::local_address).transpose();
        let control = self.control.as_ref().map(ControlPlane::local_address).transpose();
        let ingest = ingest.map_err(RunError::Address)?.map(tracing::field::display);
        let control = control.map_err(RunError::Address)?.map(tracing::field::display);
        let admin = self.admin.local_addr().map_err(RunError::Address)?;
        tracing::info!(ingest, control, %admin, "listening");
        Ok(())
    }
}

/// What `hookline rotate-key` asks for.
fn resealing<L: Log>(plane: &ControlPlane<L>) -> Reseal {
    let control = plane.control();
    Arc::new(move || {
        let control = control.clone();
        async move { control.reseal().await.map_err(|error| error.to_string()) }.boxed()
    })
}

/// What `hookline reconcile` asks for.
fn reconciling<L: Log>(plane: &ControlPlane<L>) -> Reconcile {
    let control = plane.control();
    Arc::new(move |request| {
        let control = control.clone();
        async move { control.reconcile(&request).await }.boxed()
    })
}

/// The control plane, bound; what the configuration holds is shown beside what is registered.
async fn prepare_control<L: Log>(
    log: &L,
    config: &Config,
    told: &Told,
    sealer: Sealer,
    clock: Clock,
) -> Result<ControlPlane<L>, RunError> {
    let parts = Parts {
        log: log.clone(),
        known: told.registry.subscribe(),
        sealer,
        clock,
        configured: hookline_control::Configured {
            gateways: config.gateways.iter().cloned().collect(),
            webhooks: Arc::new(config.webhooks.clone()),
        },
        limits: WebhookLimits {
            allow_http: config.dispatcher.allow_http,
            max_deadline: config.longest_deadline,
        },
        payments: config.control.payments.clone(),
        view_dir: config.view_dir.clone(),
    };
    let local_key = &config.token_key_file;
    Ok(ControlPlane::bind(parts, &config.control, &config.cloudpayments, local_key).await?)
}

/// Without it everything goes on; the command line alone can't ask.
async fn bind_socket(path: &Path) -> Option<AdminSocket> {
    let bound = AdminSocket::bind(path).await;
    let warn = |error: &std::io::Error| {
        tracing::warn!(path = %path.display(), %error, "no admin socket: `hookline dead-letters`, `trace` and `rotate-key` can't ask this process (admin.socket says where it is)");
    };
    bound.inspect_err(warn).ok()
}

/// The edge, bound, with the directory that the configuration names in the log.
async fn prepare_edge<L: Log>(
    log: &L,
    settings: hookline_ingest::Settings,
    told: &Told,
    sealer: Sealer,
    clock: Clock,
) -> Result<Ingest<L>, RunError> {
    if let Some(file) = &settings.directory_file {
        let changes = load_directory_file(file, log).await?;
        tracing::info!(?changes, file = %file.display(), "loaded the directory");
        if changes.refused > 0 {
            tracing::error!(changes.refused, "the directory is older than its file: the log has no space");
        }
    }
    Ok(Ingest::bind(settings, Arc::clone(&told.gateways), log.clone(), sealer, clock).await?)
}

/// The roles, running.
struct Running {
    /// In the order in which they are stopped: first the edge, so that nothing new comes in.
    roles: Vec<Role>,
    admin_stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// Runs until asked to stop or until a role ends; then stops them in order, and the admin address last.
    async fn until(mut self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut ended = tokio::select! {
            () = stop => {
                tracing::info!("stopping: finishing what is in flight");
                Ok(())
            }
            ended = first_end(&mut self.roles) => ended,
        };
        for role in &mut self.roles {
            ended = ended.and(role.stop().await);
        }
        self.admin_stop.cancel();
        self.tasks.close();
        // Peers that read no answer are not waited for.
        let _ = tokio::time::timeout(EDGE_DRAIN, self.tasks.wait()).await;
        ended
    }
}
