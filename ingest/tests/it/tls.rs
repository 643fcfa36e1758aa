//! TLS at the edge: a client that verifies the certificate, one that speaks no TLS, and certificates that change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hookline_ingest::TlsSettings;
use hookline_schemas::notification::NotificationType::Check;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Connection, Post};
use crate::harness::{ACCEPTED, Edge, Setup, eventually};
use crate::notifications::check;

/// 2031-01-01.
const EXPIRES: u64 = 1_924_992_000;

/// Who signs the edge's certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes a certificate for the edge, and its key.
    fn certify(&self, settings: &TlsSettings) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["edge.example".to_owned()]).expect("parameters");
        params.not_after = date_time_ymd(2031, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(&settings.certificate_file, certificate.pem()).expect("a file");
        std::fs::write(&settings.key_file, key.serialize_pem()).expect("a file");
    }

    /// A client that believes this authority alone.
    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

fn files(directory: &Path) -> TlsSettings {
    TlsSettings { certificate_file: directory.join("edge.pem"), key_file: directory.join("edge.key") }
}

/// An edge that speaks TLS, its authority, and where its files are.
async fn start(change: impl FnOnce(&mut Setup)) -> (Edge, Authority, TlsSettings, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let (authority, settings) = (Authority::new(), files(directory.path()));
    authority.certify(&settings);
    let mut setup = Setup::with_settings(|edge| edge.tls = Some(settings.clone()));
    change(&mut setup);
    (Edge::start(setup).await, authority, settings, directory)
}

async fn connect(edge: &Edge, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(edge.address).await.expect("the edge listens");
    client.connect(ServerName::try_from("edge.example").expect("a name"), stream).await
}

/// Posts a Check that may be paid, and gives back the whole answer.
async fn post(stream: &mut TlsStream<TcpStream>) -> String {
    let check = Post::notification(Check, &check()).header("Connection", "close");
    stream.write_all(&check.bytes()).await.expect("the edge reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the edge says that it ends");
    answer
}

const FAILURES: &str = "hookline_ingest_tls_handshake_failures_total";

#[tokio::test]
async fn it_is_answered_over_both_versions_and_speaks_http_1() {
    let (edge, authority, ..) = start(|_| {}).await;
    for (offered, expected) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut stream = connect(&edge, &authority.client(&[offered])).await.expect("it is believed");
        let agreed = stream.get_ref().1;
        assert_eq!(agreed.protocol_version(), Some(expected));
        assert_eq!(agreed.alpn_protocol(), Some(&b"http/1.1"[..]));
        let answer = post(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(ACCEPTED), "{answer}");
    }
    assert_eq!(edge.counter("hookline_ingest_tls_certificate_expiry_timestamp_seconds"), EXPIRES);
    assert_eq!((edge.counter(FAILURES), edge.answered("check")), (0, 2));
}

#[tokio::test]
async fn who_speaks_no_tls_or_does_not_believe_it_is_not_heard() {
    let (edge, ..) = start(|_| {}).await;
    let mut plain = Connection::open(edge.address).await;
    plain.send(&Post::notification(Check, &check()).bytes()).await;
    plain.closed().await;
    let stranger = Authority::new().client(&[&version::TLS13]);
    connect(&edge, &stranger).await.expect_err("signed by somebody else");
    eventually("both are counted", || edge.counter(FAILURES) == 2).await;
    assert_eq!(edge.answered("check"), 0);
}

#[tokio::test]
async fn a_handshake_is_bounded_in_time_and_takes_a_place_among_the_connections() {
    let (edge, authority, ..) = start(|setup| {
        setup.settings.max_connections = 1;
        setup.settings.head_timeout = Duration::from_millis(300);
    })
    .await;
    let mut silent = Connection::open(edge.address).await;
    let mut stream =
        connect(&edge, &authority.client(&[&version::TLS13])).await.expect("once there is a place");
    assert_eq!(edge.counter(FAILURES), 1, "the other one had it until then");
    assert_eq!(silent.closed().await, "");
    assert!(post(&mut stream).await.ends_with(ACCEPTED));
}

#[tokio::test]
async fn a_new_certificate_counts_at_once_and_a_bad_one_leaves_the_old() {
    let (edge, former, settings, _directory) = start(|_| {}).await;
    let tls = edge.tls.clone().expect("it speaks TLS");
    let (before, now) = (former.client(&[&version::TLS13]), Authority::new());
    let mut kept = connect(&edge, &before).await.expect("it is believed");

    std::fs::write(&settings.certificate_file, "rubbish").expect("a file");
    let refused = tls.read_again(&settings).expect_err("no certificate").to_string();
    assert!(refused.contains("edge.pem"), "{refused}");
    now.certify(&settings);
    let key = std::fs::read(&settings.key_file).expect("a file");
    former.certify(&settings);
    std::fs::write(&settings.key_file, key).expect("a file");
    tls.read_again(&settings).expect_err("the key of another certificate");
    connect(&edge, &before).await.expect("the old one stays");

    now.certify(&settings);
    tls.read_again(&settings).expect("a certificate");
    connect(&edge, &now.client(&[&version::TLS13])).await.expect("the new one");
    connect(&edge, &before).await.expect_err("not the old one");
    assert!(post(&mut kept).await.ends_with(ACCEPTED), "who was there notices nothing");
}
