//! `muster join` and `muster leave`: this machine comes into a tailnet and goes again.
//!
//! The `tailscale` command does it; what it means when it fails is said in its place.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::{Failure, block_on, print};
use crate::cli::{JoinArgs, LeaveArgs};
use crate::config::{self, Environment};
use crate::domain::join::{Credential, Join, LONGEST_SECRET, Proof, Secret};
use crate::edge::tailscale::{Cli, CliError};
use crate::edge::{files, machine};
use crate::wire::tailscale::Status;
use crate::wire::tailscale::cli::{self, Prefs, Step, explain, step};

/// For a question that tailscaled answers by itself.
const ANSWER: Duration = Duration::from_secs(10);
/// What the command gets beyond the time after which it gives up by itself.
const LAST_WORDS: Duration = Duration::from_secs(3);

pub(super) fn join(args: &JoinArgs, environment: &Environment) -> Result<(), Failure> {
    let join = config::join(args, &machine::host_name()).map_err(|error| Failure::Usage(error.into()))?;
    let credential = credential(args, environment).map_err(Failure::Usage)?;
    let takes_tags = matches!(credential, Some(Credential::Client(..) | Credential::Workload { .. }));
    if takes_tags && join.tags.is_empty() {
        return Err(Failure::Usage(anyhow!("this kind of credential takes tags: name them with --tag")));
    }
    if !takes_tags && (args.ephemeral || args.no_ephemeral || args.preauthorized) {
        tracing::info!("a plain auth key says by itself whether a machine is forgotten, and approved");
    }
    let tailscale = Cli::new(args.tailscale.tailscale.as_deref(), args.tailscale.socket.as_deref());
    let said =
        block_on(async { bring_in(&tailscale, &join, credential.as_ref()).await.map_err(Failure::Failed) })?;
    print(&format!("{said}\n"))
}

/// The secret is read here, once, and given away to `tailscale` alone.
fn credential(args: &JoinArgs, environment: &Environment) -> anyhow::Result<Option<Credential>> {
    let read = |file: &Path| {
        let file = environment.cwd.join(file);
        let text = files::read_secret(&file, LONGEST_SECRET as u64 + 2);
        let secret = text.map_err(anyhow::Error::new).and_then(|text| Ok(Secret::parse(&text)?));
        secret.with_context(|| format!("the secret in {}", file.display()))
    };
    let minting = config::minting(args);
    if let Some(file) = &args.auth_key_file {
        let key = read(file)?;
        let is_client = key.is_client();
        return Ok(Some(if is_client { Credential::Client(key, minting) } else { Credential::AuthKey(key) }));
    }
    let Some(client_id) = args.client_id.clone() else { return Ok(None) };
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if !plain(&client_id) || args.audience.as_ref().is_some_and(|audience| !plain(audience)) {
        return Err(anyhow!("--client-id and --audience are one word each"));
    }
    let proof = match (&args.id_token_file, &args.audience) {
        (Some(file), _) => Proof::Token(read(file)?),
        (None, Some(audience)) => Proof::Audience(audience.clone()),
        (None, None) => return Err(anyhow!("--client-id goes with --id-token-file or --audience")),
    };
    Ok(Some(Credential::Workload { client_id, proof, minting }))
}

async fn bring_in(tailscale: &Cli, join: &Join, credential: Option<&Credential>) -> anyhow::Result<String> {
    let failed = |error: CliError| anyhow!("{}", told(Some(join), credential, &error));
    let status = status(tailscale).await.map_err(failed)??;
    let prefs = tailscale.run(&words("debug prefs"), "", ANSWER).await.map_err(failed)?;
    let step = step(join, credential, &status, &Prefs::parse(&prefs)?)?;
    let done = match &step {
        Step::Nothing => "has joined already",
        Step::Set(words) => {
            tailscale.run(words, "", ANSWER).await.map_err(failed)?;
            "has joined already, and has other settings now"
        }
        Step::Up(words) => {
            let input = credential.map(cli::input).unwrap_or_default();
            if let Err(error) = up(tailscale, words, &input, join.timeout + LAST_WORDS).await {
                give_up(tailscale, &status).await;
                return Err(failed(error));
            }
            "has joined"
        }
    };
    let now = self::status(tailscale).await.map_err(failed)??;
    let described = described(join, &now, done);
    if matches!((&step, &described), (Step::Up(_), Err(_))) {
        give_up(tailscale, &status).await;
    }
    described
}

