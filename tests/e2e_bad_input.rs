//! Peers that do not keep to the protocol. A build runs meanwhile and must not notice.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use muster::domain::{PathInfo, Sha256, StoreDir, StorePath};
use muster::nix::handshake::Version;
use muster::nix::ops::Request;
use muster::nix::wire::Dialect;
use muster::wire::link::Unit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::stage::MUSTER;
use support::talk::{ERROR, HELLO, LAST, MAGIC, Talk, VERSION, text, words};
use support::{Drv, PATIENCE, Stage, proc, wait_for, wait_until};

/// More than a coordinator with two builders and a few builds ever needs.
const ENOUGH_KIB: u64 = 64 << 10;

/// A build that began before and ends after whatever `attack` does.
fn nobody_else_notices(attack: impl FnOnce(&Stage)) {
    let Some(stage) = Stage::of(2, 1) else { return };
    let mut client = stage.build(&[Drv::new("bystander", "echo seen; sleep 1.5; echo well > $out")]);
    client.prints("seen");
    attack(&stage);
    stage.build(&[Drv::new("another", "echo > $out")]).wait().succeeds();
    let outcome = client.wait().succeeds();
    assert!(outcome.lines_with(&["muster:"]).is_empty(), "{}", outcome.terminal);
    assert_eq!(stage.faults.builds_of("bystander").len(), 1);
    let (_, most) = proc::memory(stage.coordinator_pid());
    assert!(most < ENOUGH_KIB, "the coordinator needed {most} KiB");
}

fn open(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Sends bytes and reads until the coordinator closes.
fn is_closed_after(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = open(socket);
    // It may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("it keeps a peer that sent {bytes:?}")
        }
        _ => answer,
    }
}

/// A unit of the connect protocol.
fn unit(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).expect("small").to_le_bytes();
    [&length[..], &[kind], payload].concat()
}

fn hello() -> Vec<u8> {
    let hello = muster::wire::link::Hello {
        version: muster::wire::link::VERSION,
        oldest: muster::wire::link::OLDEST,
        line: None,
        protocol_minor: 35,
        build_hook: false,
        processes: Default::default(),
        user: None,
    };
    Unit::Hello(hello).encode()
}

#[test]
fn bytes_that_are_no_unit_end_the_connection_only() {
    nobody_else_notices(|stage| {
        let socket = stage.endpoint();
        let random: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &random, &[0; 64], &[0xff; 64]] {
            is_closed_after(&socket, bytes);
            is_closed_after(&socket, &[hello(), bytes.to_vec()].concat());
        }
        // A unit of each kind with nothing in it, and with nonsense, where a request is due.
        for kind in 0..=12 {
            is_closed_after(&socket, &[hello(), unit(kind, b""), unit(kind, b"\xff\xff\xff\xff{")].concat());
        }
    });
}

