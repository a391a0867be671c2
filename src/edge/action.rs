//! Carries out what the steps of the GitHub Action plan.
//!
//! | file | what |
//! |---|---|
//! | `facts` | what a plan needs to know of this machine |
//! | `fleet` | which builders the coordinator has, and what is wrong with them |
//! | `run` | commands, as root where they need it, with a limit of time |
//! | `nix_conf` | lines that Nix itself is asked about |

mod facts;
mod fleet;
mod nix_conf;
mod run;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::action::inputs::{Job, LogMode};
use crate::action::plan::{Act, Command, Level, Otherwise};
use crate::action::workflow;

pub use facts::facts;
use run::{Ended, Runner};

/// Why a step fails.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A file.
    #[error("cannot write {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A command that must not.
    #[error("{what} {how}{}", hint(.fix))]
    Command {
        /// The program.
        what: String,
        /// How it ended.
        how: String,
        /// What to do.
        fix: String,
    },
    /// Something did not come up.
    #[error("{path} was not there within {} s; what its process said:\n{said}", limit.as_secs())]
    Absent {
        /// What was waited for.
        path: String,
        /// For how long.
        limit: Duration,
        /// The end of its log.
        said: String,
    },
    /// Lines that Nix refuses.
    #[error("{input}, line {line}: {said}")]
    Conf {
        /// Whose lines they are.
        input: &'static str,
        /// Counted from 1.
        line: usize,
        /// Nix's words.
        said: String,
    },
}

fn hint(fix: &str) -> String {
    if fix.is_empty() { String::new() } else { format!(": {fix}") }
}

/// One step at work.
pub struct Step<'a> {
    job: &'a Job,
    cancelled: CancellationToken,
    mode: LogMode,
    runner: Runner<'a>,
}

impl<'a> Step<'a> {
    /// With the job's environment; `own` is this program. Once it is cancelled, what runs is ended and nothing else begins.
    pub fn new(job: &'a Job, own: &'a Path, cancelled: CancellationToken) -> Self {
        let mode = LogMode::of(job);
        let runner = Runner::new(job, own, mode == LogMode::Quiet, cancelled.clone());
        Self { job, mode, runner, cancelled }
    }

