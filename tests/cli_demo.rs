//! `muster demo` with the Nix that is installed, seen from a shell. Without Nix these tests say so and pass.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A demo that runs, and where.
struct Demo {
    child: Child,
    stdout: BufReader<ChildStdout>,
    dir: PathBuf,
}

/// Starts it, and reads where it works; none where there is no Nix to play with.
fn start(test: &str) -> Option<Demo> {
    let installed =
        |program: &str| ["/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(program).exists());
    if !["nix", "nix-daemon", "busybox"].iter().all(|program| installed(program)) {
        eprintln!("skipped: {test} needs nix, nix-daemon and a static busybox in /usr/bin");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let line = read_until(&mut stdout, "Everything lies in ");
    let dir = line.rsplit(' ').next().expect("a word").trim_end_matches(['.', '\n']).into();
    Some(Demo { child, stdout, dir })
}

/// Reads lines up to the first one with these words.
fn read_until(stdout: &mut impl BufRead, words: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).expect("text") > 0, "it ended before it said '{words}'");
        if line.contains(words) {
            return line;
        }
    }
}

impl Demo {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("an id");
        kill_process(pid, signal).expect("it is there");
    }

    /// The rest of what it prints on both streams, and its exit code. Nothing of it may be left.
    fn end(mut self) -> (String, String, Option<i32>) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("text");
        self.child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        let status = self.child.wait().expect("it ends");
        assert!(!self.dir.exists(), "{} is still there; {stderr}", self.dir.display());
        assert_eq!(processes_that_name(&self.dir), BTreeSet::new(), "{stderr}");
        (stdout, stderr, status.code())
    }
}

/// Command lines that name a directory, plainly or percent-encoded. A process that was killed may take a moment to go.
fn processes_that_name(dir: &Path) -> BTreeSet<String> {
    let began = Instant::now();
    loop {
        let found = look_for(dir);
        if found.is_empty() || began.elapsed() > Duration::from_secs(2) {
            return found;
        }
        sleep(Duration::from_millis(20));
    }
}

fn look_for(dir: &Path) -> BTreeSet<String> {
    let name = dir.file_name().and_then(|name| name.to_str()).expect("a name");
    let entries = fs::read_dir("/proc").expect("there is /proc").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(name))
        .collect()
}

#[test]
fn a_builder_is_killed_and_the_build_succeeds() {
    let Some(demo) = start("a_builder_is_killed_and_the_build_succeeds") else { return };
    let (stdout, stderr, code) = demo.end();
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert_eq!(stdout.matches(" POWER CUT: large is gone.").count(), 1, "{stdout}");
    assert!(stdout.contains(" LOST ") && stdout.contains(" again\n"), "{stdout}");
    let report = stdout.split_once("WHAT THE STORES SAY\n").expect("a report").1;
    let rows: Vec<&str> = report.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(rows.len(), 43, "{report}");
    for row in rows {
        let builder = row.split_whitespace().nth(1).expect("a builder");
        assert!(row.contains(&format!("{builder}: built here")), "{row}");
    }
    assert!(report.contains("\n43 derivations in "), "{report}");
    assert!(report.contains("\n43 of 43 outputs are valid"), "{report}");
}

#[test]
fn interrupted_in_the_middle_it_leaves_nothing_behind() {
    let Some(mut demo) = start("interrupted_in_the_middle_it_leaves_nothing_behind") else { return };
    read_until(&mut demo.stdout, " built object-");
    demo.signal(Signal::INT);
    let began = Instant::now();
    let (_, stderr, code) = demo.end();
    assert_eq!((stderr.as_str(), code), ("muster: interrupted\n", Some(130)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn stopped_at_the_beginning_it_leaves_nothing_behind() {
    for after in [0, 100, 300, 700] {
        let Some(demo) = start("stopped_at_the_beginning_it_leaves_nothing_behind") else { return };
        sleep(Duration::from_millis(after));
        demo.signal(Signal::TERM);
        let (_, stderr, code) = demo.end();
        assert_eq!((stderr.as_str(), code), ("muster: interrupted\n", Some(130)));
    }
}

#[test]
fn a_directory_that_is_there_is_not_played_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    let output = command.args(["demo", "--keep"]).arg(dir.path()).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("install") {
        eprintln!("skipped: a_directory_that_is_there_is_not_played_in: {stderr}");
        return;
    }
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains(dir.path().to_str().expect("text")), "{stderr}");
}
