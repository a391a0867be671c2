//! `muster join` and `muster leave`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// What a machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// It builds: Tailscale SSH lets coordinators in.
    Builder,
    /// It asks for builds: nobody needs to get in.
    Coordinator,
}

/// Where Tailscale is.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct TailscalePlaces {
    /// The `tailscale` command [default: the one on PATH, or that of the application for macOS].
    #[arg(long, value_name = "PATH")]
    pub tailscale: Option<PathBuf>,
    /// tailscaled's socket [default: where the command looks for it].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// `muster join`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Examples:
  muster join --role builder --tag tag:nix-builder --auth-key-file /run/secrets/key
  muster join --role coordinator --tag tag:ci --auth-key-file /run/secrets/oauth --preauthorized
  muster join --role builder --tag tag:nix-builder --client-id ID --audience AUDIENCE
  muster join --role builder --tag tag:nix-builder --auth-key-file KEY --login-server https://headscale.example.org

tailscaled must run; all the rest is done by the `tailscale` command, which gets secrets by its standard input, never as
an argument. A key that begins with tskey-client- is an OAuth client's secret: it makes a key for this machine alone, with
the tags that are named. A machine that has joined already is left as it is, or gets another name at most.")]
pub struct JoinArgs {
    /// What this machine is for.
    #[arg(long, value_enum)]
    pub role: Role,
    /// The name to ask for, of letters, digits and - . _ [default: this machine's own].
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// A tag of the tailnet's policy, such as tag:nix-builder; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// A file with an auth key or an OAuth client's secret; /dev/stdin and the like, too.
    #[arg(long, value_name = "FILE", conflicts_with = "client_id")]
    pub auth_key_file: Option<PathBuf>,
    /// Join as a workload that its provider vouches for: the id of the tailnet's federated identity.
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// A file with the token by which the provider vouches.
    #[arg(long, value_name = "FILE", requires = "client_id", conflicts_with = "audience")]
    pub id_token_file: Option<PathBuf>,
    /// Have `tailscale` ask the provider for a token for this audience; GitHub, AWS and Google have one.
    #[arg(long, value_name = "AUDIENCE", requires = "client_id")]
    pub audience: Option<String>,
    /// The control server [default: Tailscale's own].
    #[arg(long, value_name = "URL")]
    pub login_server: Option<String>,
    /// Run Tailscale SSH; a builder does so anyway.
    #[arg(long, conflicts_with = "no_ssh")]
    pub ssh: bool,
    /// Leave ssh to the machine's own sshd.
    #[arg(long)]
    pub no_ssh: bool,
    /// A user who may manage Tailscale here without being root.
    #[arg(long, value_name = "USER")]
    pub operator: Option<String>,
    /// How long it may take.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = patience)]
    pub timeout: Duration,
    /// Forget this machine as soon as it is gone; so it is by default. For OAuth and workload identity.
    #[arg(long, conflicts_with = "no_ephemeral")]
    pub ephemeral: bool,
    /// Remember this machine while it is off. For OAuth and workload identity.
    #[arg(long)]
    pub no_ephemeral: bool,
    /// Where the tailnet approves machines one by one: approve this one. For OAuth and workload identity.
    #[arg(long)]
    pub preauthorized: bool,
    /// Where Tailscale is.
    #[command(flatten)]
    pub tailscale: TailscalePlaces,
}

/// `muster leave`
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_long_help = "\
Example:
  muster leave

An ephemeral machine is forgotten at once. One that is in no tailnet is left alone, with success.")]
pub struct LeaveArgs {
    /// How long it may take.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = patience)]
    pub timeout: Duration,
    /// Where Tailscale is.
    #[command(flatten)]
    pub tailscale: TailscalePlaces,
}

/// Long enough for a handshake, and an end in any case.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    let patience = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    if bounds.contains(&patience) { Ok(patience) } else { Err("it must be 1s to 1day".to_owned()) }
}
