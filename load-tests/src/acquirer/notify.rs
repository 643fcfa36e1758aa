//! Notifications on their way: signed under the site's newest secret, posted to where the site has them go now, again
//! by CloudPayments' rule until they are answered with code 0.
//!
//! One that is set to anything but POST, UTF-8 and CloudPayments' own format is not posted: nobody answers it. What is
//! not set, or is to be thrown away, is made and kept all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use hookline_schemas::ids::EventId;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::signature::ContentKey;
use http::{Response, Uri};
use http_body_util::{BodyExt, Limited};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::site::OpenSite;
use super::{Acquirer, State};
use crate::fixtures::Fixture;
use crate::serve::locked;
use crate::simulator::{RetryRule, Signed, answered_code};

/// Notifications that are posted at once; a Check needs no place among them.
pub(super) const POSTED_AT_ONCE: usize = 64;

/// No answer of hookline to a notification is longer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A notification as tests see it.
#[derive(Debug, Clone)]
pub struct Posted {
    /// Its type.
    pub kind: NotificationType,
    /// The transaction that it names; a refund's own.
    pub transaction_id: u64,
    /// The event that it has to become; none for a Check.
    pub event_id: Option<EventId>,
    /// The bytes that are posted.
    pub body: Bytes,
    /// How often it was posted; never, where its type was not set or was thrown away.
    pub posts: u32,
    /// Whether it was answered with code 0.
    pub is_answered: bool,
}

/// A notification that was made.
#[derive(Debug)]
pub(super) struct Notice {
    fixture: Fixture,
    posts: AtomicU32,
    is_answered: AtomicBool,
}

/// What a site has made.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// All of it, in order.
    made: Vec<Arc<Notice>>,
    /// What is to be posted once the site is let go.
    due: Vec<Arc<Notice>>,
    /// The types that are thrown away.
    dropped: Vec<NotificationType>,
}

impl OpenSite {
    /// Makes a notification, which is due at once.
    pub(super) fn notify(&mut self, fixture: Fixture) {
        let is_wanted = self.is_wanted(fixture.kind());
        let notice = self.make(fixture);
        if is_wanted {
            self.outbox.due.push(notice);
        }
    }

    /// Makes a notification that whoever calls posts himself.
    pub(super) fn make(&mut self, fixture: Fixture) -> Arc<Notice> {
        let notice =
            Arc::new(Notice { fixture, posts: AtomicU32::new(0), is_answered: AtomicBool::new(false) });
        self.outbox.made.push(Arc::clone(&notice));
        notice
    }

    /// Whether notifications of this type are posted.
    pub(super) fn is_wanted(&self, kind: NotificationType) -> bool {
        let is_set = self.notifications.get(&kind).is_some_and(|settings| settings.is_enabled);
        is_set && !self.outbox.dropped.contains(&kind)
    }

    pub(super) fn take_due(&mut self) -> Vec<Arc<Notice>> {
        std::mem::take(&mut self.outbox.due)
    }

    /// Where notifications of this type go now, and what to sign them with.
    fn route(&self, kind: NotificationType) -> Option<(Uri, ContentKey)> {
        let settings = self.notifications.get(&kind).filter(|settings| settings.is_postable())?;
        let address = settings.address.as_ref()?.parse().ok()?;
        Some((address, ContentKey::new(self.api_secrets.first()?)))
    }
}

impl Notice {
    fn posted(&self, public_id: &str) -> Posted {
        Posted {
            kind: self.fixture.kind(),
            transaction_id: self.fixture.transaction_id,
            event_id: self.fixture.event_id(public_id),
            body: self.fixture.body.clone(),
            posts: self.posts.load(Ordering::SeqCst),
            is_answered: self.is_answered.load(Ordering::SeqCst),
        }
    }
}

impl State {
    /// Posts until it is answered with code 0 or given up, beside whatever else goes on.
    pub(super) fn send(self: &Arc<Self>, public_id: &str, notice: Arc<Notice>) {
        let (state, public_id) = (Arc::clone(self), public_id.to_owned());
        let until_stopped = async move {
            // Whether it was answered is written down in the notice.
            let _ = state.stop.run_until_cancelled(state.deliver(&public_id, &notice)).await;
        };
        self.deliveries.spawn_on(until_stopped, &self.runtime);
    }

