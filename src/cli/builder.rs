//! `muster builder` and what belongs to it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// `muster builder`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  muster builder                                          as a service, kept when it is released
  muster builder --allow-user remotebuild --slots 8
  muster builder --ephemeral --release-command 'systemctl poweroff'
  muster builder --ephemeral --idle-timeout 5m --on-idle fail
  muster builder status
  muster builder drain

Exit codes: 0 released or stopped, 2 usage, 3 nobody claimed it within --idle-timeout (with --on-idle fail)"
)]
pub struct BuilderArgs {
    /// What to do instead of running the agent.
    #[command(subcommand)]
    pub command: Option<BuilderCommand>,
    /// How the agent runs.
    #[command(flatten)]
    pub run: RunArgs,
    /// Show what the agent knows; the same as `muster builder status`.
    #[arg(long, exclusive = true)]
    pub status: bool,
    /// Where the agent's socket is.
    #[command(flatten)]
    pub place: AgentPlace,
}

/// What can be done about an agent.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum BuilderCommand {
    /// Do what a key that is bound to this program may, and nothing else: write `command=\"muster builder serve\"`.
    Serve(AgentPlace),
    /// Join a coordinator at standard input and output to the agent; the coordinator starts this itself.
    #[command(hide = true)]
    Session(AgentPlace),
    /// Join standard input and output to the daemon's socket; the coordinator starts this itself.
    #[command(hide = true)]
    Pump,
    /// Show who uses this machine.
    Status(StatusArgs),
    /// Let nothing new start here; what runs may finish.
    Drain(AgentPlace),
    /// Let builds start here again.
    Undrain(AgentPlace),
    /// End the agent, and an ephemeral builder with it.
    Release(AgentPlace),
}

/// Where the agent's socket is.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct AgentPlace {
    /// The agent's socket [default: /run/muster-builder/agent.sock; for a user: muster-builder/agent.sock in
    /// $XDG_RUNTIME_DIR].
    #[arg(long, env = "MUSTER_AGENT_SOCKET", value_name = "PATH", hide_env_values = true)]
    pub socket: Option<PathBuf>,
}

/// `muster builder status`
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct StatusArgs {
    /// Print JSON (its "schema" is 1).
    #[arg(long)]
    pub json: bool,
    /// Where the agent's socket is.
    #[command(flatten)]
    pub place: AgentPlace,
}

/// How the agent runs.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct RunArgs {
    /// Builds at once, of all coordinators together [default: as many as cores, memory and build users
    /// allow, and then learned].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub slots: Option<u32>,
    /// A user whose ssh login may claim this builder, besides root and the agent's own user; may be repeated.
    #[arg(long = "allow-user", value_name = "USER")]
    pub users: Vec<String>,
    /// A tag that a coordinator's machine must have in the tailnet; one of several, where it is repeated.
    #[arg(long = "allow-tag", value_name = "TAG", value_parser = tag)]
    pub tags: Vec<String>,
    /// How long a claim lasts after its coordinator's last word.
    #[arg(long, value_name = "TIME", default_value = "45s", value_parser = humantime::parse_duration)]
    pub lease_timeout: Duration,
    /// End when nobody has claimed this builder for so long.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub idle_timeout: Option<Duration>,
    /// Whether that is a success.
    #[arg(long, value_enum, default_value_t, value_name = "WHICH", requires = "idle_timeout")]
    pub on_idle: OnIdle,
    /// Let nothing new start after so long, and end when nothing runs any more, or a lease later.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub max_lifetime: Option<Duration>,
    /// End once the last claim was given back or has lapsed.
    #[arg(long)]
    pub ephemeral: bool,
    /// What an ephemeral builder does when it ends, by /bin/sh: log out of a tailnet, power off.
    #[arg(long, value_name = "COMMAND", requires = "ephemeral")]
    pub release_command: Option<String>,
}

/// What it means that nobody came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnIdle {
    /// Success.
    Pass,
    /// Exit code 3.
    #[default]
    Fail,
}

fn tag(text: &str) -> Result<String, String> {
    let good = text.strip_prefix("tag:").is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    if good { Ok(text.to_owned()) } else { Err("a tag is tag: and letters, digits and dashes".to_owned()) }
}
