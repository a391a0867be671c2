//! One ssh connection to a builder.
//!
//! A master does not watch its standard input, so a shell does that for it: when we are gone, however that came, the
//! shell reads the end of its input and ends the whole process group.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dir::SocketDir;
use super::trouble::{self, Known, SshError};
use super::{Terms, command, config};
use crate::config::SshUri;
use crate::edge::files;
use crate::edge::process::{Reaped, Said};
use crate::wire::ssh_config::Settings;

/// Ends the group when its input ends. The trap is set behind ssh's start, which would inherit an ignored signal.
const LEASH: &str = r#"
"$@" </dev/null &
ssh=$!
trap : TERM
exec >/dev/null 2>&1
read -r _
kill -TERM 0
(sleep 1; kill -KILL 0) &
wait "$ssh"
kill -KILL 0
"#;
/// Between two looks for a master's socket.
const LOOK: Duration = Duration::from_millis(5);
/// Between two looks at what it says while it connects.
const HELD_UP: Duration = Duration::from_millis(500);
/// For ssh's last words once it has ended.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// A connection.
pub struct Master {
    socket: PathBuf,
    _dir: Arc<SocketDir>,
    taken: AtomicU32,
    /// Of those that are taken, the sessions that are open.
    open: AtomicU32,
    /// No more than these; found out by trying.
    most: AtomicU32,
    retired: AtomicBool,
    gone: CancellationToken,
    process: Mutex<Option<(ChildStdin, Reaped)>>,
}

impl Master {
    /// Connects and logs in; also what ssh's configuration says of the host, where it says it.
    pub async fn connect(
        uri: &SshUri,
        dir: &Arc<SocketDir>,
        terms: &Terms,
        tracker: &TaskTracker,
    ) -> Result<(Arc<Self>, Option<Settings>), SshError> {
        check_key(uri)?;
        let known_hosts = pin(uri, dir)?;
        let socket = dir.fresh('m');
        let file = known_hosts.as_ref().map(|Scrap(file)| file.as_path());
        let words = command::master(uri, &socket, file, terms);
        let patience = terms.patience.connect;
        let connecting = async {
            let settings = config::settings(uri, &words).await;
            let master = Self::start(uri, dir, socket, (&words, settings.as_ref()), tracker).await?;
            Ok((master, settings))
        };
        let result = timeout(patience, connecting).await;
        match result.unwrap_or(Err(SshError::Timeout(patience))) {
            Err(error) if error.wants_fingerprint() => {
                Err(error.with_fingerprint(look_closer(uri, &words, patience).await))
            }
            result => result,
        }
    }

    async fn start(
        uri: &SshUri,
        dir: &Arc<SocketDir>,
        socket: PathBuf,
        (words, settings): (&[String], Option<&Settings>),
        tracker: &TaskTracker,
    ) -> Result<Arc<Self>, SshError> {
        let mut words = words.to_vec();
        let ciphers = match settings {
            Some(settings) => config::ciphers(settings).await,
            None => None,
        };
        words.extend(ciphers.into_iter().flat_map(|list| ["-o".to_owned(), format!("Ciphers={list}")]));
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", LEASH, "muster-ssh", "ssh"]).args(&words).args(command::destination(uri));
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        shell.process_group(0).kill_on_drop(true);
        let mut child = shell.spawn().map_err(|error| SshError::Start(error.to_string()))?;
        let (Some(leash), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
            unreachable!("both were asked for");
        };
        // The shell lets go of its stderr, so that ssh's end is the end of it.
        let said = Said::listen_to(stderr, tracker);
        let master = Arc::new(Self {
            socket,
            _dir: Arc::clone(dir),
            taken: AtomicU32::new(0),
            open: AtomicU32::new(0),
            most: AtomicU32::new(u32::MAX),
            retired: AtomicBool::new(false),
            gone: said.ended(),
            process: Mutex::new(Some((leash, Reaped::new(child, said.clone(), tracker)))),
        });
        tokio::select! {
            () = master.listens() => Ok(master),
            () = master.gone.cancelled() => {
                let said = said.settled(LAST_WORDS).await;
                let tailnet = SshError::of_tailnet(uri, &said);
                Err(tailnet.unwrap_or_else(|| SshError::from_stderr(&uri.host, Known::of(uri), &said)))
            }
            error = held_up(uri, &said) => Err(error),
        }
    }

    /// ssh makes its socket when it is logged in.
    async fn listens(&self) {
        while !files::is_there(&self.socket) {
            sleep(LOOK).await;
        }
    }

    /// Whether something new may begin here.
    pub fn is_usable(&self) -> bool {
        !self.gone.is_cancelled() && !self.retired.load(Ordering::Relaxed)
    }

