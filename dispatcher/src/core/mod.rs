//! The core: decides what is sent when, pure. No await, no clock, no randomness of its own.
//!
//! Inputs come in, actions go out ([`Core::step`]); the shell around it performs them and brings back what
//! happened as inputs. One core owns the windows and lanes of its partitions as plain fields: no locks.
//!
//! A delivery is sent straight from the window ([`planning`]); what can't be sent now is parked once and goes
//! on in its endpoint's lane ([`lanes`], [`loading`]), or in that of another process ([`remote`]), as fast as the
//! endpoint takes it ([`pace`], [`breaker`]). What an attempt's end means stands in [`outcomes`], what happens to
//! appends in [`appends`], how webhooks change in [`life`], how partitions come and go in [`ownership`].

mod appends;
mod breaker;
mod counts;
pub(crate) mod defect;
mod endpoint;
mod lane;
mod lanes;
mod life;
mod loading;
mod objective;
mod outcomes;
mod ownership;
mod pace;
mod planning;
mod remote;
mod repeats;
mod room;
mod schedule;
mod shard;
mod status;
mod tally;
mod window;

#[cfg(test)]
pub(crate) mod simulation;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::{AppendError, CommitError, Epoch, JournalName, Offset, Partition, partition_of};
use hookline_schemas::delivery::{AttemptOutcome, DeadLetter, LaneCounts, LaneRecord, ParkedDelivery};
use hookline_schemas::event::Event;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, Webhooks};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustc_hash::{FxHashMap, FxHashSet};

use appends::Append;
use breaker::BreakerRules;
pub(crate) use counts::{Cancelled, Counts, ParkReason, Way};
use endpoint::{Endpoint, EndpointLane};
use lane::Lane;
pub(crate) use life::ByHand;
use outcomes::Attempt;
pub(crate) use ownership::Committing;
pub(crate) use pace::Rate;
use planning::Delivery;
pub(crate) use repeats::Identity;
use shard::LaneShard;
pub(crate) use shard::RegisteredWords;
pub(crate) use status::{Gauges, Position, Waiting};
pub(crate) use tally::TallyRecord;
pub(crate) use window::Totals;
use window::Window;

use crate::endpoints::ByHandError;
use crate::settings::Settings;

macro_rules! key_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) struct $name(pub(crate) u64);
    };
}

key_type!(
    /// A delivery of a window.
    DeliveryKey
);
key_type!(
    /// An attempt in flight.
    AttemptKey
);
key_type!(
    /// An append under way.
    AppendKey
);
key_type!(
    /// An endpoint.
    EndpointKey
);
key_type!(
    /// A wish from outside.
    RequestKey
);

/// An event, ready to be sent: rendered once, shared by all its deliveries.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The event.
    pub(crate) event: Event,
    /// The body of its webhook.
    pub(crate) body: Bytes,
}

impl Prepared {
    pub(crate) fn new(event: Event) -> Arc<Self> {
        let body = event.render().into();
        Arc::new(Self { event, body })
    }
}

/// A lane as it is written down.
#[derive(Debug, Clone)]
pub(crate) struct ResumedLane {
    pub(crate) record: LaneRecord,
    /// How many of its records stand behind the tail of the record and below R.
    pub(crate) uncounted: u64,
}

/// What a record of `events` holds.
#[derive(Debug)]
pub(crate) struct FetchedEvent {
    pub(crate) offset: Offset,
    /// `None`: not an event of this version; it is counted, and holds the watermark.
    pub(crate) event: Option<Event>,
    pub(crate) bytes: usize,
}

