//! `[log.kafka]`: from what is written to the options of the Kafka log.
//!
//! What the cluster says about them, and which of librdkafka's own settings may be changed, is the backend's
//! business when it is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use figment::value::Value;
use hookline_event_log::kafka::{
    KafkaOptions, KafkaProperties, KafkaSasl, KafkaSecurity, KafkaTls, SaslMechanism,
};
use hookline_event_log::{PartitionCounts, Retention};
use hookline_schemas::secret::Secret;
use serde::{Deserialize, Deserializer};

/// Some records of 1 MiB, the largest: with fewer they would wait for each other.
const MIN_PENDING: ByteSize = ByteSize::mib(4);

/// The shortest time in which a cluster can be expected to answer.
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// `group.min.session.timeout.ms` of a broker that was told nothing else.
const USUAL_MIN_SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// What a topic's name may have beside the letters and digits of ASCII.
const TOPIC_PUNCTUATION: &[u8] = b"._-";

/// A topic's name has 249 bytes at most; ours need some of them behind the prefix.
const MAX_TOPIC_PREFIX: usize = 200;

/// `[log.kafka]` as it is written; `hookline.default.toml` explains each member.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KafkaConfig {
    #[serde(default)]
    bootstrap_servers: Vec<String>,
    topic_prefix: String,
    group: String,
    create_topics: bool,
    replication_factor: u16,
    min_insync_replicas: u16,
    allow_page_cache: bool,
    max_pending: ByteSize,
    #[serde(with = "humantime_serde")]
    message_timeout: Duration,
    #[serde(with = "humantime_serde")]
    session_timeout: Duration,
    #[serde(with = "humantime_serde")]
    drain_timeout: Duration,
    #[serde(with = "humantime_serde")]
    open_timeout: Duration,
    tls: bool,
    ca_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    sasl_mechanism: Option<Mechanism>,
    sasl_username: Option<String>,
    #[serde(default, deserialize_with = "password")]
    sasl_password: Option<Secret>,
    sasl_password_file: Option<PathBuf>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A text and nothing else. What stands there in its place may be the password without its quotes, so the
/// error does not repeat it.
fn password<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    match <Value as Deserialize>::deserialize(deserializer)? {
        Value::String(_, text) => Ok(Some(Secret::new(text))),
        _ => Err(serde::de::Error::custom("a password is a text in quotes")),
    }
}

impl KafkaConfig {
    /// The options. They are of use only if this added no problem.
    pub(super) fn check(
        self,
        partitions: PartitionCounts,
        retention: Retention,
        problems: &mut Vec<String>,
        warnings: &mut Vec<String>,
    ) -> KafkaOptions {
        problems.extend(self.problems_of_names());
        problems.extend(self.problem_of_replicas());
        problems.extend(self.problems_of_limits());
        problems.extend(self.problems_of_tls());
        warnings.extend(self.warnings());
        let sasl = self.sasl().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        KafkaOptions {
            security: KafkaSecurity { tls: self.tls.then(|| self.tls_options()), sasl },
            topic_prefix: self.topic_prefix,
            group: self.group,
            partitions,
            retention,
            create_topics: self.create_topics,
            replication_factor: self.replication_factor,
            min_insync_replicas: self.min_insync_replicas,
            allow_page_cache: self.allow_page_cache,
            max_pending: self.max_pending.as_u64(),
            message_timeout: self.message_timeout,
            session_timeout: self.session_timeout,
            drain_timeout: self.drain_timeout,
            open_timeout: self.open_timeout,
            properties: KafkaProperties(self.properties),
            ..KafkaOptions::new(self.bootstrap_servers)
        }
    }

    /// Brokers that nobody asks are probably a backend that was forgotten.
    pub(super) fn warning_if_unused(&self) -> Option<String> {
        (!self.bootstrap_servers.is_empty()).then(|| {
            "log.kafka.bootstrap_servers is set, but log.backend is \"embedded\": Kafka is not used"
                .to_owned()
        })
    }

