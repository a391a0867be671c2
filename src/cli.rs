//! What was typed, as typed. What it means is decided by [`crate::config`].
//!
//! Stock Nix starts a line's program as `muster --stdio --store LINE`, or as `muster --stdio` alone. These words are
//! read before anything else, so that no other option can ever get in their way.

mod action;
pub mod builder;
mod control;
mod history;
mod join;
mod record;
mod report;
mod simulate;
mod wait;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use action::{ActionArgs, ActionStep};
use builder::BuilderArgs;
pub use control::{BuildNames, BuilderNames, StopArgs, UseArgs, WhyArgs};
pub use history::HistoryArgs;
pub use join::{JoinArgs, LeaveArgs, Role, TailscalePlaces};
pub use record::RecordArgs;
pub use report::{MatrixArgs, ReportArgs};
pub use simulate::{SimulateArgs, SimulatedGraph};
pub use wait::{Gathering, WaitArgs};

/// Turns any machines you can reach into one Nix build cluster.
///
/// muster runs beside the Nix daemon. Stock `nix build` hands its builds to the coordinator, which spreads them over
/// the builders that it knows and repeats elsewhere what a lost builder leaves unfinished.
#[derive(Debug, Clone, Parser, PartialEq)]
#[command(name = "muster", version, max_term_width = 100, after_long_help = AFTER_HELP)]
pub struct Cli {
    /// How log messages are written to stderr.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Which messages are logged, such as `info` or `muster=debug`; wins over -v and -q.
    #[arg(long, global = true, env = "MUSTER_LOG", value_name = "FILTER", hide_env_values = true)]
    pub log: Option<String>,
    /// Say more; twice: everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say less; twice: errors only.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The name by which GitHub workflows end their cluster: a link to this program.
const STOP: &str = "stop-nix-builders";

const AFTER_HELP: &str = "\
Examples:
  muster demo                                     watch a build survive the loss of a builder
  muster coordinator                              run beside the Nix daemon
  muster coordinator --builder nix@far            with one more builder
  muster probe nix@far                            what that one can do
  muster setup                                    make every build of this machine use it
  muster doctor                                   what is wrong, and how to mend it
  muster status                                   who builds what, and what waits
  muster why hello                                why that build waits, or where it runs
  muster drain b1                                 nothing new on that builder

Exit codes:
  0 done, 1 a build failed, 2 usage or configuration, 3 no builder could be used,
  4 cannot reach the coordinator, 130 interrupted,
  143 terminated at once by a second signal";

/// How log messages look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Clone, Subcommand, PartialEq)]
pub enum Command {
    /// Run the coordinator: take builds from Nix and have the builders build them.
    Coordinator(CoordinatorArgs),
    /// Run the agent of a builder, or ask it; what a key that is bound to this program may.
    Builder(BuilderArgs),
    /// Make Nix read muster's machines lines, or undo that.
    Setup(SetupArgs),
    /// Show the builders, and the builds that run or wait.
    Status(StatusArgs),
    /// Tell what was done since the coordinator started: a table, or a summary for GitHub.
    Report(ReportArgs),
    /// Plan the jobs of a cluster out of GitHub's runners.
    Matrix(MatrixArgs),
    /// Wait until builders are ready.
    Wait(WaitArgs),
    /// Explain where a build runs or why it waits, or what a builder does.
    Why(WhyArgs),
    /// Keep new builds away from builders; what runs there may finish.
    Drain(BuilderNames),
    /// Let drained builders take builds again.
    Undrain(BuilderNames),
    /// End builds, whoever wants them.
    Cancel(BuildNames),
    /// End the coordinator for good: running builds finish, and Nix builds without it from now on.
    Stop(StopArgs),
    /// Run a command whose builds go to the builders with one label.
    Use(UseArgs),
    /// Ask builders what they can do, without a coordinator.
    Probe(ProbeArgs),
    /// Show what builds taught: how long each package takes, and where it was built.
    History(HistoryArgs),
    /// Write down the graph of what was built, and how that went, to be replayed.
    Record(RecordArgs),
    /// Find what is wrong between Nix and its builders, and say how to mend it.
    Doctor(DoctorArgs),
    /// Bring this machine into a tailnet, as a builder or a coordinator.
    Join(JoinArgs),
    /// Take this machine out of its tailnet.
    Leave(LeaveArgs),
    /// Make an ssh key for the builders, and say where its lines belong.
    Key(KeyArgs),
    /// Check the configuration and print what it means.
    CheckConfig(CheckConfigArgs),
    /// Build a graph with stock Nix on three embedded builders, and kill one of them on the way.
    Demo(DemoArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Join Nix and the coordinator; stock Nix starts this itself.
    #[command(hide = true)]
    Connect(ConnectArgs),
    /// Do one step of the GitHub Action.
    #[command(hide = true)]
    Action(ActionArgs),
    /// Run one part by itself, to be measured.
    #[command(hide = true)]
    Bench(BenchArgs),
    /// Have the policy build a graph in virtual time, and compare.
    #[command(hide = true)]
    Simulate(SimulateArgs),
}

/// Where the files are.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Places {
    /// The configuration [default: /etc/muster/config.toml; for a user: muster/config.toml in $XDG_CONFIG_HOME].
    #[arg(long, env = "MUSTER_CONFIG", value_name = "FILE", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Where the sockets are [default: /run/muster; for a user: muster in $XDG_RUNTIME_DIR].
    #[arg(long, env = "MUSTER_RUNTIME_DIR", value_name = "DIR", hide_env_values = true)]
    pub runtime_dir: Option<PathBuf>,
    /// Where the state is kept [default: /var/lib/muster; for a user: muster in $XDG_STATE_HOME].
    #[arg(long, env = "MUSTER_STATE_DIR", value_name = "DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
}

/// Everything typed that the configuration is made of.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Settings {
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
    /// The store that inputs come from and outputs go to: auto, daemon, unix:///path/of/a/socket or local?root=/srv/x.
    #[arg(long, value_name = "STORE")]
    pub local_store: Option<String>,
    /// A builder besides those of the configuration, such as nix@far.example.org; may be repeated.
    #[arg(long = "builder", value_name = "URI")]
    pub builders: Vec<String>,
    /// How Nix reaches the builders: through muster, or by itself over lines that muster keeps up to date.
    #[arg(long, value_enum, value_name = "HOW")]
    pub attach: Option<Attach>,
    /// Where Nix's own configuration is.
    #[command(flatten)]
    pub nix: NixPlaces,
}

