//! `nix-daemon --stdio` as a child process: a complete builder over two pipes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::channel::{Behind, Channel, OpenError};

/// A daemon that has lost its input ends its build and itself within 50 ms; a hung one is killed after this.
const GRACE: Duration = Duration::from_millis(700);
/// How much of what a child says on its stderr is kept for errors.
const STDERR_KEPT: usize = 4 << 10;

/// What to start.
#[derive(Debug, Clone)]
pub struct DaemonProcess {
    /// `nix-daemon`, or what stands for it.
    pub program: PathBuf,
    /// The store it serves, as a store URI; none for the default one.
    pub store: Option<String>,
}

impl DaemonProcess {
    pub(super) fn open(&self, tracker: &TaskTracker) -> Result<Channel, OpenError> {
        let mut child = self
            .command()
            .spawn()
            .map_err(|why| OpenError::Spawn { program: self.program.display().to_string(), why })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            unreachable!("all were asked for");
        };
        let reaped = Reaped::new(child, Said::listen_to(stderr, tracker), tracker);
        let behind = Some(Behind::Child(reaped));
        Ok(Channel { reader: Box::new(stdout), writer: Box::new(stdin), behind })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--stdio", "--option", "builders", ""]);
        if let Some(store) = &self.store {
            command.args(["--store", store]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: a Ctrl-C at our terminal is ours to handle, and the group can be killed as one.
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// A child that is ended and waited for when this is dropped.
pub struct Reaped {
    child: Option<Child>,
    tracker: TaskTracker,
    said: Said,
}

impl Reaped {
    pub(super) fn new(child: Child, said: Said, tracker: &TaskTracker) -> Self {
        Self { child: Some(child), tracker: tracker.clone(), said }
    }

    /// The last words on its stderr.
    pub fn last_words(&self) -> String {
        self.said.text()
    }

    /// The same when it has said all, or after `limit`.
    pub async fn settled(&self, limit: Duration) -> String {
        self.said.settled(limit).await
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            self.tracker.spawn(reap(child));
        }
    }
}

/// The pipes are closed already; that alone ends a daemon that works.
async fn reap(mut child: Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if timeout(GRACE, child.wait()).await.is_ok() {
        return;
    }
    if let Some(group) = group {
        // It may be gone by now, which is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "cannot wait for a nix-daemon");
    }
}

/// The tail of what a program says on its stderr.
#[derive(Clone, Default)]
pub(super) struct Said {
    tail: Arc<Mutex<VecDeque<u8>>>,
    ended: CancellationToken,
}

impl Said {
    pub(super) fn listen_to(stderr: impl AsyncRead + Unpin + Send + 'static, tracker: &TaskTracker) -> Self {
        let said = Self::default();
        tracker.spawn(said.clone().listen(stderr));
        said
    }

    async fn listen(self, mut stderr: impl AsyncRead + Unpin) {
        let _ended = self.ended.clone().drop_guard();
        let mut chunk = [0; 1024];
        while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
            let mut kept = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&chunk[..read]);
            let excess = kept.len().saturating_sub(STDERR_KEPT);
            kept.drain(..excess);
        }
    }

    /// Cancelled when it can say no more.
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// What it has said so far.
    pub(super) fn text(&self) -> String {
        let kept = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// What it has said when it has said all, or after `limit`.
    pub(super) async fn settled(&self, limit: Duration) -> String {
        // Either way there is what there is.
        let _ = timeout(limit, self.ended.cancelled()).await;
        self.text()
    }
}
