//! One hookline over the embedded log whose webhooks all are at a sink: for figures of delivery at full speed. The
//! [`bench`](super::bench) judges every delivery on its way instead, which costs more than to make it.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, ensure};
use hookline_schemas::event::EventType;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Clock;
use tempfile::TempDir;

use super::Surroundings;
use super::poster::{Posted, Poster, plan};
use super::tally::Tally;
use crate::config::{Config, Webhook, free_addresses};
use crate::process::{Hookline, Launch, Role};
use crate::report::{Report, watched};
use crate::simulator::{Pace, Target, payment};
use crate::sink::{EventHash, Mark, SinkProcess, path_of, secret_text};

/// Until a started hookline is ready: recovery of the log.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at whether all has been delivered.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// So long without a single delivery, and the rest counts as lost.
const STANDSTILL: Duration = Duration::from_secs(30);
/// Edges take notifications best when some wait; these are under way while a backlog is made.
const FILLING: usize = 64;
/// Nothing ends meanwhile, whatever the machine does.
pub(super) const FOR_EVER: &str = "12h";
/// Events that are compared with the sink at once.
const EVENTS_AT_ONCE: usize = 1024;

/// It, stopped or not, and what it stands in.
#[derive(Debug)]
pub(super) struct Lone {
    pub(super) clock: Clock,
    pub(super) sink: SinkProcess,
    pub(super) target: Target,
    pub(super) webhooks: u16,
    seed: u64,
    config: Config,
    launch: Launch,
    directory: TempDir,
}

impl Lone {
    /// Makes the directory and starts the sink; no hookline runs yet.
    pub(super) async fn set_up(
        surroundings: &Surroundings,
        webhooks: u16,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("hookline-load-")
            .tempdir_in(&surroundings.work_dir)
            .context("failed to make a directory for the run")?;
        let sink = SinkProcess::start(webhooks, Duration::ZERO).await?;
        let [ingest, admin] = free_addresses(2)?[..] else { anyhow::bail!("two addresses were asked for") };
        let subscriptions = (1..=webhooks).map(|number| webhook(number, sink.url(number))).collect();
        let config = Config::demo(&directory.path().join("data"), ingest, admin, subscriptions);
        let gateway = config.gateways.first().context("the configuration has no gateway")?;
        let target = Target {
            addresses: vec![ingest],
            gateway_id: GatewayId::new(&gateway.id),
            public_id: gateway.public_id.clone(),
            api_secret: Secret::new(gateway.api_secrets.first().map(String::as_str).unwrap_or_default()),
        };
        let launch = Launch {
            program: surroundings.program.clone(),
            role: Role::Run,
            config: directory.path().join("hookline.toml"),
            admin,
            output: directory.path().join("hookline.log"),
            ready_within: READY_WITHIN,
            sockets: Vec::new(),
        };
        Ok(Self { clock: Clock::start(), sink, target, webhooks, seed, config, launch, directory })
    }

    /// Starts hookline with its defaults but for what is adjusted; it is ready when this returns.
    pub(super) async fn start(&self, adjust: impl FnOnce(&mut Config)) -> anyhow::Result<Hookline> {
        let mut config = self.config.clone();
        adjust(&mut config);
        config.write(&self.launch.config)?;
        self.launch.start(self.clock).await
    }

    /// Who posts so many payments.
    pub(super) fn poster(&self, payments: u64, pace: Pace, connections: usize) -> Poster {
        Poster::new(&self.target, self.seed, payments, pace, connections, self.clock)
    }

