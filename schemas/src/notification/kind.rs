//! The types of notifications.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The seven documented types, and the three that the cabinet offers beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotificationType {
    /// Before the payment: may it be paid?
    Check,
    /// Money taken or held.
    Pay,
    /// A try failed.
    Fail,
    /// A hold became a payment.
    Confirm,
    /// Money went back.
    Refund,
    /// A subscription changed its status.
    Recurrent,
    /// A hold was released.
    Cancel,
    /// An online receipt.
    Receipt,
    /// The state of a cash register.
    Kkt,
    /// The result of binding an SBP account.
    SbpToken,
}

impl NotificationType {
    /// Every type.
    pub const ALL: [Self; 10] = [
        Self::Check,
        Self::Pay,
        Self::Fail,
        Self::Confirm,
        Self::Refund,
        Self::Recurrent,
        Self::Cancel,
        Self::Receipt,
        Self::Kkt,
        Self::SbpToken,
    ];

    /// The name as it stands in the callback URL and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Pay => "pay",
            Self::Fail => "fail",
            Self::Confirm => "confirm",
            Self::Refund => "refund",
            Self::Recurrent => "recurrent",
            Self::Cancel => "cancel",
            Self::Receipt => "receipt",
            Self::Kkt => "kkt",
            Self::SbpToken => "sbptoken",
        }
    }

    /// The type that the last segment of a callback URL names, in any case.
    pub fn of_segment(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(segment))
    }
}

impl fmt::Display for NotificationType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
