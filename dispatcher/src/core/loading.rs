//! Loading: what stands in `parked` alone is read when its turn comes. The backlog in order, up to what is kept
//! in memory; an exception by itself, with the permit for its attempt, because it is attempted when it comes.

use std::sync::Arc;

use hookline_event_log::{Epoch, Offset};
use hookline_schemas::delivery::ParkedDelivery;

use super::lane::{Lane, LaneDelivery, LaneSettled, READY_WHILE_DOWN, READY_WHILE_SENDING};
use super::{Action, Core, EndpointKey, Load};

impl Core {
    /// Loads an exception to attempt it; its permit is taken now.
    pub(super) fn load_exception(
        &mut self,
        key: EndpointKey,
        offset: Offset,
        is_probe: bool,
        actions: &mut Vec<Action>,
    ) {
        let endpoint = self.endpoint_mut(key);
        let Some(lane) = endpoint.owned_mut() else { return };
        lane.begin_loading_exception(offset);
        endpoint.in_flight += 1;
        self.load(key, Load::Exception { offset, is_probe }, 1, actions);
    }

    pub(super) fn load_more(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        let endpoint = self.endpoint_mut(key);
        let limit = if endpoint.is_down() { READY_WHILE_DOWN } else { READY_WHILE_SENDING };
        let Some(lane) = endpoint.owned_mut() else { return };
        let Some((from, until)) = lane.wants_loading(limit) else { return };
        lane.loading = true;
        self.load(key, Load::Backlog { from, until }, limit, actions);
    }

    fn load(&mut self, key: EndpointKey, load: Load, limit: usize, actions: &mut Vec<Action>) {
        let endpoint = self.endpoint(key);
        let (webhook, partition) = (endpoint.id.clone(), endpoint.partition);
        let Some(epoch) = self.shards.get(&partition).map(|shard| shard.epoch) else { return };
        actions.push(Action::Load { endpoint: key, webhook, partition, epoch, load, limit });
    }

    /// Takes what was loaded.
    pub(super) fn take_loaded(
        &mut self,
        key: EndpointKey,
        epoch: Epoch,
        load: Load,
        records: Vec<(Offset, ParkedDelivery)>,
        next: Offset,
        actions: &mut Vec<Action>,
    ) {
        match load {
            Load::Backlog { from, .. } => {
                if let Some(lane) = self.lane_under(key, epoch) {
                    lane.take_loaded(from, records, next);
                }
            }
            Load::Exception { offset, is_probe } => {
                let found = records.into_iter().find(|(found, _)| *found == offset);
                self.take_loaded_exception(key, epoch, offset, is_probe, found, actions);
            }
        }
        self.pump(key, actions);
    }

    fn take_loaded_exception(
        &mut self,
        key: EndpointKey,
        epoch: Epoch,
        offset: Offset,
        is_probe: bool,
        found: Option<(Offset, ParkedDelivery)>,
        actions: &mut Vec<Action>,
    ) {
        let (starts_more, now) = (self.works_lane(key), self.now);
        // It may have been paused, or have gone down, since it was asked for.
        let endpoint = self.endpoint(key);
        let may_start = if is_probe { endpoint.is_being_probed() } else { !endpoint.is_down() };
        let Some(lane) = self.lane_under(key, epoch) else {
            // The probe was given up with the lane.
            return self.give_back_permit(key, false);
        };
        if !starts_more {
            return self.give_back_permit(key, is_probe);
        }
        match (found, lane.take_exception(offset)) {
            (Some((_, parked)), Some(tries)) => {
                let delivery = LaneDelivery { parked: Arc::new(parked), tries };
                if !may_start && delivery.parked.deadline > now {
                    lane.put_back(offset, delivery);
                    return self.give_back_permit(key, is_probe);
                }
                self.send_from_lane(key, offset, delivery, is_probe, actions);
            }
            (None, Some(_)) => {
                // Retention took the record: a loss, and counted as one.
                self.give_back_permit(key, is_probe);
                self.settle_in_lane(key, offset, LaneSettled::Expired);
            }
            // Settled meanwhile by a late 2xx.
            (_, None) => self.give_back_permit(key, is_probe),
        }
    }

    /// Exceptions whose deadline has passed are loaded, whatever the breaker says, and buried when they come.
    pub(super) fn load_expired_exceptions(&mut self, key: EndpointKey, actions: &mut Vec<Action>) {
        while let Some((offset, deadline)) = self.endpoint(key).owned().and_then(Lane::first_dying_exception)
            && deadline <= self.now
        {
            self.load_exception(key, offset, false, actions);
        }
    }
}
