//! The admin address: `/livez`, `/readyz`, `/metrics`, `/webhooks`. For operators; it tells nothing about
//! payments. What does ([`payments`]) is told at the admin socket alone, to who may open that file; and only who may
//! has keys read again ([`sealing`]), or the log copied ([`backups`]).

mod backups;
mod endpoints;
mod payments;
mod sealing;
mod socket;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookline_dispatcher::Endpoints;
use hookline_event_log::embedded::Backups;
use hookline_event_log::{Durability, Log};
use hookline_listener::serve;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For a request's head, and for an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// More scrapers than anybody has; and as many at the socket.
const MAX_CONNECTIONS: usize = 64;

/// How often the histograms' samples are taken up, so that they do not pile up between two scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The role that stands by while another process has it.
pub(crate) const CONTROL: &str = "control";

/// Whether a role is ready.
pub(crate) type Readiness = Box<dyn Fn() -> bool + Send + Sync>;

pub(crate) use backups::{BackupAsked, BackupTold};
pub(crate) use payments::{LettersAsked, Payments, Reconcile, RedeliveryAsked};
pub(crate) use sealing::{Checked, KeyMeant, Reseal, Rotated, Sealing};
pub(crate) use socket::AdminSocket;

use crate::telemetry::{Metrics, process};

/// What the admin address tells.
pub(crate) struct Admin<L: Log> {
    /// What an acknowledged append has survived.
    pub(crate) durability: Durability,
    /// The roles by name.
    pub(crate) roles: Arc<[(&'static str, Readiness)]>,
    /// Cancelled once the process is stopping: not ready any more.
    pub(crate) stopping: CancellationToken,
    /// The metrics.
    pub(crate) metrics: Metrics,
    /// Held while the page of metrics is made.
    pub(crate) page: Arc<Mutex<()>>,
    /// The dispatcher's endpoints, where there is one.
    pub(crate) endpoints: Option<Endpoints>,
    /// What is told at the socket alone.
    pub(crate) payments: Payments<L>,
    /// What is changed at the socket alone.
    pub(crate) sealing: Sealing,
    /// Copies of the log, at the socket alone; `None` over Kafka.
    pub(crate) backups: Option<Backups>,
}

/// Where somebody came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// The address, from the network.
    Address,
    /// The socket, as somebody who may open it.
    Socket,
}

/// What a request gets.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain", body: body.into() }
    }

    fn json(status: StatusCode, body: &impl Serialize) -> Self {
        // Structs of strings and numbers always serialize.
        let body = serde_json::to_string(body).unwrap_or_default() + "\n";
        Self { status, content_type: "application/json", body }
    }
}

