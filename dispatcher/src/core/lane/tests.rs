//! A lane against the naive model: the set of what is registered and not settled.

use std::collections::{BTreeMap, BTreeSet};

use hookline_schemas::delivery::LaneRecord;
use hookline_schemas::event::{Event, EventType};
use hookline_schemas::ids::{ClubId, EventId, GatewayId, OrganizationId, WebhookId};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::payload::{EventData, NoticeData};
use proptest::prelude::*;

use super::*;

fn parked() -> ParkedDelivery {
    let gateway = GatewayId::new("gw");
    let data = NoticeData {
        gateway: gateway.clone(),
        gateway_transaction_id: None,
        invoice_id: None,
        client_id: None,
        status: None,
    };
    let event = Event {
        id: EventId::new("evt"),
        fingerprint: 0,
        webhooks_version: 0,
        source: hookline_schemas::event::EventSource::Notification,
        event_type: EventType::CashRegisterReported,
        notification: Some(NotificationType::Kkt),
        organization: OrganizationId::new("org"),
        gateway: Some(gateway),
        club_id: ClubId::new("club"),
        occurred_at: None,
        accepted_at: Timestamp(0),
        data: EventData::Notice(data),
    };
    let webhook = WebhookId::new("wh");
    let (not_before, deadline) = (Timestamp(0), Timestamp(u64::MAX));
    ParkedDelivery { webhook, event, tries: 0, last_failure: None, not_before, deadline, webhooks_version: 0 }
}

/// What the owner of a lane may do to it.
#[derive(Debug, Clone, Copy)]
enum Step {
    Register { gap: u64, excepted: bool, limit: usize },
    BeginLoad { limit: usize },
    EndLoad,
    Take { nth: usize },
    Settle { nth: usize },
    PutBack { nth: usize },
    Except { nth: usize },
    TakeException,
    Strike { nth: usize },
    Shrink { limit: usize },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let nth = 0_usize..4;
    prop_oneof![
        4 => (1_u64..4, prop::bool::weighted(0.2), 1_usize..5)
            .prop_map(|(gap, excepted, limit)| Step::Register { gap, excepted, limit }),
        3 => (1_usize..5).prop_map(|limit| Step::BeginLoad { limit }),
        3 => Just(Step::EndLoad),
        4 => nth.clone().prop_map(|nth| Step::Take { nth }),
        3 => nth.clone().prop_map(|nth| Step::Settle { nth }),
        2 => nth.clone().prop_map(|nth| Step::PutBack { nth }),
        2 => nth.clone().prop_map(|nth| Step::Except { nth }),
        2 => Just(Step::TakeException),
        1 => nth.prop_map(|nth| Step::Strike { nth }),
        2 => (1_usize..3).prop_map(|limit| Step::Shrink { limit }),
        1 => Just(Step::Restart),
    ]
}

/// A lane with what is known of it from outside.
struct Model {
    lane: Lane,
    /// Registered and not settled.
    unsettled: BTreeSet<Offset>,
    /// Everything that was ever registered: the log.
    log: BTreeSet<Offset>,
    /// Taken and not given back.
    taken: BTreeMap<Offset, LaneDelivery>,
    load: Option<(Offset, Offset, usize)>,
}

impl Model {
    fn apply(&mut self, step: Step) {
        match step {
            Step::Register { gap, excepted, limit } => self.register(gap, excepted, limit),
            Step::BeginLoad { limit } => {
                if let Some((from, until)) = self.lane.wants_loading(limit) {
                    self.lane.loading = true;
                    self.load = Some((from, until, limit));
                }
            }
            Step::EndLoad => {
                let Some((from, until, limit)) = self.load.take() else { return };
                let found: Vec<_> = self.log.range(from..until).take(limit).copied().collect();
                let next =
                    if found.len() < limit { until } else { found.last().map_or(until, |last| last.next()) };
                self.lane.take_loaded(
                    from,
                    found.into_iter().map(|offset| (offset, parked())).collect(),
                    next,
                );
            }
            Step::Take { nth } => {
                if let Some((offset, delivery)) = self.lane.take_ready(nth) {
                    assert!(self.unsettled.contains(&offset), "{offset:?} goes out though it is settled");
                    assert!(
                        self.taken.insert(offset, delivery).is_none(),
                        "{offset:?} goes out twice at once"
                    );
                }
            }
            Step::Settle { nth } => self.with_taken(nth, |model, offset, _| {
                model.lane.settle(offset, LaneSettled::Delivered);
                model.unsettled.remove(&offset);
            }),
            Step::PutBack { nth } => self.with_taken(nth, |model, offset, delivery| {
                if model.lane.is_exception(offset) {
                    assert!(model.lane.except(offset, 1, Timestamp(0), Timestamp(u64::MAX)));
                } else {
                    model.lane.put_back(offset, delivery);
                }
            }),
            Step::Except { nth } => {
                self.with_taken(nth, |model, offset, _| {
                    assert!(model.lane.except(offset, 1, Timestamp(0), Timestamp(u64::MAX)))
                });
            }
            Step::TakeException => {
                let Some((offset, _)) = self.lane.first_due_exception() else { return };
                self.lane.begin_loading_exception(offset);
                let tries = self.lane.take_exception(offset).expect("an exception");
                assert!(self.unsettled.contains(&offset), "{offset:?} goes out though it is settled");
                self.taken.insert(offset, LaneDelivery { parked: Arc::new(parked()), tries });
            }
            Step::Strike { nth } => {
                let Some(offset) = self.unsettled.iter().nth(nth).copied() else { return };
                self.lane.strike(offset);
                if !self.taken.contains_key(&offset) {
                    self.unsettled.remove(&offset);
                }
            }
            Step::Shrink { limit } => self.lane.shrink(limit),
            Step::Restart => self.restart(),
        }
        self.check();
    }

