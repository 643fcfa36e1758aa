//! One step of a payment: held, taken, let go, failed.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::money::Amount;
use crate::notification::NotificationType;
use crate::time::Timestamp;

/// What was told of a step. Of several notifications about one step the same one counts, in whatever order they come: a
/// Confirm before a Pay, because it names what was really taken; else the one that was accepted first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The sum.
    pub amount: Amount,
    /// When it happened.
    pub at: Timestamp,
    /// A Confirm told of it.
    #[serde(default)]
    is_confirm: bool,
    /// When its notification was accepted.
    accepted_at: Timestamp,
    /// Of the notification.
    fingerprint: u64,
}

impl Step {
    /// Takes an event that tells of this step.
    pub(super) fn take(slot: &mut Option<Self>, event: &Event, amount: Amount) {
        let is_confirm = event.notification == Some(NotificationType::Confirm);
        // A Confirm carries the time at which the payment began, not its own.
        let occurred_at = if is_confirm { None } else { event.occurred_at };
        let step = Self {
            amount,
            at: occurred_at.unwrap_or(event.accepted_at),
            is_confirm,
            accepted_at: event.accepted_at,
            fingerprint: event.fingerprint,
        };
        match slot {
            Some(known) if known.rank() <= step.rank() => {}
            _ => *slot = Some(step),
        }
    }

    /// The lowest counts.
    const fn rank(&self) -> (bool, Timestamp, u64) {
        (!self.is_confirm, self.accepted_at, self.fingerprint)
    }
}
