//! `muster use`: one command whose builds go to the builders with one label.

use super::{Failure, block_on};
use crate::cli::{Settings, UseArgs};
use crate::config::{Config, Environment};
use crate::domain::{BuilderName, Label};
use crate::policy::Snapshot;
use crate::{coordinator, edge};

pub(super) fn run(args: &UseArgs, environment: &Environment) -> Result<(), Failure> {
    let settings = Settings { places: args.places.clone(), ..Settings::default() };
    let config = Config::load(&settings, environment)?;
    let label = Label::parse(&args.label).map_err(|error| Failure::Usage(error.into()))?;
    let (snapshot, own) = block_on(super::status::ask_any(&config.control))?;
    let socket = if own { config.endpoint.socket.clone() } else { crate::config::DEFAULT_ENDPOINT.into() };
    let lines = coordinator::lines_for_label(&config, &socket, &label, &snapshot.builders);
    let lines = lines.map_err(|error| Failure::Usage(error.into()))?;
    if lines.is_empty() {
        return Err(nobody(&label, &snapshot));
    }
    let builders = lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ; ");
    tracing::debug!(%builders, "the builders of the command");
    let (program, words) = args.command.split_first().ok_or_else(|| {
        Failure::Usage(anyhow::anyhow!("say which command to run: muster use {label} -- nix build ..."))
    })?;
    let error = edge::replace::become_with_builders(program, words, &builders);
    Err(Failure::Failed(
        anyhow::Error::new(error).context(format!("cannot run {}", program.to_string_lossy())),
    ))
}

fn nobody(label: &Label, snapshot: &Snapshot) -> Failure {
    let labels: Vec<_> = snapshot.builders.iter().filter(|row| !row.labels.is_empty()).collect();
    let list: Vec<_> = labels
        .iter()
        .map(|row| {
            let words: Vec<_> = row.labels.iter().map(Label::as_str).collect();
            format!("{} ({})", BuilderName::as_str(&row.name), words.join(", "))
        })
        .collect();
    let others = if list.is_empty() { "no builder has any".to_owned() } else { list.join(", ") };
    Failure::NoBuilder(anyhow::anyhow!(
        "no builder that was ever reached is labelled '{label}'; labels there are: {others}. Give it with \
         `labels = [\"{label}\"]` in the builder's [[builder]] table"
    ))
}
