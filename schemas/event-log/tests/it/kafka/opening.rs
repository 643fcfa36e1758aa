//! What is checked before the Kafka log opens, and what it says of a cluster that would lose records.

use std::time::Duration;

use hookline_event_log::{Durability, Log, OpenError, PartitionCounts, Retention};
use rdkafka::admin::{AdminOptions, NewPartitions};

use super::scratch::Scratch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_broker_is_refused_unless_its_page_cache_is_accepted() {
    let Some(mut scratch) = Scratch::new("a_single_broker_is_refused_unless_its_page_cache_is_accepted")
    else {
        return;
    };
    scratch.options.allow_page_cache = false;
    let refused = scratch.try_open().await.expect_err("one replica is no replication");
    assert!(refused.to_string().contains("log.kafka.allow_page_cache"), "{refused}");
    scratch.options.allow_page_cache = true;
    let log = scratch.open().await;
    assert_eq!(log.durability(), Durability::PageCache);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_partition_counts_are_refused() {
    let Some(mut scratch) = Scratch::new("other_partition_counts_are_refused") else { return };
    scratch.open().await.close().await;
    let PartitionCounts { events, lanes } = scratch.options.partitions;
    scratch.options.partitions = PartitionCounts { events: events + 1, lanes };
    let refused = scratch.try_open().await.expect_err("keys would move");
    assert!(matches!(refused, OpenError::PartitionMismatch { name: "events", .. }), "{refused}");
    scratch.options.partitions = PartitionCounts { events, lanes };
    scratch.open().await.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_somebody_added_are_refused_whatever_the_configuration_says() {
    let Some(mut scratch) =
        Scratch::new("partitions_that_somebody_added_are_refused_whatever_the_configuration_says")
    else {
        return;
    };
    scratch.open().await.close().await;
    let more = scratch.options.partitions.events + 1;
    let topic = scratch.topic("events");
    let partitions = NewPartitions::new(&topic, usize::from(more));
    let made = scratch.admin().create_partitions([&partitions], &AdminOptions::new()).await;
    made.expect("partitions can be added");
    for events in [more - 1, more] {
        scratch.options.partitions.events = events;
        let refused = scratch.try_open().await.expect_err("keys have moved");
        assert!(matches!(refused, OpenError::PartitionMismatch { name: "events", .. }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_would_lose_records_are_refused() {
    let Some(mut scratch) = Scratch::new("topics_that_would_lose_records_are_refused") else { return };
    scratch.options.create_topics = false;
    let refused = scratch.try_open().await.expect_err("there are no topics");
    assert!(refused.to_string().contains("log.kafka.create_topics"), "{refused}");
    scratch.options.create_topics = true;
    scratch.options.replication_factor = 2;
    let refused = scratch.try_open().await.expect_err("there is one broker");
    assert!(refused.to_string().contains("log.kafka.replication_factor"), "{refused}");
    scratch.options.replication_factor = 1;
    scratch.open().await.close().await;
    let longer = Duration::from_secs(8 * 24 * 3600);
    scratch.options.retention = Retention { events: longer, ..Retention::default() };
    let refused = scratch.try_open().await.expect_err("records would be deleted before their time");
    assert!(refused.to_string().contains("retention.ms"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_not_there_is_named() {
    let mut scratch = Scratch::at("127.0.0.1:1");
    scratch.options.open_timeout = Duration::from_millis(500);
    let refused = scratch.try_open().await.expect_err("nobody listens there");
    assert!(
        matches!(&refused, OpenError::Unreachable { servers, .. } if servers == "127.0.0.1:1"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_a_promise_rests_on_are_refused() {
    let mut scratch = Scratch::at("127.0.0.1:1");
    scratch.options.properties.0.insert("acks".to_owned(), "1".to_owned());
    let refused = scratch.try_open().await.expect_err("one replica is not all");
    assert!(matches!(&refused, OpenError::Settings { reason } if reason.contains("acks")), "{refused}");
    let mut scratch = Scratch::at("127.0.0.1:1");
    scratch.options.properties.0.insert("no.such.property".to_owned(), "1".to_owned());
    let refused = scratch.try_open().await.expect_err("librdkafka knows no such property");
    assert!(refused.to_string().contains("no.such.property"), "{refused}");
}
