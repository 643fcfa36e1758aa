//! Scalars of our own: times, and texts that must not be shown.

use std::borrow::Cow;

use async_graphql::registry::Registry;
use async_graphql::{InputType, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use hookline_schemas::secret::Secret;
use hookline_schemas::time::Timestamp;

/// A time in RFC 3339, in UTC: `2026-05-30T14:32:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateTime(pub(crate) Timestamp);

/// A time in RFC 3339, in UTC: `2026-05-30T14:32:00Z`.
#[Scalar(name = "DateTime")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Ok(Self(Timestamp::parse_rfc3339(text)?)),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339())
    }
}

/// A text that nobody is shown. To callers it is a `String`, so that variables of that type fit. What async-graphql
/// holds of the request beside it (the document and its variables) is wiped by nobody.
#[derive(Debug, Clone)]
pub(crate) struct SecretText(pub(crate) Secret);

impl InputType for SecretText {
    type RawValueType = Self;

    fn type_name() -> Cow<'static, str> {
        <String as InputType>::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        <String as InputType>::create_type_info(registry)
    }

    /// No error shows what stood there.
    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        match value {
            Some(Value::String(text)) => Ok(Self(Secret::new(text))),
            _ => Err(InputValueError::custom("a text is expected")),
        }
    }

    /// For defaults alone, of which there is none.
    fn to_value(&self) -> Value {
        Value::Null
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::Pos;

    use super::*;

    #[test]
    fn a_secret_is_a_text_and_no_error_shows_what_stood_there() {
        let read = SecretText::parse(Some(Value::from("8417236"))).expect("a text");
        assert_eq!((read.0.expose(), format!("{read:?}")), ("8417236", "SecretText(Secret(..))".to_owned()));
        for wrong in
            [None, Some(Value::Null), Some(Value::from(8_417_236)), Some(Value::from(vec!["8417236"]))]
        {
            let refused = SecretText::parse(wrong).expect_err("no text").into_server_error(Pos::default());
            assert!(!refused.message.contains("8417236"), "{refused}");
        }
    }
}
