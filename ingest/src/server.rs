//! The listener: connections, their cap and time-outs, and the end of all that.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hookline_event_log::{Log, ReadError, TableName};
use hookline_listener::{Asked, BindError, HandedOver, STRANGER_GRACE, Seldom, listen, until_ended};
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Clock;
use http::{HeaderValue, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{Edge, LAST_CALL, accept};
use crate::admission::Admission;
use crate::answer::respond;
use crate::append::Appender;
use crate::directory::{Directory, follow};
use crate::gateway_metrics::Tallies;
use crate::gateways::Gateways;
use crate::metrics::EdgeMetrics;
use crate::patience::Patience;
use crate::quarantine::Quarantine;
use crate::settings::Settings;
use crate::source::FailureLimit;
use crate::tls::{Tls, TlsError};

/// The head of a request may be this long.
const MAX_HEAD: usize = 16 * 1024;

/// Between two looks at whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(2);

/// How often the sources of wrong signatures are tidied up.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// Why the edge can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate can't be used.
    #[error("ingest.tls")]
    Tls(#[from] TlsError),
}

/// The edge, bound to its address; not yet answering.
pub struct Ingest<L: Log> {
    listener: TcpListener,
    /// How long those who come before it is ready wait for that.
    patience: Duration,
    edge: Arc<Edge<L>>,
    log: L,
}

impl<L: Log> Ingest<L> {
    /// Binds the address of the settings, or takes it over. The gateways are `None` until they are known, and exchanged
    /// as a whole.
    ///
    /// # Errors
    ///
    /// If the system does not give the address, or the certificate can't be used.
    pub async fn bind(
        settings: Settings,
        handed_over: &HandedOver,
        gateways: Arc<ArcSwapOption<Gateways>>,
        log: L,
        sealer: Sealer,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
        let metrics = EdgeMetrics::new(settings.max_connections);
        let edge = Edge {
            gateways,
            directory: Arc::new(Directory::default()),
            admission: Admission::new(&settings),
            failures: FailureLimit::new(settings.max_signature_failures, clock),
            appender: Appender::new(&log, clock, metrics.append_wait_seconds.clone()),
            quarantine: Quarantine::new(&log, sealer),
            metrics,
            tallies: Tallies::default(),
            tls,
            is_draining: AtomicBool::new(false),
            end: CancellationToken::new(),
            clock,
            settings,
        };
        let address = edge.settings.listen;
        // Who has called while nobody was there shall not be put off by whoever comes first.
        let is_handed_over = handed_over.includes(address);
        let patience = if is_handed_over { edge.settings.answer_timeout } else { Duration::ZERO };
        let listener = listen(address, handed_over).await?;
        Ok(Self { listener, patience, edge: Arc::new(edge), log })
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

    /// Once this is called it goes on answering, and every answer ends its connection: who comes again comes by another
    /// one, perhaps elsewhere.
    pub fn draining(&self) -> impl Fn() + Send + Sync + 'static {
        let edge = Arc::clone(&self.edge);
        move || edge.drain()
    }

    /// Who it says it is, where it speaks TLS.
    pub fn tls(&self) -> Option<Tls> {
        self.edge.tls.clone()
    }

    /// Serves until `shutdown`, then finishes what is in flight. When it returns, every connection is closed and every
    /// answer has been written. Whoever connects to a socket that was handed over, before it is ready or while it ends,
    /// waits in there.
    ///
    /// # Errors
    ///
    /// If a table that Check needs can't be followed any more: what it answers would grow old.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ReadError> {
        let (tasks, end) = (TaskTracker::new(), self.edge.end.clone());
        let clients = follow(self.log.clone(), TableName::Clients, Arc::clone(&self.edge.directory));
        let top_ups = follow(self.log.clone(), TableName::TopUps, Arc::clone(&self.edge.directory));
        let until_ready = shutdown.run_until_cancelled(until_ready(&self.edge));
        let last_call = last_call(&self.edge, &tasks, &shutdown);
        let most = self.edge.settings.max_connections;
        let connection =
            |stream, peer: SocketAddr| connection(stream, peer.ip(), Arc::clone(&self.edge), end.clone());
        let serving = async {
            let _ = tokio::time::timeout(self.patience, until_ready).await;
            hookline_listener::serve(&self.listener, most, &tasks, last_call, connection).await;
        };
        let stopped = tokio::select! {
            () = serving => Ok(()),
            () = tidy(&self.edge) => Ok(()),
            followed = async { tokio::try_join!(clients, top_ups).map(|_| ()) } => followed,
        };
        drop(self.listener);
        end.cancel();
        tasks.close();
        tasks.wait().await;
        stopped
    }
}

async fn until_ready<L: Log>(edge: &Edge<L>) {
    while !edge.is_ready() {
        tokio::time::sleep(READY_INTERVAL).await;
    }
}

/// Waits until it is time to accept nobody any more: asked to stop, and nobody is connected, or for a while only those
/// who were told.
async fn last_call<L: Log>(edge: &Edge<L>, tasks: &TaskTracker, shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    edge.drain();
    tasks.close();
    let _ = tokio::time::timeout(LAST_CALL, tasks.wait()).await;
}

async fn connection<L: Log>(stream: TcpStream, peer: IpAddr, edge: Arc<Edge<L>>, end: CancellationToken) {
    edge.metrics.connections.increment(1.0);
    match &edge.tls {
        None => exchange(stream, peer, &edge, &end).await,
        // Elsewhere, so that a connection without TLS takes no room for it.
        Some(tls) => Box::pin(encrypted(stream, peer, tls, &edge, &end)).await,
    }
    edge.metrics.connections.decrement(1.0);
}

/// The handshake, bounded as the head of a request is, then what comes within.
async fn encrypted<L: Log>(
    stream: TcpStream,
    peer: IpAddr,
    tls: &Tls,
    edge: &Edge<L>,
    end: &CancellationToken,
) {
    let agreed = tls.acceptor().accept(stream);
    let agreed = tokio::time::timeout(edge.settings.head_timeout, agreed);
    let agreed = tokio::select! {
        agreed = agreed => agreed,
        () = async { end.cancelled().await; tokio::time::sleep(STRANGER_GRACE).await } => return,
    };
    match agreed {
        Ok(Ok(stream)) => return exchange(stream, peer, edge, end).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
    edge.metrics.handshake_failures.increment(1);
}

/// Requests and answers on one connection.
async fn exchange<L, S>(stream: S, peer: IpAddr, edge: &Edge<L>, end: &CancellationToken)
where
    L: Log,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (asked, patience) = (Asked::default(), Patience::new(edge.clock, edge.settings.head_timeout));
    let service = service_fn(|request| async {
        patience.head_came();
        let began = edge.clock.elapsed();
        let outcome = accept(edge, request, peer).await;
        let ended = edge.clock.elapsed();
        edge.metrics.answered(outcome, began, ended);
        patience.answered(ended);
        let mut response = respond(outcome);
        if edge.is_draining() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok::<_, Infallible>(response)
    });
    let served = http1::Builder::new()
        // Else hyper is ready to notice that a caller goes before he is answered, with another buffer to read into for each
        // request, because this one holds the request. What he asked for is finished either way.
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), asked.noted_by(service));
    tokio::select! {
        biased;
        () = until_ended(served, http1::Connection::graceful_shutdown, &asked, end) => {}
        () = Seldom::new(patience.runs_out()) => tracing::debug!("the head of a request took too long"),
    }
}

async fn tidy<L: Log>(edge: &Edge<L>) {
    loop {
        tokio::time::sleep(TIDY_INTERVAL).await;
        edge.failures.forget_the_past();
    }
}
