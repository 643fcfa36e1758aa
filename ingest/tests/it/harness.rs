//! An edge over a log in a scratch directory, on a free port. Owns starting, stopping and reading back what
//! was appended and counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytesize::ByteSize;
use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_event_log::{
    Journal, JournalName, Log, Offset, Partition, PartitionCounts, ReadError, ReadLimit, Record,
};
use hookline_ingest::{Gateways, Ingest, Settings, Tls, load_directory_file};
use hookline_listener::HandedOver;
use hookline_schemas::event::Event;
use hookline_schemas::gateway::{Acceptance, CheckPolicy, Gateway};
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::seal::Sealer;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Clock;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Answer, Connection, Post};
use crate::notifications::{check, pay};

/// The answer to what was accepted.
pub(crate) const ACCEPTED: &str = r#"{"code":0}"#;
/// The answer to what was not.
pub(crate) const NOT_ACCEPTED: &str = r#"{"code":13}"#;

/// The clients and top-ups that the edge knows unless a test says otherwise.
pub(crate) const DIRECTORY: &str = r#"
{"client": {"organization": "org_club", "client_id": "user+1@example.com"}}
{"top_up": {"gateway": "gw_club", "invoice_id": "i-1", "amount": "100.00", "currency": "RUB", "client_id": "user+1@example.com", "club_id": "club_of_the_top_up"}}
"#;

/// A gateway `gw_NAME` with the public id `pk_NAME` and the API secret `secret of NAME`; takes part in the
/// shared URL and refuses what it does not know.
pub(crate) fn gateway(name: &str) -> Gateway {
    Gateway {
        id: GatewayId::new(format!("gw_{name}")),
        organization: OrganizationId::new(format!("org_{name}")),
        public_id: format!("pk_{name}"),
        api_secrets: vec![Secret::new(format!("secret of {name}"))],
        default_club: ClubId::new("club_default"),
        shared_url: true,
        policy: CheckPolicy {
            paused: false,
            test_payments: Acceptance::Refuse,
            unknown_clients: Acceptance::Refuse,
            unknown_invoices: Acceptance::Refuse,
            without_invoice: Acceptance::Refuse,
            subscription_charges: Acceptance::Accept,
            max_amount: None,
            min_amount: None,
            currency: None,
        },
    }
}

/// What an edge is started with.
pub(crate) struct Setup {
    pub(crate) settings: Settings,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) directory: String,
    pub(crate) handed_over: HandedOver,
}

impl Default for Setup {
    fn default() -> Self {
        let settings = Settings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            directory_file: None,
            max_body: ByteSize::kib(256),
            max_shared_body: ByteSize::kib(64),
            max_requests: 64,
            max_request_bytes: ByteSize::mib(8),
            max_connections: 64,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(20),
            drain_delay: Duration::ZERO,
            max_signature_failures: 60,
            trusted_proxies: Vec::new(),
        };
        let gateways = vec![gateway("club"), gateway("other")];
        let handed_over = HandedOver::nothing();
        Self { settings, gateways, directory: DIRECTORY.to_owned(), handed_over }
    }
}

impl Setup {
    /// The defaults with other settings.
    pub(crate) fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.settings);
        setup
    }
}

/// A directory that goes when it is dropped; the log in it can be opened again and again.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a scratch directory"))
    }

    fn open(&self) -> EmbeddedLog {
        let options = EmbeddedOptions {
            partitions: PartitionCounts { events: 2, lanes: 2 },
            map_size: 64 * 1024 * 1024,
            reserve: 1024 * 1024,
            allow_page_cache: true,
            ..EmbeddedOptions::new(self.0.path().join("data"))
        };
        EmbeddedLog::open(options, Clock::start()).expect("the log opens")
    }

    /// Opens the log and puts the clients and top-ups into it.
    pub(crate) async fn open_loaded(&self, directory: &str) -> EmbeddedLog {
        let path = self.0.path().join("directory.ndjson");
        std::fs::write(&path, directory).expect("the scratch directory is writable");
        let log = self.open();
        load_directory_file(&path, &log).await.expect("the directory is loaded");
        log
    }
}

/// What quarantined bodies are sealed with.
pub(crate) fn sealer() -> Sealer {
    Sealer::new(&[7; 32])
}

/// An edge that runs.
pub(crate) struct Edge<L: Log = EmbeddedLog> {
    pub(crate) address: SocketAddr,
    pub(crate) log: L,
    pub(crate) shutdown: CancellationToken,
    running: JoinSet<Result<(), ReadError>>,
    readiness: Box<dyn Fn() -> bool>,
    draining: Box<dyn Fn()>,
    pub(crate) tls: Option<Tls>,
    counted: PrometheusHandle,
    look: Box<dyn Fn() -> String>,
    scratch: Scratch,
}

impl Edge {
    /// Starts an edge over a new log and waits until it is ready.
    pub(crate) async fn start(setup: Setup) -> Self {
        Self::start_in(Scratch::new(), setup).await
    }

    /// Starts an edge over the log of this directory and waits until it is ready.
    pub(crate) async fn start_in(scratch: Scratch, setup: Setup) -> Self {
        let log = scratch.open_loaded(&setup.directory).await;
        let edge = Self::launch(scratch, log, setup).await;
        edge.wait_until_ready().await;
        edge
    }

