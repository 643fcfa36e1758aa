//! The figures of a comparison. Pure.

use serde_json::{Value, json};

use super::contestant::Contestant;
use super::course::{Course, Round};
use super::{Options, per_second};
use crate::report::{Bound, Goal, Report, rounded};

/// How many times as many deliveries per CPU-second as the best peer.
const DELIVERIES_PER_CPU_SECOND: Bound = Bound::AtLeast(10.0);
/// The figure of that goal.
const TO_BEST_PEER: &str = "deliveries_per_cpu_second_to_best_peer";

/// What the comparison needs of a sender.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    name: &'static str,
    is_service: bool,
    /// Deliveries per CPU-second of each round.
    efficiencies: Vec<f64>,
}

impl Standing {
    pub(super) fn of(contestant: &Contestant, rounds: &[Round]) -> Self {
        let efficiencies = rounds.iter().map(|round| Figures::of(round).deliveries_per_cpu_second).collect();
        Self { name: contestant.name, is_service: contestant.is_service(), efficiencies }
    }
}

/// What a round comes to, in the units of the report.
#[derive(Debug, Clone, Copy)]
struct Figures {
    deliveries_per_cpu_second: f64,
    accepted_per_second: f64,
    deliveries_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    paced_p50_ms: f64,
    paced_p99_ms: f64,
}

impl Figures {
    fn of(round: &Round) -> Self {
        let Round { full, cpu, paced, .. } = round;
        let published = full.published.ended.saturating_sub(full.published.began);
        Self {
            deliveries_per_cpu_second: per_second(full.outcome.delivered, cpu.as_secs_f64()),
            accepted_per_second: per_second(full.outcome.accepted, published.as_secs_f64()),
            deliveries_per_second: per_second(full.outcome.delivered, full.outcome.lasted.as_secs_f64()),
            p50_ms: quantile_ms(full, 0.5),
            p99_ms: quantile_ms(full, 0.99),
            paced_p50_ms: quantile_ms(paced, 0.5),
            paced_p99_ms: quantile_ms(paced, 0.99),
        }
    }

    /// Time of the processors for a million deliveries, in seconds.
    fn cpu_seconds_per_million(self) -> f64 {
        1_000_000.0 / self.deliveries_per_cpu_second
    }
}

/// A sender's own: medians, and every round as it was.
pub(super) fn part(contestant: &Contestant, rounds: &[Round]) -> Report {
    let mut report = Report::of_measurements(contestant.name);
    report.figure("version", contestant.version.clone());
    add_rounds(&mut report, rounds);
    // A peer's losses are a finding; ours break a promise.
    let lost: u64 = rounds.iter().flat_map(courses).map(|course| course.outcome.lost).sum();
    report.require(lost == 0 || contestant.name != "hookline", || format!("{lost} deliveries are lost"));
    report
}

fn add_rounds(report: &mut Report, rounds: &[Round]) {
    let figures: Vec<Figures> = rounds.iter().map(Figures::of).collect();
    let mut add = |name, value: fn(&Figures) -> f64| {
        report.figure(name, rounded(median(figures.iter().map(value).collect())));
    };
    add("cpu_seconds_per_million_deliveries", |figures| figures.cpu_seconds_per_million());
    add("deliveries_per_cpu_second", |figures| figures.deliveries_per_cpu_second);
    add("accepted_per_second", |figures| figures.accepted_per_second);
    add("deliveries_per_second", |figures| figures.deliveries_per_second);
    add("full_speed_p50_ms", |figures| figures.p50_ms);
    add("full_speed_p99_ms", |figures| figures.p99_ms);
    add("half_speed_p50_ms", |figures| figures.paced_p50_ms);
    add("half_speed_p99_ms", |figures| figures.paced_p99_ms);
    let killed = || rounds.iter().map(|round| &round.killed.outcome);
    report.figure("lost_after_kill", killed().map(|outcome| outcome.lost).sum::<u64>());
    report.figure("repeated_after_kill", killed().map(|outcome| outcome.repeated).sum::<u64>());
    report.figure("rounds", rounds.iter().map(raw).collect::<Vec<Value>>());
}

/// All of them, with hookline, the first, beside the best of the others. The goal is one among webhook services: where
/// none took part the figure stands there, and nothing is passed with it.
pub(super) fn whole(options: &Options, parts: Vec<Report>, standings: &[Standing]) -> Report {
    let mut report = Report::of_parts("peers", parts);
    report.figure("events", options.events);
    report.figure("endpoints", options.endpoints);
    report.figure("in_flight", options.in_flight);
    let Some((ours, peers)) = standings.split_first() else { return report };
    if let Some((best, ratios)) = to_best_of(ours, peers.iter().filter(|peer| peer.is_service)) {
        report.figure("best_peer", best);
        report.goal(Goal::judge(TO_BEST_PEER, "ratio", &ratios, DELIVERIES_PER_CPU_SECOND));
    } else if let Some((best, ratios)) = to_best_of(ours, peers.iter()) {
        report.figure("best_peer", best);
        report.figure(TO_BEST_PEER, ratios.into_iter().map(rounded).collect::<Vec<f64>>());
        report.figure("goal", "not judged: no webhook service took part");
    }
    report
}

