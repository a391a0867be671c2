//! Builders that are reached by ssh, in Nix's own words and in ssh's.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::{BadBuilderUri, Encoded, absolute, clip, decode};
use crate::domain::{Admission, HostKey};

/// Of a parameter that there is not.
const UNKNOWN: &str = "is not understood: ssh-key, base64-ssh-public-host-key, remote-program, remote-store and \
     compress are known";

/// A builder that is reached by ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshUri {
    /// What stood before `://`.
    pub scheme: SshScheme,
    /// The user to log in as; none = whom ssh's configuration names.
    pub user: Option<String>,
    /// A host's name, its address, or an alias of ssh's configuration. Never begins with a dash.
    pub host: String,
    /// The port; none = what ssh's configuration says.
    pub port: Option<u16>,
    /// The private key to log in with, and no other one; absolute.
    pub key: Option<PathBuf>,
    /// The one host key that is right.
    pub host_key: Option<HostKey>,
    /// What stands for `nix-daemon` there, and the words that come first behind it; empty = what the probe finds.
    pub remote_program: Vec<String>,
    /// The store to serve there; none = the usual one.
    pub remote_store: Option<String>,
    /// Whether ssh compresses.
    pub compress: bool,
    /// What the policy of the tailnet that it was found in must say to let us in. No URI says it.
    pub admission: Option<Admission>,
}

/// How the user wrote it. It is asked by worker protocol in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshScheme {
    /// Only the host.
    Bare,
    /// `ssh://`
    Ssh,
    /// `ssh-ng://`
    SshNg,
}

impl SshUri {
    /// Reads `[ssh://|ssh-ng://][USER@]HOST[:PORT][?PARAMETERS]`.
    pub(super) fn parse(uri: &str) -> Result<Self, BadBuilderUri> {
        let (scheme, rest) = match uri.split_once("://") {
            Some(("ssh", rest)) => (SshScheme::Ssh, rest),
            Some(("ssh-ng", rest)) => (SshScheme::SshNg, rest),
            Some(_) => return Err(BadBuilderUri::Scheme(clip(uri))),
            None => (SshScheme::Bare, uri),
        };
        let bad = |(part, why): Bad<'_>| BadBuilderUri::part(uri, part, why);
        let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, query)| (place, query));
        let mut parsed = Self::of_place(scheme, place.strip_suffix('/').unwrap_or(place)).map_err(bad)?;
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(bad((pair, "is there twice")));
            }
            seen.push(key);
            parsed.set(key, value).map_err(|why| bad((pair, why)))?;
        }
        Ok(parsed)
    }

    fn of_place(scheme: SshScheme, place: &str) -> Result<Self, Bad<'_>> {
        let (user, address) =
            place.rsplit_once('@').map_or((None, place), |(user, address)| (Some(user), address));
        let (host, port) = host_and_port(address)?;
        Ok(Self {
            scheme,
            user: user.map(|user| user_name(user).map_err(|why| (user, why))).transpose()?,
            host: host_name(host).map_err(|why| (host, why))?,
            port: port.map(|port| port_number(port).ok_or((port, "is no port"))).transpose()?,
            key: None,
            host_key: None,
            remote_program: Vec::new(),
            remote_store: None,
            compress: false,
            admission: None,
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "ssh-key" => self.key = Some(key_path(value)?),
            "base64-ssh-public-host-key" => self.host_key = Some(host_key(&text(value)?)?),
            "remote-program" => self.remote_program = program(&text(value)?)?,
            "remote-store" => self.remote_store = Some(shell_word(text(value)?)?),
            "compress" => {
                self.compress = match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err("is neither true nor false"),
                }
            }
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }
}

/// A part and what is wrong with it.
type Bad<'a> = (&'a str, &'static str);

fn host_and_port(address: &str) -> Result<(&str, Option<&str>), Bad<'_>> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or((address, "has no closing bracket"))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err((after, "stands behind the bracket, where only :PORT may")),
        };
    }
    match address.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((address, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((address, None)),
    }
}

fn port_number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|&port| digits && port != 0)
}

/// The words go to ssh as arguments of their own, and from there into the user's `Match exec` and `ProxyCommand`.
pub(in crate::config) fn user_name(user: &str) -> Result<String, &'static str> {
    word(user, b"._-+@", "is no user's name: letters, digits and . _ - + @ are allowed, no dash first")
}

