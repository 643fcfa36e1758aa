//! Redeliveries: wishing for one, seeing how far it has come, and wishing no more.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::{
    AppendError, Change, Entry, Epoch, Journal, JournalName, Log, Partition, ReadError, Table, TableName,
    TableWatch, partition_of,
};
use hookline_schemas::delivery::{decode, encode};
use hookline_schemas::redelivery::{LetterFilter, Redelivery, RedeliveryKey, RedeliveryProgress};
use hookline_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::History;

/// Wishes are nobody's partition's.
const EPOCH: Epoch = Epoch(0);

/// One that has ended is shown for so long.
const SHOWN: Duration = Duration::from_secs(30 * 24 * 3600);

/// A redelivery, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedeliveryStatus {
    /// What was wished for.
    #[serde(flatten)]
    pub wish: Redelivery,
    /// How far it has come, as written down last.
    pub progress: RedeliveryProgress,
}

impl RedeliveryStatus {
    /// Whether nothing more is to be done.
    pub const fn is_over(&self) -> bool {
        self.wish.is_cancelled || self.progress.ended_at.is_some()
    }

    /// Whether it ended so long ago that it is shown no more. When one was cancelled is not written down: it counts
    /// from when it was wished for.
    fn is_old(&self, now: Timestamp) -> bool {
        let cancelled = self.wish.is_cancelled.then_some(self.wish.requested_at);
        self.progress.ended_at.or(cancelled).is_some_and(|ended| now.since(ended) > SHOWN)
    }
}

/// Why a redelivery was not taken down.
#[derive(Debug, thiserror::Error)]
pub enum RedeliverError {
    /// It would be ignored.
    #[error("the letter's partition does not exist")]
    NoSuchLetter,
    /// The log can't be read.
    #[error("failed to read the dead letters")]
    Read(#[from] ReadError),
    /// It may be written or not: look before you ask again.
    #[error("failed to write the redelivery down")]
    Write(#[from] AppendError),
}

/// Why a redelivery was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is none with this id.
    #[error("there is no such redelivery")]
    Unknown,
    /// The log can't be read.
    #[error("failed to read the redeliveries")]
    Read(#[from] ReadError),
    /// It may be written or not: ask again.
    #[error("failed to write it down")]
    Write(#[from] AppendError),
}

impl<L: Log> History<L> {
    /// Wishes that the letters there are now, as far as the filter takes them, be delivered again, so many per
    /// second. Durable when it returns: a dispatcher carries it out, whatever dies meanwhile. A letter may go out
    /// twice then, under the one `webhook-id` that it has.
    ///
    /// # Errors
    ///
    /// If it could not be written down.
    pub async fn redeliver(
        &self,
        filter: LetterFilter,
        rate: NonZeroU32,
    ) -> Result<Redelivery, RedeliverError> {
        let journal = self.log.journal(JournalName::DeadLetters);
        if filter.named().any(|letter| letter.partition >= journal.partitions()) {
            return Err(RedeliverError::NoSuchLetter);
        }
        let mut ends = Vec::with_capacity(usize::from(journal.partitions()));
        for partition in (0..journal.partitions()).map(Partition) {
            let end = journal.bounds(partition).await?.end.0;
            let named = filter.named().filter(|letter| letter.partition == partition.0);
            let behind_named = named.map(|letter| letter.offset + 1).max();
            ends.push(behind_named.map_or(end, |behind| end.min(behind)));
        }
        self.remove_old().await?;
        let id = format!("{:016x}", rand::random::<u64>());
        let wish =
            Redelivery { id, filter, rate, requested_at: self.clock.wall(), ends, is_cancelled: false };
        self.put(&RedeliveryKey::Wish(&wish.id), Some(encode(&wish))).await?;
        Ok(wish)
    }

    /// The redeliveries that go on, and those that ended within 30 days; the oldest first.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn redeliveries(&self) -> Result<Vec<RedeliveryStatus>, ReadError> {
        let (mut all, now) = (self.written_redeliveries().await?, self.clock.wall());
        all.retain(|status| !status.is_old(now));
        Ok(all)
    }

    /// Everything that is written down.
    pub(crate) async fn written_redeliveries(&self) -> Result<Vec<RedeliveryStatus>, ReadError> {
        let table = self.log.table(TableName::Lanes);
        let all: Vec<_> = (0..table.partitions()).map(Partition).collect();
        let mut watch = table.watch(&all);
        let mut found = Found::default();
        while let Change::Entry(entry) = watch.next().await? {
            found.take(&entry);
        }
        Ok(found.into_statuses())
    }

    /// Stops a redelivery. What stands in lanes already is delivered all the same.
    ///
    /// # Errors
    ///
    /// If there is none, or it could not be written down.
    pub async fn cancel(&self, id: &str) -> Result<(), CancelError> {
        let all = self.redeliveries().await?;
        let status = all.into_iter().find(|status| status.wish.id == id).ok_or(CancelError::Unknown)?;
        let wish = Redelivery { is_cancelled: true, ..status.wish };
        Ok(self.put(&RedeliveryKey::Wish(id), Some(encode(&wish))).await?)
    }

    async fn remove_old(&self) -> Result<(), RedeliverError> {
        let now = self.clock.wall();
        let all = self.written_redeliveries().await?;
        for status in all.into_iter().filter(|status| status.is_old(now)) {
            self.put(&RedeliveryKey::Wish(&status.wish.id), None).await?;
            self.put(&RedeliveryKey::Progress(&status.wish.id), None).await?;
        }
        Ok(())
    }

    async fn put(&self, key: &RedeliveryKey<'_>, value: Option<Vec<u8>>) -> Result<(), AppendError> {
        let table = self.log.table(TableName::Lanes);
        let partition = partition_of(key.id().as_bytes(), table.partitions());
        let key = Bytes::from(key.to_string());
        table.put(partition, key, value.map(Bytes::from), EPOCH).await?.await?;
        Ok(())
    }
}

/// What the table tells.
#[derive(Debug, Default)]
struct Found {
    wishes: BTreeMap<String, Redelivery>,
    progress: BTreeMap<String, RedeliveryProgress>,
}

impl Found {
    fn take(&mut self, entry: &Entry) {
        let value = entry.value.as_deref();
        match RedeliveryKey::parse(&entry.key) {
            Some(RedeliveryKey::Wish(id)) => {
                put_or_remove(&mut self.wishes, id, value.and_then(|value| decode(value).ok()))
            }
            Some(RedeliveryKey::Progress(id)) => {
                put_or_remove(&mut self.progress, id, value.and_then(|value| decode(value).ok()));
            }
            None => {}
        }
    }

    fn into_statuses(mut self) -> Vec<RedeliveryStatus> {
        let statuses = self.wishes.into_iter().map(|(id, wish)| {
            let progress = self.progress.remove(&id).unwrap_or_default();
            RedeliveryStatus { wish, progress }
        });
        let mut statuses: Vec<_> = statuses.collect();
        statuses.sort_by_key(|status| status.wish.requested_at);
        statuses
    }
}

fn put_or_remove<T>(all: &mut BTreeMap<String, T>, id: &str, value: Option<T>) {
    match value {
        Some(value) => drop(all.insert(id.to_owned(), value)),
        None => drop(all.remove(id)),
    }
}
