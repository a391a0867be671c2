//! Room for the store, by removing what comes with the runner and no Nix build needs.

use std::time::Duration;

use super::Facts;
use crate::action::inputs::{BadInput, Disk, Inputs, Job};
use crate::action::plan::{Act, Command, Otherwise};

/// With so many free bytes nothing is removed.
pub const FREE_ENOUGH: u64 = 50 * 1000 * 1000 * 1000;

/// The large directories of GitHub's Linux images. Nothing of Nix's, the user's or the runner's is among them.
const DISPENSABLE: [&str; 12] = [
    "/opt/az",
    "/opt/ghc",
    "/opt/hostedtoolcache",
    "/opt/microsoft",
    "/usr/local/.ghcup",
    "/usr/local/lib/android",
    "/usr/local/share/boost",
    "/usr/local/share/chromium",
    "/usr/local/share/powershell",
    "/usr/share/dotnet",
    "/usr/share/miniconda",
    "/usr/share/swift",
];

/// Makes room where it is wanted, and says what was done.
pub fn disk(job: &Job, facts: &Facts) -> Result<Vec<Act>, BadInput> {
    let inputs = Inputs::read(job)?;
    let free = format!("{} GB are free", facts.free / 1_000_000_000);
    let say = |text: String| Ok(vec![Act::Say(text)]);
    match inputs.maximize_disk {
        Disk::Never => say(format!("{free}; nothing is removed (maximize_disk: never)")),
        Disk::Auto | Disk::Always if facts.macos => say(format!("{free}; nothing is removed on macOS")),
        Disk::Auto if facts.free >= FREE_ENOUGH => {
            say(format!("{free}, which is enough; nothing is removed (maximize_disk: auto)"))
        }
        Disk::Auto | Disk::Always => Ok(remove(&free)),
    }
}

fn remove(free: &str) -> Vec<Act> {
    let directories = Command::new(["rm", "-rf", "--one-file-system", "--"])
        .and(DISPENSABLE.map(str::to_owned))
        .as_root()
        .within(Duration::from_secs(300));
    let images = Command::new(["docker", "image", "prune", "--all", "--force"]).as_root();
    let trouble = |what: &str| Otherwise::Warn(format!("{what} could not be removed"));
    vec![
        Act::Group("Make room for the store".to_owned()),
        Act::Say(format!("{free}; removing {}", DISPENSABLE.join(" "))),
        Act::Together(vec![
            directories.or(trouble("some of it")),
            images.within(Duration::from_secs(120)).or(Otherwise::Ignore),
        ]),
        Act::SayFree,
        Act::EndGroup,
    ]
}
