//! A dispatcher with a log in a directory: started, stopped, killed, started again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use hookline_dispatcher::{Dispatcher, DispatcherError, EndpointStatus, Endpoints, Settings};
use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_event_log::{Journal, JournalName, Log, Offset, Partition, PartitionCounts, ReadLimit};
use hookline_schemas::custom_headers::CustomHeaders;
use hookline_schemas::event::{Event, EventType, partition_key};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, Meaning, OrganizationId, PaymentId, WebhookId};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::payload::{EventData, PaymentData};
use hookline_schemas::rotation::WebhookKeys;
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::time::Clock;
use hookline_schemas::webhook::{Webhook, Webhooks, parse_url};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
pub(crate) const NEW_SECRET: &str = "whsec_FxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA";
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A dispatcher that runs on a thread of its own, as in earnest.
pub(crate) struct Running {
    pub(crate) log: EmbeddedLog,
    process: Process,
}

pub(crate) fn open(directory: &Path) -> EmbeddedLog {
    let options = EmbeddedOptions {
        partitions: PartitionCounts { events: 2, lanes: 2 },
        map_size: 1 << 28,
        reserve: 1 << 20,
        allow_page_cache: true,
        ..EmbeddedOptions::new(directory)
    };
    EmbeddedLog::open(options, Clock::start()).expect("a log")
}

pub(crate) fn start(log: EmbeddedLog, settings: Settings, webhooks: Vec<Webhook>) -> Running {
    let process = Process::start(log.clone(), settings, webhooks);
    Running { log, process }
}

/// A dispatcher over any log, on a thread of its own.
pub(crate) struct Process {
    stop: CancellationToken,
    ended: oneshot::Receiver<Result<(), DispatcherError>>,
    is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    heartbeat: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    endpoints: Endpoints,
    webhooks: watch::Sender<Option<Arc<Webhooks>>>,
}

impl Process {
    pub(crate) fn start<L: Log>(log: L, settings: Settings, webhooks: Vec<Webhook>) -> Self {
        let (sender, followed) = watch::channel(Some(Arc::new(webhooks.into_iter().collect())));
        let dispatcher = Dispatcher::new(settings, log, followed, Clock::start()).expect("a dispatcher");
        let endpoints = dispatcher.endpoints();
        let is_ready = Box::new(dispatcher.readiness());
        let heartbeat = Box::new(dispatcher.heartbeat());
        let (stop, (tell, ended)) = (CancellationToken::new(), oneshot::channel());
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let result = runtime.block_on(dispatcher.run(stopped));
            let _ = tell.send(result);
        });
        Self { stop, ended, is_ready, heartbeat, endpoints, webhooks: sender }
    }

    pub(crate) fn is_ready(&self) -> bool {
        (self.is_ready)()
    }

    /// The webhooks are these from now on.
    pub(crate) fn tell(&self, webhooks: Webhooks) {
        self.webhooks.send_replace(Some(Arc::new(webhooks)));
    }

    /// How an endpoint does, if its webhook is known.
    pub(crate) async fn status(&self, webhook: &str) -> Option<EndpointStatus> {
        let statuses = self.endpoints.statuses().await.expect("it runs");
        statuses.into_iter().find(|status| status.id.as_str() == webhook)
    }

    pub(crate) async fn stop(self) -> Result<(), DispatcherError> {
        self.stop.cancel();
        let result = self.ended.await.expect("an end");
        assert_eq!((self.heartbeat)(), None, "what has ended is not waited for");
        result
    }
}

impl Running {
    /// The webhooks are these from now on.
    pub(crate) fn change_webhooks(&self, webhooks: Vec<Webhook>) {
        self.tell(webhooks.into_iter().collect());
    }

    /// The same, as of their version.
    pub(crate) fn tell(&self, webhooks: Webhooks) {
        self.process.tell(webhooks);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.process.is_ready()
    }

    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.process.endpoints
    }

    /// How many turns it has taken.
    pub(crate) fn heartbeat(&self) -> Option<u64> {
        (self.process.heartbeat)()
    }

    /// How an endpoint does.
    pub(crate) async fn status(&self, webhook: &str) -> EndpointStatus {
        self.process.status(webhook).await.expect("a webhook")
    }

    /// Asks it to stop, waits, and closes the log.
    pub(crate) async fn stop(self) -> Result<(), DispatcherError> {
        let result = self.process.stop().await;
        self.log.close().await;
        result
    }

    /// Takes the log away under it: whatever it had not written is forgotten, as by a kill.
    pub(crate) async fn kill(self) {
        self.log.close().await;
        // It can't drain without a log; how it ends is of no interest.
        let _ = self.process.stop().await;
    }
}