/// tailscaled registers on several connections at once, and where one of them breaks it may hear of its own success as
/// of somebody else's use of the key. Whoever has registered already is let in the second time.
async fn up(tailscale: &Cli, words: &[String], input: &str, limit: Duration) -> Result<(), CliError> {
    let mut done = tailscale.run(words, input, limit).await;
    if matches!(&done, Err(CliError::Failed { said, .. }) if cli::says_used(said)) {
        done = tailscale.run(words, input, limit).await;
    }
    done.map(drop)
}

/// tailscaled goes on trying, with the secret in its memory, and tells whoever tries next how that fails.
async fn give_up(tailscale: &Cli, before: &Status) {
    let end = if before.state == "Stopped" { "down" } else { "logout" };
    if let Err(error) = tailscale.run(&words(end), "", ANSWER).await {
        tracing::debug!(%error, "tailscaled goes on trying to join");
    }
}

/// What came of it, as the tailnet sees it.
fn described(join: &Join, now: &Status, done: &str) -> anyhow::Result<String> {
    let (us, asked) = (&now.us, join.host_name.as_str());
    if !matches!(now.state.as_str(), "Running" | "Starting") {
        return Err(anyhow!(
            "tailscale has done what it was told, and is '{}' afterwards",
            now.state.escape_debug()
        ));
    }
    let missing: Vec<_> =
        join.tags.iter().map(|tag| tag.as_str()).filter(|tag| !us.tags.contains(*tag)).collect();
    if !missing.is_empty() && now.state == "Running" {
        return Err(anyhow!(
            "the tailnet let this machine in without {}, so it was taken out again: make a key that has these tags",
            missing.join(", ")
        ));
    }
    if !us.label.is_empty() && us.label != asked {
        tracing::warn!(
            "another machine of the tailnet has the name {asked}, perhaps one that is gone: this one is {} there",
            us.label.escape_debug()
        );
    }
    let mut said = format!("this machine {done}: {}", us.dns_name.escape_debug());
    let tags = us.tags.iter().map(|tag| tag.escape_debug().to_string());
    for part in us.addresses.iter().take(1).map(ToString::to_string).chain(tags) {
        said.push_str(&format!(", {part}"));
    }
    Ok(said)
}

pub(super) fn leave(args: &LeaveArgs) -> Result<(), Failure> {
    let tailscale = Cli::new(args.tailscale.tailscale.as_deref(), args.tailscale.socket.as_deref());
    let left = block_on(async { go_out(&tailscale, args.timeout).await.map_err(Failure::Failed) })?;
    print(&format!("{left}\n"))
}

async fn go_out(tailscale: &Cli, limit: Duration) -> anyhow::Result<&'static str> {
    let failed = |error: CliError| anyhow!("{}", told(None, None, &error));
    let status = status(tailscale).await.map_err(failed)??;
    if matches!(status.state.as_str(), "NeedsLogin" | "NoState") {
        return Ok("this machine is in no tailnet");
    }
    let mut done = tailscale.run(&words("logout"), "", limit).await;
    // tailscaled closes its connections when an interface changes, also that by which it takes its leave.
    if matches!(done, Err(CliError::Failed { .. })) {
        done = tailscale.run(&words("logout"), "", limit).await;
    }
    done.map_err(failed)?;
    Ok("this machine has left its tailnet")
}

async fn status(tailscale: &Cli) -> Result<anyhow::Result<Status>, CliError> {
    let text = tailscale.run(&words("status --json"), "", ANSWER).await?;
    Ok(Status::parse(&text).map_err(|error| anyhow!("tailscaled: {error}")))
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn told(join: Option<&Join>, credential: Option<&Credential>, error: &CliError) -> String {
    match error {
        CliError::Failed { said, .. } => explain(join, credential, said),
        CliError::Slow { .. } => explain(join, credential, &error.to_string()),
        CliError::Nothing | CliError::Start { .. } | CliError::Long(_) => error.to_string(),
    }
}
