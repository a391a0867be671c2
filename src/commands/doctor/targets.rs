//! Which builders are asked.

use std::collections::BTreeSet;

use super::Failure;
use crate::config::{Builder, BuilderUri, Config};
use crate::coordinator::MachinesSource;
use crate::domain::{BuilderName, BuilderSpec};
use crate::edge::discover::machines::look;

/// A builder, as the user named it.
pub struct Target {
    /// In the user's words.
    pub name: String,
    /// What is known of it.
    pub builder: Builder,
    /// Whether a machines line of Nix's names it.
    pub has_line: bool,
    /// Where its nix-daemon was found.
    pub program: Option<String>,
}

/// The builders of that name, or with that URI; with no word at all, all that are known.
pub fn targets(words: &[String], config: &Config, source: &MachinesSource) -> Result<Vec<Target>, Failure> {
    let known = known(config, source);
    if words.is_empty() {
        let target = |(builder, has_line): (Builder, bool)| {
            let name = builder.spec.name.to_string();
            Target { name, builder, has_line, program: None }
        };
        return Ok(known.into_iter().map(target).collect());
    }
    let mut seen = BTreeSet::new();
    let words = words.iter().filter(|word| seen.insert(word.as_str()));
    words.map(|word| target(word, &known)).collect()
}

/// The configuration's, and those of machines lines where they are a source.
fn known(config: &Config, source: &MachinesSource) -> Vec<(Builder, bool)> {
    let named = config.builders.iter().cloned().map(|builder| (builder, false));
    let adopted = if source.adopt { look(source).adopted } else { Vec::new() };
    named.chain(adopted.into_iter().map(|builder| (builder, true))).collect()
}

fn target(word: &str, known: &[(Builder, bool)]) -> Result<Target, Failure> {
    let is_it = |builder: &Builder| builder.spec.name.as_str() == word || builder.uri.to_string() == word;
    let (builder, has_line) = match known.iter().find(|(builder, _)| is_it(builder)) {
        Some(known) => known.clone(),
        None => (of_uri(word)?, false),
    };
    Ok(Target { name: word.to_owned(), builder, has_line, program: None })
}

/// A builder of which nothing is said but how it is reached.
fn of_uri(word: &str) -> Result<Builder, Failure> {
    let uri = BuilderUri::parse(word).map_err(|error| Failure::Usage(error.into()))?;
    let name = BuilderName::parse(uri.default_name()).map_err(|error| Failure::Usage(error.into()))?;
    let spec = BuilderSpec::named(name);
    Ok(Builder { spec, uri })
}
