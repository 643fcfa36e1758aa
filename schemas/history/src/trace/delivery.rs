//! What became of one event at one webhook.

use std::borrow::Cow;

use bytes::Bytes;
use hookline_event_log::{
    Change, Journal, JournalName, Log, Offset, Partition, ReadError, Table, TableName, TableWatch,
    partition_of,
};
use hookline_schemas::delivery::{
    AttemptRecord, DeadLetter, DeadReason, DisabledReason, LaneRecord, ParkedDelivery, decode,
};
use hookline_schemas::event::Event;
use hookline_schemas::ids::WebhookId;
use hookline_schemas::redelivery::LetterId;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;
use serde::{Deserialize, Serialize};

use crate::History;
use crate::scan::Scan;

/// What became of an event at a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedDelivery {
    /// The webhook.
    pub webhook: WebhookId,
    /// What became of it there.
    #[serde(flatten)]
    pub outcome: TracedOutcome,
    /// Its attempts, as far as they are on record.
    pub attempts: Vec<AttemptRecord>,
}

/// How a delivery stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TracedOutcome {
    /// The receiver has it.
    Delivered {
        /// When the attempt began.
        at: Timestamp,
        /// What it answered.
        status: u16,
    },
    /// It waits in its lane.
    Waiting {
        /// For what.
        because: WaitReason,
        /// When it is tried next, or the endpoint is; none, where nothing but its turn decides.
        next_try: Option<Timestamp>,
        /// When it is given up.
        deadline: Timestamp,
    },
    /// It was given up.
    Dead {
        /// The letter.
        letter: LetterId,
        /// Why.
        reason: DeadReason,
        /// How the latest attempt failed, as a label.
        last_failure: Option<Cow<'static, str>>,
        /// When.
        at: Timestamp,
    },
    /// It left its lane, and no attempt that succeeded is on record: delivered, or cancelled with its webhook.
    Settled,
    /// Nothing is on record: it is being planned or attempted, or was delivered and the attempt left out.
    NotOnRecord,
}

/// Why a delivery waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// Its turn has not come.
    InOrder,
    /// It failed while others passed, and is tried again by itself.
    Failed {
        /// Attempts made.
        tries: u32,
    },
    /// The endpoint is down, and is probed.
    EndpointDown {
        /// Probes that failed in a row.
        failed_probes: u32,
        /// Since when, if that is known.
        since: Option<Timestamp>,
    },
    /// The webhook is paused.
    Paused,
    /// The webhook is disabled until somebody enables it.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// Since when.
        at: Timestamp,
    },
}

impl<L: Log> History<L> {
    /// What became of an event at a webhook, by its attempts there and what stands in the log beside them.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn trace_delivery(
        &self,
        event: &Event,
        webhook: &Webhook,
        attempts: Vec<AttemptRecord>,
    ) -> Result<TracedDelivery, ReadError> {
        let outcome = self.outcome(event, webhook, &attempts).await?;
        Ok(TracedDelivery { webhook: webhook.id.clone(), outcome, attempts })
    }

    async fn outcome(
        &self,
        event: &Event,
        webhook: &Webhook,
        attempts: &[AttemptRecord],
    ) -> Result<TracedOutcome, ReadError> {
        if let Some(delivered) = delivered(attempts) {
            return Ok(delivered);
        }
        let copies = self.parked_copies(event, &webhook.id).await?;
        if !copies.is_empty() {
            let lane = self.lane(&webhook.id).await?;
            if let Some(waiting) = copies.iter().find_map(|copy| waiting(copy, lane.as_ref(), webhook.paused))
            {
                return Ok(waiting);
            }
        }
        Ok(match self.latest_letter(event, &webhook.id).await? {
            Some(dead) => dead,
            None if copies.is_empty() => TracedOutcome::NotOnRecord,
            None => TracedOutcome::Settled,
        })
    }

    async fn parked_copies(
        &self,
        event: &Event,
        webhook: &WebhookId,
    ) -> Result<Vec<(Offset, ParkedDelivery)>, ReadError> {
        let journal = self.log.journal(JournalName::Parked);
        let (key, partition) = place_of(webhook, journal.partitions());
        let mut scan = Scan::since(&journal, partition, Some(key), event.accepted_at).await?;
        let mut copies = Vec::new();
        while let Some(records) = scan.next().await? {
            let all = records
                .iter()
                .filter_map(|record| Some((record.offset, decode::<ParkedDelivery>(&record.value).ok()?)));
            copies.extend(all.filter(|(_, parked)| parked.event.id == event.id));
        }
        Ok(copies)
    }

    async fn latest_letter(
        &self,
        event: &Event,
        webhook: &WebhookId,
    ) -> Result<Option<TracedOutcome>, ReadError> {
        let journal = self.log.journal(JournalName::DeadLetters);
        let (key, partition) = place_of(webhook, journal.partitions());
        let mut scan = Scan::since(&journal, partition, Some(key), event.accepted_at).await?;
        let mut latest = None;
        while let Some(records) = scan.next().await? {
            for record in records {
                let Ok(letter) = decode::<DeadLetter>(&record.value) else { continue };
                if letter.event.id == event.id {
                    let id = LetterId { partition: partition.0, offset: record.offset.0 };
                    latest = Some(TracedOutcome::Dead {
                        letter: id,
                        reason: letter.reason,
                        last_failure: letter.last_failure.map(|failure| failure.label().into()),
                        at: letter.dead_at,
                    });
                }
            }
        }
        Ok(latest)
    }

    /// What is written down of a lane.
    async fn lane(&self, webhook: &WebhookId) -> Result<Option<LaneRecord>, ReadError> {
        let table = self.log.table(TableName::Lanes);
        let (_, partition) = place_of(webhook, table.partitions());
        let key = LaneRecord::key(webhook);
        let mut watch = table.watch(&[partition]);
        let mut lane = None;
        while let Change::Entry(entry) = watch.next().await? {
            if entry.key == key {
                lane = entry.value.and_then(|value| decode(&value).ok());
            }
        }
        Ok(lane)
    }
}