    /// Does all of it, in order.
    pub async fn carry_out(&self, acts: Vec<Act>) -> Result<(), StepError> {
        for act in acts {
            self.act(act).await?;
            if self.cancelled.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    async fn act(&self, act: Act) -> Result<(), StepError> {
        match act {
            Act::Group(title) => self.title(&title),
            Act::EndGroup if self.mode == LogMode::Grouped => say("::endgroup::"),
            Act::EndGroup => {}
            Act::Say(text) => self.note(&text),
            Act::Annotate(level, text) => say(&workflow::annotation(level, &text)),
            Act::Mask(secret) => say(&workflow::mask(secret.reveal())),
            Act::Output(name, value) => self.append("GITHUB_OUTPUT", &workflow::value(name, &value))?,
            Act::Env(name, value) => self.append("GITHUB_ENV", &workflow::value(name, &value))?,
            Act::OutputOf(name, command) => {
                let (ended, said) = self.runner.output(&command).await;
                follow(&command, ended)?;
                let first = said.lines().next().unwrap_or_default();
                self.append("GITHUB_OUTPUT", &workflow::value(name, first))?;
            }
            Act::Write { path, text, root } => self.write(&path, &text, root).await?,
            Act::Run(command) => follow(&command, self.runner.run(&command).await)?,
            Act::Start { command, log, pid } => {
                self.runner
                    .start(&command, Path::new(&log), Path::new(&pid))
                    .map_err(|why| file(&log, why))?;
            }
            Act::End { pid } => self.runner.end(Path::new(&pid)).await,
            Act::Await { path, limit, log } => await_path(&path, limit, &log).await?,
            Act::Remove(path) => {
                let command = Command::new(["rm", "-rf", "--"]).and([path]).as_root().or(Otherwise::Ignore);
                follow(&command, self.runner.run(&command).await)?;
            }
            Act::Summarise(command) => {
                let (ended, said) = self.runner.output(&command).await;
                follow(&command, ended)?;
                self.append("GITHUB_STEP_SUMMARY", &said)?;
            }
            Act::TryNixConf { input, text } => nix_conf::check(&self.runner, input, &text).await?,
            Act::SayFree => self.note(&format!("{} GB are free now", facts::free() / 1_000_000_000)),
            Act::DescribeFleet { names } => fleet::describe(self, &names).await?,
            Act::Together(commands) => {
                let mut running = Vec::new();
                for command in &commands {
                    running.push(self.runner.run(command));
                }
                for (command, ended) in commands.iter().zip(run::join_all(running).await) {
                    follow(command, ended)?;
                }
            }
        }
        Ok(())
    }

    fn title(&self, title: &str) {
        match self.mode {
            LogMode::Grouped => say(&format!("::group::{title}")),
            LogMode::Normal => say(&workflow::harmless(title)),
            LogMode::Quiet => {}
        }
    }

    /// Nothing that anybody must know.
    fn note(&self, text: &str) {
        if self.mode != LogMode::Quiet {
            say(&workflow::harmless(text));
        }
    }

    /// A file of GitHub's; where there is none, nobody reads it.
    fn append(&self, variable: &str, text: &str) -> Result<(), StepError> {
        let Some(path) = self.job.get(variable).filter(|path| !path.is_empty()) else { return Ok(()) };
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
        opened.and_then(|mut open| open.write_all(text.as_bytes())).map_err(|why| file(path, why))
    }

    /// By way of a file that is ours, where it takes root.
    async fn write(&self, path: &str, text: &str, root: bool) -> Result<(), StepError> {
        if !root {
            if let Some(dir) = Path::new(path).parent() {
                std::fs::create_dir_all(dir).map_err(|why| file(path, why))?;
            }
            return super::files::replace(Path::new(path), text).map_err(|why| file(path, why));
        }
        let scratch = tempfile::NamedTempFile::new().map_err(|why| file(path, why))?;
        std::fs::write(scratch.path(), text).map_err(|why| file(path, why))?;
        let from = scratch.path().display().to_string();
        let install = Command::new(["install", "-m", "0644"]).and([from, path.to_owned()]).as_root();
        let dir = Path::new(path).parent().map_or_else(|| "/".to_owned(), |dir| dir.display().to_string());
        for command in [Command::new(["mkdir", "-p"]).and([dir]).as_root(), install] {
            follow(&command, self.runner.run(&command).await)?;
        }
        Ok(())
    }
}

fn file(path: &str, why: io::Error) -> StepError {
    StepError::File { path: path.into(), why }
}

/// A line in the job's log; there is nobody to tell where it cannot be written.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// What follows from how a command ended.
fn follow(command: &Command, ended: Ended) -> Result<(), StepError> {
    let Err(how) = ended else { return Ok(()) };
    let what = command.words.iter().take(2).cloned().collect::<Vec<_>>().join(" ");
    match &command.otherwise {
        Otherwise::Fail(fix) => Err(StepError::Command { what, how, fix: fix.clone() }),
        Otherwise::Warn(text) => {
            say(&workflow::annotation(Level::Warning, &format!("{text} ({what} {how})")));
            Ok(())
        }
        Otherwise::Ignore => Ok(()),
    }
}

async fn await_path(path: &str, limit: Duration, log: &str) -> Result<(), StepError> {
    let there = async {
        // One that a killed process left behind lets nobody in.
        while std::os::unix::net::UnixStream::connect(path).is_err() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let absent = |_| {
        let said = super::program::last_lines(Path::new(log), 20);
        let said: Vec<_> = said.lines().map(workflow::harmless).collect();
        StepError::Absent { path: path.to_owned(), limit, said: said.join("\n") }
    };
    timeout(limit, there).await.map_err(absent)
}