/// How Nix reaches the builders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attach {
    /// Through muster: builds survive the loss of a builder.
    Endpoint,
    /// By itself: one machines line for each builder, and nothing of muster between them.
    Direct,
}

/// Where Nix's own configuration is.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct NixPlaces {
    /// The directory of nix.conf and machines [default: /etc/nix].
    #[arg(long, env = "NIX_CONF_DIR", value_name = "DIR", hide_env_values = true)]
    pub nix_conf_dir: Option<PathBuf>,
}

/// `muster coordinator`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster coordinator
  muster coordinator --config ./muster.toml --runtime-dir /tmp/m --state-dir /tmp/m
  muster coordinator --builder process:/srv/b1 --builder 'process:/srv/b2?program=/opt/nix/bin/nix-daemon'
  muster coordinator --attach direct --once    write a line for each builder, and be gone")]
pub struct CoordinatorArgs {
    /// What the configuration is made of.
    #[command(flatten)]
    pub settings: Settings,
    /// With --attach direct: probe the builders, write their lines, print them and exit.
    #[arg(long, requires = "attach")]
    pub once: bool,
    /// What it waits for then.
    #[command(flatten)]
    pub gathering: Gathering,
}

/// `muster setup`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster setup --dry-run    show what would be changed
  muster setup
  muster setup --undo       every file is again as it was, byte for byte")]