    fn register(&mut self, gap: u64, excepted: bool, limit: usize) {
        let offset = Offset(self.lane.tail().0 + gap);
        let place = if excepted { Place::Exception { due: Timestamp(0) } } else { Place::InOrder };
        self.log.insert(offset);
        self.lane.register(offset, parked(), place, limit);
        self.unsettled.insert(offset);
    }

    fn with_taken(&mut self, nth: usize, then: impl FnOnce(&mut Self, Offset, LaneDelivery)) {
        let Some(offset) = self.taken.keys().nth(nth).copied() else { return };
        if let Some(delivery) = self.taken.remove(&offset) {
            then(self, offset, delivery);
        }
    }

    /// What was written down is all that is left; what was settled above the cursor comes again.
    fn restart(&mut self) {
        let record = self.record();
        self.lane = Lane::resume(&record, self.lane.tail(), 0);
        self.taken.clear();
        self.load = None;
        self.unsettled.extend(self.log.range(Offset(record.cursor)..));
    }

    /// Below the cursor everything but the exceptions is settled; nothing unsettled is forgotten.
    fn check(&self) {
        let record = self.record();
        let exceptions: BTreeSet<_> =
            record.exceptions.iter().map(|exception| Offset(exception.offset)).collect();
        for offset in &self.unsettled {
            let covered =
                (!record.drained && *offset >= Offset(record.cursor)) || exceptions.contains(offset);
            assert!(covered, "{offset:?} is not settled, and {record:?} does not cover it");
        }
        assert!(exceptions.is_subset(&self.unsettled), "{exceptions:?} are exceptions though settled");
        let counts = self.lane.counts();
        assert!(self.lane.adds_up(), "{counts:?} with a backlog of {}", self.lane.backlog());
        assert_eq!(self.lane.backlog(), self.unsettled.len() as u64, "{counts:?}");
        assert_eq!(counts.registered, self.log.len() as u64);
        let again = self.log.range(Offset(record.cursor)..).filter(|_| !record.drained);
        let left: BTreeSet<_> = again.chain(&exceptions).collect();
        assert_eq!(record.counts.backlog(), left.len() as u64, "{record:?}");
    }

    fn record(&self) -> LaneRecord {
        self.lane.describe(LaneRecord::unknown(WebhookId::new("wh")))
    }

    /// Loads and settles until nothing is left: everything must come out.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            for step in
                [Step::BeginLoad { limit: 4 }, Step::EndLoad, Step::Take { nth: 0 }, Step::TakeException]
            {
                self.apply(step);
            }
            self.apply(Step::Settle { nth: 0 });
            if self.unsettled.is_empty() && self.taken.is_empty() && self.lane.is_drained() {
                return;
            }
        }
        panic!("{:?} never came out, or {:?} never ends", self.unsettled, self.lane);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_registered_is_forgotten_and_nothing_settled_goes_out(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model {
            lane: Lane::empty(Offset::START),
            unsettled: BTreeSet::new(),
            log: BTreeSet::new(),
            taken: BTreeMap::new(),
            load: None,
        };
        for step in steps {
            model.apply(step);
        }
        model.drain();
    }
}

#[test]
fn what_is_put_back_above_a_gap_does_not_close_it() {
    let mut lane = Lane::empty(Offset::START);
    for offset in 1..=5 {
        lane.register(Offset(offset), parked(), Place::InOrder, 10);
    }
    let taken: Vec<_> = (0..4).map(|_| lane.take_ready(0).expect("a delivery")).collect();
    for (offset, delivery) in [taken[2].clone(), taken[1].clone(), taken[0].clone(), taken[3].clone()] {
        lane.put_back(offset, delivery);
        lane.shrink(2);
    }
    assert_eq!(lane.wants_loading(128), Some((Offset(3), Offset(6))));
}

#[test]
fn a_load_from_before_a_shrink_is_dropped() {
    let mut lane = Lane::empty(Offset::START);
    for offset in 1..=6 {
        lane.register(Offset(offset), parked(), Place::InOrder, 4);
    }
    let (from, until) = lane.wants_loading(128).expect("more to load");
    assert_eq!((from, until), (Offset(5), Offset(7)));
    lane.loading = true;
    lane.shrink(2);
    lane.take_loaded(from, vec![(Offset(5), parked()), (Offset(6), parked())], until);
    assert_eq!(lane.wants_loading(128), Some((Offset(3), Offset(7))));
}

#[test]
fn exceptions_are_bounded() {
    let mut lane = Lane::empty(Offset::START);
    for offset in 1..=MAX_EXCEPTIONS as u64 {
        assert!(lane.takes_exceptions());
        lane.register(Offset(offset), parked(), Place::Exception { due: Timestamp(0) }, 10);
    }
    assert!(!lane.takes_exceptions());
    assert!(!lane.except(Offset(9_999), 1, Timestamp(0), Timestamp(u64::MAX)));
}