pub(crate) fn settings() -> Settings {
    let milliseconds = Duration::from_millis;
    Settings {
        allow_addresses: vec!["127.0.0.0/8".parse().expect("a network")],
        allow_http: true,
        ca_file: None,
        attempt_timeout: Duration::from_secs(3),
        budget: Duration::from_secs(1),
        commit_interval: milliseconds(50),
        lane_interval: milliseconds(50),
        endpoint_concurrency: 4,
        max_attempts: 1_024,
        endpoint_queue: 100,
        window_events: 100,
        window_bytes: ByteSize::mib(1),
        repeat_memory: 1_000,
        breaker_failures: 3,
        disable_after: Duration::from_secs(3_600),
        retry_schedule: vec![milliseconds(50), milliseconds(100)],
        probe_schedule: vec![milliseconds(50), milliseconds(100)],
        deadline: Duration::from_secs(3_600),
        drain_timeout: milliseconds(500),
        revoke_timeout: milliseconds(500),
    }
}

pub(crate) fn secret(text: &str) -> WebhookSecret {
    WebhookSecret::parse(text).expect("a secret")
}

pub(crate) fn webhook(id: &str, url: &str) -> Webhook {
    Webhook {
        id: WebhookId::new(id),
        organization: OrganizationId::new("org"),
        club_id: None,
        url: parse_url(url).expect("a URL"),
        events: vec![EventType::PaymentReceived],
        keys: WebhookKeys::new(&secret(SECRET)),
        headers: CustomHeaders::default(),
        retry_schedule: None,
        deadline: None,
        rate_limit: None,
        paused: false,
        enabled_at: None,
        probed_at: None,
    }
}

pub(crate) fn event(transaction: u64) -> Event {
    let data = PaymentData {
        payment_id: PaymentId::compute("pk", transaction),
        gateway: GatewayId::new("gw"),
        gateway_transaction_id: transaction.to_string(),
        original_transaction_id: None,
        invoice_id: None,
        client_id: None,
        subscription_id: None,
        amount: "10.00".parse().expect("a sum"),
        currency: Some("RUB".to_owned()),
        status: Some("Completed".to_owned()),
        operation_type: None,
        payment_method: None,
        card_type: None,
        card_last_four: None,
        test_mode: false,
        occurred_at: None,
        reason: None,
        reason_code: None,
        retry: None,
    };
    Event {
        id: EventId::compute("pk", Meaning::Received, &transaction.to_string()),
        fingerprint: transaction,
        webhooks_version: 0,
        source: hookline_schemas::event::EventSource::Notification,
        event_type: EventType::PaymentReceived,
        notification: Some(NotificationType::Pay),
        organization: OrganizationId::new("org"),
        gateway: Some(GatewayId::new("gw")),
        club_id: ClubId::new("club"),
        occurred_at: None,
        accepted_at: Clock::start().wall(),
        data: EventData::Payment(Box::new(data)),
    }
}

/// Appends an event as the edge does, to the first partition.
pub(crate) async fn append(log: &EmbeddedLog, event: &Event) {
    let journal = log.journal(JournalName::Events);
    let accepted = journal.append(Partition(0), partition_key(event).into(), event.encode().into()).await;
    accepted.expect("accepted").await.expect("durable");
}

/// Everything in a journal.
pub(crate) async fn records(log: &EmbeddedLog, name: JournalName) -> Vec<Vec<u8>> {
    let journal = log.journal(name);
    let mut records = Vec::new();
    for partition in (0..journal.partitions()).map(Partition) {
        let limit = ReadLimit { records: 10_000, bytes: 1 << 24 };
        let batch = journal.read(partition, Offset::START, None, limit).await.expect("a batch");
        records.extend(batch.records.into_iter().map(|record| record.value.to_vec()));
    }
    records
}

/// Waits until it holds, for a bounded time.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "not in time: {what}");
}
