//! One core with one webhook, and a log that refuses nothing: what a receiver answers is up to the test.

use std::collections::VecDeque;
use std::sync::Arc;

use hookline_event_log::{Epoch, JournalName, Offset, Partition};
use hookline_schemas::delivery::{
    AttemptOutcome, DisabledReason, FailureReason, LaneCounts, LaneRecord, ParkedDelivery,
};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;

use super::super::lane::Lane;
use super::super::{
    Action, AttemptKey, ByHand, Core, FetchedEvent, Input, Load, RequestKey, ResumedLane, Totals,
};
use super::alone::parked;
use super::faults::Faults;
use super::receivers::{event, number_of, webhook};
use crate::endpoints::ByHandError;
use crate::settings::Settings;

const PARTITION: Partition = Partition(0);
const EPOCH: Epoch = Epoch(1);

pub(super) const DELIVERED: AttemptOutcome = AttemptOutcome::Delivered { status: 200 };
pub(super) const FAILED: AttemptOutcome =
    AttemptOutcome::Retryable { reason: FailureReason::Status(500), retry_after: None };
pub(super) const GONE: AttemptOutcome = AttemptOutcome::Rejected { reason: FailureReason::Status(410) };

#[derive(Debug)]
pub(super) struct OneLane {
    pub(super) core: Core,
    pub(super) now: Timestamp,
    pub(super) webhook: Webhook,
    /// What waits for the receiver to answer, by event.
    pub(super) in_flight: VecDeque<(AttemptKey, u64)>,
    /// How the lane is written down.
    pub(super) written: Option<LaneRecord>,
    /// R, as committed.
    pub(super) registered: Offset,
    pub(super) announced: usize,
    /// Loads are answered by [`Self::load`] and not at once.
    pub(super) is_slow_to_load: bool,
    loads: VecDeque<Input>,
    pub(super) parked: Vec<(Offset, ParkedDelivery)>,
}

impl OneLane {
    /// A core that owns everything there is, from a lane as it is written down.
    pub(super) fn resume(settings: Settings, lane: Option<LaneRecord>, webhooks: Vec<Webhook>) -> Self {
        let now = Timestamp(1_000_000);
        let mut one = Self {
            core: Core::new(settings, 1, 1, now),
            now,
            webhook: webhook("wh", Faults::NONE),
            in_flight: VecDeque::new(),
            registered: Offset(lane.as_ref().map_or(0, |record| record.tail)),
            written: None,
            announced: 0,
            is_slow_to_load: false,
            loads: VecDeque::new(),
            parked: (0..lane.as_ref().map_or(0, |record| record.tail)).map(record_of).collect(),
        };
        let (partition, epoch, registered) = (PARTITION, EPOCH, one.registered);
        one.step(Input::Webhooks(Arc::new(webhooks.into_iter().collect())));
        let lanes = lane.into_iter().map(|record| ResumedLane { record, uncounted: 0 }).collect();
        one.step(Input::LanesGranted { partition, epoch, registered, lanes });
        let (committed, totals) = (Offset::START, Totals::default());
        one.step(Input::EventsGranted { partition, epoch, committed, totals });
        one
    }

    pub(super) fn new(settings: Settings) -> Self {
        Self::resume(settings, None, vec![webhook("wh", Faults::NONE)])
    }

    /// So many wait in the lane, and the receiver has failed often enough to be down; nothing is in flight.
    pub(super) fn down(settings: Settings, waiting: u64) -> Self {
        let mut one = Self::new(settings);
        one.park(waiting);
        while !one.in_flight.is_empty() {
            one.answer(&FAILED);
        }
        assert_eq!(one.core.gauges().down, 1);
        one
    }

    /// The same, and it is gone for good.
    pub(super) fn gone(settings: Settings, waiting: u64) -> Self {
        let mut one = Self::new(settings);
        one.park(waiting);
        one.answer_all(&GONE);
        assert_eq!(one.disabled(), Some(DisabledReason::Gone));
        one
    }

