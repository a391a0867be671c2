use std::collections::BTreeMap;

use super::*;
use crate::cli::Places;

fn root() -> Environment {
    Environment {
        uid: 0,
        home: Some("/root".into()),
        config_home: None,
        state_home: None,
        runtime_dir: None,
        nix_user_conf_files: None,
        nix_sshopts: None,
        cwd: "/some/where".into(),
        exe: "/usr/bin/muster".into(),
        width: None,
    }
}

fn user() -> Environment {
    Environment { uid: 1000, home: Some("/home/eva".into()), ..root() }
}

fn load(text: &str) -> Result<Config, String> {
    load_typed(&Settings::default(), text)
}

fn load_typed(typed: &Settings, text: &str) -> Result<Config, String> {
    let file = Path::new("/etc/muster/config.toml");
    Config::from_text(typed, &root(), Some((file, text))).map_err(|error| error.to_string())
}

/// A wrong text and the whole error after the file's name.
fn refused(text: &str, error: &str) {
    assert_eq!(load(text), Err(format!("/etc/muster/config.toml:{error}")), "{text}");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_keys_there_are() {
    refused(
        "local_store = 'auto'\n\n[[builder]]\nuri = 'process:/a'\nslot = 2\n",
        "5: unknown key `slot` in [[builder]]; known: name, uri, key, host_key, systems, features, mandatory, slots, speed_factor, cores, memory, consumables, labels",
    );
    refused(
        "[controll]\n",
        "1: unknown key `controll` in the top section; known: local_store, nix_daemon, store_dir, builder, expect, route, source, builders_use_substitutes, use_untrusted, attach, endpoint, control, timeouts, limits",
    );
    refused("[control]\ngroups = 'x'\n", "2: unknown key `groups` in [control]; known: socket, group");
}

#[test]
fn a_wrong_value_of_the_top_or_a_builder_is_named_with_its_line_and_key() {
    refused("\nlocal_store = 3", "2: `local_store` in the top section: expected a text, found 3");
    refused(
        "store_dir = 'x'",
        "1: `store_dir` in the top section: 'x' is not a store directory: it must be an absolute path without a slash at its end",
    );
    refused("nix_daemon = 'a/b'", "1: `nix_daemon` in the top section: 'a/b' is not an absolute path");
    refused("builder = 3", "1: `builder` in the top section: each must be written as [[builder]]");
    refused(
        "[builder]\nuri = 'process:/a'",
        "1: `builder` in the top section: each must be written as [[builder]]",
    );
    refused("[[builder]]\nname = 'a'", "1: [[builder]]: key `uri` is missing");
    refused(
        "[[builder]]\nuri = 'process:/a'\nslots = 0",
        "3: `slots` in [[builder]]: expected a whole number from 1 to 10000, found 0",
    );
    refused(
        "[[builder]]\nuri = 'process:/a'\nslots = -1",
        "3: `slots` in [[builder]]: expected a whole number from 1 to 10000, found -1",
    );
    refused(
        "[[builder]]\nuri = 'process:/a'\nconsumables = { kvm = 0 }",
        "3: `consumables` in [[builder]]: `kvm`: expected a whole number from 1 to 10000, found 0",
    );
    refused(
        "[[builder]]\nuri = 'process:/a'\nspeed_factor = inf",
        "3: `speed_factor` in [[builder]]: expected a number above zero, found inf",
    );
    refused(
        "[[builder]]\nuri = 'process:/a'\nsystems = []",
        "3: `systems` in [[builder]]: the list is empty; leave the key out",
    );
    refused(
        "[[builder]]\nuri = 'process:/a'\nsystems = ['a', 'a']",
        "3: `systems` in [[builder]]: 'a' is there twice",
    );
    refused(
        "[[builder]]\nuri = 'process:/a'\nfeatures = ['a b']",
        "3: `features` in [[builder]]: 'a b' is not a system feature: it has a character that a machines line cannot hold",
    );
}

#[test]
fn a_wrong_value_of_a_section_is_named_with_its_line_and_key() {
    refused("[[expect]]\nfeatures = []", "1: [[expect]]: key `systems` is missing");
    refused("endpoint = 1", "1: `endpoint` in the top section: must be written as [endpoint]");
    refused("[endpoint]\nallow = ['a b']", "2: `allow` in [endpoint]: \"a b\" is not a user's name");
    refused(
        "[endpoint]\nlocal = 'x'",
        r#"2: `local` in [endpoint]: expected "auto", "overflow" or "never", found "x""#,
    );
    refused(
        "[endpoint]\nlocal = 'overflow'\nlook_ahead = 1",
        "1: [endpoint]: `look_ahead` must be 0 where `local` is \"overflow\"",
    );
    refused(
        "[timeouts]\nping_every = 3",
        r#"2: `ping_every` in [timeouts]: expected a duration such as "90s" or "10m", above zero and at most a year, found 3"#,
    );
    refused(
        "[timeouts]\nping_every = '0s'",
        r#"2: `ping_every` in [timeouts]: expected a duration such as "90s" or "10m", above zero and at most a year, found "0s""#,
    );
    refused(
        "[timeouts]\nretry_max = '1ms'",
        "1: [timeouts]: `retry_min` (1s) must not exceed `retry_max` (1ms)",
    );
    refused(
        "[limits]\nmax_nar = 0",
        r#"2: `max_nar` in [limits]: expected a size such as "1 MiB", or a number of bytes, above zero, found 0"#,
    );
}

#[test]
fn what_is_no_toml_is_named_with_its_line() {
    let error = load("\n\nlocal_store = \n").expect_err("no value");
    assert!(error.starts_with("/etc/muster/config.toml:3: "), "{error}");
    let error = load("[control]\n[control]\n").expect_err("twice");
    assert!(error.starts_with("/etc/muster/config.toml:2: "), "{error}");
}

#[test]
fn a_socket_too_deep_for_the_system_is_refused() {
    let deep = format!("/{}", "x".repeat(107));
    refused(
        &format!("[control]\nsocket = '{deep}'"),
        &format!("2: `socket` in [control]: {deep} has 108 bytes, and a socket's path may have 107"),
    );
    let places = Places { runtime_dir: Some(deep.clone().into()), ..Places::default() };
    let error = load_typed(&Settings { places, ..Settings::default() }, "").expect_err("too deep");
    assert!(error.starts_with("--runtime-dir: "), "{error}");
}

#[test]
fn builders_come_from_the_file_and_the_command_line_and_names_are_unique() {
    let text =
        "[[builder]]\nuri = 'process:/srv/b1'\nslots = 4\nspeed_factor = 2\nsystems = ['x86_64-linux']\n";
    let typed = |uri: &str| Settings { builders: vec![uri.to_owned()], ..Settings::default() };
    let config = load_typed(&typed("process:/srv/b2"), text).expect("good");
    let names: Vec<_> = config.builders.iter().map(|builder| builder.spec.name.as_str()).collect();
    assert_eq!(names, ["b1", "b2"]);
    assert_eq!(config.builders[0].spec.speed_factor, Some(2.0));
    assert_eq!(config.builders[0].spec.slots.map(u32::from), Some(4));

    let check = |uri: &str, error: &str| {
        assert_eq!(load_typed(&typed(uri), text), Err(error.to_owned()));
    };
    check(
        "process:/x/b1",
        "--builder: a builder named 'b1' is there already (/etc/muster/config.toml:1); give each its own `name`",
    );
    check(
        "process:/x/b%201",
        "--builder: 'process:/x/b%201' needs a `name` of its own: \"b 1\" cannot name a builder: 1 to 128 letters, digits and . _ @ : - are allowed, no dash first",
    );
    check(
        "http://x",
        "--builder: 'http://x' has no scheme that muster knows; write HOST, USER@HOST, ssh-ng://USER@HOST or process:/absolute/root",
    );
    check(
        "-x",
        "--builder: '-x' of '-x' is no host: letters, digits and . _ - are allowed, no dash first, or an address in brackets",
    );
    check(
        "[fe80::1%25eth0]",
        "--builder: '[fe80::1%25eth0]' needs a `name` of its own: \"fe80::1%eth0\" cannot name a builder: 1 to 128 letters, digits and . _ @ : - are allowed, no dash first",
    );
}

#[test]
fn keys_of_an_ssh_builder_stand_in_its_table_or_in_its_uri() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";
    let text = format!("[[builder]]\nuri = 'host'\nkey = '/k'\nhost_key = '{KEY} root@host'");
    let config = load(&text).expect("good");
    let BuilderUri::Ssh(uri) = &config.builders[0].uri else { panic!("{config:?}") };
    assert_eq!(uri.key.as_deref(), Some(Path::new("/k")));
    assert_eq!(uri.host_key.as_ref().map(ToString::to_string).as_deref(), Some(KEY));
    refused(
        "[[builder]]\nuri = 'host?ssh-key=/k'\nkey = '/k'",
        "1: [[builder]]: `key` and `ssh-key` of the uri say the same thing; keep one",
    );
    refused(
        "[[builder]]\nuri = 'process:/a'\nkey = '/k'",
        "1: [[builder]]: `key` has no effect: 'process:/a' is not reached by ssh",
    );
    refused(
        "[[builder]]\nuri = 'host'\nhost_key = 'x'",
        "3: `host_key` in [[builder]]: 'x' is not a public key: write what is in /etc/ssh/ssh_host_ed25519_key.pub, 'ssh-ed25519 AAAA...'",
    );
}

