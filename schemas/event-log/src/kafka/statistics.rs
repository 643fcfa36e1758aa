//! What librdkafka tells of its clients every few seconds, as far as anybody wants to know. Whatever else it tells is
//! passed over unread: it is a lot, and it comes on the threads that hear of acknowledgements.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use ::metrics::{Gauge, gauge};
use serde::Deserialize;

use crate::metrics;

/// How often they come.
pub(super) const INTERVAL_MILLISECONDS: &str = "5000";

/// Where a partition stands that is being read.
const ACTIVE: &str = "active";

#[derive(Debug, Deserialize)]
struct OfProducer {
    /// Records in its queues and in flight.
    msg_cnt: i64,
    brokers: HashMap<String, Broker>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    /// Negative: an address from the configuration, not a broker of the cluster.
    nodeid: i64,
    rtt: Option<Window>,
}

/// Over the interval, in microseconds.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Window {
    avg: i64,
    cnt: i64,
}

#[derive(Debug, Deserialize)]
struct OfConsumer {
    topics: HashMap<String, Topic>,
}

#[derive(Debug, Deserialize)]
struct Topic {
    partitions: HashMap<String, Read>,
}

#[derive(Debug, Deserialize)]
struct Read {
    fetch_state: String,
    /// The next one for the application; negative, where there is none yet.
    app_offset: i64,
    /// The next one to fetch.
    #[serde(default)]
    next_offset: Option<i64>,
    hi_offset: i64,
}

/// What the producers tell, each its part.
#[derive(Debug)]
pub(super) struct ProducerFigures<const SHARDS: usize> {
    queued: [AtomicI64; SHARDS],
    queue_records: Gauge,
    /// What each producer has heard of each broker in its last interval.
    round_trips: Mutex<BTreeMap<i64, [Window; SHARDS]>>,
}

impl<const SHARDS: usize> ProducerFigures<SHARDS> {
    pub(super) fn new() -> Self {
        let queue_records = gauge!(metrics::KAFKA_QUEUE_RECORDS);
        let queued = std::array::from_fn(|_| AtomicI64::new(0));
        Self { queued, queue_records, round_trips: Mutex::default() }
    }

    /// Takes what a producer tells.
    #[expect(clippy::cast_precision_loss, reason = "gauges; 52 bits are enough")]
    pub(super) fn take(&self, shard: usize, told: &[u8]) {
        let Some(OfProducer { msg_cnt, brokers }) = read(told) else { return };
        if let Some(queued) = self.queued.get(shard) {
            queued.store(msg_cnt, Ordering::Relaxed);
        }
        let queued: i64 = self.queued.iter().map(|queued| queued.load(Ordering::Relaxed)).sum();
        self.queue_records.set(queued as f64);
        self.take_round_trips(shard, brokers.into_values());
    }

    /// Over both producers. A broker that neither has heard of in its last interval has no round trip: not the last one.
    fn take_round_trips(&self, shard: usize, brokers: impl Iterator<Item = Broker>) {
        // Nothing between lock and unlock can be left half-done.
        let mut all = self.round_trips.lock().unwrap_or_else(PoisonError::into_inner);
        all.values_mut().filter_map(|of| of.get_mut(shard)).for_each(|window| *window = Window::default());
        for broker in brokers.filter(|broker| broker.nodeid >= 0) {
            let Some(window) = broker.rtt.filter(|window| window.cnt > 0) else { continue };
            let of = all.entry(broker.nodeid).or_insert([Window::default(); SHARDS]);
            of.get_mut(shard).into_iter().for_each(|slot| *slot = window);
        }
        for (broker, of) in &*all {
            gauge!(metrics::KAFKA_ROUND_TRIP_SECONDS, "broker" => broker.to_string()).set(mean_seconds(of));
        }
    }
}

/// Not a number, where there was none.
#[expect(clippy::cast_precision_loss, reason = "a gauge; 52 bits are enough")]
fn mean_seconds(windows: &[Window]) -> f64 {
    let count: i64 = windows.iter().map(|window| window.cnt).sum();
    let microseconds: i64 = windows.iter().map(|window| window.avg.saturating_mul(window.cnt)).sum();
    if count == 0 { f64::NAN } else { microseconds as f64 / count as f64 / 1e6 }
}

/// What readers have not read yet, by topic; a topic may be read by several consumers.
#[derive(Debug)]
pub(super) struct ReaderLag {
    prefix: String,
    consumers: Mutex<HashMap<usize, BTreeMap<String, i64>>>,
}

