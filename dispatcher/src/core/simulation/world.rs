//! The world around the core: a log that keeps what was written, receivers that misbehave, a clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{AppendError, Epoch, Offset, Partition};
use hookline_schemas::delivery::{AttemptOutcome, FailureReason, LaneRecord, ParkedDelivery};
use hookline_schemas::event::{Event, EventType};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, OrganizationId, WebhookId};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::payload::{EventData, NoticeData};
use hookline_schemas::secret::WebhookSecret;
use hookline_schemas::signature::WebhookKey;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::{Webhook, Webhooks};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::super::{Action, Core, FetchedEvent, Input, Load, Totals};
use super::checks;
use crate::settings::Settings;

pub(super) const EVENTS: u64 = 400;
pub(super) const WEBHOOKS: [&str; 3] = ["wh_healthy", "wh_down", "wh_moody"];
const EVENT_PARTITIONS: u16 = 2;
const LANE_PARTITIONS: u16 = 2;
/// From here on everybody is well, so that the run can end.
const HEALED: Timestamp = Timestamp(4_000_000);

/// What may go wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    pub(super) crashes: bool,
    pub(super) appends: bool,
    pub(super) receivers: bool,
    pub(super) down: bool,
    pub(super) poison: bool,
}

impl Faults {
    pub(super) const NONE: Self =
        Self { crashes: false, appends: false, receivers: false, down: false, poison: false };
    pub(super) const ALL: Self =
        Self { crashes: true, appends: true, receivers: true, down: true, poison: true };
}

/// Something that will happen.
#[derive(Debug)]
enum Pending {
    Input(Input),
    /// A request reaches its receiver at its end; then the core learns of it.
    Receive {
        event: u64,
        webhook: WebhookId,
        outcome: AttemptOutcome,
        input: Input,
    },
    Fetch(Partition),
    Follow(Partition),
    Crash,
}

