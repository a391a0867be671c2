//! `muster history`

use std::path::PathBuf;

use super::{Failure, print};
use crate::cli::{HistoryArgs, Settings};
use crate::config::{Config, Environment, SYSTEM_STATE};
use crate::domain::Observation;
use crate::{edge, render};

pub(super) fn run(args: &HistoryArgs, environment: &Environment) -> Result<(), Failure> {
    let settings = Settings { places: args.places.clone(), ..Settings::default() };
    let config = Config::load(&settings, environment)?;
    let own = config.state_dir.clone();
    // A user without a coordinator of their own asks about the system's.
    let shared = config.control.fallback.is_some().then(|| PathBuf::from(SYSTEM_STATE));
    let seen = first([Some(own.clone()), shared].into_iter().flatten())?;
    let Some(seen) = seen else {
        let text = format!("nothing was learned yet: there is no history in {}", own.display());
        return Err(Failure::Failed(anyhow::anyhow!(text)));
    };
    let packages = render::history::packages(&seen, args.pname.as_deref());
    if args.json {
        let text = render::history::json(&packages).map_err(|error| Failure::Failed(error.into()))?;
        return print(&format!("{text}\n"));
    }
    print(&render::history::table(&packages, environment.width))
}

/// The first history that is there.
fn first(dirs: impl Iterator<Item = PathBuf>) -> Result<Option<Vec<Observation>>, Failure> {
    for dir in dirs {
        if let Some(seen) = edge::history::read(&dir).map_err(|error| Failure::Failed(error.into()))? {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}
