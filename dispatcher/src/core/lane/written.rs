//! A lane and its record in `lanes`: resumed from it, written down again, covered and counted by it.

use std::collections::BTreeMap;
use std::time::Duration;

use hookline_event_log::Offset;
use hookline_schemas::delivery::{ExceptionRecord, LaneRecord};
use hookline_schemas::time::Timestamp;

use super::{Exception, Lane};

/// How often a lane is written down that only grows.
const GROWTH_INTERVAL: Duration = Duration::from_secs(60);

/// How the lane is written down, as far as that has been acknowledged or is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// Never, or as drained: new records need a lane record before R may pass them.
    Drained,
    /// As having a backlog, under way: covers once it is acknowledged.
    ActiveUnderWay,
    /// As having a backlog: new records are covered.
    Active,
}

impl Lane {
    /// A lane as it was written down; `registered` is R of its partition, up to which records may stand, and
    /// `uncounted` how many of its records stand below R and behind the tail of what was written down.
    pub(crate) fn resume(record: &LaneRecord, registered: Offset, uncounted: u64) -> Self {
        let cursor = Offset(record.cursor);
        let exception = |exception: &ExceptionRecord| {
            let ExceptionRecord { tries, due, deadline, .. } = *exception;
            let state = Exception { tries, due, deadline, loading: false };
            (Offset(exception.offset), state)
        };
        let exceptions: BTreeMap<_, _> = record.exceptions.iter().map(exception).collect();
        let tail = registered.max(cursor).max(Offset(record.tail));
        let mut lane = Self::empty(tail);
        lane.next_load = if record.drained { tail } else { cursor };
        lane.needed_from = needed_from(record);
        lane.grown = uncounted > 0;
        lane.counted_to = if uncounted > 0 { Offset(record.tail) } else { tail };
        lane.counts = record.counts;
        lane.counts.registered += uncounted;
        lane.unloaded = lane.counts.backlog().saturating_sub(exceptions.len() as u64);
        lane.counts.registered = lane.counts.settled() + lane.unloaded + exceptions.len() as u64;
        lane.exceptions = exceptions;
        lane.written = if record.drained { Written::Drained } else { Written::Active };
        lane.counts_before = lane.counts;
        lane.expect_nothing_behind_the_end();
        lane
    }

    /// From where on something stands in the lane that is written down nowhere, if there is something.
    pub(crate) fn uncounted_from(&self) -> Option<Offset> {
        (self.counted_to < self.tail).then_some(self.counted_to)
    }

    /// Whether so much time has passed since it was written down that its growth is worth a record: whoever
    /// takes the lane over counts what is not.
    pub(crate) fn has_grown_long(&self, now: Timestamp) -> bool {
        self.grown && self.put_at.after(GROWTH_INTERVAL) <= now
    }

    /// What is known of the lane itself, into the record that is to be written down. What was settled above
    /// the cursor will be read again: it counts as backlog.
    pub(crate) fn describe(&self, record: LaneRecord) -> LaneRecord {
        let exception = |(offset, exception): (&Offset, &Exception)| ExceptionRecord {
            offset: offset.0,
            tries: exception.tries,
            due: exception.due,
            deadline: exception.deadline,
        };
        let mut counts = self.counts;
        let cursor = self.cursor();
        for how in self.struck.range(cursor..self.tail.max(cursor)).map(|(_, how)| how) {
            *how.count_in(&mut counts) -= 1;
        }
        LaneRecord {
            cursor: cursor.0,
            tail: self.tail.0,
            drained: self.is_drained(),
            exceptions: self.exceptions.iter().map(exception).collect(),
            counts,
            ..record
        }
    }

    /// The record to put now; none while a put is under way, after which there will be another.
    pub(crate) fn begin_put(&mut self, record: LaneRecord, now: Timestamp) -> Option<LaneRecord> {
        if self.writing {
            self.dirty = true;
            return None;
        }
        assert!(
            self.adds_up(),
            "every record of a lane is accounted for: {:?} {}",
            self.counts,
            self.backlog()
        );
        let record = self.describe(record);
        self.writing = true;
        self.dirty = false;
        self.grown = false;
        self.put_at = now;
        self.settled_since_put = 0;
        self.written = match (record.drained, self.written) {
            (true, _) => Written::Drained,
            (false, Written::Drained) => Written::ActiveUnderWay,
            (false, written) => written,
        };
        Some(record)
    }

    /// A put has failed: written or not.
    pub(crate) fn fail_put(&mut self) {
        self.writing = false;
        self.dirty = true;
        self.written = Written::Drained;
    }

    /// A put of this record has been acknowledged.
    pub(crate) fn acknowledge(&mut self, record: &LaneRecord) {
        self.writing = false;
        self.needed_from = needed_from(record);
        self.counted_to = Offset(record.tail);
        if self.written == Written::ActiveUnderWay {
            self.written = Written::Active;
        }
    }
}

/// The lowest offset in `parked` that a lane read from this record would need.
fn needed_from(record: &LaneRecord) -> Option<Offset> {
    let cursor = (!record.drained).then_some(record.cursor);
    let exceptions = record.exceptions.iter().map(|exception| exception.offset);
    cursor.into_iter().chain(exceptions).min().map(Offset)
}