/// What comes in.
#[derive(Debug)]
pub(crate) enum Input {
    /// The webhooks, loaded to their end, or changed.
    Webhooks(Arc<Webhooks>),
    /// A partition of `events` is ours.
    EventsGranted { partition: Partition, epoch: Epoch, committed: Offset, totals: Totals },
    /// Events that were settled before, for the repeat memory.
    Remembered { partition: Partition, events: Vec<Identity> },
    /// What became of each webhook's deliveries in an earlier life.
    Tallied { partition: Partition, records: Vec<TallyRecord> },
    /// A put of a piece of a tally ended.
    TallyPut { partition: Partition, epoch: Epoch, piece: u64, acknowledged: bool },
    /// A partition of `parked` is ours, with its lanes as they are written down.
    LanesGranted { partition: Partition, epoch: Epoch, registered: Offset, lanes: Vec<ResumedLane> },
    /// Another owner waits for a partition of `events` or `parked`: settle what is in flight, and let go.
    Revoking { journal: JournalName, partition: Partition },
    /// A partition is somebody else's already.
    Lost { journal: JournalName, partition: Partition },
    /// So many dispatchers own lanes.
    Dispatchers(NonZeroU32),
    /// Somebody wants something of an endpoint.
    ByHand { request: RequestKey, webhook: WebhookId, wanted: ByHand },
    /// A lane is written down so; `None`: no more. Of lanes that are ours it says nothing new.
    LaneSeen { webhook: WebhookId, record: Option<LaneRecord> },
    /// Events, in order.
    Fetched { partition: Partition, epoch: Epoch, events: Vec<FetchedEvent> },
    /// Parked deliveries, in order, of all lanes of the partition.
    Followed { partition: Partition, epoch: Epoch, records: Vec<(Offset, ParkedDelivery)> },
    /// What [`Action::Load`] asked for.
    Loaded {
        endpoint: EndpointKey,
        epoch: Epoch,
        load: Load,
        records: Vec<(Offset, ParkedDelivery)>,
        next: Offset,
    },
    /// An attempt ended.
    AttemptFinished { attempt: AttemptKey, outcome: AttemptOutcome },
    /// An append ended.
    Appended { append: AppendKey, result: Result<Offset, AppendError> },
    /// A put of a lane record ended.
    LanePut { endpoint: EndpointKey, epoch: Epoch, record: LaneRecord, acknowledged: bool },
    /// A commit of a watermark (`events`) or of R (`parked`) ended.
    Committed { journal: JournalName, committing: Committing, result: Result<(), CommitError> },
    /// A due time has come.
    TimerFired,
    /// Start nothing new; write down and commit what has ended.
    DrainRequested,
}

/// What is to be done. None of it is waited for.
#[derive(Debug)]
pub(crate) enum Action {
    /// One HTTP request.
    Attempt { attempt: AttemptKey, webhook: Arc<Webhook>, event: Arc<Prepared>, number: u32, way: Way },
    /// An append to `parked`.
    Park { append: AppendKey, partition: Partition, parked: Arc<ParkedDelivery>, why: ParkReason },
    /// An append to `dead_letters`.
    Bury { append: AppendKey, partition: Partition, letter: Arc<DeadLetter> },
    /// A read of `parked` by endpoint.
    Load {
        endpoint: EndpointKey,
        webhook: WebhookId,
        partition: Partition,
        epoch: Epoch,
        load: Load,
        limit: usize,
    },
    /// A put into `lanes`.
    PutLane { endpoint: EndpointKey, partition: Partition, epoch: Epoch, record: LaneRecord },
    /// An append to `events`.
    Announce { append: AppendKey, event: Arc<Event> },
    /// Nothing: it is to be told.
    Cancelled { webhook: WebhookId, what: Cancelled },
    /// What became of [`Input::ByHand`].
    Answer { request: RequestKey, answer: Result<(), ByHandError> },
    /// A put of a piece of a tally into `lanes`.
    PutTally { epoch: Epoch, record: TallyRecord },
    /// A commit of a watermark.
    CommitWatermark { committing: Committing, totals: Totals },
    /// A commit of R; `needed_from`: no lane needs anything below.
    CommitRegistered { committing: Committing, words: RegisteredWords, needed_from: Offset },
    /// The partition is worked on no more: read it no further, the next owner may have it.
    LetGo { journal: JournalName, partition: Partition, epoch: Epoch },
}

/// A range of `parked` to be read for one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// More of the backlog, in order.
    Backlog { from: Offset, until: Offset },
    /// One exception.
    Exception {
        /// Its record.
        offset: Offset,
        /// It is loaded to be the probe of an endpoint that is down.
        is_probe: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    QuickRetry(DeliveryKey),
    AppendAgain(AppendKey),
    Endpoint(EndpointKey),
    Commit,
    WriteLanes,
    WriteTallies,
}

/// How often it is written down what became of each webhook's deliveries.
const TALLY_INTERVAL: Duration = Duration::from_secs(60);

