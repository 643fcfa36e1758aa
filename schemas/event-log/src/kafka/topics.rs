//! The topics: made with their settings where they are missing, and held to them at every start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hookline_schemas::time::Clock;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::client::{Clients, MAX_MESSAGE_BYTES, Voice, is_of_connection};
use super::options::KafkaOptions;
use crate::metrics::RecordCounters;
use crate::{Durability, JournalName, OpenError, Retention, TableName};

/// For one question to the cluster.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two questions.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// For what a client has to tell beside its answers.
const LISTEN: Duration = Duration::from_millis(50);
/// Lane records are not compacted before every watcher has seen them.
const LANES_COMPACTION_LAG: Duration = Duration::from_secs(3600);
/// How long a payment's status is kept.
const PAYMENTS_RETENTION: Duration = Duration::from_secs(400 * 24 * 3600);

/// A topic, with what is counted of it.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) counters: Arc<RecordCounters>,
}

impl Topic {
    pub(super) fn new(prefix: &str, name: &'static str) -> Self {
        Self { name: format!("{prefix}{name}").into(), counters: Arc::new(RecordCounters::of(name)) }
    }
}

/// All topics, made once: a journal or table is asked for with every record.
#[derive(Debug)]
pub(super) struct Topics {
    journals: [Topic; JournalName::ALL.len()],
    tables: [Topic; TableName::ALL.len()],
}

impl Topics {
    pub(super) fn new(options: &KafkaOptions) -> Self {
        let prefix = &options.topic_prefix;
        Self {
            journals: JournalName::ALL.map(|name| Topic::new(prefix, name.as_str())),
            tables: TableName::ALL.map(|name| Topic::new(prefix, name.as_str())),
        }
    }

    /// Of all of them.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.journals.iter().chain(&self.tables).map(|topic| Arc::clone(&topic.name)).collect()
    }

    pub(super) fn journal(&self, name: JournalName) -> &Topic {
        self.journals.get(name as usize).expect("there is a topic for every journal")
    }

    pub(super) fn table(&self, name: TableName) -> &Topic {
        self.tables.get(name as usize).expect("there is a topic for every table")
    }
}

/// A topic as it must be.
#[derive(Debug)]
struct Spec {
    label: &'static str,
    name: String,
    partitions: u16,
    settings: BTreeMap<&'static str, String>,
}

/// Makes the topics that are missing, checks all, and says what an acknowledgement is worth.
pub(super) async fn prepare(
    options: &KafkaOptions,
    clients: &Clients,
    clock: &Clock,
) -> Result<Durability, OpenError> {
    let opening = Opening::new(options, clients, clock)?;
    let specs = specs(options);
    let mut metadata = opening.metadata().await?;
    let missing: Vec<&Spec> = specs.iter().filter(|spec| found(&metadata, spec).is_none()).collect();
    if let Some(spec) = missing.first() {
        if !options.create_topics {
            return Err(refusal(spec, "does not exist, and log.kafka.create_topics is off".to_owned()));
        }
        opening.create(&missing, metadata.brokers().len()).await?;
        metadata = opening.metadata_with(&specs).await?;
    }
    for spec in &specs {
        let topic = found(&metadata, spec).ok_or_else(|| refusal(spec, "is not there".to_owned()))?;
        check_partitions(spec, topic, options)?;
    }
    let settings = opening.settings(&specs).await?;
    let mut durability = None;
    for spec in &specs {
        let stored = settings.get(&spec.name).ok_or_else(|| refusal(spec, "has no settings".to_owned()))?;
        let of_topic = check_settings(spec, stored, options)?;
        durability = Some(weaker(durability, of_topic));
    }
    Ok(durability.unwrap_or(Durability::PageCache))
}

/// The conversation with the cluster at the start.
struct Opening<'a> {
    admin: AdminClient<Voice>,
    /// Asks for metadata, and tells what else went wrong; the other client keeps that to itself.
    inquirer: BaseConsumer<Voice>,
    options: &'a KafkaOptions,
    clock: &'a Clock,
    deadline: Duration,
}

impl<'a> Opening<'a> {
    fn new(options: &'a KafkaOptions, clients: &Clients, clock: &'a Clock) -> Result<Self, OpenError> {
        let settings = |error: KafkaError| OpenError::Settings { reason: error.to_string() };
        let admin = AdminClient::from_config_and_context(&clients.admin(), Voice).map_err(settings)?;
        let inquirer = clients.admin().create_with_context(Voice).map_err(settings)?;
        Ok(Self { admin, inquirer, options, clock, deadline: clock.elapsed() + options.open_timeout })
    }

