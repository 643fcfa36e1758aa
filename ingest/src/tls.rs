//! TLS at the edge itself, where nothing in front of it ends TLS: the certificate, and reading it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hookline_schemas::time::Timestamp;
use metrics::Gauge;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::metrics::certificate_expiry;
use crate::settings::TlsSettings;

/// What is spoken within TLS: nobody may believe that there is HTTP/2.
const PROTOCOL: &[u8] = b"http/1.1";

/// Why the edge can't prove who it is.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificates can't be read.
    #[error("failed to read certificates from {}", path.display())]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: pem::Error,
    },
    /// There is none.
    #[error("{} holds no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The first is no certificate.
    #[error("the first certificate in {} can't be understood", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: x509_cert::der::Error,
    },
    /// The key can't be read.
    #[error("failed to read a private key from {}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        #[source]
        source: pem::Error,
    },
    /// They are not of the same pair, or of a kind that nothing here can use.
    #[error("the certificate in {} and the key in {} can't be used together", certificate.display(), key.display())]
    Unusable {
        /// The file of certificates.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What was wrong.
        #[source]
        source: rustls::Error,
    },
}

/// Who the edge says it is. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: ArcSwap<ServerConfig>,
    expiry: Gauge,
}

/// What the files hold.
struct Identity {
    config: ServerConfig,
    expires: Timestamp,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// If they hold no certificate with its key.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let identity = Identity::read(settings)?;
        let expiry = certificate_expiry();
        tell(&expiry, settings, identity.expires);
        Ok(Self(Arc::new(Shared { current: ArcSwap::from_pointee(identity.config), expiry })))
    }

    /// Whether the files hold a certificate with its key.
    ///
    /// # Errors
    ///
    /// If they don't.
    pub fn check(settings: &TlsSettings) -> Result<(), TlsError> {
        Identity::read(settings).map(drop)
    }

    /// Reads the files again: whoever connects from now on sees what they hold.
    ///
    /// # Errors
    ///
    /// If they hold no certificate with its key: then the one before stays.
    pub fn read_again(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        let identity = Identity::read(settings)?;
        tell(&self.0.expiry, settings, identity.expires);
        self.0.current.store(Arc::new(identity.config));
        Ok(())
    }

    /// For one connection, as of now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current.load_full())
    }
}

impl Identity {
    fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let TlsSettings { certificate_file, key_file } = settings;
        let certificates = read_certificates(certificate_file)?;
        let expires = expiry_of(certificate_file, &certificates)?;
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|source| TlsError::KeyFile { path: key_file.clone(), source })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|versions| versions.with_no_client_auth().with_single_cert(certificates, key));
        let mut config = config.map_err(|source| TlsError::Unusable {
            certificate: certificate_file.clone(),
            key: key_file.clone(),
            source,
        })?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { config, expires })
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::CertificateFile { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)
}

/// Until when the edge's own certificate is good: that is the first one, those that signed it follow.
fn expiry_of(path: &Path, certificates: &[CertificateDer<'_>]) -> Result<Timestamp, TlsError> {
    let own = certificates.first().ok_or_else(|| TlsError::NoCertificate { path: path.to_owned() })?;
    let own =
        Certificate::from_der(own).map_err(|source| TlsError::Malformed { path: path.to_owned(), source })?;
    let seconds = own.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
    Ok(Timestamp(seconds.saturating_mul(1000)))
}

fn tell(gauge: &Gauge, settings: &TlsSettings, expires: Timestamp) {
    #[expect(clippy::cast_precision_loss, reason = "seconds of this era have 32 bits, and 52 are kept")]
    gauge.set(expires.unix_seconds() as f64);
    tracing::info!(file = %settings.certificate_file.display(), expires = expires.to_rfc3339(), "the edge's certificate was read");
}
