//! The conformance suite against the embedded log.

use std::time::Duration;

use hookline_event_log::conformance::Harness;
use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{Journal, JournalName, Log, Offset, Partition};

use crate::scratch::Scratch;

struct Embedded(Scratch);

impl Harness for Embedded {
    type Log = EmbeddedLog;

    async fn open(&mut self) -> EmbeddedLog {
        self.0.open()
    }

    async fn reopen(&mut self, log: EmbeddedLog) -> EmbeddedLog {
        log.close().await;
        self.0.open()
    }

    async fn expire(&mut self, log: &EmbeddedLog, partition: Partition, below: Offset) {
        let events = log.journal(JournalName::Events);
        while events.bounds(partition).await.expect("bounds can be read").first < below {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

hookline_event_log::conformance_suite!(|_case| Some(Embedded(Scratch::new())));
