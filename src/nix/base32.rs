//! Nix's base 32: its own alphabet, digits from the last bits to the first, no padding.
//!
//! Store paths hold 20 bytes in 32 digits, SHA-256 digests 32 bytes in 52 digits.

/// The digits; e, o, t and u are left out so that few words appear.
const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Why a text is not the bytes it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBase32 {
    /// Too short or too long.
    #[error("{found} digits of base 32 where {expected} are due")]
    Length {
        /// For that number of bytes.
        expected: usize,
        /// In the text.
        found: usize,
    },
    /// Not in the alphabet.
    #[error("'{}' is not a digit of Nix's base 32", .0.escape_ascii())]
    Digit(u8),
    /// The first digit holds bits beyond the last byte, so another text means the same bytes.
    #[error("the first digit of base 32 is too large for the length")]
    Overflow,
}

/// How many digits so many bytes take.
pub const fn digits(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Writes bytes as digits.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |n: usize| {
        let (at, shift) = (n * 5 / 8, n * 5 % 8);
        let next = bytes.get(at + 1).copied().unwrap_or(0);
        let window = u16::from_le_bytes([bytes[at], next]);
        char::from(ALPHABET[usize::from((window >> shift) & 31)])
    };
    (0..digits(bytes.len())).rev().map(digit).collect()
}

/// Reads exactly `N` bytes. Each value has one text only.
pub fn decode<const N: usize>(text: &str) -> Result<[u8; N], BadBase32> {
    let expected = digits(N);
    if text.len() != expected {
        return Err(BadBase32::Length { expected, found: text.len() });
    }
    let mut bytes = [0_u8; N];
    for (n, digit) in text.bytes().rev().enumerate() {
        let value = ALPHABET.iter().position(|d| *d == digit).ok_or(BadBase32::Digit(digit))?;
        let (at, shift) = (n * 5 / 8, n * 5 % 8);
        let [low, high] = ((value as u16) << shift).to_le_bytes();
        bytes[at] |= low;
        match bytes.get_mut(at + 1) {
            Some(next) => *next |= high,
            None if high != 0 => return Err(BadBase32::Overflow),
            None => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use nix_derivation::nixbase32 as oracle;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_digests_have_their_known_digits() {
        // SHA-256 of "abc" and of nothing, as `nix-hash --type sha256 --base32` prints them.
        for (hex, base32) in [
            (
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
            ),
            (
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "0mdqa9w1p6cmli6976v4wi0sw9r4p5prkj7lzfd1877wk11c9c73",
            ),
        ] {
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex");
            assert_eq!(encode(&bytes), base32);
            assert_eq!(decode::<32>(base32).map(Vec::from), Ok(bytes));
        }
    }

    #[test]
    fn a_text_that_is_not_the_one_spelling_is_refused() {
        let zero = "0".repeat(52);
        assert_eq!(decode::<32>(&zero), Ok([0; 32]));
        assert_eq!(decode::<32>(&zero[1..]), Err(BadBase32::Length { expected: 52, found: 51 }));
        assert_eq!(decode::<32>(&format!("{}e", &zero[1..])), Err(BadBase32::Digit(b'e')));
        assert_eq!(decode::<32>(&format!("2{}", &zero[1..])), Err(BadBase32::Overflow));
        assert!(decode::<20>(&"é".repeat(16)).is_err());
    }

    proptest! {
        #[test]
        fn it_agrees_with_another_implementation(long: [u8; 32], short: [u8; 20]) {
            prop_assert_eq!(encode(&long), oracle::encode(&long));
            prop_assert_eq!(encode(&short), oracle::encode(&short));
            prop_assert_eq!(decode(&encode(&long)), Ok(long));
            prop_assert_eq!(decode(&encode(&short)), Ok(short));
        }

        #[test]
        fn what_it_reads_it_writes_back(text in "[0-9a-z]{32}") {
            if let Ok(bytes) = decode::<20>(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
