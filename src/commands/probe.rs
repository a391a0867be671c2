//! `muster probe`

use super::{Failure, block_on, print};
use crate::cli::{ProbeArgs, Settings};
use crate::config::{Builder, Config, Environment};
use crate::coordinator::survey::survey;
use crate::render::probe::{ProbeRow, json, text};

pub(super) fn run(args: &ProbeArgs, environment: &Environment) -> Result<(), Failure> {
    let settings = Settings { places: args.places.clone(), ..Settings::default() };
    let config = Config::load(&settings, environment)?;
    let builders = builders(&config, &args.hosts)?;
    let surveyed =
        block_on(async { survey(&config, &builders).await.map_err(|error| Failure::Failed(error.into())) })?;
    let rows: Vec<ProbeRow> =
        surveyed.into_iter().map(|one| ProbeRow::new(one.name, one.found, one.took)).collect();
    if args.json {
        let document = json(&rows).map_err(|error| Failure::Failed(error.into()))?;
        print(&format!("{document}\n"))?;
    } else {
        print(&text(&rows))?;
    }
    let lost = rows.iter().filter(|row| row.found.is_none()).count();
    match lost {
        0 => Ok(()),
        _ if lost == rows.len() => Err(Failure::NoBuilder(anyhow::anyhow!("no builder can be used"))),
        _ => Err(Failure::Failed(anyhow::anyhow!("{lost} of {} builders cannot be used", rows.len()))),
    }
}

/// Those that were named, by the configuration's names first; all where none was.
fn builders(config: &Config, hosts: &[String]) -> Result<Vec<Builder>, Failure> {
    if hosts.is_empty() && config.builders.is_empty() {
        let text = "no builder is configured; name one: muster probe USER@HOST";
        return Err(Failure::NoBuilder(anyhow::anyhow!(text)));
    }
    if hosts.is_empty() {
        return Ok(config.builders.clone());
    }
    let find = |host: &String| {
        let known = config.builders.iter().find(|builder| builder.spec.name.as_str() == host);
        known.cloned().map_or_else(|| Builder::from_uri(host), Ok)
    };
    hosts.iter().map(find).collect::<Result<_, _>>().map_err(|why| Failure::Usage(anyhow::anyhow!(why)))
}
