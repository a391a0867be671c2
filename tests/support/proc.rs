//! Processes, as `/proc` shows them.

use std::fs;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    /// `R`, `S`, `Z` and so on.
    pub state: char,
    pub words: Vec<String>,
}

impl Process {
    /// Its command line as one text.
    pub fn line(&self) -> String {
        self.words.join(" ")
    }

    /// The name of its program, without the directory.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", |word| word.rsplit('/').next().unwrap_or_default())
    }
}

/// All that live now.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("there is a /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(read).filter(|process| process.state != 'Z').collect()
}

/// Those whose command line holds `mark`.
pub fn marked(mark: &str) -> Vec<Process> {
    all().into_iter().filter(|process| process.line().contains(mark)).collect()
}

/// The children of `pid`.
pub fn children(pid: i32) -> Vec<Process> {
    all().into_iter().filter(|process| process.parent == pid).collect()
}

/// Resident memory in KiB, now and at most.
pub fn memory(pid: i32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says so");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Sends a signal; nothing where there is no such process any more.
pub fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    let _ = rustix::process::kill_process(pid, signal);
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    let words = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    Some(Process { pid, parent, state, words })
}
