//! Who an address of the tailnet belongs to.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::clip;
use super::loose::{Loose, Object};

/// Whom the tailnet says that an address belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whois {
    /// The machine's name there, without the dot at its end.
    pub node: String,
    /// Its tags; one with tags belongs to nobody.
    pub tags: BTreeSet<String>,
    /// Whose it is, where it has no tags.
    pub login: Option<String>,
}

#[derive(Deserialize)]
struct RawWhois {
    #[serde(default, rename = "Node")]
    node: Object<RawNode>,
    #[serde(default, rename = "UserProfile")]
    user: Object<RawProfile>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RawNode {
    name: Loose<String>,
    tags: Loose<BTreeSet<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RawProfile {
    login_name: Loose<String>,
}

/// Reads what `GET /localapi/v0/whois?addr=IP:PORT` and `tailscale whois --json` say. Who cannot be named is nobody.
pub fn whois(text: &[u8]) -> Result<Whois, String> {
    let raw: RawWhois = serde_json::from_slice(text).map_err(|error| clip(&error.to_string()))?;
    let bad = |field: &str| format!("its answer has a `{field}` that makes no sense");
    let node = raw.node.0.ok_or_else(|| bad("Node"))?;
    let name = node.name.get("Name").map_err(bad)?.trim_end_matches('.').to_owned();
    if name.is_empty() {
        return Err("its answer names no machine".to_owned());
    }
    let tags = node.tags.get("Tags").map_err(bad)?;
    let login = raw.user.0.unwrap_or_default().login_name.get("LoginName").map_err(bad)?;
    let login = Some(login).filter(|login| tags.is_empty() && !login.is_empty());
    Ok(Whois { node: name, tags, login })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_tags_or_to_a_person() {
        let tagged = whois(
            br#"{"Node":{"Name":"b1.t.test.","Tags":["tag:ci"],"Online":true},
            "UserProfile":{"ID":1,"LoginName":"tagged-devices"},"CapMap":null}"#,
        );
        let expected =
            Whois { node: "b1.t.test".to_owned(), tags: BTreeSet::from(["tag:ci".to_owned()]), login: None };
        assert_eq!(tagged, Ok(expected));
        let person = whois(br#"{"Node":{"Name":"laptop."},"UserProfile":{"LoginName":"eva@example.org"}}"#);
        assert_eq!(person.map(|who| who.login), Ok(Some("eva@example.org".to_owned())));
    }

    #[test]
    fn who_cannot_be_named_is_nobody() {
        for text in [
            "",
            "null",
            "{}",
            r#"{"Node":null}"#,
            r#"{"Node":{"Name":""}}"#,
            r#"{"Node":{"Name":"x","Tags":1}}"#,
        ] {
            assert!(whois(text.as_bytes()).is_err(), "{text}");
        }
    }
}