    /// Whether it was answered with code 0 before it was given up.
    async fn deliver(&self, public_id: &str, notice: &Notice) -> bool {
        let rule = locked(&self.retry).clone();
        let mut posted = 0;
        loop {
            posted += 1;
            // The places are never closed: an error can't be.
            let place = self.posting.acquire().await;
            let answer = self.post(public_id, notice).await;
            drop(place);
            if answer.as_ref().and_then(answered_code) == Some(0) {
                return true;
            }
            match rule.wait_after(posted) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return false,
            }
        }
    }

    /// Posts once. Nothing, where no whole answer came in time, or there is nowhere to post it.
    pub(super) async fn post(&self, public_id: &str, notice: &Notice) -> Option<Response<Bytes>> {
        let kind = notice.fixture.kind();
        let (url, key) = locked(&self.sites).get(public_id)?.route(kind)?;
        let within = locked(&self.retry).answer_timeout;
        let request = Signed::new(&notice.fixture, &key).request(url);
        // Counted before it is sent: from here on hookline may know of it.
        notice.posts.fetch_add(1, Ordering::SeqCst);
        let exchange = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(|error| anyhow!(error))?.to_bytes();
            anyhow::Ok(Response::from_parts(head, body))
        };
        let answer = tokio::time::timeout(within, exchange).await.ok()?.ok()?;
        if answered_code(&answer) == Some(0) {
            notice.is_answered.store(true, Ordering::SeqCst);
        }
        Some(answer)
    }
}

impl Acquirer {
    /// When what was not answered is posted again: for what is made from now on. At first the documented steps, 600
    /// times faster.
    pub fn set_retry_rule(&self, rule: RetryRule) {
        *locked(&self.state.retry) = rule;
    }

    /// From now on notifications of these types are made and thrown away; with `None` none are. A Check that is
    /// thrown away is not asked. An unknown site changes nothing.
    pub fn drop_notifications(&self, public_id: &str, which: Option<&[NotificationType]>) {
        self.change(public_id, |site| site.outbox.dropped = which.unwrap_or_default().to_vec());
    }

    /// Every notification made so far for a site, in order; none for an unknown one.
    pub fn posted(&self, public_id: &str) -> Vec<Posted> {
        let sites = locked(&self.state.sites);
        let made = sites.get(public_id).map(|site| site.outbox.made.as_slice()).unwrap_or_default();
        made.iter().map(|notice| notice.posted(public_id)).collect()
    }

    /// Posts again everything made so far, one after the other in the order given by a seed, as CloudPayments does
    /// after wrong answers; also what had been thrown away, unless its type still is. Checks are not repeated.
    ///
    /// # Errors
    ///
    /// If the site is not known, or something was given up unanswered.
    pub async fn post_again(&self, public_id: &str, seed: u64) -> anyhow::Result<()> {
        let mut again: Vec<_> = self.state.at(public_id, |site| {
            let posted = |notice: &&Arc<Notice>| {
                let kind = notice.fixture.kind();
                kind != NotificationType::Check && site.is_wanted(kind)
            };
            site.outbox.made.iter().filter(posted).cloned().collect()
        })?;
        again.shuffle(&mut StdRng::seed_from_u64(seed));
        for notice in again {
            let is_answered = self.state.deliver(public_id, &notice).await;
            let (kind, transaction_id) = (notice.fixture.kind(), notice.fixture.transaction_id);
            ensure!(is_answered, "the {kind} of {transaction_id} was given up");
        }
        Ok(())
    }

    /// Waits until nothing is on its way to hookline any more: all answered with code 0, or given up. Payments that
    /// have not returned are not waited for.
    ///
    /// # Errors
    ///
    /// If something still is after this time.
    pub async fn settled(&self, within: Duration) -> anyhow::Result<()> {
        let deliveries = &self.state.deliveries;
        let settled = tokio::time::timeout(within, deliveries.wait()).await;
        settled.with_context(|| format!("{} notifications are on their way", deliveries.len()))
    }
}
