use super::*;
use crate::action::inputs::Secret;
use crate::action::inputs::tests::job;

fn facts() -> Facts {
    Facts {
        dir: "/tmp/muster-action".to_owned(),
        user: "runner".to_owned(),
        group: 121,
        free: 20_000_000_000,
        nix_conf: "max-jobs = 4\n".to_owned(),
        ..Facts::default()
    }
}

fn on_path() -> Facts {
    Facts { muster_on_path: true, ..facts() }
}

fn coordinator(inputs: &[(&str, &str)]) -> Job {
    let builders = [("builders", "b-ubuntu-24.04-1 b-ubuntu-24.04-arm-1 b-macos-26-1 b-macos-26-intel-1")];
    job("coordinator", &[&builders, inputs].concat())
}

/// Everything that is run or started, one a line; `#` marks what takes root.
fn commands(acts: &[Act]) -> String {
    let line = |command: &Command| {
        let root = if command.root { "# " } else { "$ " };
        format!("{root}{}\n", command.words.join(" "))
    };
    let mut text = String::new();
    for act in acts {
        match act {
            Act::Run(command) | Act::OutputOf(_, command) | Act::Summarise(command) => text += &line(command),
            Act::Start { command, .. } => text += &format!("& {}", line(command)),
            Act::Together(commands) => text.extend(commands.iter().map(line)),
            _ => {}
        }
    }
    text
}

fn written(acts: &[Act], name: &str) -> String {
    let text = acts.iter().find_map(|act| match act {
        Act::Write { path, text, .. } if path.ends_with(name) => Some(text.clone()),
        _ => None,
    });
    text.expect("a file")
}

#[test]
fn a_key_is_masked_before_anything_is_said() {
    let acts = check(&job("builder", &[])).expect("good");
    assert_eq!(acts[0], Act::Mask(Secret::of("tskey-auth-k1")));
    assert!(acts.contains(&Act::Output("enabled", "true".to_owned())));
}

#[test]
fn a_job_without_a_secret_says_that_it_goes_on_alone() {
    let alone = job("builder", &[("tailscale_authkey", ""), ("on_missing_auth", "local")]);
    let acts = check(&alone).expect("good");
    assert!(matches!(&acts[0], Act::Annotate(Level::Notice, text) if text.contains("builds by itself")));
    assert!(acts.contains(&Act::Output("enabled", "false".to_owned())));
}

#[test]
fn the_secret_goes_through_a_pipe_and_is_in_no_command() {
    for role in ["builder", "coordinator"] {
        let acts = join(&job(role, &[("builders", "b1")]), &facts()).expect("good");
        assert!(!format!("{acts:?}").contains("tskey"), "{acts:?}");
        let piped = acts.iter().filter(|act| matches!(act, Act::Run(command) if command.stdin.is_some()));
        assert_eq!(piped.count(), 1);
    }
}

#[test]
fn joining_starts_tailscaled_only_where_none_runs() {
    let started = "& # tailscaled --no-logs-no-support --statedir=/tmp/muster-action/tailscale\n";
    let joined = "# muster join --timeout 45s --preauthorized --role builder --hostname nix-1-ubuntu-24.04-1 --tag \
                  tag:nix-ci-builder --login-server https://c --auth-key-file /dev/stdin\n$ tailscale ip -4\n";
    let inputs = job("builder", &[("login_server", "https://c")]);
    assert_eq!(commands(&join(&inputs, &facts()).expect("good")), format!("{started}{joined}"));
    let running = Facts { tailscaled: true, ..facts() };
    assert_eq!(commands(&join(&inputs, &running).expect("good")), joined);
}

