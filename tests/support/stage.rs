//! One private directory with everything in it: stores, configuration, coordinator, clients.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use muster::policy::Snapshot;
use muster::policy::snapshot::{BuilderRow, HealthWord};
use rustix::process::Signal;

use super::expr::{self, Drv};
use super::faults::Faults;
use super::{Client, PATIENCE, proc, wait_for, wait_until};

/// The program under test.
pub const MUSTER: &str = env!("CARGO_BIN_EXE_muster");

const NIX_CONF: &str = "\
substituters =
experimental-features = nix-command
sandbox-paths = /bin/sh=BUSYBOX
build-users-group =
sandbox = true
sandbox-fallback = false
system-features = benchmark big-parallel nixos-test special
";

/// What cannot run at once waits in the coordinator: what Nix itself would do with it is nobody's business here.
pub const ENDPOINT: &str = "[endpoint]\nlocal = \"never\"\n";

/// Short, so that tests need not wait them out; long enough for a busy machine.
const TIMEOUTS: &str = "\
[timeouts]
reconnect_timeout = \"60s\"
probe_timeout = \"5s\"
connect_timeout = \"5s\"
ping_every = \"300ms\"
silent_after = \"2s\"
lost_after = \"4s\"
retry_min = \"100ms\"
retry_max = \"400ms\"
";

/// The user `client` of the root file systems.
const NOBODY: u32 = 1000;

/// An embedded builder.
#[derive(Debug, Clone)]
pub struct Builder {
    name: String,
    uri: Option<String>,
    slots: u32,
    more: String,
}

impl Builder {
    pub fn new(name: &str, slots: u32) -> Self {
        Self { name: name.to_owned(), uri: None, slots, more: String::new() }
    }

    /// One that is not embedded.
    pub fn at(name: &str, uri: &str, slots: u32) -> Self {
        let named = Self { uri: Some(uri.to_owned()), ..Self::new(name, slots) };
        named.with(&format!("name = \"{name}\""))
    }

    /// Another line of its table.
    pub fn with(mut self, line: &str) -> Self {
        self.more.push_str(line);
        self.more.push('\n');
        self
    }
}

/// The stage. Dropped, it ends what it started and is removed. Where a test failed, and always where
/// `MUSTER_TEST_SHOW` is set, it shows all logs before.
pub struct Stage {
    dir: PathBuf,
    pub faults: Faults,
    builders: Vec<Builder>,
    coordinator: Option<Child>,
    /// The program of coordinators to come, and of the `connect`s that their lines name.
    pub program: PathBuf,
    /// The nix-daemon that clients speak to, where they do not open their store themselves.
    daemon: Option<Client>,
    /// Coordinators and clients so far.
    count: std::cell::Cell<u32>,
}

impl Stage {
    /// A stage with a coordinator that is ready and builders that are healthy; none where this machine can't have one.
    pub fn new(builders: &[Builder]) -> Option<Self> {
        let mut stage = Self::without_coordinator(builders, "")?;
        stage.start_coordinator();
        Some(stage)
    }

    /// `count` builders, named b1 and so on, of `slots` slots each.
    pub fn of(count: u32, slots: u32) -> Option<Self> {
        let builders: Vec<_> = (1..=count).map(|n| Builder::new(&format!("b{n}"), slots)).collect();
        Self::new(&builders)
    }

    /// Like [`Stage::of`], for the machine's own store behind its nix-daemon, and clients that are nobody special.
    /// Only in the throw-away root file systems.
    pub fn behind_daemon(count: u32, slots: u32) -> Option<Self> {
        if !Path::new("/etc/made-by").exists() {
            println!("skipped: this would use the machine's own store; checks/end-to-end has others");
            return None;
        }
        let builders: Vec<_> = (1..=count).map(|n| Builder::new(&format!("b{n}"), slots)).collect();
        let mut stage = Self::without_coordinator(&builders, "")?;
        let daemon_conf = stage.path("daemon");
        fs::create_dir(&daemon_conf).expect("room");
        let lines = format!("builders = @{}\n", stage.machines_file().display());
        fs::write(daemon_conf.join("nix.conf"), NIX_CONF.replace("BUSYBOX", busybox()) + &lines)
            .expect("room");
        stage.start_daemon();
        fs::write(stage.path("muster.toml"), stage.config("")).expect("room");
        fs::set_permissions(&stage.dir, fs::Permissions::from_mode(0o755)).expect("ours");
        stage.start_coordinator();
        Some(stage)
    }

