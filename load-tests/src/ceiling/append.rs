//! The least that a durable record can cost: a file, one thread that writes what waits, one sync for all of it.
//!
//! Natural batching, as hookline's log has it: while one sync runs, the next batch gathers. There is nothing else: no
//! index, no check sum, no way to read it or to delete from it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use bytes::Bytes;
use hookline_schemas::time::Clock;
use tokio::sync::oneshot;

use super::asking::{Asking, ask};
use super::measured::Measured;
use crate::load::EventRecord;

/// Records that may wait for a sync: more than any ceiling has in flight.
const QUEUE: usize = 8192;

/// A record, and who waits for it.
struct Waiting {
    record: Bytes,
    synced: oneshot::Sender<()>,
}

/// Where records are appended. The thread ends when the last of these is dropped.
#[derive(Debug, Clone)]
pub(super) struct RawFile {
    waiting: SyncSender<Waiting>,
}

impl RawFile {
    /// Makes a new file in this directory, and the thread that owns it.
    pub(super) fn create(directory: &Path) -> anyhow::Result<Self> {
        let path: PathBuf = directory.join("records");
        let file = OpenOptions::new().create_new(true).append(true).open(&path);
        let file = file.with_context(|| format!("failed to make {}", path.display()))?;
        let (waiting, taken) = sync_channel(QUEUE);
        let thread = move || {
            if let Err(error) = write_all(file, &taken) {
                // Those who wait see that nobody answers.
                eprintln!("the raw file can't be written: {error}");
            }
        };
        std::thread::Builder::new().name("raw-file".to_owned()).spawn(thread)?;
        Ok(Self { waiting })
    }

    /// The record is synced when this returns.
    pub(super) async fn append(self, record: Bytes) -> anyhow::Result<()> {
        let (synced, wait) = oneshot::channel();
        self.waiting.try_send(Waiting { record, synced }).ok().context("too many records wait")?;
        wait.await.context("the writer has ended")
    }
}

fn write_all(mut file: File, taken: &Receiver<Waiting>) -> io::Result<()> {
    let mut batch = Vec::with_capacity(QUEUE);
    let mut bytes = Vec::new();
    while let Ok(first) = taken.recv() {
        batch.push(first);
        batch.extend(taken.try_iter());
        bytes.clear();
        batch.iter().for_each(|waiting| bytes.extend_from_slice(&waiting.record));
        file.write_all(&bytes)?;
        file.sync_data()?;
        for waiting in batch.drain(..) {
            // Who has stopped waiting has dropped the other half.
            let _ = waiting.synced.send(());
        }
    }
    Ok(())
}

/// Appends these records again and again, and tells how fast they were synced.
pub(super) async fn measure(
    directory: &Path,
    asking: Asking,
    records: Arc<[EventRecord]>,
    clock: Clock,
) -> anyhow::Result<Measured> {
    let file = RawFile::create(directory)?;
    let append = move |number: usize| {
        let record = records.get(number % records.len()).map(|record| record.value.clone());
        file.clone().append(record.unwrap_or_default())
    };
    ask(asking, clock, append).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_record_stands_in_the_file_when_it_was_acknowledged() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = RawFile::create(directory.path()).expect("a file");
        let appends = (0..100).map(|_| file.clone().append(Bytes::from_static(b"seven b")));
        for appended in futures::future::join_all(appends).await {
            appended.expect("acknowledged");
        }
        let length = std::fs::metadata(directory.path().join("records")).expect("a file").len();
        assert_eq!(length, 700);
    }
}
