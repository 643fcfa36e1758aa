//! hookline over its own edge: a signed Pay, as CloudPayments posts it.

use anyhow::Context;
use bytes::Bytes;
use hookline_schemas::signature::ContentKey;
use hookline_schemas::time::Timestamp;
use http::{HeaderValue, Response};

use super::{Adapter, Call, Endpoint};
use crate::fixtures::{Encoding, Fixture, Shape, Subject};
use crate::simulator::{Signed, Target, answered_code};

/// 2026-05-28, 12:42:23.
const OCCURRED_AT: Timestamp = Timestamp(1_779_972_143_000);

/// hookline, of which the scenario has written the configuration.
#[derive(Debug)]
pub(in crate::scenario::peers) struct Hookline {
    target: Target,
    key: ContentKey,
}

impl Hookline {
    pub(in crate::scenario::peers) fn at(target: Target) -> Self {
        let key = ContentKey::new(&target.api_secret);
        Self { target, key }
    }
}

impl Adapter for Hookline {
    /// The webhooks stand in its configuration.
    fn registration(&self, _endpoints: &[Endpoint]) -> anyhow::Result<Vec<Call>> {
        Ok(Vec::new())
    }

    fn publication(&self, number: u64) -> anyhow::Result<Call> {
        let subject = Subject {
            transaction_id: number,
            invoice_id: format!("order-{number}"),
            account_id: format!("client-{}", number % 5000),
            amount: "1490.00".parse().context("no sum")?,
            occurred_at: OCCURRED_AT,
        };
        let fixture = Fixture::new(Shape::Pay2026, &subject, Encoding::LowerCase);
        let url = format!("/payments/cloudpayments/{}/pay", self.target.gateway_id).parse()?;
        let mut call = Signed::new(&fixture, &self.key).request(url);
        let address = self.target.addresses.first().context("hookline has no edge")?;
        call.headers_mut().insert("host", HeaderValue::from_str(&address.to_string())?);
        Ok(call)
    }

    fn is_accepted(&self, answer: &Response<Bytes>) -> bool {
        answered_code(answer) == Some(0)
    }
}
