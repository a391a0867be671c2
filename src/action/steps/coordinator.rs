//! The coordinator of a job: its configuration, and the wait for its builders.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Facts;
use crate::action::inputs::{BadInput, Builders, Inputs, Job, bad};
use crate::action::plan::{Act, Command, Otherwise};

/// Where a coordinator that root runs listens.
const CONTROL: &str = "/run/muster/control.sock";
/// Beyond the wait itself.
const GRACE: Duration = Duration::from_secs(30);

/// Starts it, waits until enough builders are there, and says who they are.
pub fn start(job: &Job, facts: &Facts) -> Result<Vec<Act>, BadInput> {
    let inputs = Inputs::read(job)?;
    let builders = inputs.builders.as_ref().ok_or_else(|| bad("builders", "it is empty"))?;
    let (config, log) = (format!("{}/config.toml", facts.dir), format!("{}/coordinator.log", facts.dir));
    let command = Command::new(["muster", "coordinator", "--config"]).and([config.clone()]).as_root();
    Ok(vec![
        Act::Group("Start the coordinator".to_owned()),
        Act::Write { path: config, text: configuration(&inputs, builders, facts), root: false },
        Act::Start { command, log: log.clone(), pid: format!("{}/coordinator.pid", facts.dir) },
        Act::Await { path: CONTROL.to_owned(), limit: Duration::from_secs(20), log },
        // So that the user's own commands mean this one.
        Act::Env("MUSTER_RUNTIME_DIR", "/run/muster".to_owned()),
        Act::EndGroup,
        Act::Run(wait(&inputs, builders)),
        Act::DescribeFleet { names: listed(builders) },
        Act::Output("machines-file", "/etc/nix/machines".to_owned()),
        Act::Output("stop-command", "stop-nix-builders".to_owned()),
    ])
}

/// All that are listed; when the time is over, `min_builders` of them. Those that are discovered nobody can count before.
fn wait(inputs: &Inputs, builders: &Builders) -> Command {
    let names = listed(builders);
    let least = inputs.min_builders.unwrap_or(names.len().max(1));
    let failure = format!(
        "fewer than {least} builders came within {} s; what is known of each stands above. `min_builders: 1` goes on with \
         what is there by then, `wait` waits longer",
        inputs.wait.as_secs()
    );
    Command::new(["muster", "wait"])
        .and(names)
        .and(["--min-builders".to_owned(), least.to_string()])
        .and(["--wait".to_owned(), format!("{}s", inputs.wait.as_secs())])
        .as_root()
        .within(inputs.wait + GRACE)
        .or(Otherwise::Fail(failure))
}

fn listed(builders: &Builders) -> Vec<String> {
    match builders {
        Builders::Listed(names) => names.clone(),
        Builders::Discovered { .. } => Vec::new(),
    }
}

fn configuration(inputs: &Inputs, builders: &Builders, facts: &Facts) -> String {
    let source = match builders {
        Builders::Listed(names) => format!("names = {}", list(names.iter().map(String::as_str))),
        Builders::Discovered { tag, prefix } => {
            let said = [("tag", tag), ("prefix", prefix)];
            let said =
                said.iter().filter_map(|(key, value)| Some(format!("{key} = {}", text(value.as_deref()?))));
            said.collect::<Vec<_>>().join(", ")
        }
    };
    let user = if inputs.user == "root" { String::new() } else { format!(", user = {}", text(&inputs.user)) };
    let mut config = format!(
        "# Written by muster's action.\nattach = \"endpoint\"\n\n[control]\ngroup = {}\n\n[[source]]\ntailscale = {{ {source}{user} }}\n",
        text(&facts.group.to_string())
    );
    config += &expected(builders);
    config + &format!("\n[timeouts]\nexpect_timeout = \"{}s\"\n", inputs.wait.as_secs())
}

/// What the builders of the plan will offer, as far as their names say it: Nix may ask for it before they are there.
fn expected(builders: &Builders) -> String {
    let Builders::Listed(names) = builders else { return String::new() };
    let offers: BTreeSet<_> = names.iter().filter_map(|name| offer_of(name)).collect();
    let table = |(system, features): &(&str, &[&str])| {
        format!(
            "\n[[expect]]\nsystems = {}\nfeatures = {}\n",
            list([*system].into_iter()),
            list(features.iter().copied())
        )
    };
    offers.iter().map(table).collect()
}

/// What a runner of GitHub's offers, by the label in a builder's name; none for labels of one's own.
fn offer_of(name: &str) -> Option<(&'static str, &'static [&'static str])> {
    let plain: &[&str] = &["benchmark", "big-parallel"];
    let label = name.split_once("ubuntu").map(|(_, rest)| ("ubuntu", rest));
    let label = label.or_else(|| name.split_once("macos").map(|(_, rest)| ("macos", rest)))?;
    Some(match label {
        ("ubuntu", rest) if rest.contains("-arm") => {
            ("aarch64-linux", &["benchmark", "big-parallel", "nixos-test"])
        }
        ("ubuntu", _) => ("x86_64-linux", &["benchmark", "big-parallel", "kvm", "nixos-test"]),
        (_, rest) if rest.contains("-intel") || rest.contains("-13") || rest.contains("-large") => {
            ("x86_64-darwin", plain)
        }
        _ => ("aarch64-darwin", plain),
    })
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(text).collect::<Vec<_>>().join(", "))
}

/// A text of TOML. What comes here is made of letters, digits and a few signs.
fn text(text: &str) -> String {
    format!("\"{}\"", text.replace(['\\', '"', '\n'], ""))
}
