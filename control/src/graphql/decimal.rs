//! Money in GraphQL: a decimal text, never a float.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use hookline_schemas::money::Amount;

/// A sum of money: a decimal text such as `"1490.00"`. Numbers are taken as well, up to twelve digits before the dot and
/// two behind it; answers always have texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal(pub(crate) Amount);

/// Above this a float does not hold every kopeck.
const MAX_NUMBER_DIGITS: usize = 12;

/// A sum of money: a decimal text such as `"1490.00"`. Numbers are taken as well, up to twelve digits before the dot and
/// two behind it; answers always have texts.
#[Scalar(name = "Decimal")]
impl ScalarType for Decimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Ok(Self(text.parse()?)),
            // What is written as 0.1 comes as the float next to it, and is written as 0.1 again.
            Value::Number(number) => {
                let text = number.to_string();
                let whole = text.split('.').next().unwrap_or_default();
                let amount: Amount = text.parse()?;
                if whole.len() > MAX_NUMBER_DIGITS || amount.decimals() > 2 {
                    return Err(InputValueError::custom(
                        "a sum with so many digits is taken as a text alone",
                    ));
                }
                Ok(Self(amount))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sums_are_taken_as_they_are_written() {
        for (written, expected) in [
            (json!("1490.00"), Some("1490.00")),
            (json!("9007199254740993.01"), Some("9007199254740993.01")),
            (json!(1490), Some("1490")),
            (json!(0.1), Some("0.1")),
            (json!(70.89), Some("70.89")),
            (json!(999_999_999_999.99), Some("999999999999.99")),
            (json!(9_007_199_254_740_993_u64), None),
            (json!(0.001), None),
            (json!(1e30), None),
            (json!(-1), None),
            (json!("-1.00"), None),
            (json!("1e2"), None),
            (json!(true), None),
        ] {
            let value = Value::from_json(written.clone()).expect("a value");
            let parsed = Decimal::parse(value).ok().map(|amount| amount.0.to_string());
            assert_eq!(parsed.as_deref(), expected, "{written}");
        }
    }
}
