//! The words by which the `tailscale` command joins a tailnet, and what it says in return.
//!
//! Secrets go by its standard input: whatever it is told as an argument, everybody on the machine can read.

mod trouble;

use std::collections::BTreeSet;

pub use trouble::{explain, says_used};

use serde::Deserialize;

use super::loose::Loose;
use super::{BadStatus, Status, clip};
use crate::domain::join::{Credential, Join, Minting, Proof};

/// Tailscale's own control servers, which are one.
const OWN_SERVERS: [&str; 2] = ["https://controlplane.tailscale.com", "https://login.tailscale.com"];
/// Where a secret is read from.
const BY_STDIN: &str = "file:/dev/stdin";

/// How Tailscale is set here, as `tailscale debug prefs` says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefs {
    /// The control server; empty for Tailscale's own.
    pub server: String,
    /// The name that was asked for; empty for the machine's own.
    pub host_name: String,
    /// Whether Tailscale SSH runs.
    pub ssh: bool,
    /// Whether nobody may connect to this machine.
    pub shields_up: bool,
    /// Who else may manage it.
    pub operator: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RawPrefs {
    #[serde(rename = "ControlURL")]
    server: Loose<String>,
    hostname: Loose<String>,
    #[serde(rename = "RunSSH")]
    ssh: Loose<bool>,
    shields_up: Loose<bool>,
    operator_user: Loose<String>,
}

impl Prefs {
    /// Reads them.
    pub fn parse(text: &[u8]) -> Result<Self, BadStatus> {
        let bad = |why: String| BadStatus(format!("its settings: {why}"));
        let raw: RawPrefs = serde_json::from_slice(text).map_err(|error| bad(clip(&error.to_string())))?;
        let odd = |field: &str| bad(format!("`{field}` is of another kind than it should be"));
        Ok(Self {
            server: raw.server.get("ControlURL").map_err(odd)?,
            host_name: raw.hostname.get("Hostname").map_err(odd)?,
            ssh: raw.ssh.get("RunSSH").map_err(odd)?,
            shields_up: raw.shields_up.get("ShieldsUp").map_err(odd)?,
            operator: raw.operator_user.get("OperatorUser").map_err(odd)?,
        })
    }
}

/// What is left to do until a machine has joined as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// It is in that tailnet; some of its settings are others. The words of `tailscale`.
    Set(Vec<String>),
    /// It is in none. The words of `tailscale`.
    Up(Vec<String>),
}

/// Why a machine is not made to join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// One at a time.
    #[error(
        "this machine is in a tailnet of {theirs} already, and would have to leave it for one of {ours}: run `muster \
         leave` first, or name that server with --login-server"
    )]
    Elsewhere {
        /// The control server of the one that it is in.
        theirs: String,
        /// That of the other.
        ours: String,
    },
    /// Tags come with the key.
    #[error(
        "this machine has joined already, with {theirs} instead of {ours}: run `muster leave` first, and join with a \
         key for these tags"
    )]
    OtherTags {
        /// What it has.
        theirs: String,
        /// What it shall have.
        ours: String,
    },
    /// Somebody must say yes.
    #[error(
        "the tailnet has not approved this machine yet: an administrator can, or a key that is preauthorized"
    )]
    Unapproved,
    /// Somebody else's.
    #[error("Tailscale is in use by another user of this machine")]
    OtherUser,
    /// By what right?
    #[error(
        "this machine is in no tailnet, and nothing was given by which it could join one: name a key with \
         --auth-key-file, or a federated identity with --client-id"
    )]
    NoCredential,
}

/// Decides it.
pub fn step(
    join: &Join,
    credential: Option<&Credential>,
    status: &Status,
    prefs: &Prefs,
) -> Result<Step, Unfit> {
    match status.state.as_str() {
        "Running" | "Starting" => {}
        "NeedsMachineAuth" => return Err(Unfit::Unapproved),
        "InUseOtherUser" => return Err(Unfit::OtherUser),
        _ => {
            let credential = credential.ok_or(Unfit::NoCredential)?;
            return Ok(Step::Up(up(join, credential)));
        }
    }
    let ours = join.login_server.as_ref().map_or(OWN_SERVERS[0], |server| server.as_str());
    if server(&prefs.server) != server(ours) {
        return Err(Unfit::Elsewhere { theirs: clip(server(&prefs.server)), ours: ours.to_owned() });
    }
    let wanted: BTreeSet<String> = join.tags.iter().map(|tag| tag.as_str().to_owned()).collect();
    // Of one that is about to start nothing is known yet.
    if status.state == "Running" && !wanted.is_subset(&status.us.tags) {
        return Err(Unfit::OtherTags { theirs: tags(&status.us.tags), ours: tags(&wanted) });
    }
    let changes = changes(join, prefs);
    Ok(if changes.is_empty() { Step::Nothing } else { Step::Set([vec!["set".to_owned()], changes].concat()) })
}

