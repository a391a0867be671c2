//! A real sshd on loopback, and a real nix-daemon behind it: a builder that happens to be here.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::stage::{nix_conf, private_dir};
use rustix::process::Signal;

use super::{Client, PATIENCE, proc, wait_until};

/// Makes this machine another one for whoever logs in.
const OTHER_MACHINE: &str =
    r#"[ ! -e /etc/machine-id ] || mount --bind "$1" /etc/machine-id && shift && exec "$@""#;

/// What a login does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// What it is told.
    Plain,
    /// The same, after a greeting on standard output.
    Noisy,
    /// It starts `nix-daemon --stdio`, whatever it is told.
    Locked,
    /// Nothing: `/usr/sbin/nologin`.
    None,
}

/// The server. Dropped, it ends with everything that was logged in, and its files are removed.
pub struct Sshd {
    dir: PathBuf,
    port: u16,
    server: Option<Client>,
    namespace: Option<PathBuf>,
    daemon: Option<Client>,
}

impl Sshd {
    /// A server that listens; none where this machine can't have one.
    pub fn new(login: Login) -> Option<Self> {
        let dir = private_dir();
        let mut sshd = Self { dir, port: free_port(), server: None, namespace: None, daemon: None };
        for name in ["host_key", "other_key", "id"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(sshd.path(name));
            if !keygen.status().is_ok_and(|status| status.success()) {
                return sshd.skipped("there is no ssh-keygen");
            }
        }
        sshd.write_files(login);
        sshd.start();
        let listens = || std::net::TcpStream::connect(("127.0.0.1", sshd.port)).is_ok();
        let began = std::time::Instant::now();
        while !listens() {
            if began.elapsed() > PATIENCE || sshd.server.as_mut().is_some_and(Client::has_ended) {
                let said = sshd.server.take().map(|server| server.terminal()).unwrap_or_default();
                return sshd.skipped(&format!("sshd does not run here: {said}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Some(sshd)
    }

    fn skipped(self, why: &str) -> Option<Self> {
        println!("skipped: {why}");
        None
    }

    /// The login's home is here: what the shell of whoever runs this does at its start is no part of the test.
    fn write_files(&self, login: Login) {
        let write = |name: &str, text: String| {
            fs::write(self.path(name), text).expect("room");
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o700)).expect("ours");
        };
        let dir = self.dir.display();
        fs::create_dir(self.path("nix")).expect("room");
        write("nix/nix.conf", nix_conf());
        write("machine-id", "0123456789abcdef0123456789abcdef\n".to_owned());
        let store = format!("local?root={dir}/store");
        write("nix-daemon", format!("#!/bin/sh\nNIX_CONF_DIR={dir}/nix exec nix-daemon \"$@\"\n"));
        let forced = match login {
            Login::Plain => String::new(),
            Login::Noisy => format!("ForceCommand echo 'Hello, dear user'; {dir}/told\n"),
            Login::Locked => format!("ForceCommand {dir}/nix-daemon --stdio --store '{store}'\n"),
            Login::None => "ForceCommand /usr/sbin/nologin\n".to_owned(),
        };
        write("told", "#!/bin/sh\nexec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n".to_owned());
        write("authorized_keys", self.text("id.pub"));
        write(
            "sshd_config",
            format!(
                "Port {}\nListenAddress 127.0.0.1\nHostKey {dir}/host_key\nAuthorizedKeysFile {dir}/authorized_keys\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPrintMotd no\nBanner {dir}/banner\n\
                 SetEnv HOME={dir} NIX_DAEMON_SOCKET_PATH={dir}/socket NIX_CONF_DIR={dir}/nix\n{forced}",
                self.port
            ),
        );
        write("banner", "*** Authorized use only ***\n".to_owned());
    }

    /// Another line of its configuration, for the next start.
    pub fn configure(&self, line: &str) {
        let text = self.text("sshd_config");
        fs::write(self.path("sshd_config"), format!("{line}\n{text}")).expect("room");
    }

    /// A nix-daemon that listens there, as on every ordinary machine.
    pub fn start_daemon(&mut self) {
        let mut command = Command::new("nix-daemon");
        command.env("NIX_DAEMON_SOCKET_PATH", self.path("socket")).env("NIX_CONF_DIR", self.path("nix"));
        command.env("NIX_REMOTE", format!("local?root={}/store", self.dir.display()));
        self.daemon = Some(Client::start(command, self.path("daemon.log")));
        wait_until("the nix-daemon listens", PATIENCE, || self.path("socket").exists());
    }

    /// A builder of which nothing is said but where it is.
    pub fn plain_builder(&self, name: &str, slots: u32) -> super::Builder {
        let uri = format!("root@127.0.0.1:{}?ssh-key={}/id", self.port, self.dir.display());
        super::Builder::at(name, &uri, slots).with(&format!("host_key = \"{}\"", self.public_key("host_key")))
    }

    /// Starts it, again after [`Sshd::crash`].
    pub fn start(&mut self) {
        // Made by systems that start sshd themselves.
        let _ = fs::create_dir_all("/run/sshd");
        let mut command = Command::new("unshare");
        command.args(["--mount", "/bin/sh", "-c", OTHER_MACHINE, "sh"]).arg(self.path("machine-id"));
        command.args(["/usr/sbin/sshd", "-D", "-e", "-f"]).arg(self.path("sshd_config"));
        command.args(self.no_penalties());
        let server = Client::start(command, self.path("sshd.log"));
        let pid = server.pid();
        self.server = Some(server);
        let ours = namespace_of(std::process::id().cast_signed());
        wait_until("it has a mount namespace of its own", PATIENCE, || {
            self.namespace = namespace_of(pid).filter(|its| Some(its) != ours.as_ref());
            self.namespace.is_some() || self.server.as_mut().is_some_and(Client::has_ended)
        });
    }

    /// From OpenSSH 9.8 on, a server shuts out for a while who fails to log in: here that is what is tested.
    fn no_penalties(&self) -> &'static [&'static str] {
        const OPTION: &[&str] = &["-o", "PerSourcePenalties=no"];
        let mut test = Command::new("/usr/sbin/sshd");
        test.arg("-t").arg("-f").arg(self.path("sshd_config")).args(OPTION).stderr(Stdio::null());
        if test.status().is_ok_and(|status| status.success()) { OPTION } else { &[] }
    }

    /// Ends it, and everything that is logged in, without a word to the other end.
    pub fn crash(&mut self) {
        let Some(server) = self.server.take() else { return };
        // Stopped, it lets nobody in and keeps its namespace, whose number would be another's soon.
        proc::signal(server.pid(), Signal::STOP);
        wait_until("nobody is logged in", PATIENCE, || {
            let mut pids = self.everybody();
            pids.retain(|&pid| pid != server.pid());
            pids.iter().for_each(|&pid| proc::signal(pid, Signal::KILL));
            pids.is_empty()
        });
        self.namespace = None;
    }

    /// What was started below the server. Sessions leave its process group, but not its mount namespace.
    fn everybody(&self) -> Vec<i32> {
        let Some(namespace) = &self.namespace else { return Vec::new() };
        let lives_there = |pid: &i32| namespace_of(*pid).as_ref() == Some(namespace);
        proc::all().into_iter().map(|process| process.pid).filter(lives_there).collect()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("written before")
    }

    /// A public key, as the configuration holds it.
    pub fn public_key(&self, name: &str) -> String {
        self.text(&format!("{name}.pub")).trim().to_owned()
    }

    pub fn fingerprint(&self) -> String {
        let output =
            Command::new("ssh-keygen").arg("-lf").arg(self.path("host_key.pub")).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().nth(1).expect("a fingerprint").to_owned()
    }

    /// How to get there, with a program that stands for nix-daemon.
    pub fn uri(&self, program: &str) -> String {
        let dir = self.dir.display();
        format!(
            "ssh-ng://127.0.0.1:{}?ssh-key={dir}/id&remote-program={program}&remote-store=local?root={dir}/store",
            self.port
        )
    }

    /// A builder with the right host key.
    pub fn builder(&self, name: &str, slots: u32) -> super::Builder {
        self.unpinned(name, slots).with(&format!("host_key = \"{}\"", self.public_key("host_key")))
    }

    /// A builder whose host key nobody vouches for.
    pub fn unpinned(&self, name: &str, slots: u32) -> super::Builder {
        super::Builder::at(name, &self.uri(&self.path("nix-daemon").display().to_string()), slots)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("sshd: {}", fs::read_to_string(self.path("sshd.log")).unwrap_or_default());
        }
        self.crash();
        super::stage::remove(&self.dir);
    }
}

fn namespace_of(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/mnt")).ok()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}
