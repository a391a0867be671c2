//! As much of HTTP as the LocalAPI takes: version 1.0, where an answer is never cut into chunks and ends with the
//! connection.

/// The path of the status.
pub const STATUS: &str = "/localapi/v0/status";
/// The path of the bus. The mask asks for the state and the status at the start, and for changes of peers; bits that an
/// older version does not know are passed over, and one (16) is for those that would refuse ordinary users without it.
pub const BUS: &str = "/localapi/v0/watch-ipn-bus?mask=20498";
/// Heads are never longer.
const LONGEST: usize = 16 << 10;

/// The beginning of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// 200 where all is well.
    pub status: u16,
    /// Where the body begins.
    pub length: usize,
}

/// What is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak HTTP")]
pub struct NoHttp;

/// The words that ask for a path.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.0\r\nHost: local-tailscaled.sock\r\n\r\n")
}

impl Head {
    /// Reads it from the beginning of an answer; none while there is not enough of it.
    pub fn parse(answer: &[u8]) -> Result<Option<Self>, NoHttp> {
        let head = &answer[..answer.len().min(LONGEST)];
        let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
            let begun = head.iter().zip(b"HTTP/1.").all(|(its, ours)| its == ours);
            return if begun && answer.len() < LONGEST { Ok(None) } else { Err(NoHttp) };
        };
        let line = head[..end].split(|&byte| byte == b'\r').next().unwrap_or_default();
        let mut words = std::str::from_utf8(line).map_err(|_| NoHttp)?.split(' ');
        let version = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
        let status =
            words.next().filter(|word| version && word.len() == 3).and_then(|word| word.parse().ok());
        status.map(|status| Some(Self { status, length: end + 4 })).ok_or(NoHttp)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_is_its_status_and_what_follows_the_empty_line() {
        let check =
            |answer: &str, expected| assert_eq!(Head::parse(answer.as_bytes()), expected, "{answer:?}");
        check("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}", Ok(Some(Head { status: 200, length: 25 })));
        check("HTTP/1.0 403 Forbidden\r\n\r\n", Ok(Some(Head { status: 403, length: 26 })));
        check("", Ok(None));
        check("HTTP/1.0 200 OK\r\nA:", Ok(None));
        check("SSH-2.0-x\r\n", Err(NoHttp));
        check("HTTP/1.0 abc\r\n\r\n", Err(NoHttp));
        check(&format!("HTTP/1.0 200 OK\r\n{}", "x".repeat(LONGEST)), Err(NoHttp));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(answer in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(head)) = Head::parse(&answer) {
                prop_assert!(head.length <= answer.len());
            }
        }
    }
}
