//! Carrying out one redelivery: letters are read in stretches, put into `parked` at the rate that was wished for,
//! and the place behind a stretch is written down once all of it is durable.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hookline_event_log::{
    AppendError, Batch, Journal, JournalName, Log, Offset, Partition, ReadError, ReadLimit, Record, Table,
    TableName, partition_of,
};
use hookline_schemas::delivery::{DeadLetter, ParkedDelivery, decode, encode};
use hookline_schemas::redelivery::{LetterId, RedeliveryKey};
use hookline_schemas::time::{Clock, Timestamp};
use hookline_schemas::webhook::{Webhook, Webhooks};
use tokio::sync::watch;

use super::Job;
use crate::core::Rate;
use crate::metrics;

/// A stretch has the letters of this part of a second, so that little repeats after a crash.
const STRETCH_SHARE: u32 = 4;

/// And at most so many.
const STRETCH: usize = 512;

/// A stretch has so many bytes at most.
const STRETCH_BYTES: usize = 1024 * 1024;

/// So much of a second's worth may go at once: what a late timer costs is made good, and no more.
const BURST_SHARE: u32 = 25;

/// How long to wait before what the log refused is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// What a redelivery is carried out with.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings<L: Log> {
    pub(crate) log: L,
    pub(crate) webhooks: watch::Receiver<Option<Arc<Webhooks>>>,
    pub(crate) clock: Clock,
    /// The deadline of a delivery whose webhook has none of its own.
    pub(crate) deadline: Duration,
}

/// Carries a redelivery out until it has come to its end, is stopped, or is abandoned; how far it has come is in
/// the job that comes back, and in the table unless it was abandoned.
pub(crate) async fn work<L: Log>(mut job: Job, surroundings: Surroundings<L>) -> Job {
    let abandoned = job.abandon.clone();
    let working = async {
        if let Err(error) = carry_out(&mut job, &surroundings).await {
            // Where the log can't be read, the dispatcher itself finds out and ends.
            tracing::error!(redelivery = job.wish.id, %error, "a redelivery stands still");
            job.stop.cancelled().await;
        }
    };
    tokio::select! {
        () = abandoned.cancelled() => {}
        () = working => {}
    }
    job
}

async fn carry_out<L: Log>(job: &mut Job, surroundings: &Surroundings<L>) -> Result<(), ReadError> {
    tracing::info!(
        redelivery = job.wish.id,
        rate = job.wish.rate,
        done = job.progress.redelivered,
        "redelivering"
    );
    let mut rate = rate_of(job.wish.rate, surroundings.clock.now());
    while !job.stop.is_cancelled() {
        match next_stretch(job, &surroundings.log).await? {
            Some(batch) => put_into_lanes(job, surroundings, &mut rate, batch).await,
            None => job.progress.ended_at = Some(surroundings.clock.wall()),
        }
        write_down(job, &surroundings.log).await;
        if job.progress.ended_at.is_some() {
            tracing::info!(redelivery = job.wish.id, done = job.progress.redelivered, "redelivered");
            return Ok(());
        }
    }
    Ok(())
}

fn rate_of(per_second: NonZeroU32, now: Timestamp) -> Rate {
    Rate::with_burst(per_second, per_second.get() / BURST_SHARE, now)
}

