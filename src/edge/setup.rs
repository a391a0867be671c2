//! What has to change in Nix's own files so that Nix reads our machines lines, and back.
//!
//! A plan is made first, from what is there, and looked at before anything is written. Each file is replaced as a
//! whole, so that whatever ends this in the middle leaves files that Nix can read.

use std::path::{Path, PathBuf};

use super::discover::MachinesSource;
use super::discover::machines::{self, conf_with};
use super::edit::{self, EditError, Original};
use super::files;
use crate::nix::conf::Place;
use crate::nix::section::{self, Torn};

/// Where Determinate Nix, whose installer owns `nix.conf`, wants one's own settings.
const CUSTOM: &str = "nix.custom.conf";

/// Why Nix's files stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be read or written, or lies in the store.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A file has marks that make no sense.
    #[error("{}: {torn}", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// Where.
        torn: Torn,
    },
    /// Something behind our section has the last word.
    #[error("{place} sets `builders` after {}, and the last one wins: remove that line, and run this again", file.display())]
    Overridden {
        /// Where it is set.
        place: Place,
        /// Where our section would be.
        file: PathBuf,
    },
    /// No setting of Nix can name the machines file.
    #[error("nix.conf cannot name '{}': its path must have no white space and none of # ; @", .0.display())]
    BadPath(PathBuf),
}

/// A file that changes.
#[derive(Debug)]
pub struct Edit {
    /// The file as people name it.
    pub path: PathBuf,
    /// As it is.
    pub original: Original,
    /// As it is to be; none = removed.
    pub text: Option<Vec<u8>>,
}

/// What is to be done, in order; nothing where all is as it should be.
#[derive(Debug, Default)]
pub struct Plan {
    /// The files.
    pub edits: Vec<Edit>,
    /// Whether what Nix's daemon has read changes.
    pub restart: bool,
}

/// Makes Nix read our machines file. What Nix was told before stays in the file, above.
pub fn plan(source: &MachinesSource, store_dir: &str) -> Result<Plan, SetupError> {
    let (files, ours) = (&source.files, &source.ours.machines_file);
    let odd = |c: char| c.is_whitespace() || c.is_control() || "#;@".contains(c);
    let name = ours.to_str().filter(|name| !name.contains(odd));
    let setting = format!("@{}", name.ok_or_else(|| SetupError::BadPath(ours.clone()))?);
    let look = machines::look(source);
    let mut plan = Plan::default();
    if !look.reads_ours {
        if !look.foreign.is_empty() && !files::is_there(ours) {
            let lines: String = look.foreign.iter().map(|line| format!("{line}\n")).collect();
            plan.edits.push(edit(ours, store_dir, |_| Ok(Some(lines.into_bytes())))?);
        }
        let conf = conf_with(files, &|_| None);
        let custom =
            conf.files.iter().find(|file| Path::new(file).file_name().is_some_and(|name| name == CUSTOM));
        let target = custom.map_or_else(|| files.conf(), PathBuf::from);
        let body = format!("builders = {setting}\n");
        let change = edit(&target, store_dir, |text| section::put(text, &body).map(Some))?;
        check_last_word(source, &change, &setting)?;
        plan.edits.push(change);
        plan.restart = true;
    }
    plan.edits.extend(taken_out(&files.machines(), store_dir)?);
    plan.edits.retain(Edit::changes);
    Ok(plan)
}

/// Every file as it was before [`plan`].
pub fn undo(source: &MachinesSource, store_dir: &str) -> Result<Plan, SetupError> {
    let files = &source.files;
    let mut plan = Plan::default();
    for file in conf_with(files, &|_| None).files {
        plan.edits.extend(taken_out(Path::new(&file), store_dir)?);
    }
    plan.edits.retain(Edit::changes);
    plan.restart = !plan.edits.is_empty();
    plan.edits.extend(taken_out(&files.machines(), store_dir)?.filter(Edit::changes));
    Ok(plan)
}

impl Edit {
    fn changes(&self) -> bool {
        self.original.text != self.text
    }

    /// Writes it.
    pub fn carry_out(&self) -> Result<(), EditError> {
        self.original.replace(self.text.as_deref())
    }
}

/// The section's setting must be the one that counts in the end.
fn check_last_word(source: &MachinesSource, change: &Edit, setting: &str) -> Result<(), SetupError> {
    let text = |file: &Path| {
        let changed = file == change.path || file == change.original.path;
        let text = change.text.as_deref().filter(|_| changed)?;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    let conf = conf_with(&source.files, &text);
    match conf.get("builders") {
        Some(value) if value.text != setting => {
            Err(SetupError::Overridden { place: value.place.clone(), file: change.path.clone() })
        }
        _ => Ok(()),
    }
}

fn edit(
    path: &Path,
    store_dir: &str,
    change: impl FnOnce(Option<&[u8]>) -> Result<Option<Vec<u8>>, Torn>,
) -> Result<Edit, SetupError> {
    let original = edit::open(path, store_dir)?;
    let text = change(original.text.as_deref());
    let text = text.map_err(|torn| SetupError::Torn { path: path.to_owned(), torn })?;
    Ok(Edit { path: path.to_owned(), original, text })
}

/// A file without our section. One that is not there or lies in the store never had one.
fn taken_out(path: &Path, store_dir: &str) -> Result<Option<Edit>, SetupError> {
    let without = |text: Option<&[u8]>| text.map(section::take_out).transpose().map(Option::flatten);
    match edit(path, store_dir, without) {
        Err(SetupError::Edit(EditError::InStore { .. })) => Ok(None),
        Err(SetupError::Edit(EditError::Io { source, .. }))
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        edit => edit.map(Some),
    }
}

/// What restarts Nix's daemon on this machine, and whether we can do it ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// No daemon is there.
    Needless,
    /// With this command.
    Command(Vec<String>),
    /// By hand.
    ByHand(&'static str),
}

/// Looks for the service manager.
pub fn restart() -> Restart {
    const SOCKET: &str = "/nix/var/nix/daemon-socket/socket";
    const SERVICES: [&str; 2] = ["org.nixos.nix-daemon", "systems.determinate.nix-daemon"];
    let there = |path: &str| files::is_there(Path::new(path));
    let words = |words: &[&str]| Restart::Command(words.iter().map(|&word| word.to_owned()).collect());
    if !there(SOCKET) {
        return Restart::Needless;
    }
    if there("/run/systemd/system") {
        return words(&["systemctl", "try-restart", "nix-daemon.service"]);
    }
    let service = SERVICES.iter().find(|name| there(&format!("/Library/LaunchDaemons/{name}.plist")));
    match service {
        Some(name) => words(&["launchctl", "kickstart", "-k", &format!("system/{name}")]),
        None => Restart::ByHand("stop the process nix-daemon and start it again"),
    }
}

/// Runs such a command; none where it could not be started.
pub fn run(command: &[String]) -> std::io::Result<std::process::ExitStatus> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    std::process::Command::new(program).args(arguments).stdin(std::process::Stdio::null()).status()
}
