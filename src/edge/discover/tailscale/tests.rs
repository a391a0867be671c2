use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::*;
use crate::domain::NodeFilter;

const RECORDED_BUS: &str = include_str!("../../../../tests/data/tailscale/bus-1.102.3.jsonl");
const RECORDED: &str = include_str!("../../../../tests/data/tailscale/status-1.102.3.json");
/// Long, but less than the pause after which it would look without news.
const PATIENCE: Duration = Duration::from_millis(4500);

/// What other versions say of a machine that comes or goes, by what their source has:
///
/// | tailscaled | what it says |
/// |---|---|
/// | up to 1.96 | the whole `NetMap` of each change; bits of the mask that it does not know it ignores |
/// | 1.98 | the same, or `PeerChanges` where that suffices |
/// | 1.100 | `PeersChanged`, `PeersRemoved`, `PeerChangedPatch`; the `NetMap` on Windows and macOS alone; first, a status |
/// | 1.102 and later | the same; the `NetMap` on Windows alone |
///
/// None of them has keys that must be there, so a line that says nothing of machines counts, too.
const OTHER_VERSIONS: [(&str, &str); 11] = [
    ("1.96, its first line", r#"{"Version":"1.96.4","SessionID":"7","State":6}"#),
    (
        "1.96, everywhere",
        r#"{"Version":"1.96.4","NetMap":{"SelfNode":{"ID":1},"Peers":[{"ID":2,"Name":"b1.t.test."}]}}"#,
    ),
    (
        "1.98, not incremental",
        r#"{"Version":"1.98.0","NetMap":{"SelfNode":{"ID":1},"Peers":null},"PeerChanges":null}"#,
    ),
    ("1.98, incremental", r#"{"Version":"1.98.0","NetMap":null,"PeerChanges":[{"NodeID":2,"Online":true}]}"#),
    (
        "1.100, its first line",
        r#"{"Version":"1.100.0","State":6,"InitialStatus":{"BackendState":"Running"}}"#,
    ),
    ("1.100, who comes", r#"{"Version":"1.100.0","PeersChanged":[{"ID":2,"Name":"b1.t.test."}]}"#),
    ("1.100, who goes", r#"{"Version":"1.100.0","PeersRemoved":[2]}"#),
    ("1.100, who changes", r#"{"Version":"1.100.0","PeerChangedPatch":[{"NodeID":2,"Online":false}]}"#),
    ("1.100, on macOS", r#"{"Version":"1.100.0","NetMap":{"Peers":[{"ID":2,"Name":"b1.t.test."}]}}"#),
    ("1.102, who goes", r#"{"Version":"1.102.3","PeersRemoved":[2]}"#),
    ("1.102, on Windows", r#"{"Version":"1.102.3","NetMap":{"Peers":null}}"#),
];

/// A tailscaled that says what it is told to say.
struct Scripted {
    dir: tempfile::TempDir,
    status: Arc<Mutex<(u16, String)>>,
    buses: mpsc::Receiver<UnixStream>,
}

impl Scripted {
    fn start(status: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("sock")).expect("a socket");
        let (opened, buses) = mpsc::channel(10);
        let status = Arc::new(Mutex::new((200, status.to_owned())));
        tokio::spawn(serve(listener, Arc::clone(&status), opened));
        Self { dir, status, buses }
    }

    fn says(&self, status: u16, text: &str) {
        *self.status.lock().expect("ours") = (status, text.to_owned());
    }

    /// Who it is told to be used for.
    fn source(&self) -> Tailnet {
        Tailnet {
            filter: NodeFilter { tag: Some("tag:nix-builder".to_owned()), prefix: None, names: None },
            ssh: SshServer::Tailscale,
            user: "root".to_owned(),
            key: None,
            port: None,
            socket: Some(self.dir.path().join("sock")),
        }
    }

    async fn bus(&mut self) -> UnixStream {
        timeout(PATIENCE, self.buses.recv()).await.expect("in time").expect("a bus")
    }
}

/// A version that keeps its bus to itself.
const NO_BUS: u16 = 299;

async fn serve(listener: UnixListener, status: Arc<Mutex<(u16, String)>>, opened: mpsc::Sender<UnixStream>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut asked = vec![0; 4096];
        let read = stream.read(&mut asked).await.expect("a request");
        let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
        assert!(asked.contains(" HTTP/1.0\r\nHost: local-tailscaled.sock\r\n"), "{asked}");
        let (code, text) = status.lock().expect("ours").clone();
        let answer = if code == NO_BUS { 200 } else { code };
        let head = format!("HTTP/1.0 {answer} X\r\nContent-Type: application/json\r\n\r\n");
        // Whoever asked may be gone.
        if asked.contains("watch-ipn-bus") && code == NO_BUS {
            let _ = stream.write_all(b"HTTP/1.0 403 Forbidden\r\n\r\nwatch denied").await;
        } else if asked.starts_with("GET /localapi/v0/watch-ipn-bus?mask=20498 ") {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await;
            let _ = opened.send(stream).await;
        } else {
            let _ = stream.write_all((head + &text).as_bytes()).await;
        }
    }
}

/// The recorded status with these machines alone.
fn with(names: &[&str]) -> String {
    let mut status: Value = serde_json::from_str(RECORDED).expect("JSON");
    let peers = status["Peer"].as_object_mut().expect("peers");
    peers.retain(|_, peer| names.iter().any(|name| peer["HostName"] == json!(name)));
    status.to_string()
}

/// Watches in the background.
fn watched(source: Tailnet) -> mpsc::Receiver<Report> {
    let (sender, reports) = mpsc::channel(100);
    tokio::spawn(async move {
        let tell = move |report| {
            let sender = sender.clone();
            async move { sender.send(report).await.expect("the test hears it") }
        };
        watch(Rank::Tailscale(0), &source, tell).await;
    });
    reports
}

/// Waits until it tells of exactly these builders.
async fn tells(reports: &mut mpsc::Receiver<Report>, expected: &[&str], why: &str) {
    let heard = timeout(PATIENCE, async {
        loop {
            let Some(Report::Known(_, builders)) = reports.recv().await else { continue };
            if builders.iter().map(|builder| builder.spec.name.as_str()).eq(expected.iter().copied()) {
                return;
            }
        }
    });
    heard.await.unwrap_or_else(|_| panic!("{why}: no news of {expected:?}"));
}

async fn fails(reports: &mut mpsc::Receiver<Report>) {
    let heard = timeout(PATIENCE, async {
        while reports.recv().await != Some(Report::Failed(Rank::Tailscale(0))) {}
    });
    heard.await.expect("a failure");
}

#[tokio::test]
async fn a_line_of_any_version_is_a_reason_to_look() {
    let mut tailscaled = Scripted::start(&with(&[]));
    let mut reports = watched(tailscaled.source());
    let mut bus = tailscaled.bus().await;
    tells(&mut reports, &[], "the start").await;
    let recorded = RECORDED_BUS.lines().map(|line| ("1.102.3, recorded", line));
    for (n, (version, line)) in OTHER_VERSIONS.into_iter().chain(recorded).enumerate() {
        let expected: &[&str] = if n % 2 == 0 { &["b1"] } else { &[] };
        tailscaled.says(200, &with(expected));
        bus.write_all(format!("{line}\n").as_bytes()).await.expect("somebody listens");
        tells(&mut reports, expected, version).await;
    }
}

#[tokio::test]
async fn half_a_line_is_no_news_yet() {
    let mut tailscaled = Scripted::start(&with(&["b1"]));
    let mut reports = watched(tailscaled.source());
    let mut bus = tailscaled.bus().await;
    tells(&mut reports, &["b1"], "the start").await;
    tailscaled.says(200, &with(&["b2"]));
    bus.write_all(b"{\"Version\":").await.expect("somebody listens");
    let quiet =
        timeout(BURST * 3, async { while !matches!(reports.recv().await, Some(Report::Known(..))) {} });
    assert!(quiet.await.is_err());
    bus.write_all(b"1}\n").await.expect("somebody listens");
    tells(&mut reports, &["b2"], "the rest").await;
}

#[tokio::test]
async fn a_bus_that_closes_is_opened_again() {
    let mut tailscaled = Scripted::start(&with(&["b1"]));
    let mut reports = watched(tailscaled.source());
    let bus = tailscaled.bus().await;
    tells(&mut reports, &["b1"], "the start").await;
    drop(bus);
    fails(&mut reports).await;
    tailscaled.says(200, &with(&["b1", "b2"]));
    let _bus = tailscaled.bus().await;
    tells(&mut reports, &["b1", "b2"], "the second bus").await;
}

#[tokio::test]
async fn a_tailscaled_that_keeps_its_bus_to_itself_is_still_asked() {
    let tailscaled = Scripted::start("");
    tailscaled.says(NO_BUS, &with(&["b1"]));
    tells(&mut watched(tailscaled.source()), &["b1"], "the status alone").await;
}

#[tokio::test]
async fn nobody_vanishes_while_tailscale_makes_no_sense() {
    let mut tailscaled = Scripted::start(&with(&["b1"]));
    let mut reports = watched(tailscaled.source());
    for (code, text) in
        [(403, "access denied"), (200, "{\"Peer\":{\"trunc"), (200, "{\"BackendState\":\"NeedsLogin\"}")]
    {
        let mut bus = tailscaled.bus().await;
        tells(&mut reports, &["b1"], text).await;
        tailscaled.says(code, text);
        bus.write_all(b"{}\n").await.expect("somebody listens");
        fails(&mut reports).await;
        tailscaled.says(200, &with(&["b1"]));
    }
}

#[tokio::test]
async fn trouble_says_what_to_do() {
    let trouble = |code, text: &str| {
        let tailscaled = Scripted::start("");
        tailscaled.says(code, text);
        async move {
            let api = LocalApi::find(tailscaled.source().socket.as_deref());
            let mut known = Known::default();
            let tell = |_| std::future::ready(());
            let source = tailscaled.source();
            let mut watcher = Watcher {
                rank: Rank::Tailscale(0),
                source: &source,
                tell,
                known: std::mem::take(&mut known),
            };
            watcher.look(&api).await.expect_err("trouble").to_string()
        }
    };
    assert_eq!(trouble(403, "access denied\n").await, "tailscaled answers with 403: access denied");
    assert!(
        trouble(200, r#"{"BackendState":"NeedsLogin"}"#)
            .await
            .ends_with("'NeedsLogin', not 'Running': run `tailscale up`")
    );
    let starting = trouble(200, r#"{"BackendState":"Starting"}"#).await;
    assert!(starting.ends_with("'Starting', not 'Running' yet"), "{starting}");
    assert!(trouble(200, "[").await.starts_with("tailscaled: its status makes no sense"));
    let gone = LocalApi::find(Some(Path::new("/nonexistent/sock"))).bus().await.err().expect("no socket");
    assert!(gone.to_string().starts_with("tailscaled's socket /nonexistent/sock: "), "{gone}");
}

#[test]
fn a_builder_is_reached_by_address_with_its_key_pinned() {
    let status = crate::wire::tailscale::Status::parse(RECORDED.as_bytes()).expect("a status");
    let filter = NodeFilter { tag: None, prefix: None, names: Some(BTreeSet::from(["b1".to_owned()])) };
    let source = Tailnet {
        filter,
        ssh: SshServer::Tailscale,
        user: "root".to_owned(),
        key: None,
        port: None,
        socket: None,
    };
    let found = choose(&status, &source.filter, source.ssh).found;
    let builder = builder(found[0].clone(), &source);
    assert!(
        builder.uri.to_string().starts_with("ssh-ng://root@100.64.0.2?base64-ssh-public-host-key="),
        "{}",
        builder.uri
    );
    let BuilderUri::Ssh(uri) = builder.uri else { panic!("by ssh") };
    assert_eq!(uri.admission.map(|admission| admission.destination), Some("tag:nix-builder".to_owned()));
}

#[test]
fn one_to_which_no_way_is_known_yet_is_held_back_but_not_for_ever() {
    let status = crate::wire::tailscale::Status::parse(RECORDED.as_bytes()).expect("a status");
    let filter = NodeFilter { tag: Some("tag:nix-builder".to_owned()), prefix: None, names: None };
    let mut found = choose(&status, &filter, SshServer::Tailscale).found;
    found[1].has_way = false;
    let mut known = Known::default();
    let now = clock::now();
    let mut left = |after: Duration| {
        let mut found = found.clone();
        known.hold_back(&mut found, now + after);
        assert_eq!(known.pause() == LOOK_FOR_WAY, found.len() == 1);
        found.len()
    };
    assert_eq!((left(Duration::ZERO), left(NO_WAY / 2), left(NO_WAY)), (1, 1, 2));
}

#[test]
fn a_relay_is_warned_of_only_when_it_stays() {
    let b1 = || BuilderName::parse("b1").expect("a name");
    let mut known = Known::default();
    let mut warns = |by_relay: Option<u64>| {
        known.by_relay = by_relay.map(|received| (b1(), received)).into_iter().collect();
        known.count_relays() == [b1()]
    };
    assert!(!warns(Some(10)) && !warns(None) && !warns(Some(20)), "a path begins so");
    assert!(!warns(Some(20)) && !warns(Some(20)), "nobody is there");
    assert!(warns(Some(30)), "it stays");
    assert!(!warns(Some(30)) && !warns(Some(40)), "it is told once");
}

#[test]
fn who_is_missing_is_told_with_the_reason_and_who_has_another_name_with_the_one_that_it_asked_for() {
    let mut recorded: Value = serde_json::from_str(&with(&["b1", "b2"])).expect("JSON");
    for peer in recorded["Peer"].as_object_mut().expect("peers").values_mut() {
        if peer["HostName"] == json!("b1") {
            peer["DNSName"] = json!("b1-1.t.test.");
        } else {
            peer["sshHostKeys"] = json!(null);
        }
    }
    let status = crate::wire::tailscale::Status::parse(recorded.to_string().as_bytes()).expect("a status");
    let filter = NodeFilter { tag: Some("tag:nix-builder".to_owned()), prefix: None, names: None };
    let sight = sight(&choose(&status, &filter, SshServer::Tailscale));
    let named: Vec<_> =
        sight.host_names.iter().map(|(name, asked)| (name.as_str(), asked.as_str())).collect();
    assert_eq!(named, [("b1-1", "b1")]);
    let [absent] = sight.absent.as_slice() else { panic!("{sight:?}") };
    assert_eq!((absent.name.as_str(), absent.online, absent.host_name.as_ref()), ("b2", true, None));
    assert!(absent.why.starts_with("online without Tailscale SSH"), "{}", absent.why);
}
