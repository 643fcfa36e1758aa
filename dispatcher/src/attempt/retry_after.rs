//! `Retry-After`: how long a receiver asks to be left alone.

use std::time::{Duration, UNIX_EPOCH};

use hookline_schemas::time::Timestamp;

/// More than anybody waits; what is beyond is cut to it.
const MOST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads the header: seconds (a fraction counts as a whole second more) or a date in any form of RFC 9110.
/// `None` if it is neither.
pub(crate) fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Some(seconds) = seconds(value) {
        return Some(seconds);
    }
    let at = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_millis(now.0)).min(MOST))
}

fn seconds(value: &str) -> Option<Duration> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let more = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    let seconds = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_add(more);
    Some(Duration::from_secs(seconds).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_the_three_forms_of_a_date() {
        let new_year = Timestamp(1_767_225_600_000);
        for (value, expected) in [
            ("30", Some(30)),
            (" 30 ", Some(30)),
            ("30.0", Some(30)),
            ("30.2", Some(31)),
            ("30.6", Some(31)),
            ("0", Some(0)),
            ("Thu, 01 Jan 2026 00:00:30 GMT", Some(30)),
            ("Thursday, 01-Jan-26 00:00:30 GMT", Some(30)),
            ("Thu Jan  1 00:00:30 2026", Some(30)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(0)),
            ("99999999999999999999", Some(MOST.as_secs())),
            ("-5", None),
            ("", None),
            ("soon", None),
            ("NaN", None),
            ("inf", None),
            ("invalid", None),
            ("-0", None),
            ("30 s", None),
            (".5", None),
            ("30.", None),
            ("99999999999999999999.9", Some(MOST.as_secs())),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(MOST.as_secs())),
            ("1e3", None),
        ] {
            assert_eq!(parse(value, new_year), expected.map(Duration::from_secs), "{value:?}");
        }
    }
}
