//! The lanes at work: registering what was parked, draining in order, probing what is down, writing down.

use std::sync::Arc;

use hookline_event_log::{Epoch, Offset, Partition};
use hookline_schemas::delivery::{DeadReason, LaneRecord, ParkedDelivery};
use hookline_schemas::time::Timestamp;

use super::breaker::Breaker;
use super::lane::{Lane, LaneDelivery, Place, READY_WHILE_DOWN, READY_WHILE_SENDING, Written};
use super::outcomes::{Attempt, Target};
use super::shard::LaneShard;
use super::{Action, AttemptKey, Core, EndpointKey, Load, Prepared, Timer, schedule};

/// Deliveries after which a lane record is written without waiting for the interval.
const SETTLED_PER_RECORD: u32 = 1_000;

impl Core {
    /// Takes over the lanes of a partition as they are written down.
    pub(super) fn resume_lanes(
        &mut self,
        partition: Partition,
        epoch: Epoch,
        registered: Offset,
        lanes: &[LaneRecord],
        actions: &mut Vec<Action>,
    ) {
        self.shards.insert(partition, LaneShard::new(epoch, registered));
        assert!(self.webhooks.is_some(), "nothing is taken over before the webhooks have been loaded");
        let Some(webhooks) = self.webhooks.clone() else { return };
        for record in lanes {
            let Some(webhook) = webhooks.find(&record.webhook) else { continue };
            let key = self.endpoint_of(webhook);
            let endpoint = self.endpoint_mut(key);
            endpoint.lane = Lane::resume(record, registered);
            endpoint.breaker = Breaker::from_record(record.breaker);
            self.pump(key, actions);
        }
    }

