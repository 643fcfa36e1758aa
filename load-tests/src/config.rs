//! The configuration file of the hookline that a scenario runs, and the addresses that it listens on.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use hookline_schemas::event::EventType;
use serde::Serialize;

/// The file. Field by field what hookline reads; what is absent is hookline's default.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// Where the log stands.
    pub data_dir: String,
    /// The log.
    pub log: Log,
    /// The edge.
    pub ingest: Ingest,
    /// `/livez`, `/readyz`, `/metrics`.
    pub admin: Listener,
    /// Delivery.
    pub dispatcher: Dispatcher,
    /// The control plane: a port that the system picks, so that any number of processes may be started side by side.
    /// Who wants to ask it sets an address that is known before.
    pub control: Listener,
    /// CloudPayments' API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloudpayments: Option<CloudPayments>,
    /// The key that seals; without it hookline makes one, where it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealing: Option<Sealing>,
    /// The sites.
    pub gateways: Vec<Gateway>,
    /// The subscriptions.
    pub webhooks: Vec<Webhook>,
    /// Deliveries per second at most, by webhook; those that are not here have no limit.
    #[serde(skip)]
    pub rate_limits: BTreeMap<String, u32>,
}

/// The log.
#[derive(Debug, Clone, Serialize)]
pub struct Log {
    /// `embedded` or `kafka`.
    pub backend: String,
    /// Partitions of all that is kept by webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane_partitions: Option<u16>,
    /// How long records are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What counts for the embedded log alone.
    pub embedded: Embedded,
    /// What counts for Kafka alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
}

/// How long records are kept.
#[derive(Debug, Clone, Serialize)]
pub struct Retention {
    /// Of events that are settled.
    pub events: String,
}

/// The embedded log.
#[derive(Debug, Clone, Serialize)]
pub struct Embedded {
    /// The size of the map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_size: Option<String>,
    /// What stays free for positions when the map is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<String>,
    /// Whether a file system in memory will do.
    pub allow_page_cache: bool,
}

/// The log in Kafka.
#[derive(Debug, Clone, Serialize)]
pub struct Kafka {
    /// `host:port` of some brokers.
    pub bootstrap_servers: Vec<String>,
    /// Stands before the name of every topic.
    pub topic_prefix: String,
    /// Stands before the names of the groups.
    pub group: String,
    /// On how many brokers each record stands.
    pub replication_factor: u16,
    /// How many of them must have a record before it is acknowledged.
    pub min_insync_replicas: u16,
    /// Whether the page cache of a single broker will do.
    pub allow_page_cache: bool,
    /// After this a dispatcher that is not heard of loses its partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<String>,
}

impl Kafka {
    /// The log of one run: topics and groups bear its name. On a single broker it says that an
    /// acknowledgement stands in the page cache; on three each record stands on all, and two acknowledge it.
    pub fn of_run(bootstrap_servers: Vec<String>, run: &str, brokers: u16) -> Self {
        let is_cluster = brokers >= 3;
        Self {
            bootstrap_servers,
            topic_prefix: format!("{run}."),
            group: run.to_owned(),
            replication_factor: if is_cluster { 3 } else { 1 },
            min_insync_replicas: if is_cluster { 2 } else { 1 },
            allow_page_cache: !is_cluster,
            session_timeout: None,
        }
    }
}

/// The key that seals.
#[derive(Debug, Clone, Serialize)]
pub struct Sealing {
    /// 32 bytes in base64.
    pub key_file: String,
}

/// CloudPayments' API.
#[derive(Debug, Clone, Serialize)]
pub struct CloudPayments {
    /// Where it is asked; an [`Acquirer`](crate::acquirer::Acquirer)'s, for one.
    pub api_url: String,
    /// Where CloudPayments reaches the edge: what stands before the paths of callback URLs.
    pub callback_url: String,
}

/// The edge.
#[derive(Debug, Clone, Serialize)]
pub struct Ingest {
    /// On this address.
    pub listen: SocketAddr,
    /// How long an answer may take before it is 503.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_timeout: Option<String>,
}

/// Something that listens.
#[derive(Debug, Clone, Serialize)]
pub struct Listener {
    /// On this address.
    pub listen: SocketAddr,
}

/// Delivery.
#[derive(Debug, Clone, Serialize)]
pub struct Dispatcher {
    /// Networks that are private and may be sent to nevertheless.
    pub allow_addresses: Vec<String>,
    /// Whether `http://` may be sent to.
    pub allow_http: bool,
    /// For a whole attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_timeout: Option<String>,
    /// The probes of a failing endpoint; the last repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_schedule: Option<Vec<String>>,
    /// Attempts in flight per endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_concurrency: Option<u16>,
    /// How long a delivery may wait in the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Events in the window of each partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_events: Option<u16>,
    /// Deliveries that wait for a permit of their endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_queue: Option<u32>,
}

