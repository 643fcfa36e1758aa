//! The envelope in which CloudPayments' API answers.

use hookline_schemas::secret::Secret;
use serde::Deserialize;
use serde_json::Value;

use super::Refused;

/// So much of a message is passed on.
const MAX_MESSAGE: usize = 200;

/// An answer that says `"Success": true`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    message: Option<Value>,
}

impl Envelope {
    /// Reads an answer of a site that has this secret.
    pub(super) fn read(body: &[u8], secret: &Secret) -> Result<Self, Refused> {
        let read: Result<Self, _> = serde_json::from_slice(body);
        match read {
            Ok(envelope) if envelope.success => Ok(envelope),
            Ok(envelope) => Err(Refused::Declined(envelope.words(secret))),
            Err(_) => Err(Refused::Unavailable("its answer is not that of its API".to_owned())),
        }
    }

    /// What it says to people: bounded, in one line, and without the secret, should it ever repeat it.
    fn words(&self, secret: &Secret) -> String {
        let said = self.message.as_ref().and_then(Value::as_str).unwrap_or("without a reason");
        let said = said.replace(secret.expose(), "...");
        said.chars().filter(|letter| !letter.is_control()).take(MAX_MESSAGE).collect()
    }
}
