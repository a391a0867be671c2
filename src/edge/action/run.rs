//! Commands of a step: as root where they need it, with a limit of time, their words in the job's log.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command as Process};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::say;
use crate::action::inputs::Job;
use crate::action::plan::Command;
use crate::action::workflow;
use crate::edge::users;

/// Of a line in the log.
const LONGEST: u64 = 16 << 10;
/// Of an output that is kept.
const OUTPUT: u64 = 4 << 20;
/// Lines that are kept of what is not to be heard unless it fails.
const KEPT: usize = 100;
/// From being asked to end to being killed.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How a command ended where it did not do well.
pub type Ended = Result<(), String>;

/// Starts commands for one step.
pub struct Runner<'a> {
    job: &'a Job,
    own: &'a Path,
    is_root: bool,
    /// Whether only what fails is heard.
    quiet: bool,
    /// The job is cancelled: what runs is ended.
    cancelled: CancellationToken,
}

impl<'a> Runner<'a> {
    pub fn new(job: &'a Job, own: &'a Path, quiet: bool, cancelled: CancellationToken) -> Self {
        Self { job, own, is_root: users::own() == 0, quiet, cancelled }
    }

    /// sudo would find other programs than we do, so they get our PATH; secrets stay in the environment.
    fn words(&self, command: &Command) -> Vec<String> {
        let mut words = Vec::new();
        if command.root && !self.is_root {
            words.extend(["sudo", "-n"].map(str::to_owned));
            if !command.keep.is_empty() {
                words.push(format!("--preserve-env={}", command.keep.join(",")));
            }
            let path = self.job.get("PATH").map_or("/usr/bin:/bin", String::as_str);
            words.extend(["env".to_owned(), format!("PATH={path}")]);
        }
        let mut own = command.words.iter().cloned();
        match own.next() {
            Some(program) if program == "muster" => words.push(self.own.display().to_string()),
            program => words.extend(program),
        }
        words.extend(own);
        words
    }

    /// What a command finds in its environment: nothing of the inputs, whose key is among them.
    fn environment(&self, command: &Command) -> BTreeMap<String, String> {
        let all = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let secret = |name: &str| {
            name.starts_with("INPUT_")
                || name == "MUSTER_INPUTS"
                || (name.starts_with("ACTIONS_") && !command.keep.contains(&name))
        };
        all.filter(|(name, _)| !secret(name)).collect()
    }

    fn process(&self, command: &Command) -> Process {
        let words = self.words(command);
        let mut process = Process::new(&words[0]);
        process.args(&words[1..]).env_clear().envs(self.environment(command)).kill_on_drop(true);
        process.stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        process
    }

    /// Runs it; its words go to the log.
    pub async fn run(&self, command: &Command) -> Ended {
        let mut process = self.process(command);
        process.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process.spawn().map_err(|why| format!("cannot be started: {why}"))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let kept = self.quiet.then(|| RefCell::new(VecDeque::new()));
        let relayed = async { tokio::join!(relay(out, kept.as_ref()), relay(err, kept.as_ref())) };
        feed(&mut child, command).await;
        // A process that it left behind may hold its outputs open for ever.
        let ended = async {
            let mut relayed = std::pin::pin!(relayed);
            tokio::select! {
                _ = &mut relayed => child.wait().await,
                status = child.wait() => {
                    let _ = timeout(Duration::from_secs(1), relayed).await;
                    status
                }
            }
        };
        let status = self.within(command.limit, ended).await;
        let ended = self.judge(status, &mut child, command).await;
        if ended.is_err() {
            kept.iter().flat_map(RefCell::take).for_each(|line| say(&line));
        }
        ended
    }

    /// Runs it and keeps what it says on stdout.
    pub async fn output(&self, command: &Command) -> (Ended, String) {
        let mut process = self.process(command);
        process.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = match process.spawn() {
            Ok(child) => child,
            Err(why) => return (Err(format!("cannot be started: {why}")), String::new()),
        };
        let stdout = child.stdout.take();
        feed(&mut child, command).await;
        let mut said = Vec::new();
        let ended = async {
            if let Some(stdout) = stdout {
                stdout.take(OUTPUT).read_to_end(&mut said).await?;
            }
            child.wait().await
        };
        let status = self.within(command.limit, ended).await;
        let ended = self.judge(status, &mut child, command).await;
        (ended, String::from_utf8_lossy(&said).into_owned())
    }