impl<L: Log> Admin<L> {
    /// Serves until `end`.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        socket: Option<AdminSocket>,
        end: CancellationToken,
    ) {
        let admin = Arc::new(self);
        let tasks = TaskTracker::new();
        let upkeep = async {
            let mut turns = tokio::time::interval(UPKEEP_INTERVAL);
            loop {
                turns.tick().await;
                admin.metrics.upkeep();
            }
        };
        let at_address = |stream, _| Arc::clone(&admin).serve_one(stream, Door::Address, end.clone());
        let at_socket = |stream, ()| Arc::clone(&admin).serve_one(stream, Door::Socket, end.clone());
        tokio::select! {
            () = end.cancelled() => {}
            () = upkeep => {}
            () = serve(&listener, MAX_CONNECTIONS, &tasks, pending(), at_address) => {}
            () = serve(&socket, MAX_CONNECTIONS, &tasks, pending(), at_socket) => {}
        }
        tasks.close();
        tasks.wait().await;
    }

    async fn serve_one<S: AsyncRead + AsyncWrite + Unpin>(
        self: Arc<Self>,
        stream: S,
        door: Door,
        end: CancellationToken,
    ) {
        let service = service_fn(async |request| Ok::<_, Infallible>(self.answer(request, door).await));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // A scraper that breaks off says nothing about us.
            _ = served => {}
            () = end.cancelled() => {}
        }
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>, door: Door) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let (method, path) = (&head.method, head.uri.path());
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let Answer { status, content_type, body } = match path {
            "/livez" | "/readyz" | "/metrics" if !is_read => {
                Answer::text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n")
            }
            "/livez" => Answer::text(StatusCode::OK, "alive\n"),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics().await,
            _ if path == endpoints::PATH || path.starts_with("/webhooks/") => {
                endpoints::answer(self.endpoints.as_ref(), method, path).await
            }
            _ if door == Door::Socket && payments::is_path(path) => {
                self.payments.answer(method, path, body).await
            }
            _ if payments::is_path(path) => {
                Answer::text(StatusCode::FORBIDDEN, "payments are told at the admin socket alone\n")
            }
            _ if door == Door::Socket && sealing::is_path(path) => {
                self.sealing.answer(method, path, body).await
            }
            _ if sealing::is_path(path) => {
                Answer::text(StatusCode::FORBIDDEN, "keys are changed at the admin socket alone\n")
            }
            backups::PATH if door == Door::Socket => {
                backups::answer(self.backups.as_ref(), method, body).await
            }
            backups::PATH => {
                Answer::text(StatusCode::FORBIDDEN, "backups are made at the admin socket alone\n")
            }
            _ => Answer::text(StatusCode::NOT_FOUND, "there are /livez, /readyz, /metrics and /webhooks\n"),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    /// Made one at a time, and where it keeps no edge from answering: with many gateways it takes a while.
    async fn metrics(self: &Arc<Self>) -> Answer {
        let alone = Arc::clone(&self.page).lock_owned().await;
        let admin = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            let page = admin.metrics_page();
            drop(alone);
            page
        });
        match made.await {
            Ok(body) => Answer { status: StatusCode::OK, content_type: "text/plain; version=0.0.4", body },
            Err(_) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be told\n"),
        }
    }

    fn metrics_page(&self) -> String {
        for (role, is_ready) in self.roles.iter() {
            process::tell_ready(role, is_ready());
        }
        process::tell_stopping(self.stopping.is_cancelled());
        self.metrics.render()
    }

    fn readiness(&self) -> Answer {
        let roles: serde_json::Map<_, _> =
            self.roles.iter().map(|(role, is_ready)| ((*role).to_owned(), is_ready().into())).collect();
        let told = roles.iter().map(|(role, ready)| (role.as_str(), ready == true));
        let ready = !self.stopping.is_cancelled() && is_ready(told);
        let body = serde_json::json!({
            "ready": ready,
            "stopping": self.stopping.is_cancelled(),
            "durability": durability_label(self.durability),
            "roles": roles,
        });
        Answer::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
    }
}

/// Whether a process with these roles is ready. A control that stands by keeps nobody from taking notifications, or from
/// delivering them; alone, it is what the process is for.
fn is_ready<'a>(roles: impl ExactSizeIterator<Item = (&'a str, bool)>) -> bool {
    let is_alone = roles.len() == 1;
    roles.filter(|(role, _)| is_alone || *role != CONTROL).all(|(_, is_ready)| is_ready)
}

/// Whether all roles of a process have started. A control that stands by has: it waits for others to go.
pub(crate) fn have_started(roles: &[(&'static str, Readiness)]) -> bool {
    roles.iter().all(|(role, is_ready)| *role == CONTROL || is_ready())
}

/// A durability in a word.
pub(crate) fn durability_label(durability: Durability) -> String {
    match durability {
        Durability::Fsync => "fsync".to_owned(),
        Durability::Replicated(replicas) => format!("replicated-{replicas}"),
        Durability::PageCache => "page-cache".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_that_stands_by_makes_nobody_else_wait() {
        for (roles, expected) in [
            (&[("ingest", true), ("dispatcher", true), ("control", true)][..], true),
            (&[("ingest", true), ("dispatcher", true), ("control", false)], true),
            (&[("ingest", false), ("dispatcher", true), ("control", true)], false),
            (&[("ingest", true), ("dispatcher", false), ("control", false)], false),
            (&[("control", false)], false),
            (&[("control", true)], true),
            (&[("ingest", true)], true),
        ] {
            assert_eq!(is_ready(roles.iter().copied()), expected, "{roles:?}");
        }
    }
}
