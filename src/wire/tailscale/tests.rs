use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::{Admission, NodeFilter, SshServer};

/// What tailscaled 1.102.3 said of a tailnet of three.
const RECORDED: &str = include_str!("../../../tests/data/tailscale/status-1.102.3.json");
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";

fn tagged() -> NodeFilter {
    NodeFilter { tag: Some("tag:nix-builder".to_owned()), prefix: None, names: None }
}

fn node(host_name: &str, label: &str) -> Value {
    json!({
        "HostName": host_name, "DNSName": format!("{label}.t.test."), "TailscaleIPs": ["100.64.0.2", "fd7a::2"],
        "Tags": ["tag:nix-builder"], "Online": true, "sshHostKeys": [KEY], "Relay": "fra", "UserID": 7,
    })
}

fn with(mut node: Value, field: &str, value: Value) -> Value {
    node[field] = value;
    node
}

fn status(peers: &[Value]) -> Status {
    let peers: serde_json::Map<_, _> =
        peers.iter().enumerate().map(|(n, peer)| (format!("nodekey:{n}"), peer.clone())).collect();
    let text = json!({"BackendState": "Running", "Self": {"Tags": ["tag:ci"]}, "Peer": peers}).to_string();
    Status::parse(text.as_bytes()).expect("a status")
}

/// The names of those found, and of those absent with the reason's beginning.
fn chosen(peers: &[Value], filter: &NodeFilter) -> (Vec<String>, Vec<String>) {
    let choice = choose(&status(peers), filter, SshServer::Tailscale);
    let absent = |absent: Absent| format!("{}: {}", absent.name, &absent.why.to_string()[..7]);
    let found = choice.found.iter().map(|found| found.name.to_string()).collect();
    (found, choice.absent.into_iter().map(absent).collect())
}

fn alone(peer: Value) -> (Vec<String>, Vec<String>) {
    chosen(&[peer], &tagged())
}

#[test]
fn who_is_meant_by_name_and_has_not_the_tag_is_told_so() {
    let status = Status::parse(RECORDED.as_bytes()).expect("a status");
    let look = |names: Option<[&str; 1]>| {
        let names = names.map(|names| names.map(str::to_owned).into());
        let filter = NodeFilter { tag: Some("tag:mine".to_owned()), prefix: None, names };
        choose(&status, &filter, SshServer::Tailscale)
    };
    let choice = look(Some(["b1"]));
    assert!(choice.found.is_empty());
    let said: Vec<_> =
        choice.absent.iter().map(|absent| (absent.name.as_str(), absent.why.to_string())).collect();
    assert_eq!(said, [("b1", "it has not the tag tag:mine, which this source asks for".to_owned())]);
    let nobody = look(None);
    assert!(nobody.found.is_empty() && nobody.absent.is_empty(), "nobody is meant by a tag that nobody has");
}

#[test]
fn who_is_not_meant_is_passed_over_by_name_with_the_first_reason() {
    let status = Status::parse(RECORDED.as_bytes()).expect("a status");
    let look = |tag: Option<&str>, prefix: Option<&str>, names: Option<&str>| {
        let filter = NodeFilter {
            tag: tag.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
            names: names.map(|name| [name.to_owned()].into()),
        };
        let passed_over = choose(&status, &filter, SshServer::Tailscale).passed_over;
        let of_b1 = passed_over.iter().find(|(_, names)| names.iter().any(|name| name == "b1"));
        of_b1.map(|(why, _)| why.to_string())
    };
    let tag = "it has not the tag tag:mine, which this source asks for";
    assert_eq!(look(Some("tag:mine"), None, None).as_deref(), Some(tag));
    let prefix = "its name does not begin with ci-, as this source asks for";
    assert_eq!(look(Some("tag:mine"), Some("ci-"), None).as_deref(), Some(prefix));
    let name = "its name is not among those that this source asks for";
    assert_eq!(look(Some("tag:mine"), None, Some("b9")).as_deref(), Some(name));
    assert_eq!(look(Some("tag:nix-builder"), None, None), None, "it is meant");
    assert_eq!(look(Some("tag:mine"), None, Some("b1")), None, "it is told as one who is absent");
}

