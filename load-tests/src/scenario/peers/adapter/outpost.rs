//! Outpost: a tenant with a destination per endpoint; a publish goes to all destinations of its tenant and topic.
//!
//! Untried: by its documentation of version 1.

use http::Method;
use serde_json::json;

use super::{Access, Adapter, Call, EVENT_TYPE, Endpoint, content};

#[derive(Debug)]
pub(super) struct Outpost(pub(super) Access);

impl Adapter for Outpost {
    fn registration(&self, endpoints: &[Endpoint]) -> anyhow::Result<Vec<Call>> {
        let Self(access) = self;
        let tenant = format!("/api/v1/tenants/{}", access.run);
        let mut calls = vec![access.call(Method::PUT, &tenant, &json!({}))?];
        for endpoint in endpoints {
            let destination = json!({
                "type": "webhook",
                "topics": [EVENT_TYPE],
                "config": { "url": endpoint.url },
                "credentials": { "secret": endpoint.secret },
            });
            calls.push(access.call(Method::POST, &format!("{tenant}/destinations"), &destination)?);
        }
        Ok(calls)
    }

    fn publication(&self, number: u64) -> anyhow::Result<Call> {
        let Self(access) = self;
        let event = json!({
            "tenant_id": access.run,
            "topic": EVENT_TYPE,
            "eligible_for_retry": true,
            "data": content(number),
        });
        access.call(Method::POST, "/api/v1/publish", &event)
    }
}
