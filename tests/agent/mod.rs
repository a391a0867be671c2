//! An agent that runs, and coordinators that speak to it by hand.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const MUSTER: &str = env!("CARGO_BIN_EXE_muster");
/// Waits for anything of which no time is asked. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
const HELLO: &str = r#"{"muster":"agent","version":1}"#;

/// A user whom nobody trusts with anything.
pub struct Nobody(u32);

/// Only root can be somebody else.
pub fn nobody() -> Option<Nobody> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can run a program as another user");
        return None;
    }
    Some(Nobody(65_534))
}

impl Nobody {
    /// Lets the user run it.
    pub fn runs(&self, command: &mut Command) {
        command.uid(self.0).gid(self.0);
    }
}

/// `muster builder`, in a directory of its own.
pub struct Agent {
    child: Child,
    dir: tempfile::TempDir,
    /// How its commands know where it is.
    place: (&'static str, PathBuf),
}

impl Agent {
    /// With these options, as a shell takes them; when it is ready.
    pub fn start(options: &str) -> Self {
        let dir = directory();
        let place = ("MUSTER_AGENT_SOCKET", dir.path().join("agent.sock"));
        Self::launch(dir, place, options, |_| {})
    }

    /// A user's, where a user's is by default.
    pub fn of_user(user: &Nobody) -> Self {
        let dir = directory();
        chown(dir.path(), Some(user.0), Some(user.0)).expect("root may");
        let place = ("XDG_RUNTIME_DIR", dir.path().to_owned());
        let agent = Self::launch(dir, place, "", |command| user.runs(command));
        assert!(agent.dir.path().join("muster-builder/agent.sock").exists(), "{}", agent.log());
        agent
    }

    fn launch(
        dir: tempfile::TempDir,
        place: (&'static str, PathBuf),
        options: &str,
        by: impl Fn(&mut Command),
    ) -> Self {
        let log = File::create(dir.path().join("log")).expect("room");
        let mut command = shell(&place, dir.path(), options);
        by(&mut command);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log).spawn();
        let agent = Self { child: child.expect("it starts"), dir, place };
        agent.wait_until("it is ready", |agent| agent.log().contains("ready"));
        agent
    }

    /// A coordinator of that name that has said hello.
    pub fn coordinator(&self, name: &'static str) -> Hand {
        let to = UnixStream::connect(&self.place.1).expect("it listens");
        to.set_read_timeout(Some(PATIENCE)).expect("a time");
        let from = BufReader::new(to.try_clone().expect("a socket"));
        let mut hand = Hand { name, to, from };
        hand.line(HELLO).expect("it reads");
        assert_eq!(hand.next()["muster"], "agent");
        hand
    }

    /// What `muster builder WORDS` says on both streams, and its exit code.
    pub fn muster(&self, words: &str) -> (String, Option<i32>) {
        self.muster_by(words, |_| {})
    }

    /// The same, run in another way.
    pub fn muster_by(&self, words: &str, by: impl Fn(&mut Command)) -> (String, Option<i32>) {
        let mut command = shell(&self.place, self.dir.path(), words);
        by(&mut command);
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        (text([output.stdout, output.stderr].concat()), output.status.code())
    }

    /// What `muster builder session` has to say where a pipe says this, and ends.
    pub fn session(&self, says: &str, by: impl Fn(&mut Command)) -> String {
        let mut command = shell(&self.place, self.dir.path(), "session");
        by(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let _ = child.stdin.take().expect("piped").write_all(format!("{HELLO}\n{says}\n").as_bytes());
        let output = child.wait_with_output().expect("it ends");
        text([output.stdout, output.stderr].concat())
    }

    /// All that it says to whom says this and nothing more.
    pub fn asked_and_ended(&self, says: &str) -> String {
        let mut to = UnixStream::connect(&self.place.1).expect("it listens");
        to.write_all(format!("{HELLO}\n{says}\n").as_bytes()).expect("it reads");
        to.shutdown(Shutdown::Write).expect("it is there");
        to.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut said = String::new();
        to.read_to_string(&mut said).expect("it ends");
        said
    }

    /// What `muster builder status --json` prints.
    pub fn status(&self) -> Value {
        let (said, code) = self.muster("status --json");
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str(&said).expect("json")
    }

    /// Whether it has not ended.
    pub fn is_there(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Its exit code, once it has ended.
    pub fn ends(&mut self) -> Option<i32> {
        let began = Instant::now();
        while self.is_there() {
            assert!(began.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.child.wait().expect("a child").code()
    }

    /// Asks it to end as a service manager does.
    pub fn signal(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    }

    /// Whether its release command was run.
    pub fn has_released(&self) -> bool {
        self.dir.path().join("released").exists()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Inodes of the sockets that it has open.
    pub fn sockets(&self) -> Vec<String> {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it lives");
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let names = links.map(|link| link.to_string_lossy().into_owned());
        names.filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
    }

    pub fn wait_until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "waited in vain: {what}; {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A coordinator's connection.
pub struct Hand {
    name: &'static str,
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Hand {
    /// The line that claims: how many builds run and are wanted, and how many slots it takes for granted.
    pub fn claim(name: &str, [running, wanted]: [u32; 2], granted: u32) -> String {
        json!({
            "ask": "claim", "coordinator": format!("coordinator{name}"), "name": name,
            "running": running, "wanted": wanted, "capacity": 4, "granted": granted
        })
        .to_string()
    }

    /// The line that asks for the status.
    pub fn status() -> String {
        json!({"ask": "status"}).to_string()
    }

    /// Claims or renews.
    pub fn says(&mut self, demand: [u32; 2], granted: u32) {
        let claim = Self::claim(self.name, demand, granted);
        self.line(&claim).expect("it reads");
    }

    /// The same, and waits until it is heard.
    pub fn says_again(&mut self, demand: [u32; 2], granted: u32) {
        self.says(demand, granted);
        self.line(&Self::status()).expect("it reads");
        self.hears("status");
    }

    /// The same where nobody may listen any more.
    pub fn tries_to_say(&mut self, demand: [u32; 2]) -> bool {
        let claim = Self::claim(self.name, demand, 1);
        self.line(&claim).is_ok()
    }

    /// Claims for the first time; the slots that are granted.
    pub fn claims(&mut self, demand: [u32; 2], granted: u32) -> u64 {
        self.says(demand, granted);
        self.hears("granted")["slots"].as_u64().expect("a number")
    }

    pub fn gives_back(&mut self) {
        self.line(r#"{"ask":"give-back"}"#).expect("it reads");
        self.hears("given-back");
    }

    /// The next thing of this kind that it is told.
    pub fn hears(&mut self, kind: &str) -> Value {
        self.hears_that(kind, |told| told["tell"] == kind)
    }

    /// The next thing of which this is true.
    pub fn hears_that(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let told = self.next();
            if is_it(&told) {
                return told;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain to hear: {what}; now {told}");
        }
    }

    /// The next thing that it is told.
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.from.read_line(&mut line).expect("it says something") > 0, "it has ended");
        serde_json::from_str(&line).expect("json")
    }

    fn line(&mut self, text: &str) -> std::io::Result<()> {
        self.to.write_all(format!("{text}\n").as_bytes())
    }
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    dir
}

/// `muster builder WORDS`, where it finds the agent that is meant.
fn shell(place: &(&str, PathBuf), dir: &Path, words: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.env_clear().env("PATH", "/usr/bin:/bin").env(place.0, &place.1).current_dir(dir);
    command.args(["-c", &format!("exec {MUSTER} builder {words}")]);
    command
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}