    /// Stops the edge and closes its log.
    pub(crate) async fn close(mut self) -> Scratch {
        self.shutdown.cancel();
        self.wait_until_stopped().await;
        self.log.close().await;
        self.scratch
    }
}

impl<L: Log> Edge<L> {
    /// Starts an edge over this log, which holds the directory, without waiting for it to be ready.
    pub(crate) async fn launch(scratch: Scratch, log: L, setup: Setup) -> Self {
        let gateways = Gateways::new(setup.gateways).expect("no conflicts");
        let gateways = Arc::new(ArcSwapOption::from_pointee(gateways));
        let recorder = PrometheusBuilder::new().build_recorder();
        let bound = {
            // The edge takes its counters when it is bound: each test has its own.
            let _recording = metrics::set_default_local_recorder(&recorder);
            let (settings, handed_over) = (setup.settings, &setup.handed_over);
            Ingest::bind(settings, handed_over, gateways, log.clone(), sealer(), Clock::start()).await
        };
        let ingest = bound.expect("a free port");
        let address = ingest.local_address().expect("an address");
        let (readiness, draining) = (Box::new(ingest.readiness()), Box::new(ingest.draining()));
        let (look, tls) = (Box::new(ingest.metrics()), ingest.tls());
        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(ingest.run(shutdown.clone()));
        Self {
            address,
            log,
            shutdown,
            running,
            readiness,
            draining,
            tls,
            counted: recorder.handle(),
            look,
            scratch,
        }
    }

    /// From now on each answer ends its connection.
    pub(crate) fn drain(&self) {
        (self.draining)();
    }

    pub(crate) fn is_ready(&self) -> bool {
        (self.readiness)()
    }

    pub(crate) async fn wait_until_ready(&self) {
        eventually("the edge is ready", || self.is_ready()).await;
    }

    /// Whether `run` goes on, after some time to return in.
    pub(crate) async fn goes_on_running(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.running.join_next()).await.is_err()
    }

    /// Waits until `run` has returned.
    pub(crate) async fn wait_until_stopped(&mut self) {
        let ended = tokio::time::timeout(Duration::from_secs(5), self.running.join_next()).await;
        let ended = ended.expect("the edge stops in time").expect("the edge was running");
        ended.expect("the edge did not panic").expect("the tables could be followed");
    }

    /// Posts over a connection of its own.
    pub(crate) async fn post(&self, post: &Post) -> Answer {
        Connection::open(self.address).await.post(post).await
    }

    /// Whether a Check that may be paid is answered so.
    pub(crate) async fn answers_checks(&self) -> bool {
        let answer = self.post(&Post::notification(NotificationType::Check, &check())).await;
        answer.parts() == (200, ACCEPTED)
    }

    /// The records of a journal, partition by partition.
    pub(crate) async fn records(&self, name: JournalName) -> Vec<Record> {
        let journal = self.log.journal(name);
        let limit = ReadLimit { records: 1000, bytes: 1024 * 1024 };
        let mut records = Vec::new();
        for partition in (0..journal.partitions()).map(Partition) {
            let batch = journal.read(partition, Offset::START, None, limit).await;
            records.extend(batch.expect("it can be read").records);
        }
        records
    }

    /// The events in the log.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let records = self.records(JournalName::Events).await;
        records.iter().map(|record| Event::decode(&record.value).expect("an event")).collect()
    }

    /// How many answers had this outcome.
    pub(crate) fn answered(&self, outcome: &str) -> u64 {
        self.counter(&format!("hookline_ingest_answers_total{{outcome=\"{outcome}\"}}"))
    }

    /// The value of a counter, by its name and labels as they are exported.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        (self.look)();
        let text = self.counted.render();
        let value = text.lines().find_map(|line| line.strip_prefix(name)).expect("a counter of this name");
        value.trim().parse().expect("a number")
    }

    /// Everything that the edge tells of itself.
    pub(crate) fn metrics(&self) -> String {
        let written_out = (self.look)();
        self.counted.run_upkeep();
        self.counted.render() + &written_out
    }

    /// The answer is this refusal, it was counted once, nothing was appended for it, and the edge goes on.
    pub(crate) async fn assert_refused(&self, answer: &Answer, status: u16, outcome: &str) {
        assert_eq!(answer.parts(), (status, NOT_ACCEPTED), "{answer:?}");
        assert_eq!(answer.header("Content-Type"), Some("application/json"));
        let retry_after = answer.header("Retry-After").and_then(|seconds| seconds.parse::<u32>().ok());
        assert_eq!(retry_after.is_some(), status == 503, "{answer:?}");
        assert_eq!(self.answered(outcome), 1, "{outcome}");
        self.assert_nothing_appended().await;
        self.assert_goes_on().await;
    }

    pub(crate) async fn assert_nothing_appended(&self) {
        assert_eq!(self.records(JournalName::Events).await, []);
        assert_eq!(self.records(JournalName::Quarantine).await, []);
    }

    /// The next payment is accepted.
    pub(crate) async fn assert_goes_on(&self) {
        let before = self.events().await.len();
        let answer = self.post(&Post::notification(NotificationType::Pay, &pay("999"))).await;
        assert_eq!(answer.parts(), (200, ACCEPTED), "the edge does not go on");
        assert_eq!(self.events().await.len(), before + 1);
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), waiting).await.is_ok(), "waited for: {what}");
}
