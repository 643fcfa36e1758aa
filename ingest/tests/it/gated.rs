//! A log over the embedded one that can be told to hold back its acknowledgements and the ends of its
//! tables, or to fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hookline_event_log::embedded::{
    EmbeddedJournal, EmbeddedLog, EmbeddedOwnership, EmbeddedReader, EmbeddedTable, EmbeddedWatch,
};
use hookline_event_log::{
    AppendError, Appending, Batch, Bounds, Change, Durability, Epoch, Journal, JournalName, Log, LogFailure,
    Offset, Owned, Partition, ReadError, ReadLimit, Table, TableName, TableWatch,
};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Open or shut; whoever passes waits while it is shut.
pub(crate) struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Gate {
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn shut(&self) {
        self.0.send_replace(false);
    }

    async fn pass(&self) {
        self.0.subscribe().wait_for(|is_open| *is_open).await.expect("the gate outlives who waits");
    }
}

/// Where an append to a journal fails.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failing {
    /// It is not accepted; nothing is written.
    Accepting(AppendError),
    /// It is written, and acknowledged so.
    Acknowledging(AppendError),
}

/// What the log is told.
#[derive(Default)]
pub(crate) struct Gates {
    /// Of everything that was appended to a journal.
    pub(crate) acknowledgements: Gate,
    /// Of the table of clients.
    pub(crate) clients: Gate,
    /// Of the table of top-ups.
    pub(crate) top_ups: Gate,
    failing: Mutex<Option<Failing>>,
    written: AtomicUsize,
    waiting: TaskTracker,
}

impl Gates {
    /// From now on every append to a journal fails so, or none does.
    pub(crate) fn fail(&self, failing: Option<Failing>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = failing;
    }

    /// How many records of journals are durable, acknowledged or not.
    pub(crate) fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    fn failing(&self) -> Option<Failing> {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log.
#[derive(Clone)]
pub(crate) struct GatedLog {
    inner: EmbeddedLog,
    pub(crate) gates: Arc<Gates>,
}

impl GatedLog {
    pub(crate) fn new(inner: EmbeddedLog) -> Self {
        Self { inner, gates: Arc::default() }
    }
}

impl Log for GatedLog {
    type Journal = GatedJournal;
    type Table = GatedTable;
    type Ownership = EmbeddedOwnership;

    fn journal(&self, name: JournalName) -> GatedJournal {
        GatedJournal { inner: self.inner.journal(name), gates: Arc::clone(&self.gates) }
    }

    fn table(&self, name: TableName) -> GatedTable {
        GatedTable { inner: self.inner.table(name), name, gates: Arc::clone(&self.gates) }
    }

    fn ownership(&self, of: impl Into<Owned>) -> EmbeddedOwnership {
        self.inner.ownership(of)
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn failed(&self) -> LogFailure {
        self.inner.failed().await
    }
}

/// A journal of it.
#[derive(Clone)]
pub(crate) struct GatedJournal {
    inner: EmbeddedJournal,
    gates: Arc<Gates>,
}

impl Journal for GatedJournal {
    type Reader = EmbeddedReader;

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn append(&self, partition: Partition, key: Bytes, value: Bytes) -> Result<Appending, AppendError> {
        let failing = self.gates.failing();
        if let Some(Failing::Accepting(error)) = failing {
            return Err(error);
        }
        let written = self.inner.append(partition, key, value).await?;
        let (acknowledge, appending) = Appending::new();
        let gates = Arc::clone(&self.gates);
        self.gates.waiting.spawn(async move {
            let acknowledged = written.await;
            gates.written.fetch_add(1, Ordering::SeqCst);
            gates.acknowledgements.pass().await;
            let told = match failing {
                Some(Failing::Acknowledging(error)) => Err(error),
                Some(Failing::Accepting(_)) | None => acknowledged,
            };
            // Whoever asked may have gone away.
            let _ = acknowledge.send(told);
        });
        Ok(appending)
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        filter: Option<Bytes>,
        limit: ReadLimit,
    ) -> Result<Batch, ReadError> {
        self.inner.read(partition, from, filter, limit).await
    }

    fn follow(&self, partition: Partition, from: Offset) -> EmbeddedReader {
        self.inner.follow(partition, from)
    }

    async fn bounds(&self, partition: Partition) -> Result<Bounds, ReadError> {
        self.inner.bounds(partition).await
    }

    fn release(&self, partition: Partition, below: Offset) {
        self.inner.release(partition, below);
    }
}

/// A table of it.
#[derive(Clone)]
pub(crate) struct GatedTable {
    inner: EmbeddedTable,
    name: TableName,
    gates: Arc<Gates>,
}

impl Table for GatedTable {
    type Watch = GatedWatch;

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn put(
        &self,
        partition: Partition,
        key: Bytes,
        value: Option<Bytes>,
        epoch: Epoch,
    ) -> Result<Appending, AppendError> {
        self.inner.put(partition, key, value, epoch).await
    }

    fn watch(&self, partitions: &[Partition]) -> GatedWatch {
        GatedWatch {
            inner: self.inner.watch(partitions),
            name: self.name,
            gates: Arc::clone(&self.gates),
            is_at_end: false,
            is_loaded: false,
        }
    }
}

/// A watch of a table, which reports the end of loading only while the table's gate is open.
pub(crate) struct GatedWatch {
    inner: EmbeddedWatch,
    name: TableName,
    gates: Arc<Gates>,
    is_at_end: bool,
    is_loaded: bool,
}

impl TableWatch for GatedWatch {
    async fn next(&mut self) -> Result<Change, ReadError> {
        if self.is_loaded {
            return self.inner.next().await;
        }
        if !self.is_at_end {
            let change = self.inner.next().await?;
            if change != Change::Loaded {
                return Ok(change);
            }
            self.is_at_end = true;
        }
        match self.name {
            TableName::Clients => self.gates.clients.pass().await,
            TableName::TopUps => self.gates.top_ups.pass().await,
            TableName::Lanes | TableName::Control | TableName::Payments => {}
        }
        self.is_loaded = true;
        Ok(Change::Loaded)
    }
}
