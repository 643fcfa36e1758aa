//! What others write into the topic of a table, without a client of ours.

use std::time::Duration;

use bytes::Bytes;
use hookline_event_log::{Change, Entry, Epoch, Log, Partition, Table, TableName, TableWatch};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::scratch::Scratch;

/// A client as the documentation shows it.
const WRITTEN: &[u8] = br#"{"blocked": false}"#;

const PATIENCE: Duration = Duration::from_secs(30);

async fn next<W: TableWatch>(watch: &mut W) -> Entry {
    loop {
        let change = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time");
        if let Change::Entry(entry) = change.expect("the table can be read") {
            return entry;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_the_platform_writes_itself_is_read_like_any_other() {
    let Some(scratch) = Scratch::new("a_client_that_the_platform_writes_itself_is_read_like_any_other")
    else {
        return;
    };
    let log = scratch.open().await;
    let mut watch = log.table(TableName::Clients).watch(&[Partition(0)]);
    let servers = scratch.options.bootstrap_servers.join(",");
    let topic = scratch.topic("clients");
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", servers).create().expect("a producer");
    for value in [Some(WRITTEN), None] {
        let record = BaseRecord::<[u8], [u8]>::to(&topic).key(b"sixteen bytes ..");
        let record = value.into_iter().fold(record, BaseRecord::payload);
        producer.send(record).map_err(|(error, _)| error).expect("queued");
        producer.flush(PATIENCE).expect("written");
        let entry = next(&mut watch).await;
        assert_eq!((&entry.key[..], entry.epoch), (&b"sixteen bytes .."[..], Epoch(0)));
        assert_eq!(entry.value, value.map(Bytes::from_static));
    }
    log.close().await;
}
