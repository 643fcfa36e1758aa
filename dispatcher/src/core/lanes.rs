//! The lanes at work: registering what was parked, draining in order, probing what is down, writing down.

use std::num::NonZeroU32;
use std::time::Duration;

use hookline_event_log::{Epoch, JournalName, Offset, Partition};
use hookline_schemas::delivery::{DeadReason, LaneRecord, ParkedDelivery, Party};
use hookline_schemas::time::Timestamp;

use super::breaker::Breaker;
use super::defect::{self, Defect};
use super::endpoint::EndpointLane;
use super::lane::{Lane, LaneDelivery, LaneSettled, Place, READY_WHILE_DOWN, READY_WHILE_SENDING, Written};
use super::outcomes::{Attempt, Target};
use super::remote::NEARLY_CAUGHT_UP;
use super::shard::LaneShard;
use super::{Action, AttemptKey, Cancelled, Core, EndpointKey, Prepared, ResumedLane, Timer, Way, schedule};

/// When an endpoint with something due is looked at again.
const TICK: Duration = Duration::from_millis(1);
/// The same, while there is no room for it: it has its turn before, most likely.
const LOOK_WITHOUT_ROOM: Duration = Duration::from_secs(1);

/// Deliveries after which a lane record is written without waiting for the interval.
const SETTLED_PER_RECORD: u32 = 1_000;

impl Core {
    /// Takes over the lanes of a partition as they are written down.
    pub(super) fn resume_lanes(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        registered: Offset,
        lanes: &[ResumedLane],
        actions: &mut Vec<Action>,
    ) {
        assert!(self.webhooks.is_some(), "nothing is taken over before the webhooks have been loaded");
        let before = self.shards.insert(partition, LaneShard::new(epoch, registered));
        assert!(before.is_none(), "a partition is given up before it is granted again");
        for endpoint in self.endpoints.iter_mut().filter(|endpoint| endpoint.partition == partition) {
            endpoint.lane = EndpointLane::Owned(Box::new(Lane::empty(Offset::START)));
        }
        for lane in lanes {
            self.resume_lane(lane, registered, actions);
        }
        for key in (0..self.endpoints.len()).map(|index| EndpointKey(index as u64)) {
            if self.endpoint(key).partition == partition {
                self.pump(key, actions);
            }
        }
    }

    fn resume_lane(&mut self, lane: &ResumedLane, registered: Offset, actions: &mut Vec<Action>) {
        let ResumedLane { record, uncounted } = lane;
        let uncounted = uncounted.saturating_sub(u64::from(defect::is(Defect::RecordForgotten)));
        let key = self.endpoint_of(&record.webhook);
        let now = self.now;
        let endpoint = self.endpoint_mut(key);
        endpoint.lane = EndpointLane::Owned(Box::new(Lane::resume(record, registered, uncounted)));
        endpoint.breaker = Breaker::from_record(record.breaker, now);
        endpoint.disabled = record.disabled;
        if endpoint.breaker.is_open() {
            endpoint.concurrency.restart();
        }
        let Some(webhook) = endpoint.webhook.clone() else { return self.cancel(key, actions) };
        if record.url.is_some_and(|url| url != webhook.url_fingerprint()) {
            endpoint.disabled = None;
            self.start_anew(key);
        }
        self.enable_if_asked(key, actions);
        self.announce(key, actions);
    }

    /// Registers parked deliveries in their lanes.
    pub(super) fn follow(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        records: Vec<(Offset, ParkedDelivery)>,
        actions: &mut Vec<Action>,
    ) {
        let is_ours = self.shards.get(&partition).is_some_and(|shard| shard.epoch == epoch);
        if !is_ours || self.is_revoking(JournalName::Parked, partition) {
            return;
        }
        for (offset, parked) in records {
            let endpoint = self.endpoint_of(&parked.webhook);
            self.register(partition, endpoint, offset, parked, actions);
        }
    }

