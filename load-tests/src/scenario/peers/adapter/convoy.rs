//! Convoy: endpoints of one owner, each with a subscription; a fan-out goes to all endpoints of an owner.
//!
//! Untried: by its API reference. The project is one for outgoing webhooks, and its API key is the token.

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};

use super::{Access, Adapter, Call, EVENT_TYPE, Endpoint, content};

#[derive(Debug)]
pub(super) struct Convoy(pub(super) Access);

impl Convoy {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/projects/{}/{rest}", self.0.project)
    }
}

impl Adapter for Convoy {
    fn registration(&self, endpoints: &[Endpoint]) -> anyhow::Result<Vec<Call>> {
        let calls = endpoints.iter().zip(1..).map(|(endpoint, number)| {
            let endpoint = json!({
                "name": format!("{}-{number}", self.0.run),
                "owner_id": self.0.run,
                "url": endpoint.url,
                "secret": endpoint.secret,
            });
            self.0.call(Method::POST, &self.path("endpoints"), &endpoint)
        });
        calls.collect()
    }

    /// An endpoint was created: its subscription names it. Of a subscription nothing follows.
    fn follow_up(&self, answer: &Value) -> anyhow::Result<Option<Call>> {
        let created = answer.get("data").context("Convoy's answer has no data")?;
        if created.get("owner_id").is_none() {
            return Ok(None);
        }
        let endpoint = created.get("uid").and_then(Value::as_str).context("Convoy's endpoint has no uid")?;
        let subscription = json!({
            "name": format!("{}-{endpoint}", self.0.run),
            "endpoint_id": endpoint,
            "filter_config": { "event_types": ["*"] },
        });
        self.0.call(Method::POST, &self.path("subscriptions"), &subscription).map(Some)
    }

    fn publication(&self, number: u64) -> anyhow::Result<Call> {
        let event = json!({ "owner_id": self.0.run, "event_type": EVENT_TYPE, "data": content(number) });
        self.0.call(Method::POST, &self.path("events/fanout"), &event)
    }
}