#[test]
fn requests_that_are_cut_off_or_claim_huge_lengths_end_the_connection_only() {
    nobody_else_notices(|stage| {
        let socket = stage.endpoint();
        is_closed_after(&socket, &[hello(), u32::MAX.to_le_bytes().to_vec(), vec![4]].concat());
        let huge = u64::MAX.to_le_bytes();
        for op in [1_u64, 7, 19, 26, 31, 36, 38, 39, 44] {
            let request = Unit::Request([op.to_le_bytes(), huge].concat()).encode();
            is_closed_after(&socket, &[hello(), request].concat());
        }
        let whole = Unit::Request(vec![0; 1000]).encode();
        // Something else in the middle of an upload.
        for other in [hello(), whole.clone(), unit(9, b"")] {
            is_closed_after(
                &socket,
                &[hello(), upload(), Unit::Data(vec![0; 1000]).encode(), other].concat(),
            );
        }
        for length in [1, 4, 5, 500, 1004] {
            let mut stream = open(&socket);
            stream.write_all(&[hello(), whole[..length].to_vec()].concat()).expect("sent");
            stream.shutdown(Shutdown::Write).expect("open");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
}

#[test]
fn a_thousand_idle_connections_are_nobody_s_trouble() {
    nobody_else_notices(|stage| {
        let most = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("ours");
        // Some say nothing at all, some a part of something, and most are greeted.
        let said = [Vec::new(), vec![9], [hello(), vec![200, 0, 0, 0, 4, 1]].concat(), hello()];
        let endpoint: Vec<UnixStream> = (0..1000)
            .map(|n: usize| {
                let mut stream = open(&stage.endpoint());
                stream.write_all(&said[(n / 100).min(3)]).expect("sent");
                stream
            })
            .collect();
        endpoint
            .iter()
            .skip(300)
            .for_each(|mut stream| assert!(stream.read(&mut [0; 100]).expect("a welcome") > 0));
        let control: Vec<UnixStream> = (0..100).map(|_| open(&stage.path("run/control.sock"))).collect();
        stage.build(&[Drv::new("meanwhile", "echo > $out")]).wait().succeeds();
        drop((endpoint, control));
    });
}

/// A path that is nobody's, to be added to the store; its NAR should follow.
fn upload() -> Vec<u8> {
    let path = format!("{}-stray", "0".repeat(32));
    let info = PathInfo {
        path: StorePath::from_base_name(&path).expect("a path"),
        deriver: None,
        nar_hash: Sha256([0; 32]),
        references: [].into(),
        registration_time: 0,
        nar_size: 5_000_000,
        ultimate: false,
        signatures: Vec::new(),
        ca: None,
    };
    request(&Request::AddToStoreNar { info, repair: false, dont_check_sigs: true })
}

fn request(request: &Request) -> Vec<u8> {
    let dialect = Dialect { dir: StoreDir::default(), version: Version::OURS };
    Unit::Request(request.encode(&dialect)).encode()
}

/// Asks for the NAR of a large path in the client's store.
fn ask_for_nar(stage: &Stage) -> UnixStream {
    let path = stage.output("client", "large").expect("built before");
    let path = StorePath::from_base_name(path.file_name().and_then(|name| name.to_str()).expect("text"));
    let mut stream = open(&stage.endpoint());
    let asked = request(&Request::NarFromPath { path: path.expect("a path") });
    stream.write_all(&[hello(), asked].concat()).expect("sent");
    stream
}

#[test]
fn clients_that_leave_in_the_middle_of_an_upload_or_a_nar_leave_nothing_behind() {
    nobody_else_notices(|stage| {
        stage.build(&[Drv::new("large", "head -c 20000000 /dev/zero > $out")]).wait().succeeds();
        let come_and_leave = || {
            ask_for_nar(stage).read_exact(&mut [0; 300_000]).expect("a part of it");
            let begun = [hello(), upload(), Unit::Data(vec![0; 100_000]).encode()].concat();
            open(&stage.endpoint()).write_all(&begun).expect("sent");
        };
        come_and_leave();
        let before = open_files(stage);
        (0..12).for_each(|_| come_and_leave());
        // The pool may keep another channel or two to the local daemon.
        wait_until("their descriptors are closed", PATIENCE, || open_files(stage) <= before + 12);
        let daemons = || proc::marked(&format!("--store {}", stage.client_store())).len();
        wait_until("their daemons are gone", PATIENCE, || daemons() <= 10);
        let spool = fs::read_dir(stage.path("state/spool")).expect("a directory");
        assert_eq!(spool.count(), 0);
    });
}

#[test]
fn clients_that_never_read_hold_up_nobody_and_cost_little_memory() {
    nobody_else_notices(|stage| {
        stage.build(&[Drv::new("large", "head -c 20000000 /dev/zero > $out")]).wait().succeeds();
        let deaf: Vec<_> = (0..8).map(|_| ask_for_nar(stage)).collect();
        let mut flooding = open(&stage.endpoint());
        flooding.set_nonblocking(true).expect("ours");
        let question = request(&Request::QueryAllValidPaths {});
        let _ = flooding.write_all(&[hello(), question.repeat(100_000)].concat());
        stage.build(&[Drv::new("meanwhile", "echo > $out")]).wait().succeeds();
        drop((deaf, flooding));
    });
}

#[test]
fn large_units_that_never_end_are_not_kept_in_memory() {
    nobody_else_notices(|stage| {
        let mut stream = open(&stage.endpoint());
        stream.write_all(&hello()).expect("sent");
        // As long as a unit may be, a few times side by side: what has come is kept, what is claimed is not.
        let header = [(60_u32 << 20).to_le_bytes().to_vec(), vec![4]].concat();
        let many: Vec<UnixStream> = (0..20)
            .map(|_| {
                let mut stream = open(&stage.endpoint());
                stream.write_all(&[hello(), header.clone(), vec![0; 1000]].concat()).expect("sent");
                stream
            })
            .collect();
        std::thread::sleep(Duration::from_millis(200));
        drop(many);
    });
}

#[test]
fn nonsense_on_the_control_socket_is_answered_or_closed() {
    nobody_else_notices(|stage| {
        let socket = stage.path("run/control.sock");
        let hello = muster::wire::control::encode_hello();
        for bytes in [&b"\0\0\0\0\n"[..], b"{}\n", b"{\"muster\":\"control\",\"version\":0}\n"] {
            is_closed_after(&socket, bytes);
        }
        let mut stream = open(&socket);
        stream.write_all(&[&hello[..], b"{\"request\":\"dance\"}\n"].concat()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("open");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        assert!(answer.contains("dance"), "{answer}");
        is_closed_after(&socket, &[hello, vec![b'x'; 1 << 20]].concat());
    });
}

/// What stock Nix would be told by its line's program, were it to speak like that.
fn connect_with(stage: &Stage, bytes: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    connect_by(stage.command(MUSTER), stage, bytes)
}

fn connect_by(mut command: Command, stage: &Stage, bytes: &[u8]) -> (Option<i32>, Vec<u8>, String) {
    command.args(["connect", "--stdio", "--socket"]).arg(stage.endpoint());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It may end before it has read everything.
    let _ = stdin.write_all(bytes);
    let ended = wait_for("connect ends by itself", PATIENCE, || child.try_wait().expect("our child"));
    drop(stdin);
    let output = child.wait_with_output().expect("it has ended");
    (ended.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_client_of_connect_that_talks_nonsense_is_told_so() {
    nobody_else_notices(|stage| {
        let (code, _, said) = connect_with(stage, b"SSH-2.0-OpenSSH_9.9\r\n");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("client"), "{said}");
        let (code, _, said) = connect_with(stage, &words(&[MAGIC, 1 << 8 | 10, 0, 0]));
        assert_eq!(code, Some(1), "{said}");
        // Operation 31 with a list that is longer than all the memory of the world.
        let (code, _, said) = connect_with(stage, &words(&[MAGIC, VERSION, 0, 0, 31, u64::MAX]));
        assert_eq!(code, Some(1), "{said}");
        // An operation that nobody knows: the local daemon says so.
        let (_, answer, said) = connect_with(stage, &words(&[MAGIC, VERSION, 0, 0, 4711]));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("invalid operation") && answer.contains("4711"), "{answer} {said}");
    });
}

/// Unknown here, known to daemons before 2.34 or since 2.21.
const QUERY_REFERENCES: u64 = 5;
const ADD_PERM_ROOT: u64 = 47;
const BUILD_PATHS: u64 = 9;

#[test]
fn an_unknown_operation_is_passed_to_the_local_daemon_and_a_build_after_it_is_not() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let drv = Drv::new("stray", "echo > $out").expression(&stage.mark());
    let mut instantiate = stage.command("nix-instantiate");
    instantiate.args(["--store", &stage.client_store(), "-E", &drv]);
    let path = stage.run(instantiate).succeeds().terminal;
    let path = path.lines().find(|line| line.ends_with(".drv")).expect("a derivation");

    let (link, mut client) = (stage.path("link").display().to_string(), Talk::with(&stage));
    let told = client.asks(&[words(&[QUERY_REFERENCES]), text(path)].concat());
    if told == ERROR {
        client = Talk::with(&stage);
        assert_eq!(client.asks(&[words(&[ADD_PERM_ROOT]), text(path), text(&link)].concat()), LAST);
        assert_eq!(client.reads(text(&link).len()), text(&link));
        assert_eq!(fs::read_link(&link).expect("the daemon made it"), Path::new(path));
    } else {
        assert_eq!(client.word(), 0, "no references");
    }
    assert_eq!(
        client.asks(&[words(&[BUILD_PATHS, 1]), text(&format!("{path}!out")), words(&[0])].concat()),
        ERROR
    );
    let answer = client.ends();
    assert!(answer.contains("does not serve BuildPaths"), "{answer}");
    assert_eq!(stage.output("client", "stray"), None);
}

/// Stock Nix applies its own rules to builders that do not trust it, and hears of them before one is chosen.
#[test]
fn a_line_says_in_its_handshake_whether_its_builders_trust_us() {
    let Some(stage) = Stage::of(1, 1) else { return };
    let socket = stage.endpoint().display().to_string();
    for (line, trust) in [("x86_64-linux-0", 1), ("x86_64-linux-0-untrusted", 2)] {
        let mut command = stage.command(MUSTER);
        command.args(["--stdio", "--store", &format!("{line}@{socket}")]);
        let mut client = Talk::by(command);
        client.says(&words(&HELLO));
        let [_magic, version] = [client.word(), client.word()];
        if version < VERSION {
            println!("skipped: this Nix's protocol does not say it");
            return;
        }
        assert_eq!(client.end(), [trust, LAST], "{line}");
    }
}

#[test]
fn a_user_who_may_not_use_the_endpoint_is_told_who_may() {
    nobody_else_notices(|stage| {
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: takes root to become somebody else");
        }
        for dir in [stage.path("."), stage.path("run")] {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("ours");
        }
        let mut command = stage.command(MUSTER);
        command.uid(1000).gid(1000);
        // A good request, and a bad one that ends the connection.
        let requests = words(&[MAGIC, VERSION, 0, 0, 31, 0, 0, 31, u64::MAX]);
        let (_, answer, said) = connect_by(command, stage, &requests);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("only root and the coordinator's own user"), "{answer} {said}");
    });
}

/// Connects `count` times as a user who is nobody special, sends `bytes` each time, and stays until it is killed.
fn crowd(stage: &Stage, socket: &Path, count: u32, bytes: u32) -> Option<support::Client> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: takes root to become somebody else");
        return None;
    }
    for dir in [stage.path("."), stage.path("run")] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let script = "\
import socket, sys, time
path, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
header = (size + 1).to_bytes(4, 'little') + b'\\4'
held = []
for _ in range(count):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect(path)
    held[-1].settimeout(2)
    try:
        held[-1].sendall((header + bytes(size)) if size else b'')
    except OSError:
        pass
