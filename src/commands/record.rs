//! `muster record`

use anyhow::Context;

use super::{Failure, block_on, print, report, status};
use crate::cli::{RecordArgs, Settings};
use crate::config::{Config, Environment};
use crate::{coordinator, edge};

pub(super) fn run(args: &RecordArgs, environment: &Environment) -> Result<(), Failure> {
    let settings = Settings {
        places: args.places.clone(),
        local_store: args.local_store.clone(),
        ..Settings::default()
    };
    let config = Config::load(&settings, environment)?;
    let recording = block_on(async {
        let report = report::of_some_coordinator(&config.control, &config.state_dir).await?;
        // Where nobody runs any more, the report alone says what there was.
        let rows = match status::ask_any(&config.control).await {
            Ok((snapshot, _)) => snapshot.builders,
            Err(_) => Vec::new(),
        };
        let recorded = coordinator::record::record(&config, &report, &rows).await;
        recorded.context("the local store cannot be asked").map_err(Failure::Failed)
    })?;
    if recording.builds.is_empty() {
        let text =
            "nothing was built since the coordinator started, as far as the local store has its derivations";
        return Err(Failure::Failed(anyhow::anyhow!(text)));
    }
    match &args.output {
        None => print(&recording.to_text()),
        Some(path) => edge::files::replace(path, &recording.to_text())
            .with_context(|| format!("cannot write {}", path.display()))
            .map_err(Failure::Failed),
    }
}
