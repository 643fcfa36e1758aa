//! Performing actions: each becomes a future that ends with what happened.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use hookline_event_log::{
    AppendError, Appending, Epoch, Journal, JournalName, Log, Offset, Ownership, Partition, ReadError,
    ReadLimit, Table, TableName, partition_of,
};
use hookline_schemas::delivery::{
    AttemptOutcome, AttemptRecord, LaneRecord, OwnerMarker, ParkedDelivery, decode, encode,
};
use hookline_schemas::event::{Event, EventType, partition_key};
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::Webhook;
use tokio::sync::oneshot;

use super::holdings::Grant;
use super::takeover::{take_over_events, take_over_lanes, tally_partition};
use super::{Happened, told};
use crate::attempt::{Ended, Sender};
use crate::core::{Action, AppendKey, Committing, Input, Load, Prepared, RequestKey, TallyRecord, Way};
use crate::endpoints::ByHandError;
use crate::metrics::{Attempted, DispatcherMetrics};

/// Bytes that one load of a backlog takes at most.
const LOAD_BYTES: usize = 1024 * 1024;

/// How long to wait before a read that failed is tried again.
const LOAD_AGAIN: Duration = Duration::from_millis(500);

/// How often it is looked for connections that nobody needs.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// What an attempt in flight is remembered by.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) webhook: WebhookId,
    pub(super) event: EventId,
    pub(super) event_type: EventType,
    pub(super) number: u32,
    pub(super) way: Way,
    pub(super) accepted_at: Timestamp,
    at: Timestamp,
}

/// Performs the core's actions over the log and the network.
pub(super) struct Performer<L: Log> {
    log: L,
    /// Who owns the lanes.
    pub(super) lanes: L::Ownership,
    /// Who owns the events.
    pub(super) events: L::Ownership,
    sender: Sender,
    /// Who waits for an answer.
    asked: HashMap<RequestKey, oneshot::Sender<Result<(), ByHandError>>>,
    /// Tells this process from the others in its markers.
    process: u64,
    tidy_due: Timestamp,
    clock: Clock,
}

impl<L: Log> Performer<L> {
    pub(super) fn new(log: &L, sender: Sender, clock: Clock) -> Self {
        Self {
            log: log.clone(),
            lanes: log.ownership(JournalName::Parked),
            events: log.ownership(JournalName::Events),
            sender,
            asked: HashMap::new(),
            process: rand::random(),
            tidy_due: Timestamp(0),
            clock,
        }
    }

