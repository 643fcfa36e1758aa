//! What CloudPayments posts, read: the fields that hookline uses, out of a form or a JSON body.
//!
//! Reading is tolerant where the sender is known to vary (unknown keys, absent or empty values, new keys at
//! the end, both cases of hex) and strict where money could move between fields (repeated critical keys, raw
//! bytes that no encoder leaves). It does not verify signatures; that comes before.

mod classify;
mod fields;
mod form;
mod json;
mod kind;

pub use classify::{Classified, classify, has_fields_of_a_payment};
pub use fields::{Field, Fields};
pub use kind::NotificationType;

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/json`.
    Json,
}

impl BodyFormat {
    /// The format that a Content-Type names; parameters such as the charset are ignored.
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else if media_type.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }
}

/// Why a body can't be read. Each is quarantined (or, at Check, refused), never guessed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReadBodyError {
    /// A byte that no form encoder leaves: the body may be the decoded text of another one.
    #[error("the form body holds a byte outside of the urlencoded alphabet")]
    Alphabet,
    /// `%` without two hexadecimal digits.
    #[error("the form body holds a broken escape")]
    Escape,
    /// A field that hookline uses is not UTF-8.
    #[error("a field is not UTF-8")]
    NotUtf8,
    /// One of the keys that decide about money stands there twice.
    #[error("{0} stands in the body twice")]
    Repeated(Field),
    /// Not a JSON object of fields.
    #[error("the body is not a JSON object")]
    NotJson,
}

/// Reads the fields of a body.
///
/// # Errors
///
/// If the body breaks a rule of its format, or repeats a critical key.
pub fn read_fields(format: BodyFormat, body: &[u8]) -> Result<Fields<'_>, ReadBodyError> {
    match format {
        BodyFormat::Form => form::read(body),
        BodyFormat::Json => json::read(body),
    }
}

/// A hash over all fields, decoded and sorted by key: the identity of notifications without a transaction.
/// Independent of the order of keys and of the case of escapes. 32 hexadecimal digits.
pub fn hash_of_fields(format: BodyFormat, body: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let mut pairs = match format {
        BodyFormat::Form => form::all_pairs(body),
        BodyFormat::Json => json::all_pairs(body),
    };
    pairs.sort_unstable();
    let mut hash = Sha256::new();
    for part in pairs.iter().flat_map(|(key, value)| [key, value]) {
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default())
}
