//! The words that `ssh` is started with.
//!
//! The first word that sets an option wins, so ours come first and the user's configuration says the rest. Nothing
//! here passes a shell: the host comes last and behind `--`, and was refused long ago if it began with a dash.

use std::path::Path;
use std::time::Duration;

use super::Terms;
use crate::config::SshUri;

/// The name under which a pinned host key is looked up.
const PINNED: &str = "muster-pinned";

/// A master that listens at `socket`, and trusts `known_hosts` alone where it is given. The destination comes behind.
pub fn master(uri: &SshUri, socket: &Path, known_hosts: Option<&Path>, terms: &Terms) -> Vec<String> {
    let patience = terms.patience;
    let mut words: Vec<String> = ["-N", "-T", "-x", "-a"].map(str::to_owned).into();
    let mut option = |name: &str, value: String| words.extend(["-o".to_owned(), format!("{name}={value}")]);
    for (name, value) in ALWAYS {
        option(name, (*value).to_owned());
    }
    option("ControlMaster", "yes".to_owned());
    option("ControlPath", quoted(socket));
    option("ConnectTimeout", seconds(patience.connect).to_string());
    option("ServerAliveInterval", (seconds(patience.lost_after) / 3).max(1).to_string());
    option("Compression", if uri.compress { "yes" } else { "no" }.to_owned());
    if let Some(key) = &uri.key {
        option("IdentityFile", quoted(key));
        option("IdentitiesOnly", "yes".to_owned());
    }
    if let Some(file) = known_hosts {
        option("HostKeyAlias", PINNED.to_owned());
        option("UserKnownHostsFile", quoted(file));
        option("GlobalKnownHostsFile", "/dev/null".to_owned());
        option("KnownHostsCommand", "none".to_owned());
    }
    words.extend(uri.user.iter().flat_map(|user| ["-l".to_owned(), user.clone()]));
    words.extend(uri.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
    words.extend(terms.options.iter().cloned());
    words
}

/// Whatever the user's configuration says. What older versions don't know is passed over.
const ALWAYS: &[(&str, &str)] = &[
    (
        "IgnoreUnknown",
        "KnownHostsCommand,RemoteCommand,UpdateHostKeys,ForkAfterAuthentication,StdinNull,SessionType",
    ),
    ("BatchMode", "yes"),
    ("StrictHostKeyChecking", "yes"),
    ("UpdateHostKeys", "no"),
    ("ControlPersist", "no"),
    ("ServerAliveCountMax", "3"),
    ("TCPKeepAlive", "yes"),
    ("PermitLocalCommand", "no"),
    ("RemoteCommand", "none"),
    ("SessionType", "none"),
    ("ForkAfterAuthentication", "no"),
    ("ClearAllForwardings", "yes"),
    ("ForwardAgent", "no"),
    ("ForwardX11", "no"),
    ("Tunnel", "no"),
    ("RequestTTY", "no"),
    ("EscapeChar", "none"),
    ("VisualHostKey", "no"),
    ("LogLevel", "INFO"),
];

/// Where to: the last words.
pub fn destination(uri: &SshUri) -> [String; 2] {
    ["--".to_owned(), uri.host.clone()]
}

/// The line of a file that knows no other key than the pinned one.
pub fn known_host(key: &crate::domain::HostKey) -> String {
    format!("{PINNED} {key}\n")
}

/// What the login shell is given to start a daemon. A builder never builds elsewhere.
pub fn daemon(program: &[String], store: Option<&str>, cores: Option<u32>) -> String {
    let mut words: Vec<String> = program.iter().map(|word| shell_quoted(word)).collect();
    words.extend(["--stdio", "--option", "builders", "''"].map(str::to_owned));
    if let Some(store) = store {
        words.extend(["--store".to_owned(), shell_quoted(store)]);
    }
    words.extend(cores.into_iter().flat_map(|cores| ["--cores".to_owned(), cores.to_string()]));
    words.join(" ")
}

/// What the login shell is given to start a part of `muster builder`.
pub fn muster(program: &str, part: &str) -> String {
    format!("{} builder {part}", shell_quoted(program))
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil().max(1.0) as u64
}

/// As a value of ssh's configuration, where `%` begins a token. The paths hold no quote (see `config::uri`, `dir`).
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%"))
}

/// As one word of any shell. Words with a quote, a backslash or a `!` were refused with the configuration.
pub(super) fn shell_quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@".contains(&byte);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::super::Patience;
    use super::*;
    use crate::config::BuilderUri;

    fn ssh(text: &str) -> SshUri {
        match BuilderUri::parse(text) {
            Ok(BuilderUri::Ssh(uri)) => uri,
            other => panic!("{other:?}"),
        }
    }

    fn words(text: &str, known_hosts: Option<&str>) -> Vec<String> {
        let patience = Patience { connect: Duration::from_millis(1500), lost_after: Duration::from_secs(60) };
        let terms = Terms { patience, options: ["-o".to_owned(), "ProxyJump=gate".to_owned()].into() };
        master(&ssh(text), Path::new("/run/m/ssh/m0"), known_hosts.map(Path::new), &terms)
    }

    #[test]
    fn timeouts_are_whole_seconds_and_silence_is_noticed_in_time() {
        let words = words("host", None);
        for word in ["ConnectTimeout=2", "ServerAliveInterval=20", "ServerAliveCountMax=3", "Compression=no"]
        {
            assert!(words.iter().any(|w| w == word), "{word}: {words:?}");
        }
        assert!(
            !words.iter().any(|word| word.starts_with("IdentityFile") || word.starts_with("HostKeyAlias"))
        );
    }

    #[test]
    fn a_key_is_the_only_one_and_its_path_is_taken_literally() {
        let words = words("host?ssh-key=/k%20%25h&compress=true", Some("/run/m/ssh/k1"));
        for word in [
            "IdentityFile=\"/k %%h\"",
            "IdentitiesOnly=yes",
            "Compression=yes",
            "UserKnownHostsFile=\"/run/m/ssh/k1\"",
            "GlobalKnownHostsFile=/dev/null",
        ] {
            assert!(words.iter().any(|w| w == word), "{word}: {words:?}");
        }
    }

    #[test]
    fn the_users_own_options_come_behind_ours_and_before_the_host() {
        let words = words("eva@[2001:db8::1]:2222", None);
        assert!(words.ends_with(&["-l", "eva", "-p", "2222", "-o", "ProxyJump=gate"].map(str::to_owned)));
        assert_eq!(destination(&ssh("eva@[2001:db8::1]:2222")), ["--", "2001:db8::1"]);
    }

    #[test]
    fn a_daemon_is_started_without_builders_of_its_own() {
        let check = |program: &[&str], store, expected: &str| {
            let program: Vec<String> = program.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(daemon(&program, store, None), expected);
        };
        let four = daemon(&["nix-daemon".to_owned()], None, Some(4));
        assert_eq!(four, "nix-daemon --stdio --option builders '' --cores 4");
        check(&["nix-daemon"], None, "nix-daemon --stdio --option builders ''");
        check(
            &["sudo", "/opt/my nix/nix-daemon"],
            Some("local?root=/srv/x&y"),
            "sudo '/opt/my nix/nix-daemon' --stdio --option builders '' --store 'local?root=/srv/x&y'",
        );
    }
}
