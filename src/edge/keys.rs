//! Key pairs, made by `ssh-keygen`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::files::{self, FilesError};
use super::machine;

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing is ever overwritten.
    #[error("{} is there already, and is not overwritten; name another place with --file", .0.display())]
    There(PathBuf),
    /// No place for it.
    #[error(transparent)]
    Dir(#[from] FilesError),
    /// `ssh-keygen` could not be started, or its files not be read.
    #[error("cannot make a key with ssh-keygen: {0}")]
    Io(#[from] io::Error),
    /// `ssh-keygen` failed, in its own words.
    #[error("ssh-keygen: {0}")]
    Failed(String),
}

/// Makes an ed25519 key pair without a passphrase; its public half.
pub fn make(file: &Path) -> Result<String, KeyError> {
    let public = PathBuf::from(format!("{}.pub", file.display()));
    if let Some(there) = [file, &public].into_iter().find(|path| files::is_there(path)) {
        return Err(KeyError::There(there.to_owned()));
    }
    if let Some(dir) = file.parent() {
        files::make_dir(dir, 0o700)?;
    }
    let comment = format!("muster@{}", machine::host_name());
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", &comment, "-f"]).arg(file);
    let output = keygen.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(KeyError::Failed(said.lines().last().unwrap_or("it failed").trim().to_owned()));
    }
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    Ok(fs::read_to_string(&public)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("ssh/id_ed25519");
        let public = make(&file).expect("a key");
        assert!(public.starts_with("ssh-ed25519 AAAA") && public.contains(" muster@"), "{public}");
        let private = fs::read_to_string(&file).expect("a key");
        assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(make(&file), Err(KeyError::There(there)) if there == file));
        fs::remove_file(&file).expect("ours");
        assert!(matches!(make(&file), Err(KeyError::There(there)) if there.ends_with("id_ed25519.pub")));
    }
}
