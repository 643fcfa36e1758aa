//! A ring of keys as text. The first seals, all open.
//!
//! In a file: one key a line, 32 bytes in base64; lines that are empty or begin with `#` are passed over. One such
//! line is ours, [`PREPARED`]: it stands before a key that opens everywhere first, and is to seal later. Whoever
//! reads the ring need not know it. What changes a text here keeps all that it holds: no key is ever taken out.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookline_schemas::seal::{KeyBytes, Sealer};
use zeroize::Zeroizing;

/// The line before a prepared key.
const PREPARED: &str = "# prepared by `hookline rotate-key`: the next key opens, and seals nothing yet";

/// What decodes to 32 bytes has so many digits; the decoder asks for room for as many as they could hold.
const ROOM: usize = 33;

/// Keys, wiped when they are dropped. `Debug` shows nothing.
#[derive(Clone)]
pub(crate) struct Ring {
    sealing: KeyBytes,
    others: Vec<KeyBytes>,
}

/// Why a text is not a ring. The text itself is never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RingError {
    /// This one of its lines, or of its keys, counted from 1.
    #[error("number {0} is not 32 bytes in base64")]
    Malformed(usize),
    /// There is none.
    #[error("there is no key")]
    Empty,
}

impl Ring {
    /// Reads a file's text.
    pub(crate) fn of_lines(text: &str) -> Result<Self, RingError> {
        let lines = text.lines().map(str::trim).enumerate();
        Self::of(lines.filter(|(_, line)| is_key(line)).map(|(index, line)| (index + 1, line)))
    }

    /// Reads keys that stand in one line, with commas or spaces between them.
    pub(crate) fn of_list(text: &str) -> Result<Self, RingError> {
        let keys = text.split(|between: char| between == ',' || between.is_whitespace());
        Self::of((1..).zip(keys.filter(|key| !key.is_empty())))
    }

    fn of<'a>(numbered: impl Iterator<Item = (usize, &'a str)>) -> Result<Self, RingError> {
        let mut keys = numbered.map(|(number, text)| decode(text).ok_or(RingError::Malformed(number)));
        let sealing = keys.next().ok_or(RingError::Empty)??;
        Ok(Self { sealing, others: keys.collect::<Result<_, _>>()? })
    }

    /// How many keys there are.
    pub(crate) const fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// A sealer with these keys.
    pub(crate) fn sealer(&self) -> Sealer {
        Sealer::with_others(&self.sealing, &self.others)
    }

    /// A sealer with the first of them alone.
    pub(crate) fn first(&self) -> Sealer {
        Sealer::new(&self.sealing)
    }

    /// From now on that sealer, and its clones, have these keys.
    pub(crate) fn put_into(&self, sealer: &Sealer) {
        sealer.replace(&self.sealing, &self.others);
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ring(..)")
    }
}

fn is_key(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn decode(text: &str) -> Option<KeyBytes> {
    let mut room = Zeroizing::new([0; ROOM]);
    let length = STANDARD.decode_slice(text, room.as_mut_slice()).ok()?;
    let key: &[u8; 32] = room.get(..length)?.try_into().ok()?;
    Some(KeyBytes::new(*key))
}

/// A key as a line of the file.
pub(super) fn line_of(key: &KeyBytes) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(48));
    STANDARD.encode_string(**key, &mut line);
    line.push('\n');
    line
}

/// The text with this key before all others: it seals from now on.
pub(crate) fn with_first(text: &str, key: &KeyBytes) -> Zeroizing<String> {
    put_first(text, &line_of(key))
}

/// The text with this key behind all others, marked: it opens, and seals nothing yet.
pub(crate) fn with_prepared(text: &str, key: &KeyBytes) -> Zeroizing<String> {
    joined(&[text, end_of_line(text), PREPARED, "\n", &line_of(key)])
}

/// The text with the prepared key before all others, and the mark gone; the text itself where none is prepared.
pub(crate) fn with_prepared_first(text: &str) -> Option<Zeroizing<String>> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mark = lines.iter().position(|line| line.trim() == PREPARED)?;
    let (place, prepared) = lines.iter().enumerate().skip(mark).find(|(_, line)| is_key(line))?;
    let rest = lines.iter().enumerate().filter(|(index, _)| *index != mark && *index != place);
    let rest: Vec<&str> = rest.map(|(_, line)| *line).collect();
    Some(put_first(&joined(&rest), prepared))
}

/// The first key of a text, alone: what seals once the text is read.
pub(crate) fn first_of(text: &str) -> Result<Sealer, RingError> {
    Ring::of_lines(text).map(|ring| ring.first())
}

/// Comments at the head of the text stay there.
fn put_first(text: &str, line: &str) -> Zeroizing<String> {
    let before = text.split_inclusive('\n').take_while(|line| !is_key(line)).map(str::len).sum();
    let (head, keys) = text.split_at_checked(before).unwrap_or(("", text));
    joined(&[head, end_of_line(head), line, end_of_line(line), keys])
}

fn end_of_line(text: &str) -> &'static str {
    if text.is_empty() || text.ends_with('\n') { "" } else { "\n" }
}

