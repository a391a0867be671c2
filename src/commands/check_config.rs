//! `muster check-config`

use super::{Failure, print};
use crate::cli::{CheckConfigArgs, Places, Settings};
use crate::config::{Config, Environment};
use crate::render;

pub(super) fn run(args: CheckConfigArgs, environment: &Environment) -> Result<(), Failure> {
    let CheckConfigArgs { file, places } = args;
    let places = Places { config: file.or(places.config.clone()), ..places };
    let config = Config::load(&Settings { places, ..Settings::default() }, environment)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let effective = render::config::effective(&config).map_err(|error| Failure::Failed(error.into()))?;
    print(&format!("config ok\n\n{effective}"))
}
