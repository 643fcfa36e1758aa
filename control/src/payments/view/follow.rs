//! Follows `payments` into the view: entries are taken in groups, each group as a whole.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use hookline_event_log::{
    Change, Entry, Fence, Log, Partition, ReadError, Table, TableName, TableWatch, Verdict,
};
use hookline_schemas::delivery::OwnerMarker;
use tokio_rusqlite::rusqlite;

use super::rows;
use super::{Seen, Update, View, ViewError};

/// Entries of a group.
const GROUP: usize = 1_000;

/// After the database has failed.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What the table's watch has told, judged.
#[derive(Debug, Default)]
struct Follower {
    fence: Fence,
    overwritten: BTreeMap<Bytes, Option<Bytes>>,
    version: u64,
    is_loaded: bool,
}

/// Why following ended.
enum Ended {
    Read(ReadError),
    View(ViewError),
    /// Somebody who asked was failed.
    Broken,
}

impl View {
    /// Follows the table until the log closes. Where the database fails (the disk is full), the view is made anew:
    /// until it has been, nobody gets an answer from it.
    ///
    /// # Errors
    ///
    /// If the table can't be read.
    pub(crate) async fn follow<L: Log>(&self, log: &L) -> Result<(), ReadError> {
        loop {
            match self.follow_once(log).await {
                Ended::Read(ReadError::Closed) => return Ok(()),
                Ended::Read(error) => return Err(error),
                Ended::View(error) => {
                    tracing::error!(%error, "the view of payments is made anew");
                    self.begin_anew().await;
                }
                Ended::Broken => {
                    tracing::error!("the view of payments has failed somebody who asked, and is made anew");
                    self.begin_anew().await;
                }
            }
        }
    }

    async fn follow_once<L: Log>(&self, log: &L) -> Ended {
        let watch = log.table(TableName::Payments).watch(&[Partition(0)]);
        let changes = stream::unfold(watch, async |mut watch| Some((watch.next().await, watch)));
        // What is there already is taken together.
        let mut groups = pin!(changes.ready_chunks(GROUP));
        let mut follower = Follower::default();
        loop {
            let changes = tokio::select! {
                changes = groups.next() => changes,
                () = self.broken.notified() => return Ended::Broken,
            };
            let Some(changes) = changes else { return Ended::Read(ReadError::Closed) };
            let mut group = Vec::with_capacity(changes.len());
            for change in changes {
                match change {
                    Ok(Change::Entry(entry)) => group.extend(follower.judge(entry)),
                    Ok(Change::Loaded) => follower.is_loaded = true,
                    Err(error) => return Ended::Read(error),
                }
            }
            if let Err(error) = self.take(group, &follower).await {
                return Ended::View(error);
            }
        }
    }

    /// Takes a group, then tells of it: whoever hears of a change can look it up.
    async fn take(&self, group: Vec<Entry>, follower: &Follower) -> Result<(), ViewError> {
        let was_loaded = self.seen.borrow().is_loaded;
        let updates = match group.is_empty() {
            true => Vec::new(),
            false => self.ask(move |database| take(database, &group)).await?,
        };
        self.seen.send_modify(|seen| {
            seen.version = follower.version;
            seen.is_loaded = follower.is_loaded;
            if *seen.overwritten != follower.overwritten {
                seen.overwritten = Arc::new(follower.overwritten.clone());
            }
        });
        if was_loaded {
            // Nobody listening is no error.
            updates.into_iter().for_each(|update| drop(self.updates.send(Some(update))));
        }
        Ok(())
    }

    /// Whoever listens is told that he misses something: what changes until it is loaded again is told to nobody.
    async fn begin_anew(&self) {
        self.seen.send_replace(Seen::default());
        let _ = self.updates.send(None);
        loop {
            tokio::time::sleep(TRY_AGAIN).await;
            match self.empty().await {
                Ok(()) => {
                    // Whoever was failed until now was failed by what is gone.
                    let _ = self.broken.notified().now_or_never();
                    return;
                }
                Err(error) => tracing::error!(%error, "failed to empty the view of payments: trying again"),
            }
        }
    }
}

impl Follower {
    /// The entry, if it counts.
    fn judge(&mut self, entry: Entry) -> Option<Entry> {
        self.version = self.version.max(entry.version.next().0);
        if OwnerMarker::is_key(&entry.key) {
            if entry.value.is_some() {
                self.fence.owner(entry.partition, entry.epoch, entry.version);
            }
            return None;
        }
        if self.fence.judge(&entry) == Verdict::LateForeign {
            tracing::warn!(
                key = %String::from_utf8_lossy(&entry.key),
                "a control that had been deposed wrote a payment: it does not count"
            );
            self.overwritten.insert(entry.key, entry.value);
            return None;
        }
        self.overwritten.remove(&entry.key);
        Some(entry)
    }
}

fn take(database: &rusqlite::Connection, group: &[Entry]) -> rusqlite::Result<Vec<Update>> {
    let mut updates = Vec::new();
    for entry in group {
        updates.extend(rows::take(database, entry)?);
    }
    Ok(updates)
}
