//! Where builders are discovered.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::de::DeValue;

use super::document::Section;
use super::{ConfigError, Source, Tailnet, builder, uri, value};
use crate::domain::{NodeFilter, SshServer};

/// How often a command is run, where nobody said it.
const INTERVAL: Duration = Duration::from_secs(30);
const KINDS: &str = "say one of `machines = true`, `exec = [\"command\", \"argument\"]` and `tailscale = { tag = \"tag:nix-builder\" }`";

/// The sources that are named; where nobody named anything, the machines lines that Nix has already.
pub(super) fn sources(top: &mut Section<'_>, nothing_named: bool) -> Result<Vec<Source>, ConfigError> {
    let sections = top.sections("source", "[[source]]")?;
    let sources: Vec<_> = sections.into_iter().map(source).collect::<Result<_, _>>()?;
    Ok(if sources.is_empty() && nothing_named { vec![Source::Machines] } else { sources })
}

fn source(mut section: Section<'_>) -> Result<Source, ConfigError> {
    let machines = section.take_or("machines", false, value::flag)?;
    let exec = section.take("exec", value::command)?;
    let interval = section.take("interval", value::duration)?;
    let tailscale = section.optional("tailscale", "[source.tailscale]")?;
    let source = match (machines, exec, tailscale, interval) {
        (false, Some(command), None, interval) => {
            Source::Exec { command, interval: interval.unwrap_or(INTERVAL) }
        }
        (true, None, None, None) => Source::Machines,
        (false, None, Some(tailnet), None) => Source::Tailscale(tailnet_of(tailnet)?),
        (true, None, None, Some(_)) | (false, None, Some(_), Some(_)) => {
            return Err(section.error("`interval` is for `exec`: other changes are noticed"));
        }
        _ => return Err(section.error(KINDS)),
    };
    section.finish()?;
    Ok(source)
}

fn tailnet_of(mut section: Section<'_>) -> Result<Tailnet, ConfigError> {
    let filter = NodeFilter {
        tag: section.take("tag", tag)?,
        prefix: section.take("prefix", name)?,
        names: section.take("names", names)?,
    };
    let ssh = section.take_or("ssh", SshServer::Tailscale, ssh_server)?;
    let tailnet = Tailnet {
        user: section.take_or("user", "root".to_owned(), user)?,
        key: section.take("key", builder::ssh_key)?,
        port: section
            .take("port", value::count(1, u32::from(u16::MAX)))?
            .and_then(|port| port.try_into().ok()),
        socket: section.take("socket", value::socket)?,
        filter,
        ssh,
    };
    let filter = &tailnet.filter;
    if filter.tag.is_none() && filter.prefix.is_none() && filter.names.is_none() {
        return Err(section.error("say which machines: by `tag`, `prefix` or `names`"));
    }
    if ssh == SshServer::Tailscale && (tailnet.key.is_some() || tailnet.port.is_some()) {
        return Err(section.error("`key` and `port` go with `ssh = \"sshd\"`: Tailscale SSH has neither"));
    }
    section.finish()?;
    Ok(tailnet)
}

fn tag(value: &DeValue<'_>) -> Result<String, String> {
    let tag = value::text(value)?;
    let bare = tag.strip_prefix("tag:").unwrap_or_default();
    let letter = bare.starts_with(|first: char| first.is_ascii_alphabetic());
    let good = letter && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if good { Ok(tag) } else { Err(value::expected("a tag such as \"tag:nix-builder\"", value)) }
}

fn name(value: &DeValue<'_>) -> Result<String, String> {
    let name = value::text(value)?;
    let good = !name.is_empty() && name.len() <= 253 && !name.contains(char::is_control);
    if good { Ok(name) } else { Err(value::expected("a machine's name", value)) }
}

fn names(value: &DeValue<'_>) -> Result<BTreeSet<String>, String> {
    let names = value.as_array().filter(|names| !names.is_empty());
    let names = names.ok_or_else(|| value::expected("a list of names, not empty", value))?;
    names.iter().map(|one| name(one.get_ref())).collect()
}

fn ssh_server(value: &DeValue<'_>) -> Result<SshServer, String> {
    match value.as_str() {
        Some("tailscale") => Ok(SshServer::Tailscale),
        Some("sshd") => Ok(SshServer::Own),
        _ => Err(value::expected(r#""tailscale" or "sshd""#, value)),
    }
}

fn user(value: &DeValue<'_>) -> Result<String, String> {
    let user = value::text(value)?;
    uri::ssh::user_name(&user).map_err(|why| format!("{user:?} {why}"))
}
