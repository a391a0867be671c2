//! What a step of the action does, as data: commands, files, and words for the log.

use std::time::Duration;

use super::inputs::Secret;

/// One thing to do. They are done in order; the first that must not fail and does ends the step.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A title in the log; what follows is folded below it.
    Group(String),
    /// The end of that.
    EndGroup,
    /// A line in the log.
    Say(String),
    /// A line that stands out of the log: the cause of something.
    Annotate(Level, String),
    /// No log shall show this text.
    Mask(Secret),
    /// An output of the step.
    Output(&'static str, String),
    /// An output of the step: the first line that a command says.
    OutputOf(&'static str, Command),
    /// A variable for all later steps of the job.
    Env(&'static str, String),
    /// A file of ours, in place of what was there.
    Write {
        /// Where.
        path: String,
        /// What it holds.
        text: String,
        /// Whether it takes root.
        root: bool,
    },
    /// A command.
    Run(Command),
    /// A process that outlives this step.
    Start {
        /// What.
        command: Command,
        /// Where its words go.
        log: String,
        /// Where its number stands.
        pid: String,
    },
    /// Ends such a process, as root.
    End {
        /// Where its number stands.
        pid: String,
    },
    /// Waits until somebody listens there.
    Await {
        /// A socket.
        path: String,
        /// For how long.
        limit: Duration,
        /// Which log says why it is not there.
        log: String,
    },
    /// Removes a file or a directory of ours.
    Remove(String),
    /// Adds a command's output to the job's summary.
    Summarise(Command),
    /// Refuses lines that Nix would refuse, by the number of the line.
    TryNixConf {
        /// Whose lines they are.
        input: &'static str,
        /// The lines.
        text: String,
    },
    /// How much is free now.
    SayFree,
    /// Looks for a direct path to each builder, and says which ones the coordinator has, in the log and as outputs.
    DescribeFleet {
        /// Those that are listed: what keeps each that is missing is said.
        names: Vec<String>,
    },
    /// Side by side.
    Together(Vec<Command>),
}

/// How much an annotation matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "GitHub's words")]
pub enum Level {
    Notice,
    Warning,
    Error,
}

/// What follows from a command that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Otherwise {
    /// The step fails, and says this.
    Fail(String),
    /// A warning, and the next one.
    Warn(String),
    /// Nothing.
    Ignore,
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Never a secret.
    pub words: Vec<String>,
    /// Whether it takes root.
    pub root: bool,
    /// Variables that it needs and that sudo would take away: their names.
    pub keep: Vec<&'static str>,
    /// What it reads.
    pub stdin: Option<Secret>,
    /// How long it may take.
    pub limit: Duration,
    /// What follows where it fails.
    pub otherwise: Otherwise,
}

impl Command {
    /// A command that takes at most a minute and must not fail.
    pub fn new<const N: usize>(words: [&str; N]) -> Self {
        Self {
            words: words.map(str::to_owned).to_vec(),
            root: false,
            keep: Vec::new(),
            stdin: None,
            limit: Duration::from_secs(60),
            otherwise: Otherwise::Fail(String::new()),
        }
    }

    /// As root.
    pub fn as_root(mut self) -> Self {
        self.root = true;
        self
    }

    /// With more words.
    pub fn and(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.words.extend(words);
        self
    }

    /// With another limit of time.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// With this to be read.
    pub fn reads(mut self, secret: Secret) -> Self {
        self.stdin = Some(secret);
        self
    }

    /// With something else to follow from its failure.
    pub fn or(mut self, otherwise: Otherwise) -> Self {
        self.otherwise = otherwise;
        self
    }
}
