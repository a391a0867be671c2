//! What `tailscaled` says over its LocalAPI: its status, its bus, and who an address belongs to.
//!
//! The status is the one document that is believed. The bus says different things in different versions, so that any
//! line on it means no more than "look again". The formats are tailscale's `ipn/ipnstate`, and they are "subject to
//! change": every field may be missing, null or absurd. A machine with an absurd field is refused by its name, and
//! the rest goes on.

mod choose;
pub mod cli;
mod http;
mod loose;
mod whois;

use std::collections::{BTreeMap, BTreeSet};

use core::net::IpAddr;
use serde::Deserialize;

pub use choose::{Absence, Absent, Choice, Found, choose};
pub use http::{BUS, Head, NoHttp, STATUS, get};
pub use whois::{Whois, whois};

use crate::domain::{HostKey, TailnetPath};
use loose::{Loose, Object};

/// A status is never larger.
pub const MOST_STATUS: usize = 64 << 20;
/// What is shown of a foreign name.
const SHOWN: usize = 100;

/// A tailnet as one of its machines sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Tailscale's word for what it is about; `Running` where all is well.
    pub state: String,
    /// Its own version.
    pub version: String,
    /// This machine.
    pub us: Node,
    /// All others that it may know of, those of [`Status::refused`] aside.
    pub peers: Vec<Node>,
    /// Of which nothing can be believed: name and reason.
    pub refused: Vec<(String, String)>,
    owners: BTreeMap<String, String>,
}

/// One machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Node {
    /// The name that it asked for. It chose this one by itself.
    pub host_name: String,
    /// The name that it got, without the dot at its end; no other machine has it.
    pub dns_name: String,
    /// The first label of that.
    pub label: String,
    /// In the tailnet.
    pub addresses: Vec<IpAddr>,
    /// With `tag:` before each.
    pub tags: BTreeSet<String>,
    /// Of its Tailscale SSH; none where that is off.
    pub host_keys: Vec<HostKey>,
    /// Whether it says that it has some, ours to understand or not.
    pub has_ssh: bool,
    /// Whether control hears of it. One without power stays so for minutes.
    pub online: bool,
    /// Whether its key has expired.
    pub expired: bool,
    /// Whether it is here only because something was shared with its owner.
    pub is_sharee: bool,
    /// How packets get there; none while there are none.
    pub path: Option<TailnetPath>,
    /// Whether anybody knows a way there yet: its relay, or itself.
    pub has_way: bool,
    /// Bytes that came from it.
    pub received: u64,
    owner: String,
}

/// A status that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its status makes no sense: {0}")]
pub struct BadStatus(String);

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    #[serde(rename = "BackendState")]
    state: Loose<String>,
    #[serde(rename = "Version")]
    version: Loose<String>,
    #[serde(rename = "Self")]
    us: Object<RawNode>,
    #[serde(rename = "Peer")]
    peers: Object<BTreeMap<String, Object<RawNode>>>,
    #[serde(rename = "User")]
    users: Object<BTreeMap<String, Object<RawUser>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawUser {
    #[serde(rename = "LoginName")]
    login: Loose<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RawNode {
    host_name: Loose<String>,
    #[serde(rename = "DNSName")]
    dns_name: Loose<String>,
    #[serde(rename = "UserID")]
    user: Loose<i64>,
    #[serde(rename = "TailscaleIPs")]
    addresses: Loose<Vec<IpAddr>>,
    tags: Loose<BTreeSet<String>>,
    #[serde(rename = "sshHostKeys")]
    host_keys: Loose<Vec<String>>,
    online: Loose<bool>,
    expired: Loose<bool>,
    sharee_node: Loose<bool>,
    cur_addr: Loose<String>,
    relay: Loose<String>,
    active: Loose<bool>,
    rx_bytes: Loose<u64>,
}

impl Status {
    /// Reads what `GET /localapi/v0/status` and `tailscale status --json` say.
    pub fn parse(text: &[u8]) -> Result<Self, BadStatus> {
        let raw: Object<RawStatus> = serde_json::from_slice(text)
            .map_err(|error| BadStatus(error.to_string().escape_debug().collect()))?;
        let raw = raw.0.ok_or_else(|| BadStatus("it is no object".to_owned()))?;
        let bad = |what: &str| BadStatus(format!("`{what}` is of another kind than it should be"));
        let state = raw.state.get("BackendState").map_err(bad)?;
        let us = raw.us.0.unwrap_or_default().node().map_err(|(_, why)| BadStatus(why))?;
        let (mut peers, mut refused) = (Vec::new(), Vec::new());
        for (key, peer) in raw.peers.0.unwrap_or_default() {
            match peer.0.ok_or_else(|| (clip(&key), "it is no object".to_owned())).and_then(RawNode::node) {
                Ok(node) => peers.push(node),
                Err(nonsense) => refused.push(nonsense),
            }
        }
        let users = raw.users.0.unwrap_or_default().into_iter();
        let login = |user: Object<RawUser>| user.0.and_then(|user| user.login.get("LoginName").ok());
        let owners = users.filter_map(|(id, user)| Some((id, login(user)?))).collect();
        let version = raw.version.get("Version").unwrap_or_default();
        Ok(Self { state, version, us, peers, refused, owners })
    }

    /// What the tailnet's policy calls that machine: a tag, or its owner.
    pub fn called(&self, node: &Node) -> String {
        let owner = || self.owners.get(&node.owner).cloned().unwrap_or_else(|| "autogroup:member".to_owned());
        node.tags.first().cloned().unwrap_or_else(owner)
    }
}

impl RawNode {
    /// The node, or its name and what is wrong with it.
    fn node(self) -> Result<Node, (String, String)> {
        let dns_name = self.dns_name.get("DNSName").unwrap_or_default().trim_end_matches('.').to_owned();
        let label = dns_name.split('.').next().unwrap_or_default().to_owned();
        let name = if label.is_empty() { "a machine without a name".to_owned() } else { clip(&label) };
        let bad = |field: &str| (name.clone(), format!("its field `{field}` makes no sense"));
        let keys = self.host_keys.get("sshHostKeys").map_err(bad)?;
        let (direct, relay) =
            (self.cur_addr.get("CurAddr").map_err(bad)?, self.relay.get("Relay").map_err(bad)?);
        let active = self.active.get("Active").map_err(bad)?;
        let path = match (direct.is_empty(), relay.is_empty()) {
            (false, _) => Some(TailnetPath::Direct),
            (true, false) if active => Some(TailnetPath::Relayed(clip(&relay))),
            _ => None,
        };
        Ok(Node {
            host_name: self.host_name.get("HostName").map_err(bad)?,
            addresses: self.addresses.get("TailscaleIPs").map_err(bad)?,
            tags: self.tags.get("Tags").map_err(bad)?,
            has_ssh: !keys.is_empty(),
            host_keys: keys.iter().filter_map(|key| HostKey::parse(key).ok()).collect(),
            online: self.online.get("Online").map_err(bad)?,
            expired: self.expired.get("Expired").map_err(bad)?,
            is_sharee: self.sharee_node.get("ShareeNode").map_err(bad)?,
            owner: self.user.get("UserID").map_err(bad)?.to_string(),
            has_way: !direct.is_empty() || !relay.is_empty(),
            path,
            received: self.rx_bytes.get("RxBytes").map_err(bad)?,
            dns_name,
            label,
        })
    }
}

/// A foreign text as it may be shown.
fn clip(text: &str) -> String {
    text.chars().take(SHOWN).collect::<String>().escape_debug().collect()
}

#[cfg(test)]
mod tests;
