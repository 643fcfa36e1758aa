//! Whether each delivery came once: what a sink says of each that was expected. Pure.

use super::poster::Posted;
use crate::report::Report;
use crate::sink::Counts;

/// So many lost deliveries are named.
const MAX_NAMED: usize = 20;

/// The deliveries that were expected, by how often they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    expected: u64,
    lost: u64,
    copies: u64,
    /// The first that were lost.
    named: Vec<String>,
}

impl Tally {
    /// Takes one; its name is needed if it was lost.
    pub(super) fn take(&mut self, times: u32, name: impl FnOnce() -> String) {
        self.expected += 1;
        self.copies += u64::from(times.saturating_sub(1));
        if times == 0 {
            self.lost += 1;
            if self.named.len() < MAX_NAMED {
                self.named.push(name());
            }
        }
    }

    /// Adds the figures, and fails the scenario unless everything came once, and nothing else.
    pub(super) fn tell(self, counts: &Counts, posted: &Posted, report: &mut Report) {
        let Self { expected, lost, copies, named } = self;
        // What was given up may have been taken without an answer, and is nobody's fault then.
        let unexpected =
            if posted.given_up == 0 { counts.distinct.saturating_sub(expected - lost) } else { 0 };
        for (name, value) in [
            ("accepted", u64::try_from(posted.accepted.len()).unwrap_or(u64::MAX)),
            ("given_up", posted.given_up),
            ("unanswered", posted.unanswered),
            ("expected_deliveries", expected),
            ("delivered", expected - lost),
            ("lost", lost),
            ("copies", copies),
            ("unexpected", unexpected),
            ("verified", counts.verified),
            ("bad_signatures", counts.bad_signatures),
            ("malformed", counts.malformed),
        ] {
            report.figure(name, value);
        }
        for name in named {
            report.require(false, || format!("lost: {name}"));
        }
        for (what, count) in [
            ("deliveries lost", lost),
            ("copies without a reason", copies),
            ("deliveries that nobody asked for", unexpected),
            ("notifications given up", posted.given_up),
            ("deliveries with a bad signature", counts.bad_signatures),
            ("malformed requests", counts.malformed),
            ("deliveries that the sink could not keep", counts.forgotten),
        ] {
            report.require(count == 0, || format!("{count} {what}"));
        }
        report.require(expected > 0, || "nothing was posted".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::EventHash;

    #[test]
    fn each_delivery_has_to_come_once_and_nothing_else() {
        let clean = Counts { distinct: 3, requests: 3, ..Counts::default() };
        let with = |change: &dyn Fn(&mut Counts)| {
            let mut counts = clean.clone();
            change(&mut counts);
            counts
        };
        for (case, times, counts, pass) in [
            ("all once", &[1, 1, 1][..], clean.clone(), true),
            ("one lost", &[1, 0, 1], with(&|counts| counts.distinct = 2), false),
            ("one lost and a stranger in its place", &[1, 0, 1], clean.clone(), false),
            ("one twice", &[1, 2, 1], clean.clone(), false),
            ("a stranger beside them", &[1, 1, 1], with(&|counts| counts.distinct = 4), false),
            ("a bad signature", &[1, 1, 1], with(&|counts| counts.bad_signatures = 1), false),
            ("more than the sink keeps", &[1, 1, 1], with(&|counts| counts.forgotten = 1), false),
            ("no request", &[1, 1, 1], with(&|counts| counts.malformed = 1), false),
            ("nothing", &[], Counts::default(), false),
        ] {
            let mut tally = Tally::default();
            times.iter().for_each(|times| tally.take(*times, || "evt_1 for wh_1".to_owned()));
            let mut report = Report::of_measurements("steady");
            let posted = Posted { accepted: vec![(0, EventHash::of("evt_1"))], ..Posted::default() };
            tally.tell(&counts, &posted, &mut report);
            assert_eq!(report.pass, pass, "{case}: {:?}", report.failures);
        }
    }

    #[test]
    fn what_is_lost_is_named_up_to_a_bound() {
        let mut tally = Tally::default();
        (0..100).for_each(|number| tally.take(0, || format!("evt_{number}")));
        assert_eq!((tally.lost, tally.named.len()), (100, MAX_NAMED));
        assert_eq!(tally.named.first().map(String::as_str), Some("evt_0"));
    }
}
