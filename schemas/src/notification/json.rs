//! JSON bodies: one object; numbers keep the digits they were written with.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Field, Fields, ReadBodyError};

/// The pairs of an object in their order, repetitions included, with the values as they are written.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(48);
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    pairs.push((key, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// Reads the fields that hookline uses.
pub(super) fn read(body: &[u8]) -> Result<Fields<'_>, ReadBodyError> {
    let Pairs(pairs) = serde_json::from_slice(body).map_err(|_| ReadBodyError::NotJson)?;
    let mut fields = Fields::new();
    for (key, value) in pairs {
        if let Some(field) = Field::of_key(key.as_bytes()) {
            fields.insert(field, text_of(value)?)?;
        }
    }
    Ok(fields)
}

/// Every pair; for the identity of a notification without a transaction.
pub(super) fn all_pairs(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(Pairs(pairs)) = serde_json::from_slice(body) else {
        return vec![(Vec::new(), body.to_vec())];
    };
    let text = |value: &RawValue| text_of(value).map_or_else(|_| value.get().to_owned(), Cow::into_owned);
    pairs.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), text(value).into_bytes())).collect()
}

/// A string without its quotes, `null` as empty, anything else (numbers, flags, nested JSON) as written.
fn text_of(value: &RawValue) -> Result<Cow<'_, str>, ReadBodyError> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') if memchr::memchr(b'\\', raw.as_bytes()).is_none() => {
            Ok(Cow::Borrowed(raw.trim_matches('"')))
        }
        Some(b'"') => serde_json::from_str(raw).map(Cow::Owned).map_err(|_| ReadBodyError::NotJson),
        Some(b'n') => Ok(Cow::Borrowed("")),
        _ => Ok(Cow::Borrowed(raw)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let body =
            br#"{"TransactionId":3541977847,"Amount":1490.00,"TestMode":true,"Token":null,"Data":{"a":1}}"#;
        let fields = read(body).expect("an object");
        assert_eq!(fields.text(Field::TransactionId), Some("3541977847"));
        assert_eq!(fields.text(Field::Amount), Some("1490.00"));
        assert!(fields.flag(Field::TestMode));
        assert_eq!(fields.text(Field::Token), None);
        assert_eq!(fields.text(Field::Data), Some(r#"{"a":1}"#));
    }

    #[test]
    fn refuses_repeated_critical_keys_and_everything_but_an_object() {
        for (body, expected) in [
            (&br#"{"Amount":1,"Amount":2}"#[..], ReadBodyError::Repeated(Field::Amount)),
            (br#"{"Amount":1,"\u0041mount":2}"#, ReadBodyError::Repeated(Field::Amount)),
            (b"[]", ReadBodyError::NotJson),
            (b"", ReadBodyError::NotJson),
            (b"{\"Amount\":\"\xff\"}", ReadBodyError::NotJson),
            (b"{} x", ReadBodyError::NotJson),
        ] {
            assert_eq!(read(body).map(|_| ()), Err(expected), "{}", body.escape_ascii());
        }
    }
}
