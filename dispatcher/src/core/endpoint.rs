//! An endpoint: the receiver behind one webhook, with its permits, its short queue, its breaker and its lane.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use hookline_event_log::{Offset, Partition};
use hookline_schemas::delivery::{Disabled, FailureReason, LaneRecord};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;

use super::breaker::Breaker;
use super::lane::Lane;
use super::pace::{Concurrency, Rate};
use super::remote::RemoteLane;
use super::{DeliveryKey, ParkReason};

/// After a hold that did not lead anywhere deliveries are parked at once for so many times as long: a window is
/// no place to wait for a slow endpoint. Those who hold for a lane that they all share have to meet, so it is not
/// long either.
const HOLD_PAUSE: u32 = 3;

/// What is known of one endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its identity.
    pub(crate) id: WebhookId,
    /// As of now; `None` once the webhook has been deleted.
    pub(crate) webhook: Option<Arc<Webhook>>,
    /// Whether its webhook is: a look at all endpoints need not look at all webhooks.
    paused: bool,
    /// Its partition of `parked`.
    pub(crate) partition: Partition,
    /// Attempts in flight, whatever they are for.
    pub(crate) in_flight: usize,
    /// It has its turn when an attempt ends, whoever's.
    pub(crate) waits_for_room: bool,
    /// Deliveries of the window that wait for a permit; those that were settled otherwise are skipped.
    pub(crate) queue: VecDeque<DeliveryKey>,
    /// Its health.
    pub(crate) breaker: Breaker,
    /// How many attempts may be in flight.
    pub(crate) concurrency: Concurrency,
    /// How many may start in a second, where the webhook limits that.
    pub(crate) rate: Option<Rate>,
    /// Nothing is sent until somebody enables it again. Its lane's owner decides, and the others read it there.
    pub(crate) disabled: Option<Disabled>,
    /// Somebody wants it probed although it is disabled.
    pub(crate) probe_by_hand: bool,
    /// Its backlog.
    pub(crate) lane: EndpointLane,
    /// Appends to `parked` that are under way.
    pub(crate) parking: usize,
    /// The highest offset in `parked` that this process appended for it.
    pub(crate) last_parked: Option<Offset>,
    /// Nothing is started before, because this machine could not do its part.
    pub(crate) rests_until: Timestamp,
    /// How the latest attempt failed that did.
    pub(crate) last_failure: Option<FailureReason>,
    /// The end of the latest hold; none, once deliveries have gone out directly since.
    held_until: Option<Timestamp>,
}

/// The backlog of an endpoint, by who owns its partition of `parked`.
#[derive(Debug)]
pub(crate) enum EndpointLane {
    /// This process.
    Owned(Box<Lane>),
    /// Another process, or nobody yet.
    Remote(RemoteLane),
}

/// The way of a delivery of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Straight to the endpoint, as far as it has permits.
    Direct,
    /// Into the short queue, whatever permits there are: the way will be free in a moment.
    Hold,
    /// Into the lane.
    Park,
}

impl Endpoint {
    /// An endpoint of which nothing is known yet.
    pub(crate) fn new(id: WebhookId, partition: Partition, cap: usize) -> Self {
        Self {
            id,
            webhook: None,
            paused: false,
            partition,
            in_flight: 0,
            waits_for_room: false,
            queue: VecDeque::new(),
            breaker: Breaker::CLOSED,
            concurrency: Concurrency::new(cap),
            rate: None,
            disabled: None,
            probe_by_hand: false,
            lane: EndpointLane::Remote(RemoteLane::new(None)),
            parking: 0,
            last_parked: None,
            rests_until: Timestamp(0),
            last_failure: None,
            held_until: None,
        }
    }

    /// Its lane, if it is ours.
    pub(crate) fn owned(&self) -> Option<&Lane> {
        match &self.lane {
            EndpointLane::Owned(lane) => Some(lane),
            EndpointLane::Remote(_) => None,
        }
    }