    fn is_over(&self) -> bool {
        self.clock.elapsed() >= self.deadline
    }

    fn unreachable(&self, reason: impl ToString) -> OpenError {
        let servers = self.options.bootstrap_servers.join(",");
        OpenError::Unreachable { servers, reason: reason.to_string() }
    }

    /// What the cluster says of itself, once it answers.
    async fn metadata(&self) -> Result<Metadata, OpenError> {
        let timeout = ASK_TIMEOUT.min(self.options.open_timeout);
        loop {
            let error = match self.inquirer.fetch_metadata(None, timeout) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => self.cause().unwrap_or(error),
            };
            if self.is_over() {
                return Err(self.unreachable(error));
            }
            tracing::warn!(%error, "Kafka does not answer, trying again");
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Why nobody answers, where the connection alone was not it: a password, a certificate.
    fn cause(&self) -> Option<KafkaError> {
        let mut cause = None;
        let until = self.clock.elapsed() + LISTEN;
        while self.clock.elapsed() < until {
            let Some(Err(error)) = self.inquirer.poll(LISTEN) else { continue };
            if !is_of_connection(&error) {
                cause = Some(error);
            }
        }
        cause
    }

    /// The same, once every topic and a leader of each partition is known.
    async fn metadata_with(&self, specs: &[Spec]) -> Result<Metadata, OpenError> {
        loop {
            let metadata = self.metadata().await?;
            let missing = specs.iter().find(|spec| !found(&metadata, spec).is_some_and(has_leaders));
            match missing {
                None => return Ok(metadata),
                Some(spec) if self.is_over() => {
                    return Err(refusal(spec, "was made and has no leader".to_owned()));
                }
                Some(_) => tokio::time::sleep(ASK_AGAIN).await,
            }
        }
    }

    async fn create(&self, missing: &[&Spec], brokers: usize) -> Result<(), OpenError> {
        let replicas = i32::from(self.options.replication_factor);
        let topics = missing.iter().map(|spec| {
            let topic =
                NewTopic::new(&spec.name, i32::from(spec.partitions), TopicReplication::Fixed(replicas));
            spec.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        });
        let topics: Vec<NewTopic<'_>> = topics.collect();
        let answered = self.admin.create_topics(&topics, &self.patience()).await;
        for answer in answered.map_err(|error| self.unreachable(error))? {
            match answer {
                Ok(topic) => tracing::info!(topic, "made the topic"),
                // Another process starts beside this one.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, RDKafkaErrorCode::InvalidReplicationFactor)) => {
                    let replicas = self.options.replication_factor;
                    let problem = format!(
                        "can't be made with {replicas} replicas on {brokers} broker(s): set \
                         log.kafka.replication_factor"
                    );
                    return Err(OpenError::Topic { topic, problem });
                }
                Err((topic, code)) => {
                    return Err(OpenError::Topic { topic, problem: format!("can't be made: {code}") });
                }
            }
        }
        Ok(())
    }

    /// The settings of every topic, by its name. A broker may not know yet a topic that was just made.
    async fn settings(&self, specs: &[Spec]) -> Result<BTreeMap<String, ConfigResource>, OpenError> {
        let asked: Vec<_> = specs.iter().map(|spec| ResourceSpecifier::Topic(&spec.name)).collect();
        loop {
            let answered = self.admin.describe_configs(&asked, &self.patience()).await;
            let answers: Result<Vec<ConfigResource>, _> =
                answered.map_err(|error| self.unreachable(error))?.into_iter().collect();
            match answers {
                Ok(answers) if self.is_over() || answers.iter().all(is_known) => {
                    let named = answers.into_iter().filter_map(|resource| match &resource.specifier {
                        OwnedResourceSpecifier::Topic(name) => Some((name.clone(), resource)),
                        OwnedResourceSpecifier::Group(_) | OwnedResourceSpecifier::Broker(_) => None,
                    });
                    return Ok(named.collect());
                }
                // A broker that has not heard of the topic yet says so, or says nothing of its settings.
                Ok(_) => tokio::time::sleep(ASK_AGAIN).await,
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) if !self.is_over() => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(code) => return Err(self.unreachable(code)),
            }
        }
    }

    fn patience(&self) -> AdminOptions {
        let left = self.deadline.saturating_sub(self.clock.elapsed()).max(ASK_TIMEOUT);
        AdminOptions::new().request_timeout(Some(left)).operation_timeout(Some(left))
    }
}

