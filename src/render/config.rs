//! The configuration in effect, as a file that means the same.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use crate::config::{
    Attach, Builder, Config, Control, Endpoint, Expect, Limit, Limits, LocalMachine, LookAhead, Source,
    Tailnet, Timeouts,
};
use crate::domain::{Feature, Glob, Route, SshServer, System, WhenEmpty};

/// A file with every value that is in effect. Reading it again gives the same configuration.
pub fn effective(config: &Config) -> Result<String, toml::ser::Error> {
    let mut top = Table::new();
    put(&mut top, "local_store", config.local_store.to_string());
    put(&mut top, "nix_daemon", text(&config.nix_daemon));
    put(&mut top, "store_dir", config.store_dir.as_str());
    if let Some(flag) = config.builders_use_substitutes {
        put(&mut top, "builders_use_substitutes", flag);
    }
    put(&mut top, "use_untrusted", config.use_untrusted);
    let attach = match config.attach {
        Attach::Endpoint => "endpoint",
        Attach::Direct => "direct",
    };
    put(&mut top, "attach", attach);
    put(&mut top, "endpoint", endpoint(&config.endpoint));
    put(&mut top, "control", control(&config.control));
    put(&mut top, "timeouts", timeouts(&config.timeouts));
    put(&mut top, "limits", limits(&config.limits));
    if !config.expect.is_empty() {
        put(&mut top, "expect", config.expect.iter().map(expect).collect::<Vec<_>>());
    }
    if !config.routes.is_empty() {
        put(&mut top, "route", config.routes.iter().map(route).collect::<Vec<_>>());
    }
    if !config.builders.is_empty() {
        put(&mut top, "builder", config.builders.iter().map(builder).collect::<Vec<_>>());
    }
    if !config.sources.is_empty() {
        put(&mut top, "source", config.sources.iter().map(source).collect::<Vec<_>>());
    }
    let origin = match &config.file {
        Some(file) => format!("read from {}", file.display()),
        None => "no file was read".to_owned(),
    };
    let places = format!("sockets in {}, state in {}", text(&config.runtime_dir), text(&config.state_dir));
    Ok(format!("# {origin}; {places}\n{}", toml::to_string(&top)?))
}

fn endpoint(endpoint: &Endpoint) -> Table {
    let mut table = Table::new();
    put(&mut table, "socket", text(&endpoint.socket));
    put(&mut table, "allow", words(&endpoint.allow));
    put(&mut table, "machines_file", text(&endpoint.machines_file));
    put(&mut table, "install", endpoint.install);
    put(&mut table, "program", text(&endpoint.program));
    if let LookAhead::Fixed(builds) = endpoint.look_ahead {
        put(&mut table, "look_ahead", i64::from(builds));
    }
    put(&mut table, "max_accepted", i64::from(endpoint.max_accepted));
    let local = match endpoint.local {
        LocalMachine::Auto => "auto",
        LocalMachine::Overflow => "overflow",
        LocalMachine::Never => "never",
    };
    put(&mut table, "local", local);
    let when_empty = match endpoint.when_empty {
        None => "auto",
        Some(WhenEmpty::Wait) => "wait",
        Some(WhenEmpty::Fail) => "fail",
        Some(WhenEmpty::Local) => "local",
    };
    put(&mut table, "when_empty", when_empty);
    table
}

fn control(control: &Control) -> Table {
    let mut table = Table::new();
    put(&mut table, "socket", text(&control.socket));
    if let Some(group) = &control.group {
        put(&mut table, "group", group.to_string());
    }
    table
}

fn route(route: &Route) -> Table {
    let mut table = Table::new();
    let conditions = [
        ("pname", route.pname.as_ref().map(Glob::as_str)),
        ("system", route.system.as_ref().map(System::as_str)),
        ("feature", route.feature.as_ref().map(Feature::as_str)),
    ];
    for (key, value) in conditions {
        if let Some(value) = value {
            put(&mut table, key, value);
        }
    }
    put(&mut table, "labels", words(&route.labels));
    table
}

fn source(source: &Source) -> Table {
    let mut table = Table::new();
    match source {
        Source::Machines => put(&mut table, "machines", true),
        Source::Exec { command, interval } => {
            put(&mut table, "exec", command.clone());
            put(&mut table, "interval", humantime::format_duration(*interval).to_string());
        }
        Source::Tailscale(source) => put(&mut table, "tailscale", tailnet(source)),
    }
    table
}

fn tailnet(source: &Tailnet) -> Table {
    let mut table = Table::new();
    let filter = &source.filter;
    filter.tag.iter().for_each(|tag| put(&mut table, "tag", tag.clone()));
    filter.prefix.iter().for_each(|prefix| put(&mut table, "prefix", prefix.clone()));
    let names = filter.names.iter().map(|names| names.iter().cloned().collect::<Vec<_>>());
    names.for_each(|names| put(&mut table, "names", names));
    let ssh = match source.ssh {
        SshServer::Tailscale => "tailscale",
        SshServer::Own => "sshd",
    };
    put(&mut table, "ssh", ssh);
    put(&mut table, "user", source.user.clone());
    source.key.iter().for_each(|key| put(&mut table, "key", text(key)));
    source.port.iter().for_each(|port| put(&mut table, "port", i64::from(*port)));
    source.socket.iter().for_each(|socket| put(&mut table, "socket", text(socket)));
    table
}

