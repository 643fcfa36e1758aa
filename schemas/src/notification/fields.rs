//! The fields that hookline uses, borrowed from the body where nothing had to be decoded.

use std::borrow::Cow;
use std::fmt;

use super::ReadBodyError;

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// A key of a notification. Keys that are not here are ignored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are CloudPayments'")]
        pub enum Field { $($name),+ }

        impl Field {
            const ALL: [Self; [$(Self::$name),+].len()] = [$(Self::$name),+];

            /// The key.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

fields!(
    TransactionId,
    Amount,
    Currency,
    PaymentAmount,
    PaymentCurrency,
    OperationType,
    InvoiceId,
    AccountId,
    SubscriptionId,
    DateTime,
    CardFirstSix,
    CardLastFour,
    CardType,
    AuthCode,
    Token,
    TestMode,
    Status,
    Reason,
    ReasonCode,
    GatewayName,
    Data,
    TotalFee,
    PaymentMethod,
    Rrn,
    PaymentTransactionId,
    Id,
    Interval,
    Period,
    SuccessfulTransactionsNumber,
    FailedTransactionsNumber,
    StartDate,
    LastTransactionDate,
    NextTransactionDate,
    FiscalSign,
    DocumentNumber,
    Type,
    Url,
);

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The longest key and one.
const LENGTHS: usize = 29;

/// The fields in the order of their keys' lengths, and where each length begins: most keys of a body are none of ours,
/// and are told by a comparison or two.
const BY_LENGTH: ([Field; Field::COUNT], [usize; LENGTHS + 1]) = {
    let (mut fields, mut begins) = (Field::ALL, [0; LENGTHS + 1]);
    let (mut length, mut placed) = (0, 0);
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    while length < LENGTHS {
        begins[length] = placed;
        let mut field = 0;
        while field < Field::COUNT {
            if Field::ALL[field].as_str().len() == length {
                fields[placed] = Field::ALL[field];
                placed += 1;
            }
            field += 1;
        }
        length += 1;
        begins[length] = placed;
    }
    assert!(placed == Field::COUNT, "a key is longer than LENGTHS");
    (fields, begins)
};

impl Field {
    const COUNT: usize = Self::ALL.len();

    /// The field with this key, spelled as CloudPayments spells it.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        static FIELDS: ([Field; Field::COUNT], [usize; LENGTHS + 1]) = BY_LENGTH;
        let (fields, begins) = &FIELDS;
        let (begin, end) = (begins.get(key.len())?, begins.get(key.len() + 1)?);
        let is_of = |field: &&Self| {
            let name = field.as_str().as_bytes();
            // Keys as long as ours are told apart by their ends, without a call.
            name.first() == key.first() && name.last() == key.last() && name == key
        };
        fields.get(*begin..*end)?.iter().find(is_of).copied()
    }

    /// The keys that decide about money: none of them may stand in a body twice.
    const fn is_critical(self) -> bool {
        matches!(
            self,
            Self::TransactionId
                | Self::Amount
                | Self::Currency
                | Self::InvoiceId
                | Self::AccountId
                | Self::Status
                | Self::OperationType
                | Self::PaymentTransactionId
        )
    }
}

/// The fields of one notification. An empty value is the same as an absent one, except to
/// [`Fields::has_key`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    values: [Option<Cow<'a, str>>; Field::COUNT],
}

impl<'a> Fields<'a> {
    pub(super) const fn new() -> Self {
        Self { values: [const { None }; Field::COUNT] }
    }

    /// Takes a field. Of an uncritical key that repeats the first value that is not empty stays.
    pub(super) fn insert(&mut self, field: Field, value: Cow<'a, str>) -> Result<(), ReadBodyError> {
        let Some(slot) = self.values.get_mut(field as usize) else { return Ok(()) };
        match slot {
            Some(_) if field.is_critical() => return Err(ReadBodyError::Repeated(field)),
            Some(first) if !first.is_empty() => {}
            _ => *slot = Some(value),
        }
        Ok(())
    }

    /// The value, unless it is absent or empty.
    pub fn text(&self, field: Field) -> Option<&str> {
        let value = self.values.get(field as usize)?.as_deref()?;
        (!value.is_empty()).then_some(value)
    }

    /// Whether the key is there, if with an empty value.
    pub fn has_key(&self, field: Field) -> bool {
        self.values.get(field as usize).is_some_and(Option::is_some)
    }

    /// The value read as something else; `None` where it is absent, empty or not such a thing.
    pub fn parse<T: std::str::FromStr>(&self, field: Field) -> Option<T> {
        self.text(field)?.parse().ok()
    }

    /// A flag: `1` or `true` in any case.
    pub fn flag(&self, field: Field) -> bool {
        self.text(field).is_some_and(|text| text == "1" || text.eq_ignore_ascii_case("true"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_nothing_else() {
        for field in Field::ALL {
            assert_eq!(Field::of_key(field.as_str().as_bytes()), Some(field));
            assert_eq!(Field::of_key(field.as_str().to_lowercase().as_bytes()), None);
            assert_eq!(Field::of_key(&[field.as_str().as_bytes(), b"x"].concat()), None);
        }
        for key in [&b""[..], b"X", &[b'a'; LENGTHS - 1], &[b'a'; LENGTHS], &[b'a'; 4096]] {
            assert_eq!(Field::of_key(key), None, "{}", key.escape_ascii());
        }
    }
}
