//! Why a payment is declined: what an answer to a Check means, and the names of the codes.
//!
//! Names are written as in notifications: without spaces. The ones here are those that tests are likely to ask for.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::simulator::answered_code;

/// The code under which a payment is declined for what its Check was answered; nothing where it goes on. Without an
/// answer nobody could be reached.
pub(super) fn refusal(answer: Option<&Response<Bytes>>) -> Option<u32> {
    let Some(answer) = answer else { return Some(3007) };
    match (answer.status(), answered_code(answer)) {
        (StatusCode::SERVICE_UNAVAILABLE, _) => Some(3006),
        (StatusCode::OK, Some(0)) => None,
        (StatusCode::OK, Some(10)) => Some(3001),
        (StatusCode::OK, Some(11)) => Some(3002),
        (StatusCode::OK, Some(12)) => Some(3003),
        (StatusCode::OK, Some(13)) => Some(3008),
        (StatusCode::OK, Some(20)) => Some(3004),
        (StatusCode::OK, _) => Some(3005),
        _ => Some(3007),
    }
}

/// The name of a code.
pub(super) const fn name(code: u32) -> &'static str {
    match code {
        0 => "Approved",
        3001 => "InvalidInvoiceId",
        3002 => "InvalidAccountId",
        3003 => "InvalidAmount",
        3004 => "OutOfDate",
        3005 => "FormatError",
        3006 => "Unavailable",
        3007 => "UnableToConnect",
        3008 => "NotAccepted",
        5001 => "ReferToCardIssuer",
        5005 => "DoNotHonor",
        5012 => "InvalidTransaction",
        5013 => "AmountError",
        5034 => "SuspectedFraud",
        5041 => "LostCard",
        5051 => "InsufficientFunds",
        5054 => "ExpiredCard",
        5057 => "TransactionNotPermitted",
        5065 => "ExceedWithdrawalFrequency",
        5082 => "IncorrectCVV",
        5091 => "Timeout",
        5096 => "SystemError",
        5206 => "AuthenticationFailed",
        5300 => "AntiFraud",
        _ => "UnableToProcess",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_goes_on_with_code_zero_alone() {
        for (status, body, expected) in [
            (200, r#"{"code":0}"#, None),
            (200, r#"{"code":"0"}"#, None),
            (200, r#"{"code":10}"#, Some(3001)),
            (200, r#"{"code":11}"#, Some(3002)),
            (200, r#"{"code":12}"#, Some(3003)),
            (200, r#"{"code":20}"#, Some(3004)),
            (200, r#"{"code":7}"#, Some(3005)),
            (200, "<html>", Some(3005)),
            (503, r#"{"code":0}"#, Some(3006)),
            (404, "", Some(3007)),
            (401, r#"{"code":13}"#, Some(3007)),
            (200, r#"{"code":13}"#, Some(3008)),
        ] {
            let answer = Response::builder().status(status).body(Bytes::from(body)).expect("an answer");
            assert_eq!(refusal(Some(&answer)), expected, "{status} {body}");
        }
        assert_eq!(refusal(None), Some(3007));
    }

    #[test]
    fn names_are_written_as_in_notifications() {
        for (code, expected) in
            [(3003, "InvalidAmount"), (5051, "InsufficientFunds"), (5204, "UnableToProcess")]
        {
            assert_eq!(name(code), expected);
        }
    }
}