    /// Nothing new begins here.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Ends it once nobody has had a place on it for about so long. For those that a lane can do without.
    pub fn end_when_idle(self: &Arc<Self>, idle: Duration) -> impl Future<Output = ()> + Send + use<> {
        const LOOKS: u32 = 4;
        let (master, gone) = (Arc::downgrade(self), self.gone.clone());
        async move {
            let mut looks = 0;
            while gone.run_until_cancelled(sleep(idle / LOOKS)).await.is_some() {
                let Some(master) = master.upgrade() else { return };
                looks = if master.taken.load(Ordering::Relaxed) == 0 { looks + 1 } else { 0 };
                if looks > LOOKS {
                    return master.end();
                }
            }
        }
    }

    /// Ends it, and everything that it carries.
    pub fn end(&self) {
        self.retire();
        drop(self.process.lock().unwrap_or_else(PoisonError::into_inner).take());
        files::remove(&self.socket);
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.end();
    }
}

/// A place on a master: given back when dropped, and the master lives at least as long.
pub struct Seat {
    master: Arc<Master>,
    open: bool,
}

impl Seat {
    /// The first place of a new one.
    pub fn new(master: Arc<Master>) -> Self {
        master.taken.fetch_add(1, Ordering::Relaxed);
        Self { master, open: false }
    }

    /// A place, where there is one. Only one task asks at a time.
    pub fn take(master: &Arc<Master>, places: u32) -> Option<Self> {
        let places = places.min(master.most.load(Ordering::Relaxed));
        (master.taken.load(Ordering::Relaxed) < places).then(|| Self::new(Arc::clone(master)))
    }

    pub fn socket(&self) -> &Path {
        &self.master.socket
    }

    /// Its session is open.
    pub fn opened(&mut self) {
        self.open = true;
        self.master.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nobody else has one.
    pub fn is_alone(&self) -> bool {
        self.master.taken.load(Ordering::Relaxed) <= 1
    }

    /// The server takes only as many as are open now.
    pub fn allow_no_more(&self) {
        self.master.most.store(self.master.open.load(Ordering::Relaxed).max(1), Ordering::Relaxed);
    }

    /// Nothing new begins on this master.
    pub fn retire(&self) {
        self.master.retire();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.master.taken.fetch_sub(1, Ordering::Relaxed);
        if self.open {
            self.master.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// ssh only warns of a key that is not there, and then says that the server denies us.
fn check_key(uri: &SshUri) -> Result<(), SshError> {
    let Some(key) = &uri.key else { return Ok(()) };
    files::can_read(key)
        .map_err(|error| SshError::Key { path: key.display().to_string(), why: error.to_string() })
}

/// Waits for a reason why ssh will wait for ever.
async fn held_up(uri: &SshUri, said: &Said) -> SshError {
    loop {
        sleep(HELD_UP).await;
        if let Some(error @ SshError::Check { .. }) = SshError::of_tailnet(uri, &said.text()) {
            return error;
        }
    }
}

/// A file that is needed until ssh has connected.
struct Scrap(PathBuf);

impl Drop for Scrap {
    fn drop(&mut self) {
        files::remove(&self.0);
    }
}

fn pin(uri: &SshUri, dir: &SocketDir) -> Result<Option<Scrap>, SshError> {
    let Some(key) = &uri.host_key else { return Ok(None) };
    let file = dir.fresh('k');
    files::replace(&file, &command::known_host(key)).map_err(|error| SshError::Start(error.to_string()))?;
    Ok(Some(Scrap(file)))
}

/// Connects once more, only to hear which key the server shows.
pub(super) async fn look_closer(uri: &SshUri, words: &[String], patience: Duration) -> Option<String> {
    let mut ssh = Command::new("ssh");
    // The first value of an option wins.
    ssh.args(["-o", "LogLevel=DEBUG1", "-o", "ControlMaster=no", "-o", "ControlPath=none"]);
    ssh.args(words).args(command::destination(uri));
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = ssh.spawn().ok()?;
    let mut lines = BufReader::new(child.stderr.take()?.take(256 << 10));
    let hear = async {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).await.ok()? > 0 {
            if line.starts_with(b"debug1: Server host key: ") {
                return trouble::fingerprint(&String::from_utf8_lossy(&line));
            }
            line.clear();
        }
        None
    };
    let heard = timeout(patience, hear).await;
    let _ = child.kill().await;
    heard.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_spare_connection_ends_only_when_nobody_has_had_a_place_on_it_for_a_while() {
        let master = Arc::new(Master {
            socket: "/nonexistent/m0".into(),
            _dir: Arc::new(SocketDir::temporary().expect("a directory")),
            taken: AtomicU32::new(0),
            open: AtomicU32::new(0),
            most: AtomicU32::new(u32::MAX),
            retired: AtomicBool::new(false),
            gone: CancellationToken::new(),
            process: Mutex::new(None),
        });
        let seat = Seat::new(Arc::clone(&master));
        let watch = tokio::spawn(master.end_when_idle(Duration::from_secs(60)));
        sleep(Duration::from_secs(600)).await;
        assert!(master.is_usable());
        drop(seat);
        sleep(Duration::from_secs(50)).await;
        assert!(master.is_usable());
        sleep(Duration::from_secs(50)).await;
        assert!(!master.is_usable() && watch.is_finished());
    }
}