#[test]
fn what_was_typed_wins_over_the_file() {
    let typed = Settings { local_store: Some("local?root=/srv/x".to_owned()), ..Settings::default() };
    let config = load_typed(&typed, "local_store = 'daemon'").expect("good");
    assert_eq!(config.local_store, LocalStore::Uri("local?root=/srv/x".to_owned()));
    let typed = Settings { local_store: Some("x".to_owned()), ..Settings::default() };
    assert!(load_typed(&typed, "").expect_err("bad").starts_with("--local-store: 'x'"));
}

#[test]
fn root_and_users_have_their_own_places() {
    let check = |environment: &Environment, expected: [&str; 3]| {
        let config = Config::from_text(&Settings::default(), environment, None).expect("good");
        let found =
            [&config.runtime_dir, &config.state_dir, &places::default_file(environment).expect("good")];
        assert_eq!(found, expected.map(Path::new));
    };
    check(&root(), ["/run/muster", "/var/lib/muster", "/etc/muster/config.toml"]);
    check(
        &user(),
        [
            "/home/eva/.local/state/muster/run",
            "/home/eva/.local/state/muster",
            "/home/eva/.config/muster/config.toml",
        ],
    );
    let xdg = Environment {
        config_home: Some("/c".into()),
        state_home: Some("relative counts as none".into()),
        runtime_dir: Some("/run/user/1000".into()),
        ..user()
    };
    check(&xdg, ["/run/user/1000/muster", "/home/eva/.local/state/muster", "/c/muster/config.toml"]);
    let homeless = Environment { home: None, ..user() };
    let error = Config::from_text(&Settings::default(), &homeless, None).expect_err("no home").to_string();
    assert_eq!(
        error,
        "cannot tell where the state is: HOME is not set to an absolute path; say it with --state-dir"
    );
}