/// Reads on from where the progress is; `None` behind the last partition. What retention has taken is passed by.
async fn next_stretch<L: Log>(job: &mut Job, log: &L) -> Result<Option<Batch>, ReadError> {
    let journal = log.journal(JournalName::DeadLetters);
    let share = job.wish.rate.get().div_ceil(STRETCH_SHARE);
    let most = usize::try_from(share).unwrap_or(STRETCH).min(STRETCH);
    let limit = ReadLimit { records: most, bytes: STRETCH_BYTES };
    let wanted = wanted_partition(job, journal.partitions());
    while let Some(end) = job.wish.ends.get(usize::from(job.progress.partition)).copied() {
        let partition = Partition(job.progress.partition);
        let from = Offset(job.progress.offset.max(job.wish.filter.begins_at(partition.0)));
        if from.0 < end && wanted.is_none_or(|wanted| wanted == partition) {
            let filter = job.wish.filter.webhook.as_ref();
            let key = filter.map(|webhook| Bytes::copy_from_slice(webhook.as_str().as_bytes()));
            match journal.read(partition, from, key, limit).await {
                Ok(mut batch) if !batch.records.is_empty() => {
                    batch.records.retain(|record| record.offset.0 < end);
                    return Ok(Some(batch));
                }
                Ok(_) => {}
                Err(ReadError::Expired { first, .. }) if first > from => {
                    // Retention has taken them.
                    job.progress.offset = first.0;
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        job.progress.partition += 1;
        job.progress.offset = 0;
    }
    Ok(None)
}

/// The one partition where the letters can be, if there is but one.
fn wanted_partition(job: &Job, partitions: u16) -> Option<Partition> {
    let filter = &job.wish.filter;
    let of_letter = filter.letter.map(|letter| Partition(letter.partition));
    let of_webhook = || Some(partition_of(filter.webhook.as_ref()?.as_str().as_bytes(), partitions));
    of_letter.or_else(of_webhook)
}

/// Puts what is meant of a stretch into its lanes. When it returns, everything before the progress is durable.
async fn put_into_lanes<L: Log>(
    job: &mut Job,
    surroundings: &Surroundings<L>,
    rate: &mut Rate,
    batch: Batch,
) {
    let mut appends = FuturesUnordered::new();
    let mut next = batch.next;
    for record in batch.records {
        let Some(parked) = redelivered(job, surroundings, &record) else { continue };
        if !wait_for_turn(job, surroundings.clock, rate).await {
            next = record.offset;
            break;
        }
        job.progress.redelivered += 1;
        metrics::redelivered();
        appends.push(append(&surroundings.log, parked));
        // Those that have been acknowledged meanwhile make room.
        while let Some(Some(())) = futures::FutureExt::now_or_never(appends.next()) {}
    }
    while appends.next().await.is_some() {}
    job.progress.offset = next.0;
}

/// The delivery that a letter becomes, if it is meant and its webhook is there.
fn redelivered<L: Log>(
    job: &mut Job,
    surroundings: &Surroundings<L>,
    record: &Record,
) -> Option<ParkedDelivery> {
    let id = LetterId { partition: job.progress.partition, offset: record.offset.0 };
    let letter: DeadLetter = match decode(&record.value) {
        Ok(letter) => letter,
        Err(error) => {
            tracing::error!(letter = %id, %error, "a dead letter can't be read: it is left where it is");
            job.progress.unreadable += 1;
            return None;
        }
    };
    if !job.wish.filter.takes(id, &letter) {
        return None;
    }
    let webhooks = surroundings.webhooks.borrow();
    let webhooks_version = webhooks.as_ref().map_or(0, |webhooks| webhooks.version());
    let Some(webhook) = webhooks.as_ref().and_then(|webhooks| receiver_of(&letter, webhooks)) else {
        job.progress.without_webhook += 1;
        return None;
    };
    let deadline = webhook.deadline.unwrap_or(surroundings.deadline);
    Some(ParkedDelivery {
        webhook: letter.webhook,
        event: letter.event,
        tries: 0,
        last_failure: None,
        not_before: Timestamp(0),
        deadline: surroundings.clock.now().after(deadline),
        webhooks_version,
    })
}

/// The webhook of a letter, unless it is another organization's by now: that one gets nothing of what was told to this.
fn receiver_of<'a>(letter: &DeadLetter, webhooks: &'a Webhooks) -> Option<&'a Webhook> {
    let found: &Webhook = webhooks.find(&letter.webhook)?;
    (found.organization == letter.event.organization).then_some(found)
}

/// Waits until the rate allows one more; `false`, if it is stopped before.
async fn wait_for_turn(job: &Job, clock: Clock, rate: &mut Rate) -> bool {
    loop {
        if job.stop.is_cancelled() {
            return false;
        }
        let now = clock.now();
        if rate.take(NonZeroU32::MIN, now) {
            return true;
        }
        tokio::select! {
            () = job.stop.cancelled() => return false,
            () = tokio::time::sleep(rate.free_at().since(now)) => {}
        }
    }
}

/// Appends until it is acknowledged: perhaps twice, which costs a duplicate.
async fn append<L: Log>(log: &L, parked: ParkedDelivery) {
    let journal = log.journal(JournalName::Parked);
    let key = Bytes::copy_from_slice(parked.webhook.as_str().as_bytes());
    let partition = partition_of(&key, journal.partitions());
    let value = Bytes::from(encode(&parked));
    until_acknowledged(async || journal.append(partition, key.clone(), value.clone()).await?.await).await;
}

/// Writes down how far it has come.
async fn write_down<L: Log>(job: &mut Job, log: &L) {
    let table = log.table(TableName::Lanes);
    let key = Bytes::from(RedeliveryKey::Progress(&job.wish.id).to_string());
    let value = Bytes::from(encode(&job.progress));
    let put = async || table.put(job.partition, key.clone(), Some(value.clone()), job.epoch).await?.await;
    job.version = until_acknowledged(put).await;
}

async fn until_acknowledged(write: impl AsyncFn() -> Result<Offset, AppendError>) -> Offset {
    loop {
        match write().await {
            Ok(offset) => return offset,
            Err(error) => tracing::warn!(%error, "a redelivery can't write, trying again"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::custom_headers::CustomHeaders;
    use hookline_schemas::delivery::DeadReason;
    use hookline_schemas::event::Event;
    use hookline_schemas::ids::{OrganizationId, WebhookId};
    use hookline_schemas::rotation::WebhookKeys;
    use hookline_schemas::secret::WebhookSecret;
    use hookline_schemas::webhook::parse_url;

    use super::*;

    fn webhook(id: &str, organization: &str) -> Webhook {
        let secret = WebhookSecret::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX").expect("a secret");
        Webhook {
            id: WebhookId::new(id),
            organization: OrganizationId::new(organization),
            club_id: None,
            url: parse_url("https://example.com/").expect("a URL"),
            events: Vec::new(),
            keys: WebhookKeys::new(&secret),
            headers: CustomHeaders::default(),
            retry_schedule: None,
            deadline: None,
            rate_limit: None,
            paused: false,
            enabled_at: None,
            probed_at: None,
        }
    }

    fn letter(webhook: &str) -> DeadLetter {
        let data = serde_json::json!({"webhook": {"webhookId": "wh_other", "reason": "gone"}});
        let event = serde_json::json!({
            "id": "evt_1", "fingerprint": 0, "type": "WEBHOOK_DISABLED", "organization": "org_1",
            "club_id": "", "accepted_at": 1, "data": data,
        });
        DeadLetter {
            webhook: WebhookId::new(webhook),
            event: Event::decode(event.to_string().as_bytes()).expect("an event"),
            reason: DeadReason::Deadline,
            tries: 3,
            last_failure: None,
            dead_at: Timestamp(5),
        }
    }

    #[test]
    fn a_letter_goes_to_its_webhook_while_that_is_of_the_same_organization() {
        let webhooks = Webhooks::from_iter([webhook("wh", "org_1"), webhook("wh_moved", "org_2")]);
        for (of, is_received) in [("wh", true), ("wh_moved", false), ("wh_gone", false)] {
            let receiver = receiver_of(&letter(of), &webhooks);
            assert_eq!(receiver.map(|webhook| webhook.id.as_str()), is_received.then_some(of));
        }
    }
}
