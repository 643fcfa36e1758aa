//! What is known of the registry: every entry that the watch has shown, opened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use hookline_event_log::{Entry, Fence, Verdict};
use hookline_schemas::delivery::{OwnerMarker, decode, encode};
use hookline_schemas::gateway::Gateway;
use hookline_schemas::ids::{GatewayId, WebhookId};
use hookline_schemas::seal::Sealer;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;
use hookline_schemas::webhook::Webhook;

use crate::follow::FollowError;
use crate::gateway::GatewayRecord;
use crate::webhook::WebhookRecord;

/// An entry with what its secrets gave: `opened` is missing where no key of ours opens them.
#[derive(Debug, Clone)]
pub struct Known<R, O> {
    /// As it stands in the table.
    pub record: R,
    /// What it is good for.
    pub opened: Option<O>,
}

/// Gateways and webhooks, as of one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    version: u64,
    gateways: BTreeMap<GatewayId, Arc<Known<GatewayRecord, Vec<Secret>>>>,
    webhooks: BTreeMap<WebhookId, Arc<Known<WebhookRecord, Webhook>>>,
    fence: Arc<Fence>,
    /// What no key of ours opens, to be tried again.
    unopened: BTreeMap<Bytes, Entry>,
    /// Webhooks that this version does not understand: they must not be taken for none.
    unreadable: BTreeSet<WebhookId>,
    /// What a writer that had been deposed has written over.
    overwritten: BTreeSet<Bytes>,
}

impl Registry {
    /// The position behind the last entry that this tells; 0, where there is none. Ascends.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Every gateway, verified or not, by its id.
    pub fn gateways(&self) -> impl Iterator<Item = &GatewayRecord> {
        self.gateways.values().map(|known| &known.record)
    }

    /// The gateway with this id.
    pub fn gateway(&self, id: &GatewayId) -> Option<&Known<GatewayRecord, Vec<Secret>>> {
        self.gateways.get(id).map(|known| &**known)
    }

    /// Every gateway with its secrets, where they are known.
    pub fn gateways_with_secrets(&self) -> impl Iterator<Item = (&GatewayRecord, &[Secret])> {
        self.gateways.values().filter_map(|known| Some((&known.record, known.opened.as_deref()?)))
    }

    /// Every webhook, by its id.
    pub fn webhooks(&self) -> impl Iterator<Item = &WebhookRecord> {
        self.webhooks.values().map(|known| &known.record)
    }

    /// The webhook with this id.
    pub fn webhook(&self, id: &WebhookId) -> Option<&Known<WebhookRecord, Webhook>> {
        self.webhooks.get(id).map(|known| &**known)
    }

    /// The gateways that take notifications at this time, the oldest first.
    pub fn open_gateways(&self, at: Timestamp) -> Vec<Gateway> {
        let mut known: Vec<_> = self.gateways_with_secrets().collect();
        known.sort_by_key(|(record, _)| record.created_at);
        known.into_iter().filter_map(|(record, secrets)| record.to_gateway(secrets, at)).collect()
    }

    /// The webhooks as the dispatcher needs them. One whose secrets can't be opened is among them, paused: what is
    /// meant for it waits.
    ///
    /// # Errors
    ///
    /// [`FollowError::Unreadable`] if there is one that this version does not understand: without it, its events
    /// would be passed by.
    pub fn open_webhooks(&self) -> Result<Vec<Webhook>, FollowError> {
        if let Some(webhook) = self.unreadable.first() {
            return Err(FollowError::Unreadable { webhook: webhook.clone() });
        }
        let unreadable = |record: &WebhookRecord| FollowError::Unreadable { webhook: record.id.clone() };
        let open = |known: &Arc<Known<WebhookRecord, Webhook>>| match &known.opened {
            Some(opened) => Ok(opened.clone()),
            None => known.record.without_secrets().map_err(|_| unreadable(&known.record)),
        };
        self.webhooks.values().map(open).collect()
    }

    /// Whether what is known of this key is older than what stands there, because no key of ours opens that.
    pub fn is_unopened(&self, key: &[u8]) -> bool {
        self.unopened.contains_key(key)
    }

