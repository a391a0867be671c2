//! Which machines of a tailnet are builders now, and why others that are meant are not.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::{Node, Status, clip};
use crate::domain::tailnet::dns_label;
use crate::domain::{Admission, BuilderName, HostKey, NodeFilter, SshServer, TailnetPath};

/// The tailnet's builders, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice {
    /// Those that can be reached.
    pub found: Vec<Found>,
    /// Those that are meant and cannot be.
    pub absent: Vec<Absent>,
    /// Those that are not meant: why not, and the names of each. Whoever waits for one of them wants to know.
    pub passed_over: BTreeMap<Absence, Vec<String>>,
}

/// One that is meant, and cannot be a builder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Absent {
    /// As it may be shown.
    pub name: String,
    /// The name that it asked for, where that is another one.
    pub host_name: Option<String>,
    /// Whether control hears of it.
    pub online: bool,
    /// Why.
    pub why: Absence,
}

/// A builder.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The name that it asked for, unless another machine had it already: then the one that it got.
    pub name: BuilderName,
    /// The one that it asked for, where that is another one.
    pub host_name: Option<String>,
    /// In the tailnet.
    pub address: IpAddr,
    /// The key that the tailnet vouches for, where Tailscale answers on the ssh port.
    pub host_key: Option<HostKey>,
    /// What the policy must say to let us in.
    pub admission: Admission,
    /// How packets get there.
    pub path: Option<TailnetPath>,
    /// Whether a way there is known yet. Tailscale drops what is sent before, and takes five seconds to try again.
    pub has_way: bool,
    /// Bytes that came from it.
    pub received: u64,
}

/// Why a machine that is meant cannot be a builder now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Absence {
    /// Control does not hear of it.
    #[error("offline")]
    Offline,
    /// Its key has expired.
    #[error("its key in the tailnet has expired: log it in again, or disable the expiry of its key")]
    Expired,
    /// Tailscale SSH is off, or not known yet.
    #[error(
        "online without Tailscale SSH: run `tailscale set --ssh` there, or say `ssh = \"sshd\"` for an sshd of its own"
    )]
    NoSsh,
    /// Only keys that we don't know how to read.
    #[error("its ssh host keys make no sense")]
    NoKey,
    /// Not in the tailnet.
    #[error("without an address in the tailnet")]
    NoAddress,
    /// A name that no builder can have.
    #[error("its name cannot be a builder's: letters, digits and . _ @ : - are allowed, no dash first")]
    NoName,
    /// It is meant by its name only.
    #[error("it has not the tag {0}, which this source asks for")]
    NoTag(String),
    /// It has another name.
    #[error("its name does not begin with {0}, as this source asks for")]
    NoPrefix(String),
    /// It has another name.
    #[error("its name is not among those that this source asks for")]
    NotNamed,
    /// Somebody else has the name.
    #[error("another machine has this name already")]
    Twice,
}

/// Those whom the filter wants.
pub fn choose(status: &Status, filter: &NodeFilter, ssh: SshServer) -> Choice {
    let meant = |node: &Node| {
        let (host_name, label) = (&node.host_name, &node.label);
        filter.wants(host_name, label, &node.tags) || filter.names(host_name, label)
    };
    let mut choice = Choice::default();
    for node in status.peers.iter().filter(|node| !node.is_sharee) {
        if !meant(node) {
            choice.passed_over.entry(why_not(node, filter)).or_default().extend(names(node));
            continue;
        }
        match usable(status, node, filter, ssh) {
            Ok(found) => choice.found.push(found),
            Err(why) => choice.absent.push(absent(node, why)),
        }
    }
    choice.found.sort_by(|one, other| one.name.cmp(&other.name));
    choice.found.dedup_by(|later, first| {
        let twice = later.name == first.name;
        if twice {
            let (name, host_name) = (clip(later.name.as_str()), None);
            choice.absent.push(Absent { name, host_name, online: true, why: Absence::Twice });
        }
        twice
    });
    choice.absent.sort();
    choice
}

/// By its name first: that is what whoever waits for it may have got wrong.
fn why_not(node: &Node, filter: &NodeFilter) -> Absence {
    match (&filter.prefix, filter.missing_tag(&node.tags)) {
        (Some(prefix), _) if !filter.begins(&node.host_name, &node.label) => Absence::NoPrefix(clip(prefix)),
        (_, Some(tag)) if filter.names.is_none() => Absence::NoTag(clip(tag)),
        _ => Absence::NotNamed,
    }
}

fn names(node: &Node) -> impl Iterator<Item = String> {
    let name = shown(node);
    let asked = asked_for(node, &name);
    std::iter::once(name).chain(asked).filter(|name| !name.is_empty())
}

fn usable(status: &Status, node: &Node, filter: &NodeFilter, ssh: SshServer) -> Result<Found, Absence> {
    if let Some(tag) = filter.missing_tag(&node.tags) {
        return Err(Absence::NoTag(clip(tag)));
    }
    if !node.online {
        return Err(Absence::Offline);
    }
    if node.expired {
        return Err(Absence::Expired);
    }
    let host_key = match ssh {
        SshServer::Own => None,
        SshServer::Tailscale if !node.has_ssh => return Err(Absence::NoSsh),
        SshServer::Tailscale => Some(best_key(node).ok_or(Absence::NoKey)?),
    };
    let name = BuilderName::parse(name(node)).map_err(|_| Absence::NoName)?;
    let address = node.addresses.iter().find(|address| address.is_ipv4()).or(node.addresses.first());
    let address = *address.ok_or(Absence::NoAddress)?;
    let destination = filter.tag.clone().unwrap_or_else(|| status.called(node));
    let admission = Admission { source: status.called(&status.us), destination };
    let (path, has_way, received) = (node.path.clone(), node.has_way, node.received);
    let host_name = asked_for(node, name.as_str());
    Ok(Found { name, host_name, address, host_key, admission, path, has_way, received })
}

/// No two machines have the same label, so no two have the same name.
fn name(node: &Node) -> &str {
    if dns_label(&node.host_name) == node.label { &node.host_name } else { &node.label }
}

fn absent(node: &Node, why: Absence) -> Absent {
    let name = shown(node);
    Absent { host_name: asked_for(node, &name), name, online: node.online, why }
}

fn asked_for(node: &Node, name: &str) -> Option<String> {
    let asked = clip(&node.host_name);
    (!asked.is_empty() && asked != name).then_some(asked)
}

fn shown(node: &Node) -> String {
    let name = name(node);
    clip(if name.is_empty() { &node.host_name } else { name })
}

/// ssh asks for a key of the kind that it knows, and servers have one of each.
fn best_key(node: &Node) -> Option<HostKey> {
    const BEST_FIRST: [&str; 3] = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"];
    let of_kind = |kind: &&str| node.host_keys.iter().find(|key| key.kind() == *kind);
    BEST_FIRST.iter().find_map(of_kind).or(node.host_keys.first()).cloned()
}