print('all here', flush=True)
time.sleep(1000)
";
    let mut command = stage.command("python3");
    command.arg("-c").arg(script).arg(socket).args([count.to_string(), bytes.to_string()]);
    command.uid(1000).gid(1000);
    let mut crowd = support::Client::start(command, stage.path("crowd.log"));
    crowd.prints("all here");
    Some(crowd)
}

fn open_files(stage: &Stage) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", stage.coordinator_pid())).expect("it lives").count()
}

#[test]
fn a_crowd_at_the_control_socket_keeps_nobody_else_out() {
    nobody_else_notices(|stage| {
        let Some(_crowd) = crowd(stage, &stage.path("run/control.sock"), 300, 0) else { return };
        stage.status();
        assert!(open_files(stage) < 100, "it holds {} files", open_files(stage));
        assert!(stage.coordinator_log().contains("too many connections"));
    });
}

#[test]
fn who_may_not_use_the_endpoint_cannot_fill_its_memory() {
    let config = "[endpoint]\nlocal = \"never\"\nallow = [\"12345\"]\n";
    let Some(mut stage) = Stage::without_coordinator(&[support::Builder::new("b1", 1)], config) else {
        return;
    };
    stage.start_coordinator();
    let Some(_crowd) = crowd(&stage, &stage.endpoint(), 3, 60 << 20) else { return };
    let (_, most) = proc::memory(stage.coordinator_pid());
    assert!(most < ENOUGH_KIB, "the coordinator needed {most} KiB");
    stage.build(&[Drv::new("after", "echo > $out")]).wait().succeeds();
}

