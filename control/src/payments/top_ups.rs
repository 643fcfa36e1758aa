//! Top-ups: what a client is to pay, written down before anybody is shown where to pay it.
//!
//! The order of writes is the order of what may be missing after a crash: first the top-up, so that nobody makes it
//! twice; then what Check compares with; then CloudPayments' order; then its address. A top-up without an address was
//! answered to nobody, and ends by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::{Epoch, Log, Partition, Table};
use hookline_schemas::check::{DirectoryKey, TopUp};
use hookline_schemas::delivery::encode;
use hookline_schemas::payment::TopUpRecord;
use hookline_schemas::time::Clock;
use tokio::time::timeout;

use super::ledger::{Ledger, of_top_up};
use super::sites::{Sites, site_of};
use super::view::View;
use crate::cloudpayments::{CloudPayments, Order, Refused};
use crate::error::ApiError;
use crate::writer::{NotPut, PATIENCE};

/// A top-up without an address is being made for so long at most; afterwards nobody makes it any more.
const UNANSWERED: Duration = Duration::from_secs(60);

/// Edges put what they know under the same: whoever puts last counts, and all put the same.
const EPOCH: Epoch = Epoch(0);

/// What top-ups are made with.
pub(crate) struct TopUps<L: Log> {
    pub(super) ledger: Arc<Ledger<L>>,
    pub(super) view: View,
    pub(super) cloudpayments: CloudPayments,
    pub(super) sites: Sites,
    /// What Check compares with.
    pub(super) check: L::Table,
    pub(super) clock: Clock,
}

impl<L: Log> TopUps<L> {
    /// Makes a top-up that can be paid. `page` is where the gateway's own page takes payments; none: CloudPayments'
    /// orders. When this returns, every edge is about to know it.
    ///
    /// # Errors
    ///
    /// [`ApiError::Duplicate`] while the same can be paid already; [`ApiError::Unavailable`] if nothing was made;
    /// [`ApiError::Declined`] if CloudPayments does not want it.
    pub(crate) async fn make(
        &self,
        mut top_up: TopUpRecord,
        page: Option<&str>,
    ) -> Result<TopUpRecord, ApiError> {
        self.begin(&top_up).await?;
        let made = async {
            self.tell_edges(&top_up, &top_up.for_check()).await?;
            let url = match page {
                Some(page) => self.page_url(page, &top_up)?,
                None => self.order_url(&top_up).await?,
            };
            top_up.payment_url = Some(url);
            self.ledger.page().await?.write([of_top_up(&top_up)]).await
        };
        match made.await {
            Ok(()) => Ok(top_up),
            Err(error) => {
                self.take_back(top_up).await;
                Err(error)
            }
        }
    }

    /// Forgets what Check compares with, of a top-up that ended long ago.
    pub(super) async fn forget(&self, top_up: &TopUpRecord) -> Result<(), ApiError> {
        self.put(top_up, None).await
    }

    /// Tells the edges that somebody has paid it, whom no notification has told.
    pub(super) async fn tell_paid(&self, top_up: &TopUpRecord) -> Result<(), ApiError> {
        self.tell_edges(top_up, &TopUp { paid: true, ..top_up.for_check() }).await
    }

    /// Writes it down, unless the same can be paid already.
    async fn begin(&self, top_up: &TopUpRecord) -> Result<(), ApiError> {
        let mut page = self.ledger.page().await?;
        if let Some(twin) = self.view.pending_twin(top_up, self.clock.wall(), UNANSWERED).await? {
            return Err(ApiError::Duplicate { of: twin.to_string() });
        }
        page.write([of_top_up(top_up)]).await
    }

    /// Nobody was told of it: it has ended. If this fails, it ends by itself.
    async fn take_back(&self, top_up: TopUpRecord) {
        let ended = TopUpRecord { expires_at: self.clock.wall(), ..top_up };
        let ending = async {
            self.tell_edges(&ended, &ended.for_check()).await?;
            self.ledger.page().await?.write([of_top_up(&ended)]).await
        };
        if let Err(error) = ending.await {
            tracing::warn!(top_up = %ended.id, %error, "a top-up that nobody was told of stays until its end");
        }
    }

    async fn tell_edges(&self, top_up: &TopUpRecord, check: &TopUp) -> Result<(), ApiError> {
        self.put(top_up, Some(encode(check).into())).await
    }

    async fn put(&self, top_up: &TopUpRecord, value: Option<Bytes>) -> Result<(), ApiError> {
        let key = DirectoryKey::of_top_up(&top_up.gateway, top_up.id.as_str());
        let key = Bytes::copy_from_slice(&key.0);
        let put = self.check.put(Partition(0), key, value, EPOCH);
        let appending = timeout(PATIENCE, put).await.map_err(|_| NotPut::NoRoom)?.map_err(NotPut::Refused)?;
        let acknowledged = timeout(PATIENCE, appending).await.map_err(|_| NotPut::Unknown)?;
        acknowledged.map(drop).map_err(|error| NotPut::Refused(error).into())
    }

    async fn order_url(&self, top_up: &TopUpRecord) -> Result<String, ApiError> {
        let gateway = self.sites.gateway(&top_up.gateway)?;
        let order = Order {
            amount: top_up.amount,
            currency: &top_up.currency,
            description: top_up.description.as_deref().unwrap_or("Top-up"),
            invoice_id: top_up.id.as_str(),
            account_id: &top_up.client_id,
            return_url: top_up.return_url.as_deref(),
            club_id: top_up.club_id.as_str(),
        };
        let created = self.cloudpayments.create_order(site_of(&gateway)?, &order).await;
        created.map(|order| order.url).map_err(|refused| match refused {
            Refused::Declined(reason) => ApiError::Declined(reason),
            refused @ (Refused::InvalidCredentials | Refused::Unavailable(_)) => {
                ApiError::Unavailable(refused.to_string())
            }
        })
    }

    /// The gateway's own page, told what is to be paid.
    fn page_url(&self, page: &str, top_up: &TopUpRecord) -> Result<String, ApiError> {
        let gateway = self.sites.gateway(&top_up.gateway)?;
        let amount = top_up.amount.to_string();
        let mut parameters = vec![
            ("publicId", gateway.public_id.as_str()),
            ("invoiceId", top_up.id.as_str()),
            ("accountId", &top_up.client_id),
            ("amount", &amount),
            ("currency", &top_up.currency),
            ("clubId", top_up.club_id.as_str()),
        ];
        parameters.extend(top_up.description.as_deref().map(|description| ("description", description)));
        parameters.extend(top_up.return_url.as_deref().map(|url| ("returnUrl", url)));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        let separator = if page.contains('?') { '&' } else { '?' };
        Ok(format!("{page}{separator}{}", query.finish()))
    }
}
