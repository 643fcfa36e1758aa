//! Other webhook senders on the same machine: the same events, the same endpoints, the same receiver, one sender after
//! the other. What a delivery costs in time of the processors, databases and brokers included; how late deliveries are;
//! and what is lost and repeated when the sender is killed.
//!
//! It starts hookline and no peer: those run already, and stand in a file ([`Options::peers`]).

mod adapter;
mod contestant;
mod correlation;
mod course;
mod figures;
mod file;
mod processes;
mod publisher;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use clap::Args;
use hookline_schemas::event::EventType;
use hookline_schemas::ids::WebhookId;

use super::bench::{Bench, Layout, Subscriber};
use super::fleet::Fleet;
use super::{Surroundings, per_second, run_name};
use crate::receiver::Profile;
use crate::report::{Report, watched};
use crate::serve::locked;
use adapter::Endpoint;
use contestant::Contestant;
use course::{Field, Round};
use figures::Standing;
use file::{PeerEntry, PeersFile};

/// Numbers of transactions at CloudPayments look so.
const FIRST_EVENT: u64 = 4_000_000_000;

/// Who takes part, and what is published.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The file that names the peers that run, see load-tests/peers/README.md
    #[arg(long, value_name = "FILE")]
    pub peers: Option<PathBuf>,
    /// Events of each load; at full speed, and again with a kill in the middle
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    pub events: u64,
    /// Endpoints; each gets every event
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub endpoints: u16,
    /// Publications under way at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub in_flight: u16,
    /// How often all of it is measured, sender by sender
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub rounds: u16,
    /// How long events are published at half speed
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=300))]
    pub paced_seconds: u16,
    /// What did not come is lost once nothing came for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(5..=3600))]
    pub patience_seconds: u16,
}

impl Options {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_seconds.into())
    }

    /// At least one, and no more than at full speed.
    fn paced_events(&self, per_second: f64) -> u64 {
        let seconds = f64::from(self.paced_seconds);
        (1..self.events)
            .find(|events| self::per_second(*events, per_second) >= seconds)
            .unwrap_or(self.events)
    }
}

/// Runs it.
///
/// # Errors
///
/// If no peer runs, or the run could not be made; a missed goal is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let file = PeersFile::read(options.peers.as_deref()).await?;
    let subscribers = subscribers(options.endpoints);
    let (bench, fleet) = Bench::set_up(surroundings, &subscribers, 1, Layout::One, |_| {}).await?;
    let result = Box::pin(compete(&bench, fleet, file.peers, surroundings.deadline, options)).await;
    bench.clear_up(result).await
}

async fn compete(
    bench: &Bench,
    fleet: Fleet,
    peers: Vec<PeerEntry>,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<Report> {
    let phase = Mutex::new("registering".to_owned());
    let line = || format!("{}: {} delivered", locked(&phase), bench.receiver.accepted());
    let work = Box::pin(async {
        let mut contestants = contestants(bench, fleet, peers, options).await?;
        let mut rounds: Vec<Vec<Round>> = contestants.iter().map(|_| Vec::new()).collect();
        let (clock, receiver) = (bench.clock, &bench.receiver);
        let mut field = Field { clock, receiver, options, phase: &phase, next_event: FIRST_EVENT };
        for _ in 0..options.rounds {
            for (contestant, rounds) in contestants.iter_mut().zip(&mut rounds) {
                rounds.push(field.round(contestant).await?);
            }
        }
        anyhow::Ok((contestants, rounds))
    });
    let (contestants, rounds) = watched(bench.clock, deadline, line, work).await?;
    let mut parts = Vec::new();
    let standings: Vec<Standing> = contestants
        .iter()
        .zip(&rounds)
        .map(|(contestant, rounds)| Standing::of(contestant, rounds))
        .collect();
    for (contestant, rounds) in contestants.into_iter().zip(&rounds) {
        let mut part = figures::part(&contestant, rounds);
        for failure in contestant.stop().await? {
            part.require(false, || failure);
        }
        parts.push(part);
    }
    let forgotten = bench.receiver.forgotten();
    let mut report = figures::whole(options, parts, &standings);
    report.require(forgotten == 0, || format!("the receiver's record lacks {forgotten} deliveries"));
    Ok(report)
}

/// hookline, and behind it the peers.
async fn contestants(
    bench: &Bench,
    fleet: Fleet,
    peers: Vec<PeerEntry>,
    options: &Options,
) -> anyhow::Result<Vec<Contestant>> {
    let run = run_name("peers");
    let endpoints: Vec<Endpoint> = subscribers(options.endpoints)
        .iter()
        .zip(1..)
        .map(|(subscriber, number)| Endpoint {
            url: bench.receiver.url(&subscriber.id),
            secret: format!("whsec_{number:032}"),
        })
        .collect();
    let mut contestants = vec![Contestant::hookline(fleet, bench.target.clone()).await?];
    for peer in peers {
        contestants.push(Contestant::peer(peer, &endpoints, &run).await?);
    }
    Ok(contestants)
}

fn subscribers(endpoints: u16) -> Vec<Subscriber> {
    (1..=endpoints)
        .map(|number| Subscriber {
            id: WebhookId::new(format!("wh_{number}")),
            events: vec![EventType::PaymentReceived],
            profile: Profile::Foreign,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &[&str]) -> Options {
        Line::parse_from(["peers"].iter().chain(line)).options
    }

    #[test]
    fn half_speed_lasts_as_long_as_is_asked_for_or_as_the_events_last() {
        for (line, per_second, expected) in
            [(&[][..], 50.0, 500), (&["--paced-seconds", "3"], 50.0, 150), (&[], 1e6, 2000), (&[], 0.01, 1)]
        {
            assert_eq!(options(line).paced_events(per_second), expected, "{line:?} {per_second}");
        }
    }

    #[test]
    fn without_a_word_ten_endpoints_get_two_thousand_events_three_times() {
        let options = options(&[]);
        assert_eq!((options.endpoints, options.events, options.rounds, options.in_flight), (10, 2000, 3, 64));
    }
}
