//! A site as it is now: what it was set to, its transactions, orders and notifications. Nothing here waits; numbers
//! and times come from the [`Desk`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use hookline_schemas::notification::NotificationType;
use hookline_schemas::secret::Secret;
use hookline_schemas::time::{Clock, Timestamp};
use tokio::sync::Semaphore;

use super::faults::Fault;
use super::notifications::NotificationSettings;
use super::notify::Outbox;
use super::orders::Order;
use super::repeats::Repeats;
use super::transaction::{Transaction, TransactionView};
use super::{Profile, Site};

/// A site keeps no more transactions, and as many orders; further ones are errors. Each transaction has at most three
/// notifications, and all of them are kept.
pub(super) const MAX_TRANSACTIONS: usize = 200_000;

/// Where transaction numbers begin: above 32 bits, where those of CloudPayments will be.
const FIRST_TRANSACTION: u64 = (1 << 32) + 1_000;

/// Hands out numbers and times, the same to all sites.
#[derive(Debug)]
pub(super) struct Desk {
    clock: Clock,
    /// How many milliseconds it is ahead of the clock.
    ahead: AtomicU64,
    next: AtomicU64,
}

impl Desk {
    pub(super) fn open() -> Self {
        Self { clock: Clock::start(), ahead: AtomicU64::new(0), next: AtomicU64::new(FIRST_TRANSACTION) }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().after(Duration::from_millis(self.ahead.load(Ordering::SeqCst)))
    }

    pub(super) fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead.fetch_add(millis, Ordering::SeqCst);
    }

    /// A number that nothing else has.
    pub(super) fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }
}

#[derive(Debug)]
pub(super) struct OpenSite {
    pub(super) public_id: String,
    /// The newest first; it is the one to sign with.
    pub(super) api_secrets: Vec<Secret>,
    pub(super) profile: Profile,
    /// Requests that it answers at a time.
    pub(super) places: Arc<Semaphore>,
    pub(super) notifications: HashMap<NotificationType, NotificationSettings>,
    pub(super) outbox: Outbox,
    /// By number, which is by time as well.
    pub(super) transactions: BTreeMap<u64, Transaction>,
    /// By time.
    pub(super) orders: Vec<Order>,
    /// How many of each it keeps.
    pub(super) room: usize,
    /// By path: how the next requests go wrong.
    pub(super) faults: HashMap<String, VecDeque<Fault>>,
    pub(super) repeats: Repeats,
}

impl OpenSite {
    pub(super) fn open(site: Site) -> Self {
        Self {
            places: Arc::new(Semaphore::new(site.terminal.requests_at_once())),
            public_id: site.public_id,
            api_secrets: site.api_secrets,
            profile: site.profile,
            notifications: HashMap::new(),
            outbox: Outbox::default(),
            transactions: BTreeMap::new(),
            orders: Vec::new(),
            room: MAX_TRANSACTIONS,
            faults: HashMap::new(),
            repeats: Repeats::default(),
        }
    }

    pub(super) fn has_password(&self, password: &str) -> bool {
        self.api_secrets.iter().any(|secret| secret.expose() == password)
    }

    pub(super) fn views(&self) -> Vec<TransactionView> {
        self.transactions.values().map(Transaction::view).collect()
    }

    /// The payment, or the refund, of this number.
    pub(super) fn transaction(&mut self, id: u64) -> anyhow::Result<&mut Transaction> {
        self.transactions.get_mut(&id).context("Not found")
    }

    pub(super) fn ensure_room(&self) -> anyhow::Result<()> {
        ensure!(self.transactions.len() < self.room, "the site keeps no more than {}", self.room);
        Ok(())
    }

    /// How the next request at this path goes wrong, if it does.
    pub(super) fn next_fault(&mut self, path: &str) -> Option<Fault> {
        self.faults.get_mut(path)?.pop_front()
    }
}