fn host_name(host: &str) -> Result<String, &'static str> {
    const WHY: &str =
        "is no host: letters, digits and . _ - are allowed, no dash first, or an address in brackets";
    if !host.contains(':') {
        return word(host, b"._-", WHY);
    }
    let host = text(host)?;
    let (address, zone) =
        host.split_once('%').map_or((&*host, None), |(address, zone)| (address, Some(zone)));
    let zone_is_good = zone.is_none_or(|zone| word(zone, b"._-", WHY).is_ok());
    if address.parse::<Ipv6Addr>().is_ok() && zone_is_good { Ok(host) } else { Err("is no IPv6 address") }
}

fn word(encoded: &str, more: &[u8], why: &'static str) -> Result<String, &'static str> {
    let word = text(encoded)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
    let good = (1..=255).contains(&word.len()) && !word.starts_with('-') && word.bytes().all(plain);
    if good { Ok(word) } else { Err(why) }
}

fn text(encoded: &str) -> Result<String, &'static str> {
    let bytes = decode(encoded).ok_or("has a '%' without two hexadecimal digits after it")?;
    String::from_utf8(bytes).map_err(|_| "is no text")
}

fn key_path(encoded: &str) -> Result<PathBuf, &'static str> {
    let path = absolute(encoded)?;
    if can_hold(&path) { Ok(path) } else { Err("is a path that ssh's configuration cannot hold") }
}

/// Whether ssh can be told this path: it reads paths as a part of its configuration.
pub(crate) fn can_hold(path: &Path) -> bool {
    let odd =
        |text: &str| text.contains("${") || text.contains(['"', '\\']) || text.contains(char::is_control);
    path.to_str().is_some_and(|text| !odd(text))
}

fn host_key(encoded: &str) -> Result<HostKey, &'static str> {
    let line = data_encoding::BASE64.decode(encoded.trim().as_bytes()).ok();
    let line = line.and_then(|line| String::from_utf8(line).ok()).ok_or("is not base64 of a public key")?;
    HostKey::parse(&line).map_err(|_| "is not base64 of a public key such as 'ssh-ed25519 AAAA...'")
}

fn program(words: &str) -> Result<Vec<String>, &'static str> {
    let words: Result<Vec<_>, _> = words.split_whitespace().map(|word| shell_word(word.to_owned())).collect();
    let words = words?;
    match words.first() {
        Some(first) if !first.starts_with('-') => Ok(words),
        _ => Err("names no program"),
    }
}

/// It goes through a login shell of unknown kind, within single quotes; these mean the same in all of them.
fn shell_word(word: String) -> Result<String, &'static str> {
    let odd = |c: char| c.is_control() || matches!(c, '\'' | '\\' | '!');
    if word.is_empty() || word.contains(odd) {
        Err("is empty or has a quote, a backslash, a '!' or a control character")
    } else {
        Ok(word)
    }
}

impl fmt::Display for SshUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            SshScheme::Bare => "",
            SshScheme::Ssh => "ssh://",
            SshScheme::SshNg => "ssh-ng://",
        })?;
        self.user.as_ref().map_or(Ok(()), |user| write!(f, "{user}@"))?;
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host.replace('%', "%25"))?,
            false => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))?;
        let mut mark = '?';
        for (key, value) in self.parameters() {
            write!(f, "{mark}{key}={}", Encoded(value.as_ref()))?;
            mark = '&';
        }
        Ok(())
    }
}

impl SshUri {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        all.extend(self.key.as_ref().map(|key| ("ssh-key", key.to_string_lossy().into_owned())));
        let line = |key: &HostKey| data_encoding::BASE64.encode(key.to_string().as_bytes());
        all.extend(self.host_key.as_ref().map(|key| ("base64-ssh-public-host-key", line(key))));
        if !self.remote_program.is_empty() {
            all.push(("remote-program", self.remote_program.join(" ")));
        }
        all.extend(self.remote_store.clone().map(|store| ("remote-store", store)));
        if self.compress {
            all.push(("compress", "true".to_owned()));
        }
        all
    }
}

#[cfg(test)]
mod tests;
