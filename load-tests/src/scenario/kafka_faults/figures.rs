//! What a fault cost, and what it must not have cost.

use std::collections::HashMap;
use std::time::Duration;

use hookline_schemas::ids::EventId;

use super::{Fault, Seen};
use crate::receiver::Delivery;
use crate::report::{Report, rounded};
use crate::simulator::{Ledger, micros};

/// No edge may hold more anonymous memory, whatever Kafka does.
const MAX_EDGE_RSS_ANON: u64 = 300 * 1024 * 1024;
/// The endpoint to which all goes well shows how late deliveries are.
const HEALTHY: &str = "wh_healthy";

/// Adds the figures of one fault, and its demands beyond those of every scenario.
pub(super) fn add(report: &mut Report, fault: Fault, seen: &Seen, deliveries: &[Delivery]) {
    let Seen { ledger, checks, disturbances, edge_rss_anon_bytes } = seen;
    report.figure("disturbances", disturbances.len());
    report.figure("posts", ledger.posts);
    report.figure("put_off_503", ledger.unanswered.put_off);
    report.figure("silent", ledger.unanswered.silent);
    add_gaps(report, ledger, deliveries);
    report.figure("checks_beside", checks.posts);
    report.figure("checks_beside_unanswered", checks.checks_unanswered);
    let slowest_check = Duration::from_micros(checks.check_micros.max());
    report.figure("slowest_check_ms", rounded(slowest_check.as_secs_f64() * 1000.0));
    report.figure("edge_rss_anon_bytes", *edge_rss_anon_bytes);
    report.latency(["answer_p50_ms", "answer_p99_ms", "answer_p999_ms"], &ledger.answer_micros);
    demand(report, fault, seen);
}

/// An edge that lives answers everything: Checks with 0, and what it can't make durable in time with 503 and
/// Retry-After. That may happen whatever the fault, on a machine with little to spare.
fn demand(report: &mut Report, fault: Fault, seen: &Seen) {
    let (unanswered, checks) = (seen.ledger.unanswered, &seen.checks);
    let without_term = unanswered.put_off_without_term;
    report.require(without_term == 0, || format!("{without_term} answers 503 without Retry-After"));
    let refused = unanswered.refused;
    report.require(refused == 0, || format!("{refused} notifications were refused"));
    let rss_anon = seen.edge_rss_anon_bytes;
    report.require(rss_anon <= MAX_EDGE_RSS_ANON, || format!("an edge held {rss_anon} bytes"));
    let other_codes: u64 = checks.checks_by_code.iter().filter(|(code, _)| **code != 0).map(|(_, n)| n).sum();
    report.require(other_codes == 0, || format!("{other_codes} Checks were answered other than 0"));
    if fault != Fault::Edge {
        let (silent, asked) = (unanswered.silent, checks.checks_unanswered);
        report.require(silent == 0, || format!("{silent} notifications got no answer from edges that live"));
        report.require(asked == 0, || format!("{asked} Checks got no answer from edges that live"));
    }
    if matches!(fault, Fault::Minority | Fault::Outage) {
        report.require(unanswered.put_off > 0, || "no notification was put off".to_owned());
    }
}

/// How long nothing at all was accepted, or delivered to the endpoint to which all goes well; and the event that
/// took longest, because most partitions may go on while one of them waits for a leader.
pub(in crate::scenario) fn add_gaps(report: &mut Report, ledger: &Ledger, deliveries: &[Delivery]) {
    let answered: Vec<Duration> = ledger.entries.values().filter_map(|entry| entry.answered).collect();
    let firsts = first_receipts(deliveries);
    let received: Vec<Duration> = firsts.values().copied().collect();
    for (name, times) in [("longest_gap_accepted_s", answered), ("longest_gap_delivered_s", received)] {
        report.figure(name, rounded(longest_gap(times, ledger.began, ledger.ended).as_secs_f64()));
    }
    let answer = ledger
        .entries
        .values()
        .filter_map(|entry| Some(entry.answered?.saturating_sub(entry.first_posted)))
        .max();
    let delivery = ledger
        .entries
        .iter()
        .filter_map(|(id, entry)| Some(firsts.get(id)?.saturating_sub(entry.answered?)))
        .collect::<Vec<_>>();
    report.figure("slowest_answer_s", rounded(answer.unwrap_or_default().as_secs_f64()));
    let slowest = delivery.iter().max().copied().unwrap_or_default();
    report.figure("slowest_delivery_s", rounded(slowest.as_secs_f64()));
    let mut histogram = crate::simulator::histogram();
    delivery.into_iter().for_each(|late| histogram.saturating_record(micros(late)));
    report.latency(["delivery_p50_ms", "delivery_p99_ms", "delivery_p999_ms"], &histogram);
}

