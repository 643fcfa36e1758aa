//! How many appends per second the embedded log acknowledges on this disk, and how long each takes.
//!
//! `cargo run --release -p hookline-event-log --example throughput [directory]`

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use hookline_event_log::embedded::{EmbeddedLog, EmbeddedOptions};
use hookline_event_log::{Journal, JournalName, Log, Partition};
use hookline_schemas::time::Clock;
use tokio::task::JoinSet;

const RECORD: usize = 700;
const LASTING: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let directory = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let scratch = tempfile::tempdir_in(directory)?;
    let clock = Clock::start();
    for in_flight in [1, 64, 512] {
        let options = EmbeddedOptions::new(scratch.path().join(in_flight.to_string()));
        let log = EmbeddedLog::open(options, clock)?;
        let mut took = measure(&log, clock, in_flight).await?;
        log.close().await;
        took.sort_unstable();
        let at = |share: usize| took.get((took.len() * share / 1000).min(took.len() - 1)).copied();
        let (median, p99, p999) = (at(500), at(990), at(999));
        eprintln!(
            "{in_flight} in flight: {} appends a second, median {median:?}, p99 {p99:?}, p99.9 {p999:?}",
            took.len() as u64 / LASTING.as_secs()
        );
    }
    Ok(())
}

/// Keeps so many appends in flight, each awaited before the next; returns how long each took.
async fn measure(log: &EmbeddedLog, clock: Clock, in_flight: u16) -> anyhow::Result<Vec<Duration>> {
    let journal = log.journal(JournalName::Events);
    let value = Bytes::from(vec![b'x'; RECORD]);
    let mut appenders = JoinSet::new();
    for number in 0..in_flight {
        let (journal, value) = (journal.clone(), value.clone());
        appenders.spawn(async move {
            let partition = Partition(number % journal.partitions());
            let key = Bytes::from(number.to_string());
            let mut took = Vec::new();
            let until = clock.elapsed() + LASTING;
            while clock.elapsed() < until {
                let began = clock.elapsed();
                journal.append(partition, key.clone(), value.clone()).await?.await?;
                took.push(clock.elapsed().saturating_sub(began));
            }
            anyhow::Ok(took)
        });
    }
    let mut took = Vec::new();
    while let Some(one) = appenders.join_next().await {
        took.extend(one.context("an appender panicked")??);
    }
    Ok(took)
}
