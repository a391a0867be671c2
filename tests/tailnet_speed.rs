//! How long a large tailnet takes. Run it with `cargo test --release --test tailnet_speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use muster::domain::{NodeFilter, SshServer};
use muster::wire::tailscale::{Status, choose};
use serde_json::{Value, json};

const PEERS: usize = 1_000;
const LIMIT: Duration = Duration::from_millis(20);

/// One recorded machine, as often as it takes, with names and addresses of their own.
fn large() -> Vec<u8> {
    let recorded = include_str!("data/tailscale/status-1.102.3.json");
    let mut status: Value = serde_json::from_str(recorded).expect("JSON");
    let one = status["Peer"].as_object().expect("peers").values().next().expect("a peer").clone();
    let peer = |n: usize| {
        let mut peer = one.clone();
        peer["HostName"] = json!(format!("builder-{n}"));
        peer["DNSName"] = json!(format!("builder-{n}.t.test."));
        peer["TailscaleIPs"] = json!([format!("100.64.{}.{}", n / 250, n % 250)]);
        peer["Tags"] = json!([if n.is_multiple_of(10) { "tag:nix-builder" } else { "tag:other" }]);
        (format!("nodekey:{n}"), peer)
    };
    status["Peer"] = (0..PEERS).map(peer).collect::<serde_json::Map<_, _>>().into();
    status.to_string().into_bytes()
}

#[test]
#[ignore = "it measures: run it alone, with --release"]
fn a_tailnet_of_a_thousand_is_read_and_decided_in_no_time() {
    let text = large();
    let filter = NodeFilter { tag: Some("tag:nix-builder".to_owned()), prefix: None, names: None };
    let best = (0..20).map(|_| {
        let began = Instant::now();
        let status = Status::parse(&text).expect("a status");
        assert_eq!(choose(&status, &filter, SshServer::Tailscale).found.len(), PEERS / 10);
        began.elapsed()
    });
    let best = best.min().expect("some");
    println!("{PEERS} machines, {} KiB: {best:.1?}", text.len() >> 10);
    assert!(best < LIMIT, "{best:?}");
}
