//! How much memory a coordinator takes in a large tailnet. The release build's is printed by
//! `cargo test --release --test tailnet_memory -- --nocapture`.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use support::{PATIENCE, proc, wait_until};

const PEERS: usize = 1_000;
/// Every tenth is a builder, which cannot be reached.
const BUILDERS: usize = PEERS / 10;
/// So often is there news of the bus.
const NEWS: usize = 10;
/// In KiB; a debug build takes no more.
const MOST: u64 = 40 << 10;

fn large() -> Vec<u8> {
    let recorded = include_str!("data/tailscale/status-1.102.3.json");
    let mut status: Value = serde_json::from_str(recorded).expect("JSON");
    let peers = status["Peer"].as_object().expect("peers");
    let one = peers.values().find(|peer| peer["sshHostKeys"].is_array()).expect("a builder").clone();
    let peer = |n: usize| {
        let mut peer = one.clone();
        peer["HostName"] = json!(format!("builder-{n}"));
        peer["DNSName"] = json!(format!("builder-{n}.t.test."));
        peer["TailscaleIPs"] = json!([format!("100.64.{}.{}", n / 250, n % 250 + 1)]);
        peer["Tags"] = json!([if n.is_multiple_of(10) { "tag:nix-builder" } else { "tag:other" }]);
        (format!("nodekey:{n}"), peer)
    };
    status["Peer"] = (0..PEERS).map(peer).collect::<serde_json::Map<_, _>>().into();
    status.to_string().into_bytes()
}

/// tailscaled's socket: a status for whoever asks, and a bus that says something now and then. How often it was asked.
fn tailscaled(socket: &Path) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(socket).expect("a socket");
    let (status, asked) = (Arc::new(large()), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&asked);
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let (status, counter) = (Arc::clone(&status), Arc::clone(&counter));
            thread::spawn(move || answer(client, &status, &counter));
        }
    });
    asked
}

/// It ends with the client.
fn answer(mut client: UnixStream, status: &[u8], asked: &AtomicUsize) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    client.write_all(b"HTTP/1.0 200 OK\r\n\r\n").ok()?;
    if !head.windows(13).any(|words| words == b"watch-ipn-bus") {
        client.write_all(status).ok()?;
        asked.fetch_add(1, Ordering::Relaxed);
        return Some(());
    }
    // The first line has the status, and later ones may be as long.
    let line = [br#"{"InitialStatus":"#, status, b"}\n"].concat();
    loop {
        client.write_all(&line).ok()?;
        thread::sleep(std::time::Duration::from_millis(300));
    }
}

struct Coordinator(Child);

impl Coordinator {
    /// In `dir`, where there is a configuration, and an `ssh` that reaches nobody.
    fn start(dir: &Path) -> Self {
        let log = fs::File::create(dir.join("log")).expect("room");
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.env_clear().env("HOME", dir).env("PATH", dir.join("bin")).current_dir(dir);
        command.args([
            "coordinator",
            "--config",
            "muster.toml",
            "--runtime-dir",
            "run",
            "--state-dir",
            "state",
        ]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        Self(command.spawn().expect("the coordinator starts"))
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a process id")
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_tailnet_of_a_thousand_fits_into_little_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("bin")).expect("room");
    fs::write(path("bin/ssh"), "#!/bin/sh\nexit 255\n").expect("room");
    fs::set_permissions(path("bin/ssh"), fs::Permissions::from_mode(0o755)).expect("ours");
    let source = format!(
        "[[source]]\ntailscale = {{ tag = \"tag:nix-builder\", socket = {:?} }}\n",
        path("tailscaled.sock")
    );
    fs::write(path("muster.toml"), source).expect("room");
    let asked = tailscaled(&path("tailscaled.sock"));

    let coordinator = Coordinator::start(dir.path());
    let log = || fs::read_to_string(path("log")).unwrap_or_default();
    wait_until("all builders are found", PATIENCE, || log().matches(" found ").count() == BUILDERS);
    wait_until("there was much news", PATIENCE, || asked.load(Ordering::Relaxed) >= NEWS);
    let (now, most) = proc::memory(coordinator.pid());
    println!(
        "a coordinator in a tailnet of {PEERS}, {BUILDERS} of them builders: {now} KiB, {most} KiB at most"
    );
    assert!(most < MOST, "{most} KiB");
}
