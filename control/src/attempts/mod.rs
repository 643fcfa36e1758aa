//! The latest attempts of every webhook, as the journal `attempts` tells: a view in memory, bounded, rebuilt at every
//! start.
//!
//! It knows which attempts there were and where their records stand (`ring.rs`); the records themselves are read from
//! the journal when somebody asks (`records.rs`). Who may see which is decided by who asks.

mod follow;
mod records;
mod ring;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use hookline_event_log::{JournalName, Log, Offset, Partition, ReadError, Record};
use hookline_schemas::delivery::{AttemptRecord, decode};
use hookline_schemas::ids::{EventId, WebhookId};
use hookline_schemas::time::Timestamp;
use tokio::sync::broadcast;

#[cfg(test)]
pub(crate) use ring::event_hash;
pub(crate) use ring::{Place, Wanted};

use ring::{AtEvent, Ring, Sighting};

/// So many attempts are known: 32 MiB.
pub(crate) const MOST: usize = 1_000_000;

/// How far a subscriber may fall behind.
const LIVE: usize = 1_024;

/// Of an event at one webhook so many attempts are read.
const AT_WEBHOOK: usize = 100;

/// The clocks of those who accept events and of those who attempt them may differ by this much.
const CLOCKS: Duration = Duration::from_secs(60);

/// The view. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Attempts<L: Log> {
    journal: L::Journal,
    known: Arc<RwLock<Known>>,
    live: broadcast::Sender<Live>,
}

/// What those who listen are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Live {
    /// An attempt has ended.
    Attempted(Arc<AttemptRecord>),
    /// Retention was faster than the view: attempts that nobody is told of.
    Missed,
}

#[derive(Debug)]
struct Known {
    ring: Ring,
    /// What stood in the journal at the start has been read.
    is_loaded: bool,
}

/// Some attempts, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptPage {
    /// The attempts. What retention has taken is left out.
    pub(crate) attempts: Vec<AttemptRecord>,
    /// Where the page ends.
    pub(crate) end: Option<Place>,
    /// Whether there is more behind it.
    pub(crate) has_next: bool,
    /// Attempts that began earlier may be missing; `None`: the view has everything that the log keeps.
    pub(crate) since: Option<Timestamp>,
}

/// Why the view does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// Ask again in a moment.
    #[error("the attempts are still being read")]
    Loading,
    /// The log can't be read.
    #[error("failed to read the attempts")]
    Read(#[from] ReadError),
}

impl<L: Log> Clone for Attempts<L> {
    fn clone(&self) -> Self {
        let (known, live) = (Arc::clone(&self.known), self.live.clone());
        Self { journal: self.journal.clone(), known, live }
    }
}

impl<L: Log> Attempts<L> {
    /// A view of so many attempts, which knows none until [`Self::follow`] tells it.
    pub(crate) fn new(log: &L, most: usize) -> Self {
        let known = Known { ring: Ring::new(most), is_loaded: false };
        let (known, (live, _)) = (Arc::new(RwLock::new(known)), broadcast::channel(LIVE));
        Self { journal: log.journal(JournalName::Attempts), known, live }
    }

    /// Every attempt from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Live> {
        self.live.subscribe()
    }

    /// A page of those that are wanted.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub(crate) async fn page(&self, wanted: Wanted<'_>, most: usize) -> Result<AttemptPage, ViewError> {
        let (mut places, since) = {
            let known = self.known();
            if !known.is_loaded {
                return Err(ViewError::Loading);
            }
            (known.ring.newest(wanted, most.saturating_add(1)), known.ring.since())
        };
        let has_next = places.len() > most;
        places.truncate(most);
        let is_wanted = |attempt: &AttemptRecord| {
            wanted.webhooks.contains(&attempt.webhook)
                && wanted.event.is_none_or(|event| *event == attempt.event)
        };
        let mut attempts = self.records(&places).await?;
        attempts.retain(is_wanted);
        Ok(AttemptPage { attempts, end: places.last().copied(), has_next, since })
    }

    /// The latest attempts at an event that was accepted then, at each of these webhooks and in the order in which
    /// they began; `None`, if the view does not look back so far.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub(crate) async fn at_event(
        &self,
        webhooks: &[WebhookId],
        event: &EventId,
        accepted_at: Timestamp,
    ) -> Result<Option<Vec<AttemptRecord>>, ReadError> {
        let found = {
            let known = self.known();
            let reaches = |since: Timestamp| since.after(CLOCKS) <= accepted_at;
            if !known.is_loaded || !known.ring.since().is_none_or(reaches) {
                return Ok(None);
            }
            known.ring.at_event(webhooks, event)
        };
        let mut attempts = self.records(&latest_of_each(found)).await?;
        attempts.retain(|attempt| attempt.event == *event && webhooks.contains(&attempt.webhook));
        attempts.sort_by_key(|attempt| attempt.started_at);
        Ok(Some(attempts))
    }

    /// Takes records as the newest attempts, and tells them to those who listen, if they are new.
    fn take(&self, partition: Partition, records: &[Record], are_new: bool) {
        let decoded = records.iter().filter_map(|record| {
            // One of a later version is not shown.
            Some((record.offset, decode::<AttemptRecord>(&record.value).ok()?))
        });
        let decoded: Vec<_> = decoded.collect();
        let mut known = self.known_mut();
        for (offset, attempt) in &decoded {
            known.take(partition, *offset, attempt);
        }
        drop(known);
        if are_new && self.live.receiver_count() > 0 {
            for (_, attempt) in decoded {
                // The last of them may have gone meanwhile.
                let _ = self.live.send(Live::Attempted(Arc::new(attempt)));
            }
        }
    }

    /// Attempts are gone that those who listen have not been told of.
    fn miss(&self, partition: Partition, first: Offset) {
        self.known_mut().ring.expire(partition, first);
        // Perhaps nobody listens.
        let _ = self.live.send(Live::Missed);
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// For tests: whether what is there has been read, and how many attempts are known.
    #[cfg(test)]
    pub(crate) fn loaded(&self) -> Option<usize> {
        let known = self.known();
        known.is_loaded.then(|| known.ring.len())
    }

    /// For tests: an attempt of this event is said to stand where another's record stands.
    #[cfg(test)]
    pub(crate) fn mistake(&self, place: Place, webhook: &WebhookId, event: u64) {
        self.known_mut().ring.push(place, Sighting { webhook, event, is_delivered: true });
    }
}

impl Known {
    fn take(&mut self, partition: Partition, offset: Offset, attempt: &AttemptRecord) {
        let place = Place { started_at: attempt.started_at, partition, offset };
        let (webhook, event) = (&attempt.webhook, ring::event_hash(&attempt.event));
        self.ring.push(place, Sighting { webhook, event, is_delivered: attempt.outcome.is_delivered() });
    }
}

/// Of each webhook the latest, and before all others those that were a 2xx: by them it is told what became of a
/// delivery.
fn latest_of_each(mut found: Vec<AtEvent>) -> Vec<Place> {
    found.sort_unstable_by(|one, other| {
        let by_webhook = one.webhook.cmp(&other.webhook);
        by_webhook.then(other.is_delivered.cmp(&one.is_delivered)).then(other.place.cmp(&one.place))
    });
    let of_webhooks = found.chunk_by(|one, other| one.webhook == other.webhook);
    of_webhooks.flat_map(|all| all.iter().take(AT_WEBHOOK)).map(|attempt| attempt.place).collect()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests;
