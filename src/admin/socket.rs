//! The admin socket: a file that its owner alone may open. Who can is trusted with what is known of payments.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hookline_listener::Accept;
use tokio::net::{UnixListener, UnixStream};

/// The socket, listening; removed with it.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Listens there. One that a process left behind when it was killed is replaced, one that is in use is not.
    pub(crate) async fn bind(path: &Path) -> io::Result<Self> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // Under its name it is never open to others, not for a moment.
        let unfinished = path.with_extension(format!("{}", std::process::id()));
        let _ = std::fs::remove_file(&unfinished);
        let listener = UnixListener::bind(&unfinished)?;
        std::fs::set_permissions(&unfinished, Permissions::from_mode(0o600))?;
        std::fs::rename(&unfinished, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // Whoever comes next replaces what is left.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Accept for AdminSocket {
    type Stream = UnixStream;
    type Peer = ();

    async fn accept(&self) -> io::Result<(UnixStream, ())> {
        Ok((self.listener.accept().await?.0, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data/admin.sock");
        let first = AdminSocket::bind(&path).await.expect("bound");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = AdminSocket::bind(&path).await.expect_err("in use");
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists());

        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "left behind");
        AdminSocket::bind(&path).await.expect("replaced");
    }
}
