//! A public key that is believed. The key says which algorithm its signatures have; a token's header is never asked.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::pkcs8::spki::der::asn1::UintRef;
use ed25519_dalek::pkcs8::spki::der::{self, Decode, Document, Reader, SliceReader};
use ed25519_dalek::pkcs8::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use serde_json::{Map, Value};

/// rsaEncryption, RFC 8017.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// id-Ed25519, RFC 8410.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Bytes of an RSA modulus: below 2048 bits it could be factored, above 4096 the cryptography takes none.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=512;

/// What a token says, once its signature was found right.
pub(super) type Claims = Map<String, Value>;

/// Why a key can't be believed. The message fits behind "FILE ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Not PEM at all.
    #[error("holds no key in PEM")]
    NotPem,
    /// The half that nobody but its owner should have.
    #[error("holds a private key: the public one is needed")]
    Private,
    /// Neither RSA nor Ed25519.
    #[error("holds neither an RSA nor an Ed25519 public key (PEM, BEGIN PUBLIC KEY)")]
    Kind,
    /// RSA, of a size that is not taken.
    #[error("holds an RSA key that is not between 2048 and 4096 bits")]
    Size,
    /// The numbers in it are none of such a key.
    #[error("holds a broken key")]
    Broken,
}

/// A key as a JWKS lists it; what else stands there is of no use here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
}

/// A public key, and the one algorithm that it verifies.
#[derive(Debug, Clone)]
pub(super) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

