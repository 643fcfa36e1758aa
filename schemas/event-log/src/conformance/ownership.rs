//! What every ownership keeps.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Harness, MOMENT, within};
use crate::{
    CommitError, Committed, Epoch, Journal, JournalName, Log, Offset, Owned, Ownership, OwnershipChange,
    Partition,
};

const FIRST: Partition = Partition(0);
const SECOND: Partition = Partition(1);

type Grants = BTreeMap<Partition, (Epoch, Option<Committed>)>;

/// Takes every partition of `events`.
async fn take<L: Log>(log: &L) -> (L::Ownership, Grants) {
    let mut ownership = log.ownership(JournalName::Events);
    let partitions = usize::from(log.journal(JournalName::Events).partitions());
    let mut grants = Grants::new();
    while grants.len() < partitions {
        match within("a grant", ownership.next()).await {
            OwnershipChange::Granted { partition, epoch, committed } => {
                let before = grants.insert(partition, (epoch, committed));
                assert_eq!(before, None, "{partition:?} is granted once");
            }
            change => panic!("nobody else wants a partition, but {change:?}"),
        }
    }
    (ownership, grants)
}

fn epoch(grants: &Grants, partition: Partition) -> Epoch {
    grants.get(&partition).map(|(epoch, _)| *epoch).expect("every partition was granted")
}

fn committed(grants: &Grants, partition: Partition) -> Option<Committed> {
    grants.get(&partition).and_then(|(_, committed)| committed.clone())
}

async fn commit<O: Ownership>(
    ownership: &O,
    partition: Partition,
    epoch: Epoch,
    offset: u64,
    words: &str,
) -> Result<(), CommitError> {
    let metadata = Bytes::from(words.to_owned());
    within("a commit", ownership.commit(partition, epoch, Offset(offset), metadata)).await
}

/// Alone, one gets everything once; in the next life under greater epochs.
pub async fn every_partition_is_granted_once_with_a_greater_epoch_in_each_life<H: Harness>(harness: &mut H) {
    let mut log = harness.open().await;
    let mut before: Option<Grants> = None;
    for _ in 0..3 {
        let (mut ownership, grants) = take(&log).await;
        let idle = tokio::time::timeout(MOMENT, ownership.next()).await;
        assert!(idle.is_err(), "nothing changes: {idle:?}");
        for partition in grants.keys() {
            assert_eq!(committed(&grants, *partition), None, "nothing was committed");
            if let Some(before) = &before {
                assert!(epoch(&grants, *partition) > epoch(before, *partition), "epochs grow");
            }
        }
        before = Some(grants);
        drop(ownership);
        log = harness.reopen(log).await;
    }
}

/// What was committed is what the next owner begins with.
pub async fn a_commit_is_returned_by_the_next_life<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let (ownership, grants) = take(&log).await;
    let words = "x".repeat(1024);
    for (offset, words) in [(5, "early"), (9, words.as_str())] {
        let done = commit(&ownership, FIRST, epoch(&grants, FIRST), offset, words).await;
        assert_eq!(done, Ok(()), "an owner commits");
    }
    drop(ownership);
    let log = harness.reopen(log).await;
    let (_, grants) = take(&log).await;
    let latest = Committed { offset: Offset(9), metadata: Bytes::from(words) };
    assert_eq!(committed(&grants, FIRST), Some(latest), "the latest commit is granted");
    assert_eq!(committed(&grants, SECOND), None, "and nothing where nothing was committed");
}

/// Whoever was deposed commits no more, and what the new owner has is not changed by him.
pub async fn a_commit_under_an_old_epoch_is_fenced<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let (ownership, old) = take(&log).await;
    assert_eq!(commit(&ownership, FIRST, epoch(&old, FIRST), 5, "old").await, Ok(()));
    drop(ownership);
    let log = harness.reopen(log).await;
    let (ownership, new) = take(&log).await;
    let fenced = commit(&ownership, FIRST, epoch(&old, FIRST), 100, "late").await;
    assert_eq!(fenced, Err(CommitError::Fenced), "before the new owner has committed");
    assert_eq!(commit(&ownership, FIRST, epoch(&new, FIRST), 7, "new").await, Ok(()));
    let fenced = commit(&ownership, FIRST, epoch(&old, FIRST), 100, "late").await;
    assert_eq!(fenced, Err(CommitError::Fenced), "and after");
    drop(ownership);
    let log = harness.reopen(log).await;
    let (_, grants) = take(&log).await;
    let latest = Committed { offset: Offset(7), metadata: Bytes::from_static(b"new") };
    assert_eq!(committed(&grants, FIRST), Some(latest), "the fenced commit has changed nothing");
}

/// Of commits that overtake each other any may be the last, but nothing above all of them.
pub async fn a_late_commit_may_rewind_and_never_skips<H: Harness>(harness: &mut H) {
    let log = harness.open().await;
    let (ownership, grants) = take(&log).await;
    let epoch = epoch(&grants, FIRST);
    let (later, earlier) = tokio::join!(
        commit(&ownership, FIRST, epoch, 10, "ten"),
        commit(&ownership, FIRST, epoch, 5, "five"),
    );
    assert!(later.is_ok(), "an owner commits: {later:?}");
    assert!(
        earlier.is_ok() || earlier == Err(CommitError::Retry),
        "a late commit is kept or not: {earlier:?}"
    );
    drop(ownership);
    let log = harness.reopen(log).await;
    let (_, grants) = take(&log).await;
    let found = committed(&grants, FIRST).map(|committed| (committed.offset.0, committed.metadata));
    let allowed = [(10, Bytes::from_static(b"ten")), (5, Bytes::from_static(b"five"))];
    assert!(found.as_ref().is_some_and(|found| allowed.contains(found)), "one of the commits, not {found:?}");
}

/// `control` has one writer, told apart from those before by his epoch.
pub async fn one_alone_writes_control_with_a_greater_epoch_in_each_life<H: Harness>(harness: &mut H) {
    let mut log = harness.open().await;
    let mut before = Epoch(0);
    for _ in 0..2 {
        let mut ownership = log.ownership(Owned::Control);
        let granted = within("a grant", ownership.next()).await;
        let OwnershipChange::Granted { partition, epoch, committed } = granted else {
            panic!("nobody else wants it, but {granted:?}")
        };
        assert_eq!((partition, committed), (FIRST, None));
        assert!(epoch > before, "{epoch:?} after {before:?}");
        before = epoch;
        let idle = tokio::time::timeout(MOMENT, ownership.next()).await;
        assert!(idle.is_err(), "nothing changes: {idle:?}");
        drop(ownership);
        log = harness.reopen(log).await;
    }
}
