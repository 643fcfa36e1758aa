//! What the core counts since the start of the process, beside the totals of its windows and lanes; and the words for
//! it. Plain fields: counting costs no look-up.

use hookline_schemas::delivery::DeadReason;
use hookline_schemas::event::{Event, EventType};
use hookline_schemas::ids::EventId;
use hookline_schemas::time::Timestamp;

use super::objective::Judged;

/// What the core counts, beside the totals of its windows. Since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Events fetched.
    pub(crate) fetched: u64,
    /// Records of `events` that are not of this version.
    pub(crate) unreadable: u64,
    /// Events under a known id with another body; delivered.
    pub(crate) conflicting: u64,
    /// Records appended to `parked`.
    pub(crate) parked_records: u64,
    /// Why.
    pub(crate) parked: ParkCounts,
    /// Records appended to `dead_letters` because the receiver will never take them.
    pub(crate) dead_rejected: u64,
    /// Records appended to `dead_letters` because their deadline had passed.
    pub(crate) dead_deadline: u64,
    /// Lane records put.
    pub(crate) lane_records: u64,
    /// Webhooks disabled because their endpoints answered 410.
    pub(crate) disabled_gone: u64,
    /// Webhooks disabled because their endpoints were down for too long.
    pub(crate) disabled_failing: u64,
    /// Deliveries to healthy endpoints that were there in time.
    pub(crate) in_time: u64,
    /// Deliveries to healthy endpoints that were late by our doing.
    pub(crate) late: u64,
}

impl Counts {
    /// A record of `dead_letters` has been acknowledged.
    pub(crate) fn bury(&mut self, reason: DeadReason) {
        *match reason {
            DeadReason::Rejected => &mut self.dead_rejected,
            DeadReason::Deadline => &mut self.dead_deadline,
        } += 1;
    }

    /// A delivery has been judged by the objective, if it counts.
    pub(crate) fn judge(&mut self, judged: Option<Judged>) {
        match judged {
            Some(Judged::InTime) => self.in_time += 1,
            Some(Judged::Late) => self.late += 1,
            None => {}
        }
    }
}

/// By which way an attempt was come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Straight from the window.
    Window,
    /// By its endpoint's lane.
    Lane,
}

impl Way {
    /// A label for metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Lane => "lane",
        }
    }
}

/// Why a delivery is put into `parked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParkReason {
    /// Others wait in its endpoint's lane, or are on their way there.
    Lane,
    /// The endpoint's breaker is not closed.
    Down,
    /// Its webhook is paused or disabled.
    Halted,
    /// This machine could not do its part.
    Local,
    /// Too many wait for a permit of the endpoint already.
    QueueFull,
    /// It waited for a permit of the endpoint for too long.
    Permit,
    /// Its time in the window was over.
    Budget,
    /// Its attempt takes long, and the window is nearly full.
    WindowFull,
    /// An attempt failed.
    Failed,
    /// Another process takes its partition of `events`.
    Handover,
    /// From a lane to its end: it fails by itself, and there was no place among the exceptions.
    ExceptionsFull,
}

impl ParkReason {
    const ALL: [Self; 11] = [
        Self::Lane,
        Self::Down,
        Self::Halted,
        Self::Local,
        Self::QueueFull,
        Self::Permit,
        Self::Budget,
        Self::WindowFull,
        Self::Failed,
        Self::Handover,
        Self::ExceptionsFull,
    ];

    /// A label for metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Lane => "lane",
            Self::Down => "down",
            Self::Halted => "halted",
            Self::Local => "local",
            Self::QueueFull => "queue_full",
            Self::Permit => "permit",
            Self::Budget => "budget",
            Self::WindowFull => "window_full",
            Self::Failed => "failed",
            Self::Handover => "handover",
            Self::ExceptionsFull => "exceptions_full",
        }
    }
}

/// How many deliveries were parked for each reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ParkCounts([u64; ParkReason::ALL.len()]);

impl ParkCounts {
    /// One more.
    pub(crate) fn count(&mut self, why: ParkReason) {
        if let Some(count) = self.0.get_mut(why as usize) {
            *count += 1;
        }
    }

    /// Each reason with its count.
    pub(crate) fn each(&self) -> impl Iterator<Item = (ParkReason, u64)> {
        ParkReason::ALL.into_iter().zip(self.0)
    }
}

/// What is given up because its webhook is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// One delivery.
    One { event: EventId, event_type: EventType, tries: u32, accepted_at: Timestamp },
    /// So many of a lane at once.
    Backlog(u64),
}

impl Cancelled {
    /// A delivery of this event, after so many attempts.
    pub(crate) fn one(event: &Event, tries: u32) -> Self {
        let Event { id, event_type, accepted_at, .. } = event;
        Self::One { event: id.clone(), event_type: *event_type, tries, accepted_at: *accepted_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_count_and_a_name_of_its_own() {
        for reason in ParkReason::ALL {
            let mut counts = ParkCounts::default();
            counts.count(reason);
            let counted: Vec<_> = counts.each().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(reason, 1)]);
            let namesakes = ParkReason::ALL.iter().filter(|other| other.label() == reason.label());
            assert_eq!(namesakes.count(), 1, "{reason:?}");
        }
    }
}
