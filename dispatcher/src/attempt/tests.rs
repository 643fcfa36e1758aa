//! Attempts over real sockets, with servers that count who comes, and resolvers that change their minds.

#![expect(clippy::indexing_slicing, reason = "a panic fails the test")]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::delivery::{AttemptOutcome, FailureReason};
use hookline_schemas::event::{Event, EventType};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, OrganizationId, WebhookId};
use hookline_schemas::payload::{EventData, NoticeData};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::{Webhook, parse_url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower_service::Service;

use super::connect::GuardedConnector;
use super::guard::AddressGuard;
use super::kept::Keep;
use super::resolve::{ReachError, Resolve, Resolved, SystemResolver};
use super::{AGE, Ended, IDLE, Sender};
use crate::core::{Prepared, simulation};
use crate::settings::Settings;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const KEEP: Keep = Keep { idle: IDLE, age: AGE, most: 4 };
const TIMEOUT: Duration = Duration::from_millis(400);
const DELIVERED: AttemptOutcome = AttemptOutcome::Delivered { status: 200 };

fn failed(reason: FailureReason) -> Ended {
    Ended::failed(reason)
}

/// Answers from a script, and the last one for ever.
#[derive(Debug, Clone)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<Vec<IpAddr>>>>,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Self {
        let answer =
            |addresses: &&[&str]| addresses.iter().map(|one| one.parse().expect("an address")).collect();
        Self { answers: Arc::new(Mutex::new(answers.iter().map(answer).collect())), asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolve for Scripted {
    fn resolve(&self, _: &str) -> impl Future<Output = Resolved> + Send + 'static {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("no panic");
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let addresses = answer.unwrap_or_default().into_iter().map(|address| SocketAddr::new(address, 0));
        std::future::ready(Ok(addresses.collect()))
    }
}

/// A server that counts connections, and those that have ended on their other side.
#[derive(Debug)]
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

/// What it does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Answers every request.
    Answers,
    /// Answers the first request of a connection, and closes it while it is idle.
    AnswersOnceAndCloses,
    /// Answers the first request of a connection; takes the second, and closes it without an answer.
    TakesTheSecond,
    /// Says nothing.
    Silent,
}

impl Server {
    async fn start(at: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(at).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let counters: [Arc<AtomicUsize>; 3] = std::array::from_fn(|_| Arc::default());
        let [accepted, requests, closed] = counters.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                counters[0].fetch_add(1, Ordering::SeqCst);
                let (requests, closed) = (Arc::clone(&counters[1]), Arc::clone(&counters[2]));
                connections.spawn(async move {
                    serve(stream, manner, &requests).await;
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, accepted, requests, closed, _serving: serving }
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    async fn until_closed(&self, connections: usize) {
        let waiting = async {
            while self.closed.load(Ordering::SeqCst) < connections {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(5), waiting).await.is_ok(), "still open");
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, requests: &AtomicUsize) {
    let mut buffer = [0; 4096];
    let mut text = Vec::new();
    for number in 0.. {
        // The only body there is ends so.
        while !text.ends_with(b"}}") {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => text.extend_from_slice(&buffer[..read]),
            }
        }
        text.clear();
        if manner != Manner::Silent {
            requests.fetch_add(1, Ordering::SeqCst);
        }
        match manner {
            Manner::Silent => continue,
            Manner::TakesTheSecond if number == 1 => return,
            _ => stream.write_all(OK).await.expect("a reader"),
        }
        if manner == Manner::AnswersOnceAndCloses {
            return;
        }
    }
}

fn settings(allowed: &[&str]) -> Settings {
    let allow_addresses = allowed.iter().map(|network| network.parse().expect("a network")).collect();
    Settings { allow_addresses, allow_http: true, attempt_timeout: TIMEOUT, ..simulation::settings() }
}

fn sender(allowed: &[&str]) -> Sender {
    Sender::new(&settings(allowed), Clock::start()).expect("TLS")
}

fn webhook(url: &str) -> Webhook {
    let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
    Webhook {
        id: WebhookId::new("wh"),
        organization: OrganizationId::new("org"),
        club_id: None,
        url: parse_url(url).expect("a URL"),
        events: vec![EventType::PaymentReceived],
        keys: WebhookKeys::new(&secret),
        headers: CustomHeaders::default(),
        retry_schedule: None,
        deadline: None,
        rate_limit: None,
        paused: false,
        enabled_at: None,
        probed_at: None,
    }
}

async fn attempt<R: Resolve>(sender: &Sender<R>, url: &str) -> Ended {
    sender.attempt(&webhook(url), &event()).await
}

fn event() -> Arc<Prepared> {
    let data = NoticeData {
        gateway: GatewayId::new("gw"),
        gateway_transaction_id: None,
        invoice_id: None,
        client_id: None,
        status: None,
    };
    let event = Event {
        id: EventId::new("evt_1"),
        fingerprint: 1,
        webhooks_version: 0,
        source: hookline_schemas::event::EventSource::Notification,
        event_type: EventType::PaymentReceived,
        notification: None,
        organization: OrganizationId::new("org"),
        gateway: Some(GatewayId::new("gw")),
        club_id: ClubId::new("club"),
        occurred_at: None,
        accepted_at: Timestamp(0),
        data: EventData::Notice(data),
    };
    Prepared::new(event)
}

#[tokio::test]
async fn however_the_loopback_is_written_nothing_is_connected_to() {
    let server = Server::start("127.0.0.1:0", Manner::Answers).await;
    let port = server.address.port();
    let guarded = sender(&[]);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0000:0000:0000:0000:0000:ffff:7f00:0001]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
    ] {
        let ended = attempt(&guarded, &format!("http://{host}:{port}/")).await;
        assert_eq!(ended, failed(FailureReason::BlockedAddress), "{host}");
        // Some are names that no certificate can bear, which is found out even earlier.
        let ended = attempt(&guarded, &format!("https://{host}:{port}/")).await;
        let expected = [FailureReason::BlockedAddress, FailureReason::Tls].map(failed);
        assert!(expected.contains(&ended), "{host}: {ended:?}");
    }
    assert_eq!(server.accepted(), 0);
    // Where the operator allows it, the same forms lead there.
    let allowing = sender(&["127.0.0.0/8"]);
    for host in ["127.1", "2130706433", "[::ffff:127.0.0.1]"] {
        let ended = attempt(&allowing, &format!("http://{host}:{port}/")).await;
        assert_eq!(ended.outcome, DELIVERED, "{host}");
    }
    assert_eq!(server.accepted(), 3);
}

