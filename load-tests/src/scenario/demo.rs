//! The demonstration: every kind of notification in, two integrators out, one of whom fails now and then.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout, Subscriber};
use super::brokers::Brokers;
use super::fleet::Fleet;
use super::{Surroundings, progress_line, require_no_dead_letters, run_name};
use crate::config::{Config, Kafka};
use crate::receiver::Profile;
use crate::report::{Report, watched};
use crate::simulator::{Mix, Options as SimulatorOptions, Pace, PlanOptions, RetryRule, Simulator};

/// After the last answer, until all has to be delivered.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// Where Kafka's script lies in a checkout.
const KAFKA_SCRIPT: &str = "deploy/kafka/kafka";

/// What is shown.
#[derive(Debug, Clone)]
pub struct Options {
    /// Payments in all.
    pub payments: u64,
    /// Over which log.
    pub log: DemoLog,
}

/// The log of the demonstration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DemoLog {
    /// Everything in one process, with a directory.
    Embedded,
    /// An edge and a dispatcher, each its own process, over Kafka.
    Kafka {
        /// `host:port` of brokers, separated by commas. Without it a broker is started for the run, by the
        /// script of the checkout in the current directory.
        bootstrap_servers: Option<String>,
    },
}

/// Runs it.
///
/// # Errors
///
/// If it could not be run; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    match &options.log {
        DemoLog::Embedded => between(surroundings, options.payments, Layout::One).await,
        DemoLog::Kafka { bootstrap_servers: Some(servers) } => {
            let servers = servers.split(',').map(|server| server.trim().to_owned()).collect();
            between(surroundings, options.payments, over_kafka(servers)).await
        }
        DemoLog::Kafka { bootstrap_servers: None } => {
            let script = Path::new(KAFKA_SCRIPT);
            ensure!(
                script.is_file(),
                "there is no {KAFKA_SCRIPT} here to start Kafka with: run the demo in hookline's checkout, or \
                 give it a Kafka that runs with --bootstrap-servers"
            );
            let brokers = Brokers::start(&script.canonicalize()?, 1).await?;
            between(surroundings, options.payments, over_kafka(brokers.bootstrap_servers())).await
        }
    }
}

/// One copy of each record is enough for a demonstration, whatever the cluster.
fn over_kafka(bootstrap_servers: Vec<String>) -> Layout {
    let log = Kafka::of_run(bootstrap_servers, &run_name("demo"), 1);
    Layout::Several { log, edges: 1, dispatchers: 1, controls: 0 }
}

async fn between(surroundings: &Surroundings, payments: u64, layout: Layout) -> anyhow::Result<Report> {
    let subscribers = [
        Subscriber {
            id: WebhookId::new("wh_club_network"),
            events: vec![EventType::PaymentReceived, EventType::PaymentFailed],
            profile: Profile::Healthy,
        },
        Subscriber {
            id: WebhookId::new("wh_bookkeeping"),
            events: EventType::ALL.to_vec(),
            profile: Profile::Flaky { per_cent: 2 },
        },
    ];
    // A temporary directory may be in memory; the log then says so.
    let adjust = |config: &mut Config| config.log.embedded.allow_page_cache = true;
    let (bench, fleet) = Bench::set_up(surroundings, &subscribers, 1, layout, adjust).await?;
    let result = Box::pin(demonstrate(&bench, fleet, surroundings.deadline, payments)).await;
    bench.clear_up(result).await
}

async fn demonstrate(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    payments: u64,
) -> anyhow::Result<Report> {
    fleet.start_all().await?;
    eprintln!(
        "hookline runs ({}); CloudPayments is simulated, and so are two integrators:",
        fleet.names().join(", ")
    );
    for subscription in &bench.subscriptions {
        eprintln!("  {} asks for {} types of events", subscription.webhook, subscription.events.len());
    }
    let plan = PlanOptions {
        mix: Mix::everything(),
        shared_url_share: 0.3,
        duplicate_share: 0.05,
        ..PlanOptions::default()
    };
    let options = SimulatorOptions {
        payments,
        concurrency: 32,
        pace: Pace::Closed,
        retry: RetryRule::scaled_down(),
        plan,
    };
    let simulator = Simulator::new(bench.target.clone(), options, bench.clock);
    let progress = simulator.progress();
    let began = bench.clock.elapsed();
    let line = || {
        let seconds = bench.clock.elapsed().saturating_sub(began).as_secs_f64();
        progress_line(&progress, Some(payments), seconds, bench.receiver.accepted())
    };
    let work = Box::pin(async {
        let ledger = simulator.run(CancellationToken::new()).await;
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        let dead = fleet.dead_letters().await?;
        anyhow::Ok((ledger, dead))
    });
    let (ledger, dead) = watched(bench.clock, deadline, line, work).await?;
    let (mut report, _) = bench.conclude("demo", fleet, &ledger, &[]).await?;
    require_no_dead_letters(&mut report, dead);
    report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &ledger.answer_micros);
    report.latency(["check_p50_ms", "check_p99_ms", "check_p999_ms"], &ledger.check_micros);
    Ok(report)
}
