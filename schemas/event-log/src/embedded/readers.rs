//! The reader threads: a snapshot blocks its thread on a cold page, so it is not taken on the runtime.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::environment::{Environment, EnvironmentName};
use super::query::{self, Changes, Found, Stretch};
use crate::{Bounds, JournalName, Partition, ReadError, TableName};

/// How many snapshots are taken at a time.
const THREADS: usize = 2;
/// The most requests that wait for a thread; whoever comes then waits to ask.
const REQUESTS: usize = 256;

/// The environments that are read.
#[derive(Debug)]
pub(super) struct Environments {
    pub(super) log: Arc<Environment>,
    pub(super) attempts: Arc<Environment>,
}

impl Environments {
    fn of_journal(&self, journal: JournalName) -> &Environment {
        match EnvironmentName::of_journal(journal) {
            EnvironmentName::Log => &self.log,
            EnvironmentName::Attempts => &self.attempts,
        }
    }
}

type Reply<T> = oneshot::Sender<Result<T, ReadError>>;

enum Request {
    Stretch(Stretch, Reply<Found>),
    Bounds(JournalName, Partition, Reply<Bounds>),
    Changes(TableName, Partition, u64, Reply<Changes>),
    Close,
}

/// Where to ask for a read. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ReadQueue {
    requests: mpsc::Sender<Request>,
}

/// Starts the threads.
pub(super) fn start(environments: Arc<Environments>) -> std::io::Result<(ReadQueue, Vec<JoinHandle<()>>)> {
    let (sender, receiver) = mpsc::channel(REQUESTS);
    let requests = Arc::new(Mutex::new(receiver));
    let mut threads = Vec::with_capacity(THREADS);
    for number in 0..THREADS {
        let requests = Arc::clone(&requests);
        let environments = Arc::clone(&environments);
        let builder = std::thread::Builder::new().name(format!("log-reader-{number}"));
        threads.push(builder.spawn(move || serve(&requests, &environments))?);
    }
    Ok((ReadQueue { requests: sender }, threads))
}

fn serve(requests: &Mutex<mpsc::Receiver<Request>>, environments: &Environments) {
    loop {
        // Whoever has stopped waiting for the reply has dropped the other half: that is no error.
        match next(requests) {
            Some(Request::Stretch(asked, reply)) => {
                let _ = reply.send(query::stretch(environments.of_journal(asked.journal), &asked));
            }
            Some(Request::Bounds(journal, partition, reply)) => {
                let _ = reply.send(query::bounds(environments.of_journal(journal), journal, partition));
            }
            Some(Request::Changes(table, partition, from, reply)) => {
                let _ = reply.send(query::changes(&environments.log, table, partition, from));
            }
            Some(Request::Close) | None => return,
        }
    }
}

/// One thread waits for the next request, with the lock; the others wait for the lock.
fn next(requests: &Mutex<mpsc::Receiver<Request>>) -> Option<Request> {
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    let next = requests.blocking_recv();
    if matches!(next, Some(Request::Close)) {
        // Still under the lock: the thread behind it answers what was asked before, and ends.
        requests.close();
    }
    next
}

impl ReadQueue {
    /// Reads a stretch of a journal.
    pub(super) async fn stretch(&self, asked: Stretch) -> Result<Found, ReadError> {
        self.ask(|reply| Request::Stretch(asked, reply)).await
    }

    /// Reads the bounds of a partition.
    pub(super) async fn bounds(
        &self,
        journal: JournalName,
        partition: Partition,
    ) -> Result<Bounds, ReadError> {
        self.ask(|reply| Request::Bounds(journal, partition, reply)).await
    }

    /// Reads the changes of a partition of a table.
    pub(super) async fn changes(
        &self,
        table: TableName,
        partition: Partition,
        from: u64,
    ) -> Result<Changes, ReadError> {
        self.ask(|reply| Request::Changes(table, partition, from, reply)).await
    }

    /// Lets the threads end once they have answered what was asked.
    pub(super) async fn close(&self) {
        // An error means that they have ended already.
        let _ = self.requests.send(Request::Close).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| ReadError::Closed)?;
        answer.await.map_err(|_| ReadError::Closed)?
    }
}
