//! hookline's surroundings in a scenario: the receiver, the caller's target, the directory of the run, and the
//! verdict over what came.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{GatewayId, WebhookId};
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::time::Clock;
use tempfile::TempDir;

use super::Surroundings;
use super::fleet::{Fleet, Member};
use crate::checker::{COPY_WINDOW, Disturbance, Evidence, Subscription, Verdict, check};
use crate::config::{self, Config, Gateway, Kafka, Webhook};
use crate::process::{Launch, Role};
use crate::receiver::{Delivery, Endpoint, Limits, Profile, Receiver};
use crate::report::{Report, Series};
use crate::simulator::{Ledger, Target};

/// Until a started hookline is ready: recovery of the log, or joining a group of which a member has died.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at whether all has been delivered.
const DRAIN_INTERVAL: Duration = Duration::from_millis(500);
/// After all has been delivered: copies that are still under way shall be seen.
const SETTLE: Duration = Duration::from_secs(2);
/// What an edge of several would not make itself: 32 bytes in base64. It seals invented data.
const SEALING_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// A webhook of a scenario.
#[derive(Debug, Clone)]
pub(super) struct Subscriber {
    pub(super) id: WebhookId,
    pub(super) events: Vec<EventType>,
    pub(super) profile: Profile,
}

/// Which processes hookline consists of.
#[derive(Debug, Clone)]
pub(super) enum Layout {
    /// One, over the embedded log.
    One,
    /// Edges and dispatchers, over Kafka.
    Several {
        log: Kafka,
        edges: u16,
        /// Prepared; which of them start is the scenario's business.
        dispatchers: u16,
        /// Control planes.
        controls: u16,
    },
}

/// What stays as it is while processes come and go.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) clock: Clock,
    pub(super) receiver: Receiver,
    pub(super) target: Target,
    pub(super) subscriptions: Vec<Subscription>,
    directory: TempDir,
}

impl Bench {
    /// Makes the directory and the configuration and starts the receiver; no hookline runs yet.
    pub(super) async fn set_up(
        surroundings: &Surroundings,
        subscribers: &[Subscriber],
        seed: u64,
        layout: Layout,
        adjust: impl FnOnce(&mut Config),
    ) -> anyhow::Result<(Self, Fleet)> {
        let clock = Clock::start();
        let directory = tempfile::Builder::new()
            .prefix("hookline-load-")
            .tempdir_in(&surroundings.work_dir)
            .context("failed to make a directory for the run")?;
        let secrets: Vec<String> = (1..=subscribers.len()).map(secret_text).collect();
        let endpoints = subscribers.iter().zip(&secrets).map(|(subscriber, secret)| {
            let (webhook, secret) = (subscriber.id.clone(), WebhookSecret::parse(secret)?);
            anyhow::Ok(Endpoint { webhook, secret, profile: subscriber.profile })
        });
        let endpoints = endpoints.collect::<Result<_, _>>()?;
        let receiver = Receiver::start(endpoints, Limits::default(), seed, clock).await?;

        let webhooks = subscribers.iter().zip(&secrets).map(|(subscriber, secret)| Webhook {
            id: subscriber.id.to_string(),
            organization: "org_demo".to_owned(),
            url: receiver.url(&subscriber.id),
            events: subscriber.events.clone(),
            secret: secret.clone(),
            retry_schedule: Some(["200ms", "500ms", "1s"].map(str::to_owned).to_vec()),
        });
        let roles = layout.roles();
        let mut config = layout.config(directory.path(), webhooks.collect())?;
        config.dispatcher.probe_schedule = Some(["100ms", "300ms", "1s"].map(str::to_owned).to_vec());
        adjust(&mut config);
        let members = members(&surroundings.program, directory.path(), &roles, &config)?;
        let gateway = config.gateways.first().context("the configuration has no gateway")?;
        let target = target(&members, gateway);
        let subscriptions = subscribers.iter().map(|subscriber| Subscription {
            webhook: subscriber.id.clone(),
            events: subscriber.events.clone(),
        });
        let subscriptions = subscriptions.collect();
        Ok((Self { clock, receiver, target, subscriptions, directory }, Fleet::new(members, clock)))
    }

