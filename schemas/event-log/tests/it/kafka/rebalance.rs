//! Partitions that move between processes: here two logs in one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::kafka::{KafkaLog, KafkaOwnership};
use hookline_event_log::{
    CommitError, Committed, Epoch, JournalName, Log, Offset, Ownership, OwnershipChange, Partition,
};

use super::scratch::Scratch;

const PATIENCE: Duration = Duration::from_secs(30);

async fn next(ownership: &mut KafkaOwnership) -> OwnershipChange {
    tokio::time::timeout(PATIENCE, ownership.next()).await.expect("a change of ownership")
}

type Grants = BTreeMap<Partition, (Epoch, Option<Committed>)>;

async fn granted(ownership: &mut KafkaOwnership, count: usize) -> Grants {
    let mut grants = Grants::new();
    while grants.len() < count {
        match next(ownership).await {
            OwnershipChange::Granted { partition, epoch, committed } => {
                grants.insert(partition, (epoch, committed));
            }
            change => panic!("a grant, not {change:?}"),
        }
    }
    grants
}

/// One owner has both partitions and has committed in each; then a second one joins.
async fn two_owners(scratch: &Scratch) -> (KafkaLog, KafkaOwnership, Grants, KafkaLog, KafkaOwnership) {
    let first_log = scratch.open().await;
    let mut first = first_log.ownership(JournalName::Events);
    let grants = granted(&mut first, 2).await;
    for (partition, (epoch, _)) in &grants {
        let metadata = Bytes::from(format!("totals of {}", partition.0));
        let committed = first.commit(*partition, *epoch, Offset(5), metadata).await;
        assert_eq!(committed, Ok(()), "an owner commits");
    }
    let second_log = scratch.open().await;
    let second = second_log.ownership(JournalName::Events);
    (first_log, first, grants, second_log, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_moves_once_its_owner_has_let_go() {
    let Some(mut scratch) = Scratch::new("a_partition_moves_once_its_owner_has_let_go") else { return };
    // Longer than the test waits: only letting go can hand it over.
    scratch.options.drain_timeout = PATIENCE * 2;
    let (first_log, mut first, grants, second_log, mut second) = two_owners(&scratch).await;
    let OwnershipChange::Revoking { partition } = next(&mut first).await else {
        panic!("one of two partitions goes to the second member");
    };
    let (epoch, _) = grants.get(&partition).cloned().expect("it was granted");
    let early = tokio::time::timeout(Duration::from_millis(500), second.next()).await;
    assert!(early.is_err(), "nobody has it before it is let go of: {early:?}");
    let last = first.commit(partition, epoch, Offset(9), Bytes::from_static(b"last words")).await;
    assert_eq!(last, Ok(()), "the owner still commits while it is revoked");
    first.let_go(partition, epoch);

    let moved = granted(&mut second, 1).await;
    let (new_epoch, committed) = moved.get(&partition).cloned().expect("the partition that was let go of");
    assert!(new_epoch > epoch, "{new_epoch:?} is above {epoch:?}");
    let words = Bytes::from_static(b"last words");
    assert_eq!(committed, Some(Committed { offset: Offset(9), metadata: words }), "the last commit is found");
    let late = first.commit(partition, epoch, Offset(100), Bytes::new()).await;
    assert_eq!(late, Err(CommitError::Fenced), "the old owner commits no more");
    let other = Partition(1 - partition.0);
    let (epoch, _) = grants.get(&other).cloned().expect("it was granted");
    assert_eq!(first.commit(other, epoch, Offset(6), Bytes::new()).await, Ok(()), "what stayed is committed");

    // The second one leaves: the partition comes back, under a greater epoch.
    drop(second);
    second_log.close().await;
    let back = granted(&mut first, 1).await;
    let (epoch, committed) = back.get(&partition).cloned().expect("the partition that was let go of");
    assert!(epoch > new_epoch, "{epoch:?} is above {new_epoch:?}");
    assert_eq!(committed.map(|committed| committed.offset), Some(Offset(9)), "its position is unchanged");
    drop(first);
    first_log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_does_not_let_go_loses_the_partition() {
    let Some(scratch) = Scratch::new("an_owner_that_does_not_let_go_loses_the_partition") else { return };
    let (first_log, mut first, grants, second_log, mut second) = two_owners(&scratch).await;
    let OwnershipChange::Revoking { partition } = next(&mut first).await else {
        panic!("one of two partitions goes to the second member");
    };
    assert_eq!(next(&mut first).await, OwnershipChange::Lost { partition }, "after the drain's time-out");
    let (epoch, _) = grants.get(&partition).cloned().expect("it was granted");
    let late = first.commit(partition, epoch, Offset(100), Bytes::new()).await;
    assert_eq!(late, Err(CommitError::Fenced), "the old owner commits no more");
    let moved = granted(&mut second, 1).await;
    let (_, committed) = moved.get(&partition).cloned().expect("the partition that was lost");
    assert_eq!(committed.map(|committed| committed.offset), Some(Offset(5)), "the last commit is found");
    drop((first, second));
    first_log.close().await;
    second_log.close().await;
}
