//! Takes events into payments: follows `events` and puts together what they tell, group by group.
//!
//! How far it has come stands in `payments` itself, behind what it has written. If the process dies in between, events
//! are taken a second time, which changes nothing ([`hookline_schemas::payment`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use hookline_event_log::{
    Batch, Bounds, Journal, JournalName, Log, Offset, Partition, ReadError, ReadLimit, Reader,
};
use hookline_schemas::delivery::{decode, encode};
use hookline_schemas::event::Event;
use hookline_schemas::payment::{EventPlace, PaymentRecord, Subject};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::ledger::{Ledger, of_payment};
use super::view::View;
use crate::error::ApiError;
use crate::writer::Put;

/// What one read takes.
const LIMIT: ReadLimit = ReadLimit { records: 512, bytes: 1024 * 1024 };

/// How often it is written down how far it has come.
const POSITION_INTERVAL: Duration = Duration::from_secs(1);

/// After a failure.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How far the events have been taken: an entry of `payments`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Positions {
    /// By partition of `events`: where reading goes on.
    next: BTreeMap<u16, u64>,
}

impl Positions {
    const KEY: &'static str = "positions";

    /// Whether everything has been taken that stands below these ends.
    pub(super) fn have_passed(&self, ends: &[(Partition, Bounds)]) -> bool {
        ends.iter().all(|(partition, bounds)| {
            let next = self.next.get(&partition.0).copied().unwrap_or_default();
            bounds.first == bounds.end || next >= bounds.end.0
        })
    }

    fn put(&self) -> Put {
        Put { key: Self::KEY.into(), value: Some(encode(self).into()) }
    }
}

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("failed to read the events")]
    Read(#[from] ReadError),
    #[error("failed to write payments: {0}")]
    Write(#[from] ApiError),
}

/// Takes events for as long as this control writes payments; begins again where it stopped. Never ends.
pub(super) async fn run<L: Log>(log: &L, ledger: &Ledger<L>, view: &View, taken: &watch::Sender<Positions>) {
    let mut active = ledger.active();
    loop {
        // An error means that the ledger is gone, and so are we.
        if active.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let deposed = async { drop(active.clone().wait_for(Option::is_none).await) };
        let stopped = tokio::select! {
            stopped = take_events(log, ledger, view, taken) => stopped,
            () = deposed => continue,
        };
        if let Err(error) = stopped {
            tracing::warn!(%error, "events are not taken into payments: trying again");
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}

async fn take_events<L: Log>(
    log: &L,
    ledger: &Ledger<L>,
    view: &View,
    taken: &watch::Sender<Positions>,
) -> Result<(), Stopped> {
    let journal = log.journal(JournalName::Events);
    let mut positions = positions(view).await?;
    let mut written = positions.clone();
    taken.send_replace(positions.clone());
    let all = (0..journal.partitions()).map(|partition| {
        let next = positions.next.get(&partition).copied().map_or(Offset::START, Offset);
        follow(journal.clone(), Partition(partition), next)
    });
    let mut batches: SelectAll<_> = all.collect();
    let mut write_down = tokio::time::interval(POSITION_INTERVAL);
    loop {
        tokio::select! {
            batch = batches.next() => {
                let Some((partition, batch)) = batch else { return Ok(()) };
                let batch = batch?;
                take_batch(ledger, view, partition, &batch).await?;
                positions.next.insert(partition.0, batch.next.0);
                taken.send_replace(positions.clone());
            }
            _ = write_down.tick(), if positions != written => {
                ledger.page().await?.write([positions.put()]).await?;
                written = positions.clone();
            }
        }
    }
}

async fn positions(view: &View) -> Result<Positions, ApiError> {
    let entry = view.entry(Positions::KEY).await?;
    Ok(entry.and_then(|entry| decode(&entry).ok()).unwrap_or_default())
}

/// The batches of a partition from an offset on. What retention has taken before it was read is passed by, and said so.
fn follow<J: Journal>(
    journal: J,
    partition: Partition,
    from: Offset,
) -> BoxStream<'static, (Partition, Result<Batch, ReadError>)> {
    let reader = journal.follow(partition, from);
    let batches = stream::unfold((journal, reader), move |(journal, mut reader)| async move {
        loop {
            match reader.next(LIMIT).await {
                Err(ReadError::Expired { asked, first, .. }) => {
                    tracing::error!(
                        partition = partition.0,
                        asked = asked.0,
                        first = first.0,
                        "events have expired that no payment has taken: `hookline reconcile` finds what is missing"
                    );
                    reader = journal.follow(partition, first);
                }
                read => return Some(((partition, read), (journal, reader))),
            }
        }
    });
    batches.boxed()
}

/// Takes the events of a batch. When this returns, what they told is durable.
async fn take_batch<L: Log>(
    ledger: &Ledger<L>,
    view: &View,
    partition: Partition,
    batch: &Batch,
) -> Result<(), ApiError> {
    let mut told = Vec::new();
    for record in &batch.records {
        let place = EventPlace { partition: partition.0, offset: record.offset.0 };
        match Event::decode(&record.value) {
            Ok(event) => told.push((event, place)),
            Err(error) => tracing::error!(?place, %error, "an event was left out of the payments"),
        }
    }
    let mut about = Vec::with_capacity(told.len());
    for (event, place) in &told {
        if let Some(key) = key_of(view, event).await? {
            about.push((key, event, *place));
        }
    }
    if about.is_empty() {
        return Ok(());
    }
    let mut page = ledger.page().await?;
    let keys: BTreeSet<String> = about.iter().map(|(key, ..)| key.clone()).collect();
    let known = view.payments(keys.into_iter().collect()).await?;
    let mut payments: BTreeMap<String, PaymentRecord> =
        known.into_iter().map(|payment| (payment.key(), payment)).collect();
    let mut changed = BTreeSet::new();
    for (key, event, place) in about {
        let has_changed = match payments.get_mut(&key) {
            Some(payment) => payment.take(event, place),
            None => match PaymentRecord::begun_by(event, place) {
                Some(begun) => payments.insert(key.clone(), begun).is_none(),
                None => false,
            },
        };
        if has_changed {
            changed.insert(key);
        }
    }
    let puts = changed.iter().filter_map(|key| payments.get(key)).map(of_payment);
    page.write(puts).await
}

/// The key of the payment that an event is about; none for what is no payment, and for refunds of payments that nobody
/// knows.
async fn key_of(view: &View, event: &Event) -> Result<Option<String>, ApiError> {
    Ok(match Subject::of(event) {
        None => None,
        Some(Subject::Payment(gateway, transaction_id)) => {
            Some(PaymentRecord::key_of(gateway, transaction_id))
        }
        Some(Subject::RefundOf(gateway, transaction_id)) => {
            view.payment_of_refund(gateway, transaction_id).await?
        }
    })
}
