//! The one hash that Nix uses for NARs.

use std::fmt;

use data_encoding::HEXLOWER;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// A text that is not the digest it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a SHA-256 digest in base 16 (64 digits)")]
pub struct BadHash(pub String);

impl Sha256 {
    /// Reads 64 hexadecimal digits, with or without `sha256:` before them (the worker protocol sends them bare).
    pub fn parse_base16(text: &str) -> Result<Self, BadHash> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let bytes = HEXLOWER.decode(digits.as_bytes()).map_err(|_| BadHash(text.to_owned()))?;
        bytes.try_into().map(Sha256).map_err(|_| BadHash(text.to_owned()))
    }

    /// The 64 digits, bare.
    pub fn to_base16(self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_base16())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Sha256([0xab; 32]);
        assert_eq!(Sha256::parse_base16(&digest.to_base16()), Ok(digest));
        assert_eq!(Sha256::parse_base16(&digest.to_string()), Ok(digest));
    }

    #[test]
    fn a_digest_of_another_length_is_refused() {
        assert!(Sha256::parse_base16("abcd").is_err());
        assert!(Sha256::parse_base16(&"g".repeat(64)).is_err());
    }
}