#[test]
fn workload_identity_needs_githubs_variables_and_no_key() {
    let workload = [("tailscale_authkey", ""), ("oauth_client_id", "id1"), ("audience", "aud1")];
    let mut inputs = job("builder", &workload);
    inputs.insert("ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(), "https://x".to_owned());
    let acts = join(&inputs, &Facts { tailscaled: true, ..facts() }).expect("good");
    let Some(Act::Run(command)) = acts.iter().find(|act| matches!(act, Act::Run(_))) else { panic!() };
    assert!(command.words.join(" ").ends_with("--client-id id1 --audience aud1") && command.stdin.is_none());
    assert_eq!(command.keep, ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"]);
}

#[test]
fn a_coordinators_session_finds_muster_on_its_path() {
    let acts = serve(&job("builder", &[]), &facts()).expect("good");
    assert!(commands(&acts).starts_with("# ln -sf /tmp/muster-action/bin/muster /usr/local/bin/muster\n"));
}

#[test]
fn a_builder_serves_within_the_limits_of_its_inputs() {
    let inputs = [
        ("builder_timeout", "60"),
        ("on_timeout", "pass"),
        ("max_jobs", "3"),
        ("lease_timeout", "30"),
        ("user", "runner"),
        ("coordinator_tags", "tag:c"),
    ];
    assert_eq!(
        commands(&serve(&job("builder", &inputs), &on_path()).expect("good")),
        "# muster builder --ephemeral --on-idle pass --idle-timeout 60s --lease-timeout 30s --max-lifetime 21000s \
         --allow-user runner --allow-tag tag:c --slots 3\n"
    );
    assert_eq!(
        commands(&serve(&job("builder", &[]), &on_path()).expect("good")),
        "# muster builder --ephemeral --on-idle fail --idle-timeout 300s --lease-timeout 45s --max-lifetime 21000s \
         --allow-tag tag:nix-ci-coordinator\n"
    );
}

#[test]
fn a_coordinator_waits_for_all_that_are_listed_and_goes_on_with_min_builders() {
    let waits = |inputs: &[(&str, &str)]| commands(&start(&coordinator(inputs), &facts()).expect("good"));
    let names = "b-ubuntu-24.04-1 b-ubuntu-24.04-arm-1 b-macos-26-1 b-macos-26-intel-1";
    let begin = "& # muster coordinator --config /tmp/muster-action/config.toml\n";
    assert_eq!(waits(&[]), format!("{begin}# muster wait {names} --min-builders 4 --wait 300s\n"));
    assert_eq!(
        waits(&[("min_builders", "1"), ("wait", "60")]),
        format!("{begin}# muster wait {names} --min-builders 1 --wait 60s\n")
    );
    let found = job("coordinator", &[("discover_tag", "tag:b"), ("discover_prefix", "nix-")]);
    assert!(
        commands(&start(&found, &facts()).expect("good"))
            .ends_with("# muster wait --min-builders 1 --wait 300s\n")
    );
}

#[test]
fn the_coordinators_configuration_is_good_and_expects_what_the_plan_brings() {
    let check = |inputs: &Job, expected: &[&str]| {
        let config = written(&start(inputs, &facts()).expect("good"), "config.toml");
        let parsed: toml::Table = config.parse().expect("TOML");
        assert_eq!(parsed["attach"].as_str(), Some("endpoint"));
        for part in expected {
            assert!(config.contains(part), "{part} in {config}");
        }
    };
    let systems = ["x86_64-linux", "aarch64-linux", "x86_64-darwin", "aarch64-darwin"];
    let expected = systems.map(|system| format!("[[expect]]\nsystems = [\"{system}\"]\n"));
    check(&coordinator(&[]), &expected.each_ref().map(String::as_str));
    check(&coordinator(&[]), &["group = \"121\"\n", "names = [\"b-ubuntu-24.04-1\", "]);
    let found = job("coordinator", &[("discover_tag", "tag:b"), ("discover_prefix", "nix-")]);
    check(&found, &["tailscale = { tag = \"tag:b\", prefix = \"nix-\" }"]);
}

#[test]
fn the_users_lines_stand_last_and_a_second_run_changes_nothing() {
    let inputs = job("builder", &[("extra_nix_config", "max-jobs = 1\nsubstituters = https://x\n")]);
    let acts = configure(&inputs, &facts()).expect("good");
    let conf = written(&acts, "nix.conf");
    assert!(conf.starts_with(
        "max-jobs = 4\n# muster's action: begin\nextra-experimental-features = nix-command flakes\n"
    ));
    assert!(conf.ends_with("max-jobs = 1\nsubstituters = https://x\n# muster's action: end\n"), "{conf}");
    assert_eq!(commands(&acts), "# systemctl restart nix-daemon.service\n");
    let again = configure(&inputs, &Facts { nix_conf: conf, ..facts() }).expect("good");
    assert_eq!(commands(&again), "");
    let mac = configure(&inputs, &Facts { macos: true, ..facts() }).expect("good");
    assert_eq!(commands(&mac), "# launchctl kickstart -k system/org.nixos.nix-daemon\n");
}

#[test]
fn whoever_a_coordinator_logs_in_as_is_trusted_by_the_builders_daemon() {
    let user = [("user", "ci"), ("builders", "b1")];
    let conf = |role| written(&configure(&job(role, &user), &facts()).expect("good"), "nix.conf");
    assert!(
        conf("builder").contains("extra-trusted-users = ci\n") && !conf("coordinator").contains("= ci\n")
    );
    let config = written(&start(&job("coordinator", &user), &facts()).expect("good"), "config.toml");
    assert!(config.contains("tailscale = { names = [\"b1\"], user = \"ci\" }"), "{config}");
}

#[test]
fn a_builder_asks_its_own_daemon_for_a_build_before_anybody_else_does() {
    let said = commands(&probe(&job("builder", &[]), &Facts { nix_daemon: true, ..facts() }).expect("good"));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "# nix-build --version");
    assert!(lines[1].starts_with("# nix-build --store daemon --dry-run -E derivation {"), "{said}");
    assert!(
        lines[2].starts_with("# nix-build --store daemon --no-out-link --builders  --max-jobs 1 -E "),
        "{said}"
    );
    assert!(!commands(&probe(&job("builder", &[]), &facts()).expect("good")).contains("daemon"));
}

#[test]
fn room_is_made_where_little_is_free_or_always() {
    let run = |choice: &str, facts: &Facts| {
        let acts = disk(&job("builder", &[("maximize_disk", choice)]), facts).expect("good");
        (commands(&acts), acts)
    };
    let plenty = Facts { free: FREE_ENOUGH, ..facts() };
    let mac = Facts { macos: true, ..facts() };
    let removes = |said: &str| said.starts_with("# rm -rf --one-file-system -- /opt/az /opt/ghc ");
    assert!(removes(&run("auto", &facts()).0) && removes(&run("", &facts()).0));
    assert!(removes(&run("always", &plenty).0));
    for (choice, facts) in [("auto", &plenty), ("never", &facts()), ("always", &mac)] {
        let (said, acts) = run(choice, facts);
        assert_eq!(said, "");
        assert!(matches!(&acts[..], [Act::Say(text)] if text.contains("GB are free")), "{acts:?}");
    }
}

#[test]
fn teardown_is_bounded_and_never_fails() {
    for role in ["builder", "coordinator", ""] {
        let acts = teardown(&job(role, &[]), &facts());
        let mut all = Duration::ZERO;
        for act in &acts {
            if let Act::Run(command) | Act::Summarise(command) = act {
                assert!(!matches!(command.otherwise, Otherwise::Fail(_)), "{command:?}");
                all += command.limit;
            }
        }
        assert!(all <= Duration::from_secs(60), "{all:?}");
    }
    assert_eq!(
        commands(&teardown(&coordinator(&[]), &facts())),
        "# muster stop --now\n# muster report --github\n# muster leave --timeout 10s\n"
    );
    assert_eq!(
        commands(&teardown(&job("builder", &[]), &facts())),
        "# muster builder release\n# muster leave --timeout 10s\n"
    );
    let link = Act::Remove("/usr/local/bin/muster".to_owned());
    assert!(!teardown(&job("builder", &[]), &on_path()).contains(&link), "it is somebody else's");
    assert!(teardown(&job("builder", &[]), &Facts { linked: true, ..on_path() }).contains(&link));
    assert!(!commands(&teardown(&coordinator(&[("summary", "false")]), &facts())).contains("report"));
}
