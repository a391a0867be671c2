//! Lines for nix.conf: a block at its end, the user's own last, so that they win.

use super::Facts;
use crate::action::inputs::{BadInput, Inputs, Job, Role};
use crate::action::plan::{Act, Command, Otherwise};

const FILE: &str = "/etc/nix/nix.conf";
const BEGIN: &str = "# muster's action: begin";
const END: &str = "# muster's action: end";

/// Appends the block, or replaces the one of an earlier run, and has the daemon read it.
pub fn configure(job: &Job, facts: &Facts) -> Result<Vec<Act>, BadInput> {
    let inputs = Inputs::read(job)?;
    let text = format!("{}{}", without_block(&facts.nix_conf), block(&inputs, facts));
    let mut acts = vec![Act::Group("Configure Nix".to_owned())];
    acts.push(Act::TryNixConf { input: "extra_nix_config", text: inputs.extra_nix_config });
    if text == facts.nix_conf {
        acts.push(Act::Say(format!("{FILE} is as it should be")));
    } else {
        acts.push(Act::Write { path: FILE.to_owned(), text, root: true });
        let restart = if facts.macos {
            Command::new(["launchctl", "kickstart", "-k", "system/org.nixos.nix-daemon"])
        } else {
            Command::new(["systemctl", "restart", "nix-daemon.service"])
        };
        let by_hand =
            "the Nix daemon could not be restarted: it reads nix.conf when it starts next".to_owned();
        acts.push(Act::Run(restart.as_root().or(Otherwise::Warn(by_hand))));
    }
    acts.push(Act::EndGroup);
    Ok(acts)
}

fn block(inputs: &Inputs, facts: &Facts) -> String {
    let mut lines = vec![
        BEGIN.to_owned(),
        "extra-experimental-features = nix-command flakes".to_owned(),
        format!("extra-trusted-users = {}", facts.user),
        "builders-use-substitutes = true".to_owned(),
    ];
    if inputs.role == Role::Builder {
        if inputs.user != "root" && inputs.user != facts.user {
            lines.push(format!("extra-trusted-users = {}", inputs.user));
        }
        // A builder that fills up collects garbage instead of failing.
        lines.push("min-free = 1000000000".to_owned());
        lines.push("max-free = 5000000000".to_owned());
    }
    lines.extend(inputs.extra_nix_config.lines().map(str::to_owned));
    lines.push(END.to_owned());
    lines.join("\n") + "\n"
}

/// What stood there before us; the end of its last line is there.
fn without_block(conf: &str) -> String {
    let mut kept = String::new();
    let mut ours = false;
    for line in conf.lines() {
        ours |= line == BEGIN;
        if !ours {
            kept += line;
            kept.push('\n');
        }
        ours &= line != END;
    }
    kept
}
