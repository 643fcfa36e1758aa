//! One LMDB environment of the log with its databases: opened, checked against what created it, and then
//! shared by its writer and the readers.
//!
//! It owns the format of the whole: which databases there are and what `meta` says. It deliberately knows
//! nothing of batches, offsets in memory or acknowledgements.

use std::fs::{DirBuilder, File};
use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heed::types::Bytes;
use heed::{
    CommitOrAbort, CommitToken, CompactionOption, EnvFlags, EnvOpenOptions, OnCommit, RoTxn, RwTxn,
    WithoutTls,
};

use super::codec::{self, Corrupt, Encoder, FORMAT, Mark, StoredCursor};
use super::directory::{self, DirectoryLock};
use crate::{Epoch, JournalName, OpenError, Partition, PartitionCounts, TableName};

/// Bytes to bytes; the codec is ours.
pub(super) type Database = heed::Database<'static, Bytes, Bytes>;

/// Which of the two environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnvironmentName {
    /// Journals, tables, cursors: synced before anything is acknowledged.
    Log,
    /// The journal `attempts`: synced at leisure.
    Attempts,
}

impl EnvironmentName {
    /// The name of its directory, its threads and in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Attempts => "attempts",
        }
    }

    /// Where a journal is kept.
    pub(super) const fn of_journal(journal: JournalName) -> Self {
        match journal {
            JournalName::Attempts => Self::Attempts,
            JournalName::Events
            | JournalName::Parked
            | JournalName::DeadLetters
            | JournalName::Quarantine => Self::Log,
        }
    }

    /// The journals it keeps.
    pub(super) fn journals(self) -> impl Iterator<Item = JournalName> {
        JournalName::ALL.into_iter().filter(move |journal| Self::of_journal(*journal) == self)
    }

    /// The tables it keeps.
    pub(super) fn tables(self) -> impl Iterator<Item = TableName> {
        TableName::ALL.into_iter().filter(move |_| self == Self::Log)
    }
}

/// The two databases of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableDatabases {
    /// The entries by key.
    pub(super) entries: Database,
    /// Their keys by version: what a watch goes by.
    pub(super) by_version: Database,
}

/// An open environment. The lock is let go of after the environment is closed: fields drop in order.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) name: EnvironmentName,
    pub(super) data_file: PathBuf,
    databases: Databases,
    lmdb: heed::Env<WithoutTls>,
    _lock: Arc<DirectoryLock>,
}

#[derive(Debug)]
struct Databases {
    journals: Vec<(JournalName, Database)>,
    tables: Vec<(TableName, TableDatabases)>,
    parked_by_key: Database,
    cursors: Database,
    positions: Database,
    meta: Database,
}

impl Environment {
    /// Opens or creates the environment in its own directory under `root`.
    pub(super) fn open(
        name: EnvironmentName,
        root: &Path,
        map_size: u64,
        lock: Arc<DirectoryLock>,
    ) -> Result<Self, OpenError> {
        let path = root.join(name.as_str());
        if !path.exists() {
            DirBuilder::new()
                .mode(0o700)
                .create(&path)
                .map_err(|source| OpenError::Directory { path: path.clone(), source })?;
        }
        let failed =
            |error: heed::Error| OpenError::Backend { path: path.clone(), reason: error.to_string() };
        let lmdb = open_map(&path, Access::Owner { map_size }).map_err(failed)?;
        let databases = open_databases(name, &lmdb).map_err(failed)?;
        directory::sync(&path)?;
        Ok(Self { name, data_file: path.join("data.mdb"), databases, lmdb, _lock: lock })
    }

