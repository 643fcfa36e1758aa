//! The listener: connections, their cap and time-outs, and the end of all that.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hookline_event_log::{Log, ReadError, TableName};
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Clock;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{Edge, accept};
use crate::admission::Admission;
use crate::answer::respond;
use crate::append::Appender;
use crate::directory::{Directory, follow};
use crate::gateway_metrics::Tallies;
use crate::gateways::Gateways;
use crate::metrics::EdgeMetrics;
use crate::quarantine::Quarantine;
use crate::settings::Settings;
use crate::source::FailureLimit;

/// The head of a request may be this long.
const MAX_HEAD: usize = 16 * 1024;

/// How long to wait after the system refused a connection for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often the sources of wrong signatures are tidied up.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Why the edge can't listen.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The edge, bound to its address; not yet answering.
pub struct Ingest<L: Log> {
    listener: TcpListener,
    edge: Arc<Edge<L>>,
    log: L,
}

impl<L: Log> Ingest<L> {
    /// Binds the address of the settings. The gateways are `None` until they are known, and exchanged as a whole.
    ///
    /// # Errors
    ///
    /// If the system does not give it.
    pub async fn bind(
        settings: Settings,
        gateways: Arc<ArcSwapOption<Gateways>>,
        log: L,
        sealer: Sealer,
        clock: Clock,
    ) -> Result<Self, BindError> {
        let address = settings.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| BindError { address, source })?;
        let edge = Edge {
            gateways,
            directory: Arc::new(Directory::default()),
            admission: Admission::new(&settings),
            failures: FailureLimit::new(settings.max_signature_failures, clock),
            appender: Appender::new(&log, clock),
            quarantine: Quarantine::new(&log, sealer),
            metrics: EdgeMetrics::new(),
            tallies: Tallies::default(),
            clock,
            settings,
        };
        Ok(Self { listener, edge: Arc::new(edge), log })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Whether it has loaded what Check needs: until then everything is answered 503.
    pub fn readiness(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let edge = Arc::clone(&self.edge);
        move || edge.is_ready()
    }

    /// Brings the gauges of the edge up to date, and writes out the families that a recorder can't keep. For every look at
    /// the metrics.
    pub fn metrics(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let edge = Arc::clone(&self.edge);
        move || {
            let gateways = edge.gateways.load_full().map_or(0, |gateways| gateways.iter().count());
            edge.metrics.observe(&edge.admission, edge.directory.sizes(), gateways);
            edge.tallies.render(&edge.gateways)
        }
    }

    /// Serves until `shutdown`, then finishes what is in flight. When it returns, every connection is
    /// closed and every answer has been written.
    ///
    /// # Errors
    ///
    /// If a table that Check needs can't be followed any more: what it answers would grow old.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ReadError> {
        let tasks = TaskTracker::new();
        let clients = follow(self.log.clone(), TableName::Clients, Arc::clone(&self.edge.directory));
        let top_ups = follow(self.log.clone(), TableName::TopUps, Arc::clone(&self.edge.directory));
        let stopped = tokio::select! {
            () = serve(&self.listener, &self.edge, &tasks, &shutdown) => Ok(()),
            () = tidy(&self.edge) => Ok(()),
            followed = async { tokio::try_join!(clients, top_ups).map(|_| ()) } => followed,
        };
        drop(self.listener);
        shutdown.cancel();
        tasks.close();
        tasks.wait().await;
        stopped
    }
}

async fn serve<L: Log>(
    listener: &TcpListener,
    edge: &Arc<Edge<L>>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let connections = Arc::new(Semaphore::new(edge.settings.max_connections));
    loop {
        // The cap on connections bites before accept: the kernel's queue holds the rest.
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accepted => accepted,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, peer))) => {
                tasks.spawn(connection(stream, peer, Arc::clone(edge), shutdown.clone(), permit));
            }
            (Err(_), _) => return,
            (_, Err(error)) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<L: Log>(
    stream: TcpStream,
    peer: SocketAddr,
    edge: Arc<Edge<L>>,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    edge.metrics.connections.increment(1.0);
    // Small answers are sent at once; a stream that refuses the option works all the same.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| async {
        let began = edge.clock.elapsed();
        let outcome = accept(&edge, request, peer.ip(), began).await;
        edge.metrics.answered(outcome, began, edge.clock.elapsed());
        Ok::<_, Infallible>(respond(outcome))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(edge.settings.head_timeout)
        .max_buf_size(MAX_HEAD)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
    edge.metrics.connections.decrement(1.0);
}

async fn tidy<L: Log>(edge: &Edge<L>) {
    loop {
        tokio::time::sleep(TIDY_INTERVAL).await;
        edge.failures.forget_the_past();
    }
}
