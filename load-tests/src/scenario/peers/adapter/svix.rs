//! Svix: an application with its endpoints; a message goes to all endpoints of its application.
//!
//! Untried: by the API of version 1 of its open-source server. The application is created under an identifier of ours, by
//! which every later path names it.

use http::Method;
use serde_json::json;

use super::{Access, Adapter, Call, EVENT_TYPE, Endpoint, content};

#[derive(Debug)]
pub(super) struct Svix(pub(super) Access);

impl Adapter for Svix {
    fn registration(&self, endpoints: &[Endpoint]) -> anyhow::Result<Vec<Call>> {
        let Self(access) = self;
        let application = json!({ "name": access.run, "uid": access.run });
        let mut calls = vec![access.call(Method::POST, "/api/v1/app/", &application)?];
        let path = format!("/api/v1/app/{}/endpoint/", access.run);
        for endpoint in endpoints {
            let endpoint = json!({ "url": endpoint.url, "secret": endpoint.secret, "version": 1 });
            calls.push(access.call(Method::POST, &path, &endpoint)?);
        }
        Ok(calls)
    }

    fn publication(&self, number: u64) -> anyhow::Result<Call> {
        let Self(access) = self;
        let message = json!({ "eventType": EVENT_TYPE, "payload": content(number) });
        access.call(Method::POST, &format!("/api/v1/app/{}/msg/", access.run), &message)
    }
}