impl ReaderLag {
    /// Of topics that begin with this prefix.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), consumers: Mutex::default() }
    }

    /// Takes what a consumer tells.
    #[expect(clippy::cast_precision_loss, reason = "a gauge; 52 bits are enough")]
    pub(super) fn take(&self, consumer: usize, told: &[u8]) {
        for (topic, lag) in self.lags(consumer, told) {
            let journal = topic.strip_prefix(&self.prefix).unwrap_or(&topic).to_owned();
            gauge!(metrics::KAFKA_READER_LAG_RECORDS, "journal" => journal).set(lag as f64);
        }
    }

    /// The lag over all consumers of each topic that this one reads, or has read until now.
    fn lags(&self, consumer: usize, told: &[u8]) -> Vec<(String, i64)> {
        let Some(OfConsumer { topics }) = read(told) else { return Vec::new() };
        let now = topics.into_iter().map(|(name, topic)| {
            let lag = topic.partitions.values().filter_map(Read::lag).sum();
            (name, lag)
        });
        // Nothing between lock and unlock can be left half-done.
        let mut consumers = self.consumers.lock().unwrap_or_else(PoisonError::into_inner);
        let own = consumers.entry(consumer).or_default();
        own.values_mut().for_each(|lag| *lag = 0);
        own.extend(now);
        let names: Vec<String> = own.keys().cloned().collect();
        let in_all = |name: &String| consumers.values().filter_map(|topics| topics.get(name)).sum();
        names.into_iter().map(|name| (in_all(&name), name)).map(|(lag, name)| (name, lag)).collect()
    }
}

impl Read {
    /// None, where nothing is read. Until the application has its first record, what was fetched for it is passed over.
    fn lag(&self) -> Option<i64> {
        let at =
            [Some(self.app_offset), self.next_offset].into_iter().flatten().find(|offset| *offset >= 0)?;
        let is_read = self.fetch_state == ACTIVE && self.hi_offset >= 0;
        is_read.then(|| self.hi_offset.saturating_sub(at).max(0))
    }
}

