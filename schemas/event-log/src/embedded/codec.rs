//! The format on disk, version 1. Pure: bytes in, bytes out.
//!
//! Keys sort as LMDB compares them, byte by byte, so everything ordered is big-endian in them. Values are
//! little-endian and begin with the CRC-32C of all that follows.
//!
//! | database | key | value behind the checksum |
//! |---|---|---|
//! | one per journal, by its name | partition u16, offset u64 | appended_at u64 (ms), key length u16, key, value |
//! | `parked_by_key` | partition u16, key length u8, key, offset u64 | empty, without a checksum |
//! | one per table, by its name | partition u16, key | version u64, epoch u64, 1 or 0 (tombstone), value |
//! | `<table>_by_version` | partition u16, version u64 | the entry's key, without a checksum |
//! | `cursors` | journal u8, partition u16 | epoch u64, offset u64, metadata |
//! | `positions` | kind u8, journal u8, partition u16 | offset u64; kind 0: first retained, 1: released |
//! | `meta` | a word | a number u64 |
//!
//! The two indexes carry no checksum because what they lead to does, and says itself that it is meant.

use bytes::Bytes;
use hookline_schemas::time::Timestamp;

use crate::{Epoch, JournalName, Offset, Partition};

/// The version of the format; a log with a later one is not opened.
pub(super) const FORMAT: u32 = 1;

const CHECKSUM: usize = size_of::<u32>();

/// The checksum of a value is wrong, or it is shorter than its own lengths say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Corrupt;

/// What `positions` remembers of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The first offset that retention has not deleted.
    FirstRetained = 0,
    /// Everything below may be deleted.
    Released = 1,
}

/// The key of a record.
pub(super) fn record_key(partition: Partition, offset: u64) -> [u8; 10] {
    let mut key = [0; 10];
    let (head, tail) = key.split_at_mut(2);
    head.copy_from_slice(&partition.0.to_be_bytes());
    tail.copy_from_slice(&offset.to_be_bytes());
    key
}

/// The offset in the key of a record; of an entry by version, the version.
pub(super) fn offset_of(key: &[u8]) -> Result<u64, Corrupt> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(Corrupt)
}

/// The key of `parked_by_key`. The length stands before the key so that no key is another one's prefix.
pub(super) fn index_key(partition: Partition, key: &[u8], offset: u64) -> Vec<u8> {
    let length = u8::try_from(key.len()).expect("a key is at most 255 bytes, checked when it was accepted");
    let mut index = Vec::with_capacity(2 + 1 + key.len() + 8);
    index.extend_from_slice(&partition.0.to_be_bytes());
    index.push(length);
    index.extend_from_slice(key);
    index.extend_from_slice(&offset.to_be_bytes());
    index
}

/// The key of an entry.
pub(super) fn entry_key(partition: Partition, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + key.len());
    bytes.extend_from_slice(&partition.0.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

/// The key of a cursor.
pub(super) fn cursor_key(journal: JournalName, partition: Partition) -> [u8; 3] {
    let [high, low] = partition.0.to_be_bytes();
    [journal as u8, high, low]
}

/// The key of a position.
pub(super) fn position_key(mark: Mark, journal: JournalName, partition: Partition) -> [u8; 4] {
    let [high, low] = partition.0.to_be_bytes();
    [mark as u8, journal as u8, high, low]
}

/// Writes values, one after the other, into the same memory.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    buffer: Vec<u8>,
}

impl Encoder {
    /// The value of a record.
    pub(super) fn record(&mut self, appended_at: Timestamp, key: &[u8], value: &[u8]) -> &[u8] {
        let length =
            u16::try_from(key.len()).expect("a key is at most 255 bytes, checked when it was accepted");
        self.sealed(&[&appended_at.0.to_le_bytes(), &length.to_le_bytes(), key, value])
    }

    /// The value of an entry.
    pub(super) fn entry(&mut self, version: u64, epoch: Epoch, value: Option<&[u8]>) -> &[u8] {
        let present = [u8::from(value.is_some())];
        self.sealed(&[&version.to_le_bytes(), &epoch.0.to_le_bytes(), &present, value.unwrap_or_default()])
    }

    /// The value of a cursor.
    pub(super) fn cursor(&mut self, epoch: Epoch, offset: Offset, metadata: &[u8]) -> &[u8] {
        self.sealed(&[&epoch.0.to_le_bytes(), &offset.0.to_le_bytes(), metadata])
    }

    /// The value of a position or of a word in `meta`.
    pub(super) fn number(&mut self, number: u64) -> &[u8] {
        self.sealed(&[&number.to_le_bytes()])
    }

    fn sealed(&mut self, parts: &[&[u8]]) -> &[u8] {
        let checksum = parts.iter().fold(0, |checksum, part| crc32c::crc32c_append(checksum, part));
        self.buffer.clear();
        self.buffer.extend_from_slice(&checksum.to_le_bytes());
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        &self.buffer
    }
}

/// A record's value taken apart, still in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredRecord<'value> {
    pub(super) appended_at: Timestamp,
    pub(super) key: &'value [u8],
    pub(super) value: &'value [u8],
}

/// An entry's value taken apart, still in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredEntry<'value> {
    pub(super) version: u64,
    pub(super) epoch: Epoch,
    pub(super) value: Option<&'value [u8]>,
}

/// A cursor's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredCursor {
    pub(super) epoch: Epoch,
    pub(super) offset: Offset,
    pub(super) metadata: Bytes,
}