    fn problems_of_names(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.bootstrap_servers.iter().all(|server| server.trim().is_empty()) {
            problems.push(
                "log.kafka.bootstrap_servers is empty: log.backend is \"kafka\" and needs a broker, as \
                 [\"host:9092\"]"
                    .to_owned(),
            );
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || TOPIC_PUNCTUATION.contains(&byte);
        if self.topic_prefix.len() > MAX_TOPIC_PREFIX || !self.topic_prefix.bytes().all(fits) {
            problems.push(format!(
                "log.kafka.topic_prefix is up to {MAX_TOPIC_PREFIX} letters, digits, ., _ and -, because topics \
                 are named with it"
            ));
        }
        if self.group.is_empty() {
            problems.push("log.kafka.group is empty".to_owned());
        }
        problems
    }

    fn problem_of_replicas(&self) -> Option<String> {
        let (factor, insync) = (self.replication_factor, self.min_insync_replicas);
        if insync == 0 {
            return Some("log.kafka.min_insync_replicas is 0: nobody would have to have a record".to_owned());
        }
        if insync > factor {
            return Some(format!(
                "log.kafka.min_insync_replicas ({insync}) is above log.kafka.replication_factor ({factor}): \
                 nothing could be written"
            ));
        }
        (insync < 2 && !self.allow_page_cache).then(|| {
            "log.kafka.min_insync_replicas is below 2: a single broker acknowledges from its page cache, which \
             does not survive the power; set log.kafka.allow_page_cache to accept that"
                .to_owned()
        })
    }

    fn problems_of_limits(&self) -> Vec<String> {
        let timeouts = [
            ("message_timeout", self.message_timeout),
            ("session_timeout", self.session_timeout),
            ("open_timeout", self.open_timeout),
        ];
        let short = timeouts.iter().filter(|(_, timeout)| *timeout < MIN_TIMEOUT);
        let mut problems: Vec<_> = short.map(|(name, _)| format!("log.kafka.{name} is below 1s")).collect();
        if self.max_pending < MIN_PENDING {
            problems.push(format!(
                "log.kafka.max_pending is below {MIN_PENDING}: the log takes records of 1 MiB, several at once"
            ));
        }
        problems
    }

    fn problems_of_tls(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let files = [
            ("ca_file", &self.ca_file),
            ("certificate_file", &self.certificate_file),
            ("key_file", &self.key_file),
        ];
        for (name, file) in files.iter().filter_map(|(name, file)| Some((name, file.as_ref()?))) {
            if !self.tls {
                problems.push(format!("log.kafka.{name} is set, but log.kafka.tls is false"));
            }
            if !file.is_file() {
                problems.push(format!("log.kafka.{name}: there is no file {}", file.display()));
            }
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            problems.push("log.kafka.certificate_file and log.kafka.key_file go together".to_owned());
        }
        problems
    }

    fn tls_options(&self) -> KafkaTls {
        KafkaTls {
            ca_file: self.ca_file.clone(),
            certificate: self.certificate_file.clone().zip(self.key_file.clone()),
        }
    }

    fn sasl(&self) -> Result<Option<KafkaSasl>, String> {
        let username = self.sasl_username.as_ref().filter(|username| !username.is_empty());
        let password = self.sasl_password()?.filter(|password| !password.expose().is_empty());
        match (self.sasl_mechanism, username, password) {
            (None, None, None) => Ok(None),
            (Some(mechanism), Some(username), Some(password)) => Ok(Some(KafkaSasl {
                mechanism: mechanism.into(),
                username: username.clone(),
                password: password.expose().to_owned(),
            })),
            (mechanism, username, password) => {
                let members = [
                    ("sasl_mechanism", mechanism.is_some()),
                    ("sasl_username", username.is_some()),
                    ("sasl_password (or sasl_password_file)", password.is_some()),
                ];
                let missing = members.iter().filter(|(_, is_there)| !is_there).map(|(name, _)| *name);
                Err(format!("log.kafka lacks {} for SASL", missing.collect::<Vec<_>>().join(" and ")))
            }
        }
    }

    fn sasl_password(&self) -> Result<Option<Secret>, String> {
        match (&self.sasl_password, &self.sasl_password_file) {
            (Some(_), Some(_)) => {
                Err("log.kafka.sasl_password and log.kafka.sasl_password_file: one of them".to_owned())
            }
            (password, None) => Ok(password.clone()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    format!("log.kafka.sasl_password_file: failed to read {}: {error}", file.display())
                })?;
                // A password may begin or end with a space; the line's end is the editor's.
                Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.sasl_mechanism == Some(Mechanism::Plain) && !self.tls {
            warnings.push(
                "log.kafka.sasl_mechanism is PLAIN without log.kafka.tls: the network can read the password"
                    .to_owned(),
            );
        }
        if self.session_timeout < USUAL_MIN_SESSION_TIMEOUT {
            warnings.push(
                "log.kafka.session_timeout is below 6s: brokers refuse it unless their \
                 group.min.session.timeout.ms is lower as well"
                    .to_owned(),
            );
        }
        warnings
    }
}

impl From<Mechanism> for SaslMechanism {
    fn from(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::ScramSha256 => Self::ScramSha256,
            Mechanism::ScramSha512 => Self::ScramSha512,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use figment::Figment;
    use figment::providers::{Format, Toml};

    use super::super::{Config, ConfigError, DEFAULTS, LogOptions};
    use super::*;

    fn check(text: &str) -> Result<Config, ConfigError> {
        let figment = Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(text));
        Config::check(&figment, Path::new("/etc/hookline"))
    }

