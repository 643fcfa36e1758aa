//! How the cluster keeps hookline's topics: asked at intervals, on a thread of its own, because the cluster may not
//! answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ::metrics::gauge;
use rdkafka::metadata::Metadata;

use super::producers::Producers;
use crate::metrics;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(30);
/// The same, while nobody answers.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// For an answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How safe a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody takes its records.
    Leaderless,
    /// Nothing is acknowledged.
    UnderMinIsr,
    /// A replica is behind.
    UnderReplicated,
    /// As it should be.
    InSync,
}

impl State {
    const ALL: [Self; 4] = [Self::Leaderless, Self::UnderMinIsr, Self::UnderReplicated, Self::InSync];

    const fn label(self) -> &'static str {
        match self {
            Self::Leaderless => "leaderless",
            Self::UnderMinIsr => "under_min_isr",
            Self::UnderReplicated => "under_replicated",
            Self::InSync => "in_sync",
        }
    }

    /// The worst that holds.
    const fn of(has_leader: bool, replicas: usize, in_sync: usize, min_in_sync: usize) -> Self {
        if !has_leader {
            Self::Leaderless
        } else if in_sync < min_in_sync {
            Self::UnderMinIsr
        } else if in_sync < replicas {
            Self::UnderReplicated
        } else {
            Self::InSync
        }
    }
}

/// Asks, and tells the metrics.
struct Inquirer {
    producers: Arc<Producers>,
    topics: Vec<Arc<str>>,
    min_in_sync: usize,
    /// The brokers of the last answer, those included that it only named as replicas.
    brokers: BTreeSet<i32>,
}

/// Ends the inquiry when it is dropped, or told to.
#[derive(Debug)]
pub(super) struct Inquiry(SyncSender<()>);

impl Inquiry {
    /// Asks about these topics until it is closed. Nobody waits for its thread at the end: it may be waiting for an
    /// answer, and there is nothing that it has to finish.
    pub(super) fn start(
        producers: Arc<Producers>,
        topics: Vec<Arc<str>>,
        min_in_sync: u16,
    ) -> std::io::Result<Self> {
        let (end, ended) = sync_channel(1);
        let inquirer =
            Inquirer { producers, topics, min_in_sync: min_in_sync.into(), brokers: BTreeSet::new() };
        let thread = std::thread::Builder::new().name("kafka-cluster".to_owned());
        thread.spawn(move || inquirer.run(&ended))?;
        Ok(Self(end))
    }

    /// Lets the thread end.
    pub(super) fn close(&self) {
        // An error means that it has ended already, or knows.
        let _ = self.0.try_send(());
    }
}

impl Inquirer {
    fn run(mut self, ended: &Receiver<()>) {
        loop {
            let pause = if self.ask() { INTERVAL } else { ASK_AGAIN };
            match ended.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Whether there was an answer. Without one every broker is as good as down, and of the partitions nothing new is
    /// known.
    fn ask(&mut self) -> bool {
        // By name: a cluster may have many thousands of others. The first that is not answered ends it.
        let told = self.topics.iter().map(|topic| self.producers.metadata(topic, TIMEOUT));
        match told.collect::<Option<Result<Vec<_>, _>>>() {
            Some(Ok(told)) => {
                self.take(&told);
                true
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the cluster does not tell how it is");
                self.tell_brokers(0);
                false
            }
            None => false,
        }
    }

    /// What was told of each topic.
    fn take(&mut self, told: &[Metadata]) {
        let topics = told.iter().flat_map(Metadata::topics);
        let partitions: Vec<_> = topics.flat_map(|topic| topic.partitions()).collect();
        let mut counts = State::ALL.map(|state| (state, 0_u32));
        for partition in &partitions {
            let (replicas, in_sync) = (partition.replicas().len(), partition.isr().len());
            let state = State::of(partition.leader() >= 0, replicas, in_sync, self.min_in_sync);
            counts.iter_mut().filter(|(of, _)| *of == state).for_each(|(_, count)| *count += 1);
        }
        for (state, count) in counts {
            gauge!(metrics::KAFKA_PARTITIONS, "state" => state.label()).set(f64::from(count));
        }
        let up: BTreeSet<i32> = told.iter().flat_map(Metadata::brokers).map(|broker| broker.id()).collect();
        let named = partitions.iter().flat_map(|partition| partition.replicas()).copied();
        self.brokers = named.chain(up.iter().copied()).collect();
        self.tell_brokers(up.len());
    }

    fn tell_brokers(&self, up: usize) {
        let value = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        gauge!(metrics::KAFKA_BROKERS, "state" => "up").set(value(up));
        gauge!(metrics::KAFKA_BROKERS, "state" => "down").set(value(self.brokers.len().saturating_sub(up)));
    }
}

#[cfg(test)]
mod tests {
    use hookline_schemas::time::Clock;
    use rdkafka::config::ClientConfig;
    use rdkafka::mocking::MockCluster;

    use super::*;

    #[test]
    fn the_worst_that_holds_of_a_partition_is_told() {
        for (has_leader, replicas, in_sync, expected) in [
            (true, 3, 3, State::InSync),
            (true, 3, 2, State::UnderReplicated),
            (true, 3, 1, State::UnderMinIsr),
            (false, 3, 3, State::Leaderless),
            (false, 3, 0, State::Leaderless),
            (true, 2, 2, State::InSync),
        ] {
            assert_eq!(State::of(has_leader, replicas, in_sync, 2), expected, "{replicas} {in_sync}");
        }
    }

    #[test]
    fn brokers_that_nobody_hears_of_are_down_and_partitions_of_others_do_not_count() {
        let cluster = MockCluster::new(1).expect("a simulated cluster");
        cluster.create_topic("ours", 3, 1).expect("a topic");
        cluster.create_topic("theirs", 5, 1).expect("a topic");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap_servers());
        let (producers, supervisor) = Producers::start(config, 1 << 20, Clock::start()).expect("producers");
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let mut inquirer = Inquirer {
            producers: Arc::clone(&producers),
            topics: vec!["ours".into()],
            min_in_sync: 1,
            brokers: BTreeSet::new(),
        };
        ::metrics::with_local_recorder(&recorder, || assert!(inquirer.ask()));
        let page = recorder.handle().render();
        for line in
            ["partitions{state=\"in_sync\"} 3", "brokers{state=\"up\"} 1", "brokers{state=\"down\"} 0"]
        {
            assert!(page.contains(line), "{line} in {page}");
        }
        cluster.broker_down(1).expect("the broker goes down");
        ::metrics::with_local_recorder(&recorder, || assert!(!inquirer.ask()));
        let page = recorder.handle().render();
        for line in ["brokers{state=\"up\"} 0", "brokers{state=\"down\"} 1"] {
            assert!(page.contains(line), "{line} in {page}");
        }
        producers.close();
        supervisor.join().expect("it ends");
    }
}