pub(super) struct World {
    faults: Faults,
    random: SmallRng,
    pub(super) now: Timestamp,
    core: Core,
    pending: BTreeMap<(Timestamp, u64), Pending>,
    sequence: u64,
    epoch: u64,
    // The log.
    pub(super) events: BTreeMap<Partition, Vec<(Offset, Event)>>,
    pub(super) parked: BTreeMap<Partition, Vec<(Offset, ParkedDelivery)>>,
    pub(super) lanes: HashMap<WebhookId, (Partition, LaneRecord)>,
    pub(super) watermarks: BTreeMap<Partition, (Offset, Totals)>,
    pub(super) registered: BTreeMap<Partition, Offset>,
    next_offset: u64,
    // What the core of this life has read.
    fetched: BTreeMap<Partition, Offset>,
    followed: BTreeMap<Partition, Offset>,
    // What came of it.
    pub(super) delivered: HashMap<(u64, WebhookId), u32>,
    pub(super) dead: HashMap<(u64, WebhookId), u32>,
    pub(super) requests_while_down: usize,
    pub(super) trace: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut events: BTreeMap<Partition, Vec<(Offset, Event)>> = BTreeMap::new();
        let mut offset = 0;
        for number in 0..EVENTS {
            // Offsets have gaps.
            offset += random.random_range(1..4);
            let partition = Partition(random.random_range(0..EVENT_PARTITIONS));
            let accepted_at = Timestamp(1_000 + number * 10);
            events.entry(partition).or_default().push((Offset(offset), event(number, accepted_at)));
        }
        let core = Core::new(settings(), LANE_PARTITIONS, seed, Timestamp(0));
        let mut world = Self {
            faults,
            random,
            now: Timestamp(0),
            core,
            pending: BTreeMap::new(),
            sequence: 0,
            epoch: 0,
            events,
            parked: BTreeMap::new(),
            lanes: HashMap::new(),
            watermarks: BTreeMap::new(),
            registered: BTreeMap::new(),
            next_offset: 1,
            fetched: BTreeMap::new(),
            followed: BTreeMap::new(),
            delivered: HashMap::new(),
            dead: HashMap::new(),
            requests_while_down: 0,
            trace: Vec::new(),
        };
        world.start();
        if faults.crashes {
            for _ in 0..6 {
                let at = world.random.random_range(1_000..600_000);
                world.after(at, Pending::Crash);
            }
        }
        world
    }

    /// A new life: a core that knows what the log says.
    fn start(&mut self) {
        self.epoch += 1;
        self.core = Core::new(settings(), LANE_PARTITIONS, self.random.random(), self.now);
        self.step(Input::Webhooks(Arc::new(WEBHOOKS.into_iter().map(webhook).collect::<Webhooks>())));
        let epoch = Epoch(self.epoch);
        for partition in (0..LANE_PARTITIONS).map(Partition) {
            let registered = self.registered.get(&partition).copied().unwrap_or(Offset::START);
            let of_partition = self.lanes.values().filter(|(owner, _)| *owner == partition);
            let mut lanes: Vec<_> = of_partition.map(|(_, record)| record.clone()).collect();
            lanes.sort_by(|one, other| one.webhook.cmp(&other.webhook));
            self.followed.insert(partition, registered);
            self.step(Input::LanesGranted { partition, epoch, registered, lanes });
            self.after(1, Pending::Follow(partition));
        }
        for partition in (0..EVENT_PARTITIONS).map(Partition) {
            let (committed, totals) =
                self.watermarks.get(&partition).copied().unwrap_or((Offset::START, Totals::default()));
            self.fetched.insert(partition, committed);
            self.step(Input::EventsGranted { partition, epoch, committed, totals });
            self.after(1, Pending::Fetch(partition));
        }
    }

    /// Until nothing is left to do, or for too long.
    pub(super) fn run(&mut self) {
        for _ in 0..400_000 {
            let due = self.core.next_due();
            let next = self.pending.keys().next().map(|(at, _)| *at);
            let at = [due, next].into_iter().flatten().min().expect("timers never end");
            if self.is_over() {
                return;
            }
            self.now = self.now.max(at);
            match self.pending.first_entry() {
                Some(entry) if entry.key().0 <= self.now => {
                    let pending = entry.remove();
                    self.happen(pending);
                }
                _ => self.step(Input::TimerFired),
            }
        }
        panic!(
            "the world did not come to an end: {:?}\n{}",
            self.core.gauges(),
            self.trace.iter().rev().take(5).cloned().collect::<Vec<_>>().join("\n")
        );
    }

    fn is_over(&self) -> bool {
        let (_, backlogged, in_flight) = self.core.gauges();
        let crashes_are_over = !self.pending.values().any(|pending| matches!(pending, Pending::Crash));
        crashes_are_over && backlogged == 0 && in_flight == 0 && checks::everything_is_committed(self)
    }

    fn happen(&mut self, pending: Pending) {
        match pending {
            Pending::Input(input) => self.step(input),
            Pending::Receive { event, webhook, outcome, input } => {
                if outcome.is_delivered() {
                    *self.delivered.entry((event, webhook)).or_default() += 1;
                }
                self.step(input);
            }
            Pending::Fetch(partition) => self.fetch(partition),
            Pending::Follow(partition) => self.follow(partition),
            Pending::Crash => {
                self.trace.push(format!("{} crash", self.now.0));
                self.pending.retain(|_, pending| matches!(pending, Pending::Crash));
                self.start();
            }
        }
    }

    fn fetch(&mut self, partition: Partition) {
        let mut pause = 500;
        if self.core.has_room(partition) {
            let from = self.fetched.get(&partition).copied().expect("granted");
            let all = self.events.get(&partition).map(Vec::as_slice).unwrap_or_default();
            let batch = all.iter().filter(|(offset, event)| *offset >= from && event.accepted_at <= self.now);
            let batch: Vec<_> = batch.take(20).cloned().collect();
            if let Some((last, _)) = batch.last() {
                self.fetched.insert(partition, last.next());
            }
            if !batch.is_empty() {
                pause = 20;
            }
            let fetched = |(offset, event)| FetchedEvent { offset, event: Some(event), bytes: 700 };
            self.step(Input::Fetched { partition, events: batch.into_iter().map(fetched).collect() });
        }
        self.after(pause, Pending::Fetch(partition));
    }

    fn follow(&mut self, partition: Partition) {
        let from = self.followed.get(&partition).copied().expect("granted");
        let all = self.parked.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let batch: Vec<_> = all.iter().filter(|(offset, _)| *offset >= from).take(20).cloned().collect();
        if let Some((last, _)) = batch.last() {
            self.followed.insert(partition, last.next());
        }
        let pause = if batch.is_empty() { 200 } else { 10 };
        self.step(Input::Followed { partition, records: batch });
        self.after(pause, Pending::Follow(partition));
    }

    fn step(&mut self, input: Input) {
        let mut actions = Vec::new();
        self.core.step(input, self.now, &mut actions);
        for action in actions {
            self.trace.push(format!("{} {}", self.now.0, name_of(&action)));
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Attempt { attempt, webhook, event, .. } => {
                let number = number_of(&event.event);
                let (outcome, took) = self.answer(&webhook.id, number);
                let input = Input::AttemptFinished { attempt, outcome: outcome.clone() };
                let webhook = webhook.id.clone();
                self.after(took, Pending::Receive { event: number, webhook, outcome, input });
            }
            Action::Park { append, partition, parked } => {
                let result = self.append(partition, &parked);
                let took = self.random.random_range(1..40);
                self.after(took, Pending::Input(Input::Appended { append, result }));
            }
            Action::Bury { append, letter, .. } => {
                let result = if self.refuses() { Err(AppendError::NoSpace) } else { Ok(self.new_offset()) };
                if result.is_ok() {
                    *self.dead.entry((number_of(&letter.event), letter.webhook.clone())).or_default() += 1;
                }
                self.after(5, Pending::Input(Input::Appended { append, result }));
            }
            Action::Load { endpoint, webhook, partition, load, limit } => {
                let (from, until) = match load {
                    Load::Backlog { from, until } => (from, until),
                    Load::Exception { offset, .. } => (offset, offset.next()),
                };
                let all = self.parked.get(&partition).map(Vec::as_slice).unwrap_or_default();
                let mine = all
                    .iter()
                    .filter(|(offset, parked)| (from..until).contains(offset) && parked.webhook == webhook);
                let records: Vec<_> = mine.take(limit).cloned().collect();
                let next = if records.len() < limit {
                    until
                } else {
                    records.last().expect("limit is above 0").0.next()
                };
                self.after(3, Pending::Input(Input::Loaded { endpoint, load, records, next }));
            }
            Action::PutLane { endpoint, partition, record, .. } => {
                // Written and not acknowledged, or neither, or both.
                let (written, acknowledged) =
                    if self.refuses() { (self.random.random(), false) } else { (true, true) };
                if written {
                    self.lanes.insert(record.webhook.clone(), (partition, record.clone()));
                }
                let took = self.random.random_range(1..30);
                self.after(took, Pending::Input(Input::LanePut { endpoint, record, acknowledged }));
            }
            Action::CommitWatermark { partition, offset, totals, .. } => {
                let succeeded = !self.refuses();
                if succeeded {
                    self.watermarks.insert(partition, (offset, totals));
                    checks::watermark(self, partition, offset);
                }
                self.after(4, Pending::Input(Input::WatermarkCommitted { partition, offset, succeeded }));
            }
            Action::CommitRegistered { partition, offset, needed_from, .. } => {
                let succeeded = !self.refuses();
                if succeeded {
                    self.registered.insert(partition, offset);
                    checks::registered(self, partition, offset, needed_from);
                }
                self.after(4, Pending::Input(Input::RegisteredCommitted { partition, offset, succeeded }));
            }
        }
    }

    /// An append may be refused, or end unknown: written or not.
    fn append(&mut self, partition: Partition, parked: &ParkedDelivery) -> Result<Offset, AppendError> {
        let refused = self.refuses();
        if refused && self.random.random() {
            return Err(AppendError::NoSpace);
        }
        let offset = self.new_offset();
        self.parked.entry(partition).or_default().push((offset, parked.clone()));
        if refused { Err(AppendError::Unknown) } else { Ok(offset) }
    }

    /// What a receiver answers, and how long it takes.
    fn answer(&mut self, webhook: &WebhookId, event: u64) -> (AttemptOutcome, u64) {
        let failed =
            |status| AttemptOutcome::Retryable { reason: FailureReason::Status(status), retry_after: None };
        let delivered = (AttemptOutcome::Delivered { status: 200 }, self.random.random_range(1..30));
        if webhook.as_str() == "wh_healthy" {
            return delivered;
        }
        if self.faults.poison && self.is_poison(event) {
            return (failed(500), 5);
        }
        if self.now >= HEALED {
            return delivered;
        }
        match webhook.as_str() {
            "wh_down" if self.faults.down && (1_500..3_000_000).contains(&self.now.0) => {
                self.requests_while_down += 1;
                (AttemptOutcome::Retryable { reason: FailureReason::Timeout, retry_after: None }, 15_000)
            }
            "wh_moody" if self.faults.receivers => match self.random.random_range(0..10) {
                0..3 => (failed(500), 10),
                3 => {
                    (AttemptOutcome::Retryable { reason: FailureReason::Timeout, retry_after: None }, 15_000)
                }
                4 => (AttemptOutcome::Delivered { status: 200 }, self.random.random_range(4_000..14_000)),
                5 => (AttemptOutcome::Rejected { reason: FailureReason::Status(410) }, 10),
                _ => delivered,
            },
            _ => delivered,
        }
    }

    pub(super) fn is_poison(&self, event: u64) -> bool {
        self.faults.poison && event % 97 == 5
    }

    pub(super) fn parked_records(&self) -> usize {
        self.parked.values().map(Vec::len).sum()
    }

    /// Records of the receiver that was down, and how many deliveries they are for.
    pub(super) fn parked_while_down(&self) -> (usize, usize) {
        let all = self.parked.values().flatten().filter(|(_, parked)| parked.webhook.as_str() == "wh_down");
        let events: Vec<_> = all.map(|(_, parked)| number_of(&parked.event)).collect();
        (events.len(), events.iter().collect::<HashSet<_>>().len())
    }

    fn refuses(&mut self) -> bool {
        self.faults.appends && self.now < HEALED && self.random.random_range(0..5) == 0
    }

    fn new_offset(&mut self) -> Offset {
        self.next_offset += self.random.random_range(1..3);
        Offset(self.next_offset)
    }

    fn after(&mut self, milliseconds: u64, pending: Pending) {
        self.sequence += 1;
        self.pending.insert((self.now.after(Duration::from_millis(milliseconds)), self.sequence), pending);
    }
}

