//! An append to the embedded log, from the call to the acknowledgement: one at a time, and 512 in flight.

#[path = "../../benches/support/mod.rs"]
mod support;

use std::rc::Rc;

use bytes::Bytes;
use futures::future::join_all;
use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_event_log::{Journal, JournalName, Log, Partition};
use hookline_schemas::time::Clock;
use support::Measured;

const RECORD: usize = 700;
const IN_FLIGHT: u16 = 512;

/// Appends so many, all at once, and waits until each is acknowledged.
async fn append<J: Journal>(journal: &J, value: &Bytes, count: u16) {
    let appends = (0..count).map(|number| async move {
        let key = Bytes::from_static(b"gateway/3541977847");
        let partition = Partition(number % journal.partitions());
        let appending = journal.append(partition, key, value.clone()).await.expect("it is accepted");
        appending.await.expect("it is durable");
    });
    join_all(appends).await;
}

fn main() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let runtime = Rc::new(runtime);
    let mut options = EmbeddedOptions::new(scratch.path().join("log"));
    // What is measured is the path; how long a sync takes is the disk's business.
    options.allow_page_cache = true;
    let log = EmbeddedLog::open(options, Clock::start()).expect("a log");
    let (journal, value) = (log.journal(JournalName::Events), Bytes::from(vec![b'x'; RECORD]));
    let measured = |name, count| {
        let (runtime, journal, value) = (Rc::clone(&runtime), journal.clone(), value.clone());
        Measured::new(name, move || runtime.block_on(append(&journal, &value, count)))
    };
    support::main(vec![measured("append_one", 1), measured("append_512_in_flight", IN_FLIGHT)]);
    runtime.block_on(log.close());
}