    /// Starts the nix-daemon of [`Stage::behind_daemon`].
    pub fn start_daemon(&mut self) {
        let socket = Path::new("/nix/var/nix/daemon-socket/socket");
        // One of before is no sign of life.
        let _ = fs::remove_file(socket);
        let mut command = self.command("nix-daemon");
        // As its unit starts it. Over this word its workers write whom they serve.
        command.arg("--daemon");
        command.env("NIX_CONF_DIR", self.path("daemon"));
        self.daemon = Some(Client::start(command, self.path("daemon.log")));
        wait_until("the nix-daemon listens", PATIENCE, || socket.exists());
    }

    /// Kills it with all its workers but those that build for a client: these outlive it, as they do under systemd.
    pub fn kill_daemon(&mut self) {
        let daemon = self.daemon.take().expect("a nix-daemon runs");
        let builds = |worker: &proc::Process| {
            proc::children(worker.pid).iter().any(|child| child.line().contains("build-remote"))
        };
        let idle = proc::children(daemon.pid()).into_iter().filter(|worker| !builds(worker));
        idle.for_each(|worker| proc::signal(worker.pid, Signal::KILL));
    }

    /// Everything is there, but nobody runs. `config` is added to the coordinator's configuration.
    pub fn without_coordinator(builders: &[Builder], config: &str) -> Option<Self> {
        if let Err(reason) = can_build() {
            println!("skipped: {reason}");
            return None;
        }
        let dir = private_dir();
        let faults = Faults::new(&dir);
        fs::create_dir(dir.join("nix")).expect("room");
        fs::write(dir.join("nix/nix.conf"), NIX_CONF.replace("BUSYBOX", busybox())).expect("room");
        let (builders, (coordinator, count)) = (builders.to_vec(), Default::default());
        let program = PathBuf::from(MUSTER);
        let stage = Self { dir, faults, builders, coordinator, program, daemon: None, count };
        fs::write(stage.path("muster.toml"), stage.config(config)).expect("room");
        stage.make_client_store();
        Some(stage)
    }

    /// Two programs that make the same store at once trip over each other.
    fn make_client_store(&self) {
        let mut command = self.command("nix-store");
        command.args(["--init", "--store", &self.client_store()]);
        assert!(command.status().expect("nix-store runs").success(), "the client's store cannot be made");
    }

