//! hookline between a simulator and a receiver, as a child process: the parts that scenarios share.
//!
//! Everything stays on the loopback and is bounded in count and time.

pub mod demo;
pub mod kill;
pub mod steady;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{GatewayId, WebhookId};
use hookline_schemas::secret::{Secret, WebhookSecret};
use hookline_schemas::time::Clock;
use tempfile::TempDir;
use tokio::process::Command;

use crate::checker::{COPY_WINDOW, Evidence, Kill, Subscription, Verdict, check};
use crate::config::{self, Config, Gateway, Webhook};
use crate::process::{Hookline, Launch};
use crate::receiver::{Delivery, Endpoint, Limits, Profile, Receiver};
use crate::report::Report;
use crate::simulator::{Ledger, Progress, Target};

/// Until a started hookline is ready: recovery of the log included.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// From SIGTERM to the exit.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks at whether all has been delivered.
const DRAIN_INTERVAL: Duration = Duration::from_millis(500);
/// After all has been delivered: copies that are still under way shall be seen.
const SETTLE: Duration = Duration::from_secs(2);

/// What every scenario needs from its caller.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The program to test.
    pub program: PathBuf,
    /// Where the directory of the run is made: on a disk, because hookline refuses memory file systems.
    pub work_dir: PathBuf,
    /// The scenario fails when it is not over by then.
    pub deadline: Duration,
}

/// A webhook of a scenario.
#[derive(Debug, Clone)]
struct Subscriber {
    id: WebhookId,
    events: Vec<EventType>,
    profile: Profile,
}

/// hookline's surroundings, set up: nothing runs yet but the receiver.
#[derive(Debug)]
struct Bench {
    clock: Clock,
    directory: TempDir,
    receiver: Receiver,
    launch: Launch,
    target: Target,
    subscriptions: Vec<Subscription>,
}

impl Bench {
    async fn set_up(
        surroundings: &Surroundings,
        subscribers: &[Subscriber],
        seed: u64,
        adjust: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
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

        let addresses = config::free_addresses(2)?;
        let [ingest, admin] = addresses[..] else { bail!("two addresses were asked for") };
        let webhooks = subscribers.iter().zip(&secrets).map(|(subscriber, secret)| Webhook {
            id: subscriber.id.to_string(),
            organization: "org_demo".to_owned(),
            url: receiver.url(&subscriber.id),
            events: subscriber.events.clone(),
            secret: secret.clone(),
            retry_schedule: Some(["200ms", "500ms", "1s"].map(str::to_owned).to_vec()),
        });
        let data_dir = directory.path().join("data");
        let mut config = Config::demo(&data_dir, ingest, admin, webhooks.collect());
        config.dispatcher.probe_schedule = Some(["100ms", "300ms", "1s"].map(str::to_owned).to_vec());
        adjust(&mut config);
        let file = directory.path().join("hookline.toml");
        config.write(&file)?;

        let gateway = config.gateways.first().context("the configuration has no gateway")?;
        let subscriptions = subscribers.iter().map(|subscriber| Subscription {
            webhook: subscriber.id.clone(),
            events: subscriber.events.clone(),
        });
        Ok(Self {
            clock,
            receiver,
            launch: Launch {
                program: surroundings.program.clone(),
                config: file,
                admin,
                output: directory.path().join("hookline.log"),
                ready_within: READY_WITHIN,
            },
            target: target(ingest, gateway),
            subscriptions: subscriptions.collect(),
            directory,
        })
    }

    fn judge(&self, ledger: &Ledger, deliveries: &[Delivery], kills: &[Kill]) -> Verdict {
        let subscriptions = &self.subscriptions;
        check(&Evidence { ledger, deliveries, subscriptions, kills, copy_window: COPY_WINDOW })
    }