pub struct SetupArgs {
    /// Take back what it did.
    #[arg(long)]
    pub undo: bool,
    /// Show what would be changed, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
    /// Where Nix's own configuration is.
    #[command(flatten)]
    pub nix: NixPlaces,
}

/// `muster status`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster status
  muster status --watch
  muster status --json | jq '.builders[] | select(.health != \"healthy\")'")]
pub struct StatusArgs {
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
    /// Print JSON (its "schema" is 1).
    #[arg(long)]
    pub json: bool,
    /// Show it again and again until Ctrl-C: in place on a terminal, else one after the other; with --json, one a line.
    #[arg(short, long)]
    pub watch: bool,
    /// How long to wait in between, such as 500ms.
    #[arg(long, value_name = "TIME", default_value = "2s", requires = "watch", value_parser = interval)]
    pub interval: Duration,
}

/// `muster doctor`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster doctor                         this machine and every builder that is known
  muster doctor b1 eva@192.0.2.7:2222   these two, known or not
  muster doctor --build                 prove every builder with real builds
  muster doctor b1 --pin SHA256:uNiVztksCsDhcc0u9e8BrvA8RE8Il5bXbXwVdGhyR5s
  muster doctor --json | jq '.subjects[].checks[] | select(.verdict == \"fail\")'

Exit codes: 0 nothing failed (there may be warnings), 1 a check failed, 2 usage or configuration")]
pub struct DoctorArgs {
    /// A builder's name, its URI, or anything that ssh knows [default: this machine and all builders].
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Accept the host key of HOST if this is its fingerprint: add it to the known hosts that ssh uses.
    #[arg(long, value_name = "FINGERPRINT", requires = "hosts")]
    pub pin: Option<String>,
    /// Then have stock Nix build something new on every slot of the fleet, and ask each builder what it built.
    #[arg(long)]
    pub build: bool,
    /// Print JSON (its "schema" is 1).
    #[arg(long)]
    pub json: bool,
    /// What the configuration is made of.
    #[command(flatten)]
    pub settings: Settings,
}

/// `muster key`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster key
  muster key --file /root/.ssh/remotebuild")]
pub struct KeyArgs {
    /// Where to; nothing is ever overwritten [default: ssh/id_ed25519 beside the configuration].
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
}

/// `muster probe`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster probe                             every builder of the configuration
  muster probe big nix@far.example.org     builders by name or by URI")]
pub struct ProbeArgs {
    /// A builder's name, or where one is: HOST, USER@HOST:PORT, ssh-ng://USER@HOST [default: the configuration's].
    #[arg(value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
    /// Print JSON (its \"schema\" is 1).
    #[arg(long)]
    pub json: bool,
}

/// `muster check-config`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster check-config
  muster check-config ./muster.toml")]
pub struct CheckConfigArgs {
    /// The file to check [default: the one that the coordinator would read].
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Where the files are.
    #[command(flatten)]
    pub places: Places,
}

/// `muster demo`
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster demo
  muster demo --keep ./demo    and look round in its stores afterwards")]
pub struct DemoArgs {
    /// Work in this new directory and leave it there, instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// `muster completions`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Example:
  muster completions bash > ~/.local/share/bash-completion/completions/muster")]
pub struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `muster bench`
#[derive(Debug, Clone, PartialEq, Args)]
pub struct BenchArgs {
    /// Which part.
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Subcommand, PartialEq)]
pub enum BenchCommand {
    /// Copy a store path and its closure the way a build's inputs go to a builder.
    Copy {
        /// The store that has it, such as local?root=/srv/a.
        from: String,
        /// The store to copy it to.
        to: String,
        /// The store path.
        path: String,
    },
}

/// `muster connect`, or `muster --stdio [--store LINE]` as stock Nix says it.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct ConnectArgs {
    /// Taken and ignored: Nix always says it.
    #[arg(long, hide = true)]
    pub stdio: bool,
    /// The line to serve: NAME, NAME@SOCKET or use:LABEL [default: all].
    #[arg(long = "store", value_name = "LINE")]
    pub line: Option<String>,
    /// The coordinator's endpoint [default: the one that LINE names, else the usual one].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// A pause that neither keeps the coordinator busy nor the user waiting for ever.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
    if bounds.contains(&interval) { Ok(interval) } else { Err("it must be 100ms to 1h".to_owned()) }
}

