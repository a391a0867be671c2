//! The files that the coordinator leaves for others, and the sockets it listens on.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{UnixListener, UnixStream};

/// Why this coordinator cannot have its files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Another one has them.
    #[error("another coordinator (pid {pid}) already uses {}; stop it, or give this one its own {own}", path.display())]
    InUse {
        /// The directory or file.
        path: PathBuf,
        /// The other one, as it says itself.
        pid: String,
        /// The option or key that names another.
        own: &'static str,
    },
    /// Somebody who holds no lock listens there: a service manager, or another program.
    #[error("somebody already listens at {}; stop them, or give this coordinator its own {own}", path.display())]
    Answered {
        /// The socket.
        path: PathBuf,
        /// The key that names another.
        own: &'static str,
    },
    /// Something else lies where a socket is to be.
    #[error("{} is there and is no socket; move it away, or give this coordinator another {own}", path.display())]
    NoSocket {
        /// What lies there.
        path: PathBuf,
        /// The key that names another.
        own: &'static str,
    },
    /// Others could replace what the coordinator leaves there.
    #[error(
        "the runtime directory {} cannot be trusted: {} {problem}; {advice}, or choose another --runtime-dir",
        dir.display(), place.display()
    )]
    Untrusted {
        /// The runtime directory.
        dir: PathBuf,
        /// It, or a directory above it.
        place: PathBuf,
        /// What is wrong there.
        problem: String,
        /// What to do.
        advice: String,
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

/// That nobody but root and ourselves can replace what lies in the runtime directory.
pub fn judge_runtime(dir: &Path) -> Result<(), FilesError> {
    let real = fs::canonicalize(dir).map_err(at("look at", dir))?;
    let us = rustix::process::geteuid().as_raw();
    for (depth, place) in real.ancestors().enumerate() {
        let found = fs::metadata(place).map_err(at("look at", place))?;
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        let writable = format!("may be written by others (mode {mode:04o})");
        let (problem, advice) = match depth {
            0 if ![0, us].contains(&owner) => {
                (format!("belongs to user {owner}"), format!("chown it to user {us}"))
            }
            0 if mode & 0o022 != 0 => (writable, "chmod go-w it".to_owned()),
            // Where others may write, only the sticky bit keeps them from moving what is not theirs.
            1.. if mode & 0o1002 == 0o002 => (writable, "chmod o-w it".to_owned()),
            _ => continue,
        };
        return Err(FilesError::Untrusted { dir: dir.to_owned(), place: place.to_owned(), problem, advice });
    }
    Ok(())
}

/// Held as long as the coordinator lives; the kernel lets go of it, however that ends.
pub struct Lock {
    _file: File,
}

/// Takes the runtime directory for this process.
pub fn lock_runtime(dir: &Path) -> Result<Lock, FilesError> {
    lock(&dir.join("coordinator.lock"), dir, "--runtime-dir")
}

/// Takes a file that may lie elsewhere, for this process: two runtime directories can name the same one, as `key` of
/// the configuration.
pub fn lock_beside(path: &Path, key: &'static str) -> Result<Lock, FilesError> {
    lock(&hidden(path, "lock"), path, key)
}

fn lock(file: &Path, taken: &Path, own: &'static str) -> Result<Lock, FilesError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    // What somebody else has put there must not lead elsewhere: it is written to.
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut opened = options.open(file).map_err(at("open", file))?;
    match opened.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message.
            let _ = opened.take(20).read_to_string(&mut pid);
            return Err(FilesError::InUse { path: taken.to_owned(), pid: pid.trim().to_owned(), own });
        }
        Err(TryLockError::Error(why)) => return Err(at("lock", file)(why)),
    }
    let write = |file: &mut File| file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    write(&mut opened).map_err(at("write", file))?;
    Ok(Lock { _file: opened })
}

/// Listens at `path`, in the place of whatever socket a former coordinator left there. Only its lock's holder may.
pub async fn listen(path: &Path, key: &'static str, mode: u32) -> Result<UnixListener, FilesError> {
    nobody_listens(path, key).await?;
    // Bound under another name, so that nobody finds it before its mode is set.
    let new = hidden(path, "new");
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).map_err(at("listen at", path))?;
    set_mode(&new, mode)?;
    fs::rename(&new, path).map_err(at("listen at", path))?;
    Ok(listener)
}

/// That there is nothing at `path`, or a socket that was left behind.
async fn nobody_listens(path: &Path, own: &'static str) -> Result<(), FilesError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at("look at", path)(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(FilesError::NoSocket { path: path.to_owned(), own });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Not even room to wait for an answer: somebody listens who is busy.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(at("ask who listens at", path)(error)),
        Ok(_) | Err(_) => Err(FilesError::Answered { path: path.to_owned(), own }),
    }
}

