//! Stock Nix as a child process.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::proc::{self, Process};
use super::{PATIENCE, wait_for, wait_until};

/// A running command in a process group of its own; ended with it when dropped.
pub struct Client {
    child: Child,
    what: String,
    terminal: PathBuf,
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    /// Everything that it printed.
    pub terminal: String,
}

impl Client {
    /// Starts a command; what it prints goes to the file `terminal`.
    pub fn start(mut command: Command, terminal: PathBuf) -> Self {
        let file = File::create(&terminal).expect("room");
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file).process_group(0);
        let what = format!("{command:?}");
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Self { child, what, terminal }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// What it has printed so far.
    pub fn terminal(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.terminal).unwrap_or_default()).into_owned()
    }

    /// Waits until it has printed `text`.
    pub fn prints(&mut self, text: &str) {
        let what = format!("the client prints '{text}'");
        wait_until(&what, PATIENCE, || {
            self.terminal().contains(text) || self.child.try_wait().is_ok_and(|s| s.is_some())
        });
        assert!(self.terminal().contains(text), "it ended and never printed '{text}':\n{}", self.terminal());
    }

    /// Waits for its end.
    pub fn wait(self) -> Outcome {
        self.wait_within(PATIENCE)
    }

    /// Waits for its end, which must come by then.
    pub fn wait_within(mut self, limit: Duration) -> Outcome {
        let what = format!("{} ends", self.what);
        let status = wait_for(&what, limit, || self.child.try_wait().expect("our child"));
        Outcome { code: status.code(), terminal: self.terminal() }
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        proc::signal(self.pid(), Signal::INT);
    }

    /// Stock's build hooks that it has started.
    pub fn hooks(&self) -> Vec<Process> {
        proc::children(self.pid()).into_iter().filter(|child| child.line().contains("build-remote")).collect()
    }

    /// The `connect` processes below its hooks.
    pub fn connects(&self) -> Vec<Process> {
        let hooks = self.hooks();
        let below = hooks.iter().flat_map(|hook| proc::children(hook.pid));
        below.filter(|process| process.words.get(1).is_some_and(|word| word == "--stdio")).collect()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.pid()) {
            // It may be gone, which is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Outcome {
    /// It must have succeeded.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "the client failed:\n{}", self.terminal);
        self
    }

    /// It must have failed by itself.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(
            self.code.is_some_and(|code| code != 0),
            "{:?}, but it should fail:\n{}",
            self.code,
            self.terminal
        );
        self
    }

    /// The lines of its terminal that hold all `words`.
    pub fn lines_with(&self, words: &[&str]) -> Vec<&str> {
        self.terminal.lines().filter(|line| words.iter().all(|word| line.contains(word))).collect()
    }

    /// Exactly one line must hold all `words`.
    #[track_caller]
    pub fn says_once(&self, words: &[&str]) -> &str {
        let lines = self.lines_with(words);
        assert_eq!(lines.len(), 1, "not one line with {words:?}:\n{}", self.terminal);
        lines[0]
    }
}
