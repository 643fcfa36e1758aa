//! The view: what `payments` holds, where it can be asked by client, time, order and status.
//!
//! A database of this process alone, in a file that has no name once it is open: memory stays bounded however many
//! payments there are, and nothing is left behind. It follows the table, and nobody else writes it; whoever wants a
//! payment changed writes the table ([`super::ledger`]) and waits until the view has seen it.
//!
//! The database is a cache that can spill: one connection, and one transaction that never ends, so that a page is written
//! when the cache is full and at no other time. It has no journal to take anything back by, so after a failure nobody is
//! answered from it any more, and it is made anew.

mod follow;
mod list;
mod rows;
mod totals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::Offset;
use hookline_schemas::delivery::decode;
use hookline_schemas::ids::{ClubId, GatewayId, OrganizationId, PaymentId, TopUpId};
use hookline_schemas::payment::{OrphanRefund, PaymentRecord, TopUpRecord};
use hookline_schemas::time::Timestamp;
use tokio::sync::{Notify, broadcast, watch};
use tokio_rusqlite::rusqlite::{self, OptionalExtension, params};

pub(crate) use list::{Cursor, Listed, PaymentFilter};
pub(crate) use totals::Totals;

use crate::error::ApiError;

const SCHEMA: &str = include_str!("schema.sql");

/// What of the view stands in memory, in KiB; the minus is SQLite's way to say KiB.
const CACHE: i64 = -64 * 1024;

/// Updates that wait for a subscriber; one that is further behind is told so.
const UPDATES: usize = 1_024;

/// Why the view can't be made, asked or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// The directory can't be made or written.
    #[error("failed to make the view's file: {0}")]
    File(#[from] std::io::Error),
    /// The database says no.
    #[error("the view's database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The process ends.
    #[error("the view's database is closed")]
    Closed,
}

impl From<tokio_rusqlite::Error<Self>> for ViewError {
    fn from(error: tokio_rusqlite::Error<Self>) -> Self {
        match error {
            tokio_rusqlite::Error::Error(error) => error,
            tokio_rusqlite::Error::Close((_, error)) => error.into(),
            _ => Self::Closed,
        }
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        Self::Unavailable(format!("payments can't be looked up: {error}"))
    }
}

/// How far the view has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Behind the last entry that it has taken.
    pub(crate) version: u64,
    /// Everything has been read that was there at the start.
    pub(crate) is_loaded: bool,
    /// What a deposed writer has written over: the keys, and what stands there now.
    pub(crate) overwritten: Arc<BTreeMap<Bytes, Option<Bytes>>>,
}

/// A payment, or a top-up, that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) organization: OrganizationId,
    pub(crate) club: ClubId,
    /// The key of the entry.
    pub(crate) key: String,
    /// What `payment(id)` finds it by.
    pub(crate) id: String,
    /// The top-up, or another order, that it is, or pays.
    pub(crate) invoice: Option<String>,
    /// Who pays.
    pub(crate) client: Option<String>,
}

/// What `payment(id)` is about: a top-up, the payment that pays it, or one that pays none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) top_up: Option<TopUpRecord>,
    /// The payment; of a top-up the one that took it, else its latest try.
    pub(crate) payment: Option<PaymentRecord>,
}

/// The view of `payments`. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct View {
    directory: PathBuf,
    database: tokio_rusqlite::Connection,
    seen: watch::Sender<Seen>,
    /// What changes; none: something was missed.
    updates: broadcast::Sender<Option<Update>>,
    /// The database has failed somebody: it is to be made anew.
    broken: Arc<Notify>,
}

impl View {
    /// An empty view, with its file in this directory. The directory is made.
    pub(crate) async fn open(directory: &Path) -> Result<Self, ViewError> {
        let directory = directory.to_owned();
        let database = tokio_rusqlite::Connection::open_in_memory().await?;
        let (seen, updates) = (watch::Sender::default(), broadcast::Sender::new(UPDATES));
        let view = Self { directory, database, seen, updates, broken: Arc::default() };
        view.empty().await?;
        Ok(view)
    }

    /// How far it has come.
    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// What changes from here on; none: something was missed.
    pub(crate) fn updates(&self) -> broadcast::Receiver<Option<Update>> {
        self.updates.subscribe()
    }

    /// Whether it can be asked: missing must never mean *unknown*.
    ///
    /// # Errors
    ///
    /// [`ApiError::Unavailable`] as long as it has not been read to its end.
    pub(crate) fn is_loaded(&self) -> Result<(), ApiError> {
        if self.seen.borrow().is_loaded {
            Ok(())
        } else {
            Err(ApiError::Unavailable("payments are still being read: ask again in a moment".to_owned()))
        }
    }

    /// Waits until it has seen this version.
    pub(crate) async fn sight(&self, version: Offset) -> Option<()> {
        let mut seen = self.seen.subscribe();
        seen.wait_for(|seen| seen.version >= version.next().0).await.ok().map(drop)
    }

