//! The public key by which an ssh server is known.

use std::fmt;

use sha2::{Digest, Sha256};

/// An ssh host key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostKey {
    kind: String,
    blob: Vec<u8>,
}

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a public key: write what is in /etc/ssh/ssh_host_ed25519_key.pub, 'ssh-ed25519 AAAA...'"
)]
pub struct BadHostKey(String);

impl HostKey {
    /// Reads the line of a `.pub` file: kind, base64, perhaps a comment.
    pub fn parse(line: &str) -> Result<Self, BadHostKey> {
        const LONGEST: usize = 16 << 10;
        let bad = || BadHostKey(line.chars().take(100).collect());
        let mut words = line.split_whitespace();
        let (Some(kind), Some(blob)) = (words.next(), words.next()) else { return Err(bad()) };
        let one_line = line.len() <= LONGEST && !line.trim().contains('\n');
        let blob = data_encoding::BASE64.decode(blob.as_bytes()).map_err(|_| bad())?;
        // The blob names its kind again, with its length first.
        let named = blob.get(4..).is_some_and(|rest| rest.starts_with(kind.as_bytes()));
        let plain = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-@.".contains(&byte));
        let length = blob.first_chunk().map(|head| u32::from_be_bytes(*head) as usize);
        if one_line && named && plain && length == Some(kind.len()) {
            Ok(Self { kind: kind.to_owned(), blob })
        } else {
            Err(bad())
        }
    }

    /// What kind of key, such as `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// As `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", data_encoding::BASE64_NOPAD.encode(&Sha256::digest(&self.blob)))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, data_encoding::BASE64.encode(&self.blob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";

    #[test]
    fn a_key_is_its_kind_and_its_blob() {
        let key = HostKey::parse(&format!("{KEY} root@aquamarine\n")).expect("a key");
        assert_eq!(key.to_string(), KEY);
        assert!(key.fingerprint().starts_with("SHA256:"));
        assert_eq!(key.fingerprint().len(), 50);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let other_kind = KEY.replace("ssh-ed25519", "ssh-rsa");
        let two_lines = format!("{KEY}\n{KEY}");
        for line in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 !", &other_kind, &two_lines] {
            assert!(HostKey::parse(line).is_err(), "{line}");
        }
    }
}
