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
    /// The file does not hold a key.
    #[error("the key file {} does not hold 32 bytes in base64", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the key; makes one where there is none, and says so.
pub(crate) fn load_or_make(path: &Path) -> Result<Sealer, KeyError> {
    let failed = |source| KeyError::File { path: path.to_owned(), source };
    match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => {
            let malformed = || KeyError::Malformed { path: path.to_owned() };
            let bytes = Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| malformed())?);
            let key: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed())?;
            Ok(Sealer::new(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = Sealer::generate_key();
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
            let text = Zeroizing::new(STANDARD.encode(*key) + "\n");
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            tracing::warn!(path = %path.display(), "made a new key for sealing; keep it with the backups");
            Ok(Sealer::new(&key))
        }
        Err(error) => Err(failed(error)),
    }
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
    fn refuses_a_file_that_holds_no_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hookline.key");
        std::fs::write(&path, "c2hvcnQ=\n").expect("written");
        assert!(matches!(load_or_make(&path), Err(KeyError::Malformed { .. })));
    }
}
