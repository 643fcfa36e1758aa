//! What can be read in requests of senders that sign and wrap in their own ways.

/// The key that holds the number by which an event is known again.
const KEY: &[u8] = br#""gatewayTransactionId""#;

/// The number behind the key, wherever in a JSON body it stands and however it is spaced.
pub(super) fn transaction(body: &[u8]) -> Option<String> {
    let at = body.windows(KEY.len()).position(|window| window == KEY)?;
    let rest = body.get(at + KEY.len()..)?;
    let digits = rest.iter().skip_while(|byte| matches!(byte, b' ' | b':' | b'"'));
    let number: String =
        digits.take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    Some(number).filter(|number| !number.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_found_in_whatever_a_sender_wraps_around_it() {
        for (body, expected) in [
            (r#"{"id":"evt_1","data":{"gatewayTransactionId":"17","amount":"1.00"}}"#, Some("17")),
            (r#"{"object": {"content": {"data": {"gatewayTransactionId": "18"}}}}"#, Some("18")),
            (r#"{"gatewayTransactionId":19}"#, Some("19")),
            (r#"{"gatewayTransactionId":null}"#, None),
            (r#"{"transactionId":"17"}"#, None),
            (r#"{"gatewayTransactionId"#, None),
            ("", None),
        ] {
            assert_eq!(transaction(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }
}
