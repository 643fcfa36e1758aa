//! The room for attempts over all endpoints: each is a connection, with its descriptor and its memory, and those of the
//! edge come out of the same process.
//!
//! An endpoint that finds no room waits for its turn, and is looked at again when an attempt ends, whoever's. Half of the
//! room is for endpoints that have hardly anything in flight: however many hang, whoever answers goes on. What waits
//! too long meanwhile is parked, as if the endpoint had no permit.

use std::num::NonZeroU32;

use super::{Action, Core, EndpointKey};

/// Attempts of an endpoint that may take the whole room; what goes beyond has half of it.
const HARDLY_ANY: usize = 2;

/// How many of those who wait are looked at for each attempt that ends, while more than half of the room is taken: not
/// each of them can go on.
const LOOKS: usize = 2;

impl Core {
    /// Takes an attempt at the endpoint, if it may begin: by the endpoint's own permits, by everybody's room, and by the
    /// webhook's rate, from which it is taken as one of so many dispatchers that send to it. Who begins it counts it as
    /// in flight.
    pub(super) fn take_permit(&mut self, key: EndpointKey, share: NonZeroU32) -> bool {
        let now = self.now;
        // Who has no permit of his own does not wait for room.
        self.endpoint(key).free_permits() > 0
            && self.finds_room(key)
            && self.endpoint_mut(key).take_rate(share, now)
    }

    /// Whether there is room for an attempt at the endpoint. If not, it is looked at again when there is some.
    pub(super) fn finds_room(&mut self, key: EndpointKey) -> bool {
        let (most, taken) = (self.settings.max_attempts, self.attempts.len());
        let endpoint = self.endpoint_mut(key);
        let room = if endpoint.in_flight < HARDLY_ANY { most } else { most.div_ceil(2) };
        let finds_room = taken < room;
        if !finds_room && !endpoint.waits_for_room {
            endpoint.waits_for_room = true;
            self.waiting_for_room.push_back(key);
        }
        finds_room
    }

    /// An attempt has ended: who waits for room has his turn.
    pub(super) fn give_room(&mut self, actions: &mut Vec<Action>) {
        let most = self.settings.max_attempts;
        let mut looks = 0;
        while self.attempts.len() < most
            && (looks < LOOKS || self.attempts.len() < most.div_ceil(2))
            && let Some(key) = self.waiting_for_room.pop_front()
        {
            looks += 1;
            self.endpoint_mut(key).waits_for_room = false;
            self.pump(key, actions);
        }
    }
}
