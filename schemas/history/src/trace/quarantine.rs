//! What stands in quarantine about a payment: bodies are opened one by one and searched, because what was not
//! understood has no fields that could be asked.

use hookline_event_log::{JournalName, Log, Partition, ReadError};
use hookline_schemas::delivery::decode;
use hookline_schemas::ids::GatewayId;
use hookline_schemas::notification::NotificationType;
use hookline_schemas::quarantine::{QuarantinedNotification, place_of};
use hookline_schemas::seal::Sealer;
use hookline_schemas::time::Timestamp;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use crate::History;
use crate::scan::Scan;

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
    /// Those of these gateways whose body holds this text as a word, each once; and how many could not be opened.
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
        let (mut found, mut sealed) = (Vec::<TracedQuarantine>::new(), 0);
        while let Some(records) = scan.next().await? {
            for record in records {
                let key = String::from_utf8_lossy(&record.key).into_owned();
                if found.iter().any(|known| known.key == key) {
                    continue;
                }
                let Ok(entry) = decode::<QuarantinedNotification>(&record.value) else { continue };
                if !is_theirs(&entry.gateway) {
                    continue;
                }
                match sealer.and_then(|sealer| open(sealer, &key, &entry)) {
                    Some(body) if holds_word(&body, text.as_bytes()) => found.push(TracedQuarantine {
                        key,
                        gateway: entry.gateway,
                        notification: entry.notification,
                        reason: entry.reason,
                        accepted_at: entry.accepted_at,
                    }),
                    Some(_) => {}
                    None => sealed += 1,
                }
            }
        }
        Ok((found, sealed))
    }
}

fn open(sealer: &Sealer, key: &str, entry: &QuarantinedNotification) -> Option<Vec<u8>> {
    sealer.open(&place_of(key), &entry.decode_sealed()?).ok()
}

/// Whether the text stands there by itself: 12 is not in 123.
fn holds_word(body: &[u8], text: &[u8]) -> bool {
    let is_border = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    Finder::new(text).find_iter(body).any(|at| {
        let before = at.checked_sub(1).and_then(|before| body.get(before));
        is_border(before) && is_border(body.get(at + text.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_number_that_stands_by_itself() {
        for (body, expected) in [
            ("TransactionId=12&Amount=1", true),
            ("Amount=1&TransactionId=12", true),
            ("{\"TransactionId\":12}", true),
            ("TransactionId=123", false),
            ("TransactionId=312", false),
            ("TransactionId=3121&InvoiceId=12", true),
            ("", false),
        ] {
            assert_eq!(holds_word(body.as_bytes(), b"12"), expected, "{body}");
        }
    }
}