    /// Begins what the action asks for; what ends at once leaves nothing to wait for.
    pub(super) fn perform(&mut self, action: Action) -> Option<LocalBoxFuture<'static, Happened>> {
        Some(match action {
            Action::Attempt { attempt, webhook, event, number, way } => {
                let begun = self.begin(&webhook, &event, number, way);
                let sender = self.sender.clone();
                async move { Happened::Attempted(attempt, begun, sender.attempt(&webhook, &event).await) }
                    .boxed_local()
            }
            Action::Park { append, partition, parked, why } => {
                let key = parked.webhook.as_str().to_owned();
                let (value, clock) = (encode(&*parked), self.clock);
                let tell = move || told::parked(&parked, why, clock.now());
                self.append(append, JournalName::Parked, partition, key, value, tell)
            }
            Action::Bury { append, partition, letter } => {
                let key = letter.webhook.as_str().to_owned();
                let value = encode(&*letter);
                self.append(append, JournalName::DeadLetters, partition, key, value, move || {
                    told::dead(&letter)
                })
            }
            Action::Announce { append, event } => {
                let key = partition_key(&event);
                let partitions = self.log.journal(JournalName::Events).partitions();
                let partition = partition_of(key.as_bytes(), partitions);
                self.append(append, JournalName::Events, partition, key, event.encode(), || ())
            }
            Action::Cancelled { webhook, what } => {
                told::cancelled(&webhook, &what, self.clock.now());
                return None;
            }
            Action::Answer { request, answer } => {
                // Who asked may have gone.
                let _ = self.asked.remove(&request).map(|asker| asker.send(answer));
                return None;
            }
            Action::Load { endpoint, webhook, partition, epoch, load, limit } => {
                let journal = self.log.journal(JournalName::Parked);
                input_of(async move {
                    let (records, next) =
                        load_until_it_succeeds::<L>(&journal, &webhook, partition, load, limit).await;
                    Input::Loaded { endpoint, epoch, load, records, next }
                })
            }
            Action::PutLane { endpoint, partition, epoch, record } => {
                let table = self.log.table(TableName::Lanes);
                input_of(async move {
                    let acknowledged = put_lane::<L>(&table, partition, epoch, &record).await.is_ok();
                    Input::LanePut { endpoint, epoch, record, acknowledged }
                })
            }
            Action::PutTally { epoch, record } => self.put_tally(epoch, &record),
            Action::CommitWatermark { committing, totals } => {
                let words = encode(&totals).into();
                self.commit(JournalName::Events, committing, words, committing.offset)
            }
            Action::CommitRegistered { committing, words, needed_from } => {
                self.commit(JournalName::Parked, committing, encode(&words).into(), needed_from)
            }
            Action::LetGo { journal, partition, epoch } => {
                self.let_go(journal, partition, epoch);
                return None;
            }
        })
    }

    fn begin(&self, webhook: &Webhook, event: &Prepared, number: u32, way: Way) -> Begun {
        let Event { id, event_type, accepted_at, .. } = &event.event;
        Begun {
            webhook: webhook.id.clone(),
            event: id.clone(),
            event_type: *event_type,
            number,
            way,
            accepted_at: *accepted_at,
            at: self.clock.now(),
        }
    }

    /// `tell`: once it is acknowledged.
    fn append(
        &self,
        append: AppendKey,
        to: JournalName,
        partition: Partition,
        key: String,
        value: Vec<u8>,
        tell: impl FnOnce() + 'static,
    ) -> LocalBoxFuture<'static, Happened> {
        let journal = self.log.journal(to);
        input_of(async move {
            let result = match journal.append(partition, key.into(), value.into()).await {
                Ok(appending) => appending.await,
                Err(error) => Err(error),
            };
            if result.is_ok() {
                tell();
            }
            Input::Appended { append, result }
        })
    }

    fn put_tally(&self, epoch: Epoch, record: &TallyRecord) -> LocalBoxFuture<'static, Happened> {
        let table = self.log.table(TableName::Lanes);
        let partition = Partition(record.partition);
        let (piece, key, value) = (record.piece, record.key(), Bytes::from(encode(record)));
        input_of(async move {
            let at = tally_partition(partition, &table);
            let acknowledged = match table.put(at, key.into(), Some(value), epoch).await {
                Ok(putting) => putting.await.is_ok(),
                Err(_) => false,
            };
            Input::TallyPut { partition, epoch, piece, acknowledged }
        })
    }

    /// Closes what is open for nobody, every now and then.
    pub(super) fn tidy(&mut self) {
        let now = self.clock.now();
        if now >= self.tidy_due {
            self.sender.tidy();
            self.tidy_due = now.after(TIDY_INTERVAL);
        }
    }

    /// Remembers who waits for an answer.
    pub(super) fn ask(&mut self, asker: oneshot::Sender<Result<(), ByHandError>>) -> RequestKey {
        self.asked.retain(|_, asker| !asker.is_closed());
        let request = RequestKey(rand::random());
        self.asked.insert(request, asker);
        request
    }

    /// `needed_from`: what is below is needed no more once the commit is made.
    fn commit(
        &self,
        of: JournalName,
        committing: Committing,
        words: Bytes,
        needed_from: Offset,
    ) -> LocalBoxFuture<'static, Happened> {
        let Committing { partition, epoch, offset } = committing;
        let journal = self.log.journal(of);
        let commit = self.ownership(of).commit(partition, epoch, offset, words);
        input_of(async move {
            let result = commit.await;
            if result.is_ok() {
                journal.release(partition, needed_from);
            }
            Input::Committed { journal: of, committing, result }
        })
    }

    /// The next owner may have the partition.
    pub(super) fn let_go(&self, journal: JournalName, partition: Partition, epoch: Epoch) {
        self.ownership(journal).let_go(partition, epoch);
    }

    fn ownership(&self, journal: JournalName) -> &L::Ownership {
        match journal {
            JournalName::Events => &self.events,
            _ => &self.lanes,
        }
    }

    /// Finds out whether these positions are the ends of all partitions.
    pub(super) fn compare(
        &self,
        positions: Vec<(JournalName, Partition, Offset)>,
    ) -> LocalBoxFuture<'static, Happened> {
        let log = self.log.clone();
        let count = [JournalName::Events, JournalName::Parked].map(|name| log.journal(name).partitions());
        let are_all_ours = usize::from(count[0]) + usize::from(count[1]) == positions.len();
        let comparing = async move {
            let mut is_everything = are_all_ours;
            for (name, partition, position) in positions {
                let bounds = log.journal(name).bounds(partition).await?;
                is_everything &= bounds.first == bounds.end || position >= bounds.end;
            }
            Ok(Happened::Compared { is_everything })
        };
        comparing
            .map(|compared: Result<_, ReadError>| compared.unwrap_or_else(Happened::Failed))
            .boxed_local()
    }

    /// Begins to take over a partition.
    pub(super) fn take_over(&self, grant: Grant, repeat_memory: usize) -> LocalBoxFuture<'static, Happened> {
        let Grant { journal, partition, epoch, committed } = grant;
        let log = self.log.clone();
        let failed = |taken: Result<Happened, ReadError>| taken.unwrap_or_else(Happened::Failed);
        match journal {
            JournalName::Events => {
                take_over_events(log, partition, epoch, committed, repeat_memory).map(failed).boxed_local()
            }
            _ => take_over_lanes(
                log,
                partition,
                OwnerMarker { epoch: epoch.0, process: self.process },
                committed,
            )
            .map(failed)
            .boxed_local(),
        }
    }

    /// Records an attempt that has ended: in the metrics, and in the attempts journal without waiting.
    pub(super) fn observe(&self, begun: Begun, ended: &Ended, metrics: &DispatcherMetrics) {
        let now = self.clock.now();
        let took = now.since(begun.at);
        let waited = (begun.number == 1).then(|| begun.at.since(begun.accepted_at));
        let age = now.since(begun.accepted_at);
        metrics.attempted(&ended.outcome, &Attempted { took, waited, age, way: begun.way });
        if let AttemptOutcome::Delivered { status } = ended.outcome {
            told::delivered(&begun, status, now);
        }
        if !self.record_attempt(begun, ended, took) {
            metrics.left_unrecorded();
        }
    }

    /// `false` if the journal would not take it at once: nothing waits for this record.
    fn record_attempt(&self, begun: Begun, ended: &Ended, took: Duration) -> bool {
        let journal = self.log.journal(JournalName::Attempts);
        let record = AttemptRecord {
            webhook: begun.webhook,
            event: begun.event,
            number: begun.number,
            started_at: begun.at,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            outcome: ended.outcome.clone(),
            answer: ended.answer.clone(),
        };
        let key = Bytes::copy_from_slice(record.webhook.as_str().as_bytes());
        let partition = partition_of(&key, journal.partitions());
        let appending = journal.append(partition, key, encode(&record).into()).now_or_never();
        appending.is_some_and(|accepted: Result<Appending, AppendError>| accepted.is_ok())
    }
}

