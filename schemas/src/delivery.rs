//! Deliveries: one event for one webhook, until it is settled; and the records that they leave in the log.
//!
//! Format: every record is one JSON object; unknown members are ignored, so a later version may add some.

use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::ids::{EventId, WebhookId};
use crate::time::Timestamp;

/// The outcome of one attempt: data, not an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// A 2xx: the receiver has it.
    Delivered {
        /// The status.
        status: u16,
    },
    /// Try again later.
    Retryable {
        /// Why it failed.
        reason: FailureReason,
        /// How long the receiver asks to be left alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<Duration>,
    },
    /// The receiver will never take it.
    Rejected {
        /// Why it failed.
        reason: FailureReason,
    },
}

impl AttemptOutcome {
    /// Whether the receiver has it.
    pub const fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }

    /// Whether it failed for a reason of our own, so that it tells nothing of the endpoint.
    pub fn is_our_fault(&self) -> bool {
        self.failure().is_some_and(|reason| reason.party() == Party::Ours)
    }

    /// Why it failed, if it did.
    pub const fn failure(&self) -> Option<FailureReason> {
        match self {
            Self::Delivered { .. } => None,
            Self::Retryable { reason, .. } | Self::Rejected { reason } => Some(*reason),
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// Any status but 2xx; redirects are not followed.
    Status(u16),
    /// The deadline of the attempt passed.
    Timeout,
    /// The name of the host could not be resolved.
    Resolve,
    /// An address of the host is not one that webhooks are sent to.
    BlockedAddress,
    /// The connection was refused or could not be made.
    Connect,
    /// TLS could not be agreed on, or the certificate is not valid.
    Tls,
    /// The connection broke before the head of the answer was there, or what came is none: no HTTP, or without
    /// an end.
    Broken,
    /// This machine could not do its part: no descriptors, ports or memory, no route, or its own firewall.
    Local,
}

/// Whose fault a failed attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The receiver's: it tells how his endpoint does.
    Receiver,
    /// Ours: it tells nothing of the endpoint.
    Ours,
}

impl FailureReason {
    /// A bounded label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Status(300..=399) => "3xx",
            Self::Status(410) => "410",
            Self::Status(429) => "429",
            Self::Status(400..=499) => "4xx",
            Self::Status(503) => "503",
            Self::Status(_) => "5xx",
            Self::Timeout => "timeout",
            Self::Resolve => "resolve",
            Self::BlockedAddress => "blocked_address",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Broken => "broken",
            Self::Local => "local",
        }
    }

    /// Whose fault it is. A name that can't be resolved counts as the receiver's, because the system's resolver
    /// does not tell his name servers' silence from that of ours; a blocked address is what he, or whoever
    /// configured the webhook, has written into his DNS or his URL.
    pub const fn party(self) -> Party {
        match self {
            Self::Local => Party::Ours,
            Self::Status(_)
            | Self::Timeout
            | Self::Resolve
            | Self::BlockedAddress
            | Self::Connect
            | Self::Tls
            | Self::Broken => Party::Receiver,
        }
    }
}

/// A delivery that could not be sent at once: a record of `parked`, self-contained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedDelivery {
    /// For whom.
    pub webhook: WebhookId,
    /// What.
    pub event: Event,
    /// Attempts made so far.
    pub tries: u32,
    /// How the latest attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureReason>,
    /// Not to be attempted earlier: an attempt that was under way when it was parked may still succeed.
    pub not_before: Timestamp,
    /// Given up from here on.
    pub deadline: Timestamp,
    /// The [version](crate::webhook::Webhooks::version) of the webhooks by which whoever parked it knew for whom
    /// it is: from there on, who does not know the webhook knows that it has been deleted.
    #[serde(default, skip_serializing_if = "is_of_configuration")]
    pub webhooks_version: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) const fn is_of_configuration(webhooks_version: &u64) -> bool {
    *webhooks_version == 0
}

/// A delivery given up: a record of `dead_letters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// For whom.
    pub webhook: WebhookId,
    /// What.
    pub event: Event,
    /// Why it was given up.
    pub reason: DeadReason,
    /// Attempts made.
    pub tries: u32,
    /// How the latest attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureReason>,
    /// When it was given up.
    pub dead_at: Timestamp,
}

/// Why a delivery was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// The receiver will never take it.
    Rejected,
    /// Its deadline passed.
    Deadline,
}

/// One attempt: a record of `attempts`, written without being waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// For whom.
    pub webhook: WebhookId,
    /// What.
    pub event: EventId,
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: AttemptOutcome,
    /// How the body of an answer began that was no 2xx, as text for people: up to 1 KiB of it, without control
    /// characters. The receiver wrote it, whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// What a lane's owner knows of the lane: an entry of `lanes` under [`LaneRecord::key`]. True for ever once
/// written: everything of this webhook below the cursor except the exceptions is settled, so a late one
/// costs duplicates at worst. `drained` alone can lie (see the owner marker).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRecord {
    /// Whose lane.
    pub webhook: WebhookId,
    /// Offset in `parked` below which all is settled, except the exceptions.
    pub cursor: u64,
    /// Offset in `parked` below which all is counted; at the cursor, nothing waits in order.
    #[serde(default)]
    pub tail: u64,
    /// Nothing unsettled is known at or above the cursor.
    pub drained: bool,
    /// Deliveries below the cursor that are not settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<ExceptionRecord>,
    /// What is known of the endpoint's health.
    #[serde(default)]
    pub breaker: BreakerRecord,
    /// What became of everything below the tail.
    #[serde(default)]
    pub counts: LaneCounts,
    /// Since when and why it gets nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// [`Webhook::url_fingerprint`](crate::webhook::Webhook::url_fingerprint) of the endpoint of which all this
    /// is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<u64>,
}

