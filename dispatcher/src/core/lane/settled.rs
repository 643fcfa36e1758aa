//! How deliveries of a lane are settled, and where that is counted.

use hookline_schemas::delivery::LaneCounts;

/// How a delivery of a lane is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneSettled {
    /// By a 2xx.
    Delivered,
    /// In `dead_letters`.
    Dead,
    /// Because the webhook is no more.
    Cancelled,
    /// By a copy at the end of the lane.
    ParkedAgain,
    /// By retention: lost.
    Expired,
}

impl LaneSettled {
    /// Its count.
    pub(super) fn count_in(self, counts: &mut LaneCounts) -> &mut u64 {
        match self {
            Self::Delivered => &mut counts.delivered,
            Self::Dead => &mut counts.dead,
            Self::Cancelled => &mut counts.cancelled,
            Self::ParkedAgain => &mut counts.parked_again,
            Self::Expired => &mut counts.expired,
        }
    }
}