fn read<'a, T: Deserialize<'a>>(told: &'a [u8]) -> Option<T> {
    let unreadable = |error: &serde_json::Error| tracing::debug!(%error, "librdkafka's statistics");
    serde_json::from_slice(told).inspect_err(unreadable).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hookline_schemas::time::Clock;
    use rdkafka::config::ClientConfig;
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::kafka::followers::{Fed, Followers};
    use crate::kafka::producers::{Outgoing, Producers};
    use crate::kafka::topics::Topic;
    use crate::{Offset, Partition};

    /// The state of a partition, the position of the reader and the end.
    type Told<'a> = (&'a str, i64, i64);

    /// As librdkafka tells of topics and their partitions.
    fn told(topics: &[(&str, &[Told<'_>])]) -> Vec<u8> {
        let topics = topics.iter().map(|(name, partitions)| {
            let partitions = partitions.iter().enumerate().map(|(number, (state, at, end))| {
                format!(r#""{number}":{{"fetch_state":"{state}","app_offset":{at},"hi_offset":{end},"x":1}}"#)
            });
            format!(
                r#""{name}":{{"topic":"{name}","partitions":{{{}}}}}"#,
                partitions.collect::<Vec<_>>().join(",")
            )
        });
        format!(r#"{{"name":"a","topics":{{{}}}}}"#, topics.collect::<Vec<_>>().join(",")).into_bytes()
    }

    #[test]
    fn lag_is_what_is_being_read_and_not_read_yet_over_all_consumers() {
        let lag = ReaderLag::new("hookline.");
        let events = told(&[(
            "hookline.events",
            &[("active", 3, 10), ("none", 0, 100), ("active", -1001, 50), ("active", 5, 5)],
        )]);
        let of = |name: &str, lag: i64| vec![(format!("hookline.{name}"), lag)];
        assert_eq!(lag.lags(0, &events), of("events", 7));
        assert_eq!(lag.lags(1, &told(&[("hookline.events", &[("active", 8, 10)])])), of("events", 9));
        assert_eq!(lag.lags(0, &told(&[])), of("events", 2), "let go of");
        assert_eq!(lag.lags(0, b"{"), vec![]);
    }

    #[test]
    fn before_its_first_record_a_reader_is_as_far_as_it_fetches() {
        for (app_offset, next_offset, expected) in [
            (-1001, Some(20), Some(30)),
            (-1001, Some(-1001), None),
            (-1001, None, None),
            (45, Some(50), Some(5)),
        ] {
            let read = Read { fetch_state: ACTIVE.to_owned(), app_offset, next_offset, hi_offset: 50 };
            assert_eq!(read.lag(), expected, "{read:?}");
        }
    }

    #[test]
    fn a_producer_tells_its_queue_and_its_brokers() {
        let told = br#"{"name":"a","msg_cnt":7,"brokers":{
            "x:9092/bootstrap":{"nodeid":-1,"rtt":{"avg":9,"cnt":1}},
            "x:9092/1":{"nodeid":1,"state":"UP","rtt":{"min":1,"avg":2500,"cnt":3}},
            "x:9093/2":{"nodeid":2,"rtt":{"avg":0,"cnt":0}}},"topics":{}}"#;
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        ::metrics::with_local_recorder(&recorder, || {
            let figures = ProducerFigures::<2>::new();
            figures.take(0, told);
            figures.take(1, br#"{"msg_cnt":5,"brokers":{}}"#);
        });
        let page = recorder.handle().render();
        assert!(page.contains("hookline_log_kafka_queue_records 12\n"), "{page}");
        assert!(page.contains("hookline_log_kafka_round_trip_seconds{broker=\"1\"} 0.0025\n"), "{page}");
        assert_eq!(page.matches("round_trip_seconds{").count(), 1, "nobody asked the others: {page}");
    }

    #[test]
    fn a_round_trip_is_of_the_last_interval_of_all_producers() {
        let told = |average: i64, count: i64| {
            let rtt = format!(r#"{{"avg":{average},"cnt":{count}}}"#);
            format!(r#"{{"msg_cnt":0,"brokers":{{"x/1":{{"nodeid":1,"rtt":{rtt}}}}}}}"#).into_bytes()
        };
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let figures = ::metrics::with_local_recorder(&recorder, ProducerFigures::<2>::new);
        for (shard, told, expected) in [
            (0, told(2_000, 3), "0.002"),
            (1, told(6_000, 1), "0.003"),
            (0, told(0, 0), "0.006"),
            (1, br#"{"msg_cnt":0,"brokers":{}}"#.to_vec(), "NaN"),
        ] {
            ::metrics::with_local_recorder(&recorder, || figures.take(shard, &told));
            let page = recorder.handle().render();
            let line = format!("hookline_log_kafka_round_trip_seconds{{broker=\"1\"}} {expected}\n");
            assert!(page.contains(&line), "{line} in {page}");
        }
    }

    async fn eventually(what: &str, is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "waited for: {what}");
    }

    #[tokio::test]
    async fn librdkafka_tells_its_queue_and_how_far_its_readers_are_as_it_is_read_here() {
        let cluster = MockCluster::new(1).expect("a simulated cluster");
        cluster.create_topic("events", 1, 1).expect("a topic");
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("message.timeout.ms", "60000")
            .set("statistics.interval.ms", "50")
            .set("group.id", "readers");
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        // The producers take their handles when they start.
        let started = ::metrics::with_local_recorder(&recorder, || {
            Producers::start(config.clone(), 1 << 20, Clock::start())
        });
        let (producers, supervisor) = started.expect("producers");
        let topic = Topic::new("", "events");
        let record = || Outgoing {
            topic: &topic,
            partition: Partition(0),
            key: b"k",
            value: Some(b"v"),
            headers: None,
        };
        for _ in 0..5 {
            let appending = producers.append(record()).await.expect("it is taken");
            appending.await.expect("it is acknowledged");
        }
        let tells = |line: &str| {
            recorder.handle().run_upkeep();
            recorder.handle().render().contains(line)
        };
        assert!(tells("hookline_log_acknowledge_seconds_count 5\n"), "{}", recorder.handle().render());

        let followers = Followers::new(config, ReaderLag::new(""));
        let feed = followers.follow("events", Partition(0), Offset::START, Arc::default()).expect("a feed");
        for _ in 0..2 {
            eventually("a record", || matches!(feed.poll(|_| ()), Ok(Fed::Message(())))).await;
        }
        let lag = |topics: &BTreeMap<String, i64>| topics.get("events") == Some(&3);
        let consumers = &followers.lag().consumers;
        eventually("what was not read", || consumers.lock().expect("nobody panicked").values().any(lag))
            .await;
        drop(feed);
        followers.close();
        followers.take_threads().into_iter().for_each(|thread| thread.join().expect("it ends"));

        cluster.broker_down(1).expect("the broker goes down");
        for _ in 0..3 {
            drop(producers.append(record()).await.expect("it is taken"));
        }
        eventually("the queue", || tells("hookline_log_kafka_queue_records 3\n")).await;
        cluster.broker_up(1).expect("the broker comes back");
        producers.close();
        supervisor.join().expect("it ends");
    }
}
