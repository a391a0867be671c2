//! A service manager holds the endpoint's socket: it outlives the coordinator, and `connect` waits at it.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use support::{Builder, Drv, PATIENCE, Stage, proc, wait_for};

/// Runs the coordinator again each time that it ends, always with the same socket.
struct Manager(Child);

impl Manager {
    fn start(stage: &Stage, name: &str) -> Self {
        fs::create_dir_all(stage.path("run")).expect("room");
        let coordinator = stage.muster(&["coordinator"]);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/activate.py");
        let log = fs::File::create(stage.path("coordinator.log")).expect("room");
        let mut command = stage.command("python3");
        command
            .arg(script)
            .arg(name)
            .arg(stage.endpoint())
            .arg(coordinator.get_program())
            .args(coordinator.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process");
        // It may have given up.
        let _ = kill_process_group(group, Signal::KILL);
        self.0.wait().expect("our own");
    }
}

fn coordinator(stage: &Stage, other_than: i32) -> i32 {
    let pid = || fs::read_to_string(stage.path("run/coordinator.lock")).ok()?.trim().parse().ok();
    wait_for("a coordinator runs", PATIENCE, || pid().filter(|pid| *pid != other_than))
}

#[test]
fn a_socket_of_the_service_manager_s_outlives_the_coordinator() {
    let Some(stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], "") else { return };
    let _manager = Manager::start(&stage, "endpoint");
    let first = coordinator(&stage, 0);
    stage.machines_written();
    let inode = || fs::metadata(stage.endpoint()).expect("a socket").ino();
    let socket = inode();
    let mut client = stage.build(&[Drv::new("thing", "echo seen; sleep 2; echo thing > $out")]);
    client.prints("seen");
    proc::signal(first, Signal::KILL);
    client.wait().succeeds().says_once(&["lost the coordinator"]);
    assert_ne!(coordinator(&stage, first), first);
    assert_eq!(inode(), socket, "nobody replaced the socket");
    assert_eq!(stage.text("thing"), "thing\n");
}

#[test]
fn a_socket_with_another_name_is_an_error_that_names_it() {
    let Some(stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], "") else { return };
    let mut manager = Manager::start(&stage, "muster.socket");
    let ended = wait_for("it gives up", PATIENCE, || manager.0.try_wait().expect("our own"));
    assert_eq!(ended.code(), Some(2));
    let said = stage.coordinator_log();
    assert!(said.contains("'muster.socket'") && said.contains("'endpoint', 'control'"), "{said}");
    assert!(UnixStream::connect(stage.endpoint()).is_err(), "nobody replaced the socket");
}
