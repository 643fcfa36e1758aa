//! The HTTP client for whatever is no delivery: requests to addresses that the operator has named.
//!
//! It follows no redirect, uses no proxy, repeats nothing that was sent, and reads a bounded piece of each answer. The
//! dispatcher's judgement of addresses does not apply: who names one may name the loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hookline_schemas::time::Clock;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo, capture_connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::{TlsError, tls_config};

/// What requests say that they come from; receivers see the same in earnest.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("hookline/", env!("CARGO_PKG_VERSION")));

/// The head of an answer may be this long.
const MAX_HEAD: usize = 16 * 1024;

/// So much of an answer's body is read where the caller names no other bound.
const MAX_BODY: usize = 64 * 1024;

/// How long a connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A client; connections are kept per server.
#[derive(Debug, Clone)]
pub struct Outbound {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    clock: Clock,
}

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the connection and the head.
    pub head: Duration,
    /// For the body after that.
    pub body: Duration,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Head and body, the latter as far as it was read.
    pub response: Response<Bytes>,
    /// Whether the body came to its end within bounds and time.
    pub is_whole: bool,
    /// From the request to the head.
    pub after: Duration,
    /// Our end of the connection: the same twice is one connection.
    pub connection: Option<SocketAddr>,
}

/// Why there is no answer. The message holds the cause, because people read it in the middle of a line.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No connection, or no TLS over it.
    #[error("no connection: {}", innermost(.0))]
    Unreachable(Error),
    /// No connection in this time.
    #[error("no connection within {0:?}")]
    UnreachableInTime(Duration),
    /// Connected, and no head in this time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The connection ended, or what came is not HTTP.
    #[error("the connection ended without an answer: {}", innermost(.0))]
    Broken(Error),
}

impl NoAnswer {
    /// Whether nobody has got the request.
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::UnreachableInTime(_))
    }
}

impl Outbound {
    /// A client that trusts the public certificates and those in the file.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or holds what can't be trusted.
    pub fn new(ca_file: Option<&Path>, clock: Clock) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(ca_file)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Ok(Self { client, clock })
    }

    /// Sends one request to its URL, and reads at most 64 KiB of the answer's body.
    ///
    /// # Errors
    ///
    /// If no head came.
    pub async fn send(&self, request: Request<Full<Bytes>>, patience: Patience) -> Result<Answer, NoAnswer> {
        self.send_bounded(request, patience, MAX_BODY).await
    }

    /// The same as [`Self::send`] with another bound for the answer's body, in bytes: for what is known to be longer.
    ///
    /// # Errors
    ///
    /// If no head came.
    pub async fn send_bounded(
        &self,
        mut request: Request<Full<Bytes>>,
        patience: Patience,
        max_body: usize,
    ) -> Result<Answer, NoAnswer> {
        request.headers_mut().entry(header::USER_AGENT).or_insert(USER_AGENT);
        let connected = capture_connection(&mut request);
        let began = self.clock.elapsed();
        let answered = tokio::time::timeout(patience.head, self.client.request(request)).await;
        let after = self.clock.elapsed().saturating_sub(began);
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(NoAnswer::Unreachable(error)),
            Ok(Err(error)) => return Err(NoAnswer::Broken(error)),
            Err(_) if connected.connection_metadata().is_none() => {
                return Err(NoAnswer::UnreachableInTime(patience.head));
            }
            Err(_) => return Err(NoAnswer::Silent(patience.head)),
        };
        let connection = response.extensions().get::<HttpInfo>().map(HttpInfo::local_addr);
        let (head, mut body) = response.into_parts();
        let mut read = BytesMut::new();
        // What does not end in time has not ended; what came of it is kept.
        let reading = read_into(&mut body, &mut read, max_body);
        let is_whole = tokio::time::timeout(patience.body, reading).await.unwrap_or(false);
        Ok(Answer { response: Response::from_parts(head, read.freeze()), is_whole, after, connection })
    }
}

/// Reads to the end or to the bound; whether it was the end.
async fn read_into(body: &mut Incoming, read: &mut BytesMut, max_body: usize) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let piece = frame.data_ref().map_or(&[][..], |piece| &piece[..]);
        if read.len() + piece.len() > max_body {
            return false;
        }
        read.extend_from_slice(piece);
    }
    true
}

/// The last of the sources: what happened, without who passed it on.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
