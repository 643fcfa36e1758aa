//! hookline between a caller and the load tests' receiver: one directory, one configuration, as many starts
//! as a test wants.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hookline_load_tests::checker::{COPY_WINDOW, Disturbance, Evidence, Subscription, Verdict, check};
use hookline_load_tests::config::{Config, Webhook, free_addresses};
use hookline_load_tests::fixtures::{Encoding, Fixture, Shape, Subject};
use hookline_load_tests::process::{Hookline, Launch, Role};
use hookline_load_tests::receiver::{Delivery, Endpoint, Limits, Profile, Receiver};
use hookline_load_tests::simulator::{Ledger, Target};
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{EventId, GatewayId, WebhookId};
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::time::{Clock, Timestamp};
use tempfile::TempDir;

use crate::client::{self, Answer, NEW_SECRET, typed_url};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_hookline");

/// For whatever takes milliseconds on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// From SIGTERM to the exit.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at something that is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What a test works with. The receiver runs, hookline does not yet.
pub(crate) struct Bench {
    pub(crate) clock: Clock,
    pub(crate) receiver: Receiver,
    pub(crate) launch: Launch,
    pub(crate) ingest: SocketAddr,
    pub(crate) subscriptions: Vec<Subscription>,
    directory: TempDir,
}

impl Bench {
    /// Webhooks that ask for every event, each behaving in its way.
    pub(crate) async fn new(webhooks: &[(&str, Profile)]) -> anyhow::Result<Self> {
        Self::with(webhooks, |_| {}).await
    }

    /// The same, with a configuration that is changed before it is written.
    pub(crate) async fn with(
        webhooks: &[(&str, Profile)],
        adjust: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let directory = scratch()?;
        let endpoints = webhooks.iter().enumerate().map(|(index, (id, profile))| {
            let secret = WebhookSecret::parse(&webhook_secret(index))?;
            anyhow::Ok(Endpoint { webhook: WebhookId::new(*id), secret, profile: *profile })
        });
        let endpoints = endpoints.collect::<Result<_, _>>()?;
        let receiver = Receiver::start(endpoints, Limits::default(), 1, clock).await?;
        let subscribed = webhooks.iter().enumerate().map(|(index, (id, _))| Webhook {
            id: (*id).to_owned(),
            organization: "org_demo".to_owned(),
            url: receiver.url(&WebhookId::new(*id)),
            events: EventType::ALL.to_vec(),
            secret: webhook_secret(index),
            retry_schedule: Some(vec!["200ms".to_owned(), "500ms".to_owned()]),
        });

        let (ingest, admin) = (free_address()?, free_address()?);
        let mut config = Config::demo(&directory.path().join("data"), ingest, admin, subscribed.collect());
        config.dispatcher.probe_schedule = Some(vec!["100ms".to_owned(), "300ms".to_owned()]);
        config.log.embedded.allow_page_cache = true;
        adjust(&mut config);
        let file = directory.path().join("hookline.toml");
        config.write(&file)?;
        let subscriptions = config.webhooks.iter().map(|webhook| Subscription {
            webhook: WebhookId::new(&webhook.id),
            events: webhook.events.clone(),
        });
        Ok(Self {
            clock,
            receiver,
            subscriptions: subscriptions.collect(),
            launch: Launch {
                program: PathBuf::from(PROGRAM),
                role: Role::Run,
                config: file,
                admin,
                output: directory.path().join("hookline.log"),
                ready_within: SOON,
                sockets: Vec::new(),
            },
            ingest,
            directory,
        })
    }

