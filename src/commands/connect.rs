//! `muster connect`

use super::Failure;
use crate::cli::ConnectArgs;
use crate::config::Environment;

pub(super) fn run(_args: &ConnectArgs, _environment: &Environment) -> Result<(), Failure> {
    Err(Failure::Failed(anyhow::anyhow!("`muster connect` is not built yet")))
}