fn place_of(webhook: &WebhookId, partitions: u16) -> (Bytes, Partition) {
    let key = Bytes::copy_from_slice(webhook.as_str().as_bytes());
    let partition = partition_of(&key, partitions);
    (key, partition)
}

fn delivered(attempts: &[AttemptRecord]) -> Option<TracedOutcome> {
    use hookline_schemas::delivery::AttemptOutcome;
    attempts.iter().find_map(|attempt| match attempt.outcome {
        AttemptOutcome::Delivered { status } => {
            Some(TracedOutcome::Delivered { at: attempt.started_at, status })
        }
        AttemptOutcome::Retryable { .. } | AttemptOutcome::Rejected { .. } => None,
    })
}

/// Why a parked copy waits, by what is written down of its lane; `None`, if it does not wait any more.
fn waiting(
    (offset, parked): &(Offset, ParkedDelivery),
    lane: Option<&LaneRecord>,
    is_paused: bool,
) -> Option<TracedOutcome> {
    let exception =
        lane.and_then(|lane| lane.exceptions.iter().find(|exception| exception.offset == offset.0));
    if exception.is_none() && lane.is_some_and(|lane| offset.0 < lane.cursor) {
        return None;
    }
    let disabled = lane.and_then(|lane| lane.disabled);
    let breaker = lane.map(|lane| lane.breaker).unwrap_or_default();
    let (because, next_try) = if is_paused {
        (WaitReason::Paused, None)
    } else if let Some(disabled) = disabled {
        (WaitReason::Disabled { reason: disabled.reason, at: disabled.at }, None)
    } else if let Some(failed_probes) = breaker.failed_probes {
        let down = WaitReason::EndpointDown { failed_probes, since: breaker.failing_since };
        (down, Some(breaker.next_due))
    } else if let Some(exception) = exception {
        (WaitReason::Failed { tries: exception.tries }, Some(exception.due))
    } else {
        (WaitReason::InOrder, None)
    };
    Some(TracedOutcome::Waiting { because, next_try, deadline: parked.deadline })
}

#[cfg(test)]
mod tests {
    use hookline_schemas::delivery::{BreakerRecord, Disabled, ExceptionRecord};

    use super::*;

    fn lane(cursor: u64) -> LaneRecord {
        LaneRecord { cursor, tail: 20, ..LaneRecord::unknown(WebhookId::new("wh")) }
    }

    /// A copy at offset 10, what is written down of its lane, and what it waits for.
    #[test]
    fn a_copy_waits_for_what_its_lane_says() {
        let down = BreakerRecord {
            failed_probes: Some(2),
            next_due: Timestamp(70),
            failing_since: Some(Timestamp(30)),
        };
        let exception =
            ExceptionRecord { offset: 10, tries: 4, due: Timestamp(90), deadline: Timestamp(100) };
        let disabled = Disabled { at: Timestamp(5), reason: DisabledReason::Gone, is_announced: true };
        let is_down = WaitReason::EndpointDown { failed_probes: 2, since: Some(Timestamp(30)) };
        let is_disabled = WaitReason::Disabled { reason: DisabledReason::Gone, at: Timestamp(5) };
        let failed = WaitReason::Failed { tries: 4 };
        for (lane, paused, expected) in [
            (None, false, Some((WaitReason::InOrder, None))),
            (Some(lane(10)), false, Some((WaitReason::InOrder, None))),
            (Some(lane(11)), false, None),
            (
                Some(LaneRecord { exceptions: vec![exception.clone()], ..lane(11) }),
                false,
                Some((failed, Some(Timestamp(90)))),
            ),
            (Some(LaneRecord { breaker: down, ..lane(3) }), false, Some((is_down, Some(Timestamp(70))))),
            (
                Some(LaneRecord { breaker: down, exceptions: vec![exception], ..lane(11) }),
                false,
                Some((is_down, Some(Timestamp(70)))),
            ),
            (
                Some(LaneRecord { breaker: down, disabled: Some(disabled), ..lane(3) }),
                false,
                Some((is_disabled, None)),
            ),
            (Some(lane(3)), true, Some((WaitReason::Paused, None))),
        ] {
            let copy = (Offset(10), crate::tests::parked(1));
            let told = waiting(&copy, lane.as_ref(), paused);
            let expected = expected.map(|(because, next_try)| TracedOutcome::Waiting {
                because,
                next_try,
                deadline: copy.1.deadline,
            });
            assert_eq!(told, expected, "{lane:?}");
        }
    }
}
