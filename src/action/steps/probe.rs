//! A builder proves that it builds before it enters the tailnet: a coordinator that finds it later can rely on it.

use std::time::Duration;

use super::Facts;
use crate::action::inputs::{BadInput, Inputs, Job};
use crate::action::plan::{Act, Command, Otherwise};

/// Nobody has ever built it, it needs nothing, and its builder is what every sandbox has.
const TRIAL: &str = r#"derivation { name = "muster-probe-${toString builtins.currentTime}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo built >$out" ]; }"#;

/// Asks, in order, whether Nix is there, its daemon answers, and a build works; each failure says what is broken.
pub fn probe(job: &Job, facts: &Facts) -> Result<Vec<Act>, BadInput> {
    let inputs = Inputs::read(job)?;
    // As whoever builds here later will: root asks the daemon only if it is told to.
    let store: &[&str] = if facts.nix_daemon { &["--store", "daemon"] } else { &[] };
    let nix = |words: &[&str]| {
        let command =
            Command::new(["nix-build"]).and(store.iter().chain(words).map(|word| (*word).to_owned()));
        command.as_root()
    };
    let name = &inputs.hostname;
    let version = Command::new(["nix-build", "--version"]).as_root().within(Duration::from_secs(20));
    let asked = nix(&["--dry-run", "-E", TRIAL]).within(Duration::from_secs(30));
    let built = nix(&["--no-out-link", "--builders", "", "--max-jobs", "1", "-E", TRIAL])
        .within(Duration::from_secs(90));
    let missing = format!("{name} has no Nix that works; `install_nix: auto` brings one where there is none");
    let silent = format!(
        "the Nix daemon of {name} does not answer; does something in this job stop it, or does `extra_nix_config` keep it \
         from starting?"
    );
    let broken = format!(
        "{name} cannot build anything, so it does not offer itself; see above. A full disk, a sandbox that this machine \
         does not allow (`extra_nix_config: sandbox = false`) or missing build users are the usual causes"
    );
    Ok(vec![
        Act::Group("Probe this builder".to_owned()),
        Act::Run(version.or(Otherwise::Fail(missing))),
        Act::Run(asked.or(Otherwise::Fail(silent))),
        Act::Run(built.or(Otherwise::Fail(broken))),
        Act::Say(format!("{name} builds")),
        Act::EndGroup,
    ])
}