#[test]
fn nonsense_is_logged_with_whose_it_is() {
    let Some(stage) = Stage::of(1, 1) else { return };
    is_closed_after(&stage.endpoint(), b"GET / HTTP/1.1\r\n\r\n");
    is_closed_after(&stage.path("run/control.sock"), b"GET / HTTP/1.1\r\n\r\n");
    let (uid, pid) = (rustix::process::geteuid().as_raw(), std::process::id());
    let blamed = |log: &str| {
        let lines = log
            .lines()
            .filter(|line| line.contains("WARN") && line.contains("does not keep to the protocol"));
        lines.filter(|line| line.contains(&format!("uid={uid} pid={pid}"))).count()
    };
    wait_for("both are logged", PATIENCE, || (blamed(&stage.coordinator_log()) == 2).then_some(()));
    (0..50).for_each(|_| drop(is_closed_after(&stage.endpoint(), b"GET / HTTP/1.1\r\n\r\n")));
    assert!(
        (3..20).contains(&blamed(&stage.coordinator_log())),
        "{} complaints",
        blamed(&stage.coordinator_log())
    );
}

#[test]
fn it_may_open_as_many_files_as_the_system_allows() {
    let Some(stage) = Stage::without_coordinator(&[support::Builder::new("b1", 1)], "") else { return };
    let coordinator = stage.muster(&["coordinator"]);
    let mut command = stage.command("sh");
    command.args(["-c", "ulimit -Sn 64; exec \"$@\"", "sh"]).arg(coordinator.get_program());
    command.args(coordinator.get_args());
    let mut coordinator = support::Client::start(command, stage.path("limited.log"));
    coordinator.prints("ready");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", coordinator.pid())).expect("it lives");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("Linux says so");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
}

#[test]
fn an_output_above_the_configured_limit_fails_once_and_names_the_limit() {
    let builders = [support::Builder::new("b1", 1), support::Builder::new("b2", 1)];
    let Some(mut stage) = Stage::without_coordinator(&builders, "[limits]\nmax_nar = 100000\n") else {
        return;
    };
    stage.start_coordinator();
    let failed = stage.build(&[Drv::new("large", "head -c 200000 /dev/zero > $out")]).wait();
    assert_ne!(failed.code, Some(0), "{}", failed.terminal);
    failed.says_once(&["-large' has ", "limits.max_nar", "allows 100000"]);
    assert_eq!(stage.faults.builds_of("large").len(), 1);
}