fn found<'a>(metadata: &'a Metadata, spec: &Spec) -> Option<&'a MetadataTopic> {
    metadata.topics().iter().find(|topic| topic.name() == spec.name && topic.error().is_none())
}

/// Every topic has settings; a broker that names none does not know it yet.
const fn is_known(resource: &ConfigResource) -> bool {
    !resource.entries.is_empty()
}

fn has_leaders(topic: &MetadataTopic) -> bool {
    !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
}

fn refusal(spec: &Spec, problem: String) -> OpenError {
    OpenError::Topic { topic: spec.name.clone(), problem }
}

fn check_partitions(spec: &Spec, topic: &MetadataTopic, options: &KafkaOptions) -> Result<(), OpenError> {
    let stored = u16::try_from(topic.partitions().len()).unwrap_or(u16::MAX);
    if stored != spec.partitions {
        return Err(OpenError::PartitionMismatch { name: spec.label, stored, configured: spec.partitions });
    }
    let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    let wanted = usize::from(options.replication_factor);
    if replicas < wanted {
        return Err(refusal(
            spec,
            format!("has {replicas} replica(s), log.kafka.replication_factor asks for {wanted}"),
        ));
    }
    Ok(())
}

/// What the topic's settings make of an acknowledgement; an error where they would lose records.
fn check_settings(
    spec: &Spec,
    stored: &ConfigResource,
    options: &KafkaOptions,
) -> Result<Durability, OpenError> {
    let value = |name: &str| stored.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
    let number = |name: &str| value(name).parse::<i64>().unwrap_or(0);
    let mut problems = Vec::new();
    for name in
        ["cleanup.policy", "message.timestamp.type", "unclean.leader.election.enable", "retention.bytes"]
    {
        let wanted = spec.settings.get(name).map_or("", String::as_str);
        if value(name) != wanted && !wanted.is_empty() {
            problems.push(format!("{name} is {}, it must be {wanted}", value(name)));
        }
    }
    for name in ["retention.ms", "min.compaction.lag.ms", "max.message.bytes", "min.insync.replicas"] {
        let wanted = spec.settings.get(name).and_then(|wanted| wanted.parse::<i64>().ok());
        let enough = wanted
            .is_none_or(|wanted| number(name) >= wanted || (name == "retention.ms" && number(name) == -1));
        if !enough {
            problems.push(format!("{name} is {}, at least {} is needed", number(name), wanted.unwrap_or(0)));
        }
    }
    if !problems.is_empty() {
        let problem = format!("{} (kafka-configs --alter changes it)", problems.join("; "));
        return Err(refusal(spec, problem));
    }
    let replicas = u16::try_from(number("min.insync.replicas")).unwrap_or(u16::MAX);
    let durability = match (replicas, number("flush.messages")) {
        (2.., _) => Durability::Replicated(replicas),
        (_, 1) => Durability::Fsync,
        _ => Durability::PageCache,
    };
    if durability == Durability::PageCache && !options.allow_page_cache {
        return Err(refusal(
            spec,
            "is acknowledged from the page cache of a single broker: set log.kafka.min_insync_replicas to 2 \
             or more, flush.messages of the topic to 1, or accept that with log.kafka.allow_page_cache"
                .to_owned(),
        ));
    }
    Ok(durability)
}

/// What holds for all topics is what holds for the weakest.
fn weaker(one: Option<Durability>, other: Durability) -> Durability {
    match (one, other) {
        (None, other) => other,
        (Some(Durability::PageCache), _) | (_, Durability::PageCache) => Durability::PageCache,
        (Some(Durability::Replicated(one)), Durability::Replicated(other)) => {
            Durability::Replicated(one.min(other))
        }
        (Some(Durability::Fsync), _) | (_, Durability::Fsync) => Durability::Fsync,
    }
}

fn specs(options: &KafkaOptions) -> Vec<Spec> {
    let topics = Topics::new(options);
    let journals = JournalName::ALL.into_iter().map(|journal| Spec {
        label: journal.as_str(),
        name: topics.journal(journal).name.to_string(),
        partitions: options.partitions.of_journal(journal),
        settings: journal_settings(journal, &options.retention, options.min_insync_replicas),
    });
    let tables = TableName::ALL.into_iter().map(|table| Spec {
        label: table.as_str(),
        name: topics.table(table).name.to_string(),
        partitions: options.partitions.of_table(table),
        settings: table_settings(table, options.min_insync_replicas),
    });
    journals.chain(tables).collect()
}