fn timeouts(timeouts: &Timeouts) -> Table {
    let duration = |duration: Duration| humantime::format_duration(duration).to_string();
    let mut table = Table::new();
    put(&mut table, "reconnect_timeout", duration(timeouts.reconnect));
    put(&mut table, "probe_timeout", duration(timeouts.probe));
    put(&mut table, "connect_timeout", duration(timeouts.connect));
    put(&mut table, "ping_every", duration(timeouts.ping_every));
    put(&mut table, "silent_after", duration(timeouts.silent_after));
    put(&mut table, "lost_after", duration(timeouts.lost_after));
    put(&mut table, "stalled_after", duration(timeouts.stalled_after));
    put(&mut table, "retry_min", duration(timeouts.retry_min));
    put(&mut table, "retry_max", duration(timeouts.retry_max));
    put(&mut table, "stop_timeout", duration(timeouts.stop));
    put(&mut table, "empty_after", duration(timeouts.empty_after));
    put(&mut table, "expect_timeout", duration(timeouts.expect));
    for (key, limit) in [("max_silent_time", timeouts.max_silent), ("build_timeout", timeouts.build)] {
        match limit {
            Some(Limit::Off) => put(&mut table, key, "off"),
            Some(Limit::After(limit)) => put(&mut table, key, duration(limit)),
            None => {}
        }
    }
    table
}

fn limits(limits: &Limits) -> Table {
    let mut table = Table::new();
    put(&mut table, "memory_output", size(limits.memory_output));
    put(&mut table, "max_nar", size(limits.max_nar));
    put(&mut table, "spool_dir", text(&limits.spool_dir));
    table
}

fn expect(expect: &Expect) -> Table {
    let mut table = Table::new();
    put(&mut table, "systems", words(&expect.systems));
    put(&mut table, "features", words(&expect.features));
    table
}

fn builder(Builder { spec, uri }: &Builder) -> Table {
    let mut table = Table::new();
    put(&mut table, "name", spec.name.as_str());
    put(&mut table, "uri", uri.to_string());
    if let Some(systems) = &spec.systems {
        put(&mut table, "systems", words(systems));
    }
    if let Some(features) = &spec.features {
        put(&mut table, "features", words(features));
    }
    put(&mut table, "mandatory", words(&spec.mandatory));
    if !spec.labels.is_empty() {
        put(&mut table, "labels", words(&spec.labels));
    }
    if let Some(slots) = spec.slots {
        put(&mut table, "slots", i64::from(slots.get()));
    }
    if let Some(factor) = spec.speed_factor {
        put(&mut table, "speed_factor", factor);
    }
    if let Some(cores) = spec.cores {
        put(&mut table, "cores", i64::from(cores));
    }
    if let Some(memory) = spec.memory {
        put(&mut table, "memory", size(memory));
    }
    if !spec.consumables.is_empty() {
        let counts = spec
            .consumables
            .iter()
            .map(|(feature, most)| (feature.as_str().to_owned(), i64::from(*most).into()));
        put(&mut table, "consumables", counts.collect::<Table>());
    }
    table
}

fn put(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key.to_owned(), value.into());
}

/// In bytes, or in a larger unit where it is a whole number of them.
fn size(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{} {name}", bytes / unit))
}

fn words(words: impl IntoIterator<Item = impl Display>) -> Vec<String> {
    words.into_iter().map(|word| word.to_string()).collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use proptest::prelude::*;

    use super::*;
    use crate::cli::Settings;
    use crate::config::Environment;

    fn environment() -> Environment {
        Environment {
            uid: 0,
            home: None,
            config_home: None,
            state_home: None,
            runtime_dir: None,
            nix_user_conf_files: None,
            nix_sshopts: None,
            cwd: "/".into(),
            exe: "/usr/bin/muster".into(),
            width: None,
        }
    }

    fn load(text: &str) -> Config {
        let file = Path::new("/etc/muster/config.toml");
        Config::from_text(&Settings::default(), &environment(), Some((file, text))).expect(text)
    }

    fn check_round_trip(config: &Config) {
        let again = load(&effective(config).expect("toml"));
        assert_eq!(again, *config);
    }

    #[test]
    fn the_defaults_are_all_shown() {
        assert_snapshot!(effective(&load("")).expect("toml"));
    }

    #[test]
    fn a_full_file_means_the_same_when_it_is_printed() {
        let text = include_str!("../../docs/example.toml");
        let config = load(text);
        assert!(!config.builders.is_empty() && !config.expect.is_empty());
        check_round_trip(&config);
        check_round_trip(&load(""));
    }

    proptest! {
        #[test]
        fn sizes_and_durations_survive(bytes in 1..i64::MAX as u64, ms in 10_000..100_000_000_u64, slots in 1..10_000) {
            let text = format!("[[builder]]\nuri = 'process:/a'\nslots = {slots}\n[limits]\nmax_nar = {bytes}\n\
                [timeouts]\nlost_after = '{ms}ms'\n");
            check_round_trip(&load(&text));
        }
    }
}
