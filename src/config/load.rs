//! From the file's sections and the typed settings to a [`Config`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::document::{Section, Source};
use super::{
    AllowedGroup, AllowedUser, Attach, Config, ConfigError, Control, Endpoint, Environment, Expect, Limits,
    LocalMachine, LocalStore, LookAhead, Place, Timeouts, builder, places, source, value,
};
use crate::cli::Settings;
use crate::domain::{Feature, Glob, Label, Route, StoreDir, System, WhenEmpty};

pub(super) fn load(
    typed: &Settings,
    environment: &Environment,
    file: Option<(&Path, &str)>,
) -> Result<Config, ConfigError> {
    let (path, text) = file.unwrap_or((Path::new(""), ""));
    let state_dir = places::state_dir(typed.places.state_dir.as_deref(), environment)?;
    let runtime_dir = places::runtime_dir(typed.places.runtime_dir.as_deref(), environment, &state_dir);
    let mut top = Source { file: path, text }.parse()?;

    let written_store = top.take("local_store", |value| {
        LocalStore::parse(&value::text(value)?).map_err(|error| error.to_string())
    })?;
    let nix_daemon = top.take_or("nix_daemon", PathBuf::from("nix-daemon"), value::program)?;
    let store_dir = top.take_or("store_dir", StoreDir::default(), |value| {
        StoreDir::parse(&value::text(value)?).map_err(|error| error.to_string())
    })?;
    let builders = builder::builders(top.sections("builder", "[[builder]]")?, &typed.builders)?;
    let expect = top.sections("expect", "[[expect]]")?;
    let expect: Vec<_> = expect.into_iter().map(expected).collect::<Result<_, _>>()?;
    let routes = top.sections("route", "[[route]]")?;
    let routes: Vec<_> = routes.into_iter().map(route).collect::<Result<_, _>>()?;
    let sources = source::sources(&mut top, builders.is_empty() && expect.is_empty())?;
    let builders_use_substitutes = top.take("builders_use_substitutes", value::flag)?;
    let attach = top.take_or("attach", Attach::Endpoint, attach)?;
    let endpoint = endpoint(top.section("endpoint", "[endpoint]")?, environment, &runtime_dir)?;
    let fallback = places::system_control(typed.places.runtime_dir.as_deref(), environment);
    let control = control(top.section("control", "[control]")?, &runtime_dir, fallback)?;
    let timeouts = timeouts(top.section("timeouts", "[timeouts]")?)?;
    let limits = limits(top.section("limits", "[limits]")?, &state_dir)?;
    top.finish()?;

    let mut config = Config {
        file: file.map(|(path, _)| path.to_owned()),
        runtime_dir,
        state_dir,
        local_store: typed_store(typed)?.or(written_store).unwrap_or(LocalStore::Auto),
        nix_daemon,
        store_dir,
        builders,
        sources,
        builders_use_substitutes,
        attach: typed.attach.unwrap_or(attach),
        nix: places::nix_files(typed.nix.nix_conf_dir.as_deref(), environment),
        ssh_options: ssh_options(environment)?,
        expect,
        routes,
        endpoint,
        control,
        timeouts,
        limits,
        warnings: Vec::new(),
    };
    config.warnings = warnings(&config);
    Ok(config)
}

fn typed_store(typed: &Settings) -> Result<Option<LocalStore>, ConfigError> {
    let wrong =
        |error: super::BadLocalStore| ConfigError::wrong(Place::Flag("--local-store"), error.to_string());
    typed.local_store.as_deref().map(LocalStore::parse).transpose().map_err(wrong)
}

/// As stock Nix takes them: split as a shell would.
fn ssh_options(environment: &Environment) -> Result<Vec<String>, ConfigError> {
    const NAME: &str = "NIX_SSHOPTS";
    let Some(text) = &environment.nix_sshopts else { return Ok(Vec::new()) };
    let wrong = |why: &str| ConfigError::wrong(Place::Variable(NAME), why.to_owned());
    let text = text.to_str().ok_or_else(|| wrong("it is no text"))?;
    shell_words::split(text).map_err(|_| wrong("a quotation mark has no other half"))
}

