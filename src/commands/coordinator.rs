//! `muster coordinator`

use super::Failure;
use crate::cli::CoordinatorArgs;
use crate::config::Environment;

pub(super) fn run(_args: &CoordinatorArgs, _environment: &Environment) -> Result<(), Failure> {
    Err(Failure::Failed(anyhow::anyhow!("`muster coordinator` is not built yet")))
}
