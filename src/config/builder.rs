//! The builders that the user named, in the file and on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;

use toml::de::DeValue;

use super::document::Section;
use super::{Builder, BuilderUri, ConfigError, Place, uri, value};
use crate::domain::{BuilderName, BuilderSpec, Feature, HostKey, Label, System};

/// More slots than this on one machine are a slip of the pen.
const MOST_SLOTS: u32 = 10_000;
/// The same of processors.
const MOST_CORES: u32 = 65_536;

/// All builders, each name once.
pub(super) fn builders(sections: Vec<Section<'_>>, typed: &[String]) -> Result<Vec<Builder>, ConfigError> {
    let mut builders = Vec::new();
    let mut seen: BTreeMap<BuilderName, Place> = BTreeMap::new();
    let written = sections.into_iter().map(|section| (section.place(), from_section(section)));
    let typed = typed.iter().map(|uri| (Place::Flag("--builder"), from_flag(uri)));
    for (place, builder) in written.chain(typed) {
        let builder = builder?;
        let name = &builder.spec.name;
        if let Some(first) = seen.get(name) {
            let message =
                format!("a builder named '{name}' is there already ({first}); give each its own `name`");
            return Err(ConfigError::wrong(place, message));
        }
        seen.insert(name.clone(), place);
        builders.push(builder);
    }
    Ok(builders)
}

fn from_section(mut section: Section<'_>) -> Result<Builder, ConfigError> {
    let name = section.take("name", |value| parse(value, BuilderName::parse))?;
    let mut uri = section.take_needed("uri", |value| parse(value, BuilderUri::parse))?;
    let key = section.take("key", ssh_key)?;
    let host_key = section.take("host_key", |value| parse(value, HostKey::parse))?;
    add_keys(&mut uri, key, host_key).map_err(|why| section.error(why))?;
    let systems = section.take("systems", value::some_words(System::parse))?;
    let features = section.take("features", value::words(Feature::parse))?;
    let mandatory = section.take_or("mandatory", BTreeSet::new(), value::words(Feature::parse))?;
    let slots = section.take("slots", value::count(1, MOST_SLOTS))?.and_then(NonZeroU32::new);
    let speed_factor = section.take("speed_factor", value::factor)?;
    let cores = section.take("cores", value::count(1, MOST_CORES))?;
    let memory = section.take("memory", value::size)?;
    let consumables = section.take_or("consumables", BTreeMap::new(), consumables)?;
    let labels = section.take_or("labels", BTreeSet::new(), value::words(Label::parse))?;
    let name = match name {
        Some(name) => name,
        None => default_name(&uri).map_err(|why| section.error(why))?,
    };
    section.finish()?;
    let spec = BuilderSpec {
        name,
        systems,
        features,
        mandatory,
        slots,
        speed_factor,
        cores,
        memory,
        consumables,
        labels,
    };
    Ok(Builder { spec, uri })
}

/// `{ kvm = 2 }`: features, and how many builds may use each at once.
fn consumables(value: &DeValue<'_>) -> Result<BTreeMap<Feature, u32>, String> {
    let table = value.as_table().ok_or_else(|| value::expected("a table such as { kvm = 2 }", value))?;
    let mut consumables = BTreeMap::new();
    for (feature, count) in table {
        let feature = Feature::parse(feature.get_ref()).map_err(|error| error.to_string())?;
        let most = value::count(1, MOST_SLOTS)(count.get_ref());
        let most = most.map_err(|error| format!("`{}`: {error}", feature.as_str()))?;
        consumables.insert(feature, most);
    }
    Ok(consumables)
}

/// The keys of a builder's table that say what the URI's parameters say as well.
fn add_keys(uri: &mut BuilderUri, key: Option<PathBuf>, host_key: Option<HostKey>) -> Result<(), String> {
    let BuilderUri::Ssh(ssh) = uri else {
        let typed = key.map(|_| "key").or(host_key.map(|_| "host_key"));
        return typed
            .map_or(Ok(()), |key| Err(format!("`{key}` has no effect: '{uri}' is not reached by ssh")));
    };
    let twice =
        |key, parameter| Err(format!("`{key}` and `{parameter}` of the uri say the same thing; keep one"));
    match (key, &mut ssh.key) {
        (Some(_), Some(_)) => return twice("key", "ssh-key"),
        (Some(key), place) => *place = Some(key),
        (None, _) => {}
    }
    match (host_key, &mut ssh.host_key) {
        (Some(_), Some(_)) => return twice("host_key", "base64-ssh-public-host-key"),
        (Some(key), place) => *place = Some(key),
        (None, _) => {}
    }
    Ok(())
}

pub(super) fn ssh_key(value: &toml::de::DeValue<'_>) -> Result<PathBuf, String> {
    let path = value::path(value)?;
    if uri::ssh::can_hold(&path) {
        Ok(path)
    } else {
        Err(format!("'{}' is a path that ssh's configuration cannot hold", path.display()))
    }
}

fn from_flag(uri: &str) -> Result<Builder, ConfigError> {
    from_uri(uri).map_err(|why| ConfigError::wrong(Place::Flag("--builder"), why))
}

/// A builder of which only the URI is known.
pub(super) fn from_uri(uri: &str) -> Result<Builder, String> {
    let uri = BuilderUri::parse(uri).map_err(|error| error.to_string())?;
    let spec = BuilderSpec::named(default_name(&uri)?);
    Ok(Builder { spec, uri })
}

fn default_name(uri: &BuilderUri) -> Result<BuilderName, String> {
    BuilderName::parse(uri.default_name())
        .map_err(|error| format!("'{uri}' needs a `name` of its own: {error}"))
}

fn parse<T, E: std::error::Error>(
    value: &toml::de::DeValue<'_>,
    parse: fn(&str) -> Result<T, E>,
) -> Result<T, String> {
    parse(&value::text(value)?).map_err(|error| error.to_string())
}
