//! A door for the bench of the core, and for nothing else: a core that owns one partition and every lane, over a log that
//! acknowledges and receivers that answer 200, both at once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{Epoch, JournalName, Offset, Partition};
use hookline_schemas::delivery::AttemptOutcome;
use hookline_schemas::event::Event;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhooks;

use crate::core::{Action, Core, FetchedEvent, Input, Totals};
use crate::settings::Settings;

const PARTITION: Partition = Partition(0);
const EPOCH: Epoch = Epoch(1);

/// What the log counts for an event.
const EVENT_BYTES: usize = 700;

/// A core with all that is around it. See the module.
#[derive(Debug)]
pub struct Bench {
    core: Core,
    actions: Vec<Action>,
    answers: Vec<Input>,
    next: Offset,
    now: Timestamp,
}

impl Bench {
    /// A core that delivers to these webhooks.
    pub fn new(settings: Settings, webhooks: Webhooks, now: Timestamp) -> Self {
        let mut core = Core::new(settings, 1, 1, now);
        let (partition, epoch, committed, registered) = (PARTITION, EPOCH, Offset::START, Offset::START);
        let mut actions = Vec::new();
        for input in [
            Input::Webhooks(Arc::new(webhooks)),
            Input::Dispatchers(NonZeroU32::MIN),
            Input::LanesGranted { partition, epoch, registered, lanes: Vec::new() },
            Input::EventsGranted { partition, epoch, committed, totals: Totals::default() },
        ] {
            core.step(input, now, &mut actions);
        }
        Self { core, actions, answers: Vec::new(), next: committed, now }
    }

    /// Takes an event to its settled end, a millisecond later than the one before. Returns to how many webhooks.
    pub fn deliver(&mut self, event: Event) -> usize {
        self.now = self.now.after(Duration::from_millis(1));
        self.next = self.next.next();
        let fetched = FetchedEvent { offset: self.next, event: Some(event), bytes: EVENT_BYTES };
        let fetched = Input::Fetched { partition: PARTITION, epoch: EPOCH, events: vec![fetched] };
        self.core.step(fetched, self.now, &mut self.actions);
        let mut attempts = 0;
        while !self.actions.is_empty() {
            attempts += self.actions.iter().filter(|action| matches!(action, Action::Attempt { .. })).count();
            self.answers.extend(self.actions.drain(..).filter_map(answer));
            for input in self.answers.drain(..) {
                self.core.step(input, self.now, &mut self.actions);
            }
        }
        attempts
    }
}

/// What comes of an action.
fn answer(action: Action) -> Option<Input> {
    match action {
        Action::Attempt { attempt, .. } => {
            let outcome = AttemptOutcome::Delivered { status: 200 };
            Some(Input::AttemptFinished { attempt, outcome })
        }
        Action::CommitWatermark { committing, .. } => {
            Some(Input::Committed { journal: JournalName::Events, committing, result: Ok(()) })
        }
        Action::CommitRegistered { committing, .. } => {
            Some(Input::Committed { journal: JournalName::Parked, committing, result: Ok(()) })
        }
        Action::PutTally { epoch, record } => {
            let (partition, piece) = (Partition(record.partition), record.piece);
            Some(Input::TallyPut { partition, epoch, piece, acknowledged: true })
        }
        // Nothing fails here, so nothing is parked.
        _ => None,
    }
}