/// A site.
#[derive(Debug, Clone, Serialize)]
pub struct Gateway {
    /// Stands in the typed URLs.
    pub id: String,
    /// Whose it is.
    pub organization: String,
    /// Its public id.
    pub public_id: String,
    /// Its secrets, the newest first.
    pub api_secrets: Vec<String>,
    /// The club of a payment that names none.
    pub default_club: String,
    /// Whether it takes part in the shared URL.
    pub shared_url: bool,
    /// `accept` or `refuse`.
    pub unknown_clients: String,
    /// `accept` or `refuse`.
    pub unknown_invoices: String,
    /// `accept` or `refuse`.
    pub without_invoice: String,
}

/// A subscription.
#[derive(Debug, Clone, Serialize)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub organization: String,
    /// Where to.
    pub url: String,
    /// Which events.
    pub events: Vec<EventType>,
    /// `whsec_` and base64.
    pub secret: String,
    /// Its own retries in place of the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_schedule: Option<Vec<String>>,
}

impl Config {
    /// One organization with one gateway over the embedded log, sending to the loopback.
    pub fn demo(data_dir: &Path, ingest: SocketAddr, admin: SocketAddr, webhooks: Vec<Webhook>) -> Self {
        Self {
            data_dir: data_dir.display().to_string(),
            log: Log {
                backend: "embedded".to_owned(),
                lane_partitions: None,
                retention: None,
                embedded: Embedded {
                    map_size: Some("8 GiB".to_owned()),
                    reserve: Some("16 MiB".to_owned()),
                    allow_page_cache: false,
                },
                kafka: None,
            },
            ingest: Ingest { listen: ingest, answer_timeout: None },
            admin: Listener { listen: admin },
            dispatcher: Dispatcher {
                allow_addresses: vec!["127.0.0.0/8".to_owned()],
                allow_http: true,
                attempt_timeout: None,
                probe_schedule: None,
                endpoint_concurrency: None,
                budget: None,
                window_events: None,
                endpoint_queue: None,
            },
            control: Listener { listen: (Ipv4Addr::LOCALHOST, 0).into() },
            cloudpayments: None,
            sealing: None,
            gateways: vec![Gateway {
                id: "gw_demo".to_owned(),
                organization: "org_demo".to_owned(),
                public_id: "pk_demo".to_owned(),
                api_secrets: vec!["api-secret-new".to_owned(), "api-secret-old".to_owned()],
                default_club: "club_1".to_owned(),
                shared_url: true,
                unknown_clients: "accept".to_owned(),
                unknown_invoices: "accept".to_owned(),
                without_invoice: "accept".to_owned(),
            }],
            webhooks,
            rate_limits: BTreeMap::new(),
        }
    }

    /// The same over Kafka. All processes need one key: an edge of several does not make its own.
    pub fn over_kafka(mut self, kafka: Kafka, key_file: &Path) -> Self {
        self.log.backend = "kafka".to_owned();
        self.log.kafka = Some(kafka);
        self.sealing = Some(Sealing { key_file: key_file.display().to_string() });
        self
    }

    /// The same with CloudPayments' API at this address; notifications are to come to where the edge listens.
    #[must_use]
    pub fn with_cloudpayments(mut self, api_url: String) -> Self {
        let callback_url = format!("http://{}", self.ingest.listen);
        self.cloudpayments = Some(CloudPayments { api_url, callback_url });
        self
    }

    /// Writes the file; it is whole once this returns.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = self.to_table().and_then(|table| toml::to_string(&table));
        let text = text.context("the configuration makes no TOML")?;
        std::fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
    }

    /// What hookline reads: there a rate limit stands with its webhook.
    fn to_table(&self) -> Result<toml::Table, toml::ser::Error> {
        let mut table = toml::Table::try_from(self)?;
        let webhooks = table.get_mut("webhooks").and_then(toml::Value::as_array_mut).into_iter().flatten();
        for (webhook, written) in self.webhooks.iter().zip(webhooks.filter_map(toml::Value::as_table_mut)) {
            if let Some(rate_limit) = self.rate_limits.get(&webhook.id) {
                written.insert("rate_limit".to_owned(), i64::from(*rate_limit).into());
            }
        }
        Ok(table)
    }
}

