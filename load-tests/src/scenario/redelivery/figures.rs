//! Whether all came, and at which rate. Pure.

use std::collections::HashSet;
use std::time::Duration;

use super::super::per_second;
use super::super::rate::{busiest, busiest_second};
use super::{ENDPOINTS, Options, Seen};
use crate::checker::Disturbance;
use crate::receiver::Delivery;
use crate::report::{Report, rounded};

/// How far the rate may be off, in either direction.
const TOLERANCE: f64 = 0.05;
/// After a start the lanes are drained of what stood in them, and a stretch is gone through again.
const SETTLING: Duration = Duration::from_secs(3);
/// What a machine holds up for a moment comes at once afterwards: over so long it evens out. A span between kills
/// that is shorter tells nothing of a rate.
const EVEN: Duration = Duration::from_secs(3);
/// Of a lane what was drained since its latest record repeats after a kill: a second's worth, or so many.
const DELIVERIES_BY_LANE_RECORD: u64 = 1_000;
/// Of a redelivery the stretch that was not written down.
const MOST_OF_A_STRETCH: u64 = 512;
/// What is in flight at an endpoint may be answered and not heard of.
const IN_FLIGHT: u64 = 32;

/// Adds the figures, and the demands beyond those of every scenario.
pub(super) fn add(report: &mut Report, options: &Options, seen: &Seen, deliveries: &[Delivery]) {
    let letters = options.in_all();
    report.figure("letters", letters);
    report.figure("rate", options.rate.get());
    report.figure("kills", seen.disturbances.len());
    report.figure("put_into_lanes", seen.progress.redelivered);
    report.require(seen.disturbances.len() == options.kills as usize, || {
        format!("hookline was killed {} times, and not {}", seen.disturbances.len(), options.kills)
    });
    let firsts = first_times(seen.asked_at, deliveries);
    report.figure("redelivered", firsts.len());
    report.require(per_second(count(firsts.len()), 1.0) >= per_second(letters, 1.0), || {
        format!("{} of {letters} letters arrived", firsts.len())
    });
    add_rates(report, options, seen, &firsts);
    add_copies(report, options, deliveries.iter().filter(|one| one.is_accepted()).count());
}

/// A kill makes a letter repeat for two reasons: its lane was drained further than was written down, and its
/// stretch was put into the lanes. Together no more than both allow.
fn add_copies(report: &mut Report, options: &Options, accepted: usize) {
    let copies = count(accepted).saturating_sub(options.in_all());
    let endpoints = u64::from(ENDPOINTS);
    let of_lanes = u64::from(options.rate.get()).max(endpoints * DELIVERIES_BY_LANE_RECORD);
    let by_kill = MOST_OF_A_STRETCH + of_lanes + endpoints * IN_FLIGHT;
    let most = u64::from(options.kills) * by_kill;
    report.require(copies <= most, || format!("{copies} copies, and not {most}"));
}

fn add_rates(report: &mut Report, options: &Options, seen: &Seen, firsts: &[Duration]) {
    let rate = f64::from(options.rate.get());
    let last = firsts.last().copied().unwrap_or_default();
    let spans = spans(seen.asked_at, last, &seen.disturbances);
    report.require(spans.len() > seen.disturbances.len(), || {
        "too short between kills to tell a rate: more letters, or a lower rate".to_owned()
    });
    let (mut rates, mut most_in_a_second) = (Vec::new(), 0);
    for (begin, end) in spans {
        let within: Vec<Duration> = firsts.iter().copied().filter(|at| (begin..end).contains(at)).collect();
        let kept = per_second(count(within.len()), (end - begin).as_secs_f64());
        rates.push(rounded(kept));
        report.require((kept - rate).abs() <= rate * TOLERANCE, || {
            format!("{kept:.1} letters per second, and not {rate} within 5 %")
        });
        most_in_a_second = most_in_a_second.max(busiest_second(&within));
        let most = per_second(count(busiest(&within, EVEN)), EVEN.as_secs_f64());
        report.require(most <= rate * (1.0 + TOLERANCE), || {
            format!("{most:.1} letters per second for {EVEN:?}, and not {rate} within 5 %")
        });
    }
    report.figure("rates", rates);
    report.figure("busiest_second", most_in_a_second);
}

/// When each letter arrived for the first time, in the order of time.
fn first_times(since: Duration, deliveries: &[Delivery]) -> Vec<Duration> {
    let accepted = deliveries.iter().filter(|one| one.is_accepted() && one.received_at >= since);
    let mut accepted: Vec<&Delivery> = accepted.collect();
    accepted.sort_by_key(|one| one.received_at);
    let mut seen = HashSet::new();
    let first = accepted.into_iter().filter(|one| seen.insert((&one.webhook, &one.event_id)));
    first.map(|one| one.received_at).collect()
}

/// The times in which the rate has to be kept: between kills, once what a start brings is over.
fn spans(from: Duration, to: Duration, disturbances: &[Disturbance]) -> Vec<(Duration, Duration)> {
    let begins = std::iter::once(from).chain(disturbances.iter().map(|one| one.until));
    let ends = disturbances.iter().map(|one| one.at).chain(std::iter::once(to));
    let spans = begins.map(|begin| begin + SETTLING).zip(ends);
    spans.filter(|(begin, end)| *end >= *begin + EVEN).collect()
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_rate_counts_between_kills_alone() {
        let kill = |at| Disturbance { at: seconds(at), until: seconds(at + 1) };
        let all = [kill(30), kill(60)];
        let expected = [(13, 30), (34, 60), (64, 90)].map(|(from, to)| (seconds(from), seconds(to)));
        assert_eq!(spans(seconds(10), seconds(90), &all), expected);
        assert!(spans(seconds(10), seconds(15), &[]).is_empty(), "too short");
    }

    #[test]
    fn a_rate_that_is_not_kept_fails() {
        let options = Options {
            letters: 1_000,
            rate: std::num::NonZeroU32::new(100).expect("not zero"),
            kills: 0,
            seed: 1,
        };
        let seen = Seen { asked_at: Duration::ZERO, progress: Default::default(), disturbances: Vec::new() };
        let every = |millis: u64| (0..1_000).map(|n| Duration::from_millis(n * millis)).collect::<Vec<_>>();
        let bursts: Vec<Duration> = (0..1_000).map(|n| seconds(n / 100)).collect();
        let lumps: Vec<Duration> = (0..1_000).map(|n| Duration::from_millis(n / 120 * 1_200)).collect();
        for (case, firsts, passes) in [
            ("as chosen", every(10), true),
            ("once a second", bursts, true),
            ("too fast", every(9), false),
            ("too slow", every(11), false),
            ("in lumps", lumps, false),
        ] {
            let mut report =
                Report::new("test", &crate::checker::Verdict { pass: true, ..Default::default() });
            add_rates(&mut report, &options, &seen, &firsts);
            assert_eq!(report.pass, passes, "{case}: {report:?}");
        }
    }
}
