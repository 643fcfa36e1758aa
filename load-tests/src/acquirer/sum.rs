//! Sums as the bank counts them: whole hundredths, by an arithmetic of its own, so that a mistake in hookline's is
//! not made here as well.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, ensure};
use serde_json::Value;

/// Hundredths of whatever currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sum(u64);

impl Sum {
    pub(super) const fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Nothing where `other` is more.
    pub(super) const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// As the API writes it: a number without zeroes at its end.
    pub(super) fn number(self) -> Value {
        if self.0.is_multiple_of(100) {
            return Value::from(self.0 / 100);
        }
        // Digits, a dot and digits are a number.
        serde_json::from_str(&self.to_string()).unwrap_or_default()
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl FromStr for Sum {
    type Err = anyhow::Error;

    /// Digits, perhaps a dot and one digit or two.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        ensure!(digits(whole) && digits(fraction) && fraction.len() <= 2, "{text:?} is not a sum");
        let hundredths = format!("{whole}{fraction:0<2}").parse();
        hundredths.map(Self).with_context(|| format!("{text:?} is too much"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_and_written_to_the_hundredth() {
        for (text, written, number) in [
            ("1490.00", Some("1490.00"), "1490"),
            ("1490", Some("1490.00"), "1490"),
            ("10.5", Some("10.50"), "10.5"),
            ("0.07", Some("0.07"), "0.07"),
            ("0", Some("0.00"), "0"),
            ("1.005", None, ""),
            ("-1", None, ""),
            ("1,00", None, ""),
            (".5", None, ""),
            ("5.", None, ""),
            ("", None, ""),
            ("999999999999999999999", None, ""),
        ] {
            let sum = text.parse::<Sum>().ok();
            assert_eq!(sum.map(|sum| sum.to_string()).as_deref(), written, "{text}");
            assert_eq!(sum.map(|sum| sum.number().to_string()).unwrap_or_default(), number, "{text}");
        }
    }

    #[test]
    fn more_than_there_is_leaves_nothing() {
        let sum = |text: &str| text.parse::<Sum>().expect("a sum");
        assert_eq!(sum("1.00").minus(sum("0.30")).plus(sum("0.05")), sum("0.75"));
        assert!(sum("1.00").minus(sum("1.01")).is_zero());
    }
}