    /// A snapshot. Short ones only: a long one keeps every page that is freed meanwhile from being reused.
    pub(super) fn read(&self) -> heed::Result<RoTxn<'_, WithoutTls>> {
        self.lmdb.read_txn()
    }

    /// The one transaction that writes.
    pub(super) fn write(&self) -> heed::Result<RwTxn<'_>> {
        self.lmdb.write_txn()
    }

    /// The records of a journal, by partition and offset.
    pub(super) fn journal(&self, name: JournalName) -> Database {
        let found = self.databases.journals.iter().find(|(journal, _)| *journal == name);
        found.map(|(_, database)| *database).expect("a journal is asked of the environment that keeps it")
    }

    /// The entries of a table.
    pub(super) fn table(&self, name: TableName) -> TableDatabases {
        let found = self.databases.tables.iter().find(|(table, _)| *table == name);
        found.map(|(_, databases)| *databases).expect("a table is asked of the environment that keeps it")
    }

    /// The offsets of `parked` by the key of the record.
    pub(super) fn parked_by_key(&self) -> Database {
        self.databases.parked_by_key
    }

    /// The committed positions of owners.
    pub(super) fn cursors(&self) -> Database {
        self.databases.cursors
    }

    /// First retained and released offsets.
    pub(super) fn positions(&self) -> Database {
        self.databases.positions
    }

    /// A position, or 0 if there is none yet.
    pub(super) fn position(
        &self,
        snapshot: &RoTxn<'_>,
        mark: Mark,
        journal: JournalName,
        partition: Partition,
    ) -> heed::Result<Result<u64, Corrupt>> {
        let stored =
            self.databases.positions.get(snapshot, &codec::position_key(mark, journal, partition))?;
        Ok(stored.map_or(Ok(0), codec::decode_number))
    }

    /// Every committed position of a journal, for its partitions in order.
    pub(super) fn stored_cursors(
        &self,
        journal: JournalName,
        partitions: u16,
    ) -> Result<Vec<Option<StoredCursor>>, OpenError> {
        let failed = |error: heed::Error| self.refused(error.to_string());
        let snapshot = self.read().map_err(failed)?;
        let mut cursors = Vec::with_capacity(usize::from(partitions));
        for partition in (0..partitions).map(Partition) {
            let key = codec::cursor_key(journal, partition);
            let stored = self.databases.cursors.get(&snapshot, &key).map_err(failed)?;
            let cursor = stored.map(codec::decode_cursor).transpose();
            cursors.push(cursor.map_err(|Corrupt| {
                self.refused(format!("the cursor of {} {} is corrupt", journal.as_str(), partition.0))
            })?);
        }
        Ok(cursors)
    }

    /// Checks that this is the log that the options speak of, or marks a new one; then starts a new life:
    /// the boot counter, durably incremented before anybody is granted anything under it.
    pub(super) fn start_life(&self, counts: PartitionCounts) -> Result<Epoch, OpenError> {
        let failed = |error: heed::Error| self.refused(error.to_string());
        let mut transaction = self.write().map_err(failed)?;
        let format = self.settled(&mut transaction, "format", u64::from(FORMAT))?;
        if format > u64::from(FORMAT) {
            let stored = u32::try_from(format).unwrap_or(u32::MAX);
            return Err(OpenError::Format { stored, supported: FORMAT });
        }
        let configured = [("events", counts.events), ("lanes", counts.lanes)];
        for (name, count) in configured {
            let stored = self.settled(&mut transaction, name, u64::from(count))?;
            if stored != u64::from(count) {
                let stored = u16::try_from(stored).unwrap_or(u16::MAX);
                return Err(OpenError::PartitionMismatch { name, stored, configured: count });
            }
        }
        let epoch = self.settled(&mut transaction, "epoch", 0)? + 1;
        let meta = self.databases.meta;
        meta.put(&mut transaction, b"epoch", Encoder::default().number(epoch)).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(Epoch(epoch))
    }

    /// What `meta` says under a word; a new log says what it is told now.
    fn settled(&self, transaction: &mut RwTxn<'_>, word: &str, at_creation: u64) -> Result<u64, OpenError> {
        let meta = self.databases.meta;
        let failed = |error: heed::Error| self.refused(error.to_string());
        let stored = meta.get(transaction, word.as_bytes()).map_err(failed)?.map(codec::decode_number);
        match stored {
            Some(Ok(number)) => Ok(number),
            Some(Err(Corrupt)) => Err(self.refused(format!("meta is corrupt at {word}"))),
            None => {
                let mut encoder = Encoder::default();
                meta.put(transaction, word.as_bytes(), encoder.number(at_creation)).map_err(failed)?;
                Ok(at_creation)
            }
        }
    }

    /// Bytes of the pages that hold something, as this transaction sees them. A look into the root of each
    /// database, not a walk.
    pub(super) fn used_bytes(&self, snapshot: &RoTxn<'_>) -> heed::Result<u64> {
        let databases = &self.databases;
        let journals = databases.journals.iter().map(|(_, database)| database);
        let tables = databases.tables.iter().flat_map(|(_, table)| [&table.entries, &table.by_version]);
        let others = [&databases.parked_by_key, &databases.cursors, &databases.positions, &databases.meta];
        let mut used = 0;
        for database in journals.chain(tables).chain(others) {
            let stat = database.stat(snapshot)?;
            let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
            used += pages as u64 * u64::from(stat.page_size);
        }
        Ok(used)
    }

    /// Where the last page that was ever written ends in the file.
    pub(super) fn file_end(&self) -> u64 {
        let page_size = u64::from(self.lmdb.unnamed_database_stat().page_size);
        (self.lmdb.info().last_page_number as u64 + 1) * page_size
    }

    /// Writes everything that is committed by now, without the free pages between it, as a file of the same kind.
    /// A snapshot for as long as it takes.
    pub(super) fn copy_into(&self, sink: PipeWriter) -> heed::Result<()> {
        self.lmdb.copy_to_file(&mut File::from(OwnedFd::from(sink)), CompactionOption::Enabled)
    }

    /// Makes it a log of another format.
    #[cfg(test)]
    pub(super) fn set_format(&self, format: u32) {
        let mut transaction = self.write().expect("a transaction");
        let mut encoder = Encoder::default();
        let number = encoder.number(u64::from(format));
        self.databases.meta.put(&mut transaction, b"format", number).expect("written");
        transaction.commit().expect("committed");
    }

    fn refused(&self, reason: String) -> OpenError {
        OpenError::Backend { path: self.data_file.clone(), reason }
    }
}