    /// Over Kafka, with further keys of `[log.kafka]`.
    fn over_kafka(keys: &str) -> Result<Config, ConfigError> {
        check(&format!(
            "[log]\nbackend = \"kafka\"\n[log.kafka]\nbootstrap_servers = [\"a:9092\", \"b:9092\"]\n{keys}"
        ))
    }

    fn options(config: &Config) -> &KafkaOptions {
        match &config.log {
            LogOptions::Kafka(options) => options,
            LogOptions::Embedded(_) => panic!("kafka was asked for"),
        }
    }

    const SASL: &str = "sasl_mechanism = \"SCRAM-SHA-512\"\nsasl_username = \"hookline\"\n\
                        sasl_password = \"a secret\"\n";

    #[test]
    fn the_defaults_are_those_of_the_backend() {
        let config = over_kafka("").expect("a configuration");
        let backends = KafkaOptions::new(vec!["a:9092".to_owned(), "b:9092".to_owned()]);
        assert_eq!(format!("{:?}", options(&config)), format!("{backends:?}"));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn what_would_lose_or_refuse_everything_is_refused() {
        for (keys, part) in [
            ("min_insync_replicas = 4", "min_insync_replicas (4) is above log.kafka.replication_factor (3)"),
            ("min_insync_replicas = 0", "min_insync_replicas is 0"),
            ("min_insync_replicas = 1", "page cache"),
            ("message_timeout = \"999ms\"", "log.kafka.message_timeout is below 1s"),
            ("message_timeout = \"19s\"", "below ingest.answer_timeout"),
            ("drain_timeout = \"3s\"", "not above dispatcher.revoke_timeout"),
            ("open_timeout = \"0s\"", "log.kafka.open_timeout is below 1s"),
            ("max_pending = \"3 MiB\"", "max_pending is below 4.0 MiB"),
            ("topic_prefix = \"hook/line\"", "topic_prefix"),
            ("group = \"\"", "log.kafka.group is empty"),
            ("sasl_mechanism = \"PLAIN\"", "sasl_username and sasl_password"),
            ("sasl_mechanism = \"GSSAPI\"", "GSSAPI"),
            ("sasl_username = \"hookline\"\nsasl_password = \"a secret\"", "lacks sasl_mechanism"),
            (&format!("{SASL}sasl_password_file = \"p\""), "one of them"),
            ("sasl_password_file = \"/nowhere/p\"", "/nowhere/p"),
            ("tls = true\ncertificate_file = \"hookline.default.toml\"", "go together"),
            ("tls = true\nca_file = \"/nowhere/ca\"", "there is no file /nowhere/ca"),
            ("ca_file = \"hookline.default.toml\"", "log.kafka.tls is false"),
            ("map_size = \"1 GiB\"", "map_size"),
            ("[log.kafka.properties]\nlinger = 5", "linger"),
        ] {
            let all = over_kafka(keys).expect_err(keys).0.join("\n");
            assert!(all.contains(part), "{keys}: {all}");
        }
    }

    #[test]
    fn no_servers_are_a_problem_over_kafka_alone() {
        let all = check("[log]\nbackend = \"kafka\"").expect_err("no servers").0.join("\n");
        assert!(all.contains("bootstrap_servers is empty"), "{all}");
        let blank = "[log]\nbackend = \"kafka\"\n[log.kafka]\nbootstrap_servers = [\" \"]";
        assert!(check(blank).is_err());
        let config = check("[log.kafka]\nbootstrap_servers = [\"a:9092\"]\nmin_insync_replicas = 0");
        let warnings = config.expect("Kafka is not used").warnings.join("\n");
        assert!(warnings.contains("Kafka is not used"), "{warnings}");
    }

    #[test]
    fn what_is_allowed_but_hardly_meant_is_a_warning() {
        let plain = SASL.replace("SCRAM-SHA-512", "PLAIN");
        for (keys, part) in [
            (plain.as_str(), "the network can read the password"),
            ("session_timeout = \"5s\"", "group.min.session.timeout.ms"),
        ] {
            let warnings = over_kafka(keys).expect(keys).warnings.join("\n");
            assert!(warnings.contains(part), "{keys}: {warnings}");
        }
        let quiet = over_kafka(&format!("{plain}tls = true")).expect("a configuration");
        assert!(quiet.warnings.is_empty(), "{:?}", quiet.warnings);
        let single = "replication_factor = 1\nmin_insync_replicas = 1\nallow_page_cache = true";
        assert!(over_kafka(single).is_ok());
    }

    #[test]
    fn a_password_is_read_from_its_file_and_never_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), " a secret \n").expect("written");
        let from_file = SASL.replace("sasl_password = \"a secret\"", "sasl_password_file = \"FILE\"");
        let from_file = from_file.replace("FILE", &file.path().display().to_string());
        for (keys, password) in [(SASL, "a secret"), (&from_file, " a secret ")] {
            let config = over_kafka(keys).expect("a configuration");
            let sasl = options(&config).security.sasl.as_ref().expect("SASL");
            assert_eq!((sasl.mechanism, sasl.password.as_str()), (SaslMechanism::ScramSha512, password));
            assert!(!format!("{config:?}").contains("a secret"));
        }
        for written in ["20000101", "[\"20000101\"]", "{ key = \"20000101\" }"] {
            let all = over_kafka(&format!("sasl_password = {written}")).expect_err(written).0.join("\n");
            assert!(all.contains("sasl_password") && !all.contains("20000101"), "{all}");
        }
    }

    #[test]
    fn further_settings_keep_their_names() {
        let config = over_kafka("[log.kafka.properties]\n\"socket.keepalive.enable\" = \"true\"");
        let config = config.expect("a configuration");
        let properties = options(&config).properties.0.iter().next();
        assert_eq!(
            properties.map(|(key, value)| (&**key, &**value)),
            Some(("socket.keepalive.enable", "true"))
        );
    }
}
