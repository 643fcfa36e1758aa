//! The log against a naive model: a vector per partition.

use bytes::Bytes;
use hookline_event_log::{Journal, JournalName, Log, Offset, Partition, ReadLimit};
use proptest::prelude::*;

use crate::scratch::Scratch;

#[derive(Debug, Clone)]
enum Step {
    Append { partition: u16, key: u8, length: usize },
    Read { partition: u16, from: prop::sample::Index, key: Option<u8>, records: usize, bytes: usize },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u16..2, 0_u8..3, 0_usize..6000)
            .prop_map(|(partition, key, length)| Step::Append { partition, key, length }),
        4 => (0_u16..2, any::<prop::sample::Index>(), proptest::option::of(0_u8..3), 1_usize..10, 1_usize..20_000)
            .prop_map(|(partition, from, key, records, bytes)| Step::Read { partition, from, key, records, bytes }),
        1 => Just(Step::Reopen),
    ]
}

/// What a partition holds: offset, key and value.
type Model = Vec<(Offset, u8, Bytes)>;

/// What a read returns, by the words of the port.
fn expected(model: &Model, from: Offset, key: Option<u8>, limit: ReadLimit) -> Model {
    let matching =
        model.iter().filter(|(offset, stored, _)| *offset >= from && key.is_none_or(|key| key == *stored));
    let (mut found, mut bytes) = (Model::new(), 0);
    for record in matching.take(limit.records) {
        bytes += 1 + record.2.len();
        if !found.is_empty() && bytes > limit.bytes {
            break;
        }
        found.push(record.clone());
    }
    found
}

async fn run(journal_name: JournalName, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let scratch = Scratch::new();
    let mut log = scratch.open();
    let mut models = [Model::new(), Model::new()];
    for step in steps {
        let journal = log.journal(journal_name);
        match step {
            Step::Append { partition, key, length } => {
                let value = Bytes::from(vec![key; length]);
                let appending =
                    journal.append(Partition(partition), Bytes::from(vec![key]), value.clone()).await;
                let offset = appending.expect("accepted").await.expect("acknowledged");
                let model = models.get_mut(usize::from(partition)).expect("one of two");
                prop_assert!(model.last().is_none_or(|(last, _, _)| *last < offset));
                model.push((offset, key, value));
            }
            Step::Read { partition, from, key, records, bytes } => {
                let model = models.get(usize::from(partition)).expect("one of two");
                let from = Offset(from.index(model.len() + 2) as u64);
                let limit = ReadLimit { records, bytes };
                let filter = key.map(|key| Bytes::from(vec![key]));
                let batch = journal.read(Partition(partition), from, filter, limit).await.expect("readable");
                let found: Model = batch
                    .records
                    .iter()
                    .map(|record| {
                        (record.offset, record.key.first().copied().unwrap_or(u8::MAX), record.value.clone())
                    })
                    .collect();
                let wanted = expected(model, from, key, limit);
                prop_assert_eq!(&found, &wanted);
                prop_assert!(batch.next >= from);
                let skipped = model.iter().filter(|(offset, stored, _)| {
                    *offset >= from && *offset < batch.next && key.is_none_or(|key| key == *stored)
                });
                prop_assert_eq!(skipped.count(), wanted.len(), "nothing that matches is skipped");
            }
            Step::Reopen => {
                log.close().await;
                log = scratch.open();
            }
        }
    }
    log.close().await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn random_appends_reads_and_restarts_agree_with_a_vector(
        steps in proptest::collection::vec(step(), 1..60), indexed: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let journal = if indexed { JournalName::Parked } else { JournalName::Events };
        runtime.expect("a runtime").block_on(run(journal, steps))?;
    }
}
