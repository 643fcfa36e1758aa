//! History: what became of deliveries, as the log tells it, and the wish to have some of them made again.
//!
//! Everything here reads; nothing is kept beside the log, so any process with the log open can answer: dead
//! letters ([`letters`]), their redelivery ([`redeliveries`]), the way of one payment ([`trace`]). A wish for a
//! redelivery is written into the log, and a dispatcher carries it out. Journals have no index by time or payment:
//! a question may read days of them.

pub mod letters;
pub mod redeliveries;
pub mod scan;
pub mod trace;

use hookline_event_log::Log;
use hookline_schemas::time::Clock;

pub use letters::{Letter, LetterPage, LetterSummary, LettersOf};
pub use redeliveries::{CancelError, RedeliverError, RedeliveryStatus};
pub use trace::{FoundEvent, Trace, TraceQuery};

/// What a log tells. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History<L: Log> {
    log: L,
    clock: Clock,
}

impl<L: Log> History<L> {
    /// Of this log.
    pub fn new(log: L, clock: Clock) -> Self {
        Self { log, clock }
    }
}

#[cfg(test)]
mod tests;
