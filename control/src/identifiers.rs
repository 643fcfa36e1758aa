//! New ids, from randomness: nobody guesses one, and no two are the same.

use std::fmt::Write;

/// An id with this prefix: 128 random bits in hexadecimal.
pub(crate) fn new_id(prefix: &str) -> String {
    let mut id = prefix.to_owned();
    for byte in rand::random::<[u8; 16]>() {
        // Writing to a text never fails.
        let _ = write!(id, "{byte:02x}");
    }
    id
}