impl Cli {
    /// Reads a whole command line, the program's own name first.
    pub fn parse_words(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let called = words.first().map(Path::new).and_then(Path::file_name);
        if called.is_some_and(|name| name == STOP) {
            let stop = [OsString::from("muster"), OsString::from("stop")];
            return Self::try_parse_from(stop.into_iter().chain(words.into_iter().skip(1)));
        }
        match words.get(1) {
            Some(first) if first == "--stdio" => Ok(Self::from(started_by_nix(&words[2..]))),
            _ => Self::try_parse_from(words),
        }
    }
}

impl From<ConnectArgs> for Cli {
    fn from(connect: ConnectArgs) -> Self {
        let command = Command::Connect(connect);
        Self { log_format: LogFormat::Text, log: None, verbose: 0, quiet: 0, command }
    }
}

/// What Nix says after `--stdio`. Words that a later Nix may add are passed over: a refusal would cost the user this
/// line for the rest of the invocation.
fn started_by_nix(words: &[OsString]) -> ConnectArgs {
    let text = |word: &OsStr| word.to_string_lossy().into_owned();
    let mut connect = ConnectArgs { stdio: true, ..ConnectArgs::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--store" {
            connect.line = words.next().map(|line| text(line)).or(connect.line);
        } else if let Some(line) = text(word).strip_prefix("--store=") {
            connect.line = Some(line.to_owned());
        }
    }
    connect
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("muster").chain(line.split_whitespace()).map(OsString::from);
        Cli::parse_words(words.collect()).map(|cli| cli.command)
    }

    fn connect(line: Option<&str>) -> Command {
        Command::Connect(ConnectArgs { stdio: true, line: line.map(str::to_owned), socket: None })
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_words_that_stock_nix_says_start_a_connection() {
        let check = |line: &str, expected| assert_eq!(parse(line).ok(), Some(expected), "{line}");
        check("--stdio", connect(None));
        check("--stdio --store main", connect(Some("main")));
        check("--stdio --store a@%2Frun%2Fx.sock", connect(Some("a@%2Frun%2Fx.sock")));
        check("--stdio --store=use:big", connect(Some("use:big")));
        check("--stdio --store", connect(None));
        check("--stdio --process-ops --store main --later 1", connect(Some("main")));
        check("connect --stdio --store main", connect(Some("main")));
    }

    #[test]
    fn called_by_the_name_of_a_workflow_it_stops() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let check = |line: &str, now| {
            let command = Cli::parse_words(words(line)).map(|cli| cli.command);
            assert!(
                matches!(command, Ok(Command::Stop(StopArgs { now: said, .. })) if said == now),
                "{line}"
            );
        };
        check("/usr/local/bin/stop-nix-builders", false);
        check("stop-nix-builders --now", true);
    }

    #[test]
    fn connect_can_be_given_its_socket() {
        let expected = ConnectArgs { socket: Some("/run/x".into()), ..ConnectArgs::default() };
        assert_eq!(parse("connect --socket /run/x").ok(), Some(Command::Connect(expected)));
    }

    #[test]
    fn builders_may_be_repeated() {
        let command = parse("coordinator --builder process:/a --builder process:/b");
        let Ok(Command::Coordinator(args)) = command else { panic!("{command:?}") };
        assert_eq!(args.settings.builders, ["process:/a", "process:/b"]);
    }

    #[test]
    fn a_word_too_many_is_a_usage_error() {
        for line in ["", "statsu", "status --jsn", "coordinator x", "completions tcl", "-v -q status"] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_only_programs_start_is_hidden_from_help() {
        let help = Cli::command().render_long_help().to_string();
        assert!(
            !help.contains("connect  ") && !help.contains("bench") && help.contains("check-config"),
            "{help}"
        );
    }
}
