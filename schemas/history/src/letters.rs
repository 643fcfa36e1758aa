//! Dead letters: which there are, and one of them with everything that is known of it.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use hookline_event_log::{Journal, JournalName, Log, Offset, Partition, ReadError, partition_of};
use hookline_schemas::delivery::{AttemptRecord, DeadLetter, DeadReason, decode};
use hookline_schemas::event::EventType;
use hookline_schemas::ids::{EventId, OrganizationId, WebhookId};
use hookline_schemas::redelivery::{LetterFilter, LetterId};
use hookline_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::History;
use crate::scan::{Scan, record_at};

/// One page looks at so many letters at most, so that no question takes long.
const LOOK: usize = 50_000;

/// A dead letter in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterSummary {
    /// Where it stands.
    pub id: LetterId,
    /// For whom it was.
    pub webhook: WebhookId,
    /// What it was.
    pub event: EventId,
    /// What that told.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// Why it was given up.
    pub reason: DeadReason,
    /// Attempts made.
    pub tries: u32,
    /// How the latest attempt failed, as a label; none, where none was made.
    pub last_failure: Option<Cow<'static, str>>,
    /// When it was given up.
    pub dead_at: Timestamp,
}

impl LetterSummary {
    /// Of the letter that stands there.
    pub fn of(id: LetterId, letter: &DeadLetter) -> Self {
        Self {
            id,
            webhook: letter.webhook.clone(),
            event: letter.event.id.clone(),
            event_type: letter.event.event_type,
            reason: letter.reason,
            tries: letter.tries,
            last_failure: letter.last_failure.map(|failure| failure.label().into()),
            dead_at: letter.dead_at,
        }
    }
}

/// Whose letters are looked for. A webhook may have been another organization's when a letter of it died, and that
/// letter is nobody's then.
#[derive(Debug, Clone, Copy)]
pub struct LettersOf<'a> {
    /// Letters of these webhooks.
    pub webhooks: &'a HashSet<WebhookId>,
    /// About events of this organization, whose webhooks they are.
    pub organization: &'a OrganizationId,
}

/// Some dead letters. Those of one webhook stand in the order in which they died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterPage {
    /// The letters.
    pub letters: Vec<LetterSummary>,
    /// Letters that are not of this version.
    pub unreadable: u64,
    /// Behind which letter the next page begins; none, where there is nothing more.
    pub next: Option<LetterId>,
}

/// A dead letter, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Where it stands.
    pub id: LetterId,
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// Its attempts, as far as the journal of attempts still has them.
    pub attempts: Vec<AttemptRecord>,
}

