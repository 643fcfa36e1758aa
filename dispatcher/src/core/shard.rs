//! One partition of `parked` and its lanes: R, *registered up to*.
//!
//! Every unsettled record below R is covered by an acknowledged lane record with its cursor at or below the
//! record's offset, or by an exception; from R on the partition is read again after a restart. R waits for
//! lane records, never for an endpoint.

use std::collections::BTreeMap;

use hookline_event_log::{Epoch, Offset};
use serde::{Deserialize, Serialize};

use super::EndpointKey;
use super::defect::{self, Defect};

/// What is committed beside R.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RegisteredWords {
    /// Below this the lane records count everything; behind it, up to R, the next owner does.
    pub(crate) counted_to: u64,
}

/// What the partition's owner knows.
#[derive(Debug)]
pub(crate) struct LaneShard {
    /// Under which R is committed and lane records are put.
    pub(crate) epoch: Epoch,
    followed_to: Offset,
    /// Records that no acknowledged lane record covers yet.
    uncovered: BTreeMap<Offset, EndpointKey>,
    committed: Offset,
    committing: bool,
}

impl LaneShard {
    /// A shard that goes on where the last commit says.
    pub(crate) fn new(epoch: Epoch, committed: Offset) -> Self {
        Self { epoch, followed_to: committed, uncovered: BTreeMap::new(), committed, committing: false }
    }

    /// A record was read; `covered`: an acknowledged lane record covers it, or it is settled.
    pub(crate) fn follow(&mut self, offset: Offset, endpoint: EndpointKey, covered: bool) {
        assert!(offset >= self.followed_to, "records are followed in order");
        self.followed_to = offset.next();
        if !covered {
            self.uncovered.insert(offset, endpoint);
        }
    }

    /// A lane record of this endpoint has been acknowledged: what is below its cursor is settled or an
    /// exception, and unless it says *drained* it covers everything above as well.
    pub(crate) fn cover(&mut self, endpoint: EndpointKey, cursor: Offset, drained: bool) {
        self.uncovered.retain(|offset, owner| *owner != endpoint || (drained && *offset >= cursor));
    }

    /// Whether records of this endpoint wait to be covered.
    pub(crate) fn waits_for(&self, endpoint: EndpointKey) -> bool {
        self.uncovered.values().any(|owner| *owner == endpoint)
    }

    /// R.
    pub(crate) fn registered(&self) -> Offset {
        let too_far = u64::from(defect::is(Defect::RegisteredTooFar));
        self.uncovered.keys().next().map_or(self.followed_to, |first| Offset(first.0 + too_far))
    }

    /// Whether R is committed.
    pub(crate) fn is_committed(&self) -> bool {
        !self.committing && self.registered() == self.committed
    }

    /// R, if it has moved and no commit is under way.
    pub(crate) fn begin_commit(&mut self) -> Option<Offset> {
        if self.committing || self.is_committed() {
            return None;
        }
        self.committing = true;
        Some(self.registered())
    }

    /// A commit has ended.
    pub(crate) fn end_commit(&mut self, offset: Offset, succeeded: bool) {
        self.committing = false;
        if succeeded {
            self.committed = self.committed.max(offset);
        }
    }

    /// What has been committed: retention may take what is below it and below every lane's need.
    pub(crate) fn committed(&self) -> Offset {
        self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_waits_for_lane_records_and_for_nothing_else() {
        let (slow, quick) = (EndpointKey(1), EndpointKey(2));
        let mut shard = LaneShard::new(Epoch(1), Offset(0));
        shard.follow(Offset(3), slow, false);
        shard.follow(Offset(4), quick, true);
        shard.follow(Offset(7), slow, false);
        assert_eq!(shard.begin_commit(), Some(Offset(3)));
        shard.end_commit(Offset(3), true);
        assert!(shard.waits_for(slow) && !shard.waits_for(quick));
        shard.cover(slow, Offset(7), true);
        assert_eq!(shard.registered(), Offset(7));
        shard.cover(slow, Offset(7), false);
        assert_eq!(shard.begin_commit(), Some(Offset(8)));
    }
}
