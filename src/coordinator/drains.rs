//! What is drained outlives the coordinator: it is kept in a small file of the state directory.

use std::path::PathBuf;

use super::driver::{Driver, RunError};
use crate::edge::files;
use crate::policy::Event;
use crate::wire::drains::Drains;

impl Driver {
    /// Before any builder is found.
    pub(super) fn recall_drains(&mut self) -> Result<(), RunError> {
        let path = self.drains_file();
        let Some(text) = files::read_bounded(&path) else { return Ok(()) };
        match Drains::parse(&text) {
            Ok(drains) => {
                for (builder, by) in drains.builders {
                    tracing::info!(%builder, by, "still drained");
                    self.step(Event::Drained(builder, by))?;
                }
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), "what was drained is not known any more: {error}");
            }
        }
        Ok(())
    }

    /// After each order; whoever gave it hears where it cannot last.
    pub(super) fn keep_drains(&self) -> Result<(), String> {
        let path = self.drains_file();
        let text = Drains::new(self.state.drains().clone()).to_text();
        let kept = files::make_dir(&self.world.config().state_dir, 0o755)
            .map_err(|error| error.to_string())
            .and_then(|()| files::replace(&path, &text).map_err(|error| error.to_string()));
        kept.map_err(|why| {
            format!("a restart of the coordinator forgets this: cannot write {}: {why}", path.display())
        })
    }

    fn drains_file(&self) -> PathBuf {
        self.world.config().state_dir.join("drained.json")
    }
}
