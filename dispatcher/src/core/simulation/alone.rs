//! A single core, input by input.

use std::sync::Arc;

use hookline_event_log::{AppendError, CommitError, Epoch, JournalName, Offset, Partition};
use hookline_schemas::delivery::{
    AttemptOutcome, BreakerRecord, ExceptionRecord, FailureReason, LaneRecord, ParkedDelivery,
};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;

use super::super::{Action, Committing, Core, FetchedEvent, Input, Load, ResumedLane, Totals};
use super::faults::Faults;
use super::receivers::{event, number_of, webhook};
use super::settings;
use crate::settings::Settings;

const PARTITION: Partition = Partition(0);
const EPOCH: Epoch = Epoch(1);

/// A core with one webhook, and the time.
struct Alone(Core, u64);

impl Alone {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let mut alone = Self(Core::new(settings, 1, 1, Timestamp(0)), 0);
        alone.step(Input::Webhooks(Arc::new([webhook("wh", Faults::NONE)].into_iter().collect())));
        alone
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        self.0.step(input, Timestamp(self.1), &mut actions);
        actions
    }

    fn grant_events(&mut self, epoch: Epoch) {
        let (partition, committed) = (PARTITION, Offset::START);
        self.step(Input::EventsGranted { partition, epoch, committed, totals: Totals::default() });
    }

    fn grant_lanes(&mut self, epoch: Epoch, lanes: Vec<LaneRecord>) -> Vec<Action> {
        let (partition, registered) = (PARTITION, Offset::START);
        let lanes = lanes.into_iter().map(|record| ResumedLane { record, uncounted: 0 }).collect();
        self.step(Input::LanesGranted { partition, epoch, registered, lanes })
    }

    fn fetch(&mut self, epoch: Epoch, numbers: std::ops::Range<u64>) -> Vec<Action> {
        let fetched = |number| FetchedEvent {
            offset: Offset(number),
            event: Some(event(number, Timestamp(0))),
            bytes: 700,
        };
        self.step(Input::Fetched { partition: PARTITION, epoch, events: numbers.map(fetched).collect() })
    }

    fn follow(&mut self, numbers: std::ops::Range<u64>) -> Vec<Action> {
        let records = numbers.map(|number| (Offset(number), parked(number))).collect();
        self.step(Input::Followed { partition: PARTITION, epoch: EPOCH, records })
    }
}

pub(super) fn parked(number: u64) -> ParkedDelivery {
    ParkedDelivery {
        webhook: WebhookId::new("wh"),
        event: event(number, Timestamp(0)),
        tries: 0,
        last_failure: None,
        not_before: Timestamp(0),
        deadline: Timestamp(u64::MAX),
        webhooks_version: 0,
    }
}

fn attempted(actions: &[Action]) -> Vec<u64> {
    let attempted = actions.iter().filter_map(|action| match action {
        Action::Attempt { event, .. } => Some(number_of(&event.event)),
        _ => None,
    });
    attempted.collect()
}

fn parked_again(actions: &[Action]) -> Vec<u64> {
    let parked = actions.iter().filter_map(|action| match action {
        Action::Park { parked, .. } => Some(number_of(&parked.event)),
        _ => None,
    });
    parked.collect()
}

fn let_go(actions: &[Action]) -> Vec<(JournalName, Epoch)> {
    let gone = actions.iter().filter_map(|action| match action {
        Action::LetGo { journal, epoch, .. } => Some((*journal, *epoch)),
        _ => None,
    });
    gone.collect()
}

/// A lane with one delivery that its receiver refuses for good: written down as settled once the dead letter is
/// acknowledged, and not before.
#[test]
fn a_dead_letter_settles_by_its_acknowledgement() {
    let mut alone = Alone::new();
    alone.grant_lanes(EPOCH, Vec::new());
    let mut actions = alone.follow(7..8);
    let mut written = None;
    let mut buried = false;
    for _ in 0..12 {
        let mut inputs = vec![Input::TimerFired];
        for action in actions.drain(..) {
            match action {
                Action::Attempt { attempt, .. } => {
                    let outcome = AttemptOutcome::Rejected { reason: FailureReason::Status(413) };
                    inputs.push(Input::AttemptFinished { attempt, outcome });
                }
                Action::PutLane { endpoint, epoch, record, .. } => {
                    written = Some(record.clone());
                    inputs.push(Input::LanePut { endpoint, epoch, record, acknowledged: true });
                }
                // Refused, for as long as this goes on.
                Action::Bury { append, .. } => {
                    buried = true;
                    inputs.push(Input::Appended { append, result: Err(AppendError::NoSpace) });
                }
                _ => {}
            }
        }
        for input in inputs {
            alone.1 += 1_000;
            actions.extend(alone.step(input));
        }
    }
    let written = written.expect("the lane has been written down");
    assert!(buried && !written.drained && written.cursor == 7, "{written:?}");
}

