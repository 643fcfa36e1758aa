//! The key that seals: 32 bytes, base64, in a file that only its owner can read.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookline_schemas::seal::Sealer;
use zeroize::Zeroizing;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file can't be read or made.
    #[error("failed to open the key file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no such file, and nobody may make one.
    #[error(
        "there is no key file {0}: the edges over one log share one key; make it once, with \
         `openssl rand -base64 32 > {0}`, readable by its owner alone, and give it to each",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold a key.
    #[error("the key file {} does not hold 32 bytes in base64", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the key.
pub(crate) fn load(path: &Path) -> Result<Sealer, KeyError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::File { path: path.to_owned(), source },
    })?;
    let malformed = || KeyError::Malformed { path: path.to_owned() };
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| malformed())?);
    let key: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed())?;
    Ok(Sealer::new(key))
}

/// Reads the key; makes one where there is none, and says so. For a log that nobody else seals in.
pub(crate) fn load_or_make(path: &Path) -> Result<Sealer, KeyError> {
    match load(path) {
        Err(KeyError::Missing { path }) => make(&path).map_err(|source| KeyError::File { path, source }),
        loaded => loaded,
    }
}

fn make(path: &Path) -> io::Result<Sealer> {
    let key = Sealer::generate_key();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let text = Zeroizing::new(STANDARD.encode(*key) + "\n");
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    tracing::warn!(path = %path.display(), "made a new key for sealing; keep it with the backups");
    Ok(Sealer::new(&key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn makes_a_key_for_its_owner_alone_and_finds_it_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline.key");
        let sealed = load_or_make(&path).expect("a key").seal("place", b"value");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(load_or_make(&path).expect("a key").open("place", &sealed).as_deref(), Ok(&b"value"[..]));
    }

    #[test]
    fn a_key_that_others_share_is_read_and_never_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline.key");
        let Err(refused) = load(&path) else { panic!("there is no key yet") };
        let refused = refused.to_string();
        assert!(refused.contains("openssl rand -base64 32") && !path.exists(), "{refused}");
        let sealed = load_or_make(&path).expect("a key").seal("place", b"value");
        assert_eq!(load(&path).expect("a key").open("place", &sealed).as_deref(), Ok(&b"value"[..]));
    }

    #[test]
    fn refuses_a_file_that_holds_no_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline.key");
        std::fs::write(&path, "c2hvcnQ=\n").expect("written");
        assert!(matches!(load_or_make(&path), Err(KeyError::Malformed { .. })));
    }
}
