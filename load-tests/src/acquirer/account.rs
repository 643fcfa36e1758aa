//! `/test`: whether the login and the password are good; they are, once a request has come so far.

use rand::Rng;

use super::answer::Envelope;

/// The message is another one each time, in the form of a UUID.
pub(super) fn test() -> Envelope {
    Envelope::said(uuid_like(rand::rng().random()))
}

fn uuid_like(number: u128) -> String {
    let digits = format!("{number:032x}");
    let mut rest = digits.as_str();
    let groups = [8, 4, 4, 4, 12].map(|length| {
        let (group, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = behind;
        group
    });
    groups.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_uuids() {
        assert_eq!(uuid_like(0), "00000000-0000-0000-0000-000000000000");
        assert_eq!(
            uuid_like(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            "01234567-89ab-cdef-0123-456789abcdef"
        );
    }
}
