use proptest::prelude::*;

use super::*;

const MARK: &str = "m0123";

fn report(lines: &str) -> Report {
    parse(MARK, format!("\n{MARK} begin\n{lines}\n{MARK} end\n").as_bytes()).expect("a report")
}

fn systems(words: &[&str]) -> BTreeSet<System> {
    words.iter().map(|word| System::parse(word).expect("a system")).collect()
}

#[test]
fn a_linux_machine_says_what_it_is() {
    let report = report(
        "os Linux\nmachine x86_64\nuser remotebuild\nclock 1700000000\non-path /run/current-system/sw/bin/nix-daemon\nnix-daemon /run/current-system/sw/bin/nix-daemon\n\
         nix-version nix (Nix) 2.18.1\nsetting system = x86_64-linux\n\
         setting extra-platforms = aarch64-linux i686-linux x86_64_v1-linux\n\
         setting system-features = benchmark big-parallel kvm nixos-test\nsetting sandbox = true\n\
         socket /nix/var/nix/daemon-socket/socket\ncores 16\nmemory-kib 32768\nbuild-users 32\nstore-free-kib 1024\n\
         kvm yes\nbinfmt aarch64-linux\nmachine-id a\nboot-id b",
    );
    assert_eq!(report.system, Some(System::parse("x86_64-linux").expect("a system")));
    assert_eq!(report.emulated(), systems(&["aarch64-linux"]));
    assert_eq!(report.nix_version.as_deref(), Some("2.18.1"));
    assert_eq!((report.cores, report.memory, report.build_users), (Some(16), Some(32 << 20), Some(32)));
    assert_eq!(
        (report.store_free, report.kvm, report.clock),
        (Some(1 << 20), Some(Kvm::Yes), Some(1_700_000_000))
    );
    assert_eq!(report.features.map(|features| features.len()), Some(4));
    assert_eq!(report.on_path, report.nix_daemon);
    assert_eq!(report.noise, "");
}

#[test]
fn kernels_speak_another_language_than_nix() {
    let check = |lines: &str, expected: &str| {
        assert_eq!(report(lines).system.map(String::from).as_deref(), Some(expected), "{lines}");
    };
    check("os Darwin\nmachine arm64", "aarch64-darwin");
    check("os Linux\nmachine i586", "i686-linux");
    check("os Linux\nmachine riscv64", "riscv64-linux");
    check("os Linux\nmachine x86_64\nsetting system = i686-linux", "i686-linux");
}

#[test]
fn a_mac_emulates_intel() {
    let report = report("os Darwin\nmachine arm64\nsetting extra-platforms = x86_64-darwin");
    assert_eq!(report.emulated(), systems(&["x86_64-darwin"]));
}

#[test]
fn noise_of_a_login_is_kept_apart_and_named() {
    let said = format!("Welcome!\nYou have mail.\n\n{MARK} begin\ncores 2\n{MARK} end\nbye\n");
    let report = parse(MARK, said.as_bytes()).expect("a report");
    assert_eq!((report.cores, report.noise.as_str()), (Some(2), "Welcome!\nYou have mail."));
}

#[test]
fn a_login_that_runs_something_else_is_told_from_a_script_that_stops() {
    let no_login = b"This account is currently not available.\n";
    assert_eq!(
        parse(MARK, no_login),
        Err(NoReport::NotRun("This account is currently not available.".to_owned()))
    );
    assert_eq!(parse(MARK, format!("\n{MARK} begin\ncores 2\n").as_bytes()), Err(NoReport::Cut));
}

#[test]
fn what_makes_no_sense_is_left_out() {
    let report = report(
        "cores many\nmemory-kib 99999999999999999999\nnix-daemon nix-daemon\nsocket /a'b\nkvm maybe\nx",
    );
    assert_eq!(report, Report::default());
}

#[test]
fn a_home_that_does_not_exist_is_chatter() {
    let stderr =
        format!("Could not chdir to home directory /home/x: No such file\n\n{MARK} begin\nsh: oops\n");
    let (before, after) = chatter(MARK, &stderr);
    assert_eq!((before, after), ("Could not chdir to home directory /home/x: No such file", "sh: oops"));
    assert_eq!(chatter(MARK, "only this"), ("", "only this"));
}

#[test]
fn this_machine_answers_the_script() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut shell = Command::new("/bin/sh")
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    shell.stdin.take().expect("piped").write_all(script(MARK).as_bytes()).expect("sent");
    let output = shell.wait_with_output().expect("it ends");
    let report = parse(MARK, &output.stdout).expect("a report");
    let here = format!("{}-linux", std::env::consts::ARCH);
    if cfg!(target_os = "linux") {
        assert_eq!(report.system.map(String::from), Some(here));
        assert!(report.memory.is_some_and(|bytes| bytes > 1 << 26));
        assert!(report.boot_id.is_some_and(|id| id.len() == 36));
    }
    assert!(report.cores.is_some_and(|cores| cores > 0) && report.kvm.is_some() && report.clock.is_some());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(chatter(MARK, &stderr), ("", ""));
}

proptest! {
    #[test]
    fn no_answer_breaks_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200), marked: bool) {
        let mut said = if marked { format!("\n{MARK} begin\n").into_bytes() } else { Vec::new() };
        said.extend(bytes);
        said.extend(format!("\n{MARK} end\n").into_bytes());
        prop_assert_eq!(parse(MARK, &said).is_ok(), marked);
    }

    #[test]
    fn no_setting_breaks_the_parser(key in "[a-z-]{1,16}|setting", value in "\\PC{0,60}") {
        let _ = report(&format!("{key} {value}")).emulated();
    }
}