    /// Its lane, if it is ours.
    pub(crate) fn owned_mut(&mut self) -> Option<&mut Lane> {
        match &mut self.lane {
            EndpointLane::Owned(lane) => Some(lane),
            EndpointLane::Remote(_) => None,
        }
    }

    /// Takes the webhook as it is now.
    pub(crate) fn take_webhook(&mut self, webhook: Option<Arc<Webhook>>, now: Timestamp) {
        let per_second = webhook.as_ref().and_then(|webhook| webhook.rate_limit);
        if self.rate.as_ref().map(Rate::per_second) != per_second {
            self.rate = per_second.map(|per_second| Rate::new(per_second, now));
        }
        self.paused = webhook.as_ref().is_some_and(|webhook| webhook.paused);
        self.webhook = webhook;
    }

    /// Whether somebody wants nothing to be sent for now.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether nothing is sent because somebody wants it so, or the endpoint has asked for it.
    pub(crate) fn is_halted(&self) -> bool {
        self.disabled.is_some() || self.is_paused()
    }

    /// Whether not even a probe is sent.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_paused() || (self.disabled.is_some() && !self.probe_by_hand)
    }

    /// Whether its backlog waits, but for a probe now and then.
    pub(crate) fn is_down(&self) -> bool {
        self.breaker.is_open() || self.is_halted()
    }

    /// Whether nothing is started for a moment, because this machine could not do its part.
    pub(crate) fn is_resting(&self, now: Timestamp) -> bool {
        self.rests_until > now
    }

    /// Whether a probe is under way, and still wanted.
    pub(crate) fn is_being_probed(&self) -> bool {
        matches!(self.breaker, Breaker::Open { probing: true, .. }) && !self.is_paused()
    }

    /// How many more attempts of its lane may start now, as far as the rate allows.
    pub(crate) fn free_permits(&self) -> usize {
        self.concurrency.limit().saturating_sub(self.in_flight)
    }

    /// Takes an attempt from the rate, as one of so many who send to it.
    pub(crate) fn take_rate(&mut self, share: NonZeroU32, now: Timestamp) -> bool {
        self.rate.as_mut().is_none_or(|rate| rate.take(share, now))
    }

    /// When the rate allows another attempt, if it has refused one.
    pub(crate) fn rate_free_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.rate.as_ref().map(Rate::free_at).filter(|free_at| *free_at > now)
    }

    /// Something changed that its lane's record tells, if the lane is ours.
    pub(crate) fn write_down_soon(&mut self) {
        if let Some(lane) = self.owned_mut() {
            lane.dirty = true;
        }
    }

    /// What is to be written down of it, beside its lane.
    pub(crate) fn to_record(&self) -> LaneRecord {
        LaneRecord {
            breaker: self.breaker.to_record(),
            disabled: self.disabled,
            url: self.webhook.as_ref().map(|webhook| webhook.url_fingerprint()),
            ..LaneRecord::unknown(self.id.clone())
        }
    }

    /// Why something can't be sent straight, where that is so.
    pub(crate) fn obstacle(&self, now: Timestamp) -> ParkReason {
        if self.is_halted() {
            ParkReason::Halted
        } else if !self.breaker.is_closed() {
            ParkReason::Down
        } else if self.is_resting(now) {
            ParkReason::Local
        } else {
            ParkReason::Lane
        }
    }

    /// Straight only where the endpoint is healthy and nothing that was parked here still waits in order. What
    /// other processes parked is of other payments.
    pub(crate) fn route(&self, now: Timestamp) -> Route {
        if !self.breaker.is_closed() || self.is_halted() || self.is_resting(now) {
            return Route::Park;
        }
        let passed = match &self.lane {
            EndpointLane::Owned(lane) => {
                lane.is_nearly_caught_up() && self.last_parked.is_none_or(|parked| lane.cursor() > parked)
            }
            EndpointLane::Remote(lane) => lane.is_nearly_caught_up() && lane.has_passed(self.last_parked),
        };
        if passed && self.parking == 0 {
            Route::Direct
        } else if self.hold_ends(now).is_some() {
            Route::Hold
        } else {
            Route::Park
        }
    }

    /// Under steady traffic the end of a lane is never reached, because something is always on its way there.
    /// So where little is left before it, deliveries are held for a moment instead of being parked.
    pub(crate) fn begin_hold(&mut self, hold: Duration, now: Timestamp) {
        if self.held_until.is_none_or(|until| until.after(hold * HOLD_PAUSE) <= now) {
            self.held_until = Some(now.after(hold));
        }
    }

    /// The end of the hold, while there is one.
    pub(crate) fn hold_ends(&self, now: Timestamp) -> Option<Timestamp> {
        self.held_until.filter(|until| *until > now)
    }

    /// Deliveries go out directly: another hold may begin at any time.
    pub(crate) fn end_hold(&mut self) {
        self.held_until = None;
    }

    /// Its lane, which another process owns, has been written down. What opened the breaker here has been
    /// parked, and whoever owns the lane has sent it: once it has passed and the breaker is closed there, it
    /// closes here.
    pub(crate) fn see_lane(&mut self, record: Option<&LaneRecord>, hold: Duration, now: Timestamp) {
        let EndpointLane::Remote(lane) = &mut self.lane else { return };
        let keeps_up = lane.see(record, self.last_parked);
        let has_passed = self.parking == 0 && lane.has_passed(self.last_parked);
        if (keeps_up || has_passed) && !self.breaker.is_closed() {
            self.breaker = Breaker::CLOSED;
        }
        self.disabled = record.and_then(|record| record.disabled);
        if keeps_up && self.route(now) == Route::Park {
            self.begin_hold(hold, now);
        }
    }

    /// The lane is no longer ours: what it was when we left it holds until the watch says more. A probe that is
    /// under way tells the breaker nothing, because others probe from now on.
    pub(crate) fn leave_lane(&mut self) {
        let Some(lane) = self.owned() else { return };
        let record = lane.describe(self.to_record());
        self.lane = EndpointLane::Remote(RemoteLane::new(Some(&record)));
        self.breaker.abandon_probe();
        self.probe_by_hand = false;
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::delivery::{BreakerRecord, ExceptionRecord, LaneCounts};

    use super::*;

    const HOLD: Duration = Duration::from_secs(2);
    const CLOSED: Breaker = Breaker::CLOSED;
    const OPEN: Breaker =
        Breaker::Open { failed_probes: 1, since: Timestamp(0), due: Timestamp(0), probing: false };

    fn endpoint(breaker: Breaker, parking: usize, last_parked: Option<u64>) -> Endpoint {
        let endpoint = Endpoint::new(WebhookId::new("wh"), Partition(0), 4);
        Endpoint { breaker, parking, last_parked: last_parked.map(Offset), ..endpoint }
    }

    fn record(cursor: u64, drained: bool, failed_probes: Option<u32>) -> LaneRecord {
        let breaker = BreakerRecord { failed_probes, ..BreakerRecord::default() };
        let tail = if drained { cursor } else { 1_000 };
        let counts = LaneCounts { registered: tail - cursor, ..LaneCounts::default() };
        LaneRecord { cursor, tail, drained, breaker, counts, ..LaneRecord::unknown(WebhookId::new("wh")) }
    }

    fn with_exception(record: LaneRecord) -> LaneRecord {
        let (due, deadline) = (Timestamp(0), Timestamp(9));
        let exception = ExceptionRecord { offset: 1, tries: 1, due, deadline };
        let counts = LaneCounts { registered: 1, ..LaneCounts::default() };
        LaneRecord { tail: record.cursor, counts, exceptions: vec![exception], ..record }
    }

    #[test]
    fn what_is_written_down_of_a_remote_lane_decides() {
        let drained = record(10, true, None);
        let table = [
            // Nothing is known, or nothing of ours was parked.
            (None, endpoint(CLOSED, 0, None), Route::Direct),
            (Some(drained.clone()), endpoint(CLOSED, 0, None), Route::Direct),
            // Down here, or down there, or coming back there.
            (Some(record(10, true, Some(3))), endpoint(CLOSED, 0, None), Route::Park),
            (Some(record(10, true, Some(0))), endpoint(CLOSED, 0, None), Route::Park),
            // Others wait in order there; exceptions wait apart.
            (Some(record(10, false, None)), endpoint(CLOSED, 0, None), Route::Park),
            (Some(with_exception(record(10, false, None))), endpoint(CLOSED, 0, None), Route::Direct),
            // Something of ours is on its way there, or stands there, or has been passed.
            (Some(drained.clone()), endpoint(CLOSED, 1, None), Route::Park),
            (Some(drained.clone()), endpoint(CLOSED, 0, Some(10)), Route::Park),
            (Some(drained.clone()), endpoint(CLOSED, 0, Some(9)), Route::Direct),
            (None, endpoint(CLOSED, 0, Some(9)), Route::Park),
            // What opened the breaker here stands there, or has been passed, or was never parked.
            (Some(drained.clone()), endpoint(OPEN, 0, Some(10)), Route::Park),
            (Some(drained.clone()), endpoint(OPEN, 1, Some(9)), Route::Park),
            (Some(record(10, true, Some(3))), endpoint(OPEN, 0, Some(9)), Route::Park),
            (Some(drained.clone()), endpoint(OPEN, 0, Some(9)), Route::Direct),
            (Some(drained), endpoint(OPEN, 0, None), Route::Direct),
        ];
        for (number, (record, mut endpoint, expected)) in table.into_iter().enumerate() {
            endpoint.see_lane(record.as_ref(), HOLD, Timestamp(0));
            assert_eq!(endpoint.route(Timestamp(0)), expected, "{number}: {record:?} {endpoint:?}");
        }
    }

    #[test]
    fn a_lane_that_keeps_up_is_waited_for_and_not_for_long() {
        let mut endpoint = endpoint(OPEN, 0, Some(10));
        endpoint.see_lane(Some(&record(5, false, None)), HOLD, Timestamp(0));
        assert_eq!(endpoint.route(Timestamp(0)), Route::Park);
        endpoint.last_parked = Some(Offset(20));
        endpoint.see_lane(Some(&record(15, false, None)), HOLD, Timestamp(1_000));
        assert_eq!(endpoint.breaker, CLOSED, "it has passed what was parked by the record before");
        assert_eq!(endpoint.route(Timestamp(2_999)), Route::Hold);
        assert_eq!(endpoint.route(Timestamp(3_000)), Route::Park);
        endpoint.see_lane(Some(&record(25, false, None)), HOLD, Timestamp(4_000));
        assert_eq!(endpoint.route(Timestamp(4_000)), Route::Park, "not again so soon");
        endpoint.see_lane(Some(&record(26, false, None)), HOLD, Timestamp(9_000));
        assert_eq!(endpoint.route(Timestamp(9_000)), Route::Hold);
        endpoint.see_lane(Some(&record(27, true, None)), HOLD, Timestamp(10_000));
        assert_eq!(endpoint.route(Timestamp(10_000)), Route::Direct);
        endpoint.breaker = OPEN;
        assert_eq!(endpoint.route(Timestamp(10_000)), Route::Park);
    }

    #[test]
    fn a_lane_that_is_left_is_what_it_was() {
        let mut endpoint = endpoint(OPEN, 0, None);
        endpoint.lane = EndpointLane::Owned(Box::new(Lane::resume(&record(10, false, None), Offset(20), 0)));
        endpoint.breaker.begin_probe();
        endpoint.leave_lane();
        assert_eq!(endpoint.breaker, OPEN, "others probe from now on");
        endpoint.breaker = CLOSED;
        assert_eq!(endpoint.route(Timestamp(0)), Route::Park, "it was not drained");
    }

    #[test]
    fn among_several_dispatchers_each_has_all_of_its_own_concurrency() {
        let mut endpoint = endpoint(CLOSED, 0, None);
        let three = NonZeroU32::new(3).expect("not zero");
        while endpoint.free_permits() > 0 && endpoint.take_rate(three, Timestamp(0)) {
            endpoint.in_flight += 1;
        }
        assert_eq!(endpoint.in_flight, 4);
    }
}