    fn register(
        &mut self,
        partition: Partition,
        key: EndpointKey,
        offset: Offset,
        parked: ParkedDelivery,
        actions: &mut Vec<Action>,
    ) {
        let place = self.place_of(key, &parked);
        let is_alone = self.dispatchers == NonZeroU32::MIN;
        let endpoint = self.endpoint_mut(key);
        if is_alone {
            // In an earlier life, if not in this one.
            endpoint.last_parked = endpoint.last_parked.max(Some(offset));
        }
        let limit = if endpoint.is_down() { READY_WHILE_DOWN } else { READY_WHILE_SENDING };
        let deleted = endpoint.webhook.is_none().then(|| endpoint.id.clone());
        let Some(lane) = endpoint.owned_mut() else { return };
        // The lane record is younger than R: it has covered this record before.
        let known = offset < lane.tail();
        let cancelled = deleted.map(|webhook| (webhook, Cancelled::one(&parked.event, parked.tries)));
        if !known {
            lane.register(offset, parked, place, limit);
        }
        if let Some((webhook, what)) = cancelled
            && lane.cancel() > 0
        {
            actions.push(Action::Cancelled { webhook, what });
        }
        let written = lane.written;
        let covered = known || written == Written::Active;
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        shard.follow(offset, key, covered);
        if !covered && written == Written::Drained {
            self.put_lane(key, actions);
        }
        self.pump(key, actions);
    }

    /// What has failed while the endpoint is healthy, or may still succeed, lets its neighbours pass.
    fn place_of(&mut self, key: EndpointKey, parked: &ParkedDelivery) -> Place {
        let endpoint = self.endpoint(key);
        if !endpoint.owned().is_some_and(Lane::takes_exceptions) {
            return Place::InOrder;
        }
        if parked.not_before > self.now {
            return Place::Exception { due: parked.not_before };
        }
        let is_our_fault = parked.last_failure.is_some_and(|reason| reason.party() == Party::Ours);
        if parked.tries == 0 || is_our_fault || !endpoint.breaker.is_closed() || endpoint.is_halted() {
            return Place::InOrder;
        }
        Place::Exception { due: self.retry_due(key, parked.tries) }
    }

    pub(super) fn retry_due(&mut self, key: EndpointKey, tries: u32) -> Timestamp {
        let own = self.endpoint(key).webhook.as_ref().and_then(|webhook| webhook.retry_schedule.clone());
        let schedule = own.as_deref().unwrap_or(&self.settings.retry_schedule);
        schedule::due(schedule, tries, self.now, &mut self.random)
    }

    /// Sends whatever the endpoint may be sent now: from its lane, if that is ours, then what waits in the
    /// window; and says when to look again.
    pub(super) fn pump(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        if self.works_lane(key) {
            self.pump_lane(key, actions);
        }
        self.pump_queue(key, actions);
        self.set_timer(key);
    }

    /// Exceptions that are due first, then the lane in order.
    fn pump_lane(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        self.bury_expired_head(key, actions);
        self.load_expired_exceptions(key, actions);
        self.close_once_caught_up(key);
        let endpoint = self.endpoint(key);
        if endpoint.is_silent() {
            // What waits goes on waiting.
        } else if endpoint.is_down() {
            self.probe(key, actions);
        } else if !endpoint.is_resting(self.now) {
            self.send_due_exceptions(key, actions);
            self.send_in_order(key, actions);
        }
        self.load_more(key, actions);
    }

    /// Coming back with nothing left in order: what comes goes straight out, at a pace that is still slow.
    fn close_once_caught_up(&mut self, key: EndpointKey) {
        let endpoint = self.endpoint_mut(key);
        if endpoint.breaker == Breaker::HalfOpen && endpoint.owned().is_some_and(Lane::is_nearly_caught_up) {
            endpoint.breaker.close();
            endpoint.write_down_soon();
        }
    }

    fn send_due_exceptions(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        while let Some((offset, due)) = self.endpoint(key).owned().and_then(Lane::first_due_exception)
            && due <= self.now
            && self.take_permit(key, self.lane_share(key))
        {
            self.load_exception(key, offset, false, actions);
        }
    }

    fn send_in_order(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        while self.endpoint(key).owned().is_some_and(|lane| lane.head().is_some())
            && self.take_permit(key, self.lane_share(key))
            && let Some((offset, delivery)) = self.take_head(key)
        {
            self.endpoint_mut(key).in_flight += 1;
            self.send_from_lane(key, offset, delivery, false, actions);
        }
    }

    /// Among how many the rate is shared: the others send nothing while much waits in order.
    fn lane_share(&self, key: EndpointKey) -> NonZeroU32 {
        let drains = || self.endpoint(key).owned().is_some_and(|lane| lane.waiting() > NEARLY_CAUGHT_UP);
        // Alone there is nothing to share, and nothing to count.
        if self.dispatchers > NonZeroU32::MIN && drains() { NonZeroU32::MIN } else { self.dispatchers }
    }

