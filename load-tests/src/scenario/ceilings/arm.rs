//! One arm: a process that is started, asked until it is warm, asked and measured, and killed.
//!
//! Each time with a process and, where it keeps something, with a directory of its own, so that no arm is slower for
//! what was done to it before, and nothing of one is left to run while the next is measured.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Clock;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::ceiling::{self, Measured, percentile};
use crate::config::{Config, Gateway, Kafka, Retention, free_addresses};
use crate::load::{self, Load, Outcome, Requests, Sender};
use crate::process::{Hookline, Launch, Role, Usage};
use crate::scenario::Surroundings;

/// Until hookline is ready; over Kafka it makes its topics.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What an edge of several would not make itself: 32 bytes in base64. It seals nothing here.
const SEALING_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
/// What retention has deleted of the events.
const EXPIRED: (&str, &str) = ("hookline_log_expired_records_total", "journal=\"events\"");

/// Which cores the arms of a run have; the same for both of a pair.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Cores {
    /// The process that is measured.
    pub(in crate::scenario) server: Option<usize>,
    /// The generator.
    pub(in crate::scenario) generator: Option<usize>,
}

/// What all arms of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(in crate::scenario) struct Stand<'a> {
    pub(in crate::scenario) surroundings: &'a Surroundings,
    pub(in crate::scenario) cores: Cores,
    pub(in crate::scenario) clock: Clock,
}

/// What is asked of a server.
#[derive(Debug, Clone)]
pub(in crate::scenario) struct Ask {
    pub(in crate::scenario) requests: Arc<Requests>,
    /// Connections, and requests in flight at most.
    pub(in crate::scenario) connections: usize,
    /// Without it in closed loop.
    pub(in crate::scenario) per_second: Option<NonZeroU32>,
    /// Before it is measured.
    pub(in crate::scenario) warm_up: Duration,
    pub(in crate::scenario) measured: Duration,
}

/// The log of a hookline.
#[derive(Debug, Clone)]
pub(in crate::scenario) enum Kept {
    /// Embedded, and all of it is kept.
    Embedded,
    /// Embedded, and events are deleted after this time.
    EmbeddedFor(&'static str),
    /// Kafka, and it is the edge alone.
    Kafka(Box<Kafka>),
}

/// A hookline without webhooks.
pub(in crate::scenario) struct Ours {
    hookline: Hookline,
    edge: SocketAddr,
    admin: Admin,
    _directory: TempDir,
}

/// What an arm of ours did.
#[derive(Debug, Clone)]
pub(in crate::scenario) struct OfOurs {
    pub(in crate::scenario) measured: Measured,
    /// Of the events that came while it was measured, the share of as many that retention deleted meanwhile.
    pub(in crate::scenario) deleted_share: f64,
}

/// On whose behalf is posted, as hookline's configuration has it.
pub(in crate::scenario) fn sender() -> Sender {
    let nowhere = ([127, 0, 0, 1], 0).into();
    let gateways = Config::demo(Path::new("data"), nowhere, nowhere, Vec::new()).gateways;
    let of = |gateway: &Gateway| Sender {
        gateway_id: GatewayId::new(&gateway.id),
        public_id: gateway.public_id.clone(),
        api_secret: Secret::new(gateway.api_secrets.first().map(String::as_str).unwrap_or_default()),
    };
    gateways.first().map(of).expect("the demonstration has a gateway")
}

impl Stand<'_> {
    /// Measures hookline.
    pub(in crate::scenario) async fn ours(&self, kept: &Kept, ask: &Ask) -> anyhow::Result<OfOurs> {
        let ours = self.start(kept).await?;
        let expired = async || anyhow::Ok(ours.admin.metrics().await?.sum(EXPIRED.0, EXPIRED.1));
        let next = self.warm(ours.edge, ask).await?;
        let (expired_before, before) = (expired().await?, ours.hookline.usage()?);
        let outcome = self.load(ours.edge, ask, next).await?;
        let (after, expired_after) = (ours.hookline.usage()?, expired().await?);
        ours.hookline.kill().await?;
        let deleted_share = (expired_after - expired_before) / load::as_float(outcome.tally.right);
        Ok(OfOurs { measured: measured(&outcome, before, after), deleted_share })
    }

