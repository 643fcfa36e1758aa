//! A group over one log: gives each member its partitions, moves them, and takes them away. What is committed
//! stays in memory.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hookline_event_log::embedded::EmbeddedLog;
use hookline_event_log::{
    CommitError, Committed, Durability, Epoch, JournalName, Log, LogFailure, Offset, Owned, Ownership,
    OwnershipChange, Partition, TableName,
};
use tokio::sync::mpsc;

pub(crate) type Key = (JournalName, Partition);

#[derive(Debug, Default)]
struct State {
    epochs: u64,
    owners: HashMap<Key, (usize, Epoch)>,
    /// Who waits for a partition to be let go.
    next: HashMap<Key, usize>,
    committed: HashMap<Key, Committed>,
    members: HashMap<(usize, JournalName), mpsc::Sender<OwnershipChange>>,
}

/// Who owns what.
#[derive(Debug, Default)]
pub(crate) struct Group(Mutex<State>);

impl Group {
    pub(crate) fn owner(&self, key: Key) -> Option<usize> {
        self.0.lock().expect("a lock").owners.get(&key).map(|(owner, _)| *owner)
    }

    pub(crate) fn committed(&self, key: Key) -> Offset {
        let state = self.0.lock().expect("a lock");
        state.committed.get(&key).map_or(Offset::START, |committed| committed.offset)
    }

    /// Gives a partition to a member; a former owner is not told.
    pub(crate) fn assign(&self, key: Key, member: usize) {
        self.0.lock().expect("a lock").assign(key, member);
    }

    /// Asks the owner for a partition; the member gets it once it is let go.
    pub(crate) fn move_to(&self, key: Key, member: usize) {
        let mut state = self.0.lock().expect("a lock");
        let (owner, _) = state.owners.get(&key).copied().expect("an owner");
        state.next.insert(key, member);
        state.tell(owner, key.0, OwnershipChange::Revoking { partition: key.1 });
    }

    /// The member gets a partition once it is let go, which its owner is not asked for.
    pub(crate) fn wait_for(&self, key: Key, member: usize) {
        self.0.lock().expect("a lock").next.insert(key, member);
    }

    /// Tells a member that it has lost a partition.
    pub(crate) fn tell_lost(&self, key: Key, member: usize) {
        self.0.lock().expect("a lock").tell(member, key.0, OwnershipChange::Lost { partition: key.1 });
    }
}

impl State {
    fn assign(&mut self, key: Key, member: usize) {
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        self.owners.insert(key, (member, epoch));
        let committed = self.committed.get(&key).cloned();
        self.tell(member, key.0, OwnershipChange::Granted { partition: key.1, epoch, committed });
    }

    fn tell(&self, member: usize, journal: JournalName, change: OwnershipChange) {
        let member = self.members.get(&(member, journal)).expect("a member");
        member.try_send(change).expect("room");
    }
}

/// The log as one member sees it.
#[derive(Debug, Clone)]
pub(crate) struct MemberLog {
    pub(crate) log: EmbeddedLog,
    pub(crate) group: Arc<Group>,
    pub(crate) member: usize,
}

impl Log for MemberLog {
    type Journal = <EmbeddedLog as Log>::Journal;
    type Table = <EmbeddedLog as Log>::Table;
    type Ownership = Membership;

    fn journal(&self, name: JournalName) -> Self::Journal {
        self.log.journal(name)
    }

    fn table(&self, name: TableName) -> Self::Table {
        self.log.table(name)
    }

    fn ownership(&self, of: impl Into<Owned>) -> Membership {
        let Owned::Journal(name) = of.into() else { panic!("a dispatcher writes no `control`") };
        let (tell, changes) = mpsc::channel(64);
        self.group.0.lock().expect("a lock").members.insert((self.member, name), tell);
        Membership { journal: name, changes, group: Arc::clone(&self.group) }
    }

    fn durability(&self) -> Durability {
        self.log.durability()
    }

    async fn failed(&self) -> LogFailure {
        self.log.failed().await
    }
}

/// What one member owns of a journal.
#[derive(Debug)]
pub(crate) struct Membership {
    journal: JournalName,
    changes: mpsc::Receiver<OwnershipChange>,
    group: Arc<Group>,
}

impl Ownership for Membership {
    async fn next(&mut self) -> OwnershipChange {
        match self.changes.recv().await {
            Some(change) => change,
            None => pending().await,
        }
    }

    fn commit(
        &self,
        partition: Partition,
        epoch: Epoch,
        offset: Offset,
        metadata: Bytes,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + 'static {
        let (key, group) = ((self.journal, partition), Arc::clone(&self.group));
        async move {
            let mut state = group.0.lock().expect("a lock");
            if state.owners.get(&key).is_none_or(|(_, current)| *current != epoch) {
                return Err(CommitError::Fenced);
            }
            state.committed.insert(key, Committed { offset, metadata });
            Ok(())
        }
    }

    fn let_go(&self, partition: Partition, epoch: Epoch) {
        let key = (self.journal, partition);
        let mut state = self.group.0.lock().expect("a lock");
        if state.owners.get(&key).is_some_and(|(_, current)| *current == epoch)
            && let Some(next) = state.next.remove(&key)
        {
            state.assign(key, next);
        }
    }
}
