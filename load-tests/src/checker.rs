//! Whether hookline kept its promises: a pure comparison of what was answered with what was delivered.
//!
//! Every event that was answered with code 0 has to reach every webhook that asked for its type; where it is
//! addressed to one webhook, that one alone. It may come twice only where a reason is known: a [`Disturbance`]
//! shortly after the first time; or one shortly after the event was planned, so that another process, or the
//! next life of the same, planned it again (the copy may come much later, by way of a lane); or another body of
//! the same event was posted. Outside of the disturbances the events of a payment come in their order
//! (`checker/order.rs`).

mod order;

use std::collections::{BTreeMap, HashMap};
use std::slice;
use std::time::Duration;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::{EventId, WebhookId};
use serde::Serialize;

use crate::receiver::{Delivery, Fault};
use crate::simulator::{Entry, Ledger};

/// How long after a delivery a disturbance may still make it repeat: the longest that a window waits for one
/// event (5 s), and the longest between two commits of the position (1 s).
pub const COPY_WINDOW: Duration = Duration::from_secs(6);

/// So many violations are described in words.
const MAX_NOTES: usize = 20;

/// What a webhook asked for.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Which webhook.
    pub webhook: WebhookId,
    /// Which events.
    pub events: Vec<EventType>,
}

/// Something that makes deliveries repeat: a process was killed, partitions changed their owner, positions
/// could not be committed. Times count from the start of the same clock as everything else.
///
/// The bound: each delivery that was answered before it is over, and not longer before it than the copy window
/// (budget + commit interval), may come once more; and so may each event that was planned in that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disturbance {
    /// When it began.
    pub at: Duration,
    /// When it was over. After a `kill -9`: when the next process was started, because until then the
    /// receiver may still find requests of the killed one in its sockets. Where partitions move between
    /// processes: when the new owner has them for certain, a session and a drain after the cause was removed.
    pub until: Duration,
}

impl Disturbance {
    /// Whether it was there at some time of this span.
    fn touches(&self, from: Duration, to: Duration) -> bool {
        self.at <= to && from <= self.until
    }
}

/// All that the verdict is made from.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What was posted and answered.
    pub ledger: &'a Ledger,
    /// What came.
    pub deliveries: &'a [Delivery],
    /// What was asked for.
    pub subscriptions: &'a [Subscription],
    /// What happened to hookline, in the order in which it began.
    pub disturbances: &'a [Disturbance],
    /// How long before a disturbance a delivery may have been for its copy to be explained: [`COPY_WINDOW`].
    pub copy_window: Duration,
}

/// The verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Events that were answered with code 0.
    pub accepted: u64,
    /// One per accepted event and webhook that asked for its type.
    pub expected_deliveries: u64,
    /// Of those, how many the receiver answered with 2xx.
    pub delivered: u64,
    /// Of those, how many it never did.
    pub lost: u64,
    /// Deliveries answered with 2xx beyond the first of the same event at the same webhook.
    pub copies: u64,
    /// Of those: after a disturbance.
    pub copies_after_disturbance: u64,
    /// Of those: of an event that was planned again after a disturbance.
    pub copies_of_replans: u64,
    /// Of those: of an event of which another body was posted.
    pub copies_of_reposts: u64,
    /// Of those: without a reason.
    pub copies_unexplained: u64,
    /// Pairs of events of one payment that came to a webhook in the wrong order, undisturbed.
    pub out_of_order: u64,
    /// Requests with a signature that an integrator refuses.
    pub bad_signatures: u64,
    /// Requests whose body is no payload, or says another id or another type than it should.
    pub malformed: u64,
    /// Deliveries of events that nobody posted, or that the webhook did not ask for.
    pub unexpected: u64,
    /// Check answers by code.
    pub checks_by_code: BTreeMap<u64, u64>,
    /// Checks without an answer.
    pub checks_unanswered: u64,
    /// Notifications given up by the sender; a payment that CloudPayments never got through.
    pub given_up: u64,
    /// Whether every promise was kept.
    pub pass: bool,
    /// The first violations, in words.
    pub notes: Vec<String>,
}

