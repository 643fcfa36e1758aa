//! What a request carries: one JSON object or a form, by its content type. Without a body there are no fields.

use anyhow::Context;
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::sum::Sum;

/// The fields by their names; in a form all of them are texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields(Map<String, Value>);

/// The body is neither a JSON object nor a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotFields;

impl Fields {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, NotFields> {
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media_type {
            "application/json" => serde_json::from_slice(body).map(Self).map_err(|_| NotFields),
            "application/x-www-form-urlencoded" => form(body).map(Self).ok_or(NotFields),
            _ => Err(NotFields),
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A text, or some other JSON written as one.
    pub(super) fn json_text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            other => Some(other.to_string()),
        }
    }

    /// The texts of an array; one text is an array of one.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::Array(values)) => {
                values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => self.text(name).map(str::to_owned).into_iter().collect(),
        }
    }

    /// A whole number, or its digits.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.json_text(name)?.parse().ok()
    }

    /// A number, or its digits.
    pub(super) fn sum(&self, name: &str) -> Option<Sum> {
        self.json_text(name)?.parse().ok()
    }

    /// Which transaction is meant.
    pub(super) fn transaction_id(&self) -> anyhow::Result<u64> {
        self.number("TransactionId").context("TransactionId is needed")
    }

    /// `true` or `1`; what is absent is `false`.
    pub(super) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true") || text == "1",
            Some(Value::Number(number)) => number.as_u64() == Some(1),
            _ => false,
        }
    }
}

fn form(body: &[u8]) -> Option<Map<String, Value>> {
    let pairs = std::str::from_utf8(body).ok()?.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decoded(name)?, Value::String(decoded(value)?)))
    });
    decoded.collect()
}

fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &str) -> Result<Fields, NotFields> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().expect("a header"));
        Fields::read(&headers, body.as_bytes())
    }

    #[test]
    fn json_and_forms_carry_the_same() {
        let form = "application/x-www-form-urlencoded";
        for (content_type, body) in [
            ("application/json", r#"{"IsEnabled":true,"Address":"https://a.example/x y","Format":""}"#),
            ("application/json; charset=utf-8", r#"{"IsEnabled":1,"Address":"https://a.example/x y"}"#),
            (form, "IsEnabled=true&Address=https%3a%2F%2fa.example%2fx+y&Format="),
            (form, "&Address=https://a.example/x%20y&IsEnabled=1&"),
        ] {
            let fields = read(content_type, body).expect(body);
            assert!(fields.flag("IsEnabled") && !fields.flag("Address"), "{body}");
            assert_eq!(fields.text("Address"), Some("https://a.example/x y"), "{body}");
            assert_eq!((fields.text("Format"), fields.flag("Nothing")), (None, false), "{body}");
        }
    }

    #[test]
    fn numbers_are_read_as_such_and_as_digits() {
        for (content_type, body) in [
            ("application/json", r#"{"TransactionId":4294967301,"Amount":10.5,"JsonData":{"a":1}}"#),
            ("application/json", r#"{"TransactionId":"4294967301","Amount":"10.50","JsonData":"{\"a\":1}"}"#),
            (
                "application/x-www-form-urlencoded",
                "TransactionId=4294967301&Amount=10.5&JsonData=%7b%22a%22%3a1%7d",
            ),
        ] {
            let fields = read(content_type, body).expect(body);
            assert_eq!(fields.transaction_id().ok(), Some(4_294_967_301), "{body}");
            assert_eq!(fields.sum("Amount"), "10.50".parse().ok(), "{body}");
            assert_eq!(fields.json_text("JsonData").as_deref(), Some(r#"{"a":1}"#), "{body}");
            assert!(fields.sum("Nothing").is_none() && fields.number("Amount").is_none(), "{body}");
        }
        let several = read("application/json", r#"{"Statuses":["Completed","Declined"]}"#).expect("fields");
        assert_eq!(several.texts("Statuses"), ["Completed", "Declined"]);
        let one = read("application/x-www-form-urlencoded", "Statuses=Completed").expect("fields");
        assert_eq!((one.texts("Statuses").len(), one.texts("Nothing").len()), (1, 0));
    }

    #[test]
    fn refuses_what_is_neither() {
        for (content_type, body) in [
            ("application/json", "[1]"),
            ("application/json", "{"),
            ("text/plain", "a=b"),
            ("application/x-www-form-urlencoded", "a=%ff"),
        ] {
            assert_eq!(read(content_type, body), Err(NotFields), "{body}");
        }
        let fields = Fields::read(&HeaderMap::new(), b"").expect("no fields");
        assert_eq!(fields.text("Address"), None);
    }
}
