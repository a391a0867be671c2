//! The files that the coordinator leaves for others, and the sockets it listens on.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why this coordinator cannot have its files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Another one has them.
    #[error(
        "another coordinator (pid {pid}) already uses {}; stop it, or give this one its own --runtime-dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other one, as it says itself.
        pid: String,
    },
    /// A file or directory cannot be made.
    #[error("cannot {what} {}: {why}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

fn at<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FilesError + 'a {
    move |why| FilesError::Io { what, path: path.to_owned(), why }
}

/// Makes a directory, and what lies above it, with `mode`; one that is there keeps its own.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), FilesError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(at("make the directory", path))
}

/// Held as long as the coordinator lives; the kernel lets go of it, however that ends.
pub struct RuntimeLock {
    _file: File,
}

/// Takes the runtime directory for this process.
pub fn lock_runtime(dir: &Path) -> Result<RuntimeLock, FilesError> {
    let path = dir.join("coordinator.lock");
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
    let mut file = opened.map_err(at("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message.
            let _ = file.take(20).read_to_string(&mut pid);
            return Err(FilesError::InUse { path: dir.to_owned(), pid: pid.trim().to_owned() });
        }
        Err(TryLockError::Error(why)) => return Err(at("lock", &path)(why)),
    }
    let write = |file: &mut File| file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    write(&mut file).map_err(at("write", &path))?;
    Ok(RuntimeLock { _file: file })
}

/// Listens at `path`, in the place of whatever socket a former coordinator left there. Only its lock's holder may.
pub fn listen(path: &Path, mode: u32) -> Result<UnixListener, FilesError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("replace", path)(error)),
        _ => {}
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    // Bound under another name, so that nobody finds it before its mode is set.
    let hidden = dir.join(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden).map_err(at("listen at", path))?;
    fs::set_permissions(&hidden, Permissions::from_mode(mode)).map_err(at("set the mode of", path))?;
    fs::rename(&hidden, path).map_err(at("listen at", path))?;
    Ok(listener)
}

/// Replaces a file as a whole: a reader sees the old text or the new one.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

/// Whether something lies at `path`.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A small file's text; none where there is no such file, or it is no text.
pub fn read_bounded(path: &Path) -> Option<String> {
    const LONGEST: u64 = 1 << 20;
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_coordinator_is_told_of_the_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = lock_runtime(dir.path()).expect("free");
        let Err(FilesError::InUse { pid, .. }) = lock_runtime(dir.path()) else { panic!("taken twice") };
        assert_eq!(pid, std::process::id().to_string());
        drop(first);
        assert!(lock_runtime(dir.path()).is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("endpoint.sock");
        drop(listen(&path, 0o600).expect("free"));
        let _listener = listen(&path, 0o600).expect("replaced");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_replaced_file_has_the_new_text() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("machines");
        for text in ["one\n", "two\n", "two\n"] {
            replace(&path, text).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
    }
}
