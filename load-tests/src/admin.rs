//! What hookline tells about itself at its admin address.
//!
//! Each look is one request on a connection of its own, so that it can be taken whoever starts and kills the
//! process meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use hookline_schemas::ids::WebhookId;
use http::StatusCode;
use serde::Deserialize;

use crate::connection;

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The admin address of a process, whether it runs or not.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    address: SocketAddr,
}

/// What `GET /webhooks` says of one of them; counts are since hookline keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WebhookState {
    /// Which.
    pub id: WebhookId,
    /// How it does, in a word.
    pub state: String,
    /// How the latest attempt failed that did, in a word.
    #[serde(default)]
    pub last_failure: Option<String>,
    /// Attempts under way.
    pub in_flight: u64,
    /// Deliveries in its lane.
    pub backlog: u64,
    /// Deliveries settled by a 2xx.
    pub delivered: u64,
    /// Deliveries that went from the window into its lane.
    pub parked: u64,
    /// Deliveries given up.
    pub dead: u64,
}

/// The metrics at one moment, in the text that Prometheus reads.
#[derive(Debug, Clone)]
pub struct Metrics {
    text: String,
}

/// One line of the metrics.
struct Sample<'a> {
    name: &'a str,
    /// As they are written.
    labels: &'a str,
    value: f64,
}

impl Admin {
    /// At this address.
    pub const fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// The body of an answer 200.
    ///
    /// # Errors
    ///
    /// If there is none in time, or the answer is another.
    pub async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        let answer = connection::get(self.address, path, TIMEOUT).await?;
        ensure!(answer.status() == StatusCode::OK, "{path} answered {}", answer.status());
        Ok(answer.into_body())
    }

    /// Every metric.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        let body = self.get("/metrics").await?;
        Ok(Metrics { text: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Every webhook.
    ///
    /// # Errors
    ///
    /// If there is no answer, or another than is documented.
    pub async fn webhooks(&self) -> anyhow::Result<Vec<WebhookState>> {
        serde_json::from_slice(&self.get("/webhooks").await?).context("/webhooks is not as documented")
    }
}

impl Metrics {
    /// The sum of the samples that carry this label (`outcome="dead"`), of all metrics whose names begin so.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let samples = self.samples().filter(|sample| sample.name.starts_with(name));
        samples.filter(|sample| sample.labels.contains(label)).map(|sample| sample.value).sum()
    }

    /// A metric's samples by the value of this label.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let opening = format!("{label}=\"");
        let samples = self.samples().filter(|sample| sample.name == name);
        let labelled = samples.filter_map(|sample| {
            let (_, rest) = sample.labels.split_once(&opening)?;
            Some((rest.split_once('"')?.0.to_owned(), sample.value))
        });
        labelled.collect()
    }

    /// Those that carry labels.
    fn samples(&self) -> impl Iterator<Item = Sample<'_>> {
        self.text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{')?;
            Some(Sample { name, labels, value: value.parse().ok()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(text: &str) -> Metrics {
        Metrics { text: text.to_owned() }
    }

    #[test]
    fn sums_the_samples_of_one_label() {
        let metrics = metrics(
            "# TYPE a counter\na{outcome=\"dead\"} 2\na{outcome=\"dead\",b=\"1\"} 3\na{outcome=\"x\"} 9\n\
             a_total{outcome=\"dead\"} 50\nb{outcome=\"dead\"} 4\na 9\n",
        );
        assert!((metrics.sum("a", "outcome=\"dead\"") - 55.0).abs() < f64::EPSILON);
    }

    #[test]
    fn tells_samples_apart_by_a_label() {
        let metrics =
            metrics("a{partition=\"0\"} 7\na{x=\"1\",partition=\"12\"} 9\nab{partition=\"3\"} 1\na 5\n");
        let expected = BTreeMap::from([("0".to_owned(), 7.0), ("12".to_owned(), 9.0)]);
        assert_eq!(metrics.by("a", "partition"), expected);
    }

    #[test]
    fn reads_webhooks_and_passes_over_what_it_does_not_know() {
        let text = r#"[{"id":"wh_1","state":"down","last_failure":"tls","in_flight":1,"backlog":2,"planned":9,"delivered":3,
            "parked":4,"dead":5,"cancelled":0,"rate_limit":2000}]"#;
        let states: Vec<WebhookState> = serde_json::from_str(text).expect("as documented");
        let expected = WebhookState {
            id: WebhookId::new("wh_1"),
            state: "down".to_owned(),
            last_failure: Some("tls".to_owned()),
            in_flight: 1,
            backlog: 2,
            delivered: 3,
            parked: 4,
            dead: 5,
        };
        assert_eq!(states, [expected]);
    }
}