    /// One attempt at an endpoint that is down, once it is due: the head, and every other time its
    /// neighbour, so that a head that fails by itself can't keep the door shut.
    fn probe(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let now = self.now;
        let endpoint = self.endpoint_mut(key);
        let is_due = endpoint.breaker.is_probe_due(now);
        let is_possible = endpoint.owned().is_some_and(Lane::has_something_to_probe_with);
        if !is_due || !is_possible || !self.finds_room(key) {
            return;
        }
        let endpoint = self.endpoint_mut(key);
        if !endpoint.take_rate(NonZeroU32::MIN, now) {
            return;
        }
        let Breaker::Open { failed_probes, .. } = endpoint.breaker else { return };
        let Some(lane) = endpoint.owned_mut() else { return };
        // The neighbour's turn comes once the head has had its own: first attempts are in order.
        let head_has_failed = lane.head().is_some_and(|(_, head)| head.tries > 0);
        let nth = usize::from(head_has_failed && failed_probes % 2 == 1);
        if let Some((offset, delivery)) = lane.take_ready(nth) {
            endpoint.breaker.begin_probe();
            endpoint.probe_by_hand = false;
            endpoint.in_flight += 1;
            self.send_from_lane(key, offset, delivery, true, actions);
        } else if lane.is_caught_up()
            && let Some((offset, _)) = lane.first_due_exception()
        {
            endpoint.breaker.begin_probe();
            endpoint.probe_by_hand = false;
            self.load_exception(key, offset, true, actions);
        }
    }

    fn take_head(&mut self, key: EndpointKey) -> Option<(Offset, LaneDelivery)> {
        self.endpoint_mut(key).owned_mut()?.take_ready(0)
    }

    /// A delivery of the lane is settled; without effect where the lane is no longer ours.
    pub(super) fn settle_in_lane(&mut self, key: EndpointKey, offset: Offset, how: LaneSettled) {
        if let Some(lane) = self.endpoint_mut(key).owned_mut() {
            lane.settle(offset, how);
        }
    }

    /// Attempts a delivery of the lane; its permit has been taken.
    pub(super) fn send_from_lane(
        &mut self,
        key: EndpointKey,
        offset: Offset,
        mut delivery: LaneDelivery,
        is_probe: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(webhook) = self.endpoint(key).webhook.clone() else {
            self.give_back_permit(key, is_probe);
            return self.cancel_in_lane(key, offset, &delivery, actions);
        };
        if delivery.parked.deadline <= self.now {
            self.give_back_permit(key, is_probe);
            return self.bury_from_lane(key, offset, &delivery, None, DeadReason::Deadline, actions);
        }
        delivery.tries += 1;
        let attempt = AttemptKey(self.new_key());
        let deadline = self.now.after(self.settings.attempt_timeout);
        let (event, number) = (Prepared::new(delivery.parked.event.clone()), delivery.tries);
        let target = Target::Lane { offset, delivery };
        self.attempts
            .insert(attempt, Attempt { endpoint: key, deadline, is_probe, is_outdated: false, target });
        actions.push(Action::Attempt { attempt, webhook, event, number, way: Way::Lane });
    }

    /// What a permit was taken for is not attempted after all.
    pub(super) fn give_back_permit(&mut self, key: EndpointKey, was_probe: bool) {
        let endpoint = self.endpoint_mut(key);
        endpoint.in_flight -= 1;
        if was_probe {
            endpoint.breaker.abandon_probe();
        }
    }

    /// While an endpoint is down nobody attempts what waits: its deadline is looked after here.
    fn bury_expired_head(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        while let Some((_, head)) = self.endpoint(key).owned().and_then(Lane::head)
            && head.parked.deadline <= self.now
            && let Some((offset, delivery)) = self.take_head(key)
        {
            self.bury_from_lane(key, offset, &delivery, None, DeadReason::Deadline, actions);
        }
    }

    /// When the endpoint is to be looked at although nothing ends there.
    fn endpoint_due(&self, key: EndpointKey) -> Option<Timestamp> {
        let endpoint = self.endpoint(key);
        let hold = endpoint.hold_ends(self.now).filter(|_| !endpoint.queue.is_empty());
        let lane =
            endpoint.owned().filter(|_| self.works_lane(key)).and_then(|lane| self.lane_due(key, lane));
        let waits = || !endpoint.queue.is_empty() || endpoint.owned().is_some_and(|lane| !lane.is_drained());
        let rate = endpoint.rate_free_at(self.now).filter(|_| waits());
        let rest = Some(endpoint.rests_until).filter(|until| *until > self.now && waits());
        [hold, rate, rest, lane].into_iter().flatten().min()
    }

