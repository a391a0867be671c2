//! What an ephemeral builder does when it is released.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// It logs out, powers off or ends a job; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the release command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It could not be started.
    #[error("cannot run the release command: {0}")]
    Start(#[from] io::Error),
    /// It failed.
    #[error("the release command ended with {0}")]
    Failed(ExitStatus),
    /// It did not end.
    #[error("the release command did not end within {}", humantime::format_duration(PATIENCE))]
    Hangs,
}

/// Runs it by `/bin/sh`; what it prints goes where our own words go.
pub async fn run(command: &str) -> Result<(), ReleaseError> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).kill_on_drop(true);
    let mut child = shell.spawn()?;
    match timeout(PATIENCE, child.wait()).await {
        Ok(status) => match status? {
            status if status.success() => Ok(()),
            status => Err(ReleaseError::Failed(status)),
        },
        Err(_) => Err(ReleaseError::Hangs),
    }
}