    fn config(&self, more: &str) -> String {
        let program = Faults::program();
        let mut text = format!("local_store = \"{}\"\n", self.client_store());
        for Builder { name, uri, slots, more } in &self.builders {
            let embedded = || format!("process:{}?program={}", self.path(name).display(), program.display());
            let uri = uri.clone().unwrap_or_else(embedded);
            // Measured, equals would differ by chance.
            let speed = if more.contains("speed_factor") { "" } else { "speed_factor = 1\n" };
            text.push_str(&format!("[[builder]]\nuri = \"{uri}\"\nslots = {slots}\n{speed}{more}"));
        }
        let endpoint = if more.contains("[endpoint]") { "" } else { ENDPOINT };
        text + endpoint + TIMEOUTS + more
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A word that stands in the command line of each of this stage's build processes, and nowhere else.
    pub fn mark(&self) -> String {
        let name = self.dir.file_name().and_then(|name| name.to_str()).expect("text");
        format!("on-{name}")
    }

    /// This stage's build processes that run now, on whatever builder.
    pub fn build_processes(&self) -> Vec<proc::Process> {
        let mark = format!(": {}", self.mark());
        proc::marked(&mark)
            .into_iter()
            .filter(|process| process.words.iter().any(|w| w.starts_with(&mark)))
            .collect()
    }

    /// Whether clients speak to a nix-daemon, be it that it is away.
    fn has_daemon(&self) -> bool {
        self.path("daemon").exists()
    }

    /// The store that clients build in.
    pub fn client_store(&self) -> String {
        if self.has_daemon() {
            return "daemon".to_owned();
        }
        format!("local?root={}", self.path("client").display())
    }

    // The coordinator.

    /// A command with this stage's environment, and no other.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(&self.dir);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for name in ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"]
        {
            let dir = self.path("home");
            fs::create_dir_all(&dir).expect("room");
            command.env(name, dir);
        }
        command.env("NIX_CONF_DIR", self.path("nix")).env("TERM", "dumb").env("LANG", "C.UTF-8");
        command
    }

    pub fn muster(&self, words: &[&str]) -> Command {
        self.muster_by(Path::new(MUSTER), words)
    }

    /// The same with another program.
    pub fn muster_by(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = self.command(program.to_str().expect("text"));
        command.args(words).arg("--config").arg(self.path("muster.toml"));
        command.arg("--runtime-dir").arg(self.path("run")).arg("--state-dir").arg(self.path("state"));
        command
    }

    /// Starts it and waits until all builders are healthy.
    pub fn start_coordinator(&mut self) {
        self.launch_coordinator();
        self.all_healthy();
        self.machines_written();
    }

    /// Waits until all builders are healthy.
    pub fn all_healthy(&mut self) {
        wait_until("all builders are healthy", PATIENCE, || {
            assert!(self.coordinator_lives(), "the coordinator ended");
            self.try_status().is_some_and(|status| {
                status.builders.len() == self.builders.len()
                    && status.builders.iter().all(|builder| builder.health == HealthWord::Healthy)
            })
        });
    }

    /// Waits until there are machines lines.
    pub fn machines_written(&self) {
        wait_until("there is a file of machines lines", PATIENCE, || self.machines_file().exists());
    }

