//! What was meant: flags, environment and file, merged and checked once.
//!
//! [`Config::load`] is the only place that decides what a value means or what stands for one that is missing;
//! everything behind it trusts the types. A key without effect is an error, so that nobody believes in it.
//! `docs/configuration.md` describes every key.

mod builder;
mod document;
mod join;
mod load;
mod places;
mod source;
mod uri;
mod value;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::cli::Attach;
use crate::cli::Settings;
use crate::domain::{BuilderSpec, NodeFilter, Route, SshServer, StoreDir, WhenEmpty};
pub use join::{join, minting};

pub use crate::domain::Expect;

pub use places::SYSTEM_STATE;
pub use uri::{BadBuilderUri, BadLocalStore, BuilderUri, LocalStore, SshScheme, SshUri};

/// What `connect` needs to know lies beside the endpoint's socket, in a file of this name.
pub const NOTICE: &str = "endpoint.json";

/// The process's surroundings, read once at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The effective user.
    pub uid: u32,
    /// `HOME`
    pub home: Option<OsString>,
    /// `XDG_CONFIG_HOME`
    pub config_home: Option<OsString>,
    /// `XDG_STATE_HOME`
    pub state_home: Option<OsString>,
    /// `XDG_RUNTIME_DIR`
    pub runtime_dir: Option<OsString>,
    /// `NIX_USER_CONF_FILES`
    pub nix_user_conf_files: Option<OsString>,
    /// `NIX_SSHOPTS`
    pub nix_sshopts: Option<OsString>,
    /// The working directory; relative paths of the command line begin here.
    pub cwd: PathBuf,
    /// This program.
    pub exe: PathBuf,
    /// The columns of the terminal that stdout is, if it is one and says so.
    pub width: Option<u16>,
}

/// The system's endpoint, which a line need not name.
pub const DEFAULT_ENDPOINT: &str =
    if cfg!(target_os = "macos") { "/var/run/muster/endpoint.sock" } else { "/run/muster/endpoint.sock" };

/// The configuration that is read where none is named.
pub fn default_file(environment: &Environment) -> Result<PathBuf, ConfigError> {
    places::default_file(environment)
}

/// Where the key for builders is made where no place is named.
pub fn default_key(environment: &Environment) -> Result<PathBuf, ConfigError> {
    Ok(places::default_file(environment)?.with_file_name("ssh").join("id_ed25519"))
}

/// Where a builder's agent listens where no place is named.
pub fn agent_socket(typed: Option<&Path>, environment: &Environment) -> PathBuf {
    places::agent_socket(typed, environment)
}

/// Where the system's agent listens.
pub fn system_agent_socket() -> PathBuf {
    places::system_agent_socket()
}

/// Whether ssh can be told this path of a key.
pub fn key_can_be(path: &Path) -> bool {
    uri::ssh::can_hold(path)
}

/// Everything that the coordinator and the other commands are told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Where the sockets are.
    pub runtime_dir: PathBuf,
    /// Where the state is kept.
    pub state_dir: PathBuf,
    /// Where inputs come from and outputs go.
    pub local_store: LocalStore,
    /// The nix-daemon to start where one is needed: an absolute path, or a name to be found on PATH.
    pub nix_daemon: PathBuf,
    /// The directory that store paths lie in.
    pub store_dir: StoreDir,
    /// The builders that the user named.
    pub builders: Vec<Builder>,
    /// Where more builders are found. Where nobody named a builder or a source: the machines lines that are there.
    pub sources: Vec<Source>,
    /// Whether builders fetch what they lack from their own substituters first. None: what nix.conf says.
    pub builders_use_substitutes: Option<bool>,
    /// Whether builders may build for us whose daemons do not trust us.
    pub use_untrusted: bool,
    /// How Nix reaches the builders.
    pub attach: Attach,
    /// Nix's own configuration.
    pub nix: NixFiles,
    /// Words for ssh's command line, of `NIX_SSHOPTS`.
    pub ssh_options: Vec<String>,
    /// What builders still on their way will offer.
    pub expect: Vec<Expect>,
    /// Which builds go where.
    pub routes: Vec<Route>,
    /// Where Nix comes in.
    pub endpoint: Endpoint,
    /// Where people's commands come in.
    pub control: Control,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How large things may be.
    pub limits: Limits,
    /// What is allowed, but probably not meant. One sentence each.
    pub warnings: Vec<String>,
}

