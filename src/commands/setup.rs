//! `muster setup`

use std::path::Path;

use super::{Failure, print};
use crate::cli::{Settings, SetupArgs};
use crate::config::{Config, Environment};
use crate::coordinator;
use crate::edge::edit::EditError;
use crate::edge::files::{FilesError, lock_runtime};
use crate::edge::setup::{self, Plan, Restart, SetupError};
use crate::render;

pub(super) fn run(args: &SetupArgs, environment: &Environment) -> Result<(), Failure> {
    let SetupArgs { undo, dry_run, places, nix } = args.clone();
    let config = Config::load(&Settings { places, nix, ..Settings::default() }, environment)?;
    let source = coordinator::MachinesSource { adopt: false, ..coordinator::machines_source(&config) };
    let store_dir = config.store_dir.as_str();
    let plan = if undo { setup::undo(&source, store_dir) } else { setup::plan(&source, store_dir) };
    let plan = plan.map_err(|error| refusal(&config, error))?;
    print(&differences(&plan))?;
    if plan.edits.is_empty() {
        let file = config.endpoint.machines_file.display();
        return print(&match undo {
            true => {
                format!("nothing to undo: no file in {} has a section of muster\n", config.nix.dir.display())
            }
            false => format!("nothing to do: Nix reads {file} already\n"),
        });
    }
    if dry_run {
        return print("\nnothing was changed (--dry-run)\n");
    }
    carry_out(&plan, &config)?;
    print("\n")?;
    restart(&plan, &config)?;
    if undo && runs(&config) {
        print(
            "A coordinator runs here; where it keeps its lines in Nix's own machines file, stop it first.\n",
        )?;
    }
    Ok(())
}

fn differences(plan: &Plan) -> String {
    let text = |text: &Option<Vec<u8>>| text.clone().unwrap_or_default();
    let edits = plan.edits.iter();
    edits
        .map(|edit| {
            let (old, new) = (text(&edit.original.text), text(&edit.text));
            render::diff::unified(&edit.path.display().to_string(), &old, &new)
        })
        .collect()
}

fn carry_out(plan: &Plan, config: &Config) -> Result<(), Failure> {
    for edit in &plan.edits {
        edit.carry_out().map_err(|error| refusal(config, error.into()))?;
    }
    Ok(())
}

/// Nix's daemon reads its files once. Only the usual ones are its own.
fn restart(plan: &Plan, config: &Config) -> Result<(), Failure> {
    if !plan.restart {
        return Ok(());
    }
    let restart = setup::restart();
    let by_hand = |how: &str| print(&format!("Nix's daemon reads this when it starts anew: {how}\n"));
    match restart {
        Restart::Needless => print("No daemon of Nix runs here: there is none to be restarted.\n"),
        Restart::ByHand(how) => by_hand(how),
        Restart::Command(command) if config.nix.dir != Path::new("/etc/nix") => by_hand(&command.join(" ")),
        Restart::Command(command) => match setup::run(&command) {
            Ok(status) if status.success() => print(&format!("done: {}\n", command.join(" "))),
            Ok(status) => by_hand(&format!("{} (it ended with {status})", command.join(" "))),
            Err(error) => by_hand(&format!("{} ({error})", command.join(" "))),
        },
    }
}

fn runs(config: &Config) -> bool {
    matches!(lock_runtime(&config.runtime_dir), Err(FilesError::InUse { .. }))
}

/// With what to do about it.
fn refusal(config: &Config, error: SetupError) -> Failure {
    let advice = match &error {
        SetupError::Edit(EditError::InStore { .. }) => Some(coordinator::option_to_set(config)),
        SetupError::Edit(EditError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Some("run it as root: sudo muster setup".to_owned())
        }
        _ => None,
    };
    let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
    Failure::Usage(anyhow::anyhow!("{error}{advice}"))
}
