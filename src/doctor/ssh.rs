//! What `ssh -v` says of an attempt to log in, read.
//!
//! The words are OpenSSH's own, of versions 8 to 10. They are not made for programs, so whatever is not recognised is
//! passed on as it is.

pub use crate::wire::ssh_config::Settings;

/// More than this of anything that ssh names is cut off.
const LONGEST: usize = 300;

/// How an attempt to log in went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What came of it.
    pub outcome: Outcome,
    /// The fingerprint of the key that the server has.
    pub host_key: Option<String>,
    /// Private keys that are no use, in ssh's order.
    pub keys: Vec<(String, KeyTrouble)>,
    /// The private key whose public half the server welcomed; a path, or an agent's comment.
    pub accepted: Option<String>,
    /// How many keys were shown to the server.
    pub offered: usize,
    /// ssh's last word.
    pub last: String,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// We are in.
    LoggedIn,
    /// Nobody knows the name.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// No answer.
    TimedOut,
    /// No way there.
    Unreachable,
    /// Whoever listens hangs up before a word is said.
    Closed,
    /// Its server turns our address away for a while, since logins from it have failed.
    Penalized,
    /// Nobody vouches for its key.
    UnknownHostKey,
    /// It has another key than the known one.
    ChangedHostKey {
        /// File and line of the known one.
        known: Option<(String, usize)>,
    },
    /// Its key was revoked here.
    RevokedHostKey,
    /// It lets us in with none of our keys.
    Denied,
    /// It had enough of our keys before the right one came.
    TooManyKeys,
    /// The two ends know no common method.
    NoAgreement,
    /// ssh's own configuration is wrong.
    BadConfiguration,
    /// Something else.
    Other,
}

/// Why a private key is no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyTrouble {
    /// It is not there.
    Missing,
    /// We may not read it.
    Unreadable,
    /// Others may read it, and ssh therefore won't.
    TooOpen,
    /// It is no private key, or a damaged one.
    Invalid,
    /// It wants a passphrase, and nobody is there to type it.
    Passphrase,
    /// The agent that holds it does not sign with it.
    AgentRefused,
}

impl Attempt {
    /// Reads what ssh wrote on its standard error at `LogLevel=DEBUG1`.
    pub fn read(said: &str) -> Self {
        let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
        let after = |mark: &'static str| lines().filter_map(move |line| line.strip_prefix(mark));
        let accepted = after("debug1: Server accepts key: ").next_back().map(key_name);
        let outcome = outcome(said);
        let mut keys = key_troubles(said);
        let unused = |path: &str| !keys.iter().any(|(known, _)| known == path);
        if let Some(path) = accepted.as_ref().filter(|path| outcome == Outcome::Denied && unused(path)) {
            keys.push((path.clone(), KeyTrouble::Passphrase));
        }
        Self {
            outcome,
            host_key: after("debug1: Server host key: ").find_map(fingerprint).or_else(|| fingerprint(said)),
            keys,
            accepted,
            offered: after("debug1: Offering public key: ").count(),
            last: clip(lines().rfind(|line| !line.starts_with("debug")).unwrap_or_default()),
        }
    }
}

/// What sshd says instead of a greeting while it punishes an address (`PerSourcePenalties`, since OpenSSH 9.8).
pub const PENALTY: &str = "Not allowed at this time";

/// Whether these words mean that we are in, while ssh still runs.
pub fn is_in(said: &str) -> bool {
    said.contains("Authenticated to ")
        || said.contains("debug1: Authentication succeeded")
        || said.contains("debug1: Entering interactive session")
}

/// What ssh's words mean, the most telling first.
const WORDS: &[(&str, Outcome)] = &[
    ("Could not resolve hostname", Outcome::Unresolved),
    ("Bad configuration option", Outcome::BadConfiguration),
    ("Bad owner or permissions on", Outcome::BadConfiguration),
    ("terminating, ", Outcome::BadConfiguration),
    ("keyword ", Outcome::BadConfiguration),
    ("marked as revoked", Outcome::RevokedHostKey),
    ("REVOKED HOST KEY", Outcome::RevokedHostKey),
    ("Too many authentication failures", Outcome::TooManyKeys),
    ("Permission denied (", Outcome::Denied),
    ("Permission denied, please try again", Outcome::Denied),
    ("Unable to negotiate with", Outcome::NoAgreement),
    ("Connection refused", Outcome::Refused),
    ("timed out", Outcome::TimedOut),
    ("Timeout, server", Outcome::TimedOut),
    ("No route to host", Outcome::Unreachable),
    ("Network is unreachable", Outcome::Unreachable),
    ("Host is down", Outcome::Unreachable),
    ("kex_exchange_identification", Outcome::Closed),
    ("Connection closed by", Outcome::Closed),
    ("Connection reset by", Outcome::Closed),
];

