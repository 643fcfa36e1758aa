//! What the simulator saw: per event what was posted and answered, and how long answers took.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use hdrhistogram::Histogram;
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::notification::NotificationType;

/// One event: all notifications that tell of it, however often they were posted. Times count from the start
/// of the clock that the simulator was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The type of the notification that told of it first.
    pub kind: NotificationType,
    /// The event that it has to become.
    pub event_type: EventType,
    /// The transaction that it names; zero where it names none.
    pub transaction_id: u64,
    /// The number of the payment that it belongs to.
    pub payment: u64,
    /// The only webhook that it may go to; without one, all that asked for its type.
    pub addressee: Option<WebhookId>,
    /// Posts in all: the first ones, retries, duplicates, and a Confirm after its Pay.
    pub posted: u32,
    /// Hashes of the different bodies among them: a Confirm after its Pay is a second one, a retry is not.
    pub bodies: BTreeSet<u64>,
    /// When it was posted first.
    pub first_posted: Duration,
    /// When it was answered with code 0 first.
    pub answered: Option<Duration>,
}

/// Posts that were not answered with HTTP 200 and a code, by what came instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unanswered {
    /// HTTP 503 with Retry-After: later, please.
    pub put_off: u64,
    /// HTTP 503 without it.
    pub put_off_without_term: u64,
    /// Another status, or no code.
    pub refused: u64,
    /// No whole answer in time: refused or broken connections, silence.
    pub silent: u64,
}

impl Unanswered {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.put_off + self.put_off_without_term + self.refused + self.silent
    }

    /// Adds others.
    pub const fn add(&mut self, other: Self) {
        self.put_off += other.put_off;
        self.put_off_without_term += other.put_off_without_term;
        self.refused += other.refused;
        self.silent += other.silent;
    }
}

/// All of them, and the counts that belong to no event.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// By event.
    pub entries: HashMap<EventId, Entry>,
    /// Check answers, by code.
    pub checks_by_code: BTreeMap<u64, u64>,
    /// Checks that got no answer, or one that says no code. CloudPayments declines such a payment.
    pub checks_unanswered: u64,
    /// Requests sent, Checks included.
    pub posts: u64,
    /// Of those, what was not answered as it should be.
    pub unanswered: Unanswered,
    /// Notifications other than Check that were answered with code 0; each counts once, duplicates again.
    pub accepted: u64,
    /// Notifications that were never answered with code 0 until their attempts were used.
    pub given_up: u64,
    /// Microseconds from when a notification was due to its first answer, if that was code 0.
    pub answer_micros: Histogram<u64>,
    /// The same for Checks, whatever the code.
    pub check_micros: Histogram<u64>,
    /// When the first payment began.
    pub began: Duration,
    /// When the last notification was answered or given up.
    pub ended: Duration,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            entries: HashMap::new(),
            checks_by_code: BTreeMap::new(),
            checks_unanswered: 0,
            posts: 0,
            unanswered: Unanswered::default(),
            accepted: 0,
            given_up: 0,
            answer_micros: histogram(),
            check_micros: histogram(),
            began: Duration::MAX,
            ended: Duration::ZERO,
        }
    }

    /// Adds what another worker saw. The notifications of one event are posted by one worker, so entries
    /// don't meet; should they do, nothing that was answered is forgotten.
    pub fn merge(&mut self, other: Self) {
        for (id, entry) in other.entries {
            match self.entries.get_mut(&id) {
                None => {
                    self.entries.insert(id, entry);
                }
                Some(known) => {
                    known.posted = known.posted.saturating_add(entry.posted);
                    known.bodies.extend(entry.bodies);
                    known.first_posted = known.first_posted.min(entry.first_posted);
                    known.answered = known.answered.into_iter().chain(entry.answered).min();
                }
            }
        }
        for (code, count) in other.checks_by_code {
            *self.checks_by_code.entry(code).or_default() += count;
        }
        self.checks_unanswered += other.checks_unanswered;
        self.posts += other.posts;
        self.unanswered.add(other.unanswered);
        self.accepted += other.accepted;
        self.given_up += other.given_up;
        // Both have the same bounds, so adding can't fail.
        let _ = self.answer_micros.add(&other.answer_micros);
        let _ = self.check_micros.add(&other.check_micros);
        self.began = self.began.min(other.began);
        self.ended = self.ended.max(other.ended);
    }

    /// From the beginning of the first payment to the last answer.
    pub fn duration(&self) -> Duration {
        self.ended.saturating_sub(self.began)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

/// Microseconds up to a minute, with three digits.
#[expect(clippy::expect_used, reason = "constant bounds")]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

/// Microseconds for a histogram.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use super::*;

    fn ledger(id: &str, posted: u32, answered: Option<u64>) -> Ledger {
        let mut ledger = Ledger::new();
        let entry = Entry {
            kind: NotificationType::Pay,
            event_type: EventType::PaymentReceived,
            transaction_id: 7,
            payment: 1,
            addressee: None,
            posted,
            bodies: BTreeSet::from([u64::from(posted)]),
            first_posted: Duration::from_secs(1),
            answered: answered.map(Duration::from_secs),
        };
        ledger.entries.insert(EventId::new(id), entry);
        ledger.posts = u64::from(posted);
        ledger.answer_micros.saturating_record(500);
        ledger
    }

    #[test]
    fn merging_forgets_nothing_that_was_answered() {
        let mut all = ledger("evt_1", 2, None);
        all.merge(ledger("evt_1", 1, Some(5)));
        all.merge(ledger("evt_1", 1, Some(9)));
        all.merge(ledger("evt_1", 1, None));
        all.merge(ledger("evt_2", 1, None));
        let entry = &all.entries[&EventId::new("evt_1")];
        assert_eq!((entry.posted, entry.answered), (5, Some(Duration::from_secs(5))));
        assert_eq!(entry.bodies, BTreeSet::from([1, 2]));
        assert_eq!((all.entries.len(), all.posts, all.answer_micros.len()), (2, 6, 5));
    }
}