/// Takes a record's value apart once its checksum is right.
pub(super) fn decode_record(sealed: &[u8]) -> Result<StoredRecord<'_>, Corrupt> {
    let (appended_at, rest) = take_number(unseal(sealed)?)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(Corrupt)?;
    let (key, value) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or(Corrupt)?;
    Ok(StoredRecord { appended_at: Timestamp(appended_at), key, value })
}

/// Takes an entry's value apart once its checksum is right.
pub(super) fn decode_entry(sealed: &[u8]) -> Result<StoredEntry<'_>, Corrupt> {
    let (version, rest) = take_number(unseal(sealed)?)?;
    let (epoch, rest) = take_number(rest)?;
    let (present, value) = rest.split_first().ok_or(Corrupt)?;
    let value = match present {
        0 => None,
        1 => Some(value),
        _ => return Err(Corrupt),
    };
    Ok(StoredEntry { version, epoch: Epoch(epoch), value })
}

/// Takes a cursor's value apart once its checksum is right.
pub(super) fn decode_cursor(sealed: &[u8]) -> Result<StoredCursor, Corrupt> {
    let (epoch, rest) = take_number(unseal(sealed)?)?;
    let (offset, metadata) = take_number(rest)?;
    Ok(StoredCursor {
        epoch: Epoch(epoch),
        offset: Offset(offset),
        metadata: Bytes::copy_from_slice(metadata),
    })
}

/// The number in a position or in `meta` once its checksum is right.
pub(super) fn decode_number(sealed: &[u8]) -> Result<u64, Corrupt> {
    match take_number(unseal(sealed)?)? {
        (number, []) => Ok(number),
        _ => Err(Corrupt),
    }
}

fn unseal(sealed: &[u8]) -> Result<&[u8], Corrupt> {
    let (checksum, content) = sealed.split_first_chunk::<CHECKSUM>().ok_or(Corrupt)?;
    if crc32c::crc32c(content) == u32::from_le_bytes(*checksum) { Ok(content) } else { Err(Corrupt) }
}

fn take_number(bytes: &[u8]) -> Result<(u64, &[u8]), Corrupt> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(Corrupt)?;
    Ok((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::KEY_LIMIT;

    fn bytes(limit: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..=limit)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_record_comes_back_whole(at: u64, key in bytes(KEY_LIMIT), value in bytes(2000)) {
            let mut encoder = Encoder::default();
            let sealed = encoder.record(Timestamp(at), &key, &value);
            let stored = StoredRecord { appended_at: Timestamp(at), key: &key, value: &value };
            prop_assert_eq!(decode_record(sealed), Ok(stored));
        }

        #[test]
        fn an_entry_comes_back_whole(
            version: u64, epoch: u64, value in proptest::option::of(bytes(500)),
        ) {
            let mut encoder = Encoder::default();
            let sealed = encoder.entry(version, Epoch(epoch), value.as_deref());
            let stored = StoredEntry { version, epoch: Epoch(epoch), value: value.as_deref() };
            prop_assert_eq!(decode_entry(sealed), Ok(stored));
        }

        #[test]
        fn a_cursor_comes_back_whole(epoch: u64, offset: u64, metadata in bytes(1024)) {
            let mut encoder = Encoder::default();
            let sealed = encoder.cursor(Epoch(epoch), Offset(offset), &metadata);
            let stored =
                StoredCursor { epoch: Epoch(epoch), offset: Offset(offset), metadata: metadata.into() };
            prop_assert_eq!(decode_cursor(sealed), Ok(stored));
        }

        #[test]
        fn one_flipped_bit_is_corrupt(value in bytes(200), at: prop::sample::Index, bit in 0_u8..8) {
            let mut encoder = Encoder::default();
            let mut sealed = encoder.record(Timestamp(1), b"key", &value).to_vec();
            let position = at.index(sealed.len());
            if let Some(byte) = sealed.get_mut(position) {
                *byte ^= 1 << bit;
            }
            prop_assert_eq!(decode_record(&sealed), Err(Corrupt));
        }

        #[test]
        fn keys_sort_as_their_positions(left: (u16, u64), right: (u16, u64)) {
            let key = |(partition, offset)| record_key(Partition(partition), offset);
            prop_assert_eq!(key(left).cmp(&key(right)), left.cmp(&right));
            prop_assert_eq!(offset_of(&key(left)), Ok(left.1));
        }

        #[test]
        fn no_index_key_falls_into_the_range_of_another_key(
            left in bytes(20), right in bytes(20), offset: u64,
        ) {
            prop_assume!(left != right);
            let partition = Partition(1);
            let within = index_key(partition, &left, 0)..=index_key(partition, &left, u64::MAX);
            prop_assert!(!within.contains(&index_key(partition, &right, offset)));
        }
    }

    #[test]
    fn what_is_cut_short_is_corrupt() {
        let mut encoder = Encoder::default();
        let sealed = encoder.record(Timestamp(1), b"key", b"value").to_vec();
        for length in 0..sealed.len() {
            assert_eq!(decode_record(sealed.get(..length).unwrap_or_default()), Err(Corrupt));
        }
    }

    #[test]
    fn the_format_does_not_move() {
        let mut encoder = Encoder::default();
        let sealed = encoder.record(Timestamp(0x0102), b"k", b"v");
        assert_eq!(sealed.get(4..), Some(&[0x02, 0x01, 0, 0, 0, 0, 0, 0, 1, 0, b'k', b'v'][..]));
        assert_eq!(record_key(Partition(0x0102), 3), [1, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(index_key(Partition(1), b"ab", 2), [0, 1, 2, b'a', b'b', 0, 0, 0, 0, 0, 0, 0, 2]);
    }
}
