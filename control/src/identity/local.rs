//! The local key: signs the tokens of `hookline token issue`, for an installation without an identity provider.
//!
//! Ed25519, PKCS#8 in PEM, in a file that only its owner can read. Whether it is believed is not decided here.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use hookline_schemas::ids::{ClubId, OrganizationId};
use hookline_schemas::time::Timestamp;
use rand::RngCore;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Role;
use crate::settings::TokenSettings;

/// `iss` of every token that is issued here.
pub(super) const ISSUER: &str = "hookline";

/// Why there is no local key.
#[derive(Debug, thiserror::Error)]
pub enum LocalKeyError {
    /// The file can't be read or made.
    #[error("failed to open the key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file does not hold a key.
    #[error(
        "the key file {} does not hold an Ed25519 private key (PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` \
         makes it)",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// The local key.
#[derive(Clone)]
pub struct LocalKey {
    signing: SigningKey,
    id: String,
}

/// What a token is to say of its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueRequest {
    /// `sub`.
    pub subject: String,
    /// His role.
    pub role: Role,
    /// His organization.
    pub organization: OrganizationId,
    /// The clubs that he is confined to; `None`: the whole organization.
    pub clubs: Option<Vec<ClubId>>,
    /// How long it is good for; whole seconds count.
    pub ttl: Duration,
}

impl LocalKey {
    fn new(signing: SigningKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(signing.verifying_key().as_bytes()).into();
        let id = URL_SAFE_NO_PAD.encode(digest).chars().take(12).collect::<String>();
        Self { signing, id: format!("hookline-{id}") }
    }

    /// Reads the key.
    ///
    /// # Errors
    ///
    /// If the file can't be read, or holds something else.
    pub fn load(path: &Path) -> Result<Self, LocalKeyError> {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|source| LocalKeyError::File { path: path.to_owned(), source })?;
        let read = SigningKey::from_pkcs8_pem(text.trim());
        read.map(Self::new).map_err(|_| LocalKeyError::Malformed { path: path.to_owned() })
    }

    /// Reads the key; makes one where there is none, and says so. Of several that make one at once, all get the same.
    ///
    /// # Errors
    ///
    /// If the file can't be read or made, or holds something else.
    pub fn load_or_make(path: &Path) -> Result<Self, LocalKeyError> {
        match Self::load(path) {
            Err(LocalKeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        match make(path) {
            Ok(()) => tracing::warn!(
                path = %path.display(),
                "made a new key for tokens: who can read it can issue tokens for every organization"
            ),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(LocalKeyError::File { path: path.to_owned(), source }),
        }
        Self::load(path)
    }

    /// A token: believed by every verifier of these settings that believes this key.
    pub fn issue(&self, request: &IssueRequest, settings: &TokenSettings, now: Timestamp) -> String {
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": self.id });
        let claims = Value::Object(claims(request, settings, now));
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.signing.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The half that may be known.
    pub(super) fn verifying_key(&self) -> VerifyingKey {
        self.signing.verifying_key()
    }

    /// `kid` of its tokens.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// Of the secret nothing.
impl fmt::Debug for LocalKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LocalKey").field("id", &self.id).finish_non_exhaustive()
    }
}

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

fn claims(request: &IssueRequest, settings: &TokenSettings, now: Timestamp) -> Map<String, Value> {
    let issued_at = now.unix_seconds();
    let mut claims = Map::new();
    claims.insert("iss".to_owned(), json!(ISSUER));
    claims.insert("aud".to_owned(), json!(settings.audience));
    claims.insert("sub".to_owned(), json!(request.subject));
    claims.insert("iat".to_owned(), json!(issued_at));
    claims.insert("exp".to_owned(), json!(issued_at.saturating_add(request.ttl.as_secs())));
    claims.insert(settings.role_claim.clone(), json!(request.role.as_str()));
    claims.insert(settings.organization_claim.clone(), json!(request.organization));
    if let Some(clubs) = &request.clubs {
        claims.insert(settings.clubs_claim.clone(), json!(clubs));
    }
    claims
}

fn make(path: &Path) -> io::Result<()> {
    let mut seed = Zeroizing::new([0; 32]);
    rand::rng().fill_bytes(seed.as_mut());
    let text = SigningKey::from_bytes(&seed).to_pkcs8_pem(LineEnding::LF).map_err(io::Error::other)?;
    make_key_file(path, text.as_bytes())
}

/// Makes a file with a whole key in it, readable by its owner alone, or none: who finds the file finds the key. It is
/// durable when this returns.
///
/// # Errors
///
/// If there is such a file already, or the system does not make one.
pub fn make_key_file(path: &Path, key: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unfinished = directory.join(format!(".hookline-key-{:016x}", rand::rng().next_u64()));
    let written = write_new(&unfinished, key).and_then(|()| std::fs::hard_link(&unfinished, path));
    // A file that was never made can't be removed either.
    let _ = std::fs::remove_file(&unfinished);
    written?;
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::super::fixtures::{ED25519_PRIVATE, RSA_PRIVATE};
    use super::*;

    #[test]
    fn makes_a_key_for_its_owner_alone_and_finds_it_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline-tokens.pem");
        let made = LocalKey::load_or_make(&path).expect("a key");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(LocalKey::load_or_make(&path).expect("a key").signing, made.signing);
        assert_eq!(LocalKey::load(&path).expect("a key").signing, made.signing);
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("a directory").count(),
            1,
            "nothing is left behind"
        );
    }

    #[test]
    fn many_that_make_a_key_at_once_get_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline-tokens.pem");
        let ids = thread::scope(|scope| {
            let makers: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| LocalKey::load_or_make(&path).expect("a key").id().to_owned()))
                .collect();
            makers.into_iter().map(|maker| maker.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert!(ids.windows(2).all(|pair| pair.first() == pair.last()), "{ids:?}");
    }

    #[test]
    fn a_key_that_is_only_read_is_never_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline-tokens.pem");
        assert!(matches!(LocalKey::load(&path), Err(LocalKeyError::File { .. })));
        assert!(!path.exists());
        std::fs::write(&path, ED25519_PRIVATE).expect("written");
        LocalKey::load(&path).expect("what openssl made");
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused_and_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline-tokens.pem");
        for text in ["", "c2hvcnQ=\n", RSA_PRIVATE] {
            std::fs::write(&path, text).expect("written");
            assert!(matches!(LocalKey::load_or_make(&path), Err(LocalKeyError::Malformed { .. })));
            assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
        }
    }

    #[test]
    fn nothing_of_the_secret_is_in_what_is_printed() {
        let directory = tempfile::tempdir().expect("a directory");
        let key = LocalKey::load_or_make(&directory.path().join("key.pem")).expect("a key");
        assert_eq!(format!("{key:?}"), format!("LocalKey {{ id: {:?}, .. }}", key.id()));
    }
}
