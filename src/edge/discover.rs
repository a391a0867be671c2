//! Where builders come from. Each source is a task that reports the whole set of builders that it knows now.
//!
//! The configuration's own builders need no task. Whoever hears the reports decides what is new, gone, or known from
//! elsewhere already.

mod exec;
pub mod machines;
mod tailscale;

use std::future::Future;
use std::net::IpAddr;

use crate::config::{Builder, BuilderUri, NixFiles, Tailnet};
use crate::domain::{BuilderName, Sight, System};
use crate::wire::tailscale::Whois;
use machines::Look;

/// Which source; the first one wins where several know a builder of the same name or address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The configuration and the command line.
    Static,
    /// Machines lines.
    Machines,
    /// The command of that number.
    Exec(usize),
    /// The tailnet, as the source of that number chooses from it.
    Tailscale(usize),
}

/// What a source tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// The builders that it knows now.
    Known(Rank, Vec<Builder>),
    /// It cannot tell; what it said before holds.
    Failed(Rank),
    /// What else it tells of its machines now.
    Sight(Rank, Sight),
    /// What Nix's own files say now.
    Nix(Look),
}

/// What the machines source must know of this coordinator.
#[derive(Debug, Clone)]
pub struct MachinesSource {
    /// Nix's own files.
    pub files: NixFiles,
    /// Our own lines, which are no builders.
    pub ours: machines::Ours,
    /// The system that a line without one means.
    pub default_system: System,
    /// Whether its lines become builders of ours.
    pub adopt: bool,
}

/// Reports what Nix's own files say, at the start and whenever it changes.
pub async fn watch_machines<Told>(source: MachinesSource, tell: impl Fn(Report) -> Told)
where
    Told: Future<Output = ()>,
{
    machines::watch(source, tell).await;
}

/// Runs a command at the start and then every `interval`, and reports what it printed.
pub async fn watch_command<Told>(
    number: usize,
    command: Vec<String>,
    interval: std::time::Duration,
    tell: impl Fn(Report) -> Told,
) where
    Told: Future<Output = ()>,
{
    exec::watch(Rank::Exec(number), &command, interval, tell).await;
}

/// Reports which machines of the tailnet are builders, at the start and whenever that changes.
pub async fn watch_tailnet<Told>(number: usize, source: Tailnet, tell: impl Fn(Report) -> Told)
where
    Told: Future<Output = ()>,
{
    tailscale::watch(Rank::Tailscale(number), &source, tell).await;
}

/// Whom an address of this machine's tailnet belongs to.
pub async fn whois(address: IpAddr) -> Result<Whois, String> {
    tailscale::whois(address).await
}

/// A URI with more values in its query; each is percent-encoded.
fn with_query(uri: &str, values: &[(&str, Option<&str>)]) -> String {
    let mut uri = uri.to_owned();
    for (name, value) in values.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        let separator = if uri.contains('?') { '&' } else { '?' };
        uri.push(separator);
        uri.push_str(name);
        uri.push('=');
        for byte in value.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
            if plain { uri.push(char::from(byte)) } else { uri.push_str(&format!("%{byte:02X}")) }
        }
    }
    uri
}

/// `USER@HOST:PORT` of an ssh URI or a bare host.
fn authority(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// The host of an authority, an IPv6 address without its brackets.
fn host(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or_default(),
        None => host,
    }
}

/// The name of a builder that nobody named: its host, or the end of its directory.
fn default_name(uri: &BuilderUri) -> Option<BuilderName> {
    let name = match uri {
        BuilderUri::Process { root, .. } => root.file_name()?.to_str()?,
        BuilderUri::Ssh(uri) => &uri.host,
    };
    BuilderName::parse(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_uri_is_what_the_user_calls_it() {
        let check = |uri: &str, expected: &str| assert_eq!(host(authority(uri)), expected, "{uri}");
        check("b1", "b1");
        check("ryan@b1:2222", "b1");
        check("ssh-ng://eva@b1.example?compress=true", "b1.example");
        check("ssh://[fe80::1]:22/", "fe80::1");
        check("fe80::1", "fe80::1");
    }

    #[test]
    fn values_join_the_query_encoded() {
        let uri = with_query("ssh://b?compress=true", &[("ssh-key", Some("/a b")), ("x", None)]);
        assert_eq!(uri, "ssh://b?compress=true&ssh-key=/a%20b");
        assert_eq!(with_query("ssh://b", &[("k", Some("a=="))]), "ssh://b?k=a%3D%3D");
    }
}
