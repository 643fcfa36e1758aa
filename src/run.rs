//! `hookline run`, `hookline ingest`, `hookline dispatcher`, `hookline control`: the roles that were asked for, over one log.
//!
//! Start: key, log, directory, addresses, roles; ready when each has loaded what it needs. All of it is short, and what
//! connects meanwhile to a socket that was handed over waits in it.
//!
//! Stop, in an order that nobody outside notices:
//!
//! 1. Not ready any more. The edge goes on, and each of its answers ends its connection, so that callers come back by
//!    another one: a load balancer sends them elsewhere.
//! 2. The dispatcher finishes what is in flight (that may take `dispatcher.drain_timeout`), the control plane too. Over
//!    a log that others share the edge stays for `ingest.drain_delay` at least, until load balancers have seen 1. What
//!    it appends behind the dispatcher's last commit is in the log, and whoever delivers next reads it there.
//! 3. The edge accepts no more, and finishes what it has: who is still sending a body has two seconds for the rest of
//!    it, and what is being appended then ends with the log, after `ingest.answer_timeout` at the latest. From here on
//!    nobody is answered, until the next process is ready: this is the gap.
//! 4. The log is closed and unlocked; the process ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use hookline_control::{ControlPlane, Parts, StartError, WebhookLimits};
use hookline_dispatcher::{Dispatcher, DispatcherError};
use hookline_event_log::embedded::{Backups, EmbeddedLog};
use hookline_event_log::kafka::KafkaLog;
use hookline_event_log::{Log, LogFailure, OpenError, ReadError};
use hookline_history::History;
use hookline_ingest::{DirectoryFileError, Ingest, load_directory_file};
use hookline_listener::{BindError, HandOverError, HandedOver, listen};
use hookline_registry::FollowError;
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Clock;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, AdminSocket, Payments, Readiness, Reconcile, Reseal, Sealing};
use crate::config::{Config, LogOptions, Sections};
use crate::key::{self, KeyError, KeySource, Keys};
use crate::limits;
use crate::log::{self, Backend};
use crate::registered::{self, Configured, Delivers, Told};
use crate::reload::Reload;
use crate::roles::{EDGE_DRAIN, Role, Roles, Turn, first_end};
use crate::service_manager::{self, Heartbeat};
use crate::telemetry::{LogFilter, Metrics};

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
    HandedOver(#[from] HandOverError),
    #[error("failed to start the edge")]
    Edge(#[from] hookline_ingest::StartError),
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

/// What a process is started with.
pub(crate) struct Start {
    pub(crate) config: Config,
    /// From which it was read.
    pub(crate) file: Option<PathBuf>,
    pub(crate) roles: Roles,
    /// What the service manager has bound for it.
    pub(crate) handed_over: HandedOver,
    pub(crate) metrics: Metrics,
    pub(crate) logs: LogFilter,
    /// SIGHUPs, from the first moment on.
    pub(crate) hangups: Signal,
}

impl Start {
    /// Where the process will listen, by setting.
    fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let Self { config, roles, .. } = self;
        let ingest = roles.have_ingest().then_some(("ingest.listen", config.ingest.listen));
        let control = roles.have_control().then_some(("control.listen", config.control.listen));
        ingest.into_iter().chain(control).chain([("admin.listen", config.admin.listen)]).collect()
    }
}

/// Runs the roles over the log of the configuration until asked to stop, or until one of them or the log fails.
/// Everything that was acknowledged is in the log when it returns, however it returns.
pub(crate) async fn run(start: Start, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    start.handed_over.demand_all_meant(&start.addresses())?;
    let roles = start.roles;
    match start.config.log.clone() {
        LogOptions::Embedded(_) if matches!(roles, Roles::Ingest | Roles::Control) => {
            Err(RunError::NotShared(roles))
        }
        LogOptions::Embedded(options) => {
            Box::pin(run_over::<EmbeddedLog>(options, key::load_or_make, start, stop)).await
        }
        LogOptions::Kafka(_) if roles == Roles::Drain => Err(RunError::Shared(roles)),
        LogOptions::Kafka(options) => Box::pin(run_over::<KafkaLog>(*options, key::load, start, stop)).await,
    }
}

/// Open the log, prepare, start, run until asked to stop, close the log.
async fn run_over<L: Backend>(
    options: L::Options,
    key: fn(&KeySource) -> Result<Sealer, KeyError>,
    start: Start,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let Start { config, file, roles, handed_over, metrics, logs, hangups } = start;
    let clock = Clock::start();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let incoming = if roles.have_ingest() { config.ingest.max_connections } else { 0 };
    let outgoing = if roles.have_dispatcher() { config.dispatcher.max_attempts } else { 0 };
    limits::raise_open_files(incoming + outgoing);
    let sealer = key(&config.keys)?;
    let mut stop = pin!(stop);
    let log: L = tokio::select! {
        opened = log::open(options, clock) => opened?,
        // Nothing was begun. It may take for ever: over Kafka until the cluster answers.
        () = &mut stop => {
            tracing::info!("stopping: the log was not open yet");
            return Ok(());
        }
    };
    let drain_delay = if L::IS_SHARED { config.ingest.drain_delay } else { Duration::ZERO };
    let prepared = Prepared::new(&log, config, roles, &handed_over, sealer, clock).await?;
    let (running, heartbeat) = prepared.start(&log, clock, metrics, (file, logs, hangups))?;
    let readiness = Arc::clone(&running.readiness);
    let running = async {
        let ended = tokio::select! {
            biased;
            // Nothing may be written any more: there is nothing to drain into.
            failure = log.failed() => return Err(failure.into()),
            ended = running.until(stop, drain_delay) => ended,
        };
        log.close().await;
        ended
    };
    tokio::select! {
        ended = running => ended,
        never = service_manager::follow(readiness, heartbeat) => match never {},
    }
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
    /// As it is read again.
    configured: watch::Sender<Arc<Configured>>,
    sections: Sections,
}

impl<L: Backend> Prepared<L> {
    /// The sealer has the keys of the configuration, whatever the roles: each may have to open what another sealed.
    async fn new(
        log: &L,
        config: Config,
        roles: Roles,
        handed_over: &HandedOver,
        sealer: Sealer,
        clock: Clock,
    ) -> Result<Self, RunError> {
        let told = Told::nothing();
        let control = if roles.have_control() {
            Some(prepare_control(log, &config, handed_over, &told, sealer.clone(), clock).await?)
        } else {
            None
        };
        let keys = Keys::new(config.keys, sealer.clone());
        let socket = bind_socket(&config.admin_socket).await;
        let ingest = if roles.have_ingest() {
            Some(prepare_edge(log, config.ingest, handed_over, &told, sealer.clone(), clock).await?)
        } else {
            None
        };
        let not_bound = |BindError { address, source }| RunError::BindAdmin { address, source };
        let admin = listen(config.admin.listen, handed_over).await.map_err(not_bound)?;
        let configured = watch::Sender::new(Arc::new(Configured::new(&config.gateways, config.webhooks)));
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
            sections: config.sections,
        })
    }

    /// Starts the roles and the admin address. When it returns, the roles are loading.
    fn start(
        self,
        log: &L,
        clock: Clock,
        mut metrics: Metrics,
        (file, filter, hangups): (Option<PathBuf>, LogFilter, Signal),
    ) -> Result<(Running, Heartbeat), RunError> {
        self.tell_addresses()?;
        let tasks = TaskTracker::new();
        let (mut roles, mut readiness) = (Vec::new(), Vec::<(_, Readiness)>::new());
        let tls = self.ingest.as_ref().and_then(Ingest::tls);
        let drain_edge = self.ingest.as_ref().map(|ingest| Box::new(ingest.draining()) as DrainEdge);
        if let Some(ingest) = self.ingest {
            readiness.push(("ingest", Box::new(ingest.readiness())));
            metrics.add(ingest.metrics());
            roles.push(Role::ingest(ingest, &tasks));
        }
        let delivers = if self.dispatcher.is_some() { Delivers::Yes } else { Delivers::No };
        let endpoints = self.dispatcher.as_ref().map(Dispatcher::endpoints);
        let heartbeat = self.dispatcher.as_ref().map(Dispatcher::heartbeat);
        let heartbeat: Heartbeat = Box::new(move || heartbeat.as_ref().and_then(|heartbeat| heartbeat()));
        if let Some(endpoints) = endpoints.clone() {
            metrics.add(move || endpoints.metrics());
        }
        if let Some(dispatcher) = self.dispatcher {
            readiness.push(("dispatcher", Box::new(dispatcher.readiness())));
            roles.push(Role::dispatcher(dispatcher)?);
        }
        let reseal = self.control.as_ref().map(resealing);
        let reconcile = self.control.as_ref().map(reconciling);
        let (has_edge, has_control) = (drain_edge.is_some(), self.control.is_some());
        if let Some(control) = self.control {
            readiness.push((admin::CONTROL, Box::new(control.readiness())));
            let look = control.metrics();
            metrics.add(move || {
                look();
                String::new()
            });
            roles.push(Role::control(control, &tasks));
        }
        let configured = self.configured.subscribe();
        let telling = registered::tell(log.clone(), self.sealer, configured, self.told, delivers, clock);
        roles.push(Role::registry(telling, &tasks));
        let (stopping, admin_stop) = (CancellationToken::new(), CancellationToken::new());
        let readiness: Arc<[_]> = readiness.into();
        let admin = Admin {
            durability: log.durability(),
            roles: Arc::clone(&readiness),
            stopping: stopping.clone(),
            metrics,
            page: Arc::default(),
            endpoints,
            payments: Payments { reconcile, ..self.payments },
            sealing: Sealing { keys: self.keys.clone(), reseal },
            backups: log.backups(),
        };
        let (sections, keys, configured) = (self.sections, self.keys, self.configured);
        let reload = Reload {
            file,
            sections,
            keys,
            configured,
            tls,
            filter,
            has_edge,
            roles: Arc::clone(&readiness),
            hangups,
            has_control,
        };
        tasks.spawn(reload.follow(admin_stop.clone()));
        tasks.spawn(admin.serve(self.admin, self.socket, admin_stop.clone()));
        let running =
            Running { roles, readiness, drain_edge, backups: log.backups(), stopping, admin_stop, tasks };
        Ok((running, heartbeat))
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
    handed_over: &HandedOver,
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
    Ok(ControlPlane::bind(parts, handed_over, &config.control, &config.cloudpayments, local_key).await?)
}

