//! The settings of the edge; `hookline.default.toml` explains each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::Deserialize;

/// The section `[ingest]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where notifications are posted to.
    pub listen: SocketAddr,
    /// The certificate, where the edge speaks TLS itself.
    #[serde(default)]
    pub tls: Option<TlsSettings>,
    /// Known clients and pending top-ups, one JSON object a line.
    #[serde(default)]
    pub directory_file: Option<PathBuf>,
    /// The largest body.
    pub max_body: ByteSize,
    /// The largest body at the shared URL, where several keys may have to be tried.
    pub max_shared_body: ByteSize,
    /// Requests in flight.
    pub max_requests: usize,
    /// Bytes of bodies in flight.
    pub max_request_bytes: ByteSize,
    /// Connections.
    pub max_connections: usize,
    /// For a request's head, and for an idle connection.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// For a request's body.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// For the answer, once the body is there. CloudPayments waits 30 s.
    #[serde(with = "humantime_serde")]
    pub answer_timeout: Duration,
    /// How long it goes on answering after it was asked to stop, where others can take its place.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// Wrong signatures that one source may post at the shared URL per minute.
    pub max_signature_failures: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
}

/// The section `[ingest.tls]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The edge's certificate (PEM), and behind it those that signed it.
    pub certificate_file: PathBuf,
    /// Its key (PEM).
    pub key_file: PathBuf,
}
