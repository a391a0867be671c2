//! A private directory that is gone when its owner is done with it.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

/// A socket's path has 107 bytes at most; this leaves room for what lies below the directory.
const LONGEST: usize = 70;

/// Why there is no such directory.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// A directory or file cannot be made.
    #[error("cannot make {}: {why}", path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A named directory does not do.
    #[error("cannot work in {}: {why}", path.display())]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nowhere.
    #[error("found no place for a private directory ({0}); name one with --keep DIR")]
    Nowhere(String),
    /// It cannot be removed.
    #[error("cannot remove {}: {why}", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

/// The directory. Removed when dropped, unless it is to be kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
    gone: bool,
}

impl Scratch {
    /// A new directory in a place that serves Nix stores of this user's.
    pub fn temporary(prefix: &str) -> Result<Self, ScratchError> {
        let mut refused = Vec::new();
        for place in places() {
            let made = check(&place).map_err(str::to_owned).and_then(|()| {
                let private = Permissions::from_mode(0o700);
                let made = tempfile::Builder::new().prefix(prefix).permissions(private).tempdir_in(&place);
                made.map_err(|error| error.to_string())
            });
            match made {
                Ok(dir) => return Ok(Self { path: dir.keep(), keep: false, gone: false }),
                Err(why) => refused.push(format!("{}: {why}", place.display())),
            }
        }
        Err(ScratchError::Nowhere(refused.join("; ")))
    }

    /// This new directory, which stays.
    pub fn kept(path: &Path) -> Result<Self, ScratchError> {
        let make = |why| ScratchError::Make { path: path.to_owned(), why };
        let parent = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).create(parent).map_err(make)?;
        // Nix is told the path that the system itself would say.
        let path = parent.canonicalize().map_err(make)?.join(path.file_name().unwrap_or_default());
        check(path.parent().unwrap_or(parent))
            .and_then(|()| check_name(&path))
            .map_err(|why| ScratchError::Unfit { path: path.clone(), why })?;
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|why| ScratchError::Make { path: path.clone(), why })?;
        Ok(Self { path, keep: true, gone: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory below it.
    pub fn dir(&self, name: &str) -> Result<PathBuf, ScratchError> {
        let path = self.path.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map(|()| path.clone()).map_err(|why| ScratchError::Make { path, why })
    }

    /// Writes a file below it.
    pub fn file(&self, name: &str, text: &str) -> Result<PathBuf, ScratchError> {
        let path = self.path.join(name);
        fs::write(&path, text).map(|()| path.clone()).map_err(|why| ScratchError::Make { path, why })
    }

    /// Makes a symbolic link below it.
    pub fn link(&self, name: &str, target: &Path) -> Result<PathBuf, ScratchError> {
        let path = self.path.join(name);
        symlink(target, &path).map(|()| path.clone()).map_err(|why| ScratchError::Make { path, why })
    }

    /// Removes a file or link below it.
    pub fn take_away(&self, name: &str) -> Result<(), ScratchError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(|why| ScratchError::Remove { path, why })
    }

    /// Reads a file below it.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    /// The names in a directory below it, sorted.
    pub fn list(&self, name: &str) -> io::Result<Vec<String>> {
        let names = fs::read_dir(self.path.join(name))?.map(|entry| Ok(entry?.file_name()));
        let mut names = names
            .map(|name| name.map(|name| name.to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// Removes it and all that is in it, unless it is to be kept.
    pub fn remove(mut self) -> Result<(), ScratchError> {
        self.clear().map_err(|why| ScratchError::Remove { path: self.path.clone(), why })
    }

    fn clear(&mut self) -> io::Result<()> {
        if self.keep || self.gone {
            return Ok(());
        }
        open_up(&self.path)?;
        fs::remove_dir_all(&self.path)?;
        self.gone = true;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Where temporary files may go, best first.
fn places() -> Vec<PathBuf> {
    let usual: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["/srv", "/var/cache", "/var/lib", "/root"],
        false => &["/var/tmp", "/tmp"],
    };
    let named = env::var_os("TMPDIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    named.into_iter().chain(usual.iter().map(PathBuf::from)).collect()
}

/// Programs must run there, and root's Nix wants no store below a directory that everybody may write.
fn check(place: &Path) -> Result<(), &'static str> {
    let place = place.canonicalize().map_err(|_| "there is no such directory")?;
    let exposed = |dir: &Path| dir.metadata().map_or(true, |meta| !meta.is_dir() || meta.mode() & 0o002 != 0);
    if rustix::process::geteuid().is_root() && place.ancestors().any(exposed) {
        return Err("everybody may write there, or above it");
    }
    let flags = statvfs(&place).map_err(|_| "its file system cannot be asked")?.f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        return Err("no programs may run there");
    }
    check_name(&place)
}

/// The path becomes part of sockets' paths, store URIs and scripts.
fn check_name(path: &Path) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    match path.to_str() {
        Some(text) if text.len() > LONGEST => Err("its path is too long for sockets below it"),
        Some(text) if text.bytes().all(plain) => Ok(()),
        _ => Err("its path has other characters than letters, digits and . _ -"),
    }
}

/// Stores make their directories read-only; who is not root could not empty them.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_gone_with_its_read_only_directories() {
        let scratch = Scratch::temporary("muster-test-").expect("a place");
        let path = scratch.path().to_owned();
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o700);
        fs::create_dir(path.join("store")).expect("room");
        fs::write(path.join("store/file"), "x").expect("room");
        fs::set_permissions(path.join("store"), Permissions::from_mode(0o555)).expect("ours");
        scratch.remove().expect("removed");
        assert!(!path.exists());
    }

    #[test]
    fn a_forgotten_one_is_removed_as_well() {
        let path = Scratch::temporary("muster-test-").expect("a place").path().to_owned();
        assert!(!path.exists());
    }

    #[test]
    fn a_kept_one_must_be_new_and_stays() {
        let around = Scratch::temporary("muster-test-").expect("a place");
        let path = around.path().join("a/b");
        Scratch::kept(&path).expect("made").remove().expect("kept");
        assert!(path.exists());
        let again = Scratch::kept(&path).expect_err("it is there").to_string();
        assert!(again.contains("cannot make "), "{again}");
    }

    #[test]
    fn a_path_that_would_break_an_uri_is_refused() {
        let around = Scratch::temporary("muster-test-").expect("a place");
        for name in ["a b", "a&b", "é", &"x".repeat(80)] {
            let refused = Scratch::kept(&around.path().join(name)).expect_err(name).to_string();
            assert!(refused.contains("its path"), "{refused}");
        }
    }
}
