//! Money: decimal from the first byte to the last, never a float.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A sum as CloudPayments writes it: digits, optionally a dot and digits. Keeps the digits it was given, so
/// `10.00` goes out as `10.00`; compares by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]+(\\.[0-9]+)?$", "examples" = ["1490.00"]))]
pub struct Amount(Decimal);

/// The text is not a sum: a sign, an exponent, a comma, nothing, or more digits than a decimal of 96 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal amount")]
pub struct NotAnAmount;

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Both together. Beyond 28 digits, which no money has, it stays at the greatest sum that there is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it; zero, where that would be less.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        if other >= self { Self::ZERO } else { Self(self.0.saturating_sub(other.0)) }
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The same sum without zeros at the end of its fraction: sums that are equal are written the same.
    #[must_use]
    pub fn normalized(self) -> Self {
        Self(self.0.normalize())
    }

    /// How many digits stand behind the dot, zeros at the end not counted: `10.50` has one.
    pub fn decimals(self) -> u32 {
        self.0.normalize().scale()
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl FromStr for Amount {
    type Err = NotAnAmount;

    fn from_str(text: &str) -> Result<Self, NotAnAmount> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(NotAnAmount);
        }
        Decimal::from_str_exact(text).map(Self).map_err(|_| NotAnAmount)
    }
}

impl TryFrom<String> for Amount {
    type Error = NotAnAmount;

    fn try_from(text: String) -> Result<Self, NotAnAmount> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_cloudpayments_writes_and_nothing_else() {
        for (text, expected) in [
            ("123.00", Some("123.00")),
            ("70.89", Some("70.89")),
            ("0.00", Some("0.00")),
            ("5", Some("5")),
            ("9007199254740993.01", Some("9007199254740993.01")),
            ("", None),
            (".5", None),
            ("5.", None),
            ("-1.00", None),
            ("+1.00", None),
            ("1e2", None),
            ("1,00", None),
            ("1 000.00", None),
            ("NaN", None),
            ("0x10", None),
            ("99999999999999999999999999999999", None),
        ] {
            let parsed = text.parse::<Amount>().ok().map(|amount| amount.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn compares_by_value() {
        assert_eq!("10.0".parse::<Amount>(), "10.00".parse::<Amount>());
    }

    #[test]
    fn sums_are_exact_and_never_below_zero() {
        let amount = |text: &str| text.parse::<Amount>().expect("a sum");
        let sum: Amount = ["0.10", "0.20", "9007199254740993.01"].map(amount).into_iter().sum();
        assert_eq!(sum.to_string(), "9007199254740993.31");
        assert_eq!(amount("10.00").minus(amount("9.99")).to_string(), "0.01");
        assert_eq!(amount("10.00").minus(amount("10.01")), Amount::ZERO);
        assert_eq!(["10", "10.00", "10.50", "0.001"].map(|text| amount(text).decimals()), [0, 0, 1, 3]);
    }

    proptest! {
        #[test]
        fn keeps_every_digit(whole in 0_u64..1_000_000_000_000, kopecks in 0_u8..100) {
            let text = format!("{whole}.{kopecks:02}");
            prop_assert_eq!(text.parse::<Amount>().expect("a sum").to_string(), text);
        }
    }
}