/// Ports of the loopback that are free now, all different.
///
/// They are looked for below the range from which the system picks ports for outgoing connections. A port
/// out of that range could be taken by one of them while hookline is down; and a client that connects to
/// such a port while nobody listens may, by accident, be given the same port and connect to itself.
///
/// # Errors
///
/// If none can be bound.
pub fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    const FIRST: u16 = 20_000;
    const LAST: u16 = 31_999;
    let span = u32::from(LAST - FIRST) + 1;
    // Runs side by side begin at different ports.
    let offset = std::process::id().wrapping_mul(97) % span;
    let ports = (0..span).filter_map(|step| u16::try_from((offset + step) % span).ok());
    let below = ports.map(|port| FIRST + port);
    // Held until all are found, so that none is found twice.
    let mut listeners = Vec::new();
    for port in below.chain(std::iter::repeat_n(0, count)) {
        if listeners.len() == count {
            break;
        }
        listeners.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    anyhow::ensure!(listeners.len() == count, "no free ports on the loopback");
    listeners.iter().map(|listener| listener.local_addr().map_err(Into::into)).collect()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic fails the test")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn config(webhooks: Vec<Webhook>) -> Config {
        let addresses = ["127.0.0.1:8080", "127.0.0.1:9090"].map(|text| text.parse().expect("an address"));
        Config::demo(Path::new("data"), addresses[0], addresses[1], webhooks)
    }

    fn written(config: &Config) -> toml::Table {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("hookline.toml");
        config.write(&file).expect("a file");
        std::fs::read_to_string(file).expect("a file").parse().expect("TOML")
    }

    fn assert_values(table: &toml::Table, expected: &[(&[&str], &str)]) {
        for (path, expected) in expected {
            let mut value = &table[path[0]];
            path[1..].iter().for_each(|key| value = &value[key]);
            assert_eq!(value.to_string(), *expected, "{path:?}");
        }
    }

    #[test]
    fn writes_the_shape_that_hookline_reads() {
        let webhook = Webhook {
            id: "wh_demo".to_owned(),
            organization: "org_demo".to_owned(),
            url: "http://127.0.0.1:9999/hooks/wh_demo".to_owned(),
            events: vec![EventType::PaymentReceived, EventType::PaymentFailed],
            secret: "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned(),
            retry_schedule: Some(vec!["200ms".to_owned(), "1s".to_owned()]),
        };
        let other = Webhook { id: "wh_other".to_owned(), ..webhook.clone() };
        let mut config = config(vec![webhook, other]);
        config.rate_limits.insert("wh_other".to_owned(), 2000);
        let table = written(&config);
        let expected = [
            (&["data_dir"][..], "\"data\""),
            (&["log", "backend"], "\"embedded\""),
            (&["log", "embedded", "map_size"], "\"8 GiB\""),
            (&["log", "embedded", "allow_page_cache"], "false"),
            (&["ingest", "listen"], "\"127.0.0.1:8080\""),
            (&["admin", "listen"], "\"127.0.0.1:9090\""),
            (&["dispatcher", "allow_addresses"], "[\"127.0.0.0/8\"]"),
            (&["dispatcher", "allow_http"], "true"),
        ];
        assert_values(&table, &expected);
        assert_eq!(table["gateways"][0]["shared_url"].as_bool(), Some(true));
        assert_eq!(table["webhooks"][0]["events"].to_string(), "[\"PAYMENT_RECEIVED\", \"PAYMENT_FAILED\"]");
        assert_eq!(table["webhooks"][0]["retry_schedule"].to_string(), "[\"200ms\", \"1s\"]");
        assert!(table["webhooks"][0].get("rate_limit").is_none());
        assert_eq!(table["webhooks"][1]["rate_limit"].as_integer(), Some(2000));
        assert!(table["dispatcher"].get("probe_schedule").is_none());
        assert!(table["log"].get("kafka").is_none() && !table.contains_key("sealing"));
        assert!(!table.contains_key("cloudpayments"));
    }

    #[test]
    fn a_control_plane_is_there_and_cloudpayments_if_it_is_asked_for() {
        let table = written(&config(Vec::new()).with_cloudpayments("http://127.0.0.1:7".to_owned()));
        let expected = [
            (&["control", "listen"][..], "\"127.0.0.1:0\""),
            (&["cloudpayments", "api_url"], "\"http://127.0.0.1:7\""),
            (&["cloudpayments", "callback_url"], "\"http://127.0.0.1:8080\""),
        ];
        assert_values(&table, &expected);
    }

    #[test]
    fn over_kafka_topics_and_groups_bear_the_name_of_the_run() {
        let servers = vec!["127.0.0.1:9092".to_owned(), "127.0.0.1:9093".to_owned()];
        for (brokers, replicas, in_sync, page_cache) in [(1, "1", "1", "true"), (3, "3", "2", "false")] {
            let kafka = Kafka::of_run(servers.clone(), "run-7", brokers);
            let table = written(&config(Vec::new()).over_kafka(kafka, Path::new("run/hookline.key")));
            let expected = [
                (&["log", "backend"][..], "\"kafka\""),
                (&["log", "kafka", "bootstrap_servers"], "[\"127.0.0.1:9092\", \"127.0.0.1:9093\"]"),
                (&["log", "kafka", "topic_prefix"], "\"run-7.\""),
                (&["log", "kafka", "group"], "\"run-7\""),
                (&["log", "kafka", "replication_factor"], replicas),
                (&["log", "kafka", "min_insync_replicas"], in_sync),
                (&["log", "kafka", "allow_page_cache"], page_cache),
                (&["sealing", "key_file"], "\"run/hookline.key\""),
            ];
            assert_values(&table, &expected);
            assert!(table["log"]["kafka"].get("session_timeout").is_none());
        }
    }

    #[test]
    fn free_addresses_differ_and_lie_below_the_range_of_outgoing_connections() {
        let addresses = free_addresses(4).expect("free ports");
        let different: HashSet<_> = addresses.iter().collect();
        assert_eq!(different.len(), 4);
        assert!(addresses.iter().all(|address| address.port() < 32_000), "{addresses:?}");
    }
}
