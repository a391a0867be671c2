//! Where the masters' sockets lie.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A socket's path ends here on macOS. While it listens first, ssh adds a dot and 16 letters to it.
const LONGEST: usize = 103 - 17;
/// `/` and the longest name that [`SocketDir::fresh`] gives.
const NAME: usize = 12;

/// A private directory with a path so short and plain that ssh takes it as it is.
#[derive(Debug)]
pub struct SocketDir {
    path: PathBuf,
    count: AtomicU32,
    /// Removed with it, where it has no place of its own.
    _temporary: Option<tempfile::TempDir>,
}

impl SocketDir {
    /// `ssh` below the runtime directory, emptied of what a former coordinator left there; a temporary directory where
    /// that path is too long or too odd. Only the runtime directory's owner may call this.
    pub fn below(runtime: &Path) -> io::Result<Self> {
        let path = runtime.join("ssh");
        if !is_good(&path) {
            return Self::temporary();
        }
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => DirBuilder::new().recursive(true).mode(0o700).create(&path)?,
        }
        Ok(Self { path, count: AtomicU32::new(0), _temporary: None })
    }

    /// One that is gone when this is dropped.
    pub fn temporary() -> io::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("muster-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in("/tmp")?;
        Ok(Self { path: dir.path().to_owned(), count: AtomicU32::new(0), _temporary: Some(dir) })
    }

    /// A path that nobody has used yet.
    pub fn fresh(&self, kind: char) -> PathBuf {
        self.path.join(format!("{kind}{}", self.count.fetch_add(1, Ordering::Relaxed)))
    }
}

fn is_good(path: &Path) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
    path.to_str().is_some_and(|path| path.len() + NAME <= LONGEST && path.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_or_deep_place_is_left_for_a_temporary_one() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["a b", "%h", "${HOME}", &"x".repeat(90)] {
            let sockets = SocketDir::below(&dir.path().join(name)).expect("a directory");
            assert!(sockets.fresh('m').starts_with("/tmp"), "{name}");
        }
    }

    #[test]
    fn it_is_private_and_forgets_what_was_there() {
        let dir = tempfile::Builder::new().prefix("m").tempdir_in("/tmp").expect("a directory");
        fs::create_dir(dir.path().join("ssh")).expect("room");
        fs::write(dir.path().join("ssh/m0"), "").expect("room");
        let sockets = SocketDir::below(dir.path()).expect("a directory");
        let path = sockets.fresh('m');
        assert!(!path.exists() && path != sockets.fresh('m'));
        let mode = fs::metadata(dir.path().join("ssh")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