#[test]
fn a_real_tailnet_is_understood() {
    let status = Status::parse(RECORDED.as_bytes()).expect("a status");
    assert_eq!(
        (status.state.as_str(), status.us.label.as_str(), status.refused.len()),
        ("Running", "hub", 0)
    );
    let choice = choose(&status, &tagged(), SshServer::Tailscale);
    let found: Vec<_> =
        choice.found.iter().map(|found| (found.name.as_str(), found.address.to_string())).collect();
    assert_eq!(found, [("b1", "100.64.0.2".to_owned()), ("b2", "100.64.0.3".to_owned())]);
    assert_eq!(choice.found[0].host_key.as_ref().map(HostKey::kind), Some("ssh-ed25519"));
    let admission = Admission { source: "tag:ci".to_owned(), destination: "tag:nix-builder".to_owned() };
    assert_eq!((&choice.found[0].admission, &choice.found[0].path), (&admission, &None));
}

#[test]
fn a_real_address_has_an_owner() {
    let who = whois(include_bytes!("../../../tests/data/tailscale/whois-1.102.3.json")).expect("somebody");
    assert_eq!(
        (who.node.as_str(), who.tags.first().map(String::as_str), who.login),
        ("b1.t.test", Some("tag:nix-builder"), None)
    );
}

