//! Records sessions with the Nix that is installed. `checks/record-protocol` runs it in each root file system; the
//! golden tests read what it writes.

mod protocol;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use protocol::{Session, sessions, speak};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::Command;

/// A stream, and all that passed through it.
struct Tee<T> {
    stream: T,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl<T> Tee<T> {
    fn new(stream: T) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let seen = Arc::default();
        (Self { stream, seen: Arc::clone(&seen) }, seen)
    }

    fn note(&self, bytes: &[u8]) {
        self.seen.lock().expect("nobody panics").extend_from_slice(bytes);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tee<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, to);
        self.note(&to.filled()[before..]);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tee<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = polled {
            self.note(&bytes[..n]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// In the recorder's scratch space.
const STORE: &str = "/srv/recorded";

/// Where to; nothing is recorded without it.
fn destination() -> Option<PathBuf> {
    env::var_os("MUSTER_RECORD").map(PathBuf::from)
}

#[tokio::test]
async fn our_client_and_a_real_daemon() {
    let Some(to) = destination() else { return eprintln!("skipped: MUSTER_RECORD is not set") };
    let mut transcript = String::new();
    for session in sessions() {
        transcript += &format!("{}\n", session.name);
        for outcome in record(&session, Path::new(STORE), &to).await {
            transcript += &format!("    {outcome}\n");
        }
    }
    fs::write(to.join("transcript"), transcript).expect("written");
}

async fn record(session: &Session, store: &Path, to: &Path) -> Vec<String> {
    let mut daemon = Command::new("nix-daemon")
        .args(["--stdio", "--store", &format!("local?root={}", store.display())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a daemon");
    let (reader, received) = Tee::new(daemon.stdout.take().expect("its output"));
    let (writer, sent) = Tee::new(daemon.stdin.take().expect("its input"));
    let (outcomes, _) = speak(reader, writer, session).await.expect("a handshake");
    for (side, bytes) in [("client", sent), ("server", received)] {
        let bytes = bytes.lock().expect("nobody panics").clone();
        fs::write(to.join(format!("{}.{side}.bin", session.name)), bytes).expect("written");
    }
    daemon.wait().await.expect("it ends");
    outcomes
}

/// A line whose program is a daemon with a tee on each side. Both ends are told that the other speaks 1.35 or what
/// the daemon speaks, whichever is older: that is how muster's endpoint is spoken to.
const RECORDER: &str = r#"#!/bin/bash
bytes() { dd bs=1 count=8 status=none; }
speak_down() { bytes; bytes >/dev/null; printf '\MINOR\1\0\0\0\0\0\0'; exec cat; }
# The hook may be killed as soon as it has what it wants.
trap '' TERM INT HUP
n=0
until mkdir "$MUSTER_RECORD/hook$n.lock" 2>/dev/null; do n=$((n + 1)); done
setsid tee "$MUSTER_RECORD/hook$n.client.bin" | speak_down |
    setsid nix-daemon --stdio --store "local?root=STORE" 2>/dev/null |
    speak_down | setsid tee "$MUSTER_RECORD/hook$n.server.bin"
"#;

const GRAPH: &str = r#"let
  base = { system = "x86_64-linux"; builder = "/bin/sh"; };
  one = derivation (base // { name = "one"; args = [ "-c" "echo building one; echo ${./source} > $out" ]; });
in derivation (base // { name = "two"; args = [ "-c" "echo building two; echo ${one} > $out" ]; })
"#;

#[tokio::test]
async fn stocks_hook_and_a_real_daemon() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(to) = destination() else { return eprintln!("skipped: MUSTER_RECORD is not set") };
    let folder = tempfile::tempdir().expect("a folder");
    let within = |name: &str| folder.path().join(name);
    let recorder = within("recorder");
    let minor = if to.ends_with("2.8.0") { "42" } else { "43" };
    let script = RECORDER.replace("STORE", &within("store").display().to_string()).replace("MINOR", minor);
    fs::write(&recorder, script).expect("a script");
    fs::set_permissions(&recorder, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::write(within("source"), "a source\n").expect("a file");
    fs::write(within("graph.nix"), GRAPH).expect("a file");
    let builders = format!("ssh-ng://localhost?remote-program={} x86_64-linux", recorder.display());
    let built = Command::new("nix-build")
        .args(["-j0", "--no-out-link", "--builders", &builders])
        .arg(within("graph.nix"))
        .env("MUSTER_RECORD", &to)
        .status();
    assert!(built.await.expect("nix-build runs").success());
    for n in 0.. {
        if fs::remove_dir(to.join(format!("hook{n}.lock"))).is_err() {
            break;
        }
    }
}