#[test]
fn a_user_who_says_nothing_of_a_coordinator_may_look_at_the_systems() {
    let fallback = |environment: &Environment, places: Places, text: &str| {
        let typed = Settings { places, ..Settings::default() };
        let file = Some((Path::new("/c"), text));
        Config::from_text(&typed, environment, file).expect("good").control.fallback
    };
    let own = Places { runtime_dir: Some("/r".into()), ..Places::default() };
    assert_eq!(fallback(&user(), Places::default(), ""), Some("/run/muster/control.sock".into()));
    assert_eq!(fallback(&user(), Places::default(), "[control]\nsocket = '/x'"), None);
    assert_eq!(fallback(&user(), own, ""), None);
    assert_eq!(fallback(&root(), Places::default(), ""), None);
}

#[test]
fn the_default_endpoint_is_the_systems() {
    assert_eq!(load("").expect("good").endpoint.socket, Path::new(DEFAULT_ENDPOINT));
}

#[test]
fn typed_places_begin_at_the_working_directory() {
    let places = Places { config: None, runtime_dir: Some("r".into()), state_dir: Some("/s".into()) };
    let config = load_typed(&Settings { places, ..Settings::default() }, "").expect("good");
    assert_eq!(config.control.socket, Path::new("/some/where/r/control.sock"));
    assert_eq!(config.endpoint.machines_file, Path::new("/some/where/r/machines"));
    assert_eq!(config.limits.spool_dir, Path::new("/s/spool"));
}