/// Everything that one dispatcher knows. See the module.
#[derive(Debug)]
pub(crate) struct Core {
    settings: Settings,
    lane_partitions: u16,
    random: SmallRng,
    webhooks: Option<Arc<Webhooks>>,
    /// How many webhooks there are, and how many of them are paused.
    webhook_counts: (usize, usize),
    windows: BTreeMap<Partition, Window>,
    shards: BTreeMap<Partition, LaneShard>,
    /// What is being drained for the next owner, with the drain's deadline.
    revoking: BTreeMap<(JournalName, Partition), Timestamp>,
    /// When that is looked at next.
    drain_due: Option<Timestamp>,
    totals_of_past_windows: Totals,
    counts_of_past_lanes: LaneCounts,
    /// How many dispatchers send directly to the same endpoints.
    dispatchers: NonZeroU32,
    endpoints: Vec<Endpoint>,
    endpoint_keys: HashMap<WebhookId, EndpointKey>,
    endpoint_timers: FxHashMap<EndpointKey, Timestamp>,
    deliveries: FxHashMap<DeliveryKey, Delivery>,
    attempts: FxHashMap<AttemptKey, Attempt>,
    appends: FxHashMap<AppendKey, Append>,
    /// Detached attempts that succeeded before their parked copies were acknowledged.
    late_successes: FxHashSet<AttemptKey>,
    /// Deliveries in the order of their budgets' ends; settled ones are skipped.
    budgets: VecDeque<(Timestamp, DeliveryKey)>,
    /// Deliveries in the order in which their waits for a permit end; those that wait no more are skipped.
    waits: VecDeque<(Timestamp, DeliveryKey)>,
    /// Endpoints that could go on if fewer attempts were in flight over all, in turn.
    waiting_for_room: VecDeque<EndpointKey>,
    timers: BTreeSet<(Timestamp, Timer)>,
    next_key: u64,
    draining: bool,
    counts: Counts,
    now: Timestamp,
}

impl Core {
    /// A core that owns nothing yet.
    pub(crate) fn new(settings: Settings, lane_partitions: u16, seed: u64, now: Timestamp) -> Self {
        let timers = [Timer::Commit, Timer::WriteLanes, Timer::WriteTallies].map(|timer| (now, timer)).into();
        Self {
            settings,
            lane_partitions,
            random: SmallRng::seed_from_u64(seed),
            webhooks: None,
            webhook_counts: (0, 0),
            windows: BTreeMap::new(),
            shards: BTreeMap::new(),
            revoking: BTreeMap::new(),
            drain_due: None,
            totals_of_past_windows: Totals::default(),
            counts_of_past_lanes: LaneCounts::default(),
            dispatchers: NonZeroU32::MIN,
            endpoints: Vec::new(),
            endpoint_keys: HashMap::new(),
            endpoint_timers: FxHashMap::default(),
            deliveries: FxHashMap::default(),
            attempts: FxHashMap::default(),
            appends: FxHashMap::default(),
            late_successes: FxHashSet::default(),
            budgets: VecDeque::new(),
            waits: VecDeque::new(),
            waiting_for_room: VecDeque::new(),
            timers,
            next_key: 0,
            draining: false,
            counts: Counts::default(),
            now,
        }
    }

    /// Takes an input at this time and says what is to be done.
    pub(crate) fn step(&mut self, input: Input, now: Timestamp, actions: &mut Vec<Action>) {
        self.now = self.now.max(now);
        match input {
            Input::Webhooks(webhooks) => self.take_webhooks(webhooks, actions),
            Input::EventsGranted { partition, epoch, committed, totals } => {
                self.grant_events(partition, epoch, committed, totals);
            }
            Input::Tallied { partition, records } => self.resume_tally(partition, &records),
            Input::TallyPut { partition, epoch, piece, acknowledged } => {
                self.finish_tally_put(partition, epoch, piece, acknowledged);
            }
            Input::Remembered { partition, events } => self.remember(partition, &events),
            Input::LanesGranted { partition, epoch, registered, lanes } => {
                self.resume_lanes(partition, epoch, registered, &lanes, actions);
            }
            Input::Revoking { journal, partition } => self.revoke(journal, partition, actions),
            Input::Lost { journal, partition } => self.lose(journal, partition),
            Input::Dispatchers(dispatchers) => self.dispatchers = dispatchers,
            Input::ByHand { request, webhook, wanted } => {
                let answer = self.do_by_hand(&webhook, wanted, actions);
                actions.push(Action::Answer { request, answer });
            }
            Input::LaneSeen { webhook, record } => self.see_lane(&webhook, record.as_ref(), actions),
            Input::Fetched { partition, epoch, events } => self.plan(partition, epoch, events, actions),
            Input::Followed { partition, epoch, records } => {
                self.follow(partition, epoch, records, actions);
            }
            Input::Loaded { endpoint, epoch, load, records, next } => {
                self.take_loaded(endpoint, epoch, load, records, next, actions);
            }
            Input::AttemptFinished { attempt, outcome } => self.finish_attempt(attempt, &outcome, actions),
            Input::Appended { append, result } => self.finish_append(append, result, actions),
            Input::LanePut { endpoint, epoch, record, acknowledged } => {
                self.finish_lane_put(endpoint, epoch, &record, acknowledged, actions);
            }
            Input::Committed { journal, committing, result } => {
                self.finish_commit(journal, committing, result, actions);
            }
            Input::TimerFired => {}
            Input::DrainRequested => self.begin_drain(actions),
        }
        self.fire_due_timers(actions);
        if self.draining {
            self.write_lanes(actions);
            self.write_tallies_where(|_| true, actions);
            self.commit(actions);
            self.let_go_of_all_once_settled(actions);
        }
    }

