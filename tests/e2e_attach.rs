//! How Nix finds the builders: a section of its machines file, lines of its own for each builder, and `muster setup`.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use support::{Builder, Drv, Faults, PATIENCE, Stage, proc, wait_until};

/// Lines of somebody else, without an end of the last one.
const FOREIGN: &str = "# our own\nssh-ng://nobody.invalid riscv64-linux - 1 1 odd\n\n# last";

fn machines(stage: &Stage) -> String {
    fs::read_to_string(stage.path("nix/machines")).unwrap_or_default()
}

/// What `nix build` says where nobody tells it of any builder; with those of nix.conf.
fn build_as_configured(stage: &Stage, drv: Drv) -> support::Outcome {
    let default = format!("@{}", stage.path("nix/machines").display());
    stage.build_with(&[drv], &default, &[]).wait()
}

/// Runs `muster` to its end; what it prints, and its exit code.
fn muster(stage: &Stage, words: &[&str]) -> (String, Option<i32>) {
    let output = stage.muster(words).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

#[test]
fn once_writes_a_line_for_each_healthy_builder_and_is_gone() {
    let dead = Builder::new("dead", 1).with("[[builder]]\nuri = \"process:/srv/x?program=/nonexistent\"\n");
    let Some(stage) = Stage::without_coordinator(&[Builder::new("b1", 2), dead], "") else { return };
    let (said, code) = muster(&stage, &["coordinator", "--attach", "direct", "--once"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("/nonexistent"), "{said}");
    let lines = fs::read_to_string(stage.machines_file()).expect("written");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.lines().all(|line| said.contains(line)), "{said}");
    let client = stage.build(&[Drv::new("thing", "sleep 1; echo thing > $out")]);
    client.wait().succeeds();
    assert_eq!(stage.text("thing"), "thing\n");
    assert_eq!(stage.holders("thing").len(), 1);
}

#[test]
fn once_without_a_healthy_builder_changes_nothing_and_exits_3() {
    let config = "[[builder]]\nuri = \"process:/srv/x?program=/nonexistent\"\n";
    let Some(stage) = Stage::without_coordinator(&[], config) else { return };
    let (said, code) = muster(&stage, &["coordinator", "--attach", "direct", "--once"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(!stage.machines_file().exists(), "{said}");
}

#[test]
fn staying_direct_lines_follow_the_builders_and_foreign_lines_survive() {
    let config =
        "[endpoint]\ninstall = true\n[[source]]\nexec = [\"cat\", \"builders.json\"]\ninterval = \"200ms\"\n";
    let Some(stage) = Stage::without_coordinator(&[], config) else { return };
    fs::write(stage.path("nix/machines"), FOREIGN).expect("room");
    fs::write(stage.path("builders.json"), "").expect("room");
    let mut coordinator = Coordinator::start(&stage, &["--attach", "direct"]);
    wait_until("a line without slots is there", PATIENCE, || machines(&stage).contains(" - 0 1 "));

    let uri = format!("process:{}?program={}", stage.path("b1").display(), Faults::program().display());
    fs::write(stage.path("builders.json"), format!("{{\"uri\":\"{uri}\",\"slots\":3}}")).expect("room");
    wait_until("the builder has its line", PATIENCE, || machines(&stage).contains(" - 3 1 "));
    assert!(!machines(&stage).contains(" - 0 1 "));
    build_as_configured(&stage, Drv::new("thing", "echo > $out")).succeeds();
    assert!(stage.output("b1", "thing").is_some());

    coordinator.end(Signal::KILL);
    let text = machines(&stage);
    assert!(text.starts_with(&format!("{FOREIGN}\n# BEGIN muster")) && text.contains(" - 3 1 "), "{text}");
    build_as_configured(&stage, Drv::new("later", "echo > $out")).succeeds();

    let mut coordinator = Coordinator::start(&stage, &["--attach", "direct"]);
    wait_until("it is there again", PATIENCE, || stage.try_status().is_some());
    coordinator.end(Signal::TERM);
    assert!(machines(&stage).starts_with(FOREIGN));
    let (said, code) = muster(&stage, &["setup", "--undo"]);
    assert_eq!((code, machines(&stage).as_str()), (Some(0), FOREIGN), "{said}");
}

#[test]
fn without_the_setup_root_s_coordinator_keeps_its_lines_in_nix_s_own_file() {
    let config = "[endpoint]\ninstall = true\nlocal = \"never\"\n";
    let Some(stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], config) else { return };
    fs::write(stage.path("nix/machines"), FOREIGN).expect("room");
    let mut coordinator = Coordinator::start(&stage, &[]);
    wait_until("the section is there", PATIENCE, || machines(&stage).contains("big-parallel"));
    build_as_configured(&stage, Drv::new("thing", "echo > $out")).succeeds();
    assert!(stage.output("b1", "thing").is_some());
    coordinator.end(Signal::KILL);
    assert!(machines(&stage).starts_with(FOREIGN) && machines(&stage).contains("# END muster"));
}

#[test]
fn where_the_machines_file_is_a_link_into_the_store_the_option_is_named() {
    let config = "[endpoint]\ninstall = true\n";
    let Some(stage) = Stage::without_coordinator(&[Builder::new("b1", 1)], config) else { return };
    std::os::unix::fs::symlink("/nix/store/none-machines", stage.path("nix/machines")).expect("room");
    let mut coordinator = Coordinator::start(&stage, &[]);
    wait_until("it is told", PATIENCE, || coordinator.log(&stage).contains("nix.settings.builders = "));
    stage.build(&[Drv::new("thing", "echo > $out")]).wait().succeeds();
    coordinator.end(Signal::TERM);

    fs::remove_file(stage.path("nix/nix.conf")).expect("ours");
    std::os::unix::fs::symlink("/nix/store/none-nix.conf", stage.path("nix/nix.conf")).expect("room");
    let (said, code) = muster(&stage, &["setup"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is a link into the store") && said.contains("nix.settings.builders"), "{said}");
}

/// A coordinator with words of its own.
struct Coordinator(Child);

impl Coordinator {
    fn start(stage: &Stage, words: &[&str]) -> Self {
        let log = fs::File::options().append(true).create(true).open(stage.path("coordinator.log"));
        let mut command = stage.muster(&[&["coordinator"], words].concat());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("room"));
        Self(command.spawn().expect("it starts"))
    }

    fn log(&self, stage: &Stage) -> String {
        stage.coordinator_log()
    }

    fn end(&mut self, signal: Signal) {
        proc::signal(i32::try_from(self.0.id()).expect("a process id"), signal);
        self.0.wait().expect("our child");
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nix's daemon of a root file system.
struct NixDaemon(Child);

impl NixDaemon {
    fn start() -> Self {
        const SOCKET: &str = "/nix/var/nix/daemon-socket/socket";
        let _ = fs::remove_file(SOCKET);
        let child = Command::new("nix-daemon").stdin(Stdio::null()).spawn().expect("it is installed");
        wait_until("Nix's daemon listens", PATIENCE, || Path::new(SOCKET).exists());
        Self(child)
    }

    fn restart(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        *self = Self::start();
    }
}

impl Drop for NixDaemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn system_muster(words: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(support::stage::MUSTER).args(words).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

#[test]
#[ignore = "changes /etc/nix: takes a root file system of its own"]
fn after_the_setup_an_ordinary_users_build_goes_through_the_endpoint() {
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("linux").trim(), "lab", "not in here!");
    let before = fs::read("/etc/nix/nix.conf").expect("a file");
    let mut daemon = NixDaemon::start();
    let builder = ["coordinator", "--builder", "process:/srv/b1"];
    let mut coordinator =
        Coordinator(Command::new(support::stage::MUSTER).args(builder).spawn().expect("it starts"));
    wait_until("the lines are there", PATIENCE, || {
        fs::read_to_string("/run/muster/machines").is_ok_and(|text| text.contains("big-parallel"))
    });

    let (said, code) = system_muster(&["setup"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stop the process nix-daemon and start it again"), "{said}");
    assert!(!fs::read_to_string("/etc/nix/machines").unwrap_or_default().contains("muster"));
    let (said, code) = system_muster(&["setup"]);
    assert!(code == Some(0) && said.contains("nothing to do"), "{said}");
    daemon.restart();

    let expression = Drv::new("thing", "echo thing > $out").expression("setup");
    let user = ["--reuid=client", "--regid=client", "--init-groups", "nix", "build", "--impure", "--no-link"];
    let mut build = Command::new("setpriv");
    build.args(user).args(["--expr", &expression]).env("HOME", "/home/client").env("USER", "client");
    let output = build.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = fs::read_dir("/srv/b1/nix/store").expect("the builder's store");
    assert!(
        built.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().ends_with("-thing"))
    );

    let (said, code) = system_muster(&["setup", "--undo"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read("/etc/nix/nix.conf").expect("a file"), before);
    coordinator.end(Signal::TERM);
}