/// Two servers at the same port: one at an address that is permitted, one at an address that is not.
async fn permitted_and_forbidden() -> (Server, Server) {
    for _ in 0..20 {
        let permitted = Server::start("127.0.0.1:0", Manner::Answers).await;
        let there = format!("127.0.0.2:{}", permitted.address.port());
        if let Ok(free) = TcpListener::bind(&there).await {
            drop(free);
            return (permitted, Server::start(&there, Manner::Answers).await);
        }
    }
    panic!("no port is free at both addresses");
}

fn scripted(resolver: &Scripted, keep: Keep) -> Sender<Scripted> {
    Sender::resolving(&settings(&["127.0.0.1/32"]), resolver.clone(), keep, Clock::start()).expect("TLS")
}

#[tokio::test]
async fn a_name_that_changes_its_mind_leads_nowhere_else() {
    let (permitted, forbidden) = permitted_and_forbidden().await;
    let url = format!("http://rebinding.example:{}/", permitted.address.port());
    let resolver = Scripted::new(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let sender = scripted(&resolver, Keep { idle: Duration::from_millis(100), ..KEEP });
    for _ in 0..3 {
        assert_eq!(attempt(&sender, &url).await.outcome, DELIVERED);
    }
    assert_eq!(
        (resolver.asked(), permitted.accepted()),
        (1, 1),
        "one connection to the address that was judged"
    );
    // Idle for longer than it is kept: the next attempt asks again, and the answer is judged anew.
    tokio::time::sleep(Duration::from_millis(110)).await;
    sender.tidy();
    permitted.until_closed(1).await;
    assert_eq!(attempt(&sender, &url).await, failed(FailureReason::BlockedAddress));
    assert_eq!((resolver.asked(), permitted.accepted(), forbidden.accepted()), (2, 1, 0));
}

#[tokio::test]
async fn one_forbidden_address_among_permitted_ones_is_enough() {
    let (permitted, forbidden) = permitted_and_forbidden().await;
    let url = format!("http://rebinding.example:{}/", permitted.address.port());
    for answer in [&["127.0.0.1", "127.0.0.2"], &["127.0.0.2", "127.0.0.1"], &["127.0.0.1", "::1"]] {
        let sender = scripted(&Scripted::new(&[&answer[..]]), KEEP);
        assert_eq!(attempt(&sender, &url).await, failed(FailureReason::BlockedAddress), "{answer:?}");
    }
    assert_eq!((permitted.accepted(), forbidden.accepted()), (0, 0));
    let nothing = scripted(&Scripted::new(&[&[]]), KEEP);
    assert_eq!(attempt(&nothing, &url).await, failed(FailureReason::Resolve));
}

#[tokio::test]
async fn a_connection_that_is_never_idle_is_not_kept_for_ever() {
    let server = Server::start("127.0.0.1:0", Manner::Answers).await;
    let url = format!("http://busy.example:{}/", server.address.port());
    let resolver = Scripted::new(&[&["127.0.0.1"]]);
    let sender = scripted(&resolver, Keep { age: Duration::from_millis(200), ..KEEP });
    let clock = Clock::start();
    while clock.elapsed() < Duration::from_millis(700) {
        assert_eq!(attempt(&sender, &url).await.outcome, DELIVERED);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!((3..=5).contains(&resolver.asked()), "asked {} times", resolver.asked());
    assert_eq!(server.accepted(), resolver.asked());
}

#[tokio::test]
async fn a_connection_that_is_not_made_ends_with_its_own_deadline() {
    let server = Server::start("127.0.0.1:0", Manner::Silent).await;
    let guard = AddressGuard::new(vec!["127.0.0.1/32".parse().expect("a network")]);
    let (resolver, clock) = (SystemResolver::default(), Clock::start());
    let mut connector = GuardedConnector::new(guard, resolver, None, TIMEOUT).expect("TLS");
    let url = format!("https://127.0.0.1:{}/", server.address.port()).parse().expect("a URL");
    // Nobody else has a deadline for it.
    let connecting = tokio::time::timeout(TIMEOUT * 5, connector.call(url)).await;
    let error = connecting.expect("an end of its own").expect_err("no connection");
    assert_eq!(error.downcast_ref::<ReachError>(), Some(&ReachError::Late));
    assert!(clock.elapsed() >= TIMEOUT);
    server.until_closed(1).await;
}

#[tokio::test]
async fn nothing_is_left_of_attempts_at_one_that_says_nothing() {
    let server = Server::start("127.0.0.1:0", Manner::Silent).await;
    let sender = sender(&["127.0.0.1/32"]);
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://{}/", server.address);
        let attempts = (0..8).map(|_| attempt(&sender, &url));
        for ended in futures::future::join_all(attempts).await {
            assert_eq!(ended, failed(FailureReason::Timeout));
        }
    }
    server.until_closed(16).await;
    assert_eq!(server.accepted(), 16);
}

#[tokio::test]
async fn where_a_kept_connection_has_ended_the_attempt_goes_out_once_on_another() {
    let server = Server::start("127.0.0.1:0", Manner::AnswersOnceAndCloses).await;
    let (sender, url) = (sender(&["127.0.0.1/32"]), format!("http://{}/", server.address));
    for number in 1..=20 {
        let ended = attempt(&sender, &url).await;
        let requests = server.requests.load(Ordering::SeqCst);
        assert_eq!(requests, number, "each attempt is one request, {ended:?}");
        assert_eq!(ended.outcome, DELIVERED);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_has_been_taken_is_not_sent_again_by_the_same_attempt() {
    let server = Server::start("127.0.0.1:0", Manner::TakesTheSecond).await;
    let (sender, url) = (sender(&["127.0.0.1/32"]), format!("http://{}/", server.address));
    assert_eq!(attempt(&sender, &url).await.outcome, DELIVERED);
    assert_eq!(attempt(&sender, &url).await, failed(FailureReason::Broken));
    assert_eq!(server.requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn endpoints_at_one_receiver_have_connections_of_their_own() {
    let server = Server::start("127.0.0.1:0", Manner::Answers).await;
    let sender = sender(&["127.0.0.1/32"]);
    let url = format!("http://{}/", server.address);
    let webhooks: Vec<_> =
        ["wh_1", "wh_2"].map(|id| Webhook { id: WebhookId::new(id), ..webhook(&url) }).into();
    for _ in 0..3 {
        // Three times as many at once as are kept of one endpoint.
        let attempts = webhooks
            .iter()
            .flat_map(|webhook| (0..12).map(|_| async { sender.attempt(webhook, &event()).await }));
        for ended in futures::future::join_all(attempts).await {
            assert_eq!(ended.outcome, DELIVERED);
        }
        server.until_closed(server.accepted() - 2 * KEEP.most).await;
    }
    assert_eq!(server.accepted(), 2 * (12 + 8 + 8));
    let moved = Webhook {
        url: parse_url(&format!("http://localhost:{}/", server.address.port())).expect("a URL"),
        ..webhook(&url)
    };
    let before = server.accepted();
    assert_eq!(
        sender.attempt(&Webhook { id: WebhookId::new("wh_1"), ..moved }, &event()).await.outcome,
        DELIVERED
    );
    assert_eq!(server.accepted(), before + 1, "what leads elsewhere is not used for another URL");
}

#[tokio::test]
async fn what_this_machine_does_not_let_out_is_no_failure_of_the_endpoint() {
    // No route leads a connection to everybody, or none is allowed to.
    let ended = attempt(&sender(&["255.255.255.255/32"]), "http://255.255.255.255/").await;
    assert_eq!(ended, failed(FailureReason::Local));
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let refused = attempt(&sender(&["127.0.0.1/32"]), &format!("http://{nobody}/")).await;
    assert_eq!(refused, failed(FailureReason::Connect));
}
