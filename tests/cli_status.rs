//! `muster status`, seen from a shell.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use assert_cmd::Command;
use muster::policy::Snapshot;
use muster::policy::snapshot::Totals;
use muster::wire::control::{Reply, encode_hello};

/// What a status command prints on both streams, and its exit code, where the control socket is in `dir`.
fn status(dir: &Path, flags: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::cargo_bin("muster")
        .expect("the program is built")
        .env_clear()
        .args(["status", "--config", "/dev/null", "--state-dir", "/nonexistent", "--runtime-dir"])
        .arg(dir)
        .args(flags)
        .output()
        .expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// A coordinator that says these bytes to whoever comes, once.
fn coordinator(dir: &Path, says: Vec<u8>) {
    let listener = UnixListener::bind(dir.join("control.sock")).expect("a socket");
    thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        client.write_all(&says).expect("it listens");
        client.shutdown(std::net::Shutdown::Write).expect("it is there");
        let _ = client.read_to_end(&mut Vec::new());
    });
}

fn snapshot() -> Snapshot {
    Snapshot {
        schema: 1,
        builders: vec![],
        builds: vec![],
        totals: Totals::default(),
        absent: vec![],
        passed_over: [].into(),
    }
}

#[test]
fn without_a_coordinator_it_says_so_and_exits_4() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("control.sock");
    let expected = format!(
        "muster: cannot reach the coordinator at {}: No such file or directory (os error 2); \
         is `muster coordinator` running?\n",
        socket.display()
    );
    assert_eq!(status(dir.path(), &[]), (String::new(), expected, Some(4)));
}

#[test]
fn a_table_for_people_and_json_for_programs() {
    let says = || [encode_hello(), Reply::Status { status: snapshot() }.encode()].concat();
    let dir = tempfile::tempdir().expect("a directory");
    coordinator(dir.path(), says());
    let (stdout, stderr, code) = status(dir.path(), &[]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    assert!(stdout.starts_with("No builder is known."), "{stdout}");

    let dir = tempfile::tempdir().expect("a directory");
    coordinator(dir.path(), says());
    let (stdout, stderr, code) = status(dir.path(), &["--json"]);
    assert_eq!((stderr.as_str(), code), ("", Some(0)));
    assert_eq!(serde_json::from_str::<Snapshot>(&stdout).expect("json"), snapshot());
}

#[test]
fn whatever_else_sits_on_the_socket_is_no_coordinator() {
    let check = |says: Vec<u8>, expected: &str| {
        let dir = tempfile::tempdir().expect("a directory");
        coordinator(dir.path(), says);
        let (stdout, stderr, code) = status(dir.path(), &[]);
        assert_eq!((stdout.as_str(), code), ("", Some(4)), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    check(b"SSH-2.0-OpenSSH\r\n".to_vec(), "no hello of muster's control protocol: \"SSH-2.0-OpenSSH\\r\"");
    check(vec![b'x'; 5000], "a line has more than 4096 bytes");
    check(encode_hello(), "closed in the middle");
    check([encode_hello(), b"{}\n".to_vec()].concat(), "the reply is not understood");
    let refusal = Reply::Error { message: "no".to_owned() };
    check([encode_hello(), refusal.encode()].concat(), "the coordinator answered: no");
}

#[test]
fn watching_outlives_a_coordinator_and_ends_with_ctrl_c() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::io::BufRead;
    let dir = tempfile::tempdir().expect("a directory");
    let mut watch = std::process::Command::new(env!("CARGO_BIN_EXE_muster"))
        .args([
            "status",
            "--watch",
            "--interval",
            "100ms",
            "--config",
            "/dev/null",
            "--state-dir",
            "/nonexistent",
        ])
        .arg("--runtime-dir")
        .arg(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it runs");
    let mut lines = std::io::BufReader::new(watch.stdout.take().expect("piped")).lines();
    let mut see = |what: &str| assert!(lines.any(|line| line.expect("text").contains(what)), "{what}");
    see("waiting for the coordinator at ");
    coordinator(dir.path(), [encode_hello(), Reply::Status { status: snapshot() }.encode()].concat());
    see("No builder is known.");
    see("waiting for the coordinator at ");
    let pid = Pid::from_raw(i32::try_from(watch.id()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::INT).expect("it lives");
    assert_eq!(watch.wait().expect("it ends").code(), Some(130));
}