    /// Leaves a backlog of so many events, none of them settled, and no hookline.
    ///
    /// The webhooks are at an address that takes connections and never says a word, the window has room for a single
    /// event of each partition, and no attempt ends: so everything behind these events stays unread in the log. The
    /// process is killed, and the next one begins with the first event.
    pub(super) async fn fill(&self, events: u64, deadline: Duration) -> anyhow::Result<Posted> {
        let silent = TcpListener::bind("127.0.0.1:0").context("failed to bind who says nothing")?;
        let address = silent.local_addr()?;
        let hookline = self.start(|config| {
            for (webhook, number) in config.webhooks.iter_mut().zip(1..) {
                webhook.url = format!("http://{address}{}", path_of(number));
            }
            let dispatcher = &mut config.dispatcher;
            dispatcher.window_events = Some(1);
            dispatcher.budget = Some(FOR_EVER.to_owned());
            dispatcher.attempt_timeout = Some(FOR_EVER.to_owned());
        });
        let hookline = hookline.await?;
        let poster = self.poster(events, Pace::Closed, FILLING);
        let progress = poster.progress();
        let line = || format!("a backlog: {} of {events} events", progress.accepted());
        let posted = watched(self.clock, deadline, line, poster.run()).await?;
        hookline.kill().await?;
        ensure!(posted.given_up == 0, "{} notifications were not taken", posted.given_up);
        let delivered = self.sink.counts().await?.requests;
        ensure!(delivered == 0, "{delivered} deliveries left while the backlog was made");
        Ok(posted)
    }

    /// Waits until everything that was posted is delivered, or nothing comes any more; what is missing then is for the
    /// judgement to say.
    pub(super) async fn drain(&self, posted: &Posted) -> anyhow::Result<()> {
        let expected = self.expected(posted);
        let (mut came, mut at) = (0, self.clock.elapsed());
        loop {
            let distinct = self.sink.counts().await?.distinct;
            if distinct > came {
                (came, at) = (distinct, self.clock.elapsed());
            }
            if distinct >= expected || self.clock.elapsed().saturating_sub(at) > STANDSTILL {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Deliveries in all.
    pub(super) fn expected(&self, posted: &Posted) -> u64 {
        u64::from(self.webhooks) * u64::try_from(posted.accepted.len()).unwrap_or(u64::MAX)
    }

    /// Requires that each accepted event came to each webhook once and nothing else came, and tells what did.
    pub(super) async fn judge(&self, posted: &Posted, report: &mut Report) -> anyhow::Result<()> {
        let mut tally = Tally::default();
        for events in posted.accepted.chunks(EVENTS_AT_ONCE) {
            let at_all = |number: u64, event: EventHash| {
                (1..=self.webhooks).map(move |webhook| (number, webhook, event.at(webhook)))
            };
            let expected: Vec<(u64, u16, Mark)> =
                events.iter().flat_map(|(number, event)| at_all(*number, *event)).collect();
            let marks: Vec<Mark> = expected.iter().map(|(_, _, mark)| *mark).collect();
            for ((number, webhook, _), times) in expected.iter().zip(self.sink.times(&marks).await?) {
                tally.take(times, || format!("{} for wh_{webhook}", self.name_of(*number)));
            }
        }
        tally.tell(&self.sink.counts().await?, posted, report);
        Ok(())
    }

    /// The event of the payment with this number.
    fn name_of(&self, number: u64) -> String {
        let step = payment(&plan(self.seed), number).steps.into_iter().next();
        let id = step.and_then(|step| step.fixture.event_id(&self.target.public_id));
        id.map_or_else(|| format!("payment {number}"), |id| id.to_string())
    }

    /// Removes the directory of the run, unless there is something to look for in it.
    pub(super) fn clear_up<T>(self, result: &anyhow::Result<T>, is_good: impl FnOnce(&T) -> bool) {
        if !result.as_ref().is_ok_and(is_good) {
            eprintln!("the directory of the run stays: {}", self.directory.keep().display());
        }
    }
}

fn webhook(number: u16, url: String) -> Webhook {
    Webhook {
        id: format!("wh_{number}"),
        organization: "org_demo".to_owned(),
        url,
        events: vec![EventType::PaymentReceived, EventType::PaymentFailed],
        secret: secret_text(number),
        retry_schedule: None,
    }
}