    /// The entry with this key, encoded, as it counts.
    pub(crate) async fn entry(&self, key: &str) -> Result<Option<Vec<u8>>, ViewError> {
        let key = key.to_owned();
        self.ask(move |database| rows::entry(database, &key)).await
    }

    /// The payments with these keys, those that there are.
    pub(crate) async fn payments(&self, keys: Vec<String>) -> Result<Vec<PaymentRecord>, ViewError> {
        self.ask(move |database| {
            keys.iter().filter_map(|key| rows::payment(database, key).transpose()).collect()
        })
        .await
    }

    /// The payment with this key.
    pub(crate) async fn payment(&self, key: &str) -> Result<Option<PaymentRecord>, ViewError> {
        Ok(self.payments(vec![key.to_owned()]).await?.pop())
    }

    /// The key of the payment that has a refund with this transaction of its own.
    pub(crate) async fn payment_of_refund(
        &self,
        gateway: &GatewayId,
        transaction_id: &str,
    ) -> Result<Option<String>, ViewError> {
        let (gateway, transaction_id) = (gateway.to_string(), transaction_id.to_owned());
        let find = "SELECT payment FROM refunds WHERE gateway = ?1 AND transaction_id = ?2";
        self.ask(move |database| {
            let mut find = database.prepare_cached(find)?;
            find.query_row(params![gateway, transaction_id], |row| row.get(0)).optional()
        })
        .await
    }

    /// Takes into a payment what was told of its refunds before anybody knew whose they were, long ago or just now.
    pub(crate) async fn adopt_orphans(
        &self,
        payment: &mut PaymentRecord,
        just_now: &BTreeMap<String, OrphanRefund>,
    ) -> Result<(), ViewError> {
        let transactions = payment.refunds.iter().filter_map(|refund| refund.transaction_id.clone());
        for transaction_id in transactions.collect::<Vec<_>>() {
            let key = OrphanRefund::key_of(&payment.gateway, &transaction_id);
            let known = self.entry(&key).await?.and_then(|orphan| decode::<OrphanRefund>(&orphan).ok());
            for orphan in known.iter().chain(just_now.get(&key)) {
                payment.take_orphan(&transaction_id, orphan.state);
            }
        }
        Ok(())
    }

    /// What this id is about: a top-up, or a payment.
    pub(crate) async fn shown(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<Option<Shown>, ViewError> {
        let (organization, id) = (organization.clone(), id.to_owned());
        self.ask(move |database| rows::shown(database, &organization, &id)).await
    }

    /// The payments that an id is about: an event's, a payment's, an order's, or a transaction's at these gateways.
    pub(crate) async fn payments_about(
        &self,
        organization: &OrganizationId,
        gateways: Vec<GatewayId>,
        id: &str,
    ) -> Result<Vec<PaymentRecord>, ViewError> {
        let (organization, id) = (organization.clone(), id.to_owned());
        self.ask(move |database| rows::payments_about(database, &organization, &gateways, &id)).await
    }

    /// The payments through a gateway that are held: those behind this one that began before then, the earliest first, at
    /// most so many.
    pub(crate) async fn held(
        &self,
        gateway: &GatewayId,
        (created_at, key): (Timestamp, String),
        before: Timestamp,
        most: usize,
    ) -> Result<Vec<PaymentRecord>, ViewError> {
        let (gateway, most) = (gateway.to_string(), i64::try_from(most).unwrap_or(i64::MAX));
        let find = "SELECT record FROM payments WHERE gateway = ?1 AND status = 'AUTHORIZED' \
                    AND (created_at, key) > (?2, ?3) AND created_at < ?4 ORDER BY created_at, key LIMIT ?5";
        let (behind, before) = (rows::milliseconds(created_at), rows::milliseconds(before));
        self.ask(move |database| rows::records(database, find, params![gateway, behind, key, before, most]))
            .await
    }

    /// The top-up of the same parameters that can still be paid. One that nobody was answered counts for so long.
    pub(crate) async fn pending_twin(
        &self,
        top_up: &TopUpRecord,
        now: Timestamp,
        unanswered_for: Duration,
    ) -> Result<Option<TopUpId>, ViewError> {
        let (organization, parameters) = (top_up.organization.to_string(), rows::parameters_hash(top_up));
        let young = now.before(unanswered_for);
        self.ask(move |database| rows::pending_twin(database, &organization, parameters, now, young)).await
    }

    /// The payments of which a refund was asked for and not settled, by their keys: those behind this one, at most so
    /// many.
    pub(crate) async fn with_open_refunds(
        &self,
        behind: &str,
        most: usize,
    ) -> Result<Vec<PaymentRecord>, ViewError> {
        let (behind, most) = (behind.to_owned(), i64::try_from(most).unwrap_or(i64::MAX));
        let find = "SELECT record FROM payments WHERE open_refunds > 0 AND key > ?1 ORDER BY key LIMIT ?2";
        self.ask(move |database| rows::records(database, find, params![behind, most])).await
    }

    /// How many refunds are not settled, and when the oldest of them was asked for.
    pub(crate) async fn open_refunds(&self) -> Result<(u32, Option<Timestamp>), ViewError> {
        let count = "SELECT SUM(open_refunds), MIN(refund_asked_at) FROM payments WHERE open_refunds > 0";
        self.ask(move |database| {
            database.prepare_cached(count)?.query_row([], |row| {
                let (count, oldest): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
                let oldest = oldest.and_then(|oldest| u64::try_from(oldest).ok()).map(Timestamp);
                Ok((u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX), oldest))
            })
        })
        .await
    }

