//! Takes events into payments: follows `events` and puts together what they tell, group by group.
//!
//! How far it has come stands in `payments` itself, behind what it has written. If the process dies in between, events
//! are taken a second time, which changes nothing ([`hookline_schemas::payment`]).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use hookline_event_log::{
    Batch, Bounds, EXPIRED_UNREAD_METRIC, Journal, JournalName, Log, Offset, Partition, ReadError, ReadLimit,
    Reader,
};
use hookline_schemas::delivery::{decode, encode};
use hookline_schemas::event::Event;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::payment::{EventPlace, OrphanRefund, PaymentRecord, RefundState, Subject};
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
    while let Some(epoch) = ledger.activation().await {
        let stopped = tokio::select! {
            stopped = take_events(log, ledger, view, taken) => stopped,
            () = ledger.deposition(epoch) => continue,
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
    view.is_loaded()?;
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
                    let lost = first.0.saturating_sub(asked.0);
                    metrics::counter!(EXPIRED_UNREAD_METRIC, "journal" => JournalName::Events.as_str())
                        .increment(lost);
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
    if !told.iter().any(|(event, _)| Subject::of(event).is_some()) {
        return Ok(());
    }
    // From here on the view is loaded, and changes by us alone.
    let mut page = ledger.page().await?;
    let mut taken = Taken::read(view, &told).await?;
    for (event, place) in &told {
        taken.take(view, event, *place).await?;
    }
    let puts = taken.into_puts(view).await?;
    page.write(puts).await
}

/// The payments of a batch, as they become.
struct Taken {
    payments: BTreeMap<String, PaymentRecord>,
    changed: BTreeSet<String>,
    /// What was told of refunds whose payments nobody knows.
    orphans: BTreeMap<String, OrphanRefund>,
}

impl Taken {
    /// The payments that the events name.
    async fn read(view: &View, told: &[(Event, EventPlace)]) -> Result<Self, ApiError> {
        let named = told.iter().filter_map(|(event, _)| match Subject::of(event) {
            Some(Subject::Payment(gateway, transaction_id)) => {
                Some(PaymentRecord::key_of(gateway, transaction_id))
            }
            Some(Subject::RefundOf(..)) | None => None,
        });
        let keys: BTreeSet<String> = named.collect();
        let known = view.payments(keys.into_iter().collect()).await?;
        let payments = known.into_iter().map(|payment| (payment.key(), payment)).collect();
        Ok(Self { payments, changed: BTreeSet::new(), orphans: BTreeMap::new() })
    }

    async fn take(&mut self, view: &View, event: &Event, place: EventPlace) -> Result<(), ApiError> {
        let key = match Subject::of(event) {
            None => return Ok(()),
            Some(Subject::Payment(gateway, transaction_id)) => PaymentRecord::key_of(gateway, transaction_id),
            Some(Subject::RefundOf(gateway, transaction_id)) => {
                match self.payment_of_refund(view, gateway, transaction_id).await? {
                    Some(key) => key,
                    None => {
                        let orphan = OrphanRefund { state: RefundState::of(event) };
                        self.orphans.insert(OrphanRefund::key_of(gateway, transaction_id), orphan);
                        return Ok(());
                    }
                }
            }
        };
        let has_changed = match self.payments.get_mut(&key) {
            Some(payment) => payment.take(event, place),
            None => match PaymentRecord::begun_by(event, place) {
                Some(begun) => self.payments.insert(key.clone(), begun).is_none(),
                None => false,
            },
        };
        if has_changed {
            self.changed.insert(key);
        }
        Ok(())
    }

    /// The key of the payment that has a refund with this transaction of its own; it is among ours then.
    async fn payment_of_refund(
        &mut self,
        view: &View,
        gateway: &GatewayId,
        transaction_id: &str,
    ) -> Result<Option<String>, ApiError> {
        let has = |payment: &PaymentRecord| {
            payment.gateway == *gateway
                && payment.refunds.iter().any(|refund| refund.is_transaction(transaction_id))
        };
        if let Some((key, _)) = self.payments.iter().find(|(_, payment)| has(payment)) {
            return Ok(Some(key.clone()));
        }
        let Some(key) = view.payment_of_refund(gateway, transaction_id).await? else { return Ok(None) };
        if !self.payments.contains_key(&key)
            && let Some(payment) = view.payment(&key).await?
        {
            self.payments.insert(key.clone(), payment);
        }
        Ok(Some(key))
    }

    /// What is to be written.
    async fn into_puts(mut self, view: &View) -> Result<Vec<Put>, ApiError> {
        let mut puts = Vec::with_capacity(self.changed.len() + self.orphans.len());
        for key in &self.changed {
            if let Some(payment) = self.payments.get_mut(key) {
                view.adopt_orphans(payment, &self.orphans).await?;
                puts.push(of_payment(payment));
            }
        }
        let orphan = |(key, orphan): (String, OrphanRefund)| Put {
            key: key.into(),
            value: Some(encode(&orphan).into()),
        };
        puts.extend(self.orphans.into_iter().map(orphan));
        Ok(puts)
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::event::{Source, from_notification};
    use hookline_schemas::gateway::{CheckPolicy, Gateway};
    use hookline_schemas::ids::{ClubId, OrganizationId};
    use hookline_schemas::notification::{BodyFormat, NotificationType, read_fields};
    use hookline_schemas::time::Timestamp;

    use super::*;

    fn told(kind: NotificationType, body: &str) -> Event {
        let gateway = Gateway {
            id: GatewayId::new("gw_1"),
            organization: OrganizationId::new("org_1"),
            public_id: "pk_1".to_owned(),
            api_secrets: Vec::new(),
            default_club: ClubId::new("club_1"),
            shared_url: false,
            policy: CheckPolicy::lenient(),
        };
        let fields = read_fields(BodyFormat::Form, body.as_bytes()).expect("a form");
        let source = Source {
            gateway: &gateway,
            kind,
            format: BodyFormat::Form,
            body: body.as_bytes(),
            fields: &fields,
            top_up_club: None,
            accepted_at: Timestamp(1_800_000_000_000),
        };
        from_notification(source).expect("it is understood")
    }

    /// Nobody knows whose refund has failed, and the next event of the same batch says it.
    #[tokio::test]
    async fn a_batch_tells_of_a_refund_in_any_order() {
        use NotificationType::{Fail, Pay, Refund};
        let directory = tempfile::tempdir().expect("a scratch directory");
        let view = View::open(directory.path()).await.expect("a view");
        let paid = told(Pay, "TransactionId=700&Amount=100.00&Currency=RUB&Status=Completed&TestMode=0");
        let failed = told(Fail, "TransactionId=900&Amount=30.00&OperationType=Refund&ReasonCode=5006");
        let refunded = told(Refund, "TransactionId=900&PaymentTransactionId=700&Amount=30.00");
        for order in [[&paid, &failed, &refunded], [&failed, &refunded, &paid], [&refunded, &paid, &failed]] {
            let place = EventPlace { partition: 0, offset: 1 };
            let batch: Vec<_> = order.into_iter().map(|event| (event.clone(), place)).collect();
            let mut taken = Taken::read(&view, &batch).await.expect("a view");
            for (event, place) in &batch {
                taken.take(&view, event, *place).await.expect("a view");
            }
            let puts = taken.into_puts(&view).await.expect("a view");
            let payments: Vec<PaymentRecord> =
                puts.iter().filter_map(|put| decode(put.value.as_deref()?).ok()).collect();
            let states: Vec<_> =
                payments.iter().flat_map(|payment| &payment.refunds).map(|refund| refund.state).collect();
            assert_eq!(states, [RefundState::Declined], "{order:?}");
        }
    }
}