/// The one with the best median, and ours divided by its own, round by round.
fn to_best_of<'a>(
    ours: &Standing,
    peers: impl Iterator<Item = &'a Standing>,
) -> Option<(&'static str, Vec<f64>)> {
    let by_median = peers.map(|peer| (median(peer.efficiencies.clone()), peer));
    let (_, best) = by_median.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    let rounds = ours.efficiencies.iter().zip(&best.efficiencies);
    Some((best.name, rounds.map(|(ours, best)| ours / best).collect()))
}

/// A round as it was counted, for whoever wants to compute it himself.
fn raw(round: &Round) -> Value {
    let figures = Figures::of(round);
    json!({
        "cpu_seconds": rounded(round.cpu.as_secs_f64()),
        "cpu_seconds_per_million_deliveries": rounded(figures.cpu_seconds_per_million()),
        "deliveries_per_cpu_second": rounded(figures.deliveries_per_cpu_second),
        "accepted_per_second": rounded(figures.accepted_per_second),
        "deliveries_per_second": rounded(figures.deliveries_per_second),
        "half_speed_events_per_second": rounded(round.paced_per_second),
        "full_speed": counted(&round.full),
        "half_speed": counted(&round.paced),
        "kill": counted(&round.killed),
    })
}

fn counted(course: &Course) -> Value {
    let Course { published, outcome } = course;
    json!({
        "published_seconds": rounded(published.ended.saturating_sub(published.began).as_secs_f64()),
        "delivered_seconds": rounded(outcome.lasted.as_secs_f64()),
        "accepted": outcome.accepted,
        "not_accepted": published.refused,
        "delivered": outcome.delivered,
        "lost": outcome.lost,
        "repeated": outcome.repeated,
        "delivered_though_not_accepted": outcome.not_owed,
        "p50_ms": quantile_ms(course, 0.5),
        "p99_ms": quantile_ms(course, 0.99),
    })
}

fn courses(round: &Round) -> [&Course; 3] {
    [&round.full, &round.paced, &round.killed]
}

fn quantile_ms(course: &Course, quantile: f64) -> f64 {
    let micros = std::time::Duration::from_micros(course.outcome.late_micros.value_at_quantile(quantile));
    rounded(micros.as_secs_f64() * 1000.0)
}

/// The mean of the two in the middle where there is none; NaN of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |position: usize| values.get(position).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(values.len().saturating_sub(1) / 2), at(values.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &'static str, is_service: bool, efficiencies: [f64; 3]) -> Standing {
        Standing { name, is_service, efficiencies: efficiencies.to_vec() }
    }

    #[test]
    fn ours_is_divided_by_the_best_peer_of_the_same_round() {
        let ours = standing("hookline", false, [60_000.0, 50_000.0, 70_000.0]);
        for (svix, outpost, expected) in [
            ([100.0, 200.0, 100.0], [5_000.0, 2_500.0, 7_000.0], ("outpost", vec![12.0, 20.0, 10.0])),
            ([6_000.0, 5_000.0, 7_000.0], [9_000.0, 1.0, 2.0], ("svix", vec![10.0, 10.0, 10.0])),
        ] {
            let peers = [standing("svix", true, svix), standing("outpost", true, outpost)];
            assert_eq!(to_best_of(&ours, peers.iter()), Some(expected));
        }
        assert_eq!(to_best_of(&ours, [].iter()), None);
    }

    #[test]
    fn only_a_webhook_service_is_a_yardstick_for_the_goal() {
        let options = crate::scenario::peers::Options {
            peers: None,
            events: 10,
            endpoints: 1,
            in_flight: 1,
            rounds: 3,
            paced_seconds: 1,
            patience_seconds: 5,
        };
        let ours = standing("hookline", false, [900.0; 3]);
        let application = standing("django-webhook", false, [1.0; 3]);
        for (service, judged, pass) in [
            (None, None, true),
            (Some(100.0), Some(("svix", 9.0)), false),
            (Some(90.0), Some(("svix", 10.0)), true),
        ] {
            let mut standings = vec![ours.clone(), application.clone()];
            standings.extend(service.map(|efficiency| standing("svix", true, [efficiency; 3])));
            let parts = vec![Report::of_measurements("hookline")];
            let report = whole(&options, parts, &standings);
            let best = report.figures.iter().find(|(name, _)| *name == "best_peer").map(|(_, value)| value);
            assert_eq!(best, Some(&judged.map_or("django-webhook", |(name, _)| name).into()));
            assert_eq!(report.goals.first().map(|goal| goal.measured), judged.map(|(_, measured)| measured));
            assert_eq!(report.pass, pass, "{service:?}");
        }
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        for (values, expected) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![1.0, 4.0], 2.5), (vec![7.0], 7.0)] {
            assert!((median(values) - expected).abs() < 1e-9);
        }
        assert!(median(Vec::new()).is_nan());
    }
}