fn hidden(path: &Path, ending: &str) -> PathBuf {
    path.with_file_name(format!(".{}.{ending}", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// Says who may do what with a file or a socket.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), FilesError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("set the mode of", path))
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

/// Removes a file of ours; it may be gone already.
pub fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// Whether we may read it.
pub fn can_read(path: &Path) -> io::Result<()> {
    File::open(path).map(drop)
}

/// A small file's text; none where there is no such file, or it is no text.
pub fn read_bounded(path: &Path) -> Option<String> {
    const LONGEST: u64 = 1 << 20;
    let mut text = String::new();
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// A recording's text; one that is longer than any honest one is refused.
pub fn read_recording(path: &Path) -> io::Result<String> {
    const LONGEST: u64 = 1 << 30;
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than a gibibyte"));
    }
    Ok(text)
}

/// At most so many bytes of a file that holds a secret; with a warning where others can read it, too.
pub fn read_secret(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && meta.mode() & 0o077 != 0 {
        tracing::warn!("{} can be read by others: chmod 600 {0}", path.display());
    }
    let mut secret = Vec::new();
    file.take(most).read_to_end(&mut secret)?;
    Ok(secret)
}

/// Lets this process open as many files as the system allows it: each client and each channel is one.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
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
        drop(listen(&path, "endpoint.socket", 0o600).await.expect("free"));
        let _listener = listen(&path, "endpoint.socket", 0o600).await.expect("replaced");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn a_socket_that_somebody_listens_at_is_left_to_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("endpoint.sock");
        let _listener = listen(&path, "endpoint.socket", 0o600).await.expect("free");
        let inode = fs::metadata(&path).expect("there").ino();
        let second = listen(&path, "endpoint.socket", 0o600).await.expect_err("somebody listens").to_string();
        assert!(
            second.contains("somebody already listens") && second.contains("endpoint.socket"),
            "{second}"
        );
        assert_eq!(fs::metadata(&path).expect("there").ino(), inode);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("precious");
        fs::write(&path, "text").expect("written");
        let error = listen(&path, "control.socket", 0o600).await.expect_err("a file").to_string();
        assert!(error.contains("is no socket; move it away"), "{error}");
        assert_eq!(fs::read_to_string(&path).expect("there"), "text");
    }

    #[test]
    fn a_file_is_locked_wherever_it_is_named_from() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("machines");
        let _lock = lock_beside(&path, "endpoint.machines_file").expect("free");
        let Err(error) = lock_beside(&path, "endpoint.machines_file") else { panic!("taken twice") };
        assert!(error.to_string().contains("its own endpoint.machines_file"), "{error}");
    }

    #[test]
    fn a_lock_that_is_a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let victim = dir.path().join("victim");
        fs::write(&victim, "text").expect("written");
        std::os::unix::fs::symlink(&victim, dir.path().join("coordinator.lock")).expect("a link");
        assert!(lock_runtime(dir.path()).is_err());
        assert_eq!(fs::read_to_string(&victim).expect("there"), "text");
    }

    #[test]
    fn a_runtime_directory_that_others_may_write_is_refused() {
        let above = tempfile::tempdir().expect("a directory");
        let dir = above.path().join("run");
        fs::create_dir(&dir).expect("made");
        let judge = |above_mode, mode| {
            fs::set_permissions(above.path(), Permissions::from_mode(above_mode)).expect("ours");
            fs::set_permissions(&dir, Permissions::from_mode(mode)).expect("ours");
            judge_runtime(&dir).map_err(|error| error.to_string())
        };
        for (above, mode) in [(0o755, 0o755), (0o700, 0o700), (0o1777, 0o755), (0o775, 0o755)] {
            assert_eq!(judge(above, mode), Ok(()));
        }
        for mode in [0o775, 0o757, 0o1777] {
            let error = judge(0o755, mode).expect_err("others may write");
            assert!(error.contains("chmod go-w"), "{error}");
        }
        let error = judge(0o777, 0o755).expect_err("others may move it");
        assert!(error.contains(&format!("{} may be written", above.path().display())), "{error}");
    }

    #[test]
    fn a_runtime_directory_of_somebody_else_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: takes root to give a directory away");
        }
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::chown(dir.path(), Some(1000), None).expect("we are root");
        let error = judge_runtime(dir.path()).expect_err("not ours").to_string();
        assert!(error.contains("belongs to user 1000; chown it to user 0"), "{error}");
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
