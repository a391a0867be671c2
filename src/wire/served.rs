//! What a key that is bound to `muster builder serve` lets its owner do there.
//!
//! The words come from whoever holds the key, as sshd hands them over (`SSH_ORIGINAL_COMMAND`). Whatever is not in the
//! list is refused; nothing of them reaches a shell, and no path in them is ever run.

use super::probe;

/// A longer command is none of ours.
const LONGEST: usize = 4 << 10;

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// Our own copy of the probe's script, with the mark that comes on standard input.
    Probe,
    /// A pump to the daemon's socket.
    Pump,
    /// `nix-daemon --stdio`, with that many cores for each build where it is said.
    Daemon {
        /// `--cores`.
        cores: Option<u32>,
    },
    /// `nix-store --serve --write`.
    Store,
    /// The agent's socket.
    Session,
}

/// Why a command is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A login without a command.
    #[error("this key is for builds only: it opens no shell")]
    Shell,
    /// Anything else.
    #[error("this key is for builds only: {0:?} is not among what it may run")]
    Command(String),
}

impl Served {
    /// What these words ask for; `None` where there were none.
    pub fn parse(command: Option<&str>) -> Result<Self, Refused> {
        let Some(command) = command.filter(|command| !command.trim().is_empty()) else {
            return Err(Refused::Shell);
        };
        let refused = || Refused::Command(command.chars().take(200).collect());
        if command.len() > LONGEST || command.contains(char::is_control) {
            return Err(refused());
        }
        let words = shell_words::split(command).map_err(|_| refused())?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Self::of_words(&words).ok_or_else(refused)
    }

    fn of_words(words: &[&str]) -> Option<Self> {
        match words {
            ["/bin/sh", "-s"] => Some(Self::Probe),
            [program, "builder", "pump"] if is(program, "muster") => Some(Self::Pump),
            [program, "builder", "session"] if is(program, "muster") => Some(Self::Session),
            [program, "--serve", "--write"] if is(program, "nix-store") => Some(Self::Store),
            [program, "--stdio", options @ ..] if is(program, "nix-daemon") => {
                Some(Self::Daemon { cores: daemon_options(options)? })
            }
            _ => None,
        }
    }
}

/// Where a program is, is the builder's business: a name alone counts.
fn is(program: &str, name: &str) -> bool {
    program.rsplit('/').next() == Some(name)
}

/// `--option builders ''` is what we say ourselves, and what is done anyway; none where something else stands there.
fn daemon_options(mut options: &[&str]) -> Option<Option<u32>> {
    let mut cores = None;
    loop {
        match options {
            [] => return Some(cores),
            ["--option", "builders", "", rest @ ..] => options = rest,
            ["--cores", number, rest @ ..] => {
                cores = Some(number.parse().ok().filter(|cores| *cores <= 65_536)?);
                options = rest;
            }
            _ => return None,
        }
    }
}

/// The mark in a probe's script, and nothing else of it.
pub fn mark(script: &[u8]) -> Option<&str> {
    let first = script.split(|byte| *byte == b'\n').next()?;
    let mark = std::str::from_utf8(first).ok()?.strip_prefix("mark=")?;
    let good = (8..=64).contains(&mark.len()) && mark.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then_some(mark)
}

/// What is run for a probe: our own script, whatever came.
pub fn probe_script(asked: &[u8]) -> Option<String> {
    mark(asked).map(probe::script)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_coordinators_and_stock_nix_say_is_served() {
        let check =
            |command: &str, expected| assert_eq!(Served::parse(Some(command)), Ok(expected), "{command}");
        check("/bin/sh -s", Served::Probe);
        check("muster builder pump", Served::Pump);
        check("'/opt/my tools/muster' builder session", Served::Session);
        check("nix-store --serve --write", Served::Store);
        check("nix-daemon --stdio", Served::Daemon { cores: None });
        check(
            "/nix/var/nix/profiles/default/bin/nix-daemon --stdio --option builders ''",
            Served::Daemon { cores: None },
        );
        check("nix-daemon --stdio --option builders '' --cores 4", Served::Daemon { cores: Some(4) });
    }

    #[test]
    fn shells_forwards_copies_and_tricks_are_refused() {
        for command in [
            "sh",
            "/bin/sh",
            "/bin/sh -s -c id",
            "/bin/sh -c id",
            "bash -l",
            "scp -t /tmp",
            "sftp-server",
            "internal-sftp",
            "rsync --server . /etc",
            "nix-daemon",
            "nix-daemon --stdio; id",
            "nix-daemon --stdio && id",
            "nix-daemon --stdio | tee /tmp/x",
            "nix-daemon --stdio $(id)",
            "nix-daemon --stdio `id`",
            "nix-daemon --stdio\nid",
            "nix-daemon --stdio\r",
            "nix-daemon --stdio --store local?root=/tmp/x",
            "nix-daemon --stdio --option pre-build-hook /tmp/x",
            "nix-daemon --stdio --option builders 'ssh://evil'",
            "nix-daemon --stdio --cores -1",
            "nix-daemon --stdio --cores",
            "nix-store --serve --write --option x y",
            "nix-store -r /nix/store/x",
            "nix-store --serve",
            "muster coordinator",
            "muster builder release",
            "muster builder pump /etc/passwd",
            "muster 'builder session'",
            "evil --stdio",
            "evil --serve --write",
            "evil builder pump",
            "evil builder session",
            "/usr/bin/nix-daemon/evil --stdio",
            "env X=1 nix-daemon --stdio",
            "X=1 nix-daemon --stdio",
            "'nix-daemon --stdio'",
            "\"unfinished",
            "nix-daemon --stdio \u{0}",
        ] {
            assert!(matches!(Served::parse(Some(command)), Err(Refused::Command(_))), "{command:?}");
        }
        for nothing in [None, Some(""), Some("  ")] {
            assert_eq!(Served::parse(nothing), Err(Refused::Shell));
        }
        let long = format!("nix-daemon --stdio{}", " --cores 1".repeat(1_000));
        assert!(Served::parse(Some(&long)).is_err());
    }

    #[test]
    fn of_a_script_only_its_mark_counts() {
        let ours = probe::script("muster0123");
        assert_eq!(probe_script(b"mark=muster0123\nrm -rf /\n").as_deref(), Some(ours.as_str()));
        for bad in
            ["", "mark=", "mark=a;id\n", "mark=$(id)xxxxx\n", "id\nmark=muster0123\n", "mark=muster 0123\n"]
        {
            assert_eq!(probe_script(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_served_is_one_of_the_words(command in "[ -~\\n]{0,60}") {
            if let Ok(served) = Served::parse(Some(&command)) {
                prop_assert!(!command.contains('\n'));
                let absurd = matches!(served, Served::Daemon { cores: Some(cores) } if cores > 65_536);
                prop_assert!(!absurd);
            }
        }
    }
}