fn input_of(happens: impl Future<Output = Input> + 'static) -> LocalBoxFuture<'static, Happened> {
    happens.map(Happened::Input).boxed_local()
}

async fn put_lane<L: Log>(
    table: &L::Table,
    partition: Partition,
    epoch: Epoch,
    record: &LaneRecord,
) -> Result<Offset, AppendError> {
    let key = LaneRecord::key(&record.webhook);
    table.put(partition, key.into(), Some(encode(record).into()), epoch).await?.await
}

/// Reads part of a lane. A read that fails is tried again: the lane waits, and nobody else does.
async fn load_until_it_succeeds<L: Log>(
    journal: &L::Journal,
    webhook: &WebhookId,
    partition: Partition,
    load: Load,
    limit: usize,
) -> (Vec<(Offset, ParkedDelivery)>, Offset) {
    let (mut from, until) = match load {
        Load::Backlog { from, until } => (from, until),
        Load::Exception { offset, .. } => (offset, offset.next()),
    };
    let key = Bytes::copy_from_slice(webhook.as_str().as_bytes());
    loop {
        let limit = ReadLimit { records: limit.max(1), bytes: LOAD_BYTES };
        match journal.read(partition, from, Some(key.clone()), limit).await {
            // There is something before `until`: who says that the partition ends earlier does not know yet.
            Ok(batch) if batch.records.is_empty() && batch.next < until => {
                tokio::time::sleep(LOAD_AGAIN).await;
            }
            Ok(batch) => {
                let next = batch.next.min(until);
                let in_range = batch.records.into_iter().filter(|record| record.offset < until);
                let read = in_range.filter_map(|record| Some((record.offset, decode(&record.value).ok()?)));
                return (read.collect(), next);
            }
            Err(ReadError::Expired { first, asked, .. }) => {
                tracing::error!(
                    webhook = webhook.as_str(),
                    asked = asked.0,
                    first = first.0,
                    "parked deliveries expired"
                );
                if first >= until {
                    return (Vec::new(), until);
                }
                from = first;
            }
            Err(error) => {
                tracing::warn!(webhook = webhook.as_str(), %error, "failed to read a lane, trying again");
                tokio::time::sleep(LOAD_AGAIN).await;
            }
        }
    }
}