    pub(super) fn judge(
        &self,
        ledger: &Ledger,
        deliveries: &[Delivery],
        disturbances: &[Disturbance],
    ) -> Verdict {
        let subscriptions = &self.subscriptions;
        check(&Evidence { ledger, deliveries, subscriptions, disturbances, copy_window: COPY_WINDOW })
    }

    /// Waits until every expected delivery came, or none of the missing ones has for this time; then for what may still
    /// follow. What is late is not lost; that something is missing is for the verdict to say.
    pub(super) async fn drain(
        &self,
        fleet: &mut Fleet,
        ledger: &Ledger,
        within: Duration,
    ) -> anyhow::Result<()> {
        let mut patience = Patience::new(self.clock.elapsed(), within);
        loop {
            let before = self.clock.elapsed();
            let missing = self.judge(ledger, &self.receiver.snapshot(), &[]).lost;
            let now = self.clock.elapsed();
            if missing == 0 || patience.is_over(missing, now) {
                break;
            }
            fleet.check_alive()?;
            // A look at millions takes its time, and the receiver needs some, too.
            tokio::time::sleep(DRAIN_INTERVAL.max(now.saturating_sub(before))).await;
        }
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// Stops hookline, and gives the verdict over everything that came until it had ended.
    pub(super) async fn conclude(
        &self,
        scenario: &'static str,
        fleet: Fleet,
        ledger: &Ledger,
        disturbances: &[Disturbance],
    ) -> anyhow::Result<(Report, Vec<Delivery>)> {
        let failures = fleet.stop_all().await?;
        let deliveries = self.receiver.snapshot();
        let mut report = Report::new(scenario, &self.judge(ledger, &deliveries, disturbances));
        for failure in failures {
            report.require(false, || failure);
        }
        let forgotten = self.receiver.forgotten();
        report.require(forgotten == 0, || format!("the receiver's record lacks {forgotten} deliveries"));
        report.require(!ledger.entries.is_empty(), || "nothing was posted".to_owned());
        let answered = ledger.entries.values().filter_map(|entry| entry.answered);
        report.series.push(Series::per_second("accepted", answered));
        let taken = deliveries.iter().filter(|delivery| delivery.is_accepted());
        report.series.push(Series::per_second("delivered", taken.map(|delivery| delivery.answered_at)));
        Ok((report, deliveries))
    }

    /// Which of these texts stand in what the processes have printed.
    pub(super) fn printed(&self, texts: &[String]) -> anyhow::Result<Vec<String>> {
        let mut printed = Vec::new();
        for entry in std::fs::read_dir(self.directory.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                printed.push(String::from_utf8_lossy(&std::fs::read(&path)?).into_owned());
            }
        }
        ensure!(printed.iter().any(|text| text.contains("listening")), "the processes have printed nothing");
        let is_printed = |text: &&String| printed.iter().any(|printed| printed.contains(text.as_str()));
        Ok(texts.iter().filter(is_printed).cloned().collect())
    }

    /// Removes the directory of the run, unless there is something to look for in it.
    pub(super) async fn clear_up(self, result: anyhow::Result<Report>) -> anyhow::Result<Report> {
        self.receiver.stop().await;
        if !result.as_ref().is_ok_and(|report| report.pass) {
            eprintln!("the directory of the run stays: {}", self.directory.keep().display());
        }
        result
    }
}

/// How long to wait for what is missing: a while since there was less of it.
#[derive(Debug)]
struct Patience {
    within: Duration,
    fewest: u64,
    until: Duration,
}

impl Patience {
    fn new(now: Duration, within: Duration) -> Self {
        Self { within, fewest: u64::MAX, until: now + within }
    }

    fn is_over(&mut self, missing: u64, now: Duration) -> bool {
        if missing < self.fewest {
            (self.fewest, self.until) = (missing, now + self.within);
        }
        now >= self.until
    }
}

impl Layout {
    /// The processes by name.
    fn roles(&self) -> Vec<(String, Role)> {
        match self {
            Self::One => vec![("hookline".to_owned(), Role::Run)],
            Self::Several { edges, dispatchers, controls, .. } => {
                let edges = (1..=*edges).map(|number| (format!("edge-{number}"), Role::Ingest));
                let dispatchers =
                    (1..=*dispatchers).map(|number| (format!("dispatcher-{number}"), Role::Dispatcher));
                let controls = (1..=*controls).map(|number| (format!("control-{number}"), Role::Control));
                edges.chain(dispatchers).chain(controls).collect()
            }
        }
    }

