//! The configuration file of the hookline that a scenario runs, and the addresses that it listens on.

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
    pub ingest: Listener,
    /// `/livez`, `/readyz`, `/metrics`.
    pub admin: Listener,
    /// Delivery.
    pub dispatcher: Dispatcher,
    /// The sites.
    pub gateways: Vec<Gateway>,
    /// The subscriptions.
    pub webhooks: Vec<Webhook>,
}

/// The log.
#[derive(Debug, Clone, Serialize)]
pub struct Log {
    /// `embedded`.
    pub backend: String,
    /// The size of the map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_size: Option<String>,
    /// What stays free for positions when the map is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<String>,
    /// Whether a file system in memory will do.
    pub allow_page_cache: bool,
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
    /// The probes of a failing endpoint; the last repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_schedule: Option<Vec<String>>,
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
                map_size: Some("8 GiB".to_owned()),
                reserve: Some("16 MiB".to_owned()),
                allow_page_cache: false,
            },
            ingest: Listener { listen: ingest },
            admin: Listener { listen: admin },
            dispatcher: Dispatcher {
                allow_addresses: vec!["127.0.0.0/8".to_owned()],
                allow_http: true,
                probe_schedule: None,
            },
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
        }
    }

    /// Writes the file; it is whole once this returns.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self).context("the configuration makes no TOML")?;
        std::fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
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

    #[test]
    fn writes_the_shape_that_hookline_reads() {
        let addresses = ["127.0.0.1:8080", "127.0.0.1:9090"].map(|text| text.parse().expect("an address"));
        let webhook = Webhook {
            id: "wh_demo".to_owned(),
            organization: "org_demo".to_owned(),
            url: "http://127.0.0.1:9999/hooks/wh_demo".to_owned(),
            events: vec![EventType::PaymentReceived, EventType::PaymentFailed],
            secret: "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned(),
            retry_schedule: Some(vec!["200ms".to_owned(), "1s".to_owned()]),
        };
        let config = Config::demo(Path::new("data"), addresses[0], addresses[1], vec![webhook]);
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("hookline.toml");
        config.write(&file).expect("a file");
        let text = std::fs::read_to_string(file).expect("a file");
        let table: toml::Table = text.parse().expect("TOML");
        for (path, expected) in [
            (&["data_dir"][..], "\"data\""),
            (&["log", "backend"], "\"embedded\""),
            (&["log", "map_size"], "\"8 GiB\""),
            (&["ingest", "listen"], "\"127.0.0.1:8080\""),
            (&["admin", "listen"], "\"127.0.0.1:9090\""),
            (&["dispatcher", "allow_addresses"], "[\"127.0.0.0/8\"]"),
            (&["dispatcher", "allow_http"], "true"),
        ] {
            let mut value = &table[path[0]];
            path[1..].iter().for_each(|key| value = &value[key]);
            assert_eq!(value.to_string(), expected, "{path:?}");
        }
        assert_eq!(table["gateways"][0]["shared_url"].as_bool(), Some(true));
        assert_eq!(table["webhooks"][0]["events"].to_string(), "[\"PAYMENT_RECEIVED\", \"PAYMENT_FAILED\"]");
        assert_eq!(table["webhooks"][0]["retry_schedule"].to_string(), "[\"200ms\", \"1s\"]");
        assert!(table["dispatcher"].get("probe_schedule").is_none());
    }

    #[test]
    fn free_addresses_differ_and_lie_below_the_range_of_outgoing_connections() {
        let addresses = free_addresses(4).expect("free ports");
        let different: HashSet<_> = addresses.iter().collect();
        assert_eq!(different.len(), 4);
        assert!(addresses.iter().all(|address| address.port() < 32_000), "{addresses:?}");
    }
}
