//! The admin address: `/livez`, `/readyz`, `/metrics`. For operators; it tells nothing about payments.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::Durability;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For a request's head, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// More scrapers than anybody has.
const MAX_CONNECTIONS: usize = 64;

/// How long to wait after the system refused a connection for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often the histograms' samples are taken up, so that they do not pile up between two scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Whether a role is ready.
pub(crate) type Readiness = Box<dyn Fn() -> bool + Send + Sync>;

/// What the admin address tells.
pub(crate) struct Admin {
    /// What an acknowledged append has survived.
    pub(crate) durability: Durability,
    /// The roles by name.
    pub(crate) roles: Vec<(&'static str, Readiness)>,
    /// Cancelled once the process is stopping: not ready any more.
    pub(crate) stopping: CancellationToken,
    /// The metrics.
    pub(crate) metrics: PrometheusHandle,
}

impl Admin {
    /// Serves until `end`.
    pub(crate) async fn serve(self, listener: TcpListener, end: CancellationToken) {
        let admin = Arc::new(self);
        let tasks = TaskTracker::new();
        let mut upkeep = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            let accepted = tokio::select! {
                () = end.cancelled() => break,
                _ = upkeep.tick() => {
                    admin.metrics.run_upkeep();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            if tasks.len() >= MAX_CONNECTIONS {
                continue;
            }
            let (admin, end) = (Arc::clone(&admin), end.clone());
            tasks.spawn(async move {
                let service =
                    service_fn(|request| std::future::ready(Ok::<_, Infallible>(admin.answer(&request))));
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                let mut served = pin!(served);
                tokio::select! {
                    // A scraper that breaks off says nothing about us.
                    _ = served.as_mut() => {}
                    () = end.cancelled() => {}
                }
            });
        }
        tasks.close();
        tasks.wait().await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, content_type, body) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, "text/plain", "alive\n".to_owned()),
            (&Method::GET | &Method::HEAD, "/readyz") => self.readiness(),
            (&Method::GET | &Method::HEAD, "/metrics") => {
                (StatusCode::OK, "text/plain; version=0.0.4", self.metrics.render())
            }
            (_, "/livez" | "/readyz" | "/metrics") => {
                (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned())
            }
            _ => (StatusCode::NOT_FOUND, "text/plain", "there are /livez, /readyz and /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    fn readiness(&self) -> (StatusCode, &'static str, String) {
        let roles: serde_json::Map<_, _> =
            self.roles.iter().map(|(role, is_ready)| ((*role).to_owned(), is_ready().into())).collect();
        let ready = !self.stopping.is_cancelled() && roles.values().all(|ready| ready == true);
        let body = serde_json::json!({
            "ready": ready,
            "stopping": self.stopping.is_cancelled(),
            "durability": durability_label(self.durability),
            "roles": roles,
        });
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, "application/json", format!("{body}\n"))
    }
}

/// Binds the admin address.
pub(crate) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// A durability in a word.
pub(crate) fn durability_label(durability: Durability) -> String {
    match durability {
        Durability::Fsync => "fsync".to_owned(),
        Durability::Replicated(replicas) => format!("replicated-{replicas}"),
        Durability::PageCache => "page-cache".to_owned(),
    }
}