/// In one piece from the start: a text that grows leaves copies behind.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut joined = Zeroizing::new(String::with_capacity(length));
    parts.iter().for_each(|part| joined.push_str(part));
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> KeyBytes {
        KeyBytes::new([byte; 32])
    }

    fn text(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    /// The bytes of which the keys are made.
    fn bytes(ring: &Ring) -> Vec<u8> {
        std::iter::once(&ring.sealing).chain(&ring.others).filter_map(|key| key.first().copied()).collect()
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let (one, two) = (text(1), text(2));
        for (written, expected) in [
            (one.clone(), Ok(vec![1])),
            (format!("{one}\n"), Ok(vec![1])),
            (format!("\n  # the new one\r\n {one} \r\n\n{two}"), Ok(vec![1, 2])),
            (format!("{two}\n{one}\n{one}\n"), Ok(vec![2, 1, 1])),
            (String::new(), Err(RingError::Empty)),
            ("# none\n\n".to_owned(), Err(RingError::Empty)),
            ("c2hvcnQ=\n".to_owned(), Err(RingError::Malformed(1))),
            (format!("{one}\n# two\n\n{two}x\n"), Err(RingError::Malformed(4))),
            (format!("{one} {two}\n"), Err(RingError::Malformed(1))),
            (STANDARD.encode([1; 33]), Err(RingError::Malformed(1))),
            (STANDARD.encode([1; 31]), Err(RingError::Malformed(1))),
            (STANDARD.encode([1; 64]), Err(RingError::Malformed(1))),
        ] {
            assert_eq!(
                Ring::of_lines(&written).as_ref().map(bytes).map_err(|error| *error),
                expected,
                "{written}"
            );
        }
    }

    #[test]
    fn a_list_has_commas_or_spaces_between_its_keys() {
        let (one, two) = (text(1), text(2));
        for (written, expected) in [
            (one.clone(), Ok(vec![1])),
            (format!("{one},{two}"), Ok(vec![1, 2])),
            (format!(" {two} ,\t{one}\n"), Ok(vec![2, 1])),
            (" , ".to_owned(), Err(RingError::Empty)),
            (format!("{one},short"), Err(RingError::Malformed(2))),
        ] {
            assert_eq!(
                Ring::of_list(&written).as_ref().map(bytes).map_err(|error| *error),
                expected,
                "{written}"
            );
        }
    }

    #[test]
    fn a_ring_and_its_errors_show_nothing() {
        let ring = Ring::of_list(&text(1)).expect("a ring");
        assert_eq!(format!("{ring:?}"), "Ring(..)");
        let said = RingError::Malformed(2).to_string();
        assert_eq!(said, "number 2 is not 32 bytes in base64");
    }

    #[test]
    fn a_new_key_comes_first_and_a_prepared_one_last_until_it_is_its_turn() {
        for (written, kept) in [
            (text(1), vec![1]),
            (format!("# of us all\n{}\n# the old one\n{}\n", text(1), text(2)), vec![1, 2]),
            (format!("{}\r\n\r\n{}", text(1), text(2)), vec![1, 2]),
        ] {
            let ring = |text: &str| bytes(&Ring::of_lines(text).expect("a ring"));
            let first = with_first(&written, &key(9));
            assert_eq!(ring(&first), [&[9], &kept[..]].concat());
            assert!(with_prepared_first(&first).is_none(), "none is prepared");

            let prepared = with_prepared(&written, &key(9));
            assert_eq!(ring(&prepared), [&kept[..], &[9]].concat());
            let finished = with_prepared_first(&prepared).expect("one is prepared");
            assert_eq!(ring(&finished), [&[9], &kept[..]].concat());
            assert!(!finished.contains(PREPARED), "it is not prepared any more, and nothing behind it is");
            for comment in written.lines().filter(|line| line.starts_with('#')) {
                assert!(finished.contains(comment) && first.contains(comment), "{comment}");
            }
        }
        assert!(with_first(&format!("# head\n{}\n", text(1)), &key(9)).starts_with("# head\n"));
    }

    #[test]
    fn the_prepared_key_is_told_by_its_mark_wherever_it_stands() {
        let prepared = with_prepared(&text(1), &key(9));
        // Somebody adds one by hand behind it.
        let more = format!("{}# by hand\n{}", *prepared, text(3));
        let finished = with_prepared_first(&more).expect("one is prepared");
        assert_eq!(bytes(&Ring::of_lines(&finished).expect("a ring")), [9, 1, 3]);
        // A mark without a key marks nothing.
        assert!(with_prepared_first(&format!("{}\n{PREPARED}\n", text(1))).is_none());
    }

    #[test]
    fn the_first_key_alone_is_what_seals() {
        let prepared = with_prepared(&text(1), &key(9));
        let whole = Ring::of_lines(&prepared).expect("a ring").sealer();
        let first = first_of(&prepared).expect("a key");
        assert!(first.sealed_it(&whole.seal("place", b"value")));
        assert!(first.open("place", &Sealer::new(&key(9)).seal("place", b"value")).is_err());
    }
}