/// What an environment is opened for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    /// To be this log's, up to this size.
    Owner {
        /// In bytes.
        map_size: u64,
    },
    /// To be looked through, while nobody writes it.
    Reader,
}

#[expect(
    unsafe_code,
    reason = "heed marks the opening of a memory map as unsafe, and there is no other way in"
)]
pub(super) fn open_map(path: &Path, access: Access) -> heed::Result<heed::Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(DATABASES).max_readers(READERS);
    match access {
        Access::Owner { map_size } => {
            let map_size = usize::try_from(map_size).unwrap_or(usize::MAX);
            options.map_size(map_size - map_size % LARGEST_PAGE);
        }
        // SAFETY: without LMDB's own lock nobody may write the file meanwhile, and nobody does (see `verify.rs`).
        Access::Reader => unsafe {
            options.flags(EnvFlags::READ_ONLY | EnvFlags::NO_LOCK);
        },
    }
    // SAFETY: the map is sound as long as nobody else changes the file. The directory is locked by a file
    // lock of ours, readable by its owner alone, and not on a network file system unless the operator
    // insists; no flag switches the owner's own locks or syncs off; preallocation changes no byte of the file.
    unsafe { options.open(path) }
}

/// The map has to be a multiple of the machine's page size; of the largest in use it is on any machine.
const LARGEST_PAGE: usize = 64 * 1024;
/// More than there are, because LMDB wants to know beforehand.
const DATABASES: u32 = 32;
/// The reader threads, one snapshot each, and the opening.
const READERS: u32 = 16;

/// What the values of a database are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Records of a journal.
    Records,
    /// Entries of a table.
    Entries,
    /// Ways to records or entries, without a checksum of their own.
    Ways,
    /// Positions with words beside them.
    Cursors,
    /// Numbers.
    Numbers,
}

/// The databases of an environment, by name.
pub(super) fn databases_of(name: EnvironmentName) -> impl Iterator<Item = (String, Holds)> {
    let journals = name.journals().map(|journal| (journal.as_str().to_owned(), Holds::Records));
    let tables = name.tables().flat_map(|table| {
        let table = table.as_str();
        [(table.to_owned(), Holds::Entries), (format!("{table}_by_version"), Holds::Ways)]
    });
    let others = [
        ("parked_by_key", Holds::Ways),
        ("cursors", Holds::Cursors),
        ("positions", Holds::Numbers),
        ("meta", Holds::Numbers),
    ];
    journals.chain(tables).chain(others.map(|(name, holds)| (name.to_owned(), holds)))
}

fn open_databases(name: EnvironmentName, lmdb: &heed::Env<WithoutTls>) -> heed::Result<Databases> {
    let names: Vec<String> = databases_of(name).map(|(name, _)| name).collect();
    let opened = lmdb
        .create_databases_and_commit(lmdb.write_txn()?, |opener, transaction| {
            let create = |name: &String| opener.create_database(transaction, Some(name));
            let created = names.iter().map(create).collect::<heed::Result<_>>()?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(Created(created)))
        })?
        .unwrap_commit();
    let mut opened = opened.into_iter();
    let mut next = || opened.next().expect("as many databases were opened as names were listed");
    Ok(Databases {
        journals: name.journals().map(|journal| (journal, next())).collect(),
        tables: name
            .tables()
            .map(|table| (table, TableDatabases { entries: next(), by_version: next() }))
            .collect(),
        parked_by_key: next(),
        cursors: next(),
        positions: next(),
        meta: next(),
    })
}

/// Databases that can be used once the transaction that created them is committed.
struct Created<'environment>(Vec<heed::Database<'environment, Bytes, Bytes>>);

impl OnCommit for Created<'_> {
    type Committed = Vec<Database>;

    fn on_commit(self, token: &CommitToken) -> Vec<Database> {
        self.0.into_iter().map(|database| database.on_commit(token)).collect()
    }
}
