//! The nouns of the log: names, positions, records and entries. Plain data, no behaviour of a backend.

use bytes::Bytes;
use hookline_schemas::time::Timestamp;

/// The journals of hookline. Append-only, partitioned, ordered per partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JournalName {
    /// Every durable event; key: the payment; kept 7 days.
    Events,
    /// Deliveries that could not be sent at once, self-contained; key: the webhook; kept 5 days.
    Parked,
    /// Deliveries given up; key: the webhook; kept 30 days.
    DeadLetters,
    /// One small record per attempt, synced lazily; key: the webhook; kept 3 days.
    Attempts,
    /// Verified notifications that are not understood, sealed; key: a hash of the body; kept 30 days.
    Quarantine,
}

impl JournalName {
    /// Every journal, in the order of their storage ids.
    pub const ALL: [Self; 5] =
        [Self::Events, Self::Parked, Self::DeadLetters, Self::Attempts, Self::Quarantine];

    /// The name as it stands on disk, in topics and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Parked => "parked",
            Self::DeadLetters => "dead_letters",
            Self::Attempts => "attempts",
            Self::Quarantine => "quarantine",
        }
    }
}

/// The tables of hookline: the latest value per key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableName {
    /// Lane records and owner markers; partitioned as `parked`.
    Lanes,
    /// Organizations, gateways, webhooks, with sealed secrets; one partition.
    Control,
    /// Clients that Check knows; one partition.
    Clients,
    /// Top-ups that Check compares with; one partition.
    TopUps,
    /// Status and amounts of payments; one partition.
    Payments,
}

impl TableName {
    /// Every table, in the order of their storage ids.
    pub const ALL: [Self; 5] = [Self::Lanes, Self::Control, Self::Clients, Self::TopUps, Self::Payments];

    /// The name as it stands on disk, in topics and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::Control => "control",
            Self::Clients => "clients",
            Self::TopUps => "top_ups",
            Self::Payments => "payments",
        }
    }
}

/// What has owners, partition by partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owned {
    /// A journal: who owns a partition works on it, and commits how far he has come.
    Journal(JournalName),
    /// The table `control`: its one owner is the one who writes it. It has no position to commit.
    Control,
}

impl Owned {
    /// The name of the journal or table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Journal(journal) => journal.as_str(),
            Self::Control => TableName::Control.as_str(),
        }
    }

    /// The journal, where positions are committed.
    ///
    /// # Panics
    ///
    /// If it is none.
    pub(crate) fn positioned(self) -> JournalName {
        match self {
            Self::Journal(journal) => journal,
            Self::Control => panic!("a table has no position to commit"),
        }
    }
}

impl From<JournalName> for Owned {
    fn from(journal: JournalName) -> Self {
        Self::Journal(journal)
    }
}

/// A partition of a journal or table, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u16);

/// A position in a partition: opaque, ordered, with gaps. The first offset is [`Offset::START`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64);

impl Offset {
    /// At or below every offset that is ever given out.
    pub const START: Self = Self(0);

    /// The position right behind this record: where a reader goes on.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Who owned a partition when something was written; a later owner's epoch is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// How many partitions the journals have. Stored at creation; a log opened with others refuses to start,
/// because a key would move to another partition and lose its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Partitions of `events`, from 1.
    pub events: u16,
    /// Partitions of `parked`, `lanes`, `dead_letters` and `attempts`, from 1.
    pub lanes: u16,
}

impl Default for PartitionCounts {
    fn default() -> Self {
        Self { events: 16, lanes: 64 }
    }
}

impl PartitionCounts {
    /// The partitions of one journal.
    pub const fn of_journal(self, journal: JournalName) -> u16 {
        match journal {
            JournalName::Events => self.events,
            JournalName::Parked | JournalName::DeadLetters | JournalName::Attempts => self.lanes,
            JournalName::Quarantine => 1,
        }
    }

    /// The partitions of one table.
    pub const fn of_table(self, table: TableName) -> u16 {
        match table {
            TableName::Lanes => self.lanes,
            TableName::Control | TableName::Clients | TableName::TopUps | TableName::Payments => 1,
        }
    }
}

/// The partition of a key: CRC-32C of the key modulo the number of partitions. Part of the record format:
/// it never changes.
pub fn partition_of(key: &[u8], partitions: u16) -> Partition {
    let partitions = u32::from(partitions.max(1));
    Partition(u16::try_from(crc32c::crc32c(key) % partitions).unwrap_or(0))
}

/// One record of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub offset: Offset,
    /// What it is about; records with one key keep their order.
    pub key: Bytes,
    /// The record itself; what it means is the business of `hookline-schemas`.
    pub value: Bytes,
    /// When the log accepted it, by the wall clock; retention counts from here.
    pub appended_at: Timestamp,
}

/// What one read may return at most. At least one record is returned where one exists, however large.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Records, from 1.
    pub records: usize,
    /// Bytes of keys and values together.
    pub bytes: usize,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// In the order of their offsets.
    pub records: Vec<Record>,
    /// Where the next read goes on: behind everything that this one looked at, matching or not.
    pub next: Offset,
}

/// The retained range of a partition: `first` is the lowest offset that can be read, `end` the one that the
/// next record will be at or above. Empty where they are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest offset that can still be read.
    pub first: Offset,
    /// Above every record.
    pub end: Offset,
}

/// One entry of a table, as its watch reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its partition.
    pub partition: Partition,
    /// Its key.
    pub key: Bytes,
    /// The latest value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The epoch under which it was put.
    pub epoch: Epoch,
    /// Orders the entries of a partition by when they were written.
    pub version: Offset,
}

/// What a watch of a table reports: the entries there are, `Loaded` once, then every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An entry, present at the start or changed since. A key may be reported again with the same entry.
    Entry(Entry),
    /// Everything that was acknowledged before the watch began has been reported.
    Loaded,
}

/// A committed position with what was committed beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Everything below is settled.
    pub offset: Offset,
    /// The committer's own words, at most 1 KiB.
    pub metadata: Bytes,
}

/// What happens to the ownership of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnershipChange {
    /// The partition is ours under this epoch; nobody else commits it until `Revoking` or `Lost`.
    Granted {
        /// Which partition.
        partition: Partition,
        /// Greater than every earlier epoch of this partition.
        epoch: Epoch,
        /// The latest commit, of whoever made it.
        committed: Option<Committed>,
    },
    /// Settle what is in flight, commit, and let go: another owner waits.
    Revoking {
        /// Which partition.
        partition: Partition,
    },
    /// The partition is somebody else's already; commits are refused.
    Lost {
        /// Which partition.
        partition: Partition,
    },
}

/// What an acknowledged append has survived. Declared in the start-up log, `/readyz` and a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the disk of this machine.
    Fsync,
    /// Acknowledged by this many replicas.
    Replicated(u16),
    /// In the memory of this machine alone: survives the process, not the power.
    PageCache,
}