    /// One page of what this filter lets through, the latest first.
    pub(crate) async fn list(
        &self,
        filter: PaymentFilter,
        behind: Option<Cursor>,
        most: usize,
    ) -> Result<Vec<Listed>, ViewError> {
        self.ask(move |database| list::list(database, &filter, behind.as_ref(), most)).await
    }

    /// What a client was credited with and got back, by currency.
    pub(crate) async fn totals(
        &self,
        organization: &OrganizationId,
        client: &str,
        clubs: Option<Vec<ClubId>>,
        is_test: bool,
    ) -> Result<Vec<Totals>, ViewError> {
        let (organization, client) = (organization.to_string(), client.to_owned());
        self.ask(move |database| totals::totals(database, &organization, &client, clubs.as_deref(), is_test))
            .await
    }

    /// The payments whose ids these are.
    pub(crate) async fn with_ids(&self, ids: Vec<PaymentId>) -> Result<Vec<PaymentRecord>, ViewError> {
        self.ask(move |database| {
            let mut found = Vec::new();
            for id in &ids {
                found.extend(rows::records(
                    database,
                    "SELECT record FROM payments WHERE id = ?1",
                    [id.as_str()],
                )?);
            }
            Ok(found)
        })
        .await
    }

    /// What is older than these times: payments that began and top-ups that ended before the first, top-ups that ended
    /// before the second and that Check still knows; at most so many each.
    pub(crate) async fn aged(
        &self,
        payments_before: Timestamp,
        ended_before: Timestamp,
        most: usize,
    ) -> Result<rows::Aged, ViewError> {
        self.ask(move |database| rows::aged(database, payments_before, ended_before, most)).await
    }

    /// As when the disk breaks: from here on nothing can be taken.
    #[cfg(test)]
    pub(crate) async fn break_it(&self) {
        let broken =
            self.ask(|database| database.execute_batch("DROP TABLE top_ups; DROP TABLE payments")).await;
        broken.expect("it was whole");
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ViewError> {
        let broken = Arc::clone(&self.broken);
        let answered = self.database.call(move |database| {
            question(database).map_err(|error| {
                tracing::error!(%error, "the view of payments has failed");
                // What it did may be half done: from here on nobody finds anything.
                let _ = rusqlite::Connection::open_in_memory().map(|nothing| *database = nothing);
                // Whoever asked may have gone.
                broken.notify_one();
                ViewError::from(error)
            })
        });
        Ok(answered.await?)
    }

    /// Begins with an empty database.
    async fn empty(&self) -> Result<(), ViewError> {
        let directory = self.directory.clone();
        let emptied = self.database.call(move |database| {
            *database = empty_database(&directory)?;
            Ok(())
        });
        Ok(emptied.await?)
    }
}

/// An empty database with its file in this directory. The directory is made.
fn empty_database(directory: &Path) -> Result<rusqlite::Connection, ViewError> {
    std::fs::create_dir_all(directory)?;
    let file = tempfile::Builder::new().prefix("payments-").suffix(".view").tempfile_in(directory)?;
    let database = rusqlite::Connection::open(file.path())?;
    database.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    database.pragma_update(None, "journal_mode", "OFF")?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "temp_store", "MEMORY")?;
    database.pragma_update(None, "cache_size", CACHE)?;
    database.set_prepared_statement_cache_capacity(64);
    database.execute_batch(SCHEMA)?;
    database.execute_batch("BEGIN")?;
    // From here on the name is of no use: the file goes when the process does, however it ends.
    file.close()?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_failure_nobody_is_answered_until_it_is_made_anew() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let view = View::open(directory.path()).await.expect("a view");
        assert!(view.payment("payment/none").await.is_ok_and(|found| found.is_none()));
        let failed = view.ask(|database| database.execute_batch("INSERT INTO others VALUES (NULL, 1)")).await;
        failed.expect_err("a key is needed");
        view.payment("payment/none").await.expect_err("what failed may have done half of its work");
        view.empty().await.expect("a view");
        assert!(view.payment("payment/none").await.is_ok_and(|found| found.is_none()));
    }
}
