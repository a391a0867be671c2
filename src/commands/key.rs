//! `muster key`

use std::path::Path;

use super::{Failure, print};
use crate::cli::KeyArgs;
use crate::config::{self, Environment};
use crate::edge::keys;
use crate::render;

pub(super) fn run(args: &KeyArgs, environment: &Environment) -> Result<(), Failure> {
    let file = match &args.file {
        Some(file) => environment.cwd.join(file),
        None => config::default_key(environment)?,
    };
    if !config::key_can_be(&file) {
        let file = file.display();
        return Err(Failure::Usage(anyhow::anyhow!(
            "'{file}' is a path that ssh's configuration cannot hold"
        )));
    }
    let public = keys::make(&file).map_err(|error| match error {
        keys::KeyError::There(_) => Failure::Usage(error.into()),
        error => Failure::Failed(error.into()),
    })?;
    let configuration = config::default_file(environment)?;
    print(&advice(&file, &public, &configuration))
}

fn advice(file: &Path, public: &str, configuration: &Path) -> String {
    render::key::made(&file.display().to_string(), public, &configuration.display().to_string())
}