fn journal_settings(
    journal: JournalName,
    retention: &Retention,
    replicas: u16,
) -> BTreeMap<&'static str, String> {
    let mut settings = common_settings(replicas);
    settings.insert("cleanup.policy", "delete".to_owned());
    settings.insert("retention.ms", retention.of(journal).as_millis().to_string());
    settings.insert("retention.bytes", "-1".to_owned());
    settings
}

fn table_settings(table: TableName, replicas: u16) -> BTreeMap<&'static str, String> {
    let mut settings = common_settings(replicas);
    match table {
        TableName::Payments => {
            settings.insert("cleanup.policy", "compact,delete".to_owned());
            settings.insert("retention.ms", PAYMENTS_RETENTION.as_millis().to_string());
            settings.insert("retention.bytes", "-1".to_owned());
        }
        TableName::Lanes => {
            settings.insert("cleanup.policy", "compact".to_owned());
            settings.insert("min.compaction.lag.ms", LANES_COMPACTION_LAG.as_millis().to_string());
        }
        TableName::Control | TableName::Clients | TableName::TopUps => {
            settings.insert("cleanup.policy", "compact".to_owned());
        }
    }
    // A segment that is written to is not compacted.
    settings.insert("segment.ms", Duration::from_secs(24 * 3600).as_millis().to_string());
    settings
}

fn common_settings(replicas: u16) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("unclean.leader.election.enable", "false".to_owned()),
        ("max.message.bytes", MAX_MESSAGE_BYTES.to_owned()),
        ("min.insync.replicas", replicas.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(settings: &[(&str, &str)]) -> ConfigResource {
        let entries = settings.iter().map(|(name, value)| rdkafka::admin::ConfigEntry {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            source: rdkafka::admin::ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        });
        let specifier = OwnedResourceSpecifier::Topic("hookline.events".to_owned());
        ConfigResource { specifier, entries: entries.collect() }
    }

    #[test]
    fn a_broker_that_names_no_settings_does_not_know_the_topic_yet() {
        assert!(is_known(&stored(&[("cleanup.policy", "delete")])));
        assert!(!is_known(&stored(&[])));
    }

    /// The settings of a good topic, with these in their place.
    fn judged(changed: &[(&str, &str)], allow_page_cache: bool) -> Result<Durability, OpenError> {
        let options =
            KafkaOptions { allow_page_cache, min_insync_replicas: 1, ..KafkaOptions::new(Vec::new()) };
        let specs = specs(&options);
        let spec = specs.first().expect("events");
        let mut settings: BTreeMap<&str, &str> =
            spec.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.insert("min.insync.replicas", "2");
        settings.extend(changed.iter().copied());
        let settings: Vec<_> = settings.into_iter().collect();
        check_settings(spec, &stored(&settings), &options)
    }

    #[test]
    fn an_acknowledgement_is_worth_what_the_settings_say() {
        assert_eq!(judged(&[], false).ok(), Some(Durability::Replicated(2)));
        assert_eq!(judged(&[("min.insync.replicas", "1")], true).ok(), Some(Durability::PageCache));
        let synced = [("min.insync.replicas", "1"), ("flush.messages", "1")];
        assert_eq!(judged(&synced, false).ok(), Some(Durability::Fsync));
        assert_eq!(judged(&[("retention.ms", "-1")], false).ok(), Some(Durability::Replicated(2)));
    }

    #[test]
    fn what_would_lose_records_is_refused() {
        for changed in [
            ("cleanup.policy", "compact"),
            ("retention.ms", "3600000"),
            ("retention.bytes", "1073741824"),
            ("max.message.bytes", "1048576"),
            ("unclean.leader.election.enable", "true"),
            ("message.timestamp.type", "CreateTime"),
            ("min.insync.replicas", "0"),
            ("min.insync.replicas", "1"),
        ] {
            let refused = judged(&[changed], false).expect_err(changed.0).to_string();
            assert!(refused.contains("hookline.events"), "{refused}");
            assert!(refused.replace('_', ".").contains(changed.0), "{refused}");
        }
    }

    #[test]
    fn the_weakest_topic_decides() {
        let all = [Durability::Replicated(3), Durability::Replicated(2), Durability::Replicated(3)];
        let weakest = all.into_iter().fold(None, |one, other| Some(weaker(one, other)));
        assert_eq!(weakest, Some(Durability::Replicated(2)));
        assert_eq!(weaker(weakest, Durability::PageCache), Durability::PageCache);
        assert_eq!(weaker(Some(Durability::Fsync), Durability::Replicated(2)), Durability::Fsync);
    }
}
