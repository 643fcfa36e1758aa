//! What is changed in the control plane reaches three edges and three dispatchers over Kafka; and without a control
//! all of them go on.
//!
//! The course, under a steady load for the gateway and the webhook of the configuration: gateways and webhooks are
//! registered one after the other, and each process is asked time and again until it knows them. Then the active
//! control is killed while several writers register, and the one that stood by takes its place. At the end the
//! brokers' files, and what the processes have printed, are searched for the secrets.

mod propagation;
mod succession;

use std::time::Duration;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout, Subscriber};
use super::brokers::Brokers;
use super::fleet::Fleet;
use super::{Surroundings, progress_line, require_no_dead_letters, run_name};
use crate::acquirer::{Acquirer, Site};
use crate::checker::Disturbance;
use crate::config::{Config, Kafka};
use crate::graphql::GraphQl;
use crate::receiver::Profile;
use crate::report::{Report, watched};
use crate::simulator::{Ledger, Mix, Options as SimulatorOptions, Pace, PlanOptions, RetryRule, Simulator};

const EDGES: u16 = 3;
const DISPATCHERS: u16 = 3;
const CONTROLS: u16 = 2;
/// Whose gateways and webhooks are registered.
const ORGANIZATION: &str = "org_registered";
/// Beside the changes: events per second.
const EVENTS_PER_SECOND: u32 = 50;
/// The end of the course ends the posting.
const MOST_PAYMENTS: u64 = 1_000_000;
/// After the last answer, until all has to be delivered.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// How much is changed.
#[derive(Debug, Clone)]
pub struct Options {
    /// Gateways that are registered, and as many webhooks.
    pub changes: u16,
    /// Decides what is posted.
    pub seed: u64,
}

/// What the parts of the course need.
struct Scene<'a> {
    bench: &'a Bench,
    brokers: &'a Brokers,
    acquirer: &'a Acquirer,
    options: &'a Options,
}

/// A site that is registered in the course.
fn site(number: u16) -> Site {
    Site::new(format!("pk_registered_{number}"), api_secret(number))
}

fn api_secret(number: u16) -> String {
    format!("api-secret-of-the-registered-site-{number}")
}

/// Runs it, over one broker.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let brokers = Brokers::start(&hookline_local_kafka::script(), 1).await?;
    let acquirer = Acquirer::start((1..=options.changes).map(site).collect()).await?;
    let subscriber = Subscriber {
        id: WebhookId::new("wh_configured"),
        events: vec![EventType::PaymentReceived, EventType::PaymentFailed],
        profile: Profile::Healthy,
    };
    let log = Kafka::of_run(brokers.bootstrap_servers(), &run_name("control"), 1);
    let layout = Layout::Several { log, edges: EDGES, dispatchers: DISPATCHERS, controls: CONTROLS };
    let api_url = acquirer.url();
    let adjust = |config: &mut Config| *config = config.clone().with_cloudpayments(api_url);
    let (bench, fleet) = Bench::set_up(surroundings, &[subscriber], options.seed, layout, adjust).await?;
    let scene = Scene { bench: &bench, brokers: &brokers, acquirer: &acquirer, options };
    let result = Box::pin(course(&scene, fleet, surroundings.deadline)).await;
    bench.clear_up(result).await
}

async fn course(scene: &Scene<'_>, mut fleet: Fleet, deadline: Duration) -> anyhow::Result<Report> {
    fleet.start_all().await?;
    fleet.await_shares().await?;
    let bench = scene.bench;
    let simulator = Simulator::new(bench.target.clone(), load(scene.options.seed), bench.clock);
    let progress = simulator.progress();
    let line = || {
        let seconds = bench.clock.elapsed().as_secs_f64();
        progress_line(&progress, None, seconds, bench.receiver.accepted())
    };
    let work = Box::pin(async {
        let stop = CancellationToken::new();
        let posting = async { anyhow::Ok(simulator.run(stop.clone()).await) };
        let changing = async {
            let changed = change(scene, &mut fleet).await;
            stop.cancel();
            changed
        };
        let (ledger, changed) = tokio::try_join!(posting, changing)?;
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        anyhow::Ok((ledger, changed, fleet.dead_letters().await?))
    });
    let (ledger, changed, dead) = watched(bench.clock, deadline, line, work).await?;
    conclude(scene, fleet, &ledger, changed, dead).await
}

/// What came of the changes.
struct Changed {
    propagation: propagation::Propagation,
    succession: succession::Succession,
    /// What stands nowhere in clear.
    secrets: Vec<String>,
}

async fn change(scene: &Scene<'_>, fleet: &mut Fleet) -> anyhow::Result<Changed> {
    let token = fleet.token("control-1", ORGANIZATION, "OWNER").await?;
    let mut clients = Vec::new();
    for name in ["control-1", "control-2"] {
        clients.push((name, GraphQl::at(fleet.control(name)?).with_token(&token)));
    }
    let (active, client) = succession::active(scene.bench.clock, &clients).await?;
    let (propagation, mut secrets) = propagation::measure(scene, fleet, client).await?;
    let standing_by = clients.iter().filter(|(name, _)| *name != active).map(|(_, client)| client);
    let (succession, more) = succession::measure(scene, fleet, (active, client), standing_by).await?;
    secrets.extend(more);
    secrets.extend((1..=scene.options.changes).map(api_secret));
    Ok(Changed { propagation, succession, secrets })
}

async fn conclude(
    scene: &Scene<'_>,
    fleet: Fleet,
    ledger: &Ledger,
    changed: Changed,
    dead: f64,
) -> anyhow::Result<Report> {
    let nobody: &[Disturbance] = &[];
    let (mut report, _) = scene.bench.conclude("control", fleet, ledger, nobody).await?;
    require_no_dead_letters(&mut report, dead);
    report.figure("cloudpayments_requests", scene.acquirer.requests_at("/test"));
    changed.propagation.report(&mut report);
    changed.succession.report(&mut report);
    let found = scene.brokers.holds(&changed.secrets, ORGANIZATION).await?;
    report.figure("secrets_searched_for", changed.secrets.len());
    report.require(found.is_empty(), || format!("the brokers' files hold {} secrets in clear", found.len()));
    let printed = scene.bench.printed(&changed.secrets)?;
    report.require(printed.is_empty(), || format!("the processes have printed {} secrets", printed.len()));
    Ok(report)
}

fn load(seed: u64) -> SimulatorOptions {
    SimulatorOptions {
        payments: MOST_PAYMENTS,
        concurrency: 64,
        pace: Pace::Open { per_second: EVENTS_PER_SECOND },
        retry: RetryRule::scaled_down(),
        plan: PlanOptions {
            mix: Mix::received_and_failed(),
            shared_url_share: 0.0,
            duplicate_share: 0.0,
            seed,
            ..PlanOptions::default()
        },
    }
}
