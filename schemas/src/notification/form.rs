//! Form bodies: `key=value` pairs, percent-encoded, as .NET writes them.

use std::borrow::Cow;

use super::{Field, Fields, ReadBodyError};

/// Whether an encoder leaves this byte in a body: letters, digits, and the marks that RFC 3986 lets stand in a query.
/// No space, quotation mark, brace or bracket, no control byte, nothing beyond ASCII: the *decoded* text of every real
/// body holds a space (in DateTime), so a body that someone made by decoding another one and signed with that one's
/// X-Content-HMAC is noticed here. By comparisons without a branch, so that the compiler looks at many bytes at once.
const fn is_of_alphabet(byte: u8) -> bool {
    let is_visible = (byte > b' ') & (byte < 0x7f);
    let is_quoting = (byte == b'"') | (byte == b'#') | (byte == b'<') | (byte == b'>') | (byte == b'`');
    let is_bracket = (byte >= b'[') & (byte <= b'^');
    let is_brace = (byte >= b'{') & (byte <= b'}');
    is_visible & !(is_quoting | is_bracket | is_brace)
}

/// Reads the fields that hookline uses; of the others only the alphabet is checked.
pub(super) fn read(body: &[u8]) -> Result<Fields<'_>, ReadBodyError> {
    if !body.iter().fold(true, |all, byte| all & is_of_alphabet(*byte)) {
        return Err(ReadBodyError::Alphabet);
    }
    let mut fields = Fields::new();
    for (key, value) in pairs(body) {
        let field = match Field::of_key(key) {
            None if needs_decoding(key) => Field::of_key(&decode(key)?),
            field => field,
        };
        if let Some(field) = field {
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
    let mut begin = 0;
    let ends = memchr::memchr_iter(b'&', body).chain([body.len()]);
    let parts =
        ends.map(move |end| body.get(std::mem::replace(&mut begin, end + 1)..end).unwrap_or_default());
    parts.filter(|pair| !pair.is_empty()).map(|pair| {
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
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part.iter();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => escaped(rest.next(), rest.next()).ok_or(ReadBodyError::Escape)?,
            byte => *byte,
        });
    }
    Ok(Cow::Owned(decoded))
}

/// The byte of two hexadecimal digits.
fn escaped(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high?)? << 4 | digit(low?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_a_query() {
        for byte in 0..=u8::MAX {
            let is_mark = b"-._~!$&'()*+,;=:@/?%".contains(&byte);
            assert_eq!(
                is_of_alphabet(byte),
                byte.is_ascii_alphanumeric() || is_mark,
                "{}",
                byte.escape_ascii()
            );
        }
    }

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