/// Without it everything goes on; the command line alone can't ask.
async fn bind_socket(path: &Path) -> Option<AdminSocket> {
    let bound = AdminSocket::bind(path).await;
    let warn = |error: &std::io::Error| {
        tracing::warn!(path = %path.display(), %error, "no admin socket: `hookline dead-letters`, `trace`, `reconcile`, `rotate-key`, `backup` and `ready` can't ask this process (admin.socket says where it is)");
    };
    bound.inspect_err(warn).ok()
}

/// The edge, bound, with the directory that the configuration names in the log.
async fn prepare_edge<L: Log>(
    log: &L,
    settings: hookline_ingest::Settings,
    handed_over: &HandedOver,
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
    let gateways = Arc::clone(&told.gateways);
    Ok(Ingest::bind(settings, handed_over, gateways, log.clone(), sealer, clock).await?)
}

/// Has every answer of the edge end its connection.
type DrainEdge = Box<dyn Fn() + Send + Sync>;

/// The roles, running.
struct Running {
    roles: Vec<Role>,
    /// The same by name.
    readiness: Arc<[(&'static str, Readiness)]>,
    /// Broken off once the process stops.
    backups: Option<Backups>,
    /// None, where there is no edge.
    drain_edge: Option<DrainEdge>,
    /// Cancelled once the process is not ready any more.
    stopping: CancellationToken,
    admin_stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// Runs until asked to stop or until a role ends; then stops them by turns, and the admin address last. Asked to
    /// stop, an edge stays for at least this delay.
    async fn until(mut self, stop: impl Future<Output = ()>, drain_delay: Duration) -> Result<(), RunError> {
        let (ended, drain_delay) = tokio::select! {
            () = stop => {
                tracing::info!("stopping: finishing what is in flight");
                (Ok(()), drain_delay)
            }
            ended = first_end(&mut self.roles) => (ended, Duration::ZERO),
        };
        self.stopping.cancel();
        service_manager::stopping();
        if let Some(backups) = &self.backups {
            backups.break_off();
        }
        let stay = async {
            if let Some(drain) = &self.drain_edge {
                drain();
                tokio::time::sleep(drain_delay).await;
            }
        };
        let (beside, ()) = tokio::join!(stop_those(&mut self.roles, Turn::BesideTheEdge), stay);
        let edge = stop_those(&mut self.roles, Turn::Edge).await;
        let last = stop_those(&mut self.roles, Turn::Last).await;
        self.admin_stop.cancel();
        self.tasks.close();
        // Peers that read no answer are not waited for.
        let _ = tokio::time::timeout(EDGE_DRAIN, self.tasks.wait()).await;
        ended.and(beside).and(edge).and(last)
    }
}

/// Stops the roles whose turn it is, all at once; those that have ended stay so.
async fn stop_those(roles: &mut [Role], turn: Turn) -> Result<(), RunError> {
    let stopping = roles.iter_mut().filter(|role| role.turn() == turn).map(Role::stop);
    join_all(stopping).await.into_iter().collect()
}
