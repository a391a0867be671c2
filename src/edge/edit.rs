//! Changes to files that belong to somebody else: found through their links, replaced as a whole, refused in the store.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Larger files are none of Nix's.
const LARGEST: u64 = 8 << 20;

/// Why a file is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is made anew from the system's configuration at each switch.
    #[error("{} is a link into the store ({}), which the system's configuration makes", path.display(), target.display())]
    InStore {
        /// The file.
        path: PathBuf,
        /// What it is in truth.
        target: PathBuf,
    },
    /// It cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A file as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Where it really is, behind all links.
    pub path: PathBuf,
    /// Its bytes; none where there is no such file.
    pub text: Option<Vec<u8>>,
}

/// Reads a file that is to be changed.
pub fn open(path: &Path, store_dir: &str) -> Result<Original, EditError> {
    let real = real_path(path).map_err(io_error("find", path))?;
    let in_store = |real: &Path| real.starts_with(store_dir) || real.starts_with("/nix/store");
    if in_store(&real) {
        return Err(EditError::InStore { path: path.to_owned(), target: real });
    }
    let text = match File::open(&real) {
        Ok(file) => Some(read(file).map_err(io_error("read", path))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(io_error("read", path)(source)),
    };
    Ok(Original { path: real, text })
}

impl Original {
    /// Replaces the file as a whole, with its mode and owner; nothing = it is removed. A reader, and whoever looks
    /// after a crash, sees the old file or the new one.
    pub fn replace(&self, text: Option<&[u8]>) -> Result<(), EditError> {
        match text {
            _ if text == self.text.as_deref() => Ok(()),
            Some(text) => self.write(text).map_err(io_error("write", &self.path)),
            None => fs::remove_file(&self.path).map_err(io_error("remove", &self.path)),
        }
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        let mut file = tempfile::Builder::new().prefix(".muster-").tempfile_in(dir)?;
        file.write_all(text)?;
        let mode = match fs::metadata(&self.path) {
            Ok(old) => {
                let own = file.as_file().metadata()?;
                if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
                    std::os::unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
                }
                old.mode() & 0o7777
            }
            Err(_) => 0o644,
        };
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        File::open(dir)?.sync_all()
    }
}

/// Where a file is, or would be, behind all links.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    if let Ok(target) = fs::read_link(path) {
        let target = path.parent().unwrap_or(Path::new("/")).join(target);
        if fs::read_link(&target).is_ok() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is a link that leads nowhere"));
        }
        return Ok(target);
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    match fs::canonicalize(dir) {
        Ok(dir) => Ok(dir.join(path.file_name().unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 8 MiB"));
    }
    Ok(text)
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> EditError + 'a {
    move |source| EditError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_behind_its_link_with_its_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "old").expect("room");
        fs::set_permissions(&real, Permissions::from_mode(0o640)).expect("ours");
        symlink("real", &link).expect("room");
        let file = open(&link, "/nix/store").expect("readable");
        assert_eq!(file.text.as_deref(), Some(&b"old"[..]));
        file.replace(Some(b"new")).expect("writable");
        assert_eq!(fs::read(&real).expect("there"), b"new");
        assert_eq!(fs::metadata(&real).expect("there").mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_dir(dir.path()).expect("ours").count(), 2, "nothing is left behind");
    }

    #[test]
    fn what_is_not_there_is_made_and_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("new");
        let file = open(&path, "/nix/store").expect("fine");
        assert_eq!(file.text, None);
        file.replace(Some(b"x")).expect("room");
        open(&path, "/nix/store").expect("fine").replace(None).expect("ours");
        assert!(!path.exists());
    }

    #[test]
    fn a_link_into_the_store_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().canonicalize().expect("there");
        let (store, link) = (dir.join("store"), dir.join("machines"));
        fs::create_dir(&store).expect("room");
        symlink("store/machines", &link).expect("room");
        let refused = |store: &Path| open(&link, store.to_str().expect("text"));
        assert!(matches!(refused(&store), Err(EditError::InStore { .. })), "though it leads nowhere");
        fs::write(store.join("machines"), "").expect("room");
        assert!(matches!(refused(&store), Err(EditError::InStore { .. })));
    }
}
