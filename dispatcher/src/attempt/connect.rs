//! Connections to receivers: resolved once, every address judged, then TCP and TLS to a judged one.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use super::guard::AddressGuard;

/// Why an endpoint can't be reached, before a byte of it has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReachError {
    /// The name has no address, or nobody could be asked.
    #[error("the name could not be resolved")]
    Resolve,
    /// One of the addresses is not one that webhooks are sent to.
    #[error("an address is not permitted")]
    Blocked,
}

/// Why the client's TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of certificates can't be read.
    #[error("failed to read certificates from {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate can't be trusted, or the cryptography lacks a protocol.
    #[error("failed to set up TLS")]
    Rustls(#[from] rustls::Error),
}

/// Resolves names to judged addresses.
#[derive(Debug, Clone)]
pub(crate) struct GuardedResolver {
    guard: Arc<AddressGuard>,
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ReachError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ReachError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ReachError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|_| ReachError::Resolve)?;
            let addresses: Vec<SocketAddr> = found.collect();
            if addresses.is_empty() {
                return Err(ReachError::Resolve);
            }
            // One bad answer among good ones is an attempt to slip through: none is used.
            if addresses.iter().all(|address| guard.permits(address.ip())) {
                Ok(addresses.into_iter())
            } else {
                Err(ReachError::Blocked)
            }
        })
    }
}

/// Connects; a host that is written as an address is judged here, because it is never resolved.
#[derive(Clone)]
pub(crate) struct GuardedConnector {
    guard: Arc<AddressGuard>,
    inner: HttpsConnector<HttpConnector<GuardedResolver>>,
}

impl GuardedConnector {
    /// A connector that trusts the public certificates and those in the file.
    pub(crate) fn new(guard: AddressGuard, ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let guard = Arc::new(guard);
        let mut tcp = HttpConnector::new_with_resolver(GuardedResolver { guard: Arc::clone(&guard) });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(ca_file)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self { guard, inner })
    }
}

/// How receivers' certificates are verified: against the public roots and those in the file.
///
/// # Errors
///
/// If the file can't be read, or one of its certificates can't be trusted.
pub fn tls_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let unreadable = |source| TlsError::CaFile { path: path.to_owned(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            roots.add(certificate.map_err(unreadable)?)?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

type Connected = <HttpsConnector<HttpConnector<GuardedResolver>> as Service<Uri>>::Response;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for GuardedConnector {
    type Response = Connected;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if host.parse::<IpAddr>().is_ok_and(|address| !self.guard.permits(address)) {
            return Box::pin(std::future::ready(Err(ReachError::Blocked.into())));
        }
        Box::pin(self.inner.call(url))
    }
}

impl fmt::Debug for GuardedConnector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GuardedConnector").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// What lies behind an error of the client, found along its sources.
pub(crate) fn cause_of<E: std::error::Error + Clone + 'static>(
    error: &(dyn std::error::Error + 'static),
) -> Option<E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found.clone());
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
