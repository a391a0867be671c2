//! `muster demo`

use super::Failure;
use crate::cli::DemoArgs;
use crate::config::Environment;

pub(super) fn run(_args: &DemoArgs, _environment: &Environment) -> Result<(), Failure> {
    Err(Failure::Failed(anyhow::anyhow!("`muster demo` is not built yet")))
}