#[test]
fn a_status_without_a_tailnet_has_nobody() {
    for text in ["{}", r#"{"BackendState":"NeedsLogin","Self":null,"Peer":null,"User":null}"#] {
        let status = Status::parse(text.as_bytes()).expect("a status");
        assert!(status.peers.is_empty() && status.refused.is_empty(), "{text}");
    }
    for text in ["", "[]", "null", "{\"Peer\":{", "{\"BackendState\":1}"] {
        assert!(Status::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn who_cannot_be_used_is_absent_with_the_reason() {
    let good = || node("b1", "b1");
    assert_eq!(alone(good()), (vec!["b1".to_owned()], vec![]));
    let check = |peer: Value, reason: &str| assert_eq!(alone(peer), (vec![], vec![format!("b1: {reason}")]));
    check(with(good(), "Online", json!(false)), "offline");
    check(with(good(), "Expired", json!(true)), "its key");
    check(with(good(), "sshHostKeys", json!(null)), "online ");
    check(with(good(), "sshHostKeys", json!(["ssh-new ???"])), "its ssh");
    check(with(good(), "TailscaleIPs", json!(null)), "without");
    let odd = with(node("$(reboot)", "b1"), "DNSName", json!("b;1.t.test."));
    assert_eq!(alone(odd), (vec![], vec!["b;1: its nam".to_owned()]), "names carry shell characters");
    assert_eq!(alone(with(good(), "ShareeNode", json!(true))), (vec![], vec![]));
    assert_eq!(alone(with(good(), "Tags", json!(["tag:other"]))), (vec![], vec![]));
}

#[test]
fn a_machine_with_an_absurd_field_is_refused_by_name_and_the_rest_goes_on() {
    for (field, absurd) in [
        ("HostName", json!(1)),
        ("TailscaleIPs", json!(["not an address"])),
        ("Tags", json!({"a": 1})),
        ("Online", json!("yes")),
        ("sshHostKeys", json!([1])),
        ("CurAddr", json!([])),
        ("UserID", json!("x")),
    ] {
        let status = status(&[with(node("b1", "b1"), field, absurd), node("b2", "b2")]);
        assert_eq!(status.refused, [("b1".to_owned(), format!("its field `{field}` makes no sense"))]);
        assert_eq!(status.peers.len(), 1, "{field}");
    }
    let status =
        status(&[json!(17), json!("x"), json!([[]]), json!(null), json!(1.5), json!(true), node("b2", "b2")]);
    assert_eq!((status.refused.len(), status.peers.len()), (6, 1));
}

#[test]
fn a_builder_has_the_name_that_it_asked_for_unless_another_has_it() {
    let seed = node("nix-builder-1a-ubuntu-24.04-1", "nix-builder-1a-ubuntu-24-04-1");
    assert_eq!(alone(seed).0, ["nix-builder-1a-ubuntu-24.04-1"]);
    let stale = with(node("b1", "b1"), "Online", json!(false));
    assert_eq!(
        chosen(&[stale, node("b1", "b1-1")], &tagged()),
        (vec!["b1-1".to_owned()], vec!["b1: offline".to_owned()])
    );
    assert_eq!(chosen(&[node("b1", "b1-1"), node("b1", "b1")], &tagged()).0, ["b1", "b1-1"]);
    assert_eq!(alone(node("localhost", "phone")).0, ["phone"]);
    let (found, absent) =
        chosen(&[node("b1", "b1"), with(node("b1", "b1"), "DNSName", json!("b1.other.test."))], &tagged());
    assert_eq!((found.len(), absent), (1, vec!["b1: another".to_owned()]));
}

#[test]
fn a_stale_machine_is_not_the_one_that_is_named() {
    let named = NodeFilter { tag: None, prefix: None, names: Some(BTreeSet::from(["b1".to_owned()])) };
    let stale = with(node("b1", "b1"), "Online", json!(false));
    assert_eq!(chosen(std::slice::from_ref(&stale), &named).0, [""; 0]);
    assert_eq!(chosen(&[stale, node("b1", "b1-1"), node("c", "c")], &named).0, ["b1-1"]);
}

#[test]
fn a_path_is_direct_relayed_or_not_known_yet() {
    let path = |active: bool, direct: &str| {
        let peer = with(with(node("b1", "b1"), "Active", json!(active)), "CurAddr", json!(direct));
        choose(&status(&[peer]), &tagged(), SshServer::Tailscale).found[0].path.clone()
    };
    assert_eq!(path(true, "10.9.0.1:41641"), Some(TailnetPath::Direct));
    assert_eq!(path(true, ""), Some(TailnetPath::Relayed("fra".to_owned())));
    assert_eq!(path(false, ""), None, "the relay of one that nobody talks to says nothing");
}

#[test]
fn one_that_has_just_come_has_no_way_yet() {
    let has_way = |relay: &str, direct: &str| {
        let peer = with(with(node("b1", "b1"), "Relay", json!(relay)), "CurAddr", json!(direct));
        choose(&status(&[peer]), &tagged(), SshServer::Tailscale).found[0].has_way
    };
    assert!(!has_way("", "") && has_way("fra", "") && has_way("", "10.9.0.1:1"));
}

#[test]
fn an_sshd_of_its_own_needs_no_key_of_the_tailnet() {
    let peer = with(node("b1", "b1"), "sshHostKeys", json!(null));
    let found = choose(&status(&[peer]), &tagged(), SshServer::Own).found;
    assert_eq!(found.iter().map(|found| found.host_key.clone()).collect::<Vec<_>>(), [None]);
}

#[test]
fn a_machine_without_tags_goes_by_its_owner() {
    let text = json!({
        "BackendState": "Running", "Self": {"UserID": 7}, "Peer": {"k": with(node("b1", "b1"), "Tags", json!(null))},
        "User": {"7": {"ID": 7, "LoginName": "eva@example.org"}, "8": null},
    });
    let status = Status::parse(text.to_string().as_bytes()).expect("a status");
    let named = NodeFilter { tag: None, prefix: Some("b".to_owned()), names: None };
    let admission = choose(&status, &named, SshServer::Tailscale).found[0].admission.clone();
    let eva = || "eva@example.org".to_owned();
    assert_eq!(admission, Admission { source: eva(), destination: eva() });
}

/// JSON of any shape, with the keys that are looked for.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(json!("100.64.0.1")),
    ];
    let keys =
        "Peer|Self|User|BackendState|HostName|DNSName|TailscaleIPs|Tags|sshHostKeys|Online|CurAddr|\\PC{1,5}";
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..8).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_breaks_it(value in any_json()) {
        if let Ok(status) = Status::parse(value.to_string().as_bytes()) {
            let _ = choose(&status, &NodeFilter { tag: None, prefix: None, names: None }, SshServer::Own);
        }
        let _ = whois(value.to_string().as_bytes());
    }

    #[test]
    fn no_cut_or_changed_byte_breaks_it(at in 0..RECORDED.len(), byte: u8) {
        let mut text = RECORDED.as_bytes().to_vec();
        text[at] = byte;
        let _ = Status::parse(&text);
        prop_assert!(Status::parse(&RECORDED.as_bytes()[..at]).is_err());
    }
}