/// A builder that the user named.
#[derive(Debug, Clone, PartialEq)]
pub struct Builder {
    /// What the user said of it.
    pub spec: BuilderSpec,
    /// How it is reached.
    pub uri: BuilderUri,
}

/// Where builders are discovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The machines lines of nix.conf and `/etc/nix/machines`.
    Machines,
    /// What a command prints.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
        /// How often it is run.
        interval: Duration,
    },
    /// The machines of a tailnet.
    Tailscale(Tailnet),
}

/// Which machines of the tailnet that this one is in are builders, and how they are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tailnet {
    /// Which ones. Something is said.
    pub filter: NodeFilter,
    /// Who answers on their ssh port.
    pub ssh: SshServer,
    /// The user to log in as.
    pub user: String,
    /// The private key to log in with, where an sshd of their own answers; none = what ssh's configuration says.
    pub key: Option<PathBuf>,
    /// The port of that sshd; none = what ssh's configuration says.
    pub port: Option<u16>,
    /// tailscaled's socket; none = where it usually is.
    pub socket: Option<PathBuf>,
}

/// The files of Nix's own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NixFiles {
    /// The directory of `nix.conf` and `machines`.
    pub dir: PathBuf,
    /// What Nix reads after it for this user; the later ones win.
    pub user: Vec<PathBuf>,
}

impl NixFiles {
    /// The system's `nix.conf`.
    pub fn conf(&self) -> PathBuf {
        self.dir.join("nix.conf")
    }

    /// The machines file that Nix reads unless it is told otherwise.
    pub fn machines(&self) -> PathBuf {
        self.dir.join("machines")
    }
}

/// The endpoint that stock Nix talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its socket.
    pub socket: PathBuf,
    /// Who besides root and the coordinator's own user may open it, and is trusted like root then.
    pub allow: BTreeSet<AllowedUser>,
    /// Where the machines lines are written.
    pub machines_file: PathBuf,
    /// Whether the lines are also kept in a section of Nix's own machines file, where Nix does not read ours.
    pub install: bool,
    /// The muster binary that the lines name.
    pub program: PathBuf,
    /// How many builds are accepted beyond the slots.
    pub look_ahead: LookAhead,
    /// How many builds all lines together may accept, slots included.
    pub max_accepted: u32,
    /// What the local machine is for.
    pub local: LocalMachine,
    /// What happens while no builder is there; none = [`Endpoint::settle`] decides.
    pub when_empty: Option<WhenEmpty>,
}

impl Endpoint {
    /// The socket's mode: for root and our own user, or for anybody, where who may use it is checked by who connects.
    pub fn socket_mode(&self) -> u32 {
        if self.allow.is_empty() { 0o600 } else { 0o666 }
    }

    /// Decides what the local machine is for and what happens without builders, where nobody said it; `builds` is
    /// whether Nix builds on it at all.
    pub fn settle(&mut self, builds: bool) {
        let waits = matches!(self.look_ahead, LookAhead::Fixed(1..));
        let locally = builds && self.local != LocalMachine::Never;
        if self.local == LocalMachine::Auto {
            self.local = if builds && !waits { LocalMachine::Overflow } else { LocalMachine::Never };
        }
        self.when_empty.get_or_insert(if locally { WhenEmpty::Local } else { WhenEmpty::Wait });
    }
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AllowedUser {
    /// By number.
    Uid(u32),
    /// By name; not looked up yet.
    Name(String),
}

/// How many builds are accepted beyond the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookAhead {
    /// Two for each slot.
    TwoPerSlot,
    /// So many for each line.
    Fixed(u32),
}

/// What the local machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalMachine {
    /// Overflow where Nix builds on it at all (`max-jobs` above 0), else never.
    Auto,
    /// Nothing is accepted beyond the slots, and Nix builds the rest itself.
    Overflow,
    /// What the builders cannot take at once waits for them.
    Never,
}

/// The socket of `muster status` and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its path.
    pub socket: PathBuf,
    /// The system's, for a user who said nothing of a coordinator of their own.
    pub fallback: Option<PathBuf>,
    /// Who besides root and the coordinator's own user may drain, cancel and stop.
    pub group: Option<AllowedGroup>,
}

/// A group of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedGroup {
    /// By number.
    Gid(u32),
    /// By name; not looked up yet.
    Name(String),
}