#[test]
fn a_file_that_was_named_must_be_there_and_the_usual_one_need_not() {
    let nowhere = Environment { config_home: Some("/nonexistent".into()), ..user() };
    assert!(Config::load(&Settings::default(), &nowhere).is_ok());
    let places = Places { config: Some("missing.toml".into()), ..Places::default() };
    let typed = Settings { places, ..Settings::default() };
    let error = Config::load(&typed, &nowhere).expect_err("missing").to_string();
    assert!(error.starts_with("/some/where/missing.toml: "), "{error}");
}

#[test]
fn overflow_means_no_look_ahead() {
    let look_ahead = |text: &str| load(text).expect("good").endpoint.look_ahead.beyond(4);
    assert_eq!(look_ahead(""), 8);
    assert_eq!(look_ahead("[endpoint]\nlook_ahead = 3"), 3);
    assert_eq!(look_ahead("[endpoint]\nlocal = 'overflow'"), 0);
}

#[test]
fn more_slots_than_nix_will_ever_fill_are_warned_of() {
    let config = load("[[builder]]\nuri = 'process:/a'\nslots = 181\n").expect("good");
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(load("").expect("good").warnings, [""; 0]);
}

#[test]
fn a_tailnet_is_a_source_once_it_is_said_which_of_its_machines() {
    let source = |words: &str| {
        load(&format!("[[source]]\ntailscale = {{ {words} }}\n")).map(|config| match &*config.sources {
            [Source::Tailscale(tailnet)] => tailnet.clone(),
            other => panic!("{other:?}"),
        })
    };
    let tagged = source("tag = 'tag:nix-builder'").expect("good");
    assert_eq!((tagged.user.as_str(), tagged.ssh, tagged.socket), ("root", SshServer::Tailscale, None));
    let named = source(
        "prefix = 'b', names = ['b1', 'b-24.04'], ssh = 'sshd', port = 2222, key = '/k', user = 'eva'",
    );
    let named = named.expect("good");
    assert_eq!((named.port, named.filter.names.map(|names| names.len())), (Some(2222), Some(2)));
    let wrong = |words: &str, expected: &str| {
        let error = source(words).expect_err(words);
        assert!(error.contains(expected), "{words}: {error}");
    };
    wrong("", "say which machines");
    wrong("user = 'root'", "say which machines");
    wrong("tag = 'nix-builder'", "expected a tag such as");
    wrong("tag = 'tag:a b'", "expected a tag such as");
    wrong("names = []", "not empty");
    wrong("tag = 'tag:x', user = '-oProxyCommand=x'", "is no user's name");
    wrong("tag = 'tag:x', ssh = 'dropbear'", r#"expected "tailscale" or "sshd""#);
    wrong("tag = 'tag:x', key = '/k'", "go with `ssh = \"sshd\"`");
    wrong("tag = 'tag:x', port = 0", "from 1 to 65535");
    wrong("tag = 'tag:x', tags = []", "unknown key `tags`");
    let both = load("[[source]]\nmachines = true\ntailscale = { tag = 'tag:x' }").expect_err("two");
    assert!(both.contains("say one of"), "{both}");
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_loader(text in "([a-z_]{1,8} = ['\"0-9a-z/:\\[\\]-]{0,12}\n|\\[{1,2}[a-z]{1,8}\\]{1,2}\n|\\PC{0,9}){0,6}") {
        let _ = load(&text);
    }
}

/// The keys of each section, as the errors list them.
fn known_keys() -> BTreeMap<&'static str, Vec<String>> {
    let ask = |before: &str| {
        let error = load(&format!("{before}\nno_such_key = 1")).expect_err("unknown");
        let (_, keys) = error.split_once("known: ").expect("the keys");
        keys.split(", ").map(str::to_owned).collect()
    };
    BTreeMap::from([
        ("top section", ask("")),
        ("[[builder]]", ask("[[builder]]\nuri = 'process:/a'")),
        ("[[expect]]", ask("[[expect]]\nsystems = ['a']")),
        ("[[route]]", ask("[[route]]\nlabels = ['a']")),
        ("[[source]]", ask("[[source]]\nmachines = true")),
        ("[source.tailscale]", ask("[[source]]\n[source.tailscale]\ntag = 'tag:x'")),
        ("[endpoint]", ask("[endpoint]")),
        ("[control]", ask("[control]")),
        ("[timeouts]", ask("[timeouts]")),
        ("[limits]", ask("[limits]")),
    ])
}

