//! The objective: what goes to a healthy endpoint is there within five seconds of its event's acceptance.
//!
//! It judges us, not the receivers, so a delivery counts only while nothing but ourselves may be to blame:
//!
//! - The endpoint is healthy when the delivery is planned: its breaker is closed, its webhook neither paused nor
//!   disabled, its lane caught up. (Of an event that comes to us when its five seconds are over, the lane is not
//!   asked: after an outage of ours what is fetched at once fills the lanes by itself.)
//! - None of its attempts fails by the receiver's fault, and the webhook's own rate limit does not hold it back.
//!
//! It is *in time* by a 2xx within five seconds of the event's acceptance, all waiting in the journal included; an
//! attempt that runs on beside its parked copy may still be. It is *late* where it was not, and we have taken the time:
//! it was fetched so late that less than a second was left for the receiver (we lagged behind, or were down), or this
//! machine failed in an attempt of it, or could not make one. What was late otherwise the receiver has taken: he
//! answered slowly, or what he had not answered yet used up his permits. That counts neither way.
//!
//! What leaves the window for a lane without an attempt in flight is judged then, and never again. After a crash what
//! is sent again is judged again. Two machines' clocks that disagree shift what is judged by as much.

use std::time::Duration;

use hookline_schemas::delivery::Party;

use super::counts::ParkReason;

/// From the acceptance of an event to its 2xx.
const OBJECTIVE: Duration = Duration::from_secs(5);

/// So much of it the receiver may use; with less than that left it is late by our doing.
const RECEIVERS_SHARE: Duration = Duration::from_secs(1);

/// How a delivery counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// As promised.
    InTime,
    /// Not as promised, by our doing.
    Late,
}

/// How a delivery of the window stands to the objective until it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It does not count: somebody else is to blame, whatever comes.
    Exempt,
    /// If it is late, then by the receiver's slowness.
    Fair,
    /// If it is late, then by our doing.
    Delayed,
}

impl Standing {
    /// Of a delivery that is planned so long after its event's acceptance, with what keeps it from being sent
    /// straight.
    pub(crate) fn planned(obstacle: Option<ParkReason>, age: Duration) -> Self {
        match obstacle {
            None if age > OBJECTIVE.saturating_sub(RECEIVERS_SHARE) => Self::Delayed,
            None => Self::Fair,
            Some(ParkReason::Local) => Self::Delayed,
            Some(ParkReason::Lane) if age > OBJECTIVE => Self::Delayed,
            Some(_) => Self::Exempt,
        }
    }

    /// The webhook's own rate limit holds it back.
    pub(crate) fn hold_back(&mut self) {
        *self = Self::Exempt;
    }

    /// An attempt failed by this party's fault.
    pub(crate) fn fail(&mut self, by: Party) {
        *self = match (by, *self) {
            (Party::Receiver, _) | (Party::Ours, Self::Exempt) => Self::Exempt,
            (Party::Ours, Self::Fair | Self::Delayed) => Self::Delayed,
        };
    }

    /// Its 2xx came so long after its event's acceptance.
    pub(crate) fn delivered(self, age: Duration) -> Option<Judged> {
        match self {
            Self::Exempt => None,
            Self::Fair | Self::Delayed if age <= OBJECTIVE => Some(Judged::InTime),
            Self::Delayed => Some(Judged::Late),
            Self::Fair => None,
        }
    }

    /// It waits in a lane, and nothing of it is in flight any more.
    pub(crate) fn parked(self) -> Option<Judged> {
        match self {
            Self::Delayed => Some(Judged::Late),
            Self::Exempt | Self::Fair => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Judged::{InTime, Late};
    use super::ParkReason::{Down, Halted, Lane, Local};
    use super::*;

    /// What happens to a delivery.
    enum Happens {
        HeldBack,
        Fails(Party),
        Delivered(u64),
        Parked,
    }
    use Happens::{Delivered, Fails, HeldBack, Parked};

    /// What is said of it, what keeps it from being sent straight, its age then, what happens, how it counts.
    type Row = (&'static str, Option<ParkReason>, u64, &'static [Happens], Option<Judged>);

    const OURS: Happens = Fails(Party::Ours);
    const THEIRS: Happens = Fails(Party::Receiver);

    #[test]
    fn only_what_we_have_delayed_is_late() {
        let table: [Row; 24] = [
            ("sent straight, answered at once", None, 10, &[Delivered(30)], Some(InTime)),
            ("at the last moment", None, 10, &[Delivered(5_000)], Some(InTime)),
            ("the receiver took too long", None, 10, &[Delivered(5_001)], None),
            ("fetched late, and in time all the same", None, 4_500, &[Delivered(4_600)], Some(InTime)),
            ("fetched in time, with a second left", None, 4_000, &[Delivered(5_100)], None),
            ("fetched so late that hardly a second is left", None, 4_001, &[Delivered(5_100)], Some(Late)),
            ("fetched an hour later", None, 3_600_000, &[Delivered(3_600_100)], Some(Late)),
            ("failed by the receiver, then delivered", None, 10, &[THEIRS, Delivered(500)], None),
            ("failed by the receiver, then parked", None, 10, &[THEIRS, Parked], None),
            ("late already, and failed by the receiver", None, 9_000, &[THEIRS, Parked], None),
            ("failed by this machine, then delivered", None, 10, &[OURS, Delivered(500)], Some(InTime)),
            ("failed by this machine, then too late", None, 10, &[OURS, Delivered(6_000)], Some(Late)),
            ("failed by this machine, then parked", None, 10, &[OURS, Parked], Some(Late)),
            ("failed by us, then by the receiver", None, 10, &[OURS, THEIRS, Parked], None),
            ("failed by the receiver, then by us", None, 10, &[THEIRS, OURS, Parked], None),
            ("no permit came free", None, 10, &[Parked], None),
            ("late already, and no permit came free", None, 4_500, &[Parked], Some(Late)),
            ("held back by the webhook's own rate", None, 9_000, &[HeldBack, Delivered(9_100)], None),
            ("held back, and in time", None, 10, &[HeldBack, Delivered(100)], None),
            ("behind others in the lane", Some(Lane), 10, &[Parked], None),
            ("behind others in the lane, after an outage of ours", Some(Lane), 5_001, &[Parked], Some(Late)),
            ("this machine rests", Some(Local), 10, &[Parked], Some(Late)),
            ("the endpoint is down", Some(Down), 3_600_000, &[Parked], None),
            ("the webhook is paused", Some(Halted), 3_600_000, &[Parked], None),
        ];
        for (what, obstacle, age, happens, expected) in table {
            let mut standing = Standing::planned(obstacle, Duration::from_millis(age));
            let mut judged = None;
            for happens in happens {
                match happens {
                    HeldBack => standing.hold_back(),
                    Fails(party) => standing.fail(*party),
                    Delivered(age) => judged = standing.delivered(Duration::from_millis(*age)),
                    Parked => judged = standing.parked(),
                }
            }
            assert_eq!(judged, expected, "{what}");
        }
    }
}
