use serde_json::json;

use super::*;
use crate::domain::join::{HostName, LoginServer, Secret, Tag};

const MINTING: Minting = Minting { ephemeral: true, preauthorized: false };

fn join(tags: &[&str]) -> Join {
    Join {
        host_name: HostName::parse("b1").expect("a name"),
        tags: tags.iter().map(|tag| Tag::parse(tag).expect("a tag")).collect(),
        login_server: Some(LoginServer::parse("https://h.test/").expect("a server")),
        ssh: true,
        is_open: true,
        operator: None,
        timeout: std::time::Duration::from_secs(60),
    }
}

fn secret(text: &str) -> Secret {
    Secret::parse(text.as_bytes()).expect("a secret")
}

fn key() -> Credential {
    Credential::AuthKey(secret("tskey-auth-abc"))
}

fn status(state: &str, tags: &[&str]) -> Status {
    let text = json!({"BackendState": state, "Self": {"HostName": "b1", "Tags": tags}});
    Status::parse(text.to_string().as_bytes()).expect("a status")
}

fn prefs() -> Prefs {
    Prefs { server: "https://h.test".to_owned(), host_name: "b1".to_owned(), ssh: true, ..Prefs::default() }
}

#[test]
fn a_machine_in_no_tailnet_is_brought_up_without_a_secret_among_the_words() {
    for state in ["NeedsLogin", "NoState", "Stopped", "a later word"] {
        let step = step(&join(&["tag:a", "tag:b"]), Some(&key()), &status(state, &[]), &prefs());
        let Ok(Step::Up(words)) = step else { panic!("{state}: {step:?}") };
        assert_eq!(
            words.join(" "),
            "up --reset --hostname=b1 --timeout=60000ms --ssh=true --shields-up=false --accept-dns=false \
             --accept-routes=false --advertise-tags=tag:a,tag:b --login-server=https://h.test --auth-key=file:/dev/stdin"
        );
    }
    let headscale = Credential::AuthKey(secret("hskey-auth-abc"));
    let Ok(Step::Up(words)) = step(&join(&["tag:a"]), Some(&headscale), &status("NeedsLogin", &[]), &prefs())
    else {
        panic!("no way up")
    };
    assert!(!words.iter().any(|word| word.starts_with("--advertise-tags")), "headscale's keys say the tags");
    let nothing = step(&join(&[]), None, &status("NeedsLogin", &[]), &prefs());
    assert_eq!(nothing, Err(Unfit::NoCredential));
}

#[test]
fn options_are_appended_to_a_client_s_secret_only() {
    let client = |text: &str| input(&Credential::Client(secret(text), MINTING));
    assert_eq!(input(&key()), "tskey-auth-abc");
    assert_eq!(client("tskey-client-abc"), "tskey-client-abc?ephemeral=true&preauthorized=false");
    assert_eq!(
        client("tskey-client-abc?baseURL=http://x&ephemeral=false"),
        "tskey-client-abc?baseURL=http://x&ephemeral=false&preauthorized=false"
    );
}

#[test]
fn a_workload_says_its_id_and_hands_over_its_token() {
    let words = |proof: Proof| {
        let credential = Credential::Workload { client_id: "id/x".to_owned(), proof, minting: MINTING };
        let Ok(Step::Up(words)) =
            step(&join(&["tag:a"]), Some(&credential), &status("NeedsLogin", &[]), &prefs())
        else {
            panic!("no way up")
        };
        (words[words.len() - 2..].join(" "), input(&credential))
    };
    let id = "--client-id=id/x?ephemeral=true&preauthorized=false";
    assert_eq!(
        words(Proof::Token(secret("a.b.c"))),
        (format!("{id} --id-token=file:/dev/stdin"), "a.b.c".to_owned())
    );
    assert_eq!(words(Proof::Audience("aud".to_owned())), (format!("{id} --audience=aud"), String::new()));
}

