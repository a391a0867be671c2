//! Programs that run beside this one, and not longer.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What to start.
#[derive(Debug, Clone)]
pub struct Program {
    /// Which program.
    pub path: PathBuf,
    /// Its arguments.
    pub words: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(&'static str, OsString)>,
    /// A new file for all that it prints.
    pub log: PathBuf,
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}: {why}", path.display())]
pub struct StartError {
    path: PathBuf,
    why: io::Error,
}

/// A program that runs. Killed when dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Program {
    /// Starts it in a process group of its own: a Ctrl-C at the terminal is ours to pass on.
    pub fn start(&self) -> Result<Running, StartError> {
        let fail = |why| StartError { path: self.path.clone(), why };
        let log = File::create(&self.log).map_err(fail)?;
        let mut command = Command::new(&self.path);
        command
            .args(&self.words)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(fail)?).stderr(log);
        let child = command.current_dir("/").process_group(0).kill_on_drop(true).spawn();
        child.map(Running).map_err(fail)
    }
}

impl Running {
    /// Waits for its end.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }

    /// Asks it to end, and kills it where it does not.
    pub async fn end(mut self, patience: Duration) -> io::Result<ExitStatus> {
        if let Some(pid) = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // It may have ended in the meantime, which is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
        match timeout(patience, self.0.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.0.start_kill()?;
                self.0.wait().await
            }
        }
    }
}

/// The last lines of a log; empty where there is none.
pub fn last_lines(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Program {
        Program {
            path: "/bin/sh".into(),
            words: vec!["-c".into(), script.into()],
            environment: vec![("WORD", "seen".into())],
            log: dir.join("log"),
        }
    }

    #[tokio::test]
    async fn what_it_prints_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let program = shell("echo one; echo $WORD >&2; exit 3", dir.path());
        let status = program.start().expect("it runs").wait().await.expect("it ends");
        assert_eq!((status.code(), last_lines(&program.log, 9).as_str()), (Some(3), "one\nseen"));
        assert_eq!(last_lines(&program.log, 1), "seen");
    }

    #[tokio::test]
    async fn one_that_is_deaf_is_killed() {
        let dir = tempfile::tempdir().expect("a directory");
        let deaf = "trap '' TERM; echo; while :; do sleep 0.01; done";
        let program = shell(deaf, dir.path());
        let running = program.start().expect("it runs");
        while std::fs::read(&program.log).expect("a log").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = running.end(Duration::from_millis(50)).await.expect("it ends");
        assert_eq!(status.code(), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let program = Program { path: "/nonexistent".into(), ..shell("", dir.path()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let error = runtime.block_on(async { program.start().expect_err("nothing there").to_string() });
        assert!(error.starts_with("cannot start /nonexistent: No such file"), "{error}");
    }
}