/// How long things may take. None is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a client waits for a coordinator that is gone.
    pub reconnect: Duration,
    /// How long a probe of a builder may take.
    pub probe: Duration,
    /// How long opening a channel to a builder may take, its handshake included.
    pub connect: Duration,
    /// How often a builder is asked for a sign of life.
    pub ping_every: Duration,
    /// Silence after which a builder gets nothing new.
    pub silent_after: Duration,
    /// Silence after which a builder's channels are cut.
    pub lost_after: Duration,
    /// How long nothing may move on a channel on which inputs or outputs travel.
    pub stalled_after: Duration,
    /// The first pause before a builder that is down is tried again.
    pub retry_min: Duration,
    /// The longest such pause.
    pub retry_max: Duration,
    /// How long `muster stop` lets builds finish.
    pub stop: Duration,
    /// How long no builder must have been there, for that to count.
    pub empty_after: Duration,
    /// How long builders that are expected are waited for.
    pub expect: Duration,
    /// Longest silence of a build; none where nothing limits it.
    pub max_silent: Option<Limit>,
    /// Longest time of a build.
    pub build: Option<Limit>,
}

/// A limit that may be no limit; one that nobody wrote is nix.conf's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// None.
    Off,
    /// So long.
    After(Duration),
}

impl Timeouts {
    /// Limits that nobody wrote are Nix's own: `max-silent-time` and `timeout`, in seconds, 0 for none.
    pub fn settle(&mut self, [silent, whole]: [u64; 2]) {
        let limit = |seconds| match seconds {
            0 => Limit::Off,
            seconds => Limit::After(Duration::from_secs(seconds)),
        };
        self.max_silent.get_or_insert(limit(silent));
        self.build.get_or_insert(limit(whole));
    }
}

/// How large things may be, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Outputs up to this size are kept in memory until the client has them, larger ones in a file.
    pub memory_output: u64,
    /// No NAR may be larger.
    pub max_nar: u64,
    /// Where the files of larger outputs are made (and unlinked at once).
    pub spool_dir: PathBuf,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// Which file.
        file: PathBuf,
        /// Which line; the first one is 1.
        line: usize,
    },
    /// On the command line, by this option.
    Flag(&'static str),
    /// In this variable of the environment.
    Variable(&'static str),
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {why}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// A value makes no sense.
    #[error("{place}: {message}")]
    Wrong {
        /// Where it stands.
        place: Place,
        /// What is wrong, the key and its value included.
        message: String,
    },
    /// An ordinary user without a home.
    #[error("cannot tell where {what} is: HOME is not set to an absolute path; say it with {flag}")]
    Homeless {
        /// What has no place.
        what: &'static str,
        /// The option that gives it one.
        flag: &'static str,
    },
}

impl Config {
    /// Reads and checks everything. The one file that is read is the configuration itself.
    pub fn load(typed: &Settings, environment: &Environment) -> Result<Self, ConfigError> {
        let named = typed.places.config.as_deref().map(|file| environment.cwd.join(file));
        let file = match &named {
            Some(file) => file.clone(),
            None => places::default_file(environment)?,
        };
        let text = match read(&file) {
            Ok(text) => Some(text),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => None,
            Err(why) => return Err(ConfigError::Unreadable { file, why }),
        };
        Self::from_text(typed, environment, text.as_deref().map(|text| (file.as_path(), text)))
    }

    /// The same, from a file's name and text; none where there is no file.
    pub fn from_text(
        typed: &Settings,
        environment: &Environment,
        file: Option<(&Path, &str)>,
    ) -> Result<Self, ConfigError> {
        load::load(typed, environment, file)
    }
}

impl Builder {
    /// A builder of which only the URI is known.
    pub fn from_uri(uri: &str) -> Result<Self, String> {
        builder::from_uri(uri)
    }
}

impl LookAhead {
    /// How many builds a line with so many slots accepts beyond them.
    pub fn beyond(self, slots: u32) -> u32 {
        match self {
            Self::TwoPerSlot => slots.saturating_mul(2),
            Self::Fixed(builds) => builds,
        }
    }
}

impl ConfigError {
    fn wrong(place: Place, message: impl Into<String>) -> Self {
        Self::Wrong { place, message: message.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for AllowedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gid(gid) => gid.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for AllowedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => uid.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// No configuration is larger than this.
const MAX_FILE: u64 = 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "the one file that is read here is the configuration itself")]
fn read(file: &Path) -> io::Result<String> {
    use io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(file)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
