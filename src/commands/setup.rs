//! `muster setup`
use super::Failure;
use crate::cli::SetupArgs;
use crate::config::Environment;

pub(super) fn run(_args: &SetupArgs, _environment: &Environment) -> Result<(), Failure> {
    Ok(())
}