    /// Where configuration, key, log and output are.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Adds tables to the configuration.
    pub(crate) fn configure(&self, tables: &str) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&self.launch.config)?;
        Ok(std::fs::write(&self.launch.config, format!("{text}\n{tables}"))?)
    }

    /// Starts hookline; ready when it returns.
    pub(crate) async fn start(&self) -> anyhow::Result<Hookline> {
        self.launch.start(self.clock).await
    }

    /// Asks it to stop, and demands that it does so in order.
    pub(crate) async fn stop(&self, hookline: Hookline) -> anyhow::Result<()> {
        let status = hookline.stop(STOP_WITHIN).await?;
        ensure!(status.code() == Some(0), "{status}\n{}", self.launch.last_output());
        Ok(())
    }

    /// Waits until hookline ends by itself.
    pub(crate) async fn end_of(&self, mut hookline: Hookline) -> anyhow::Result<ExitStatus> {
        let deadline = self.clock.elapsed() + SOON;
        while self.clock.elapsed() < deadline {
            if let Some(status) = hookline.has_ended()? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        bail!("hookline has not ended by itself\n{}", self.launch.last_output())
    }

    /// Posts at the typed URL.
    pub(crate) async fn post(&self, fixture: &Fixture) -> anyhow::Result<Answer> {
        client::post(self.ingest, &typed_url(fixture), NEW_SECRET, fixture).await
    }

    /// Posts completed payments with these numbers, one after the other; each has to be accepted.
    pub(crate) async fn pay(&self, numbers: impl IntoIterator<Item = u64>) -> anyhow::Result<Vec<EventId>> {
        let mut ids = Vec::new();
        for number in numbers {
            let pay = fixture(Shape::Pay2026, number);
            let answer = self.post(&pay).await?;
            ensure!(answer.is_accepted(), "payment {number}: {answer:?}");
            ids.push(event_id(&pay));
        }
        Ok(ids)
    }

    /// What this webhook has accepted until now, in the order in which it came.
    pub(crate) fn accepted_by(&self, webhook: &str) -> Vec<Delivery> {
        let accepted = |delivery: &Delivery| delivery.webhook.as_str() == webhook && delivery.is_accepted();
        let mut deliveries: Vec<Delivery> = self.receiver.snapshot().into_iter().filter(accepted).collect();
        deliveries.sort_by_key(|delivery| delivery.received_at);
        deliveries
    }

    /// Waits until the webhook has accepted all of these.
    pub(crate) async fn delivered(&self, webhook: &str, ids: &[EventId]) -> anyhow::Result<()> {
        let missing = || {
            let accepted = self.accepted_by(webhook);
            let known: HashSet<&EventId> = accepted.iter().map(|delivery| &delivery.event_id).collect();
            ids.iter().filter(|id| !known.contains(id)).count()
        };
        eventually(self.clock, || missing() == 0).await.with_context(|| {
            format!("{webhook} lacks {} events of {}\n{}", missing(), ids.len(), self.launch.last_output())
        })
    }

    /// Waits until a metric with this label says at least this much.
    pub(crate) async fn metric_reaches(
        &self,
        hookline: &Hookline,
        (name, label): (&str, &str),
        least: f64,
    ) -> anyhow::Result<()> {
        let deadline = self.clock.elapsed() + SOON;
        loop {
            let value = hookline.metric(name, label).await?;
            if value >= least {
                return Ok(());
            }
            ensure!(self.clock.elapsed() < deadline, "{name} {label} is {value}");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// What the checker says about all that came.
    pub(crate) fn judge(&self, ledger: &Ledger, disturbances: &[Disturbance]) -> Verdict {
        let (deliveries, subscriptions) = (&self.receiver.snapshot(), &self.subscriptions);
        check(&Evidence { ledger, deliveries, subscriptions, disturbances, copy_window: COPY_WINDOW })
    }

    /// Waits until the checker finds nothing lost, and demands that it finds nothing else.
    pub(crate) async fn nothing_lost(
        &self,
        ledger: &Ledger,
        disturbances: &[Disturbance],
    ) -> anyhow::Result<Verdict> {
        // What is still missing shows in the verdict.
        let _ = eventually(self.clock, || self.judge(ledger, disturbances).lost == 0).await;
        let verdict = self.judge(ledger, disturbances);
        ensure!(verdict.pass, "{verdict:?}\n{}", self.launch.last_output());
        Ok(verdict)
    }

    /// Where the simulator posts.
    pub(crate) fn target(&self) -> Target {
        Target {
            addresses: vec![self.ingest],
            gateway_id: GatewayId::new("gw_demo"),
            public_id: "pk_demo".to_owned(),
            api_secret: Secret::new(NEW_SECRET),
        }
    }
}

/// Waits until this holds.
pub(crate) async fn eventually(clock: Clock, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = clock.elapsed() + SOON;
    while !holds() {
        ensure!(clock.elapsed() < deadline, "not within {SOON:?}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// A notification of the payment with this number.
pub(crate) fn fixture(shape: Shape, number: u64) -> Fixture {
    let subject = Subject {
        transaction_id: 4_294_967_000 + number * 4,
        invoice_id: format!("order-{number}"),
        account_id: format!("client-{number}"),
        amount: "1490.00".parse().expect("a sum"),
        occurred_at: Timestamp(1_779_972_943_000),
    };
    Fixture::new(shape, &subject, Encoding::LowerCase)
}

/// The id that its event has to have.
pub(crate) fn event_id(fixture: &Fixture) -> EventId {
    fixture.event_id("pk_demo").expect("a notification other than Check is an event")
}

/// A directory beside the build's own: `/tmp` may be in memory.
pub(crate) fn scratch() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("hookline-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// The secret of the webhook with this index: 32 digits are base64 of 24 bytes.
pub(crate) fn webhook_secret(index: usize) -> String {
    format!("whsec_{:032}", 71_000_000 + index)
}

/// A port that no other test of this binary was given.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    static FREE: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    static TAKEN_UP: std::sync::Once = std::sync::Once::new();
    let mut found = Ok(Vec::new());
    TAKEN_UP.call_once(|| found = free_addresses(256));
    free.extend(found?);
    free.pop().context("more tests than ports")
}
