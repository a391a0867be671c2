//! What the `tailscale` command says where it fails, with what to do about it.

use crate::domain::join::{Credential, Join, Proof};

/// What is shown of its words.
const SHOWN: usize = 500;

/// That a key has been used.
const USED: [&str; 3] = ["already used", "already been used", "has been used"];

/// Parts of what it or a control server says, in small letters, and what they mean; the first row counts that has one.
/// `{tags}` stands for the tags that were asked for.
const MEANINGS: [(&[&str], &str); 13] = [
    (
        &["connect to local tailscaled", "tailscaled isn't running", "tailscaled running", "tailscaled.sock"],
        "no tailscaled answers: start it (`systemctl start tailscaled`), or say with --socket where it is",
    ),
    (
        &["access denied", "must be root", "use 'sudo tailscale", "permission denied"],
        "only root may do this, or the operator whom root names with --operator",
    ),
    (
        &["requested tags", "tags are invalid", "tags not permitted", "tags not owned", "tag not permitted"],
        "the key does not permit the tags {tags}: they must be those of the key, or owned by them (\"tagOwners\" in the \
         tailnet's policy)",
    ),
    (&["require --advertise-tags"], "this kind of credential takes tags: name them with --tag"),
    (&["expired"], "the key has expired: make a new one"),
    (&USED, "the key was for one machine, and has been used: make a new one, or one that is reusable"),
    (
        &["flag provided but not defined", "flags provided but not defined", "unknown flag"],
        "this tailscale is too old: --audience takes 1.94, a federated identity 1.90",
    ),
    (
        &["require --id-token", "id-token: write", "oidc"],
        "the provider gave no token: on GitHub the job needs `permissions: id-token: write`; elsewhere name a file with \
         --id-token-file",
    ),
    (
        &["status: 403", "status 403", "not authorized", "enough permissions"],
        "the client may not make keys for {tags}: it needs the scope auth_keys, and these tags or ones that own them",
    ),
    (
        &["token exchange", "oauth2:", "unauthorized_client", "status: 401", "status 401"],
        "the tailnet does not accept the client's id, secret or token: the client must exist, and not be revoked",
    ),
    (
        &[
            "invalid key",
            "invalid pre auth key",
            "unable to validate api key",
            "api key does not exist",
            "authkey not found",
            "auth-key not found",
            "invalid auth",
            "parse auth-key",
            "parse authkey",
            "key not valid",
            "record not found",
        ],
        "the control server does not know the key: it was deleted, is one of another tailnet, or is no key",
    ),
    (
        &["bad file descriptor", "/dev/stdin"],
        "tailscale could not read its standard input, by which it gets the secret",
    ),
    (
        &["timeout waiting for", "deadline exceeded", "timed out", "no answer within"],
        "the tailnet did not let this machine in: is its control server reachable from here, and the key a good one?",
    ),
];

/// Whether it says that the key was for one machine, and has been used.
pub fn says_used(said: &str) -> bool {
    let small = said.to_ascii_lowercase();
    USED.iter().any(|part| small.contains(part))
}

/// What its last words mean; they stand behind it as they are, but for the secret.
pub fn explain(join: Option<&Join>, credential: Option<&Credential>, said: &str) -> String {
    let said = redacted(credential, said.trim());
    let small = said.to_ascii_lowercase();
    let is_meant = |(parts, _): &&(&[&str], &str)| parts.iter().any(|part| small.contains(part));
    let meaning = MEANINGS.iter().find(is_meant).map(|(_, meaning)| meaning.replace("{tags}", &tags(join)));
    let before = said.chars().count().saturating_sub(SHOWN);
    let said: String = said.chars().skip(before).map(|c| if c.is_control() { ' ' } else { c }).collect();
    match meaning {
        Some(meaning) => format!("{meaning} (tailscale: {said})"),
        None => format!("tailscale: {said}"),
    }
}

fn tags(join: Option<&Join>) -> String {
    let tags: Vec<_> = join.iter().flat_map(|join| &join.tags).map(|tag| tag.as_str()).collect();
    if tags.is_empty() { "that were asked for".to_owned() } else { tags.join(", ") }
}

/// Nobody promises that tailscale, or a control server, repeats no secret.
fn redacted(credential: Option<&Credential>, said: &str) -> String {
    match credential {
        Some(
            Credential::AuthKey(secret)
            | Credential::Client(secret, _)
            | Credential::Workload { proof: Proof::Token(secret), .. },
        ) => secret.redact(said),
        Some(Credential::Workload { proof: Proof::Audience(_), .. }) | None => said.to_owned(),
    }
}
