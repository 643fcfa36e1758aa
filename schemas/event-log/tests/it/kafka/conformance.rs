//! The conformance suite against Kafka.

use hookline_event_log::conformance::Harness;
use hookline_event_log::kafka::KafkaLog;
use hookline_event_log::{Journal, JournalName, Log, Offset, Partition};
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;

use super::scratch::Scratch;

struct Kafka(Scratch);

impl Harness for Kafka {
    type Log = KafkaLog;

    async fn open(&mut self) -> KafkaLog {
        self.0.open().await
    }

    async fn reopen(&mut self, log: KafkaLog) -> KafkaLog {
        log.close().await;
        self.0.open().await
    }

    /// What retention does once a segment is old enough, without waiting for it.
    async fn expire(&mut self, log: &KafkaLog, partition: Partition, below: Offset) {
        let mut offsets = TopicPartitionList::new();
        let below = i64::try_from(below.0).expect("an offset of Kafka");
        offsets
            .add_partition_offset(
                &self.0.topic("events"),
                i32::from(partition.0),
                rdkafka::Offset::Offset(below),
            )
            .expect("a partition");
        let deleted = self.0.admin().delete_records(&offsets, &AdminOptions::new()).await;
        deleted.expect("records can be deleted");
        let bounds = log.journal(JournalName::Events).bounds(partition).await.expect("bounds can be read");
        assert_eq!(i64::try_from(bounds.first.0), Ok(below));
    }
}

hookline_event_log::conformance_suite!(|case| Scratch::new(case).map(Kafka));
