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
use tokio_util::task::TaskTracker;

use super::channel::{Channel, OpenError};

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
        let said = Said::default();
        if let Some(stderr) = stderr {
            tracker.spawn(said.clone().listen(stderr));
        }
        let reaped = Reaped { child: Some(child), tracker: tracker.clone(), said };
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            unreachable!("both were asked for");
        };
        Ok(Channel { reader: Box::new(stdout), writer: Box::new(stdin), child: Some(reaped) })
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
    /// The last words on its stderr.
    pub fn last_words(&self) -> String {
        self.said.text()
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

/// The tail of a child's stderr.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<VecDeque<u8>>>);

impl Said {
    async fn listen(self, mut stderr: impl AsyncRead + Unpin) {
        let mut chunk = [0; 1024];
        while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(&chunk[..read]);
            let excess = kept.len().saturating_sub(STDERR_KEPT);
            kept.drain(..excess);
        }
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}
