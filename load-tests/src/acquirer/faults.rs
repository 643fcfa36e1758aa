//! Requests that go wrong: told beforehand, one by one, by the method's path.

use std::time::Duration;

use super::Acquirer;

/// How one request is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// With 429; not processed.
    TooMany,
    /// With 503; not processed.
    Unavailable,
    /// Processed, and the connection is closed without an answer.
    DoneThenSilent,
    /// Processed, and answered with 503.
    DoneThen503,
    /// With `Success` false and this message; not processed.
    Refuse(String),
    /// Processed; the answer has neither `Success` nor `Message`.
    WithoutEnvelope,
    /// Processed at once, and answered as it should be after this time.
    Hang(Duration),
}

impl Acquirer {
    /// How the site's next requests at this path (`/payments/refund`) are answered, in order; then normally again.
    /// They are added to those that are still to come. An unknown site changes nothing.
    pub fn misbehave(&self, public_id: &str, path: &str, faults: Vec<Fault>) {
        self.change(public_id, |site| site.faults.entry(path.to_owned()).or_default().extend(faults));
    }
}
