//! `muster setup`, and a coordinator without builders, seen from a shell with an /etc/nix of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A private /etc/nix, runtime and state directory.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::create_dir(machine.path("nix")).expect("room");
        for (name, text) in files {
            fs::write(machine.path("nix").join(name), text).expect("room");
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("NIX_CONF_DIR", self.path("nix")).args(words);
        command.env("HOME", self.path("home")).stdin(Stdio::null());
        command.arg("--runtime-dir").arg(self.path("run")).arg("--state-dir").arg(self.path("state"));
        command
    }

    /// What it prints on both streams, and its exit code.
    fn muster(&self, words: &[&str]) -> (String, Option<i32>) {
        let output = self.command(words).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), output.status.code())
    }

    #[track_caller]
    fn succeeds(&self, words: &[&str]) -> String {
        let (said, code) = self.muster(words);
        assert_eq!(code, Some(0), "{said}");
        said
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("nix").join(name)).ok()
    }

    fn setting(&self) -> String {
        format!("builders = @{}\n", self.path("run/machines").display())
    }
}

#[test]
fn it_is_set_up_once_and_undone_byte_for_byte() {
    for before in ["max-jobs = 2\n", "# no end of line", ""] {
        let machine = Machine::new(&[("nix.conf", before)]);
        fs::set_permissions(machine.path("nix/nix.conf"), fs::Permissions::from_mode(0o640)).expect("ours");
        let said = machine.succeeds(&["setup"]);
        assert!(said.contains(&format!("+{}", machine.setting())), "{said}");
        let after = machine.read("nix.conf").expect("there");
        assert!(after.starts_with(before) && after.contains(&machine.setting()), "{after}");
        assert!(machine.succeeds(&["setup"]).contains("nothing to do"));
        assert_eq!(machine.read("nix.conf").as_ref(), Some(&after));
        machine.succeeds(&["setup", "--undo"]);
        assert_eq!(machine.read("nix.conf").as_deref(), Some(before));
        let mode = fs::metadata(machine.path("nix/nix.conf")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(machine.succeeds(&["setup", "--undo"]).contains("nothing to undo"));
    }
}

#[test]
fn a_file_that_was_not_there_is_made_and_removed() {
    let machine = Machine::new(&[]);
    machine.succeeds(&["setup"]);
    assert!(machine.read("nix.conf").expect("made").contains(&machine.setting()));
    machine.succeeds(&["setup", "--undo"]);
    assert_eq!(machine.read("nix.conf"), None);
}

#[test]
fn a_dry_run_shows_the_change_and_makes_none() {
    let machine = Machine::new(&[("nix.conf", "a = 1\n"), ("machines", "b1\n")]);
    let said = machine.succeeds(&["setup", "--dry-run"]);
    assert!(said.contains("@@ -1,1 +1,4 @@") && said.contains("nothing was changed"), "{said}");
    assert_eq!(machine.read("nix.conf").as_deref(), Some("a = 1\n"));
    assert!(!machine.path("run").exists());
}

#[test]
fn where_the_installer_owns_nix_conf_the_users_own_file_is_changed() {
    let conf = "build-users-group = nixbld\n!include nix.custom.conf\n";
    let machine = Machine::new(&[("nix.conf", conf)]);
    machine.succeeds(&["setup"]);
    assert_eq!(machine.read("nix.conf").as_deref(), Some(conf));
    assert!(machine.read("nix.custom.conf").expect("made").contains(&machine.setting()));
    machine.succeeds(&["setup", "--undo"]);
    assert_eq!(machine.read("nix.custom.conf"), None);
}

#[test]
fn a_later_setting_that_would_win_is_named_and_nothing_is_changed() {
    let conf = "!include nix.custom.conf\nbuilders = ssh://b1\n";
    let machine = Machine::new(&[("nix.conf", conf)]);
    let (said, code) = machine.muster(&["setup"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nix.conf:2 sets `builders` after "), "{said}");
    assert_eq!((machine.read("nix.conf").as_deref(), machine.read("nix.custom.conf")), (Some(conf), None));
}

#[test]
fn lines_that_nix_had_stay_in_its_sight_from_the_start() {
    let machine = Machine::new(&[
        ("nix.conf", "builders = ssh://b1 ; @/none\n"),
        ("machines", "unread x86_64-linux\n"),
    ]);
    machine.succeeds(&["setup"]);
    assert_eq!(fs::read_to_string(machine.path("run/machines")).expect("there"), "ssh://b1\n");
}

#[test]
fn a_torn_section_is_left_to_the_user() {
    let machine = Machine::new(&[("nix.conf", "a = 1\n# BEGIN muster\nb = 2\n")]);
    for words in [&["setup"][..], &["setup", "--undo"]] {
        let (said, code) = machine.muster(words);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("nix.conf: line 2: ") && said.contains("by hand"), "{said}");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_file_or_the_new_one() {
    let before = format!("# {}\nmax-jobs = 2\n", "x".repeat(200_000));
    let machine = Machine::new(&[("nix.conf", &before)]);
    machine.succeeds(&["setup"]);
    let after = machine.read("nix.conf").expect("there");
    for round in 0..60 {
        let words: &[&str] = if round % 2 == 0 { &["setup", "--undo"] } else { &["setup"] };
        let mut child = machine.command(words).stdout(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(std::time::Duration::from_micros(round * 150));
        let _ = child.kill();
        child.wait().expect("our child");
        let now = machine.read("nix.conf").expect("there");
        assert!(now == before || now == after, "after {} bytes", now.len());
    }
}

#[test]
fn without_any_builder_three_ways_on_are_named() {
    let machine = Machine::new(&[]);
    let (said, code) = machine.muster(&["coordinator"]);
    assert_eq!(code, Some(3), "{said}");
    for way in ["--builder", "[[builder]]", "[[source]]", "[[expect]]", "there are no machines lines in"] {
        assert!(said.contains(way), "{said}");
    }
    let machine = Machine::new(&[("machines", "local\nssh-ng://localhost?remote-store=x\n")]);
    let (said, code) = machine.muster(&["coordinator"]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("none of the 2 machines lines"), "{said}");
}

#[test]
fn once_with_sources_that_know_nobody_exits_3_and_writes_nothing() {
    let machine = Machine::new(&[("machines", "b1\n")]);
    for command in ["true", "false"] {
        let config = machine.path("config.toml");
        fs::write(&config, format!("[[source]]\nexec = [\"{command}\"]\n")).expect("room");
        let config = config.to_str().expect("text").to_owned();
        let words = ["coordinator", "--attach", "direct", "--once", "--config", &config];
        let (said, code) = machine.muster(&words);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("No builder is known") && said.contains("no line was changed"), "{said}");
        assert_eq!(machine.read("machines").as_deref(), Some("b1\n"));
        assert!(!machine.path("run/machines").exists());
    }
}

#[test]
fn once_needs_direct() {
    let machine = Machine::new(&[("machines", "b1\n")]);
    assert_eq!(machine.muster(&["coordinator", "--once"]).1, Some(2));
    let (said, code) = machine.muster(&["coordinator", "--attach", "endpoint", "--once"]);
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn the_directory_of_nix_s_files_can_be_typed() {
    let machine = Machine::new(&[]);
    let other = machine.path("other");
    fs::create_dir(&other).expect("room");
    machine.succeeds(&["setup", "--nix-conf-dir", other.to_str().expect("text")]);
    assert!(Path::new(&other).join("nix.conf").exists() && machine.read("nix.conf").is_none());
}