#[test]
fn one_that_has_joined_is_left_alone_or_gets_other_settings() {
    let running = || status("Running", &["tag:a"]);
    let step = |join: &Join, prefs: &Prefs| step(join, None, &running(), prefs);
    assert_eq!(step(&join(&["tag:a"]), &prefs()), Ok(Step::Nothing));
    assert_eq!(step(&join(&[]), &prefs()), Ok(Step::Nothing), "no tags were asked for");
    let other = Prefs { host_name: "x".to_owned(), ssh: false, shields_up: true, ..prefs() };
    let join = Join { operator: Some("eva".to_owned()), ..join(&["tag:a"]) };
    let words = "set --hostname=b1 --ssh=true --shields-up=false --operator=eva";
    assert_eq!(step(&join, &other), Ok(Step::Set(words.split(' ').map(str::to_owned).collect())));
}

#[test]
fn another_tailnet_other_tags_and_what_must_be_waited_for_are_told_apart() {
    let check = |state: &str, tags: &[&str], prefs: &Prefs, part: &str| {
        let error = step(&join(&["tag:a"]), Some(&key()), &status(state, tags), prefs).expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
    };
    check(
        "Running",
        &["tag:a"],
        &Prefs { server: String::new(), ..prefs() },
        "controlplane.tailscale.com already",
    );
    check(
        "Starting",
        &[],
        &Prefs { server: "https://o.test".to_owned(), ..prefs() },
        "https://o.test already",
    );
    check("Running", &["tag:x"], &prefs(), "with tag:x instead of tag:a");
    check("Running", &[], &prefs(), "with no tags instead of tag:a");
    check("NeedsMachineAuth", &[], &prefs(), "not approved");
    check("InUseOtherUser", &[], &prefs(), "another user");
    let own = Join { login_server: None, ..join(&["tag:a"]) };
    let login = Prefs { server: "https://login.tailscale.com".to_owned(), ..prefs() };
    assert_eq!(step(&own, None, &status("Running", &["tag:a"]), &login), Ok(Step::Nothing));
}

#[test]
fn settings_are_read_whatever_is_missing_and_refused_by_name_where_absurd() {
    let text =
        br#"{"ControlURL":"https://h.test","RunSSH":true,"Hostname":"b1","AdvertiseTags":null,"Later":1}"#;
    assert_eq!(Prefs::parse(text), Ok(prefs()));
    assert_eq!(Prefs::parse(b"{}"), Ok(Prefs::default()));
    for (text, part) in
        [("[", "EOF"), ("{\"RunSSH\":\"yes\"}", "RunSSH"), ("{\"ControlURL\":1}", "ControlURL")]
    {
        let error = Prefs::parse(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_fails_is_explained() {
    let check = |said: &str, part: &str| {
        let text = explain(Some(&join(&["tag:a", "tag:b"])), Some(&key()), said);
        assert!(text.contains(part) && text.contains("(tailscale: "), "{said}: {text}");
    };
    check(
        "failed to connect to local tailscaled; it doesn't appear to be running",
        "systemctl start tailscaled",
    );
    check("backend error: requested tags [tag:a] are invalid or not permitted", "the tags tag:a, tag:b:");
    check("backend error: invalid key: API key does not exist", "does not know the key");
    check("backend error: invalid pre auth key", "does not know the key");
    check("backend error: authkey expired", "has expired");
    check("backend error: authkey already used", "for one machine");
    check("oauth authkeys require --advertise-tags", "--tag");
    check("flag provided but not defined: -audience", "too old");
    check("oauth2: \"unauthorized_client\" \"bad secret\"", "does not accept the client");
    check("Status: 403, Message: \"calling actor does not have enough permissions\"", "scope auth_keys");
    check("federated identity authkeys require --id-token", "id-token: write");
    check("timeout waiting for Tailscale service to enter a Running state", "reachable from here");
    check("Access denied: prefs write access denied", "only root");
    assert_eq!(explain(None, None, "odd\nwords"), "tailscale: odd words");
    let told = explain(None, Some(&key()), "no such key: tskey-auth-abc");
    assert!(!told.contains("abc"), "{told}");
}