    pub(super) fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut actions = Vec::new();
            self.core.step(input, self.now, &mut actions);
            for action in actions {
                inputs.extend(self.perform(action));
            }
            if let Some(lane) = self.owned() {
                assert!(lane.adds_up(), "{lane:?}");
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Attempt { attempt, event, .. } => {
                self.in_flight.push_back((attempt, number_of(&event.event)));
                None
            }
            Action::Park { append, parked, .. } => {
                let offset = self.append(ParkedDelivery::clone(&parked));
                Some(Input::Appended { append, result: Ok(offset) })
            }
            Action::Bury { append, .. } => Some(Input::Appended { append, result: Ok(Offset(0)) }),
            Action::Announce { append, .. } => {
                self.announced += 1;
                Some(Input::Appended { append, result: Ok(Offset(0)) })
            }
            Action::Load { endpoint, epoch, load, limit, .. } => {
                let (from, until) = match load {
                    Load::Backlog { from, until } => (from, until),
                    Load::Exception { offset, .. } => (offset, offset.next()),
                };
                let in_range = self.parked.iter().filter(|(offset, _)| (from..until).contains(offset));
                let records: Vec<_> = in_range.take(limit).cloned().collect();
                let last = records.last().map(|(last, _)| last.next());
                let next = last.filter(|_| records.len() == limit).unwrap_or(until);
                let loaded = Input::Loaded { endpoint, epoch, load, records, next };
                if self.is_slow_to_load {
                    self.loads.push_back(loaded);
                    return None;
                }
                Some(loaded)
            }
            Action::PutLane { endpoint, epoch, record, .. } => {
                self.written = Some(record.clone());
                Some(Input::LanePut { endpoint, epoch, record, acknowledged: true })
            }
            Action::CommitWatermark { committing, .. } => {
                Some(Input::Committed { journal: JournalName::Events, committing, result: Ok(()) })
            }
            Action::CommitRegistered { committing, .. } => {
                self.registered = committing.offset;
                Some(Input::Committed { journal: JournalName::Parked, committing, result: Ok(()) })
            }
            Action::PutTally { epoch, record } => {
                let (partition, piece) = (Partition(record.partition), record.piece);
                Some(Input::TallyPut { partition, epoch, piece, acknowledged: true })
            }
            Action::Cancelled { .. } | Action::Answer { .. } | Action::LetGo { .. } => None,
        }
    }

    fn append(&mut self, parked: ParkedDelivery) -> Offset {
        let offset = Offset(self.parked.len() as u64);
        self.parked.push((offset, parked));
        offset
    }

    /// What is parked and not followed yet is followed.
    pub(super) fn follow(&mut self) {
        let tail = self.owned().map_or(Offset::START, Lane::tail);
        let records: Vec<_> = self.parked.iter().filter(|(offset, _)| *offset >= tail).cloned().collect();
        self.step(Input::Followed { partition: PARTITION, epoch: EPOCH, records });
    }

    /// So many more deliveries are parked.
    pub(super) fn park(&mut self, deliveries: u64) {
        for _ in 0..deliveries {
            let (_, parked) = record_of(self.parked.len() as u64);
            self.append(parked);
        }
        self.follow();
    }

    /// One that may go out at this time, and no earlier.
    pub(super) fn park_until(&mut self, not_before: Timestamp) {
        let (_, parked) = record_of(self.parked.len() as u64);
        self.append(ParkedDelivery { not_before, ..parked });
        self.follow();
    }

    /// An event comes.
    pub(super) fn fetch(&mut self, number: u64) {
        self.fetch_late(number, 0);
    }

    /// An event comes so many milliseconds after it was accepted.
    pub(super) fn fetch_late(&mut self, number: u64, late: u64) {
        let event = Some(event(number, Timestamp(self.now.0 - late)));
        let events = vec![FetchedEvent { offset: Offset(number), event, bytes: 700 }];
        self.step(Input::Fetched { partition: PARTITION, epoch: EPOCH, events });
    }

    /// The receiver answers what has waited longest.
    pub(super) fn answer(&mut self, outcome: &AttemptOutcome) {
        let (attempt, _) = self.in_flight.pop_front().expect("an attempt");
        self.step(Input::AttemptFinished { attempt, outcome: outcome.clone() });
    }

    /// The receiver answers everything that is in flight now.
    pub(super) fn answer_all(&mut self, outcome: &AttemptOutcome) {
        (0..self.in_flight.len()).for_each(|_| self.answer(outcome));
    }

    /// What has been asked for is loaded.
    pub(super) fn load(&mut self) {
        while let Some(loaded) = self.loads.pop_front() {
            self.step(loaded);
        }
    }

    pub(super) fn wait(&mut self, seconds: u64) {
        let until = Timestamp(self.now.0 + seconds * 1_000);
        while let Some(due) = self.core.next_due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.step(Input::TimerFired);
        }
        self.now = until;
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Webhook)) {
        change(&mut self.webhook);
        let webhooks = std::iter::once(self.webhook.clone()).collect();
        self.step(Input::Webhooks(Arc::new(webhooks)));
    }

    pub(super) fn delete(&mut self) {
        self.step(Input::Webhooks(Arc::default()));
    }

    pub(super) fn by_hand(&mut self, wanted: ByHand) -> Result<(), ByHandError> {
        let mut actions = Vec::new();
        let (request, webhook) = (RequestKey(0), WebhookId::new("wh"));
        self.core.step(Input::ByHand { request, webhook, wanted }, self.now, &mut actions);
        let mut answered = None;
        for action in actions {
            match action {
                Action::Answer { answer, .. } => answered = Some(answer),
                action => {
                    let input = self.perform(action);
                    input.into_iter().for_each(|input| self.step(input));
                }
            }
        }
        answered.expect("an answer")
    }

    pub(super) fn disabled(&self) -> Option<DisabledReason> {
        self.written.as_ref()?.disabled.map(|disabled| disabled.reason)
    }

    pub(super) fn owned(&self) -> Option<&Lane> {
        self.core.endpoints.first().and_then(|endpoint| endpoint.owned())
    }

    pub(super) fn counts(&self) -> LaneCounts {
        self.owned().map(Lane::counts).unwrap_or_default()
    }
}

fn record_of(number: u64) -> (Offset, ParkedDelivery) {
    (Offset(number), parked(number))
}
