//! Connections to receivers: resolved once, every address judged, then TCP and TLS to a judged one, in time.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hookline_outbound::{TlsError, tls_config};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::answer::MAX_ANSWER;
use super::guard::AddressGuard;
use super::rationed::Rationed;
use super::resolve::{GuardedResolver, ReachError, Resolve};

/// Connects; a host that is written as an address is judged here, because it is never resolved.
///
/// It has a deadline of its own, whatever whoever asks for a connection waits for.
#[derive(Clone)]
pub(crate) struct GuardedConnector<R> {
    guard: Arc<AddressGuard>,
    timeout: Duration,
    inner: Inner<R>,
}

type Inner<R> = HttpsConnector<HttpConnector<GuardedResolver<R>>>;

impl<R: Resolve> GuardedConnector<R> {
    /// A connector that trusts the public certificates and those in the file. The environment names no proxy: one
    /// would connect in our place, and the guard would judge the proxy.
    pub(crate) fn new(
        guard: AddressGuard,
        resolver: R,
        ca_file: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, TlsError> {
        let guard = Arc::new(guard);
        let resolver = GuardedResolver::new(Arc::clone(&guard), resolver);
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared by the addresses of a host, so that one that does not answer leaves time for the others.
        tcp.set_connect_timeout(Some(timeout));
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(ca_file)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self { guard, timeout, inner })
    }
}

/// What a connection is made over.
pub(crate) type Stream = Rationed<MaybeHttpsStream<TokioIo<TcpStream>>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<R: Resolve> Service<Uri> for GuardedConnector<R> {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.parse::<IpAddr>().is_ok_and(|address| !self.guard.permits(address)) {
            return Box::pin(std::future::ready(Err(ReachError::Blocked.into())));
        }
        let connecting = tokio::time::timeout(self.timeout, self.inner.call(url));
        Box::pin(async move {
            let connected = connecting.await.map_err(|_| ReachError::Late)??;
            Ok(Rationed::new(connected, MAX_ANSWER))
        })
    }
}

impl<R> fmt::Debug for GuardedConnector<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GuardedConnector").field("guard", &self.guard).finish_non_exhaustive()
    }
}