    /// Starts it and waits for nothing.
    pub fn launch_coordinator(&mut self) {
        assert!(self.coordinator.is_none(), "one at a time");
        let log = File::options().append(true).create(true).open(self.path("coordinator.log")).expect("room");
        let mut command = self.muster_by(&self.program, &["--log", "muster=debug", "coordinator"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log).process_group(0);
        self.coordinator = Some(command.spawn().expect("the coordinator starts"));
    }

    fn coordinator_lives(&mut self) -> bool {
        self.coordinator.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_none()))
    }

    pub fn coordinator_pid(&self) -> i32 {
        let child = self.coordinator.as_ref().expect("a coordinator runs");
        i32::try_from(child.id()).expect("a process id")
    }

    /// `kill -9`; what it started must find its own end.
    pub fn kill_coordinator(&mut self) {
        let mut child = self.coordinator.take().expect("a coordinator runs");
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    /// Has it read its configuration again, with `change` made to the file; waits until it has said `words` once more.
    pub fn reload(&self, change: impl FnOnce(String) -> String, words: &str) {
        let file = self.path("muster.toml");
        let text = fs::read_to_string(&file).expect("written before");
        fs::write(file, change(text)).expect("room");
        let said = || self.coordinator_log().matches(words).count();
        let before = said();
        proc::signal(self.coordinator_pid(), Signal::HUP);
        wait_until(&format!("the coordinator says '{words}'"), PATIENCE, || said() > before);
    }

    /// Asks it to end by `signal`; gives its exit code and how long that took.
    pub fn stop_coordinator(&mut self, signal: Signal) -> (Option<i32>, Duration) {
        let mut child = self.coordinator.take().expect("a coordinator runs");
        let began = Instant::now();
        proc::signal(i32::try_from(child.id()).expect("a process id"), signal);
        let status = wait_for("the coordinator ends", PATIENCE, || child.try_wait().expect("our child"));
        (status.code(), began.elapsed())
    }

    /// Waits until it has ended by itself; gives its exit code.
    pub fn coordinator_ended(&mut self) -> Option<i32> {
        let mut child = self.coordinator.take().expect("a coordinator ran");
        wait_for("the coordinator ends", PATIENCE, || child.try_wait().expect("our child")).code()
    }

    pub fn machines_file(&self) -> PathBuf {
        self.path("run/machines")
    }

    pub fn endpoint(&self) -> PathBuf {
        self.path("run/endpoint.sock")
    }

    /// How a line names this stage's endpoint.
    pub fn line_ref(&self) -> String {
        format!("all@{}", self.endpoint().to_str().expect("text").replace('/', "%252F"))
    }

    pub fn coordinator_log(&self) -> String {
        fs::read_to_string(self.path("coordinator.log")).unwrap_or_default()
    }

    pub fn status(&self) -> Snapshot {
        self.try_status().expect("the coordinator answers")
    }

    pub fn try_status(&self) -> Option<Snapshot> {
        let output = self.muster(&["status", "--json"]).output().expect("it runs");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("schema 1"))
    }

    pub fn builder(&self, name: &str) -> BuilderRow {
        let status = self.status();
        status.builders.into_iter().find(|row| row.name.to_string() == name).expect("a builder of that name")
    }

    // Clients.

    /// A Nix command on the client's store.
    pub fn nix(&self, words: &[&str]) -> Command {
        let mut command = self.command("nix");
        command.args(words);
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, command: Command) -> super::Outcome {
        Client::start(command, self.terminal()).wait()
    }

    /// `nix build` of these by the coordinator's machines lines.
    pub fn build(&self, drvs: &[Drv]) -> Client {
        self.build_with(drvs, &format!("@{}", self.machines_file().display()), &[])
    }

    /// `nix build` of these by the coordinator's machines lines, in another store than the coordinator's own.
    pub fn build_in(&self, store: &str, drvs: &[Drv]) -> Client {
        let store = format!("local?root={}", self.path(store).display());
        self.start_build(&store, drvs, &format!("@{}", self.machines_file().display()), &[])
    }

    /// `nix build` of these with other `builders`.
    pub fn build_with(&self, drvs: &[Drv], builders: &str, more: &[&str]) -> Client {
        self.start_build(&self.client_store(), drvs, builders, more)
    }

    fn start_build(&self, store: &str, drvs: &[Drv], builders: &str, more: &[&str]) -> Client {
        let terminal = self.terminal();
        let file = terminal.with_extension("nix");
        fs::write(&file, expr::all(&self.mark(), drvs)).expect("room");
        let mut command = self.nix(&["build", "-L", "--no-link", "-j0", "--store", store]);
        command.args(["--builders", builders]).args(more).arg("-f").arg(file);
        if self.has_daemon() {
            std::os::unix::fs::chown(self.path("home"), Some(NOBODY), Some(NOBODY)).expect("we are root");
            command.uid(NOBODY).gid(NOBODY);
        }
        Client::start(command, terminal)
    }

    fn terminal(&self) -> PathBuf {
        let number = self.count.replace(self.count.get() + 1);
        self.path(&format!("client-{number}.log"))
    }

    /// Where `store` (a builder's name, or `client`) has the output of a derivation of that name.
    pub fn output(&self, store: &str, name: &str) -> Option<PathBuf> {
        let root = if store == "client" && self.has_daemon() { PathBuf::from("/") } else { self.path(store) };
        let entries = fs::read_dir(root.join("nix/store")).ok()?;
        let mut found = entries.filter_map(|entry| Some(entry.ok()?.path()));
        found.find(|path| {
            let base = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            base.get(33..) == Some(name) && base.as_bytes()[32] == b'-'
        })
    }

    /// The text of an output that is one file in the client's store.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        let path = self.output("client", name).unwrap_or_else(|| panic!("the client has no '{name}'"));
        fs::read_to_string(path).expect("a text file")
    }

    /// The builders whose own stores have it.
    pub fn holders(&self, name: &str) -> Vec<String> {
        let names = self.builders.iter().map(|builder| builder.name.clone());
        names.filter(|builder| self.output(builder, name).is_some()).collect()
    }

    /// Processes that name this stage's directory, except the clients' and ours.
    pub fn processes(&self) -> Vec<proc::Process> {
        proc::marked(self.dir.to_str().expect("text"))
    }

    fn show(&self) {
        let mut files: Vec<_> =
            fs::read_dir(&self.dir).expect("our directory").filter_map(|e| Some(e.ok()?.path())).collect();
        files.sort();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
        for file in files.into_iter().chain([self.path("faults/log")]) {
            let text = String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned();
            eprintln!("--- {}\n{}", file.display(), tail(&text, 8000));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("MUSTER_TEST_SHOW").is_some() {
            self.show();
        }
        if let Some(mut child) = self.coordinator.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.daemon = None;
        // What a test left frozen, and orphans of faults: everything that carries this stage's name.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            let left: Vec<_> = self.processes().into_iter().chain(self.build_processes()).collect();
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|process| proc::signal(process.pid, Signal::KILL));
            std::thread::sleep(Duration::from_millis(5));
        }
        remove(&self.dir);
    }
}