impl Key {
    /// An Ed25519 key: verifies EdDSA.
    pub(super) fn ed25519(id: Option<String>, bytes: &[u8]) -> Result<Self, KeyProblem> {
        // The library below takes the first 32 bytes of whatever it gets, and ends the process if there are fewer.
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| KeyProblem::Broken)?;
        VerifyingKey::from_bytes(bytes).map(|key| Self::verifying(id, &key)).map_err(|_| KeyProblem::Broken)
    }

    /// The same, of what is known to be one.
    pub(super) fn verifying(id: Option<String>, key: &VerifyingKey) -> Self {
        Self::new(id, Algorithm::EdDSA, DecodingKey::from_ed_der(key.as_bytes()))
    }

    fn rsa(id: Option<String>, modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyProblem> {
        let leading = modulus.iter().take_while(|byte| **byte == 0).count();
        if !MODULUS.contains(&(modulus.len() - leading)) {
            return Err(KeyProblem::Size);
        }
        Ok(Self::new(id, Algorithm::RS256, DecodingKey::from_rsa_raw_components(modulus, exponent)))
    }

    fn new(id: Option<String>, algorithm: Algorithm, decoding: DecodingKey) -> Self {
        // The signature alone: what the claims have to say is decided in one place, by our own clock.
        let mut validation = Validation::new(algorithm);
        validation.required_spec_claims = HashSet::new();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self { id, algorithm, decoding, validation }
    }

    /// From a file: `BEGIN PUBLIC KEY`, or `BEGIN RSA PUBLIC KEY`.
    pub(super) fn from_pem(text: &str) -> Result<Self, KeyProblem> {
        let (label, document) = Document::from_pem(text.trim()).map_err(|_| KeyProblem::NotPem)?;
        match label {
            "PUBLIC KEY" => Self::from_spki(document.as_bytes()),
            "RSA PUBLIC KEY" => Self::from_pkcs1(document.as_bytes()),
            private if private.ends_with("PRIVATE KEY") => Err(KeyProblem::Private),
            _ => Err(KeyProblem::Kind),
        }
    }

    fn from_spki(der: &[u8]) -> Result<Self, KeyProblem> {
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyProblem::Broken)?;
        let bits = info.subject_public_key.as_bytes().ok_or(KeyProblem::Broken)?;
        match info.algorithm.oid {
            ED25519 => Self::ed25519(None, bits),
            RSA => Self::from_pkcs1(bits),
            _ => Err(KeyProblem::Kind),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, KeyProblem> {
        let numbers = |reader: &mut der::NestedReader<'_, SliceReader<'_>>| {
            let modulus = UintRef::decode(reader)?.as_bytes().to_vec();
            Ok((modulus, UintRef::decode(reader)?.as_bytes().to_vec()))
        };
        let read = SliceReader::new(der).and_then(|mut reader| reader.sequence(numbers));
        let (modulus, exponent): (Vec<u8>, Vec<u8>) = read.map_err(|_: der::Error| KeyProblem::Broken)?;
        Self::rsa(None, &modulus, &exponent)
    }

    /// From a JWKS; a key for anything but RS256 and EdDSA signatures is none for us.
    pub(super) fn from_jwk(jwk: Jwk) -> Result<Self, KeyProblem> {
        if jwk.purpose.is_some_and(|purpose| purpose != "sig") {
            return Err(KeyProblem::Kind);
        }
        let number = |text: Option<String>| {
            text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(KeyProblem::Broken)
        };
        match (jwk.kty.as_str(), jwk.crv.as_deref(), jwk.alg.as_deref()) {
            ("RSA", _, None | Some("RS256")) => Self::rsa(jwk.kid, &number(jwk.n)?, &number(jwk.e)?),
            ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                Self::ed25519(jwk.kid, &number(jwk.x)?)
            }
            _ => Err(KeyProblem::Kind),
        }
    }

    /// Its name, where it has one.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether a token with this header could be signed with it: no signature is tried in vain.
    pub(super) fn fits(&self, header: &Header) -> bool {
        let is_named = match (&self.id, &header.kid) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        };
        is_named && header.alg == self.algorithm
    }

    /// The token's claims, if this key signed them.
    pub(super) fn open(&self, token: &str) -> Option<Claims> {
        let opened = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        opened.ok().map(|opened| opened.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ED25519_PRIVATE, ED25519_PUBLIC, RSA_PUBLIC};
    use super::*;

    #[test]
    fn public_keys_of_two_kinds_are_taken_and_others_named() {
        assert_eq!(Key::from_pem(RSA_PUBLIC).expect("RSA").algorithm, Algorithm::RS256);
        assert_eq!(Key::from_pem(ED25519_PUBLIC).expect("Ed25519").algorithm, Algorithm::EdDSA);
        let pkcs1 = include_str!("fixtures/rsa_pkcs1_public.pem");
        assert_eq!(Key::from_pem(pkcs1).expect("RSA").algorithm, Algorithm::RS256);
        for (text, expected) in [
            ("", KeyProblem::NotPem),
            ("c2hvcnQ=", KeyProblem::NotPem),
            (ED25519_PRIVATE, KeyProblem::Private),
            (include_str!("fixtures/p256_public.pem"), KeyProblem::Kind),
            (include_str!("fixtures/rsa_1024_public.pem"), KeyProblem::Size),
            ("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n", KeyProblem::Broken),
        ] {
            assert_eq!(Key::from_pem(text).map(|_| ()), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_listed_key_is_taken_for_its_own_algorithm_alone() {
        let jwk = |value: Value| Key::from_jwk(serde_json::from_value(value).expect("a key")).map(|_| ());
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let bytes = URL_SAFE_NO_PAD.decode(x).expect("base64");
        let too_long = URL_SAFE_NO_PAD.encode([bytes, vec![0]].concat());
        let n = URL_SAFE_NO_PAD.encode([0xC5_u8; 256]);
        for (value, expected) in [
            (serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x}), Ok(())),
            (
                serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "alg": "EdDSA"}),
                Ok(()),
            ),
            (serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}), Err(KeyProblem::Broken)),
            (serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": too_long}), Err(KeyProblem::Broken)),
            (serde_json::json!({"kty": "OKP", "crv": "Ed25519"}), Err(KeyProblem::Broken)),
            (serde_json::json!({"kty": "OKP", "crv": "X25519", "x": x}), Err(KeyProblem::Kind)),
            (serde_json::json!({"kty": "RSA", "n": n, "e": "AQAB"}), Ok(())),
            (serde_json::json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS512"}), Err(KeyProblem::Kind)),
            (serde_json::json!({"kty": "RSA", "n": n, "e": "AQAB", "use": "enc"}), Err(KeyProblem::Kind)),
            (serde_json::json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), Err(KeyProblem::Size)),
            (serde_json::json!({"kty": "oct", "k": "c2VjcmV0"}), Err(KeyProblem::Kind)),
        ] {
            assert_eq!(jwk(value.clone()), expected, "{value}");
        }
    }
}