fn expected(mut section: Section<'_>) -> Result<Expect, ConfigError> {
    let systems = section.take_needed("systems", value::some_words(System::parse))?;
    let features = section.take_or("features", BTreeSet::new(), value::words(Feature::parse))?;
    section.finish()?;
    Ok(Expect { systems, features })
}

fn route(mut section: Section<'_>) -> Result<Route, ConfigError> {
    let pname = section.take("pname", |value| value::text(value).map(|pattern| Glob::new(&pattern)))?;
    let system = section.take("system", |value| value::word(value, System::parse))?;
    let feature = section.take("feature", |value| value::word(value, Feature::parse))?;
    let labels = section.take_needed("labels", value::some_words(Label::parse))?;
    section.finish()?;
    Ok(Route { pname, system, feature, labels })
}

fn attach(value: &DeValue<'_>) -> Result<Attach, String> {
    match value.as_str() {
        Some("endpoint") => Ok(Attach::Endpoint),
        Some("direct") => Ok(Attach::Direct),
        _ => Err(value::expected(r#""endpoint" or "direct""#, value)),
    }
}

fn endpoint(
    mut section: Section<'_>,
    environment: &Environment,
    runtime_dir: &Path,
) -> Result<Endpoint, ConfigError> {
    let socket = socket(&mut section, runtime_dir.join("endpoint.sock"))?;
    let allow = section.take_or("allow", BTreeSet::new(), users)?;
    let machines_file = section.take_or("machines_file", runtime_dir.join("machines"), value::path)?;
    let install = section.take("install", value::flag)?;
    let install = install.unwrap_or_else(|| environment.uid == 0 && runtime_dir == places::SYSTEM_RUNTIME);
    let program = section.take_or("program", environment.exe.clone(), value::path)?;
    let look_ahead = section.take("look_ahead", value::count(0, MOST_ACCEPTED))?;
    let max_accepted = section.take_or("max_accepted", 180, value::count(1, MOST_ACCEPTED))?;
    let local = section.take_or("local", LocalMachine::Auto, local_machine)?;
    let when_empty = section.take("when_empty", when_empty)?.flatten();
    let look_ahead = match (look_ahead, local) {
        (Some(1..), LocalMachine::Overflow) => {
            return Err(section.error("`look_ahead` must be 0 where `local` is \"overflow\""));
        }
        (_, LocalMachine::Overflow) => LookAhead::Fixed(0),
        (Some(builds), _) => LookAhead::Fixed(builds),
        (None, _) => LookAhead::TwoPerSlot,
    };
    section.finish()?;
    Ok(Endpoint {
        socket,
        allow,
        machines_file,
        install,
        program,
        look_ahead,
        max_accepted,
        local,
        when_empty,
    })
}

/// Far more than any machine that runs Nix can hold open.
const MOST_ACCEPTED: u32 = 100_000;

fn control(
    mut section: Section<'_>,
    runtime_dir: &Path,
    fallback: Option<PathBuf>,
) -> Result<Control, ConfigError> {
    let usual = runtime_dir.join("control.sock");
    let socket = socket(&mut section, usual.clone())?;
    let fallback = fallback.filter(|_| socket == usual);
    let group = section.take("group", allowed_group)?;
    section.finish()?;
    Ok(Control { socket, fallback, group })
}

/// A socket's path; the default one is bounded by the system as well.
fn socket(section: &mut Section<'_>, default: PathBuf) -> Result<PathBuf, ConfigError> {
    match section.take("socket", value::socket)? {
        Some(socket) => Ok(socket),
        None => {
            value::socket_path(default).map_err(|why| ConfigError::wrong(Place::Flag("--runtime-dir"), why))
        }
    }
}

fn timeouts(mut section: Section<'_>) -> Result<Timeouts, ConfigError> {
    let mut take = |key, seconds| section.take_or(key, Duration::from_secs(seconds), value::duration);
    let timeouts = Timeouts {
        reconnect: take("reconnect_timeout", 600)?,
        probe: take("probe_timeout", 10)?,
        connect: take("connect_timeout", 10)?,
        ping_every: take("ping_every", 3)?,
        silent_after: take("silent_after", 10)?,
        lost_after: take("lost_after", 60)?,
        stalled_after: take("stalled_after", 60)?,
        retry_min: take("retry_min", 1)?,
        retry_max: take("retry_max", 60)?,
        stop: take("stop_timeout", 600)?,
        empty_after: take("empty_after", 30)?,
        expect: take("expect_timeout", 600)?,
        max_silent: section.take("max_silent_time", value::limit)?,
        build: section.take("build_timeout", value::limit)?,
    };
    for (lower, low, upper, high) in [
        ("ping_every", timeouts.ping_every, "silent_after", timeouts.silent_after),
        ("silent_after", timeouts.silent_after, "lost_after", timeouts.lost_after),
        ("retry_min", timeouts.retry_min, "retry_max", timeouts.retry_max),
    ] {
        if low > high {
            let (low, high) = (humantime::format_duration(low), humantime::format_duration(high));
            return Err(section.error(format!("`{lower}` ({low}) must not exceed `{upper}` ({high})")));
        }
    }
    section.finish()?;
    Ok(timeouts)
}

fn limits(mut section: Section<'_>, state_dir: &Path) -> Result<Limits, ConfigError> {
    const KIB: u64 = 1024;
    let limits = Limits {
        memory_output: section.take_or("memory_output", KIB * KIB, value::size)?,
        max_nar: section.take_or("max_nar", KIB * KIB * KIB * KIB, value::size)?,
        spool_dir: section.take_or("spool_dir", state_dir.join("spool"), value::path)?,
    };
    section.finish()?;
    Ok(limits)
}

fn users(value: &DeValue<'_>) -> Result<BTreeSet<AllowedUser>, String> {
    let users = value.as_array().ok_or_else(|| value::expected("a list of users", value))?;
    users.iter().map(|user| allowed_user(user.get_ref())).collect()
}

fn allowed_user(value: &DeValue<'_>) -> Result<AllowedUser, String> {
    let name = value::text(value)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-$@\\".contains(&byte);
    match name.parse() {
        Ok(uid) => Ok(AllowedUser::Uid(uid)),
        Err(_) if !name.is_empty() && !name.starts_with('-') && name.bytes().all(plain) => {
            Ok(AllowedUser::Name(name))
        }
        Err(_) => Err(format!("{name:?} is not a user's name")),
    }
}

fn allowed_group(value: &DeValue<'_>) -> Result<AllowedGroup, String> {
    Ok(match allowed_user(value).map_err(|error| error.replace("user's", "group's"))? {
        AllowedUser::Uid(gid) => AllowedGroup::Gid(gid),
        AllowedUser::Name(name) => AllowedGroup::Name(name),
    })
}

fn when_empty(value: &DeValue<'_>) -> Result<Option<WhenEmpty>, String> {
    match value.as_str() {
        Some("auto") => Ok(None),
        Some("wait") => Ok(Some(WhenEmpty::Wait)),
        Some("fail") => Ok(Some(WhenEmpty::Fail)),
        Some("local") => Ok(Some(WhenEmpty::Local)),
        _ => Err(value::expected(r#""auto", "wait", "fail" or "local""#, value)),
    }
}

fn local_machine(value: &DeValue<'_>) -> Result<LocalMachine, String> {
    match value.as_str() {
        Some("auto") => Ok(LocalMachine::Auto),
        Some("overflow") => Ok(LocalMachine::Overflow),
        Some("never") => Ok(LocalMachine::Never),
        _ => Err(value::expected(r#""auto", "overflow" or "never""#, value)),
    }
}

fn warnings(config: &Config) -> Vec<String> {
    let slots: u32 = config.builders.iter().filter_map(|builder| builder.spec.slots).map(u32::from).sum();
    let most = config.endpoint.max_accepted;
    let mut warnings = Vec::new();
    if slots > most {
        warnings.push(format!(
            "the builders have {slots} slots, and Nix is never given more than {most} builds at once \
             (`max_accepted` in [endpoint]): some slots stay idle"
        ));
    }
    warnings
}
