//! The report on disk: a coordinator that was killed, or has ended, cannot be asked any more.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::policy::Report;

/// A report of some 20,000 attempts has a few megabytes.
const LARGEST: u64 = 64 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BadReport {
    /// It cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// It is something else.
    #[error("{} is no report: {why}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: serde_json::Error,
    },
}

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("report.json")
}

/// What the last coordinator with this state directory did, where it wrote that down.
pub fn read(state_dir: &Path) -> Result<Option<Report>, BadReport> {
    let path = file(state_dir);
    let mut text = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut text));
    match read {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(BadReport::Io { path, why }),
        Ok(_) => serde_json::from_slice(&text).map(Some).map_err(|why| BadReport::Json { path, why }),
    }
}

/// Writes it down, in place of the one before.
pub fn write(state_dir: &Path, report: &Report) -> io::Result<()> {
    let text = serde_json::to_string(report)?;
    std::fs::create_dir_all(state_dir)?;
    super::files::replace(&file(state_dir), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_nonsense_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("state");
        assert!(read(&state).expect("no report yet").is_none());
        let report =
            Report { schema: 1, elapsed_ms: 7, builders: vec![], attempts: vec![], forgotten: 0, waiting: 2 };
        write(&state, &report).expect("written");
        assert_eq!(read(&state).expect("read"), Some(report));
        std::fs::write(state.join("report.json"), "x").expect("written");
        let error = read(&state).expect_err("nonsense").to_string();
        assert!(error.contains("report.json is no report"), "{error}");
    }
}
