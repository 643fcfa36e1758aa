//! What tells an event from others, read from its record without reading all of that.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};

/// The part of an event's record that the repeat memory needs. Whoever takes over a partition reads hundreds of
/// thousands of them before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventIdentity<'a> {
    /// As in [`Event`](super::Event).
    pub id: &'a str,
    /// As in [`Event`](super::Event).
    pub fingerprint: u64,
}

impl<'a> EventIdentity<'a> {
    /// Reads a record as far as both have been found: they stand at its beginning. None, where they do not stand in it.
    pub fn read(record: &'a [u8]) -> Option<Self> {
        let mut found = Found { id: None, fingerprint: None };
        let mut parser = serde_json::Deserializer::from_slice(record);
        // To stop before its end is an error to the parser; what was found counts.
        let _ = parser.deserialize_map(&mut found);
        Some(Self { id: found.id?, fingerprint: found.fingerprint? })
    }
}

struct Found<'a> {
    id: Option<&'a str>,
    fingerprint: Option<u64>,
}

impl Found<'_> {
    const fn is_complete(&self) -> bool {
        self.id.is_some() && self.fingerprint.is_some()
    }
}

impl<'de> Visitor<'de> for &mut Found<'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while !self.is_complete()
            && let Some(name) = members.next_key::<&str>()?
        {
            match name {
                "id" => self.id = Some(members.next_value()?),
                "fingerprint" => self.fingerprint = Some(members.next_value()?),
                _ => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_both_wherever_they_stand_and_reads_no_further() {
        let found = Some(EventIdentity { id: "evt_1", fingerprint: 7 });
        for (record, expected) in [
            (r#"{"id":"evt_1","fingerprint":7,"type":"PAYMENT_RECEIVED"}"#, found),
            (r#"{"data":{"id":"evt_2"},"fingerprint":7,"more":[1],"id":"evt_1"}"#, found),
            (r#"{"id":"evt_1","fingerprint":7,"#, found),
            (r#"{"id":"evt_1"}"#, None),
            (r#"{"id":7,"fingerprint":7}"#, None),
            (r#"["evt_1",7]"#, None),
            ("", None),
        ] {
            assert_eq!(EventIdentity::read(record.as_bytes()), expected, "{record}");
        }
    }
}