    /// Measures a ceiling that answers.
    pub(in crate::scenario) async fn server(
        &self,
        arguments: &[&str],
        ask: &Ask,
    ) -> anyhow::Result<Measured> {
        let server = ceiling::Server::start(arguments, self.cores.server).await?;
        let next = self.warm(server.address, ask).await?;
        let before = server.usage()?;
        let outcome = self.load(server.address, ask, next).await?;
        let after = server.usage()?;
        server.kill().await?;
        Ok(measured(&outcome, before, after))
    }

    /// Measures a ceiling that asks itself; it is told how many tasks, and for how long.
    pub(in crate::scenario) async fn asked_by_itself(
        &self,
        arguments: &[&str],
        ask: &Ask,
    ) -> anyhow::Result<Measured> {
        let seconds = |time: Duration| time.as_secs().to_string();
        let (tasks, warm_up, measured) =
            (ask.connections.to_string(), seconds(ask.warm_up), seconds(ask.measured));
        let mut arguments = arguments.to_vec();
        arguments.extend(["--tasks", &tasks, "--warm-up-seconds", &warm_up, "--seconds", &measured]);
        let within = ask.warm_up + ask.measured + READY_WITHIN;
        ceiling::measure(&arguments, self.cores.server, within).await
    }

    /// A directory of an arm's own, on the disk of the run.
    pub(in crate::scenario) fn directory(&self) -> anyhow::Result<TempDir> {
        let made =
            tempfile::Builder::new().prefix("hookline-ceiling-").tempdir_in(&self.surroundings.work_dir);
        made.context("failed to make a directory for an arm")
    }

    async fn start(&self, kept: &Kept) -> anyhow::Result<Ours> {
        let directory = self.directory()?;
        let (launch, edge) = launch(&self.surroundings.program, directory.path(), kept)?;
        let hookline = launch.start_on(self.cores.server, self.clock).await?;
        Ok(Ours { hookline, edge, admin: Admin::at(launch.admin), _directory: directory })
    }

    async fn warm(&self, address: SocketAddr, ask: &Ask) -> anyhow::Result<u64> {
        if ask.warm_up.is_zero() {
            return Ok(0);
        }
        let warming = Ask { measured: ask.warm_up, ..ask.clone() };
        Ok(self.load(address, &warming, 0).await?.next)
    }

    async fn load(&self, address: SocketAddr, ask: &Ask, first: u64) -> anyhow::Result<Outcome> {
        let load = Load {
            address,
            connections: ask.connections,
            per_second: ask.per_second,
            time: ask.measured,
            most: u64::MAX,
            first,
            core: self.cores.generator,
        };
        let outcome = load::run(load, Arc::clone(&ask.requests), self.clock).await?;
        outcome.tally.require_right()?;
        Ok(outcome)
    }
}

/// Writes a configuration without webhooks, and says how it is started and where its edge is.
fn launch(program: &Path, directory: &Path, kept: &Kept) -> anyhow::Result<(Launch, SocketAddr)> {
    let addresses = free_addresses(2)?;
    let [edge, admin] = *addresses else { anyhow::bail!("two addresses were asked for") };
    let mut config = Config::demo(&directory.join("data"), edge, admin, Vec::new());
    let mut role = Role::Run;
    match kept {
        Kept::Embedded => {}
        Kept::EmbeddedFor(time) => config.log.retention = Some(Retention { events: (*time).to_owned() }),
        Kept::Kafka(kafka) => {
            role = Role::Ingest;
            let key_file = directory.join("hookline.key");
            std::fs::write(&key_file, SEALING_KEY).context("failed to write the sealing key")?;
            config = config.over_kafka(Kafka::clone(kafka), &key_file);
        }
    }
    let file = directory.join("hookline.toml");
    config.write(&file)?;
    let launch = Launch {
        program: program.to_owned(),
        role,
        config: file,
        admin,
        output: directory.join("hookline.log"),
        ready_within: READY_WITHIN,
        sockets: Vec::new(),
    };
    Ok((launch, edge))
}

fn measured(outcome: &Outcome, before: Usage, after: Usage) -> Measured {
    let late = &outcome.tally.late_micros;
    Measured {
        generator_busy: Some(crate::report::rounded(outcome.busy)),
        generator_late_p99_ms: (!late.is_empty()).then(|| percentile(late, 0.99)),
        ..Measured::new(&outcome.tally.micros, outcome.lasted, before, after)
    }
}
