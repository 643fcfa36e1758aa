//! An endpoint is down while a large backlog grows for it, and comes back: what it costs meanwhile, what the
//! others notice, and how the backlog is drained.
//!
//! The course: a calm beginning; the endpoint dies under light load; events pile up for it as fast as they can
//! be posted; it comes back, with a rate limit, and everything has to arrive in order. Beside it other endpoints
//! get events of their own all the time.

mod course;
mod drain;
mod figures;
mod standstill;

use std::time::Duration;

use hookline_schemas::ids::WebhookId;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, Layout};
use super::fleet::Fleet;
use super::{Surroundings, progress_line, require_no_dead_letters, sites};
use crate::config::Config;
use crate::receiver::Profile;
use crate::report::{Report, watched};
use crate::simulator::{
    Ledger, Mix, Options as SimulatorOptions, Pace, PlanOptions, RetryRule, Simulator, Story,
};
use course::{Course, Seen};

/// Endpoints beside the one that is down.
const OTHERS: u16 = 9;
/// Events per second for all of them together: some for each partition in every second.
const OTHERS_PER_SECOND: u32 = 200;
/// Events per second for the endpoint before it dies, and while it does.
const CALM_PER_SECOND: u32 = 100;
/// What the endpoint takes for an answer: the round trip of the slow start. With as many attempts in flight as
/// there may be, more than the rate limit.
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Attempts in flight per endpoint.
const ENDPOINT_CONCURRENCY: u16 = 64;
/// Few probes while it is down; and when it is back, the next one is not far.
const PROBES: [&str; 2] = ["5s", "30s"];
/// Payments under way at once while events pile up.
const CONCURRENCY: usize = 64;
/// After all has been drained, until whatever is missing has to have arrived.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);
/// No run needs more payments; its course ends the posting.
const MOST_PAYMENTS: u64 = 10_000_000;
/// Between the numbers of the payments of one simulator and the next.
const NUMBERS: u64 = 1 << 40;

/// How large a backlog, and how it is drained.
#[derive(Debug, Clone)]
pub struct Options {
    /// Events for the endpoint that is down.
    pub events: u64,
    /// When the payments begin of which these events are.
    pub pace: Pace,
    /// The rate limit of the endpoint: deliveries per second.
    pub drain_rate: u32,
    /// What it answers while it is down; without it, it closes the connection instead.
    pub status: Option<u16>,
    /// Decides what is posted.
    pub seed: u64,
    /// Whether hookline is killed in the middle of the pile-up and of the drain. What one process says of itself
    /// is not judged then, nor what a restart may delay.
    pub is_killed: bool,
}

/// The endpoint that dies.
fn patient() -> WebhookId {
    sites::webhook(0)
}

/// Runs it.
///
/// # Errors
///
/// If the run could not be made; a broken promise is a report that did not pass.
pub async fn run(surroundings: &Surroundings, options: &Options) -> anyhow::Result<Report> {
    let mut subscribers = sites::subscribers(1 + OTHERS, Profile::Healthy);
    subscribers.iter_mut().take(1).for_each(|patient| patient.profile = Profile::Slow(ROUND_TRIP));
    let adjust = |config: &mut Config| {
        sites::separate(config);
        config.rate_limits.insert(patient().to_string(), options.drain_rate);
        config.dispatcher.endpoint_concurrency = Some(ENDPOINT_CONCURRENCY);
        config.dispatcher.probe_schedule = Some(PROBES.map(str::to_owned).to_vec());
    };
    let (bench, fleet) = Bench::set_up(surroundings, &subscribers, options.seed, Layout::One, adjust).await?;
    let result = Box::pin(go_through(&bench, fleet, surroundings.deadline, options)).await;
    bench.clear_up(result).await
}

/// When which simulator posts; the course says so.
#[derive(Debug, Default)]
struct Cues {
    calm_is_over: CancellationToken,
    pile_up: CancellationToken,
    pile_is_high: CancellationToken,
    /// Everything of the pile has been answered.
    piled_up: CancellationToken,
    others_are_over: CancellationToken,
}