    /// When something is due that no input will bring.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(due, _)| *due);
        let budget = self.budgets.front().map(|(due, _)| *due);
        let wait = self.waits.front().map(|(due, _)| *due);
        [timer, budget, wait, self.drain_due].into_iter().flatten().min()
    }

    /// Whether events of this partition may be fetched.
    pub(crate) fn has_room(&self, partition: Partition) -> bool {
        let max_bytes = usize::try_from(self.settings.window_bytes.as_u64()).unwrap_or(usize::MAX);
        let window = self.windows.get(&partition);
        let has_room = |window: &Window| window.has_room(self.settings.window_events, max_bytes);
        self.webhooks.is_some()
            && !self.draining
            && !self.is_revoking(JournalName::Events, partition)
            && window.is_some_and(has_room)
    }

    /// Deliveries of all windows that are not settled.
    pub(crate) fn in_hand(&self) -> usize {
        self.deliveries.len()
    }

    /// Whether parked deliveries of this partition may be followed.
    pub(crate) fn follows_lanes(&self, partition: Partition) -> bool {
        self.webhooks.is_some()
            && !self.draining
            && !self.is_revoking(JournalName::Parked, partition)
            && self.owns_lanes(partition)
    }

    /// Whether, after [`Input::DrainRequested`], nothing is in flight and all that was ours is written down,
    /// committed and let go.
    pub(crate) fn is_drained(&self) -> bool {
        self.draining
            && self.attempts.is_empty()
            && self.appends.is_empty()
            && self.windows.is_empty()
            && self.shards.is_empty()
    }

    fn fire_due_timers(&mut self, actions: &mut Vec<Action>) {
        while let Some((due, timer)) = self.timers.first().copied()
            && due <= self.now
        {
            self.timers.pop_first();
            match timer {
                Timer::QuickRetry(delivery) => self.retry_quickly(delivery, actions),
                Timer::AppendAgain(append) => self.append(append, actions),
                Timer::Endpoint(endpoint) => {
                    self.endpoint_timers.remove(&endpoint);
                    self.pump(endpoint, actions);
                }
                Timer::Commit => {
                    self.relieve_windows(actions);
                    self.commit(actions);
                    self.start_timer(self.settings.commit_interval, Timer::Commit);
                }
                Timer::WriteTallies => {
                    self.write_tallies_where(|_| true, actions);
                    self.start_timer(TALLY_INTERVAL, Timer::WriteTallies);
                }
                Timer::WriteLanes => {
                    self.write_lanes(actions);
                    self.start_timer(self.settings.lane_interval, Timer::WriteLanes);
                }
            }
        }
        self.end_queueing(actions);
        self.end_budgets(actions);
        self.drain_revoked(actions);
    }

    fn start_timer(&mut self, after: Duration, timer: Timer) {
        self.timers.insert((self.now.after(after), timer));
    }

    fn new_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// The endpoint behind a webhook, known or new.
    fn endpoint_of(&mut self, webhook: &WebhookId) -> EndpointKey {
        if let Some(key) = self.endpoint_keys.get(webhook) {
            return *key;
        }
        let key = EndpointKey(self.endpoints.len() as u64);
        let partition = partition_of(webhook.as_str().as_bytes(), self.lane_partitions);
        let known = self.webhooks.as_ref().and_then(|webhooks| webhooks.find(webhook)).cloned();
        let mut endpoint = Endpoint::new(webhook.clone(), partition, self.settings.endpoint_concurrency);
        endpoint.take_webhook(known, self.now);
        if self.owns_lanes(partition) {
            endpoint.lane = EndpointLane::Owned(Box::new(Lane::empty(Offset::START)));
        }
        self.endpoints.push(endpoint);
        self.endpoint_keys.insert(webhook.clone(), key);
        key
    }

    #[expect(clippy::expect_used, reason = "endpoints are never removed")]
    fn endpoint(&self, key: EndpointKey) -> &Endpoint {
        self.endpoints
            .get(index_of(key))
            .expect("an endpoint's key is its index, and endpoints are never removed")
    }

    #[expect(clippy::expect_used, reason = "endpoints are never removed")]
    fn endpoint_mut(&mut self, key: EndpointKey) -> &mut Endpoint {
        self.endpoints
            .get_mut(index_of(key))
            .expect("an endpoint's key is its index, and endpoints are never removed")
    }

    fn breaker_rules(settings: &Settings) -> BreakerRules<'_> {
        BreakerRules { failures_to_open: settings.breaker_failures, probe_schedule: &settings.probe_schedule }
    }
}

fn index_of(key: EndpointKey) -> usize {
    usize::try_from(key.0).unwrap_or(usize::MAX)
}