/// The keys and defaults of each section, as the tables of docs/configuration.md list them.
fn documented_keys() -> BTreeMap<&'static str, Vec<(&'static str, &'static str)>> {
    let mut sections = BTreeMap::new();
    for section in include_str!("../../docs/configuration.md").split("\n## ").skip(1) {
        let mut lines = section.lines();
        let title = lines.next().expect("a title");
        let rows = lines.filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.trim_end_matches('`'), cells.next()?))
        });
        sections.insert(title, rows.collect());
    }
    sections
}

#[test]
fn every_key_is_documented_and_every_documented_key_exists() {
    let documented: BTreeMap<_, Vec<String>> = documented_keys()
        .into_iter()
        .map(|(title, rows)| (title, rows.into_iter().map(|(key, _)| key.to_owned()).collect()))
        .collect();
    assert_eq!(documented, known_keys());
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let mut file = String::new();
    for (title, rows) in documented_keys() {
        let written =
            |default: &str| default.starts_with('`') && !default.contains(' ') || default.starts_with("`\"");
        let rows = rows.into_iter().filter(|(_, default)| written(default));
        let rows: Vec<_> =
            rows.map(|(key, default)| format!("{key} = {}", default.trim_matches('`'))).collect();
        match title {
            "top section" => file = format!("{}\n{file}", rows.join("\n")),
            "[[builder]]" | "[[expect]]" | "[[route]]" | "[[source]]" | "[source.tailscale]" => {}
            _ => file.push_str(&format!("{title}\n{}\n", rows.join("\n"))),
        }
    }
    assert!(file.contains("lost_after = \"1m\"") && file.contains("local_store = \"auto\""), "{file}");
    let written = load(&file).expect("good");
    assert_eq!(written, load("").expect("good"), "{file}");
}

#[test]
fn the_options_of_nix_sshopts_are_split_as_a_shell_would() {
    let options = |text: &str| {
        let environment = Environment { nix_sshopts: Some(text.into()), ..root() };
        Config::from_text(&Settings::default(), &environment, None).map(|config| config.ssh_options)
    };
    assert_eq!(options("-o 'User=a b' -p 22").expect("options"), ["-o", "User=a b", "-p", "22"]);
    let error = options("-o 'User").expect_err("half a quotation").to_string();
    assert!(error.starts_with("NIX_SSHOPTS"), "{error}");
}