async fn go_through(
    bench: &Bench,
    mut fleet: Fleet,
    deadline: Duration,
    options: &Options,
) -> anyhow::Result<Report> {
    fleet.start(&["hookline"]).await?;
    let simulator = |load| Simulator::new(bench.target.clone(), load, bench.clock);
    let (calm, pile, others) =
        (simulator(calm(options)), simulator(pile(options)), simulator(others(options)));
    let progress = pile.progress();
    let line = || {
        let seconds = bench.clock.elapsed().as_secs_f64();
        let line = progress_line(&progress, None, seconds, bench.receiver.accepted());
        format!("backlog: {line} in all")
    };
    let work = Box::pin(async {
        let cues = Cues::default();
        let calm = async { anyhow::Ok(calm.run(cues.calm_is_over.clone()).await) };
        let others = async { anyhow::Ok(others.run(cues.others_are_over.clone()).await) };
        let piling = async {
            cues.pile_up.cancelled().await;
            let ledger = pile.run(cues.pile_is_high.clone()).await;
            cues.piled_up.cancel();
            anyhow::Ok(ledger)
        };
        let course = Course::new(bench, &mut fleet, options, &progress, &cues)?;
        let (calm, others, pile, seen) = tokio::try_join!(calm, others, piling, course.run())?;
        let ledger = together([pile, calm, others]);
        bench.drain(&mut fleet, &ledger, DRAIN_WITHIN).await?;
        anyhow::Ok((ledger, seen, fleet.dead_letters().await?))
    });
    let (ledger, seen, dead): (Ledger, Seen, f64) = watched(bench.clock, deadline, line, work).await?;
    let (mut report, deliveries) = bench.conclude("outage", fleet, &ledger, &seen.disturbances).await?;
    require_no_dead_letters(&mut report, dead);
    figures::add(&mut report, options, &seen, &ledger, &deliveries);
    Ok(report)
}

/// Each simulator counts its payments from 0; here no two have the same number.
fn together(ledgers: [Ledger; 3]) -> Ledger {
    let mut all = Ledger::new();
    for (number, mut ledger) in (0_u64..).zip(ledgers) {
        ledger.entries.values_mut().for_each(|entry| entry.payment += number * NUMBERS);
        all.merge(ledger);
    }
    all
}

/// Events for the endpoint before it dies, of payments that are not those of the pile.
fn calm(options: &Options) -> SimulatorOptions {
    let plan = PlanOptions {
        first_transaction_id: 1_000_000,
        mix: Mix::received_and_failed(),
        sites: sites::sites(0..1),
        ..plan(options)
    };
    load(Pace::Open { per_second: CALM_PER_SECOND }, plan)
}

/// Payments of one event and of two, so that there is an order to be kept.
fn pile(options: &Options) -> SimulatorOptions {
    let mix = Mix(vec![(Story::Purchase, 60), (Story::TwoStage, 20), (Story::Refunded, 20)]);
    load(options.pace, PlanOptions { mix, sites: sites::sites(0..1), ..plan(options) })
}

fn others(options: &Options) -> SimulatorOptions {
    let sites = sites::sites(1..=OTHERS);
    let plan = PlanOptions { mix: Mix::received_and_failed(), sites, ..plan(options) };
    load(Pace::Open { per_second: OTHERS_PER_SECOND }, plan)
}

fn plan(options: &Options) -> PlanOptions {
    PlanOptions { seed: options.seed, shared_url_share: 0.0, duplicate_share: 0.0, ..PlanOptions::default() }
}

fn load(pace: Pace, plan: PlanOptions) -> SimulatorOptions {
    SimulatorOptions {
        payments: MOST_PAYMENTS,
        concurrency: CONCURRENCY,
        pace,
        retry: RetryRule::scaled_down(),
        plan,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hookline_schemas::event::EventType;
    use hookline_schemas::ids::EventId;
    use hookline_schemas::notification::NotificationType;

    use super::*;
    use crate::simulator::{Entry, payment};

    #[test]
    fn payments_of_different_simulators_have_different_numbers() {
        let ledger = |simulator: u64| {
            let mut ledger = Ledger::new();
            for payment in 0..10 {
                let entry = Entry {
                    kind: NotificationType::Pay,
                    event_type: EventType::PaymentReceived,
                    transaction_id: 7,
                    payment,
                    addressee: None,
                    posted: 1,
                    bodies: BTreeSet::new(),
                    first_posted: Duration::ZERO,
                    answered: None,
                };
                ledger.entries.insert(EventId::new(format!("evt_{simulator}_{payment}")), entry);
            }
            ledger
        };
        let all = together([1, 2, 3].map(ledger));
        let numbers: BTreeSet<u64> = all.entries.values().map(|entry| entry.payment).collect();
        assert_eq!(numbers.len(), 30);
    }

    #[test]
    fn before_the_pile_other_transactions_are_posted() {
        let options =
            Options { events: 1, pace: Pace::Closed, drain_rate: 1, status: None, seed: 1, is_killed: false };
        let transactions = |plan: &PlanOptions| -> BTreeSet<u64> {
            let payments = (0..1000).map(|number| payment(plan, number));
            payments.flat_map(|payment| payment.steps).map(|step| step.fixture.transaction_id).collect()
        };
        assert!(transactions(&calm(&options).plan).is_disjoint(&transactions(&pile(&options).plan)));
    }
}
