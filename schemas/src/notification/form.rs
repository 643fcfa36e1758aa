//! Form bodies: `key=value` pairs, percent-encoded, as .NET writes them.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::{Field, Fields, ReadBodyError};

/// Which bytes an encoder leaves in a body: letters, digits, and the marks that RFC 3986 lets stand in a
/// query. No space, quotation mark, brace or bracket, no control byte, nothing beyond ASCII: the *decoded*
/// text of every real body holds a space (in DateTime), so a body that someone made by decoding another one
/// and signed with that one's X-Content-HMAC is noticed here.
const ALPHABET: [bool; 256] = {
    let mut allowed = [false; 256];
    let marks = b"-._~!$&'()*+,;=:@/?%";
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 256")]
        let letter = (byte as u8).is_ascii_alphanumeric();
        #[expect(clippy::indexing_slicing, reason = "the loop ends at 256; evaluated by the compiler")]
        {
            allowed[byte] = letter;
        }
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            allowed[marks[mark] as usize] = true;
        }
        mark += 1;
    }
    allowed
};

/// Reads the fields that hookline uses; of the others only the alphabet is checked.
pub(super) fn read(body: &[u8]) -> Result<Fields<'_>, ReadBodyError> {
    if !body.iter().all(|byte| ALPHABET.get(usize::from(*byte)) == Some(&true)) {
        return Err(ReadBodyError::Alphabet);
    }
    let mut fields = Fields::new();
    for (key, value) in pairs(body) {
        let key = if needs_decoding(key) { decode(key)? } else { Cow::Borrowed(key) };
        if let Some(field) = Field::of_key(&key) {
            fields.insert(field, decode_text(value)?)?;
        }
    }
    Ok(fields)
}

/// Every pair, decoded as far as it can be; for the identity of a notification without a transaction.
pub(super) fn all_pairs(body: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lenient = |part: &[u8]| decode(part).map_or_else(|_| part.to_vec(), Cow::into_owned);
    pairs(body).map(|(key, value)| (lenient(key), lenient(value))).collect()
}

fn pairs(body: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let border = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let (key, value) = pair.split_at(border);
        (key, value.get(1..).unwrap_or_default())
    })
}

fn needs_decoding(part: &[u8]) -> bool {
    memchr::memchr2(b'%', b'+', part).is_some()
}

fn decode_text(value: &[u8]) -> Result<Cow<'_, str>, ReadBodyError> {
    match decode(value)? {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|error| error.utf8_error()),
    }
    .map_err(|_| ReadBodyError::NotUtf8)
}

fn decode(part: &[u8]) -> Result<Cow<'_, [u8]>, ReadBodyError> {
    if !needs_decoding(part) {
        return Ok(Cow::Borrowed(part));
    }
    let mut rest = part;
    while let Some(at) = memchr::memchr(b'%', rest) {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return Err(ReadBodyError::Escape),
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    let spaced: Vec<u8> = part.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Ok(Cow::Owned(percent_decode(&spaced).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_cases_of_hex_and_plus_as_space() {
        let lower = read(b"Reason=%d0%9e%d0%bf+a%2bb").expect("a form");
        let upper = read(b"Reason=%D0%9E%D0%BF%20a%2Bb").expect("a form");
        assert_eq!(lower.text(Field::Reason), Some("Оп a+b"));
        assert_eq!(upper.text(Field::Reason), Some("Оп a+b"));
    }

    #[test]
    fn absent_and_empty_are_the_same_and_unknown_keys_are_ignored() {
        let fields = read(b"Rrn=&InstallmentTerm=3&Amount=1.00&&novalue&=x").expect("a form");
        assert_eq!(fields.text(Field::Rrn), None);
        assert_eq!(fields.text(Field::Token), None);
        assert!(fields.has_key(Field::Rrn) && !fields.has_key(Field::Token));
        assert_eq!(fields.text(Field::Amount), Some("1.00"));
    }

    #[test]
    fn refuses_what_could_move_money_between_fields() {
        for (body, expected) in [
            (&b"Amount=1.00&Amount=1.00"[..], ReadBodyError::Repeated(Field::Amount)),
            (b"InvoiceId=a&Invoice%49d=b", ReadBodyError::Repeated(Field::InvoiceId)),
            (b"TransactionId=7&Description=x y", ReadBodyError::Alphabet),
            (b"TransactionId=7&Data={}", ReadBodyError::Alphabet),
            (b"TransactionId=7\r\n", ReadBodyError::Alphabet),
            ("TransactionId=7&Name=Оплата".as_bytes(), ReadBodyError::Alphabet),
            (b"TransactionId=%zz", ReadBodyError::Escape),
            (b"TransactionId=1%2", ReadBodyError::Escape),
            (b"InvoiceId=%ff%fe", ReadBodyError::NotUtf8),
        ] {
            assert_eq!(read(body).map(|_| ()), Err(expected), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn an_uncritical_key_may_repeat_and_a_value_beats_an_empty_one() {
        let fields = read(b"SubscriptionId=sc_1&SubscriptionId=sc_1&GatewayName=&GatewayName=Tbank");
        let fields = fields.expect("a form");
        assert_eq!(fields.text(Field::SubscriptionId), Some("sc_1"));
        assert_eq!(fields.text(Field::GatewayName), Some("Tbank"));
    }

    #[test]
    fn bytes_of_fields_that_nobody_reads_do_not_matter() {
        let fields = read(b"TransactionId=7&Name=%ff").expect("a form");
        assert_eq!(fields.text(Field::TransactionId), Some("7"));
    }
}
