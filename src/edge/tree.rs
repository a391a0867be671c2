//! Processes that belong together, found by looking at all there are.
//!
//! A killed nix-daemon may leave its build running, without a parent that tells where it came from. So whoever names
//! the store in its arguments belongs, whoever lives in a root directory below the given one, and all descendants.
//! Needs `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

/// Between two looks at what is left.
const PAUSE: Duration = Duration::from_millis(20);

/// What processes have in common.
#[derive(Debug, Clone)]
pub struct Belonging {
    /// An argument of theirs contains one of these.
    pub words: Vec<String>,
    /// Or their root directory lies below this one.
    pub root: PathBuf,
}

/// Processes that were killed and are still there.
#[derive(Debug, thiserror::Error)]
#[error("processes {0:?} were killed, and are still there after {1:?}")]
pub struct Survivors(BTreeSet<u32>, Duration);

/// A process, as far as it can be seen.
#[derive(Debug, Default)]
struct Process {
    pid: u32,
    parent: u32,
    words: Vec<String>,
    root: PathBuf,
}

/// The processes that belong, this one aside.
pub fn find(belonging: &Belonging) -> BTreeSet<u32> {
    members(&running(), belonging, std::process::id())
}

/// Kills them all, until none is left, and says how many there were.
///
/// They are collected before the first one dies: afterwards nobody could tell whose its children were.
pub async fn kill(belonging: &Belonging, patience: Duration) -> Result<usize, Survivors> {
    let began = Instant::now();
    let mut seen = BTreeSet::new();
    loop {
        let found = find(belonging);
        if found.is_empty() {
            return Ok(seen.len());
        }
        if began.elapsed() > patience {
            return Err(Survivors(found, patience));
        }
        for &pid in &found {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended in the meantime, which is what is wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        seen.extend(found);
        sleep(PAUSE).await;
    }
}

fn members(all: &[Process], belonging: &Belonging, me: u32) -> BTreeSet<u32> {
    let named = |process: &Process| {
        process.words.iter().any(|word| belonging.words.iter().any(|mark| word.contains(mark)))
    };
    let belongs = |process: &Process| named(process) || process.root.starts_with(&belonging.root);
    let mut members: BTreeSet<u32> = all
        .iter()
        .filter(|process| process.pid != me && belongs(process))
        .map(|process| process.pid)
        .collect();
    loop {
        let before = members.len();
        for process in all {
            if members.contains(&process.parent) && process.pid != me {
                members.insert(process.pid);
            }
        }
        if members.len() == before {
            return members;
        }
    }
}

fn running() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(look_at).collect()
}

/// None where it has ended, even if nobody has taken note yet.
fn look_at(pid: u32) -> Option<Process> {
    let dir = Path::new("/proc").join(pid.to_string());
    let stat = fs::read(dir.join("stat")).ok()?;
    let (state, parent) = state_and_parent(&String::from_utf8_lossy(&stat))?;
    let cmdline = fs::read(dir.join("cmdline")).unwrap_or_default();
    let words = cmdline.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let root = fs::read_link(dir.join("root")).unwrap_or_default();
    (!matches!(state, 'Z' | 'X')).then(|| Process { pid, parent, words: words.collect(), root })
}

/// From `/proc/PID/stat` (proc(5)); the name before them may hold anything.
fn state_and_parent(stat: &str) -> Option<(char, u32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn process(pid: u32, parent: u32, words: &str, root: &str) -> Process {
        let words = words.split_whitespace().map(str::to_owned).collect();
        Process { pid, parent, words, root: root.into() }
    }

    #[test]
    fn orphans_strangers_and_descendants_are_told_apart() {
        let all = [
            process(2, 1, "muster demo", "/"),
            process(3, 2, "nix-daemon --store local?root=/x/large", "/"),
            process(4, 3, "sh", "/"),
            process(5, 4, "sleep", "/"),
            process(6, 1, "sleep", "/x/large/nix/store/a.chroot/root"),
            process(7, 2, "nix-daemon --store local?root=/x/small", "/"),
            process(8, 7, "sh", "/x/largest"),
        ];
        let belonging = Belonging { words: vec!["local?root=/x/large".to_owned()], root: "/x/large".into() };
        assert_eq!(members(&all, &belonging, 2), BTreeSet::from([3, 4, 5, 6]));
        assert_eq!(members(&all, &belonging, 3), BTreeSet::from([6]));
    }

    #[test]
    fn a_name_with_parentheses_hides_nothing() {
        assert_eq!(state_and_parent("7 (a) b) (c) S 12 7 7"), Some(('S', 12)));
        assert_eq!(state_and_parent("nonsense"), None);
    }

    #[tokio::test]
    async fn a_whole_tree_is_killed() {
        let mark = format!("tree-test-{}", std::process::id());
        let mut child = Command::new("sh")
            .args(["-c", "sleep 100 & sleep 100 & wait", &mark])
            .stdin(Stdio::null())
            .spawn()
            .expect("a shell");
        let belonging = Belonging { words: vec![mark], root: "/nonexistent".into() };
        while find(&belonging).len() < 3 {
            sleep(PAUSE).await;
        }
        assert_eq!(kill(&belonging, Duration::from_secs(5)).await.expect("killed"), 3);
        assert!(find(&belonging).is_empty());
        child.wait().expect("reaped");
    }
}