/// What became of the records of a lane, as of its cursor and tail: what was settled above the cursor counts as
/// backlog, because it will be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct LaneCounts {
    /// Records there were.
    pub registered: u64,
    /// Settled by a 2xx.
    pub delivered: u64,
    /// Settled in `dead_letters`.
    pub dead: u64,
    /// Settled because the webhook is no more.
    pub cancelled: u64,
    /// Gone for want of a place among the exceptions: appended again, and counted there.
    pub parked_again: u64,
    /// Taken by retention before they were settled, or of no version that is known: lost.
    pub expired: u64,
}

impl LaneCounts {
    /// Everything that is settled.
    pub const fn settled(&self) -> u64 {
        self.delivered + self.dead + self.cancelled + self.parked_again + self.expired
    }

    /// What is not settled.
    pub const fn backlog(&self) -> u64 {
        self.registered.saturating_sub(self.settled())
    }

    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            registered: self.registered + other.registered,
            delivered: self.delivered + other.delivered,
            dead: self.dead + other.dead,
            cancelled: self.cancelled + other.cancelled,
            parked_again: self.parked_again + other.parked_again,
            expired: self.expired + other.expired,
        }
    }

    /// What has been added since `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            registered: self.registered - earlier.registered,
            delivered: self.delivered - earlier.delivered,
            dead: self.dead - earlier.dead,
            cancelled: self.cancelled - earlier.cancelled,
            parked_again: self.parked_again - earlier.parked_again,
            expired: self.expired - earlier.expired,
        }
    }
}

/// A webhook that gets nothing any more: its deliveries wait in the lane, and their deadlines run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: DisabledReason,
    /// Whether `WEBHOOK_DISABLED` stands in `events`.
    pub is_announced: bool,
}

/// Why a webhook was disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// Its endpoint answered 410.
    Gone,
    /// Its endpoint was down for too long.
    Failing,
}

impl DisabledReason {
    /// A label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

/// A delivery that failed while its neighbours passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionRecord {
    /// Its record in `parked`.
    pub offset: u64,
    /// Attempts made so far.
    pub tries: u32,
    /// When it is tried again.
    pub due: Timestamp,
    /// Given up from here on.
    pub deadline: Timestamp,
}

/// The endpoint's health as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct BreakerRecord {
    /// Failed probes in a row; `None` while the breaker is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_probes: Option<u32>,
    /// When the next probe is due, while the breaker is open.
    #[serde(default)]
    pub next_due: Timestamp,
    /// Since when there has been no health, while the breaker is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
}

/// Who owns the lanes of a partition: an entry of `lanes` under [`OwnerMarker::key`], put by a new owner
/// before anything else. A lane record of an earlier epoch that was written after it comes from an owner that
/// had been deposed: if it says *drained*, the lane is read again from its cursor. Each epoch has a marker of
/// its own, because a marker that replaced the former one would hide which records were late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerMarker {
    /// The owner's epoch.
    pub epoch: u64,
    /// The process that it is, by a number of its own.
    #[serde(default)]
    pub process: u64,
}

impl OwnerMarker {
    const PREFIX: &'static str = "owner/";

    /// The key of this owner's marker in its partition.
    pub fn key(&self) -> String {
        format!("{}{:020}", Self::PREFIX, self.epoch)
    }

    /// Whether the key of an entry is that of a marker.
    pub fn is_key(key: &[u8]) -> bool {
        key.starts_with(Self::PREFIX.as_bytes())
    }
}

impl LaneRecord {
    const PREFIX: &'static str = "lane/";

    /// A lane of which nothing is known: it covers everything.
    pub fn unknown(webhook: WebhookId) -> Self {
        Self {
            webhook,
            cursor: 0,
            tail: 0,
            drained: false,
            exceptions: Vec::new(),
            breaker: BreakerRecord::default(),
            counts: LaneCounts::default(),
            disabled: None,
            url: None,
        }
    }

    /// The key of a webhook's lane.
    pub fn key(webhook: &WebhookId) -> String {
        format!("{}{webhook}", Self::PREFIX)
    }

    /// Whose lane has this key.
    pub fn webhook_of_key(key: &[u8]) -> Option<WebhookId> {
        std::str::from_utf8(key).ok()?.strip_prefix(Self::PREFIX).map(WebhookId::new)
    }
}

/// A record that this version can't read.
#[derive(Debug, thiserror::Error)]
#[error("the record is not of this version")]
pub struct NotARecord(#[from] serde_json::Error);

/// Writes one of the records of this module.
pub fn encode<R: Serialize>(record: &R) -> Vec<u8> {
    // Structs of strings and numbers always serialize.
    serde_json::to_vec(record).unwrap_or_default()
}

/// Reads one of the records of this module.
///
/// # Errors
///
/// If it is not of this version.
pub fn decode<R: DeserializeOwned>(record: &[u8]) -> Result<R, NotARecord> {
    Ok(serde_json::from_slice(record)?)
}