fn outcome(said: &str) -> Outcome {
    if is_in(said) {
        return Outcome::LoggedIn;
    }
    if said.contains(PENALTY) {
        return Outcome::Penalized;
    }
    if said.contains("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return Outcome::ChangedHostKey { known: offending(said) };
    }
    let strict = said.contains("host key is known for") && said.contains("strict checking");
    // What the server itself says is behind "debug1: Remote:" or comes with its banner; ssh's own words come last.
    let mut own = said.lines().map(str::trim).filter(|line| !line.starts_with("debug")).rev().take(12);
    let found = own.find_map(|line| WORDS.iter().find(|(words, _)| line.contains(words)));
    match found {
        Some((_, outcome @ (Outcome::RevokedHostKey | Outcome::BadConfiguration))) => outcome.clone(),
        _ if strict || said.contains("Host key verification failed") => Outcome::UnknownHostKey,
        Some((_, outcome)) => outcome.clone(),
        None => Outcome::Other,
    }
}

/// `Offending ED25519 key in /root/.ssh/known_hosts:3`
fn offending(said: &str) -> Option<(String, usize)> {
    let line = said.lines().map(str::trim).find(|line| line.starts_with("Offending "))?;
    let (file, number) = line.split_once(" in ")?.1.rsplit_once(':')?;
    Some((clip(file), number.parse().ok()?))
}

fn key_troubles(said: &str) -> Vec<(String, KeyTrouble)> {
    let mut troubles: Vec<(String, KeyTrouble)> = Vec::new();
    for (path, trouble) in said.lines().filter_map(|line| key_trouble(line.trim())) {
        match troubles.iter_mut().find(|(known, _)| *known == path) {
            Some((_, known)) => *known = trouble,
            None => troubles.push((path, trouble)),
        }
    }
    troubles
}

fn key_trouble(line: &str) -> Option<(String, KeyTrouble)> {
    use KeyTrouble::*;
    let named = |mark: &str, quote: char, trouble| {
        let (name, _) = line.split_once(mark)?.1.split_once(quote)?;
        Some((clip(name), trouble))
    };
    if line.starts_with("Load key ") {
        let trouble = match () {
            () if line.ends_with("bad permissions") => TooOpen,
            () if line.ends_with("Permission denied") => Unreadable,
            () if line.ends_with("No such file or directory") => Missing,
            () if line.contains("passphrase") => Passphrase,
            () => Invalid,
        };
        return named("\"", '"', trouble);
    }
    match () {
        () if line.contains(" are too open.") => named("for '", '\'', TooOpen),
        () if line.starts_with("Enter passphrase for key ") => named("'", '\'', Passphrase),
        () if line.starts_with("no such identity: ") => named("no such identity: ", ':', Missing),
        () if line.contains("Identity file ") && line.contains(" not accessible: No such file") => {
            let (_, rest) = line.split_once("Identity file ")?;
            Some((clip(rest.split_once(" not accessible: ")?.0), Missing))
        }
        () if line.contains(" not accessible: Permission denied") => {
            let (_, rest) = line.split_once("Identity file ")?;
            Some((clip(rest.split_once(" not accessible: ")?.0), Unreadable))
        }
        () if line.contains("from agent: agent refused operation") => named("\"", '"', AgentRefused),
        () => None,
    }
}

/// `/root/.ssh/my key ED25519 SHA256:... explicit` without what stands behind the name.
fn key_name(rest: &str) -> String {
    let name = rest.split_once(" SHA256:").map_or(rest, |(before, _)| before);
    clip(name.rsplit_once(' ').map_or(name, |(path, _kind)| path))
}

/// The first fingerprint in a text.
pub fn fingerprint(text: &str) -> Option<String> {
    text.split_whitespace()
        .map(|word| word.trim_end_matches('.'))
        .find(|word| is_fingerprint(word))
        .map(str::to_owned)
}

/// Whether this is a fingerprint as `ssh-keygen -l` shows it.
pub fn is_fingerprint(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
    word.strip_prefix("SHA256:").is_some_and(|rest| rest.len() == 43 && rest.bytes().all(plain))
}

fn clip(text: &str) -> String {
    text.trim().chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
