//! Reason codes of declined payments, and what they say about trying again.
//!
//! Source: CloudPayments' table of codes for recurring charges. *Hard*: stop, take a new initial payment.
//! *Conditional* and *temporary*: try later, with changed conditions or the same.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether another try may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetryClass {
    /// Do not try again with this card.
    Hard,
    /// Once the payer has corrected something.
    Conditional,
    /// Later, as it is.
    Temporary,
}

/// The class of a reason code, where CloudPayments names one.
pub const fn retry_class(reason_code: u32) -> Option<RetryClass> {
    match reason_code {
        5001 | 5003 | 5005 | 5012 | 5017 | 5033 | 5034 | 5057 => Some(RetryClass::Hard),
        5013 | 5014 | 5030 | 5054 | 5055 | 5063 => Some(RetryClass::Conditional),
        5051 | 5065 | 5096 => Some(RetryClass::Temporary),
        _ => None,
    }
}

/// What people read in IZI for a reason code. Source: the texts of IZI's CRM; 5051 is the card without money, 5091 and
/// 5092 are banks that did not answer, 3004 is an order that was overdue, and everything else is the bank's refusal.
pub const fn words(reason_code: u32) -> &'static str {
    match reason_code {
        5051 => "CloudPayments error 5",
        3004 | 5091 | 5092 => "Transaction timeout",
        _ => "Payment declined",
    }
}