/// Compares.
pub fn check(evidence: &Evidence<'_>) -> Verdict {
    let mut verdict = Verdict {
        accepted: count(evidence.ledger.entries.values().filter(|entry| entry.answered.is_some())),
        checks_by_code: evidence.ledger.checks_by_code.clone(),
        checks_unanswered: evidence.ledger.checks_unanswered,
        given_up: evidence.ledger.given_up,
        ..Verdict::default()
    };
    let addressees = Addressees::new(evidence.subscriptions);
    let received = judge_requests(evidence, &addressees, &mut verdict);
    count_expected(evidence, &addressees, &received, &mut verdict);
    count_copies(evidence, received, &mut verdict);
    for inversion in order::inversions(evidence, &addressees) {
        verdict.out_of_order += 1;
        add_note(&mut verdict, || inversion.to_string());
    }
    verdict.pass = verdict.lost == 0
        && verdict.copies_unexplained == 0
        && verdict.out_of_order == 0
        && verdict.bad_signatures == 0
        && verdict.malformed == 0
        && verdict.unexpected == 0;
    verdict
}

/// Accepted deliveries by webhook and event.
type Received<'a> = HashMap<(&'a WebhookId, &'a EventId), Vec<&'a Delivery>>;

/// Who has to get what.
#[derive(Debug)]
struct Addressees<'a> {
    all: &'a [Subscription],
    by_webhook: HashMap<&'a WebhookId, &'a Subscription>,
}

impl<'a> Addressees<'a> {
    fn new(all: &'a [Subscription]) -> Self {
        let by_webhook = all.iter().map(|subscription| (&subscription.webhook, subscription)).collect();
        Self { all, by_webhook }
    }

    /// Whoever asked for this event and may get it.
    fn of(&self, entry: &Entry) -> impl Iterator<Item = &'a Subscription> {
        let addressed = match &entry.addressee {
            None => self.all,
            Some(webhook) => self.by_webhook.get(webhook).map_or(&[][..], |found| slice::from_ref(*found)),
        };
        let event_type = entry.event_type;
        addressed.iter().filter(move |subscription| subscription.events.contains(&event_type))
    }

    fn include(&self, entry: &Entry, webhook: &WebhookId) -> bool {
        let asked =
            self.by_webhook.get(webhook).is_some_and(|found| found.events.contains(&entry.event_type));
        asked && entry.addressee.as_ref().is_none_or(|addressee| addressee == webhook)
    }
}

fn judge_requests<'a>(
    evidence: &Evidence<'a>,
    addressees: &Addressees<'a>,
    verdict: &mut Verdict,
) -> Received<'a> {
    let mut received: Received<'a> = HashMap::new();
    for delivery in evidence.deliveries {
        let entry = evidence.ledger.entries.get(&delivery.event_id);
        match (delivery.fault, entry) {
            (Some(Fault::IziSignature | Fault::StandardSignature), _) => {
                verdict.bad_signatures += 1;
                note(verdict, "bad signature", delivery);
            }
            (Some(Fault::NotAPayload | Fault::IdMismatch), _) => {
                verdict.malformed += 1;
                note(verdict, "malformed", delivery);
            }
            (None, Some(entry)) if addressees.include(entry, &delivery.webhook) => {
                if delivery.event_type != Some(entry.event_type) {
                    verdict.malformed += 1;
                    note(verdict, "of another type than posted", delivery);
                }
                if delivery.is_accepted() {
                    received.entry((&delivery.webhook, &delivery.event_id)).or_default().push(delivery);
                }
            }
            (None, _) => {
                verdict.unexpected += 1;
                note(verdict, "unexpected", delivery);
            }
        }
    }
    received
}

fn count_expected(
    evidence: &Evidence<'_>,
    addressees: &Addressees<'_>,
    received: &Received<'_>,
    verdict: &mut Verdict,
) {
    for (event_id, entry) in &evidence.ledger.entries {
        if entry.answered.is_none() {
            continue;
        }
        for subscription in addressees.of(entry) {
            verdict.expected_deliveries += 1;
            if received.contains_key(&(&subscription.webhook, event_id)) {
                verdict.delivered += 1;
            } else {
                verdict.lost += 1;
                add_note(verdict, || format!("lost: {event_id} for {}", subscription.webhook));
            }
        }
    }
}