fn server(url: &str) -> &str {
    let bare = url.trim_end_matches('/');
    if bare.is_empty() || OWN_SERVERS.contains(&bare) { OWN_SERVERS[0] } else { bare }
}

fn tags(tags: &BTreeSet<String>) -> String {
    match tags.len() {
        0 => "no tags".to_owned(),
        _ => clip(&tags.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
    }
}

/// Routes and DNS are the user's, where the machine has joined already.
fn changes(join: &Join, prefs: &Prefs) -> Vec<String> {
    let mut words = Vec::new();
    if prefs.host_name != join.host_name.as_str() {
        words.push(format!("--hostname={}", join.host_name.as_str()));
    }
    if prefs.ssh != join.ssh {
        words.push(format!("--ssh={}", join.ssh));
    }
    if prefs.shields_up == join.is_open {
        words.push(format!("--shields-up={}", !join.is_open));
    }
    if let Some(operator) = join.operator.as_ref().filter(|operator| **operator != prefs.operator) {
        words.push(format!("--operator={operator}"));
    }
    words
}

/// What is not said is as it is in a new installation, whatever somebody tried before: the command takes nothing else
/// for an answer.
fn up(join: &Join, credential: &Credential) -> Vec<String> {
    let mut words = vec![
        "up".to_owned(),
        "--reset".to_owned(),
        format!("--hostname={}", join.host_name.as_str()),
        format!("--timeout={}ms", join.timeout.as_millis()),
        format!("--ssh={}", join.ssh),
        format!("--shields-up={}", !join.is_open),
        "--accept-dns=false".to_owned(),
        "--accept-routes=false".to_owned(),
    ];
    if !join.tags.is_empty() && may_name_tags(credential) {
        let tags: Vec<_> = join.tags.iter().map(|tag| tag.as_str()).collect();
        words.push(format!("--advertise-tags={}", tags.join(",")));
    }
    words.extend(join.login_server.iter().map(|server| format!("--login-server={}", server.as_str())));
    words.extend(join.operator.iter().map(|operator| format!("--operator={operator}")));
    match credential {
        Credential::AuthKey(_) | Credential::Client(..) => words.push(format!("--auth-key={BY_STDIN}")),
        Credential::Workload { client_id, proof, minting } => {
            words.push(format!("--client-id={}", with_options(client_id, *minting)));
            words.push(match proof {
                Proof::Token(_) => format!("--id-token={BY_STDIN}"),
                Proof::Audience(audience) => format!("--audience={audience}"),
            });
        }
    }
    words
}

/// headscale refuses whoever comes with a key and names tags: the key alone says them.
fn may_name_tags(credential: &Credential) -> bool {
    match credential {
        Credential::AuthKey(key) => key.is_tailscale(),
        Credential::Client(..) | Credential::Workload { .. } => true,
    }
}

/// What the command reads from its standard input. A plain key goes to the control server as it is, so nothing may be
/// appended to it.
pub fn input(credential: &Credential) -> String {
    match credential {
        Credential::AuthKey(key) => key.expose().to_owned(),
        Credential::Client(secret, minting) => with_options(secret.expose(), *minting),
        Credential::Workload { proof: Proof::Token(token), .. } => token.expose().to_owned(),
        Credential::Workload { proof: Proof::Audience(_), .. } => String::new(),
    }
}

/// What the text says already stays.
fn with_options(text: &str, minting: Minting) -> String {
    let (_, said) = text.split_once('?').unwrap_or_default();
    let is_said = |name: &str| said.split('&').any(|option| option.split('=').next() == Some(name));
    let mut text = text.to_owned();
    for (name, value) in [("ephemeral", minting.ephemeral), ("preauthorized", minting.preauthorized)] {
        if !is_said(name) {
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(&format!("{name}={value}"));
        }
    }
    text
}

#[cfg(test)]
mod tests;
