//! Nix itself is asked whether it takes lines for nix.conf: it alone knows all of its settings.

use std::time::Duration;

use super::StepError;
use super::run::Runner;
use crate::action::inputs::Secret;
use crate::action::plan::Command;

/// More lines are not looked at one by one.
const LINES: usize = 500;

/// Refuses what Nix refuses, by the number of the line.
pub async fn check(runner: &Runner<'_>, input: &'static str, text: &str) -> Result<(), StepError> {
    if text.trim().is_empty() {
        return Ok(());
    }
    let Err(said) = asked(runner, text).await else { return Ok(()) };
    let lines: Vec<_> = text.lines().take(LINES).collect();
    for line in 1..=lines.len() {
        if let Err(said) = asked(runner, &lines[..line].join("\n")).await {
            return Err(StepError::Conf { input, line, said: format!("{said} ({:?})", lines[line - 1]) });
        }
    }
    Err(StepError::Conf { input, line: lines.len(), said })
}

/// Nix's own words where it refuses them. `NIX_CONFIG` is read as a file would be.
async fn asked(runner: &Runner<'_>, text: &str) -> Result<(), String> {
    let mut said = String::new();
    for command in ["config show", "show-config"] {
        let script = format!(
            "NIX_CONFIG=$(cat); export NIX_CONFIG; exec nix --extra-experimental-features nix-command {command} 2>&1"
        );
        let command = Command::new(["sh", "-c"]).and([script]).within(Duration::from_secs(20));
        let (ended, output) = runner.output(&command.reads(Secret::of(text))).await;
        if ended.is_ok() {
            return Ok(());
        }
        let error = output.lines().find(|line| line.contains("error")).unwrap_or_default();
        // Older ones have no `nix config show`, newer ones may lose `nix show-config`.
        if !error.is_empty() && !error.contains("is not a recognised command") && said.is_empty() {
            error.clone_into(&mut said);
        }
    }
    Err(if said.is_empty() { "nix could not be asked".to_owned() } else { said })
}
