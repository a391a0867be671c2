//! `muster builder serve`, the forced command: what docs/builders.md says that a key may do, and nothing else.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

const MUSTER: &str = env!("CARGO_BIN_EXE_muster");
/// A program of Nix's that says how it was called, and what comes.
const STAND_IN: &str = "#!/bin/sh\necho \"$(basename \"$0\")\" \"[$*]\"; cat\n";

/// A directory with stand-ins for Nix's programs.
fn stage() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["nix-daemon", "nix-store"] {
        let file = dir.path().join(name);
        fs::write(&file, STAND_IN).expect("room");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    dir
}

/// What a login with this command gets on both streams, and its exit code, when it sends this.
fn login(dir: &Path, command: Option<&str>, sends: &[u8]) -> (String, Option<i32>) {
    let mut serve = Command::new(MUSTER);
    serve.env_clear().env("PATH", format!("{}:/usr/bin:/bin", dir.display())).current_dir(dir);
    serve.env("MUSTER_AGENT_SOCKET", dir.join("agent.sock"));
    serve.env("NIX_DAEMON_SOCKET_PATH", dir.join("daemon.sock"));
    serve.env("SSH_CONNECTION", "192.0.2.7 4000 192.0.2.1 22");
    if let Some(command) = command {
        serve.env("SSH_ORIGINAL_COMMAND", command);
    }
    serve.args(["builder", "serve"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = serve.spawn().expect("it starts");
    let _ = child.stdin.take().expect("piped").write_all(sends);
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

#[test]
fn stock_nix_gets_its_two_programs_and_the_daemon_gives_nothing_on() {
    let dir = stage();
    let check = |command: &str, expected: &str| {
        let (said, code) = login(dir.path(), Some(command), b"bytes");
        assert_eq!((said.as_str(), code), (format!("{expected}\nbytes").as_str(), Some(0)), "{command}");
    };
    check("nix-store --serve --write", "nix-store [--serve --write]");
    check("nix-daemon --stdio", "nix-daemon [--stdio --option builders ]");
    check(
        "nix-daemon --stdio --option builders '' --cores 4",
        "nix-daemon [--stdio --option builders  --cores 4]",
    );
    // Where the caller says that it is does not count.
    check("/tmp/evil/nix-daemon --stdio", "nix-daemon [--stdio --option builders ]");
}

#[test]
fn whatever_else_is_asked_for_is_refused_by_name() {
    let dir = stage();
    for command in [
        "id",
        "/bin/sh -c id",
        "nix-daemon --stdio; id",
        "scp -t /tmp",
        "internal-sftp",
        "nix-store -q x",
        "muster key",
    ] {
        let (said, code) = login(dir.path(), Some(command), b"");
        let expected = format!("this key is for builds only: {command:?} is not among what it may run");
        assert!(code == Some(126) && said.contains(&expected) && !said.contains("uid="), "{command}: {said}");
    }
    let (said, code) = login(dir.path(), None, b"id\n");
    assert!(code == Some(126) && said.contains("it opens no shell") && !said.contains("uid="), "{said}");
}

#[test]
fn a_probe_runs_our_own_script_whatever_was_sent() {
    let dir = stage();
    let (said, code) = login(dir.path(), Some("/bin/sh -s"), b"mark=muster0123456789\nid\ntouch evil\n");
    assert!(code == Some(0) && said.contains("muster0123456789") && !said.contains("uid="), "{said}");
    assert!(said.contains(MUSTER), "it says that this machine serves: {said}");
    let (said, code) = login(dir.path(), Some("/bin/sh -s"), b"touch evil\n");
    assert!(code == Some(126) && said.contains("is no probe of muster's"), "{said}");
    assert!(!dir.path().join("evil").exists());
}

#[test]
fn a_pump_leads_to_the_daemons_socket() {
    let dir = stage();
    let daemon = UnixListener::bind(dir.path().join("daemon.sock")).expect("a socket");
    let answers = std::thread::spawn(move || {
        let (mut client, _) = daemon.accept().expect("a client");
        let mut heard = [0; 5];
        client.read_exact(&mut heard).expect("it says something");
        client.write_all(b"good").expect("it listens");
        heard
    });
    assert_eq!(pump(dir.path()), "good");
    assert_eq!(answers.join().expect("it answers"), *b"hello");
    fs::remove_file(dir.path().join("daemon.sock")).expect("it was there");
    let (said, code) = login(dir.path(), Some("muster builder pump"), b"hello");
    assert!(code == Some(1) && said.contains("no nix-daemon answers at"), "{said}");
}

/// A caller that waits for the answer before it ends: a pump ends with either end.
fn pump(dir: &Path) -> String {
    let mut serve = Command::new(MUSTER);
    serve.env_clear().env("SSH_ORIGINAL_COMMAND", "muster builder pump");
    serve.env("NIX_DAEMON_SOCKET_PATH", dir.join("daemon.sock")).args(["builder", "serve"]);
    let mut child = serve.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut to = child.stdin.take().expect("piped");
    to.write_all(b"hello").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    drop(to);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_session_leads_to_the_agent_and_says_where_the_login_comes_from() {
    let dir = stage();
    let agent = UnixListener::bind(dir.path().join("agent.sock")).expect("a socket");
    let answers = std::thread::spawn(move || {
        let (mut client, _) = agent.accept().expect("a client");
        let mut heard = String::new();
        client.read_to_string(&mut heard).expect("it ends");
        client.write_all(b"good").expect("it listens");
        heard
    });
    let (said, code) = login(dir.path(), Some("muster builder session"), b"hello");
    assert_eq!((said.as_str(), code), ("good", Some(0)));
    let heard = answers.join().expect("it answers");
    assert_eq!(heard, "{\"muster\":\"origin\",\"from\":\"192.0.2.7\"}\nhello");
}