/// Store paths are read-only, directories too.
pub fn remove(path: &Path) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if metadata.is_dir() {
        let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            remove(&entry.path());
        }
        let _ = fs::remove_dir(path);
    } else {
        let _ = fs::remove_file(path);
    }
}

/// A short name: sockets have room for 107 bytes.
/// What every Nix of a test reads.
pub fn nix_conf() -> String {
    NIX_CONF.replace("BUSYBOX", busybox())
}

pub fn private_dir() -> PathBuf {
    let parent = std::env::var_os("TMPDIR").map_or(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    fs::create_dir_all(&parent).expect("a place for temporary files");
    let dir = tempfile::Builder::new().prefix("stage-").tempdir_in(parent).expect("a directory");
    dir.keep().canonicalize().expect("it exists")
}

fn busybox() -> &'static str {
    ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists()).unwrap_or_default()
}

/// Whether real Nix can really build here: found out by one build, once.
fn can_build() -> &'static Result<(), String> {
    static FOUND: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    FOUND.get_or_init(|| {
        if busybox().is_empty() {
            return Err("there is no static busybox for the sandbox".to_owned());
        }
        let output = Command::new("nix").arg("--version").output();
        output.map_err(|error| format!("nix: {error}"))?;
        Command::new("python3").arg("--version").output().map_err(|error| format!("python3: {error}"))?;
        let dir = private_dir();
        fs::create_dir(dir.join("nix")).map_err(|error| error.to_string())?;
        fs::write(dir.join("nix/nix.conf"), NIX_CONF.replace("BUSYBOX", busybox()))
            .map_err(|error| error.to_string())?;
        let drv = Drv::new("probe", "echo > $out").expression("probe");
        let mut command = Command::new("nix");
        command.env("NIX_CONF_DIR", dir.join("nix")).args(["build", "--no-link", "--impure", "--store"]);
        command.arg(format!("local?root={}/store", dir.display())).args(["--expr", &drv]);
        let built = command.output().map_err(|error| format!("nix: {error}"));
        remove(&dir);
        let built = built?;
        if built.status.success() {
            return Ok(());
        }
        Err(format!("Nix cannot build here: {}", String::from_utf8_lossy(&built.stderr).trim()))
    })
}

fn tail(text: &str, bytes: usize) -> &str {
    let mut at = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    &text[at..]
}