    fn lane_due(&self, key: EndpointKey, lane: &Lane) -> Option<Timestamp> {
        let endpoint = self.endpoint(key);
        // Nothing goes out before the rate allows it.
        let rate = endpoint.rate_free_at(self.now).unwrap_or(self.now);
        if endpoint.is_down() {
            let head = lane.head().map(|(_, head)| head.parked.deadline);
            // With nothing at hand to probe with, its loading or its append looks again.
            let is_probed = !endpoint.is_silent() && lane.has_something_to_probe_with();
            let probe = endpoint.breaker.next_probe().filter(|_| is_probed).map(|due| due.max(rate));
            let dying = lane.first_dying_exception().map(|(_, deadline)| deadline);
            [probe, head, dying].into_iter().flatten().min()
        } else {
            // With no permit free, the end of an attempt looks again.
            let exception = lane.first_due_exception().filter(|_| endpoint.free_permits() > 0);
            exception.map(|(_, due)| due.max(rate).max(endpoint.rests_until))
        }
    }

    pub(super) fn set_timer(&mut self, key: EndpointKey) {
        let due = self.endpoint_due(key);
        if let Some(set) = self.endpoint_timers.remove(&key) {
            self.timers.remove(&(set, Timer::Endpoint(key)));
        }
        if let Some(due) = due {
            // What was due already has been acted on as far as it can be: look again at the next tick. Who waits for room
            // is looked at when there is some.
            let pause = if self.endpoint(key).waits_for_room { LOOK_WITHOUT_ROOM } else { TICK };
            let due = due.max(self.now.after(pause));
            self.endpoint_timers.insert(key, due);
            self.timers.insert((due, Timer::Endpoint(key)));
        }
    }

    /// Writes down the lanes that have changed.
    pub(super) fn write_lanes(&mut self, actions: &mut Vec<Action>) {
        self.write_lanes_where(|_| true, self.draining, actions);
    }

    /// Writes down the lanes of some partitions that have changed; for the last time, also what has only grown.
    pub(super) fn write_lanes_where(
        &mut self,
        includes: impl Fn(Partition) -> bool,
        is_last_word: bool,
        actions: &mut Vec<Action>,
    ) {
        let now = self.now;
        for key in (0..self.endpoints.len()).map(|index| EndpointKey(index as u64)) {
            let endpoint = self.endpoint(key);
            let is_due = |lane: &Lane| lane.dirty || (lane.grown && is_last_word) || lane.has_grown_long(now);
            if includes(endpoint.partition) && endpoint.owned().is_some_and(is_due) {
                self.put_lane(key, actions);
            }
        }
    }

    /// Writes down a lane of which much has been settled since.
    pub(super) fn write_lane_if_due(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let owned = self.endpoint(key).owned();
        if owned.is_some_and(|lane| lane.settled_since_put >= SETTLED_PER_RECORD) {
            self.put_lane(key, actions);
        }
    }

    pub(super) fn put_lane(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let partition = self.endpoint(key).partition;
        let Some(epoch) = self.shards.get(&partition).map(|shard| shard.epoch) else { return };
        let now = self.now;
        let endpoint = self.endpoint_mut(key);
        let record = endpoint.to_record();
        let Some(lane) = endpoint.owned_mut() else { return };
        if let Some(record) = lane.begin_put(record, now) {
            actions.push(Action::PutLane { endpoint: key, partition, epoch, record });
        }
    }

    /// A lane has been written down, or is to be again.
    pub(super) fn finish_lane_put(
        &mut self,
        key: EndpointKey,
        epoch: Epoch,
        record: &LaneRecord,
        acknowledged: bool,
        actions: &mut Vec<Action>,
    ) {
        let partition = self.endpoint(key).partition;
        let Some(lane) = self.lane_under(key, epoch) else { return };
        if !acknowledged {
            return lane.fail_put();
        }
        lane.acknowledge(record);
        self.counts.lane_records += 1;
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        shard.cover(key, Offset(record.cursor), record.drained);
        if shard.waits_for(key) {
            self.put_lane(key, actions);
        }
    }
}