    async fn judge(
        &self,
        status: Option<Result<io::Result<std::process::ExitStatus>, Elapsed>>,
        child: &mut Child,
        command: &Command,
    ) -> Ended {
        match status {
            Some(Ok(Ok(status))) if status.success() => Ok(()),
            Some(Ok(Ok(status))) => Err(status
                .code()
                .map_or_else(|| "was killed".to_owned(), |code| format!("failed with exit code {code}"))),
            Some(Ok(Err(why))) => Err(format!("cannot be waited for: {why}")),
            Some(Err(_)) => {
                self.end_child(child, command).await;
                Err(format!("did not end within {} s", command.limit.as_secs()))
            }
            None => {
                self.end_child(child, command).await;
                Err("was ended: the job is cancelled".to_owned())
            }
        }
    }

    /// None where the job is cancelled meanwhile.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<Result<T, Elapsed>> {
        self.cancelled.run_until_cancelled(timeout(limit, work)).await
    }

    /// First it is asked. One that cannot be ended is left behind, since nobody may wait for it for ever.
    async fn end_child(&self, child: &mut Child, command: &Command) {
        for (word, signal) in [("-TERM", Signal::TERM), ("-KILL", Signal::KILL)] {
            let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else {
                return;
            };
            if kill_process(pid, signal) == Err(Errno::PERM) && command.root {
                // sudo belongs to root, who alone may end it; it hands the first one on.
                let mut sudo = Process::new("sudo");
                sudo.args(["-n", "kill", word, &pid.as_raw_nonzero().to_string()]).kill_on_drop(true);
                sudo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                let _ = timeout(LAST_WORDS, sudo.status()).await;
            }
            if timeout(LAST_WORDS, child.wait()).await.is_ok() {
                return;
            }
        }
    }

    /// Starts it in a session of its own; it outlives us.
    pub fn start(&self, command: &Command, log: &Path, pid: &Path) -> io::Result<()> {
        if let Some(dir) = log.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let log = File::create(log)?;
        let words = self.words(command);
        let mut process = std::process::Command::new("setsid");
        if cfg!(target_os = "macos") {
            process = std::process::Command::new("nohup");
        }
        process.args(&words).env_clear().envs(self.environment(command));
        process.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = process.spawn()?;
        std::fs::write(pid, child.id().to_string())
    }

    /// Ends what `start` started, and waits for it; it may be gone.
    pub async fn end(&self, pid: &Path) {
        let number = std::fs::read_to_string(pid).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let Some(number) = number else { return };
        for (signal, patience) in [("-TERM", LAST_WORDS), ("-KILL", Duration::from_secs(2))] {
            if !users::is_alive(number) {
                break;
            }
            // Where sudo was started, it tells its child.
            let kill = Command::new(["kill", signal]).and([number.to_string()]).as_root();
            let _ = self.run(&kill.within(Duration::from_secs(5))).await;
            let gone = async {
                while users::is_alive(number) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let _ = timeout(patience, gone).await;
        }
        let _ = std::fs::remove_file(pid);
    }
}

/// The secret goes through a pipe, and the pipe is closed.
async fn feed(child: &mut Child, command: &Command) {
    if let (Some(mut stdin), Some(secret)) = (child.stdin.take(), &command.stdin) {
        // Who does not read it says why.
        let _ = stdin.write_all(secret.reveal().as_bytes()).await;
    }
}

/// Line by line, so that nothing in it is a command to GitHub; to the log, or the last lines to whoever keeps them.
async fn relay(from: Option<impl AsyncRead + Unpin>, kept: Option<&RefCell<VecDeque<String>>>) {
    let Some(from) = from else { return };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LONGEST).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let line = workflow::harmless(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
                let Some(kept) = kept else {
                    say(&line);
                    continue;
                };
                let mut kept = kept.borrow_mut();
                kept.push_back(line);
                if kept.len() > KEPT {
                    kept.pop_front();
                }
            }
        }
    }
}

/// All of them side by side, on this task.
pub async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
