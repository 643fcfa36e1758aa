//! django-webhook in the Django project of `load-tests/peers/django-webhook`: one list of endpoints, and every saved
//! payment goes to all of them.
//!
//! Tried against django-webhook 0.0.15 with Celery 5.7, Redis 7.0 and PostgreSQL 15.

use http::Method;
use serde_json::{Value, json};

use super::{Access, Adapter, Call, Endpoint, content};

#[derive(Debug)]
pub(super) struct DjangoWebhook(pub(super) Access);

impl Adapter for DjangoWebhook {
    fn registration(&self, endpoints: &[Endpoint]) -> anyhow::Result<Vec<Call>> {
        let all = endpoints.iter().map(|endpoint| json!({ "url": endpoint.url, "secret": endpoint.secret }));
        Ok(vec![self.0.call(Method::PUT, "/endpoints", &Value::Array(all.collect()))?])
    }

    fn publication(&self, number: u64) -> anyhow::Result<Call> {
        self.0.call(Method::POST, "/events", &content(number))
    }
}
