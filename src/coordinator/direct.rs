//! Direct attach: one line for each healthy builder, as stock Nix reaches it by itself.

use std::collections::BTreeSet;
use std::path::Path;

use data_encoding::BASE64;

use super::reach::Learned;
use super::{lines, transport};
use crate::config::{Builder, BuilderUri, Config, SshScheme, SshUri};
use crate::domain::{Capabilities, Feature, System, Trust};
use crate::nix::machines::{BadEndpoint, BadField, HostKey, Line, MachineUri, SpeedFactor, SshKey};

/// A builder of the fleet.
pub struct Member<'a> {
    /// What the user said of it.
    pub builder: &'a Builder,
    /// What it can do.
    pub caps: &'a Capabilities,
    /// Whether it is there now.
    pub is_up: bool,
    /// What stock Nix must be told to reach it.
    pub learned: Learned,
}

/// The lines of all that are there, fastest first. Where none is, one line that offers no slot keeps builds waiting
/// for the same systems: stock gives up on an empty file for the rest of an invocation.
pub fn lines(
    config: &Config,
    default_system: &System,
    fleet: &[Member<'_>],
) -> Result<Vec<Line>, BadEndpoint> {
    let there: Vec<_> = fleet.iter().filter(|member| member.is_up).collect();
    let whole = there.iter().all(|member| member.caps.speed_factor.fract() == 0.0);
    let scale = if whole { 1.0 } else { 10.0 };
    let mut lines = Vec::new();
    for member in there {
        let name = &member.builder.spec.name;
        match line(config, member, scale) {
            Ok(line) => lines.push(line),
            Err(error) => tracing::warn!(builder = %name, "no line can say how it is reached: {error}"),
        }
        if member.caps.trust == Trust::Untrusted {
            tracing::warn!(builder = %name, "it does not trust us: its inputs need signatures that it accepts");
        }
    }
    if lines.is_empty() {
        lines.push(placeholder(config, default_system, fleet)?);
    }
    lines.sort_by(|a, b| b.speed_factor.get().total_cmp(&a.speed_factor.get()));
    Ok(lines)
}

/// Nix before 2.20 reads whole factors only: fractions are kept to one digit by counting in tenths.
fn line(config: &Config, member: &Member<'_>, scale: f64) -> Result<Line, BadField> {
    let caps = member.caps;
    let mut line = stock(config, &member.builder.uri, &member.learned)?;
    line.systems = caps.systems.clone();
    line.max_jobs = caps.slots.get();
    #[expect(clippy::cast_possible_truncation, reason = "a factor too large is the largest")]
    let factor = (caps.speed_factor * scale).round().clamp(1.0, 1e6) as f32;
    line.speed_factor = SpeedFactor::new(factor).unwrap_or_default();
    line.supported = caps.features.difference(&caps.mandatory).cloned().collect();
    line.mandatory = caps.mandatory.clone();
    Ok(line)
}

fn placeholder(config: &Config, default_system: &System, fleet: &[Member<'_>]) -> Result<Line, BadEndpoint> {
    let mut systems: BTreeSet<System> =
        fleet.iter().flat_map(|member| member.caps.systems.iter().cloned()).collect();
    if systems.is_empty() {
        systems.insert(default_system.clone());
    }
    let features: BTreeSet<Feature> =
        fleet.iter().flat_map(|member| member.caps.features.iter().cloned()).collect();
    let name = lines::name(&systems, &features, false);
    lines::line(config, name, (systems, features), 0, 1.0)
}

/// The line's way to the machine: URI, key and host key in the fields that stock reads them from.
fn stock(config: &Config, uri: &BuilderUri, learned: &Learned) -> Result<Line, BadField> {
    match uri {
        BuilderUri::Process { root, program } => embedded(config, root, program.as_deref()),
        BuilderUri::Ssh(uri) => remote(uri, learned),
    }
}

/// For the host `localhost` stock starts the program itself.
fn embedded(config: &Config, root: &Path, program: Option<&Path>) -> Result<Line, BadField> {
    let program = program.unwrap_or(&config.nix_daemon).to_string_lossy();
    let program = if program == "nix-daemon" { String::new() } else { format!("remote-program={program}&") };
    let store = transport::encode(Path::new(&transport::store_below(root)));
    Ok(Line::new(MachineUri::parse(&format!("ssh-ng://localhost?{program}remote-store={store}"))?))
}

/// Keys have fields of their own. What the user said wins over what was learned.
fn remote(uri: &SshUri, learned: &Learned) -> Result<Line, BadField> {
    let scheme = stock_scheme(uri.scheme);
    let mut bare = SshUri { key: None, host_key: None, scheme, ..uri.clone() };
    if bare.remote_program.is_empty() {
        bare.remote_program.extend(learned.program.as_deref().map(|daemon| program(scheme, daemon)));
    }
    let mut line = Line::new(MachineUri::parse(&bare.to_string())?);
    line.ssh_key = uri.key.as_ref().map(|key| SshKey::parse(&key.to_string_lossy())).transpose()?;
    let host_key = uri.host_key.as_ref().or(learned.host_key.as_ref());
    let encoded = host_key.map(|key| BASE64.encode(key.to_string().as_bytes()));
    line.host_key = encoded.map(|key| HostKey::parse(&key)).transpose()?;
    Ok(line)
}

/// What stock starts there; the older protocol's program lies beside the daemon.
fn program(scheme: SshScheme, daemon: &str) -> String {
    match (scheme, daemon.strip_suffix("nix-daemon")) {
        (SshScheme::Ssh, Some(dir)) => format!("{dir}nix-store"),
        _ => daemon.to_owned(),
    }
}

/// To stock a bare host means the older protocol, which knows neither trust nor a builder's own settings.
fn stock_scheme(scheme: SshScheme) -> SshScheme {
    match scheme {
        SshScheme::Bare | SshScheme::SshNg => SshScheme::SshNg,
        SshScheme::Ssh => SshScheme::Ssh,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::super::fixtures::config;
    use super::*;
    use crate::domain::{BuilderName, BuilderSpec};

    fn system() -> System {
        System::parse("x86_64-linux").expect("a system")
    }

    fn builder(uri: &str) -> Builder {
        let spec = BuilderSpec::named(BuilderName::parse("b").expect("a name"));
        Builder { spec, uri: BuilderUri::parse(uri).expect("a uri") }
    }

    fn caps(slots: u32, speed_factor: f64) -> Capabilities {
        let feature = |word| Feature::parse(word).expect("a feature");
        Capabilities {
            systems: [system()].into(),
            features: [feature("big-parallel"), feature("kvm")].into(),
            mandatory: [feature("kvm")].into(),
            slots: NonZeroU32::new(slots).expect("not zero"),
            speed_factor,
            cores: None,
            memory: None,
            trust: Trust::Trusted,
            nix_version: None,
            measured: None,
        }
    }

    fn check(fleet: &[(&str, Capabilities, bool)], expected: &[&str]) {
        let fleet: Vec<_> = fleet.iter().map(|(uri, caps, up)| (builder(uri), caps, *up)).collect();
        let member = |(builder, caps, up)| Member { builder, caps, is_up: up, learned: Learned::default() };
        let fleet: Vec<_> = fleet.iter().map(|(builder, caps, up)| member((builder, caps, *up))).collect();
        let lines = lines(&config(""), &system(), &fleet).expect("lines");
        assert_eq!(lines.iter().map(Line::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_builder_that_is_there_has_a_line_of_its_own() {
        check(
            &[("process:/srv/b1", caps(4, 1.0), true), ("process:/srv/b2?program=/n/d", caps(2, 2.0), true)],
            &[
                "ssh-ng://localhost?remote-program=/n/d&remote-store=local%3Froot%3D/srv/b2 x86_64-linux - 2 2 big-parallel kvm -",
                "ssh-ng://localhost?remote-store=local%3Froot%3D/srv/b1 x86_64-linux - 4 1 big-parallel kvm -",
            ],
        );
    }

    #[test]
    fn fractions_are_counted_in_tenths_for_old_nix() {
        let uri = "ssh-ng://localhost?remote-store=local%3Froot%3D/b x86_64-linux - 1";
        check(&[("process:/b", caps(1, 0.25), true)], &[&format!("{uri} 3 big-parallel kvm -")]);
    }

    #[test]
    fn with_no_builder_at_hand_a_line_without_slots_keeps_builds_waiting() {
        let name = lines(&config(""), &system(), &[]).expect("a line")[0].uri.to_string();
        assert!(
            name.starts_with("ssh-ng://localhost?remote-program=/usr/bin/muster&remote-store="),
            "{name}"
        );
        check(&[], &[&format!("{name} x86_64-linux - 0 1 - - -")]);
        let (builder, caps) = (builder("process:/b"), caps(1, 1.0));
        let away = Member { builder: &builder, caps: &caps, is_up: false, learned: Learned::default() };
        let lines = lines(&config(""), &system(), &[away]);
        let line = lines.expect("a line")[0].to_string();
        assert!(line.ends_with(" x86_64-linux - 0 1 big-parallel,kvm - -"), "{line}");
    }

    #[test]
    fn keys_of_a_remote_builder_are_in_the_fields_that_stock_reads() {
        let check = |uri: &str, expected: &str| {
            let Ok(BuilderUri::Ssh(uri)) = BuilderUri::parse(uri) else { panic!("{uri}") };
            assert_eq!(remote(&uri, &Learned::default()).expect("a line").to_string(), expected);
        };
        check("b1", "ssh-ng://b1 - - 1 1 - - -");
        let key = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSURuQ1FYbGxsSG9MWDVFdlUrdDZ5UC9ucHNtdXhLdDBza0hWZUphc2hpekU=";
        check(
            &format!(
                "ssh-ng://eva@b1:22?ssh-key=/root/.ssh/a%2Db&compress=true&base64-ssh-public-host-key={key}"
            ),
            &format!("ssh-ng://eva@b1:22?compress=true - /root/.ssh/a-b 1 1 - - {key}"),
        );
        let Ok(BuilderUri::Ssh(uri)) = BuilderUri::parse("b?ssh-key=/a%20b") else { panic!("a good URI") };
        assert!(remote(&uri, &Learned::default()).is_err(), "no line can hold a space");
    }
    #[test]
    fn what_was_learned_of_a_builder_stands_in_its_line_unless_the_user_said_otherwise() {
        const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";
        let learned = Learned {
            host_key: crate::domain::HostKey::parse(KEY).ok(),
            program: Some("/nix/bin/nix-daemon".to_owned()),
            ..Learned::default()
        };
        let encoded = BASE64.encode(KEY.as_bytes());
        let check = |uri: &str, expected: &str| {
            let Ok(BuilderUri::Ssh(uri)) = BuilderUri::parse(uri) else { panic!("{uri}") };
            let expected = format!("{expected} - - 1 1 - - {encoded}");
            assert_eq!(remote(&uri, &learned).expect("a line").to_string(), expected);
        };
        check("b1", "ssh-ng://b1?remote-program=/nix/bin/nix-daemon");
        check("ssh://b1", "ssh://b1?remote-program=/nix/bin/nix-store");
        check("ssh-ng://b1?remote-program=/mine", "ssh-ng://b1?remote-program=/mine");
    }
}
