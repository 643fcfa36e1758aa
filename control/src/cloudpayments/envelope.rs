//! The envelope in which CloudPayments' API answers: `{"Model": .., "Success": bool, "Message": string|null}`.
//!
//! `Success` tells whether the request was understood; of a payment that was declined it is false although `Model` holds
//! it. Some answers lack `Success` or `Message`: what is absent is neither a yes nor a no.

use hookline_schemas::secret::Secret;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Refused;

/// So much of a message is passed on.
const MAX_MESSAGE: usize = 200;

/// An answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    success: Option<bool>,
    message: Option<Value>,
}

impl<'a> Envelope<'a> {
    /// Reads an answer. What is no envelope says nothing about what was done.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Refused> {
        serde_json::from_slice(body)
            .map_err(|_| Refused::Unavailable("its answer is not that of its API".to_owned()))
    }

    /// That what was asked for was done, said in so many words to a site that has this secret.
    pub(super) fn done(&self, secret: &Secret) -> Result<(), Refused> {
        match self.success {
            Some(true) => Ok(()),
            Some(false) => Err(Refused::Declined(self.words(secret))),
            None => Err(unclear()),
        }
    }

    /// What the model is read as by `read`, unless the answer says no: a model is a yes where there is no word for it.
    pub(super) fn model<T>(
        &self,
        secret: &Secret,
        read: impl FnOnce(&'a RawValue) -> Option<T>,
    ) -> Result<T, Refused> {
        if self.success == Some(false) {
            return Err(Refused::Declined(self.words(secret)));
        }
        self.model_whatever_it_says(read).ok_or_else(unclear)
    }

    /// What the model is read as by `read`, also where the answer says no.
    pub(super) fn model_whatever_it_says<T>(
        &self,
        read: impl FnOnce(&'a RawValue) -> Option<T>,
    ) -> Option<T> {
        self.model.and_then(read)
    }

    /// Whether it says that there is no such thing. The documentation shows these words for `/payments/find` alone; no
    /// other no is taken for it, because money may hang on what is not there.
    pub(super) fn says_not_found(&self) -> bool {
        let said = self.message.as_ref().and_then(Value::as_str).unwrap_or_default();
        self.success == Some(false) && said.to_ascii_lowercase().contains("not found")
    }

    /// What it says to people: bounded, in one line, and without the secret, should it ever repeat it.
    fn words(&self, secret: &Secret) -> String {
        let said = self.message.as_ref().and_then(Value::as_str).unwrap_or("without a reason");
        let said = said.replace(secret.expose(), "...");
        said.chars().filter(|letter| !letter.is_control()).take(MAX_MESSAGE).collect()
    }
}

/// Neither yes nor no, or a yes without what it is about. The content of the answer is nobody's business.
fn unclear() -> Refused {
    Refused::Unavailable("its answer does not say what was done".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_lacks_is_neither_a_yes_nor_a_no() {
        let declined = |words: &str| Err(Refused::Declined(words.to_owned()));
        let number = |raw: &RawValue| raw.get().parse::<u64>().ok();
        for (body, done, model) in [
            (r#"{"Model":7,"Success":true,"Message":null}"#, Ok(()), Ok(7)),
            (r#"{"Model":7,"Success":true}"#, Ok(()), Ok(7)),
            (r#"{"Model":7}"#, Err(unclear()), Ok(7)),
            (r#"{"Model":"x","Success":true}"#, Ok(()), Err(unclear())),
            (r#"{"Success":true}"#, Ok(()), Err(unclear())),
            (r#"{"Model":null,"Success":true}"#, Ok(()), Err(unclear())),
            (r#"{"Message":"thanks"}"#, Err(unclear()), Err(unclear())),
            ("{}", Err(unclear()), Err(unclear())),
            (r#"{"Success":false}"#, declined("without a reason"), Err(Refused::Declined(String::new()))),
            (r#"{"Success":false,"Message":"no"}"#, declined("no"), Err(Refused::Declined(String::new()))),
            (r#"{"Success":false,"Message":8}"#, declined("without a reason"), Err(unclear())),
        ] {
            let envelope = Envelope::read(body.as_bytes()).expect("an envelope");
            let secret = Secret::new("secret");
            assert_eq!(envelope.done(&secret), done, "{body}");
            match (envelope.model(&secret, number), done) {
                (Err(refused), Err(said @ Refused::Declined(_))) => assert_eq!(refused, said, "{body}"),
                (found, _) => assert_eq!(found, model, "{body}"),
            }
        }
    }

    #[test]
    fn what_is_no_envelope_says_nothing() {
        for body in ["", "<html>", "[]", "{", r#"{"Success":"true"}"#, r#"{"Success":true,"Success":true}"#] {
            let refused = Envelope::read(body.as_bytes()).map(drop);
            assert!(matches!(refused, Err(Refused::Unavailable(_))), "{body}: {refused:?}");
        }
    }

    #[test]
    fn only_its_own_words_say_that_there_is_no_such_thing() {
        for (body, expected) in [
            (r#"{"Success":false,"Message":"Not found"}"#, true),
            (r#"{"Success":false,"Message":"Transaction not found."}"#, true),
            (r#"{"Success":true,"Message":"Not found"}"#, false),
            (r#"{"Message":"Not found"}"#, false),
            (r#"{"Success":false,"Message":null}"#, false),
            (r#"{"Success":false,"Message":"Internal error"}"#, false),
        ] {
            assert_eq!(
                Envelope::read(body.as_bytes()).expect("an envelope").says_not_found(),
                expected,
                "{body}"
            );
        }
    }
}