    /// When the gateways change by the passing of time alone.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        self.gateways().filter_map(|record| record.next_end(now)).min()
    }

    /// The keys of entries that a deposed writer has written over: whoever writes now writes them anew.
    pub fn overwritten(&self) -> impl Iterator<Item = &Bytes> {
        self.overwritten.iter()
    }

    /// The entry of this key as it counts, for the table; none, where there is nothing.
    pub fn encoded(&self, key: &[u8]) -> Option<Vec<u8>> {
        let key = std::str::from_utf8(key).ok()?;
        if let Some(id) = key.strip_prefix(GatewayRecord::PREFIX) {
            return self.gateways.get(&GatewayId::new(id)).map(|known| encode(&known.record));
        }
        let id = key.strip_prefix(WebhookRecord::PREFIX)?;
        self.webhooks.get(&WebhookId::new(id)).map(|known| encode(&known.record))
    }

    /// Whether something waits for a key.
    pub(crate) fn has_unopened(&self) -> bool {
        !self.unopened.is_empty()
    }

    /// Tries again what could not be opened; whether anything has changed.
    pub(crate) fn open_again(&mut self, sealer: &Sealer) -> bool {
        let waiting = std::mem::take(&mut self.unopened);
        let before = waiting.len();
        for entry in waiting.into_values() {
            self.take_current(entry, sealer);
        }
        self.unopened.len() != before
    }

    /// Takes what the watch shows.
    pub(crate) fn take(&mut self, entry: Entry, sealer: &Sealer) {
        self.version = self.version.max(entry.version.next().0);
        if OwnerMarker::is_key(&entry.key) {
            if entry.value.is_some() {
                Arc::make_mut(&mut self.fence).owner(entry.partition, entry.epoch, entry.version);
            }
            return;
        }
        let key = entry.key.clone();
        let name = String::from_utf8_lossy(&key).into_owned();
        if self.fence.judge(&entry) == Verdict::LateForeign {
            tracing::warn!(key = name, "a control that had been deposed wrote an entry: it does not count");
            self.overwritten.insert(key);
            return;
        }
        self.overwritten.remove(&key);
        self.unopened.remove(&key);
        self.take_current(entry, sealer);
        if self.unopened.contains_key(&key) {
            tracing::error!(
                key = name,
                "no key of this process opens the secrets of an entry: what was known of it stays, a gateway that was \
                 not known takes nothing, and what is meant for a webhook that was not waits; give this process the key"
            );
        }
    }

    fn take_current(&mut self, entry: Entry, sealer: &Sealer) {
        let name = String::from_utf8_lossy(&entry.key).into_owned();
        if let Some(id) = name.strip_prefix(GatewayRecord::PREFIX) {
            self.take_gateway(GatewayId::new(id), entry, sealer);
        } else if let Some(id) = name.strip_prefix(WebhookRecord::PREFIX) {
            self.take_webhook(WebhookId::new(id), entry, sealer);
        } else {
            tracing::warn!(key = name, "left out an entry of a kind that this version does not know");
        }
    }

    /// A gateway that can't be read is left as it was: its notifications are refused, and come again.
    fn take_gateway(&mut self, id: GatewayId, entry: Entry, sealer: &Sealer) {
        let Some(value) = entry.value.as_deref() else {
            self.gateways.remove(&id);
            return;
        };
        let record: GatewayRecord = match decode(value) {
            Ok(record) => record,
            Err(error) => {
                return tracing::error!(gateway = %id, %error, "left out a gateway that is not of this version");
            }
        };
        let opened = record.open(sealer).ok();
        if opened.is_none() {
            self.unopened.insert(entry.key.clone(), entry);
        }
        keep(&mut self.gateways, id, record, opened);
    }

    fn take_webhook(&mut self, id: WebhookId, entry: Entry, sealer: &Sealer) {
        self.unreadable.remove(&id);
        let Some(value) = entry.value.as_deref() else {
            self.webhooks.remove(&id);
            return;
        };
        let record: WebhookRecord = match decode(value) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(webhook = %id, %error, "a webhook is not of this version");
                self.unreadable.insert(id);
                return;
            }
        };
        let opened = record.open(sealer).ok();
        if opened.is_none() {
            self.unopened.insert(entry.key.clone(), entry);
        }
        keep(&mut self.webhooks, id, record, opened);
    }
}

/// What no key opens changes nothing of what is known, until the key is there.
fn keep<I: Ord, R, O>(known: &mut BTreeMap<I, Arc<Known<R, O>>>, id: I, record: R, opened: Option<O>) {
    if opened.is_some() || !known.contains_key(&id) {
        known.insert(id, Arc::new(Known { record, opened }));
    }
}