/// Where nothing is left in the lane but what is in flight, deliveries wait for its end, though not for long.
#[test]
fn the_end_of_a_lane_is_waited_for() {
    for (ends_at, parked, sent) in [(400, vec![], vec![5]), (600, vec![5], vec![])] {
        let mut alone = Alone::new();
        alone.grant_lanes(EPOCH, Vec::new());
        alone.grant_events(EPOCH);
        let in_flight = alone.follow(1..2).into_iter().find_map(|action| match action {
            Action::Attempt { attempt, .. } => Some(attempt),
            _ => None,
        });
        let held = alone.fetch(EPOCH, 5..6);
        assert!(attempted(&held).is_empty() && parked_again(&held).is_empty());
        alone.1 = 500.min(ends_at);
        assert_eq!(parked_again(&alone.step(Input::TimerFired)), parked);
        alone.1 = ends_at;
        let (attempt, outcome) = (in_flight.expect("an attempt"), AttemptOutcome::Delivered { status: 200 });
        assert_eq!(attempted(&alone.step(Input::AttemptFinished { attempt, outcome })), sent);
    }
}

/// A lane that is being given up starts nothing: neither what was loaded nor what is due. Its permits come back.
#[test]
fn a_lane_that_is_revoked_starts_nothing() {
    for is_lost in [false, true] {
        let (mut alone, journal) = (Alone::new(), JournalName::Parked);
        let exceptions = vec![exception(1), exception(2)];
        let record = LaneRecord { cursor: 3, exceptions, ..LaneRecord::unknown(WebhookId::new("wh")) };
        let loads = alone.grant_lanes(EPOCH, vec![record]);
        let change = match is_lost {
            true => Input::Lost { journal, partition: PARTITION },
            false => Input::Revoking { journal, partition: PARTITION },
        };
        alone.step(change);
        for action in loads {
            if let Action::Load { endpoint, epoch, load: load @ Load::Exception { offset, .. }, .. } = action
            {
                let records = vec![(offset, parked(offset.0))];
                let loaded = Input::Loaded { endpoint, epoch, load, records, next: offset.next() };
                assert!(attempted(&alone.step(loaded)).is_empty());
            }
        }
        assert!(alone.0.endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
    }
}

fn exception(offset: u64) -> ExceptionRecord {
    ExceptionRecord { offset, tries: 1, due: Timestamp(0), deadline: Timestamp(u64::MAX) }
}

/// A request that outlives the append of its copy and its window leaves nothing behind.
#[test]
fn a_late_success_of_a_lost_window_is_forgotten() {
    for ends_first in [true, false] {
        let (mut alone, journal) = (Alone::new(), JournalName::Events);
        alone.grant_events(EPOCH);
        let fetched = alone.fetch(EPOCH, 0..1);
        // Its budget ends: it is parked, and the request runs on.
        alone.1 = 5_000;
        let budget = alone.step(Input::TimerFired);
        alone.step(Input::Lost { journal, partition: PARTITION });
        let mut ends = Vec::new();
        for action in fetched.into_iter().chain(budget) {
            ends.push(match action {
                Action::Attempt { attempt, .. } => {
                    Input::AttemptFinished { attempt, outcome: AttemptOutcome::Delivered { status: 200 } }
                }
                Action::Park { append, .. } => Input::Appended { append, result: Err(AppendError::Unknown) },
                _ => continue,
            });
        }
        assert_eq!(ends.len(), 2);
        if !ends_first {
            ends.reverse();
        }
        for end in ends {
            alone.step(end);
            alone.1 += 1_000;
            alone.step(Input::TimerFired);
        }
        assert!(
            alone.0.late_successes.is_empty() && alone.0.attempts.is_empty() && alone.0.appends.is_empty()
        );
    }
}

/// Whoever parked in this lane learns from its record that all has been settled.
#[test]
fn what_has_been_settled_is_written_down() {
    let mut alone = Alone::new();
    alone.grant_lanes(EPOCH, Vec::new());
    let mut actions = alone.follow(7..8);
    let mut written = Vec::new();
    for _ in 0..3 {
        for action in std::mem::take(&mut actions) {
            let input = match action {
                Action::Attempt { attempt, .. } => {
                    Input::AttemptFinished { attempt, outcome: AttemptOutcome::Delivered { status: 200 } }
                }
                Action::PutLane { endpoint, epoch, record, .. } => {
                    written.push((record.cursor, record.drained));
                    Input::LanePut { endpoint, epoch, record, acknowledged: true }
                }
                _ => continue,
            };
            actions.extend(alone.step(input));
        }
        alone.1 += 1_000;
        actions.extend(alone.step(Input::TimerFired));
    }
    assert_eq!(written, [(7, false), (8, true)]);
}

/// The first probe is the head's, however many have failed: its neighbour may be of the same payment.
#[test]
fn the_head_is_probed_before_its_neighbour() {
    for failed_probes in [1, 2] {
        let mut alone = Alone::new();
        let (failed_probes, next_due) = (Some(failed_probes), Timestamp(10));
        let breaker = BreakerRecord { failed_probes, next_due, failing_since: None };
        let record = LaneRecord { cursor: 1, breaker, ..LaneRecord::unknown(WebhookId::new("wh")) };
        alone.grant_lanes(EPOCH, vec![record]);
        assert_eq!(attempted(&alone.follow(1..4)), [0_u64; 0], "not due yet");
        alone.1 = 10;
        assert_eq!(attempted(&alone.step(Input::TimerFired)), [1], "{failed_probes:?}");
    }
}

/// What waits and what fails is parked, what succeeds is settled, nothing is started.
#[test]
fn a_window_that_is_revoked_starts_nothing_and_is_let_go_once_committed() {
    let (mut alone, journal) = (Alone::new(), JournalName::Events);
    alone.grant_events(EPOCH);
    let mut actions = alone.fetch(EPOCH, 0..6);
    assert_eq!(attempted(&actions), [0, 1, 2, 3], "as many as may be in flight");
    actions.extend(alone.step(Input::Revoking { journal, partition: PARTITION }));
    assert_eq!(parked_again(&actions), [4, 5], "the others wait elsewhere");
    assert!(!alone.0.has_room(PARTITION));
    assert!(alone.fetch(EPOCH, 6..7).is_empty());
    let mut outcomes = vec![AttemptOutcome::Delivered { status: 200 }; 3];
    outcomes.push(AttemptOutcome::Retryable { reason: FailureReason::Timeout, retry_after: None });
    let (mut parked, mut gone) = (0, Vec::new());
    for _ in 0..5 {
        for action in std::mem::take(&mut actions) {
            let input = match action {
                Action::Attempt { attempt, .. } => {
                    Input::AttemptFinished { attempt, outcome: outcomes.pop().expect("four attempts") }
                }
                Action::Park { append, .. } => {
                    parked += 1;
                    Input::Appended { append, result: Ok(Offset(append.0)) }
                }
                Action::CommitWatermark { committing, .. } => {
                    Input::Committed { journal, committing, result: Ok(()) }
                }
                Action::PutTally { epoch, record } => {
                    let (piece, acknowledged) = (record.piece, true);
                    Input::TallyPut { partition: PARTITION, epoch, piece, acknowledged }
                }
                _ => continue,
            };
            assert!(gone.is_empty(), "something is left to be settled");
            actions.extend(alone.step(input));
        }
        assert!(attempted(&actions).is_empty());
        alone.1 += 20;
        actions.extend(alone.step(Input::TimerFired));
        gone.extend(let_go(&actions));
    }
    assert_eq!((parked, gone), (3, vec![(journal, EPOCH)]));
    assert_eq!(alone.0.totals(), Totals { planned: 6, delivered: 3, parked: 3, ..Totals::default() });
}

/// What hangs is let go at the deadline, and its end settles nothing.
#[test]
fn a_lane_that_is_revoked_is_let_go_at_the_deadline() {
    let (mut alone, journal) = (Alone::new(), JournalName::Parked);
    alone.grant_lanes(EPOCH, Vec::new());
    let followed = alone.follow(1..7);
    assert_eq!(attempted(&followed), [1, 2, 3, 4]);
    alone.step(Input::Revoking { journal, partition: PARTITION });
    let mut in_flight = followed.into_iter().filter_map(|action| match action {
        Action::Attempt { attempt, .. } => Some(attempt),
        _ => None,
    });
    let mut end = |alone: &mut Alone| {
        let attempt = in_flight.next().expect("four attempts");
        let outcome = AttemptOutcome::Delivered { status: 200 };
        attempted(&alone.step(Input::AttemptFinished { attempt, outcome }))
    };
    assert!(end(&mut alone).is_empty(), "nothing takes its place");
    alone.1 = 2_999;
    assert!(let_go(&alone.step(Input::TimerFired)).is_empty());
    alone.1 = 3_019;
    assert_eq!(let_go(&alone.step(Input::TimerFired)), [(journal, EPOCH)]);
    assert!(!alone.0.owns_lanes(PARTITION));
    // Ours again, while the former attempts still run.
    alone.grant_lanes(Epoch(2), Vec::new());
    for _ in 0..3 {
        assert!(end(&mut alone).is_empty());
    }
    assert_eq!(alone.0.gauges().lanes.delivered, 1, "the one that ended in time");
    assert!(alone.0.endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
}

/// A refused append of a window that is lost is not tried again; one that is acknowledged is remembered.
#[test]
fn appends_of_a_lost_window_end() {
    for (result, last_parked) in [(Err(AppendError::NoSpace), None), (Ok(Offset(9)), Some(Offset(9)))] {
        let (mut alone, journal) = (Alone::new(), JournalName::Events);
        alone.grant_events(EPOCH);
        alone.fetch(EPOCH, 0..5);
        let revoking = alone.step(Input::Revoking { journal, partition: PARTITION });
        alone.step(Input::Lost { journal, partition: PARTITION });
        for action in revoking {
            if let Action::Park { append, .. } = action {
                alone.step(Input::Appended { append, result });
            }
        }
        alone.1 += 10_000;
        assert!(parked_again(&alone.step(Input::TimerFired)).is_empty());
        let endpoint = alone.0.endpoints.first().expect("an endpoint");
        assert_eq!((endpoint.parking, endpoint.last_parked), (0, last_parked));
    }
}

/// What belongs to an earlier epoch says nothing about a later one.
#[test]
fn results_of_an_earlier_epoch_are_ignored() {
    let (partition, later) = (PARTITION, Epoch(2));
    let mut alone = Alone::new();
    alone.grant_lanes(EPOCH, Vec::new());
    let put = alone.follow(1..2).into_iter().find_map(|action| match action {
        Action::PutLane { endpoint, epoch, record, .. } => Some((endpoint, epoch, record)),
        _ => None,
    });
    let (endpoint, epoch, record) = put.expect("the lane is written down");
    alone.grant_events(EPOCH);
    alone.step(Input::Lost { journal: JournalName::Parked, partition });
    alone.step(Input::Lost { journal: JournalName::Events, partition });
    alone.grant_lanes(later, Vec::new());
    alone.grant_events(later);
    assert!(alone.fetch(EPOCH, 5..6).is_empty() && alone.follow(5..6).is_empty());
    alone.fetch(later, 0..1);
    let stale = Committing { partition, epoch: EPOCH, offset: Offset(1) };
    for journal in [JournalName::Events, JournalName::Parked] {
        for result in [Ok(()), Err(CommitError::Fenced)] {
            let ended = alone.step(Input::Committed { journal, committing: stale, result });
            assert!(let_go(&ended).is_empty(), "{journal:?} {result:?}");
        }
    }
    alone.step(Input::LanePut { endpoint, epoch, record, acknowledged: false });
    let lane = alone.0.endpoints.first().and_then(|endpoint| endpoint.owned()).expect("a lane");
    assert!(lane.is_written_down(), "the failed put was another owner's");
    assert_eq!(alone.0.counts().fetched, 1);
}

#[test]
fn whoever_is_fenced_gives_the_partition_up() {
    let mut alone = Alone::new();
    alone.grant_events(EPOCH);
    let journal = JournalName::Events;
    let committing = Committing { partition: PARTITION, epoch: EPOCH, offset: Offset(1) };
    let retried = alone.step(Input::Committed { journal, committing, result: Err(CommitError::Retry) });
    assert!(let_go(&retried).is_empty());
    let fenced = alone.step(Input::Committed { journal, committing, result: Err(CommitError::Fenced) });
    assert_eq!(let_go(&fenced), [(journal, EPOCH)]);
    assert!(!alone.0.has_room(PARTITION));
}

/// An endpoint that takes less than it gets is no reason to keep everybody's events waiting.
#[test]
fn what_waits_for_a_permit_for_too_long_is_parked_with_all_behind_it() {
    let mut alone = Alone::new();
    alone.grant_lanes(EPOCH, Vec::new());
    alone.grant_events(EPOCH);
    assert_eq!(attempted(&alone.fetch(EPOCH, 0..6)), [0, 1, 2, 3]);
    alone.1 = 999;
    assert!(parked_again(&alone.fetch(EPOCH, 6..7)).is_empty());
    alone.1 = 1_000;
    assert_eq!(parked_again(&alone.step(Input::TimerFired)), [4, 5, 6]);
}

/// Attempts that hang leave a window that is nearly full, and only such a one, before their budget ends.
#[test]
fn attempts_that_hang_do_not_fill_the_window() {
    for (events, parked) in [(749, 0), (750, 750)] {
        let mut alone = Alone::with(Settings { endpoint_concurrency: 1_000, ..settings() });
        alone.grant_lanes(EPOCH, Vec::new());
        alone.grant_events(EPOCH);
        assert_eq!(attempted(&alone.fetch(EPOCH, 0..events)).len() as u64, events);
        alone.1 = 900;
        assert!(parked_again(&alone.step(Input::TimerFired)).is_empty());
        alone.1 = 1_500;
        assert_eq!(parked_again(&alone.step(Input::TimerFired)).len(), parked, "{events}");
    }
}