    /// What their configurations have in common, and the files that these name.
    fn config(self, directory: &Path, webhooks: Vec<Webhook>) -> anyhow::Result<Config> {
        let nowhere = ([127, 0, 0, 1], 0).into();
        let config = Config::demo(&directory.join("data"), nowhere, nowhere, webhooks);
        let Self::Several { log, .. } = self else { return Ok(config) };
        let key_file = directory.join("hookline.key");
        std::fs::write(&key_file, SEALING_KEY).context("failed to write the sealing key")?;
        Ok(config.over_kafka(log, &key_file))
    }
}

/// Writes a configuration for each process: the common one with addresses of its own.
fn members(
    program: &Path,
    directory: &Path,
    roles: &[(String, Role)],
    common: &Config,
) -> anyhow::Result<Vec<Member>> {
    let addresses = config::free_addresses(3 * roles.len())?;
    roles
        .iter()
        .zip(addresses.chunks_exact(3))
        .map(|((name, role), addresses)| {
            let [ingest, admin, control] = *addresses else { bail!("three addresses were asked for") };
            let mut config = common.clone();
            (config.ingest.listen, config.admin.listen) = (ingest, admin);
            config.control.listen = control;
            let file: PathBuf = directory.join(format!("{name}.toml"));
            config.write(&file)?;
            let launch = Launch {
                program: program.to_owned(),
                role: *role,
                config: file,
                admin,
                output: directory.join(format!("{name}.log")),
                ready_within: READY_WITHIN,
                sockets: Vec::new(),
            };
            Ok(Member::new(name.clone(), launch, ingest, control))
        })
        .collect()
}

fn target(members: &[Member], gateway: &Gateway) -> Target {
    Target {
        addresses: members.iter().filter_map(Member::edge).collect(),
        gateway_id: GatewayId::new(&gateway.id),
        public_id: gateway.public_id.clone(),
        api_secret: Secret::new(gateway.api_secrets.first().map(String::as_str).unwrap_or_default()),
    }
}

/// 32 digits are base64 of 24 bytes.
fn secret_text(number: usize) -> String {
    format!("whsec_{number:032}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_is_waited_for_and_what_does_not_come_is_not() {
        let mut patience = Patience::new(Duration::from_secs(5), Duration::from_secs(90));
        for (second, missing, expected) in [
            (6, 70, false),
            (95, 69, false),
            (184, 69, false),
            (185, 68, false),
            (200, 70, false),
            (275, 68, true),
        ] {
            assert_eq!(patience.is_over(missing, Duration::from_secs(second)), expected, "{second} s");
        }
    }

    #[test]
    fn every_webhook_gets_a_secret_of_its_own() {
        let one = WebhookSecret::parse(&secret_text(1)).expect("a secret");
        let other = WebhookSecret::parse(&secret_text(2)).expect("a secret");
        assert_ne!(one.decoded(), other.decoded());
    }

    #[test]
    fn each_process_has_its_own_addresses_and_only_edges_are_posted_to() {
        let directory = tempfile::tempdir().expect("a directory");
        let kafka = Kafka::of_run(vec!["127.0.0.1:9092".to_owned()], "run", 1);
        for (layout, names, edges) in [
            (Layout::One, vec!["hookline"], 1),
            (
                Layout::Several { log: kafka, edges: 2, dispatchers: 3, controls: 1 },
                vec!["edge-1", "edge-2", "dispatcher-1", "dispatcher-2", "dispatcher-3", "control-1"],
                2,
            ),
        ] {
            let roles = layout.roles();
            let config = layout.config(directory.path(), Vec::new()).expect("a configuration");
            let members =
                members(Path::new("hookline"), directory.path(), &roles, &config).expect("configurations");
            let gateway = config.gateways.first().expect("a gateway");
            let target = target(&members, gateway);
            assert_eq!(target.addresses.len(), edges);
            assert_eq!(Fleet::new(members, Clock::start()).names(), names);
            for name in names {
                let text = std::fs::read_to_string(directory.path().join(format!("{name}.toml")));
                let text = text.expect("a file");
                let posted_to = target.addresses.iter().filter(|address| text.contains(&address.to_string()));
                let is_edge = name.starts_with("edge") || name == "hookline";
                assert_eq!(posted_to.count(), usize::from(is_edge), "{text}");
            }
        }
    }
}
