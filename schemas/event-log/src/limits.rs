//! What every backend takes, whatever it could hold.

use crate::{AppendError, Partition};

/// The longest key.
pub(crate) const KEY_LIMIT: usize = 255;
/// The longest value.
pub(crate) const VALUE_LIMIT: usize = 1024 * 1024;
/// The longest words of a committer.
const METADATA_LIMIT: usize = 1024;

/// A partition that does not exist is a fault of the caller.
pub(crate) fn check_partition(name: &str, partition: Partition, partitions: u16) {
    assert!(partition.0 < partitions, "{name} has {partitions} partitions");
}

/// As are more words beside a commit than a backend need keep.
pub(crate) fn check_metadata(metadata: &[u8]) {
    assert!(metadata.len() <= METADATA_LIMIT, "a commit carries at most {METADATA_LIMIT} bytes of metadata");
}

/// Refuses what is longer, before anything else happens to it.
pub(crate) fn check_lengths(key: &[u8], value: &[u8]) -> Result<(), AppendError> {
    if key.len() > KEY_LIMIT {
        return Err(AppendError::TooLarge(key.len()));
    }
    if value.len() > VALUE_LIMIT {
        return Err(AppendError::TooLarge(value.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_limited() {
        let cases = [
            (KEY_LIMIT, VALUE_LIMIT, Ok(())),
            (KEY_LIMIT + 1, 0, Err(AppendError::TooLarge(KEY_LIMIT + 1))),
            (0, VALUE_LIMIT + 1, Err(AppendError::TooLarge(VALUE_LIMIT + 1))),
        ];
        for (key, value, expected) in cases {
            assert_eq!(check_lengths(&vec![0; key], &vec![0; value]), expected);
        }
    }
}