impl<L: Log> History<L> {
    /// The letters that the filter takes, behind `after`, `most` of them at most. A page may be short, or empty,
    /// and there may be more all the same.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn letters(
        &self,
        filter: &LetterFilter,
        after: Option<LetterId>,
        most: usize,
    ) -> Result<LetterPage, ReadError> {
        self.letters_of(None, filter, after, most).await
    }

    /// The same of these webhooks alone; `None`: of all of them, whosever they are.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn letters_of(
        &self,
        whose: Option<LettersOf<'_>>,
        filter: &LetterFilter,
        after: Option<LetterId>,
        most: usize,
    ) -> Result<LetterPage, ReadError> {
        let journal = self.log.journal(JournalName::DeadLetters);
        let key = filter.webhook.as_ref().map(|webhook| Bytes::copy_from_slice(webhook.as_str().as_bytes()));
        let keys: Option<HashSet<&[u8]>> =
            whose.map(|whose| whose.webhooks.iter().map(|webhook| webhook.as_str().as_bytes()).collect());
        let is_about_theirs =
            |letter: &DeadLetter| whose.is_none_or(|whose| letter.event.organization == *whose.organization);
        let mut page = LetterPage { letters: Vec::new(), unreadable: 0, next: None };
        let mut looked = 0;
        for partition in partitions(filter, keys.as_ref(), after, journal.partitions()) {
            let from = after.filter(|after| after.partition == partition).map_or(0, |after| after.offset + 1);
            let from = Offset(from.max(filter.begins_at(partition)));
            let mut scan = match (from, filter.since) {
                (Offset::START, Some(since)) => {
                    Scan::since(&journal, Partition(partition), key.clone(), since).await?
                }
                _ => Scan::from(&journal, Partition(partition), key.clone(), from).await?,
            };
            while let Some(records) = scan.next().await? {
                for record in records {
                    let id = LetterId { partition, offset: record.offset.0 };
                    let is_theirs = keys.as_ref().is_none_or(|keys| keys.contains(record.key.as_ref()));
                    match is_theirs.then(|| decode::<DeadLetter>(&record.value)) {
                        Some(Ok(letter)) if is_about_theirs(&letter) && filter.takes(id, &letter) => {
                            page.letters.push(LetterSummary::of(id, &letter));
                        }
                        Some(Ok(_)) | None => {}
                        Some(Err(_)) => page.unreadable += 1,
                    }
                    looked += 1;
                    if page.letters.len() >= most || looked >= LOOK {
                        page.next = Some(id);
                        return Ok(page);
                    }
                }
            }
        }
        Ok(page)
    }

    /// One letter with its attempts; none, where it is not, or is not of this version.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn letter(&self, id: LetterId) -> Result<Option<Letter>, ReadError> {
        let Some(letter) = self.letter_alone(id).await? else { return Ok(None) };
        let attempts = self.attempts(&letter.webhook, &letter.event.id, letter.event.accepted_at).await?;
        Ok(Some(Letter { id, letter, attempts }))
    }

    /// The same without its attempts.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn letter_alone(&self, id: LetterId) -> Result<Option<DeadLetter>, ReadError> {
        let journal = self.log.journal(JournalName::DeadLetters);
        if id.partition >= journal.partitions() {
            return Ok(None);
        }
        let found = record_at(&journal, Partition(id.partition), Offset(id.offset)).await?;
        Ok(found.and_then(|record| decode::<DeadLetter>(&record.value).ok()))
    }

    /// The attempts of an event at a webhook since then, as far as they are on record, in the order in which they
    /// began.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn attempts(
        &self,
        webhook: &WebhookId,
        event: &EventId,
        since: Timestamp,
    ) -> Result<Vec<AttemptRecord>, ReadError> {
        let journal = self.log.journal(JournalName::Attempts);
        let key = Bytes::copy_from_slice(webhook.as_str().as_bytes());
        let partition = partition_of(&key, journal.partitions());
        let mut scan = Scan::since(&journal, partition, Some(key), since).await?;
        let mut attempts = Vec::new();
        while let Some(records) = scan.next().await? {
            let all = records.iter().filter_map(|record| decode::<AttemptRecord>(&record.value).ok());
            attempts.extend(all.filter(|attempt| attempt.event == *event));
        }
        attempts.sort_by_key(|attempt| attempt.started_at);
        Ok(attempts)
    }
}

/// The partitions in which such letters can be.
fn partitions(
    filter: &LetterFilter,
    keys: Option<&HashSet<&[u8]>>,
    after: Option<LetterId>,
    count: u16,
) -> impl Iterator<Item = u16> {
    let of_webhook = filter.webhook.as_ref().map(|id| partition_of(id.as_str().as_bytes(), count).0);
    let only = filter.letter.map(|letter| letter.partition).or(of_webhook);
    let theirs: Option<HashSet<u16>> =
        keys.map(|keys| keys.iter().map(|key| partition_of(key, count).0).collect());
    let begin = after.map_or(0, |after| after.partition);
    (begin..count).filter(move |partition| {
        let is_theirs = theirs.as_ref().is_none_or(|theirs| theirs.contains(partition));
        is_theirs && only.is_none_or(|only| only == *partition)
    })
}