/// When each event came first to the endpoint to which all goes well.
fn first_receipts(deliveries: &[Delivery]) -> HashMap<&EventId, Duration> {
    let mut firsts: HashMap<&EventId, Duration> = HashMap::new();
    let healthy =
        deliveries.iter().filter(|delivery| delivery.is_accepted() && delivery.webhook.as_str() == HEALTHY);
    for delivery in healthy {
        let first = firsts.entry(&delivery.event_id).or_insert(delivery.received_at);
        *first = delivery.received_at.min(*first);
    }
    firsts
}

/// The longest time between two neighbours, the beginning and the end being neighbours as well.
fn longest_gap(mut times: Vec<Duration>, from: Duration, to: Duration) -> Duration {
    times.retain(|time| (from..=to).contains(time));
    times.extend([from, to]);
    times.sort_unstable();
    let gaps = times.iter().zip(times.iter().skip(1)).map(|(earlier, later)| later.saturating_sub(*earlier));
    gaps.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;
    use crate::simulator::Unanswered;

    fn seconds(times: &[u64]) -> Vec<Duration> {
        times.iter().copied().map(Duration::from_secs).collect()
    }

    #[test]
    fn the_longest_gap_counts_the_beginning_and_the_end() {
        for (times, expected) in [
            (&[][..], 10),
            (&[15], 5),
            (&[19, 12, 11], 7),
            (&[11, 12, 13], 7),
            (&[16, 17, 18], 6),
            (&[3, 10, 14, 20, 99], 6),
        ] {
            let gap = longest_gap(seconds(times), Duration::from_secs(10), Duration::from_secs(20));
            assert_eq!(gap, Duration::from_secs(expected), "{times:?}");
        }
    }

    fn seen(unanswered: Unanswered) -> Seen {
        let ledger = Ledger { unanswered, ..Ledger::new() };
        Seen { ledger, checks: Ledger::new(), disturbances: Vec::new(), edge_rss_anon_bytes: 1 }
    }

    fn passes(fault: Fault, seen: &Seen) -> bool {
        let mut report = Report::new("fault", &Verdict { pass: true, ..Verdict::default() });
        demand(&mut report, fault, seen);
        report.pass
    }

    #[test]
    fn each_fault_may_cost_what_it_must_and_no_more() {
        let none = Unanswered::default();
        let put_off = Unanswered { put_off: 7, ..none };
        let silent = Unanswered { silent: 1, ..put_off };
        let without_term = Unanswered { put_off_without_term: 1, ..put_off };
        for (fault, unanswered, expected) in [
            (Fault::Leader, none, true),
            (Fault::Leader, put_off, true),
            (Fault::Leader, silent, false),
            (Fault::Edge, silent, true),
            (Fault::Dispatcher, none, true),
            (Fault::Dispatcher, put_off, true),
            (Fault::Dispatcher, silent, false),
            (Fault::Outage, none, false),
            (Fault::Outage, put_off, true),
            (Fault::Outage, without_term, false),
            (Fault::Minority, silent, false),
        ] {
            assert_eq!(passes(fault, &seen(unanswered)), expected, "{fault:?} {unanswered:?}");
        }
        assert!(!passes(Fault::Outage, &Seen { edge_rss_anon_bytes: 1 << 30, ..seen(put_off) }));
        let mut declined = seen(none);
        declined.checks.checks_by_code.insert(13, 1);
        assert!(!passes(Fault::Leader, &declined));
    }
}
