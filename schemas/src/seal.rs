//! Sealing: what must not be readable in the log is encrypted before it enters it.
//!
//! Format: one byte of version (1), four bytes of key id, 24 bytes of nonce, then XChaCha20-Poly1305. The
//! associated data binds a sealed value to its place (kind, id and field), so that it can't be moved.
//!
//! Several keys may open while one seals: so a key can be changed while everything runs. Where keys come from, and
//! what has to be sealed again, is not known here.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

const VERSION: u8 = 1;
const KEY_ID_LENGTH: usize = 4;
const NONCE_LENGTH: usize = 24;

/// The bytes of a key; wiped when they are dropped.
pub type KeyBytes = Zeroizing<[u8; 32]>;

/// Seals with one key, and opens with all that it has. Clones share their keys.
#[derive(Clone)]
pub struct Sealer {
    keys: Arc<ArcSwap<Keys>>,
}

/// The first seals.
struct Keys(Vec<Key>);

struct Key {
    id: [u8; KEY_ID_LENGTH],
    cipher: XChaCha20Poly1305,
}

impl Key {
    /// Its id is a hash of it.
    fn new(bytes: &[u8; 32]) -> Self {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let mut id = [0; KEY_ID_LENGTH];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self { id, cipher: XChaCha20Poly1305::new(bytes.into()) }
    }
}

impl Keys {
    fn new(sealing: &[u8; 32], others: &[KeyBytes]) -> Self {
        Self(std::iter::once(sealing).chain(others.iter().map(|key| &**key)).map(Key::new).collect())
    }
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
    /// Seals and opens with this key alone.
    pub fn new(key: &[u8; 32]) -> Self {
        Self::with_others(key, &[])
    }

    /// Seals with the first, and opens with the others as well.
    pub fn with_others(sealing: &[u8; 32], others: &[KeyBytes]) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(Keys::new(sealing, others))) }
    }

    /// From now on, here and in every clone, these are the keys.
    pub fn replace(&self, sealing: &[u8; 32], others: &[KeyBytes]) {
        self.keys.store(Arc::new(Keys::new(sealing, others)));
    }

    /// A new key from the system's randomness.
    pub fn generate_key() -> KeyBytes {
        Zeroizing::new(XChaCha20Poly1305::generate_key(&mut OsRng).into())
    }

    /// Seals a value for its place.
    pub fn seal(&self, place: &str, value: &[u8]) -> Vec<u8> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let payload = Payload { msg: value, aad: place.as_bytes() };
        let keys = self.keys.load();
        let Some(key) = keys.0.first() else { return Vec::new() };
        // Encryption fails only beyond 256 GiB; an empty sealed value then opens as malformed.
        let encrypted = key.cipher.encrypt(&nonce, payload).unwrap_or_default();
        let mut sealed = Vec::with_capacity(1 + KEY_ID_LENGTH + NONCE_LENGTH + encrypted.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&encrypted);
        sealed
    }

    /// Opens what was sealed for this place with one of its keys.
    ///
    /// # Errors
    ///
    /// If it is malformed, sealed with another key, changed, or from another place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenSealError> {
        let Parts { key_id, nonce, encrypted } = parts(sealed)?;
        let keys = self.keys.load();
        let key = keys.0.iter().find(|key| key.id == key_id).ok_or(OpenSealError::OtherKey)?;
        let payload = Payload { msg: encrypted, aad: place.as_bytes() };
        key.cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| OpenSealError::Forged)
    }

    /// Whether a value was sealed with the key that seals now.
    pub fn sealed_it(&self, sealed: &[u8]) -> bool {
        let first = self.keys.load().0.first().map(|key| key.id);
        parts(sealed).is_ok_and(|parts| first.is_some_and(|id| id == parts.key_id))
    }
}

/// What a sealed value consists of.
struct Parts<'a> {
    key_id: &'a [u8],
    nonce: &'a [u8],
    encrypted: &'a [u8],
}

fn parts(sealed: &[u8]) -> Result<Parts<'_>, OpenSealError> {
    let (version, rest) = sealed.split_first().ok_or(OpenSealError::Malformed)?;
    let (key_id, rest) = rest.split_at_checked(KEY_ID_LENGTH).ok_or(OpenSealError::Malformed)?;
    let (nonce, encrypted) = rest.split_at_checked(NONCE_LENGTH).ok_or(OpenSealError::Malformed)?;
    if *version != VERSION {
        return Err(OpenSealError::Malformed);
    }
    Ok(Parts { key_id, nonce, encrypted })
}

/// A secret as it stands in a record: sealed, in base64. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Seals a secret for its place.
    pub fn new(sealer: &Sealer, place: &str, secret: &Secret) -> Self {
        Self(STANDARD.encode(sealer.seal(place, secret.expose().as_bytes())))
    }

    /// The secret.
    ///
    /// # Errors
    ///
    /// As [`Sealer::open`].
    pub fn open(&self, sealer: &Sealer, place: &str) -> Result<Secret, OpenSealError> {
        let opened = sealer.open(place, &self.bytes()?)?;
        // The bytes become the text's: nothing is left behind that would have to be wiped.
        String::from_utf8(opened).map(Secret::new).map_err(|_| OpenSealError::Malformed)
    }

    /// Whether the key that seals now has sealed it.
    pub fn is_current(&self, sealer: &Sealer) -> bool {
        self.bytes().is_ok_and(|bytes| sealer.sealed_it(&bytes))
    }

    fn bytes(&self) -> Result<Vec<u8>, OpenSealError> {
        STANDARD.decode(&self.0).map_err(|_| OpenSealError::Malformed)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealed(..)")
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

    #[test]
    fn the_first_key_seals_and_all_open() {
        let (old, new) = (KeyBytes::new([7; 32]), KeyBytes::new([8; 32]));
        let sealer = Sealer::new(&old);
        let clone = sealer.clone();
        let before = sealer.seal("place", b"before");
        sealer.replace(&new, std::slice::from_ref(&old));
        let after = clone.seal("place", b"after");
        assert_eq!(clone.open("place", &before).as_deref(), Ok(&b"before"[..]));
        assert_eq!((clone.sealed_it(&before), clone.sealed_it(&after)), (false, true));
        assert_eq!(Sealer::new(&old).open("place", &after), Err(OpenSealError::OtherKey));
        sealer.replace(&new, &[]);
        assert_eq!(clone.open("place", &before), Err(OpenSealError::OtherKey));
        assert_eq!(clone.open("place", &after).as_deref(), Ok(&b"after"[..]));
    }

    #[test]
    fn a_sealed_secret_shows_nothing() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = Sealed::new(&sealer, "gateway/1/secret", &Secret::new("s3cret"));
        let written = serde_json::to_string(&sealed).expect("a text");
        assert!(!written.contains("s3cret") && format!("{sealed:?}") == "Sealed(..)");
        let read: Sealed = serde_json::from_str(&written).expect("a sealed value");
        assert_eq!(read.open(&sealer, "gateway/1/secret"), Ok(Secret::new("s3cret")));
        assert_eq!(read.open(&sealer, "gateway/2/secret"), Err(OpenSealError::Forged));
        assert!(read.is_current(&sealer) && !read.is_current(&Sealer::new(&[8; 32])));
    }
}
