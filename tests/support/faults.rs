//! Arming faults of `faulty-daemon.py`, which says what each of them is.

use std::fs;
use std::path::{Path, PathBuf};

use super::{PATIENCE, wait_for};

/// The step at which a channel to a builder fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Handshake,
    Upload,
    Start,
    Log,
    End,
    Output,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Die,
    Cut,
    Hang,
    Hold,
    Nonsense,
    Flood,
    FloodLine,
    Corrupt,
    Truncate,
}

/// Whether the builder works again afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Back,
    Dead,
}

impl What {
    fn word(self) -> String {
        if self == What::FloodLine { "flood-line".to_owned() } else { format!("{self:?}").to_lowercase() }
    }
}

/// The faults of one stage.
pub struct Faults {
    dir: PathBuf,
    armed: std::cell::Cell<u32>,
}

impl Faults {
    pub fn new(stage: &Path) -> Self {
        let dir = stage.join("faults");
        for name in ["armed", "hits", "dead", "running", "released"] {
            fs::create_dir_all(dir.join(name)).expect("room");
        }
        fs::write(dir.join("log"), "").expect("room");
        Self { dir, armed: std::cell::Cell::new(0) }
    }

    /// The builder that a channel should stand in for the real `nix-daemon`.
    pub fn program() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/faulty-daemon.py")
    }

    /// The next builder that gets there fails, once. Gives the fault's name.
    pub fn arm(&self, when: When, what: What, after: After) -> String {
        let number = self.armed.replace(self.armed.get() + 1);
        let text = format!("{when:?} {} {after:?}", what.word()).to_lowercase();
        let hidden = self.dir.join(".new");
        fs::write(&hidden, text).expect("room");
        fs::rename(hidden, self.dir.join("armed").join(number.to_string())).expect("the same directory");
        number.to_string()
    }

    /// The builder that a fault struck.
    pub fn hit(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join("hits").join(name)).ok()
    }

    /// Waits until it strikes.
    pub fn struck(&self, name: &str) -> String {
        wait_for(&format!("fault {name} strikes"), PATIENCE, || self.hit(name))
    }

    /// What a fault holds goes on.
    pub fn release(&self, name: &str) {
        fs::write(self.dir.join("released").join(name), "").expect("room");
    }

    /// From now on no channel of this builder opens; those that are open live on.
    pub fn bury(&self, builder: &str) {
        fs::write(self.dir.join("dead").join(builder), "").expect("room");
    }

    /// It works again.
    pub fn revive(&self, builder: &str) {
        fs::remove_file(self.dir.join("dead").join(builder)).expect("it was dead");
    }

    /// What happened, a line for each event.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The builders that were told to build a derivation of that name, in order.
    pub fn builds_of(&self, name: &str) -> Vec<String> {
        let end = format!(" build {name}");
        self.log().lines().filter_map(|line| line.strip_suffix(&end)).map(str::to_owned).collect()
    }
}
