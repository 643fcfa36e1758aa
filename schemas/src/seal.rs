//! Sealing: what must not be readable in the log is encrypted before it enters it.
//!
//! Format: one byte of version (1), four bytes of key id, 24 bytes of nonce, then XChaCha20-Poly1305. The
//! associated data binds a sealed value to its place (kind, id and field), so that it can't be moved.

use std::fmt;

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_ID_LENGTH: usize = 4;
const NONCE_LENGTH: usize = 24;

/// A key that seals and opens.
#[derive(Clone)]
pub struct Sealer {
    key_id: [u8; KEY_ID_LENGTH],
    cipher: XChaCha20Poly1305,
}

/// Why a sealed value can't be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenSealError {
    /// Not a sealed value of this version.
    #[error("not a sealed value")]
    Malformed,
    /// Sealed with another key.
    #[error("sealed with another key")]
    OtherKey,
    /// Changed, or moved from its place.
    #[error("the sealed value does not belong here")]
    Forged,
}

impl Sealer {
    /// Uses this key; its id is a hash of it.
    pub fn new(key: &[u8; 32]) -> Self {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut key_id = [0; KEY_ID_LENGTH];
        key_id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self { key_id, cipher: XChaCha20Poly1305::new(key.into()) }
    }

    /// A new key from the system's randomness.
    pub fn generate_key() -> Zeroizing<[u8; 32]> {
        Zeroizing::new(XChaCha20Poly1305::generate_key(&mut OsRng).into())
    }

    /// Seals a value for its place.
    pub fn seal(&self, place: &str, value: &[u8]) -> Vec<u8> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let payload = Payload { msg: value, aad: place.as_bytes() };
        // Encryption fails only beyond 256 GiB; an empty sealed value then opens as malformed.
        let encrypted = self.cipher.encrypt(&nonce, payload).unwrap_or_default();
        let mut sealed = Vec::with_capacity(1 + KEY_ID_LENGTH + NONCE_LENGTH + encrypted.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.key_id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&encrypted);
        sealed
    }

    /// Opens what was sealed for this place with this key.
    ///
    /// # Errors
    ///
    /// If it is malformed, sealed with another key, changed, or from another place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenSealError> {
        let (version, rest) = sealed.split_first().ok_or(OpenSealError::Malformed)?;
        let (key_id, rest) = rest.split_at_checked(KEY_ID_LENGTH).ok_or(OpenSealError::Malformed)?;
        let (nonce, encrypted) = rest.split_at_checked(NONCE_LENGTH).ok_or(OpenSealError::Malformed)?;
        if *version != VERSION {
            return Err(OpenSealError::Malformed);
        }
        if key_id != self.key_id {
            return Err(OpenSealError::OtherKey);
        }
        let payload = Payload { msg: encrypted, aad: place.as_bytes() };
        self.cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| OpenSealError::Forged)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_in_its_place_and_nowhere_else() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer.seal("quarantine/1/body", b"TransactionId=1");
        assert_eq!(sealer.open("quarantine/1/body", &sealed).as_deref(), Ok(&b"TransactionId=1"[..]));
        assert_eq!(sealer.open("quarantine/2/body", &sealed), Err(OpenSealError::Forged));
        assert_eq!(Sealer::new(&[8; 32]).open("quarantine/1/body", &sealed), Err(OpenSealError::OtherKey));
        assert_eq!(sealer.open("quarantine/1/body", &[]), Err(OpenSealError::Malformed));
        assert!(!sealed.windows(13).any(|window| window == b"TransactionId"));
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let sealer = Sealer::new(&[7; 32]);
        let mut sealed = sealer.seal("place", b"value");
        if let Some(last) = sealed.last_mut() {
            *last ^= 1;
        }
        assert_eq!(sealer.open("place", &sealed), Err(OpenSealError::Forged));
    }
}
