//! What stands in quarantine about a payment: bodies are opened one by one, and the ids in them compared.
//!
//! Nothing but ids is compared: who asks must not learn, word by word, what else stands in a body that is sealed.

use std::collections::HashMap;

use hookline_event_log::{JournalName, Log, Partition, ReadError};
use hookline_schemas::delivery::decode;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::notification::{BodyFormat, Field, NotificationType, read_fields};
use hookline_schemas::quarantine::{QuarantinedNotification, place_of};
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::History;
use crate::scan::Scan;

/// The fields by which a payment is called.
const IDS: [Field; 5] =
    [Field::TransactionId, Field::PaymentTransactionId, Field::InvoiceId, Field::SubscriptionId, Field::Id];

/// A notification in quarantine. Its body stays sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedQuarantine {
    /// Its key: a hash of the body.
    pub key: String,
    /// Through which gateway it came.
    pub gateway: GatewayId,
    /// Its type, as the address or the fields say.
    pub notification: NotificationType,
    /// What was not understood.
    pub reason: String,
    /// When the edge accepted it first.
    pub accepted_at: Timestamp,
}

impl<L: Log> History<L> {
    /// Those of these gateways of whose ids one is this text, each once; and how many bodies could not be opened or
    /// read.
    ///
    /// # Errors
    ///
    /// If the log can't be read.
    pub async fn quarantined(
        &self,
        text: &str,
        sealer: Option<&Sealer>,
        is_theirs: impl Fn(&GatewayId) -> bool,
    ) -> Result<(Vec<TracedQuarantine>, u64), ReadError> {
        let journal = self.log.journal(JournalName::Quarantine);
        let mut scan = Scan::all(&journal, Partition(0), None).await?;
        let mut found = Vec::new();
        let mut looked = Looked::default();
        while let Some(records) = scan.next().await? {
            for record in records {
                let key = String::from_utf8_lossy(&record.key).into_owned();
                if looked.is_known(&key) {
                    continue;
                }
                let Ok(entry) = decode::<QuarantinedNotification>(&record.value) else { continue };
                if !is_theirs(&entry.gateway) {
                    continue;
                }
                let is_about = sealer.and_then(|sealer| is_about(sealer, &key, &entry, text));
                looked.at(&key, is_about.is_some());
                if is_about == Some(true) {
                    let QuarantinedNotification { gateway, notification, reason, accepted_at, .. } = entry;
                    found.push(TracedQuarantine { key, gateway, notification, reason, accepted_at });
                }
            }
        }
        Ok((found, looked.unread()))
    }
}

/// The bodies that were looked at, by their keys, and whether each could be read.
#[derive(Debug, Default)]
struct Looked(HashMap<String, bool>);

impl Looked {
    /// One that could not be read may be sealed with another key where it is repeated.
    fn is_known(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|could_be_read| *could_be_read)
    }

    fn at(&mut self, key: &str, could_be_read: bool) {
        self.0.insert(key.to_owned(), could_be_read);
    }

    fn unread(&self) -> u64 {
        self.0.values().map(|could_be_read| u64::from(!could_be_read)).sum()
    }
}

/// Whether the body is about the payment that is called so; `None`, if it can't be opened or read.
fn is_about(sealer: &Sealer, key: &str, entry: &QuarantinedNotification, text: &str) -> Option<bool> {
    let body = sealer.open(&place_of(key), &entry.decode_sealed()?).ok()?;
    let format = if entry.json { BodyFormat::Json } else { BodyFormat::Form };
    holds_id(format, &body, text)
}

/// Whether one of the ids in the body is this text; `None`, if the body can't be read.
fn holds_id(format: BodyFormat, body: &[u8], text: &str) -> Option<bool> {
    let fields = read_fields(format, body).ok()?;
    Some(IDS.into_iter().any(|field| fields.text(field) == Some(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_about_what_one_of_its_ids_says_and_about_nothing_else() {
        use BodyFormat::{Form, Json};
        for (format, body, text, expected) in [
            (Form, "TransactionId=12&Amount=1", "12", Some(true)),
            (Form, "Amount=1&PaymentTransactionId=12", "12", Some(true)),
            (Form, "InvoiceId=order%2D12", "order-12", Some(true)),
            (Form, "SubscriptionId=sc_1", "sc_1", Some(true)),
            (Form, "Id=sc_1&Interval=Month", "sc_1", Some(true)),
            (Json, "{\"TransactionId\":12}", "12", Some(true)),
            (Json, "{\"InvoiceId\":\"order-12\"}", "order-12", Some(true)),
            (Form, "TransactionId=123", "12", Some(false)),
            (Form, "TransactionId=1&Email=ivan%40example.com", "ivan@example.com", Some(false)),
            (Form, "TransactionId=1&CardFirstSix=424242", "424242", Some(false)),
            (Form, "TransactionId=1&AccountId=ivan", "ivan", Some(false)),
            (Json, "{\"TransactionId\":1,\"Email\":\"ivan@example.com\"}", "ivan@example.com", Some(false)),
            (Json, "{\"TransactionId\":1,\"CardFirstSix\":\"424242\"}", "424242", Some(false)),
            (Json, "TransactionId=12", "12", None),
            (Form, "TransactionId=12&TransactionId=13", "12", None),
            (Form, "Email=ivan@example com", "ivan@example", None),
        ] {
            assert_eq!(holds_id(format, body.as_bytes(), text), expected, "{text} in {body}");
        }
    }
}
