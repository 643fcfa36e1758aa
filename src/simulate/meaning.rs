//! What an answer of the edge means to CloudPayments, and to whoever set the edge up. Pure.

use hookline_outbound::NoAnswer;
use hookline_schemas::notification::NotificationType;
use http::StatusCode;

/// What came of one post.
#[derive(Debug)]
pub(super) enum Came {
    /// An answer, and its code if CloudPayments would find one.
    Answer {
        /// The status.
        status: StatusCode,
        /// HTTP 200 with a code alone.
        code: Option<u64>,
    },
    /// None.
    Nothing(NoAnswer),
}

impl Came {
    /// Whether CloudPayments is content.
    pub(super) const fn is_zero(&self) -> bool {
        matches!(self, Self::Answer { code: Some(0), .. })
    }
}

/// What it means, as a lower-case fragment. `gateway` is the one in the URL, if one stands there.
pub(super) fn of(kind: NotificationType, came: &Came, gateway: Option<&str>) -> String {
    let is_check = kind == NotificationType::Check;
    let (status, code) = match came {
        Came::Answer { status, code } => (*status, *code),
        Came::Nothing(missing) => return missing.to_string(),
    };
    match code {
        Some(code) if is_check => return of_check(code),
        Some(0) => return "taken".to_owned(),
        Some(_) => return "not taken: nothing but code 0 ends a notification".to_owned(),
        None => {}
    }
    match status.as_u16() {
        200 => "no JSON with a code in the answer: is this hookline's edge?".to_owned(),
        300..=399 => "a redirect, and CloudPayments follows none".to_owned(),
        400 => "the body broke off on its way".to_owned(),
        401 => match gateway {
            Some(gateway) => {
                format!("the API secret is not this gateway's, or there is no gateway {gateway} here")
            }
            None => "no gateway with shared_url = true has this API secret".to_owned(),
        },
        404 | 405 | 415 => "this is no address of hookline's edge".to_owned(),
        413 => "the body is larger than ingest.max_body".to_owned(),
        502 | 504 => "a proxy answers in place of the edge".to_owned(),
        503 => "try again: the edge is starting, overloaded, or can't write its log".to_owned(),
        _ => "neither taken nor refused".to_owned(),
    }
}

/// The codes of CloudPayments' table, and what makes hookline answer them.
fn of_check(code: u64) -> String {
    match code {
        0 => "may be paid",
        10 => "InvoiceId unknown: no top-up in ingest.directory_file has it, and the gateway refuses such",
        11 => "AccountId unknown, or not the one of the top-up: ingest.directory_file names clients",
        12 => "Amount or Currency differ from the top-up, or are outside the gateway's limits",
        13 => {
            "refused: the gateway is paused or takes no test payments, the client is blocked, or it is paid"
        }
        20 => "the top-up has expired",
        _ => "no code of a Check",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16, code: Option<u64>) -> Came {
        Came::Answer { status: StatusCode::from_u16(status).expect("a status"), code }
    }

    #[test]
    fn each_answer_is_explained_for_its_type() {
        use NotificationType::{Check, Pay, Refund};
        for (kind, came, gateway, part) in [
            (Check, answer(200, Some(0)), Some("gw_1"), "may be paid"),
            (Check, answer(200, Some(10)), Some("gw_1"), "InvoiceId unknown"),
            (Check, answer(200, Some(11)), Some("gw_1"), "AccountId unknown"),
            (Check, answer(200, Some(12)), Some("gw_1"), "Amount or Currency"),
            (Check, answer(200, Some(13)), Some("gw_1"), "refused"),
            (Check, answer(200, Some(20)), Some("gw_1"), "expired"),
            (Check, answer(200, Some(5)), Some("gw_1"), "no code of a Check"),
            (Pay, answer(200, Some(0)), Some("gw_1"), "taken"),
            (Refund, answer(200, Some(13)), Some("gw_1"), "not taken"),
            (Pay, answer(200, None), Some("gw_1"), "no JSON"),
            (Pay, answer(301, None), Some("gw_1"), "redirect"),
            (Pay, answer(401, None), Some("gw_1"), "not this gateway's, or there is no gateway gw_1"),
            (Pay, answer(401, None), None, "shared_url"),
            (Pay, answer(404, None), Some("gw_1"), "no address"),
            (Pay, answer(413, None), Some("gw_1"), "max_body"),
            (Check, answer(503, None), Some("gw_1"), "try again"),
            (Pay, answer(500, None), Some("gw_1"), "neither"),
            (Pay, Came::Nothing(NoAnswer::Silent(Duration::from_secs(30))), None, "no answer within 30s"),
        ] {
            let meaning = of(kind, &came, gateway);
            assert!(meaning.contains(part), "{kind} {came:?}: {meaning}");
        }
    }
}