    /// Waits until every expected delivery came, or this time is over; then for what may still follow. That
    /// something is missing is for the verdict to say.
    async fn drain(
        &self,
        hookline: &mut Hookline,
        ledger: &Ledger,
        kills: &[Kill],
        within: Duration,
    ) -> anyhow::Result<()> {
        let deadline = self.clock.elapsed() + within;
        while self.judge(ledger, &self.receiver.snapshot(), kills).lost > 0 && self.clock.elapsed() < deadline
        {
            if let Some(status) = hookline.has_ended()? {
                bail!("hookline ended by itself: {status}\n{}", self.launch.last_output());
            }
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }

    /// Stops hookline, and gives the verdict over everything that came until it had ended.
    async fn conclude(
        &self,
        scenario: &'static str,
        hookline: Hookline,
        ledger: &Ledger,
        kills: &[Kill],
    ) -> anyhow::Result<(Report, Vec<Delivery>)> {
        let status = hookline.stop(STOP_WITHIN).await?;
        let deliveries = self.receiver.snapshot();
        let mut report = Report::new(scenario, &self.judge(ledger, &deliveries, kills));
        report.require(status.success(), || format!("hookline stopped with {status}"));
        let forgotten = self.receiver.forgotten();
        report.require(forgotten == 0, || format!("the receiver's record lacks {forgotten} deliveries"));
        report.require(!ledger.entries.is_empty(), || "nothing was posted".to_owned());
        Ok((report, deliveries))
    }

    /// Removes the directory of the run, unless there is something to look for in it.
    async fn clear_up(self, result: anyhow::Result<Report>) -> anyhow::Result<Report> {
        self.receiver.stop().await;
        if !result.as_ref().is_ok_and(|report| report.pass) {
            eprintln!("the directory of the run stays: {}", self.directory.keep().display());
        }
        result
    }
}

fn target(address: std::net::SocketAddr, gateway: &Gateway) -> Target {
    Target {
        address,
        gateway_id: GatewayId::new(&gateway.id),
        public_id: gateway.public_id.clone(),
        api_secret: Secret::new(gateway.api_secrets.first().map(String::as_str).unwrap_or_default()),
    }
}

/// 32 digits are base64 of 24 bytes.
fn secret_text(number: usize) -> String {
    format!("whsec_{number:032}")
}

fn progress_line(progress: &Progress, payments: Option<u64>, seconds: f64, delivered: u64) -> String {
    let of = payments.map_or_else(String::new, |payments| format!("/{payments}"));
    let over = progress.payments.load(Ordering::Relaxed);
    let accepted = progress.accepted.load(Ordering::Relaxed);
    let unanswered = progress.unanswered.load(Ordering::Relaxed);
    let rate = per_second(accepted, seconds);
    format!(
        "{over}{of} payments, {accepted} accepted ({rate:.0}/s), {unanswered} unanswered, \
         {delivered} delivered"
    )
}

#[expect(clippy::cast_precision_loss, reason = "for people; 52 bits are enough")]
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// The program to test: the given one, or a release build of this checkout.
///
/// # Errors
///
/// If it is not there, or does not build.
pub async fn program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(program) = given {
        let program = program.canonicalize().with_context(|| format!("there is no {}", program.display()))?;
        return Ok(program);
    }
    let own = std::env::current_exe().context("failed to find the own program")?;
    let target_dir = own.ancestors().nth(2).context("the own program lies in no target directory")?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "hookline", "--target-dir"])
        .arg(target_dir)
        .current_dir(workspace)
        .kill_on_drop(true)
        .status()
        .await
        .context("failed to start cargo")?;
    ensure!(status.success(), "hookline does not build");
    Ok(target_dir.join("release").join("hookline"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_webhook_gets_a_secret_of_its_own() {
        let one = WebhookSecret::parse(&secret_text(1)).expect("a secret");
        let other = WebhookSecret::parse(&secret_text(2)).expect("a secret");
        assert_ne!(one.decoded(), other.decoded());
    }
}