fn count_copies(evidence: &Evidence<'_>, received: Received<'_>, verdict: &mut Verdict) {
    for ((_, event_id), mut deliveries) in received {
        deliveries.sort_by_key(|delivery| delivery.answered_at);
        let Some(entry) = evidence.ledger.entries.get(event_id) else { continue };
        // Each further body under the same id is delivered under that id; the same body again is not.
        let mut bodies_left = entry.bodies.len().saturating_sub(1);
        // What is planned again is planned with each of its bodies.
        let mut replans_left =
            replans(entry, evidence.disturbances, evidence.copy_window) * entry.bodies.len().max(1);
        let mut repeats_left: Vec<usize> = evidence
            .disturbances
            .iter()
            .map(|disturbance| repeats(*disturbance, &deliveries, evidence.copy_window))
            .collect();
        for second in deliveries.iter().skip(1) {
            verdict.copies += 1;
            let explaining = evidence
                .disturbances
                .iter()
                .zip(&mut repeats_left)
                .rev()
                .find(|(disturbance, left)| disturbance.at <= second.received_at && **left > 0);
            if let Some((_, left)) = explaining {
                *left -= 1;
                verdict.copies_after_disturbance += 1;
            } else if replans_left > 0 {
                replans_left -= 1;
                verdict.copies_of_replans += 1;
            } else if bodies_left > 0 {
                bodies_left -= 1;
                verdict.copies_of_reposts += 1;
            } else {
                verdict.copies_unexplained += 1;
                note_copy(verdict, entry, &deliveries, second);
            }
        }
    }
}

/// How many deliveries this disturbance may repeat: those that were answered before it was over, but not longer
/// before it than the window allows. Each of them once.
fn repeats(disturbance: Disturbance, deliveries: &[&Delivery], copy_window: Duration) -> usize {
    let Disturbance { at, until } = disturbance;
    let repeats = |delivery: &&&Delivery| {
        delivery.answered_at <= until && at.saturating_sub(delivery.answered_at) <= copy_window
    };
    deliveries.iter().filter(repeats).count()
}

/// How often the event was planned again at most: it is planned first some time between the first post and the
/// answer, and each disturbance within the window of the latest planning makes it planned once more.
fn replans(entry: &Entry, disturbances: &[Disturbance], copy_window: Duration) -> usize {
    let mut within_reach_until = entry.answered.unwrap_or(entry.first_posted) + copy_window;
    let mut replans = 0;
    for disturbance in disturbances {
        if disturbance.touches(entry.first_posted, within_reach_until) {
            within_reach_until = within_reach_until.max(disturbance.until + copy_window);
            replans += 1;
        }
    }
    replans
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    u64::try_from(items.count()).unwrap_or(u64::MAX)
}

fn note(verdict: &mut Verdict, what: &str, delivery: &Delivery) {
    add_note(verdict, || {
        format!(
            "{what}: {} at {}, {:.3} s, answered {}",
            delivery.event_id,
            delivery.webhook,
            delivery.received_at.as_secs_f64(),
            delivery.status
        )
    });
}

/// When it was accepted and when it came before tell what may have made the copy: a time-out, or a restart.
fn note_copy(verdict: &mut Verdict, entry: &Entry, deliveries: &[&Delivery], copy: &Delivery) {
    let came = |delivery: &&Delivery| format!("{:.3}", delivery.received_at.as_secs_f64());
    let before = deliveries.iter().filter(|delivery| delivery.answered_at < copy.answered_at).map(came);
    let before = before.collect::<Vec<_>>().join(", ");
    let accepted = entry.answered.unwrap_or_default().as_secs_f64();
    let what = format!("copy without a reason (accepted at {accepted:.3} s, came at {before} s)");
    note(verdict, &what, copy);
}

fn add_note(verdict: &mut Verdict, text: impl FnOnce() -> String) {
    if verdict.notes.len() < MAX_NOTES {
        verdict.notes.push(text());
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