fn name_of(action: &Action) -> String {
    let text = format!("{action:?}");
    text.chars().take(60).collect()
}

pub(super) fn number_of(event: &Event) -> u64 {
    event.id.as_str().trim_start_matches("evt_").parse().expect("a number")
}

pub(super) fn event(number: u64, accepted_at: Timestamp) -> Event {
    let data = NoticeData {
        gateway: GatewayId::new("gw"),
        gateway_transaction_id: None,
        invoice_id: None,
        client_id: None,
        status: None,
    };
    Event {
        id: EventId::new(format!("evt_{number}")),
        fingerprint: number,
        event_type: EventType::PaymentReceived,
        notification: NotificationType::Pay,
        organization: OrganizationId::new("org"),
        gateway: GatewayId::new("gw"),
        club_id: ClubId::new("club"),
        occurred_at: None,
        accepted_at,
        data: EventData::Notice(data),
    }
}

pub(super) fn webhook(id: &str) -> Webhook {
    let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
    Webhook {
        id: WebhookId::new(id),
        organization: OrganizationId::new("org"),
        club_id: None,
        url: "https://example.com/".parse().expect("a URL"),
        events: vec![EventType::PaymentReceived],
        key: WebhookKey::new(&secret),
        retry_schedule: None,
        deadline: None,
    }
}

pub(super) fn settings() -> Settings {
    let seconds = |seconds| Duration::from_secs(seconds);
    Settings {
        allow_addresses: Vec::new(),
        allow_http: false,
        ca_file: None,
        attempt_timeout: seconds(15),
        budget: seconds(5),
        commit_interval: Duration::from_millis(500),
        lane_interval: seconds(1),
        endpoint_concurrency: 4,
        endpoint_queue: 500,
        window_events: 1_000,
        window_bytes: bytesize::ByteSize::mib(1),
        repeat_memory: 1_000,
        breaker_failures: 3,
        retry_schedule: vec![seconds(5), seconds(60), seconds(600)],
        probe_schedule: vec![seconds(5), seconds(30), seconds(120), seconds(300)],
        deadline: seconds(6_000),
        drain_timeout: seconds(5),
    }
}
