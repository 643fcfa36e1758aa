//! Values as CloudPayments' API writes them: numbers where notifications have texts, dates in two forms, and money as
//! JSON numbers, which never become floats here.
//!
//! A value that is absent, `null` or empty is the same as none.

use hookline_schemas::money::Amount;
use hookline_schemas::time::Timestamp;
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A value of an object, as it is written.
pub(super) type Written<'a> = Option<&'a RawValue>;

/// A text, or the digits of a number as they are written.
pub(super) fn text(value: Written<'_>) -> Option<String> {
    let raw = value?.get();
    let text = match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok()?,
        b'-' | b'0'..=b'9' => raw.to_owned(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// A whole number, also where it stands in quotes.
pub(super) fn number(value: Written<'_>) -> Option<u64> {
    text(value)?.parse().ok()
}

/// The number of a transaction: none has 0.
pub(super) fn transaction_id(value: Written<'_>) -> Option<u64> {
    number(value).filter(|id| *id > 0)
}

/// A sum, digit by digit. What has a sign or an exponent is none.
pub(super) fn amount(value: Written<'_>) -> Option<Amount> {
    text(value)?.parse().ok()
}

/// A flag: `true` or 1, in quotes or not.
pub(super) fn flag(value: Written<'_>) -> bool {
    let is_true = value.is_some_and(|value| value.get() == "true");
    is_true || text(value).is_some_and(|text| text == "1" || text.eq_ignore_ascii_case("true"))
}

/// A moment, of `CreatedDateIso` and its like (`2021-10-30T03:59:58`, in UTC though no zone says so), else of
/// `CreatedDate` (`/Date(1635566398686)/`, milliseconds since 1970).
pub(super) fn moment(iso: Written<'_>, date: Written<'_>) -> Option<Timestamp> {
    let of_iso = || {
        let text = text(iso)?;
        Timestamp::parse_rfc3339(&text).or_else(|_| Timestamp::parse_rfc3339(&format!("{text}Z"))).ok()
    };
    let of_date = || {
        let text = text(date)?;
        let inner = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
        // An offset behind the milliseconds says how to show the moment, not which one it is.
        let milliseconds = inner.split(['+', '-']).next()?;
        milliseconds.parse().ok().map(Timestamp)
    };
    of_iso().or_else(of_date)
}

/// A sum that goes out as a JSON number with exactly its digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exact(pub(super) Amount);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    #[test]
    fn sums_keep_every_digit_and_never_become_floats() {
        for (text, expected) in [
            ("10.5", Some("10.5")),
            ("10.50", Some("10.50")),
            ("1490", Some("1490")),
            ("0.00", Some("0.00")),
            ("9007199254740993.01", Some("9007199254740993.01")),
            ("0.1000000000000000055", Some("0.1000000000000000055")),
            ("\"10.50\"", Some("10.50")),
            ("1e3", None),
            ("1.5E1", None),
            ("-10.50", None),
            ("\"10,50\"", None),
            ("\"\"", None),
            ("null", None),
            ("true", None),
            ("[10]", None),
        ] {
            let found = amount(Some(&written(text)));
            assert_eq!(found.map(|amount| amount.to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(amount(Some(&written("10.5"))), amount(Some(&written("10.50"))));
        assert_eq!(amount(None), None);
    }

    #[test]
    fn sums_go_out_as_numbers_with_their_digits() {
        for text in ["10.50", "10.5", "1490", "0.00", "9007199254740993.01"] {
            let amount = text.parse().expect("a sum");
            assert_eq!(serde_json::to_string(&Exact(amount)).expect("JSON"), text);
        }
    }

    #[test]
    fn moments_are_in_utc_in_either_form() {
        let at = Some(1_635_566_398_000);
        for (iso, date, expected) in [
            ("\"2021-10-30T03:59:58\"", "\"/Date(1635566398686)/\"", at),
            ("\"2021-10-30T03:59:58.686\"", "null", Some(1_635_566_398_686)),
            ("\"2021-10-30T03:59:58Z\"", "null", at),
            ("\"2021-10-30T06:59:58+03:00\"", "null", at),
            ("null", "\"/Date(1635566398686)/\"", Some(1_635_566_398_686)),
            ("null", "\"\\/Date(1635566398686)\\/\"", Some(1_635_566_398_686)),
            ("null", "\"/Date(1635566398686+0300)/\"", Some(1_635_566_398_686)),
            ("\"\"", "\"/Date(1635566398686)/\"", Some(1_635_566_398_686)),
            ("\"yesterday\"", "\"/Date(1635566398686)/\"", Some(1_635_566_398_686)),
            ("null", "\"/Date(-1)/\"", None),
            ("null", "\"/Date()/\"", None),
            ("null", "\"1635566398686\"", None),
            ("\"2021-10-30\"", "null", None),
            ("null", "null", None),
        ] {
            let found = moment(Some(&written(iso)), Some(&written(date)));
            assert_eq!(found, expected.map(Timestamp), "{iso} {date}");
        }
    }

    #[test]
    fn numbers_and_texts_stand_for_each_other() {
        for (raw, as_text, as_number) in [
            ("3541977847", Some("3541977847"), Some(3_541_977_847)),
            ("\"3541977847\"", Some("3541977847"), Some(3_541_977_847)),
            ("\"INV-7\"", Some("INV-7"), None),
            ("10.5", Some("10.5"), None),
            ("-7", Some("-7"), None),
            ("\"\"", None, None),
            ("null", None, None),
            ("{}", None, None),
            ("true", None, None),
        ] {
            let written = written(raw);
            assert_eq!(text(Some(&written)).as_deref(), as_text, "{raw}");
            assert_eq!(number(Some(&written)), as_number, "{raw}");
        }
        assert_eq!(transaction_id(Some(&written("0"))), None);
    }

    #[test]
    fn flags_are_true_or_1() {
        for (raw, expected) in
            [("true", true), ("1", true), ("\"True\"", true), ("false", false), ("0", false), ("null", false)]
        {
            assert_eq!(flag(Some(&written(raw))), expected, "{raw}");
        }
    }
}