    /// Registers parked deliveries in their lanes.
    pub(super) fn follow(
        &mut self,
        partition: Partition,
        records: Vec<(Offset, ParkedDelivery)>,
        actions: &mut Vec<Action>,
    ) {
        for (offset, parked) in records {
            let webhook = self.webhooks.as_ref().and_then(|webhooks| webhooks.find(&parked.webhook)).cloned();
            match webhook {
                Some(webhook) => {
                    let endpoint = self.endpoint_of(&webhook);
                    self.register(partition, endpoint, offset, parked, actions);
                }
                None => {
                    self.counts.lane_cancelled += 1;
                    if let Some(shard) = self.shards.get_mut(&partition) {
                        shard.follow(offset, EndpointKey(u64::MAX), true);
                    }
                }
            }
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
        let endpoint = self.endpoint_mut(key);
        // The lane record is younger than R: it has covered this record before.
        let known = offset < endpoint.lane.tail();
        if !known {
            let limit = if endpoint.breaker.is_open() { READY_WHILE_DOWN } else { READY_WHILE_SENDING };
            let struck = endpoint.lane.register(offset, parked, place, limit);
            self.counts.registered += 1;
            self.counts.lane_delivered += u64::from(struck);
        }
        let covered = known || self.endpoint(key).lane.written == Written::Active;
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        shard.follow(offset, key, covered);
        if !covered && self.endpoint(key).lane.written == Written::Drained {
            self.put_lane(key, actions);
        }
        self.pump(key, actions);
    }

    /// What has failed while the endpoint is healthy, or may still succeed, lets its neighbours pass.
    fn place_of(&mut self, key: EndpointKey, parked: &ParkedDelivery) -> Place {
        let endpoint = self.endpoint(key);
        if !endpoint.lane.takes_exceptions() {
            return Place::InOrder;
        }
        if parked.not_before > self.now {
            return Place::Exception { due: parked.not_before };
        }
        if parked.tries == 0 || !endpoint.breaker.is_closed() {
            return Place::InOrder;
        }
        Place::Exception { due: self.retry_due(key, parked.tries) }
    }

    pub(super) fn retry_due(&mut self, key: EndpointKey, tries: u32) -> Timestamp {
        let own = self.endpoint(key).webhook.as_ref().and_then(|webhook| webhook.retry_schedule.clone());
        let schedule = own.as_deref().unwrap_or(&self.settings.retry_schedule);
        schedule::due(schedule, tries, self.now, &mut self.random)
    }

    /// Sends whatever the endpoint may be sent now: exceptions that are due, the lane in order, then what
    /// waits in the window; and says when to look again.
    pub(super) fn pump(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        if self.draining {
            return;
        }
        self.bury_expired_head(key, actions);
        self.load_expired_exceptions(key, actions);
        if self.endpoint(key).breaker.is_open() {
            self.probe(key, actions);
        } else {
            self.send_due_exceptions(key, actions);
            self.send_in_order(key, actions);
        }
        self.load_more(key, actions);
        self.pump_queue(key, actions);
        self.set_timer(key);
    }

    /// How many more attempts may start now.
    fn free_permits(&self, key: EndpointKey) -> usize {
        let endpoint = self.endpoint(key);
        let allowance = endpoint.breaker.allowance(Self::breaker_rules(&self.settings), self.now);
        if endpoint.breaker.is_open() { allowance } else { allowance.saturating_sub(endpoint.in_flight) }
    }

    fn send_due_exceptions(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        while self.free_permits(key) > 0
            && let Some((offset, due)) = self.endpoint(key).lane.first_due_exception()
            && due <= self.now
        {
            self.load_exception(key, offset, false, actions);
        }
    }

    fn send_in_order(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        while self.free_permits(key) > 0
            && let Some((offset, delivery)) = self.endpoint_mut(key).lane.take_ready(0)
        {
            self.endpoint_mut(key).in_flight += 1;
            self.send_from_lane(key, offset, delivery, false, actions);
        }
    }

    /// One attempt at an endpoint that is down, once it is due: the head, and every other time its
    /// neighbour, so that a head that fails by itself can't keep the door shut.
    fn probe(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        if self.free_permits(key) == 0 {
            return;
        }
        let endpoint = self.endpoint_mut(key);
        let Breaker::Open { failed_probes, .. } = endpoint.breaker else { return };
        if let Some((offset, delivery)) = endpoint.lane.take_ready(usize::from(failed_probes % 2 == 1)) {
            endpoint.breaker.begin_probe();
            endpoint.in_flight += 1;
            self.send_from_lane(key, offset, delivery, true, actions);
        } else if endpoint.lane.is_caught_up()
            && let Some((offset, _)) = endpoint.lane.first_due_exception()
        {
            endpoint.breaker.begin_probe();
            self.load_exception(key, offset, true, actions);
        }
    }

    /// Loads an exception to attempt it; its permit is taken now.
    fn load_exception(
        &mut self,
        key: EndpointKey,
        offset: Offset,
        is_probe: bool,
        actions: &mut Vec<Action>,
    ) {
        let endpoint = self.endpoint_mut(key);
        endpoint.lane.begin_loading_exception(offset);
        endpoint.in_flight += 1;
        let (webhook, partition) = (endpoint.id.clone(), endpoint.partition);
        let load = Load::Exception { offset, is_probe };
        actions.push(Action::Load { endpoint: key, webhook, partition, load, limit: 1 });
    }

    fn load_more(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let endpoint = self.endpoint_mut(key);
        let limit = if endpoint.breaker.is_open() { READY_WHILE_DOWN } else { READY_WHILE_SENDING };
        let Some((from, until)) = endpoint.lane.wants_loading(limit) else { return };
        endpoint.lane.loading = true;
        let (webhook, partition) = (endpoint.id.clone(), endpoint.partition);
        let load = Load::Backlog { from, until };
        actions.push(Action::Load { endpoint: key, webhook, partition, load, limit });
    }

    /// Takes what was loaded.
    pub(super) fn take_loaded(
        &mut self,
        key: EndpointKey,
        load: Load,
        records: Vec<(Offset, ParkedDelivery)>,
        next: Offset,
        actions: &mut Vec<Action>,
    ) {
        match load {
            Load::Backlog { from, .. } => self.endpoint_mut(key).lane.take_loaded(from, records, next),
            Load::Exception { offset, is_probe } => {
                let found = records.into_iter().find(|(found, _)| *found == offset);
                let tries = self.endpoint_mut(key).lane.take_exception(offset);
                match (found, tries) {
                    (Some((_, parked)), Some(tries)) => {
                        let delivery = LaneDelivery { parked: Arc::new(parked), tries };
                        self.send_from_lane(key, offset, delivery, is_probe, actions);
                    }
                    (None, Some(_)) => {
                        // Retention took the record: a loss, and counted as one.
                        self.counts.expired += 1;
                        self.give_back_permit(key, is_probe);
                        self.endpoint_mut(key).lane.settle(offset);
                    }
                    // Settled meanwhile by a late 2xx.
                    (_, None) => self.give_back_permit(key, is_probe),
                }
            }
        }
        self.pump(key, actions);
    }

    /// Attempts a delivery of the lane; its permit has been taken.
    fn send_from_lane(
        &mut self,
        key: EndpointKey,
        offset: Offset,
        mut delivery: LaneDelivery,
        is_probe: bool,
        actions: &mut Vec<Action>,
    ) {
        let Some(webhook) = self.endpoint(key).webhook.clone() else {
            self.give_back_permit(key, is_probe);
            self.counts.lane_cancelled += 1;
            return self.endpoint_mut(key).lane.settle(offset);
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
        self.attempts.insert(attempt, Attempt { endpoint: key, deadline, is_probe, target });
        actions.push(Action::Attempt { attempt, webhook, event, number });
    }

    /// What a permit was taken for is not attempted after all.
    fn give_back_permit(&mut self, key: EndpointKey, was_probe: bool) {
        let endpoint = self.endpoint_mut(key);
        endpoint.in_flight -= 1;
        if was_probe {
            endpoint.breaker.abandon_probe();
        }
    }

    /// The same for exceptions: they are loaded, whatever the breaker says, and buried when they come.
    fn load_expired_exceptions(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        while let Some((offset, deadline)) = self.endpoint(key).lane.first_dying_exception()
            && deadline <= self.now
        {
            self.load_exception(key, offset, false, actions);
        }
    }

    /// While an endpoint is down nobody attempts what waits: its deadline is looked after here.
    fn bury_expired_head(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        while let Some((_, head)) = self.endpoint(key).lane.head()
            && head.parked.deadline <= self.now
            && let Some((offset, delivery)) = self.endpoint_mut(key).lane.take_ready(0)
        {
            self.bury_from_lane(key, offset, &delivery, None, DeadReason::Deadline, actions);
        }
    }

    fn set_timer(&mut self, key: EndpointKey) {
        let endpoint = self.endpoint(key);
        let exception = endpoint.lane.first_due_exception().map(|(_, due)| due);
        let due = if endpoint.breaker.is_open() {
            let head = endpoint.lane.head().map(|(_, head)| head.parked.deadline);
            let probe = endpoint.breaker.next_probe().filter(|_| head.is_some() || exception.is_some());
            let dying = endpoint.lane.first_dying_exception().map(|(_, deadline)| deadline);
            [probe, head, dying].into_iter().flatten().min()
        } else {
            // With no permit free, the end of an attempt looks again.
            exception.filter(|_| self.free_permits(key) > 0)
        };
        if let Some(set) = self.endpoint_timers.remove(&key) {
            self.timers.remove(&(set, Timer::Endpoint(key)));
        }
        if let Some(due) = due {
            // What was due already has been acted on as far as it can be: look again at the next tick.
            let due = due.max(Timestamp(self.now.0 + 1));
            self.endpoint_timers.insert(key, due);
            self.timers.insert((due, Timer::Endpoint(key)));
        }
    }

    /// The webhook is no more: what is in memory of its lane is given up, the rest with it.
    pub(super) fn cancel(&mut self, key: EndpointKey) {
        let cancelled = self.endpoint_mut(key).lane.cancel();
        self.counts.lane_cancelled += cancelled as u64;
    }

    /// Writes down the lanes that have changed.
    pub(super) fn write_lanes(&mut self, actions: &mut Vec<Action>) {
        for index in 0..self.endpoints.len() {
            let key = EndpointKey(index as u64);
            if self.endpoint(key).lane.dirty {
                self.put_lane(key, actions);
            }
        }
    }

    /// Writes down a lane of which much has been settled since.
    pub(super) fn write_lane_if_due(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        if self.endpoint(key).lane.settled_since_put >= SETTLED_PER_RECORD {
            self.put_lane(key, actions);
        }
    }

    fn put_lane(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let partition = self.endpoint(key).partition;
        let Some(epoch) = self.shards.get(&partition).map(|shard| shard.epoch) else { return };
        let endpoint = self.endpoint_mut(key);
        if endpoint.lane.writing {
            endpoint.lane.dirty = true;
            return;
        }
        let record = endpoint.lane.to_record(&endpoint.id, endpoint.breaker.to_record());
        endpoint.lane.writing = true;
        endpoint.lane.dirty = false;
        endpoint.lane.settled_since_put = 0;
        endpoint.lane.written = match (record.drained, endpoint.lane.written) {
            (true, _) => Written::Drained,
            (false, Written::Drained) => Written::ActiveUnderWay,
            (false, written) => written,
        };
        actions.push(Action::PutLane { endpoint: key, partition, epoch, record });
    }

    /// A lane has been written down, or is to be again.
    pub(super) fn finish_lane_put(
        &mut self,
        key: EndpointKey,
        record: &LaneRecord,
        acknowledged: bool,
        actions: &mut Vec<Action>,
    ) {
        let partition = self.endpoint(key).partition;
        let lane = &mut self.endpoint_mut(key).lane;
        if !acknowledged {
            lane.writing = false;
            lane.dirty = true;
            lane.written = Written::Drained;
            return;
        }
        lane.acknowledge(record);
        let Some(shard) = self.shards.get_mut(&partition) else { return };
        shard.cover(key, Offset(record.cursor), record.drained);
        if shard.waits_for(key) {
            self.put_lane(key, actions);
        }
    }
}
