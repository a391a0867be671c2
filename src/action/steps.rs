//! The steps of the action: inputs and facts in, plans out.
//!
//! | step | what |
//! |---|---|
//! | `check` | refuses bad inputs, before anything else is done |
//! | `disk` | makes room |
//! | `configure` | lines for nix.conf |
//! | `probe` | a builder builds something, before anybody relies on it |
//! | `join` | enters the tailnet |
//! | `serve` | a builder's whole work |
//! | `start` | the coordinator, and the wait for its builders |
//! | `teardown` | what is left to be done, however the job ended |

mod coordinator;
mod disk;
mod nix_conf;
mod probe;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::inputs::{Auth, BadInput, Inputs, Job, Role};
use super::plan::{Act, Command, Level, Otherwise};

pub use coordinator::start;
pub use disk::{FREE_ENOUGH, disk};
pub use nix_conf::configure;
pub use probe::probe;

/// What was found out on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// A directory of the job's own: `RUNNER_TEMP/muster-action`.
    pub dir: String,
    /// Whether it is a Mac.
    pub macos: bool,
    /// Who runs the job.
    pub user: String,
    /// The number of their group.
    pub group: u32,
    /// Free bytes where the store is or will be.
    pub free: u64,
    /// What is in nix.conf.
    pub nix_conf: String,
    /// Whether a login finds muster on its PATH.
    pub muster_on_path: bool,
    /// Whether it does by this job's link.
    pub linked: bool,
    /// Whether a tailscaled answers already.
    pub tailscaled: bool,
    /// Whether there should be a Nix daemon: an init could run one, or it is there.
    pub nix_daemon: bool,
}

/// By which logins find muster.
pub const LINK: &str = "/usr/local/bin/muster";

/// Where tailscaled listens unless told otherwise.
pub fn tailscaled_socket(macos: bool) -> &'static str {
    if macos { "/var/run/tailscaled.socket" } else { "/var/run/tailscale/tailscaled.sock" }
}

/// Whether there is a cluster at all: a job without a secret may go on alone.
pub fn check(job: &Job) -> Result<Vec<Act>, BadInput> {
    let inputs = Inputs::read(job)?;
    let mut acts = vec![];
    match &inputs.auth {
        Some(Auth::Key(key)) => acts.push(Act::Mask(key.clone())),
        Some(Auth::Workload { .. }) => {}
        None => acts.push(Act::Annotate(
            Level::Notice,
            "there is no secret for the tailnet: this job builds by itself (on_missing_auth: local)"
                .to_owned(),
        )),
    }
    acts.push(Act::Output("enabled", inputs.auth.is_some().to_string()));
    acts.push(Act::Output("hostname", inputs.hostname));
    Ok(acts)
}

/// Enters the tailnet; the secret goes through a pipe.
pub fn join(job: &Job, facts: &Facts) -> Result<Vec<Act>, BadInput> {
    let inputs = Inputs::read(job)?;
    let mut acts = vec![Act::Group(format!("Join the tailnet as {}", inputs.hostname))];
    if facts.tailscaled {
        acts.push(Act::Say("tailscaled runs already".to_owned()));
    } else {
        let dir = format!("{}/tailscale", facts.dir);
        let log = format!("{}/tailscaled.log", facts.dir);
        let words = ["tailscaled", "--no-logs-no-support"];
        let command = Command::new(words).and([format!("--statedir={dir}")]).as_root();
        acts.push(Act::Start { command, log: log.clone(), pid: format!("{}/tailscaled.pid", facts.dir) });
        let path = tailscaled_socket(facts.macos).to_owned();
        acts.push(Act::Await { path, limit: Duration::from_secs(20), log });
    }
    acts.push(Act::Run(join_command(&inputs)));
    let ip = Command::new(["tailscale", "ip", "-4"]).within(Duration::from_secs(10));
    acts.push(Act::OutputOf("ip", ip.or(Otherwise::Ignore)));
    acts.push(Act::EndGroup);
    Ok(acts)
}

fn join_command(inputs: &Inputs) -> Command {
    let role = match inputs.role {
        Role::Builder => "builder",
        Role::Coordinator => "coordinator",
    };
    let mut command = Command::new(["muster", "join", "--timeout", "45s", "--preauthorized", "--role", role])
        .and(["--hostname".to_owned(), inputs.hostname.clone()])
        .and(inputs.tags.iter().flat_map(|tag| ["--tag".to_owned(), tag.clone()]))
        .and(inputs.login_server.iter().flat_map(|url| ["--login-server".to_owned(), url.clone()]))
        .as_root();
    command = match &inputs.auth {
        Some(Auth::Key(key)) => {
            command.and(["--auth-key-file".to_owned(), "/dev/stdin".to_owned()]).reads(key.clone())
        }
        Some(Auth::Workload { client_id, audience }) => {
            command.keep = vec!["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
            let words = ["--client-id", client_id, "--audience", audience];
            command.and(words.map(str::to_owned))
        }
        None => command,
    };
    let tags = inputs.tags.join(", ");
    let fix = format!(
        "the tailnet does not let this machine in. Is the key valid still, does it (or the OAuth client, with the scope \
         auth_keys) have all of {tags}, and does the policy's tagOwners have them?"
    );
    command.or(Otherwise::Fail(fix))
}

/// A builder's whole work: it ends when it is released, or nobody comes.
pub fn serve(job: &Job, facts: &Facts) -> Result<Vec<Act>, BadInput> {
    let inputs = Inputs::read(job)?;
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    let on_idle = if inputs.fail_on_timeout { "fail" } else { "pass" };
    let words = ["muster", "builder", "--ephemeral", "--on-idle", on_idle, "--idle-timeout"];
    let mut command = Command::new(words)
        .and([seconds(inputs.builder_timeout)])
        .and(["--lease-timeout".to_owned(), seconds(inputs.lease_timeout)])
        .and(["--max-lifetime".to_owned(), seconds(inputs.max_lifetime)])
        .as_root()
        .within(inputs.max_lifetime + Duration::from_secs(60));
    if inputs.user != "root" {
        command = command.and(["--allow-user".to_owned(), inputs.user.clone()]);
    }
    command =
        command.and(inputs.coordinator_tags.iter().flat_map(|tag| ["--allow-tag".to_owned(), tag.clone()]));
    if let Some(slots) = inputs.max_jobs {
        command = command.and(["--slots".to_owned(), slots.to_string()]);
    }
    let nobody = format!(
        "no coordinator came within {} s, or the builder ended by itself: see above. Does the coordinator's job list {}, \
         and does the tailnet's policy let it in? `on_timeout: pass` makes this no failure",
        inputs.builder_timeout.as_secs(),
        inputs.hostname
    );
    let mut acts = Vec::new();
    if !facts.muster_on_path {
        // The coordinator's ssh session looks for it there.
        let link = Command::new(["ln", "-sf"]).and([format!("{}/bin/muster", facts.dir)]);
        let link = link.and([LINK.to_owned()]).as_root();
        let lost =
            "the coordinator may not find muster here, and takes this machine for one without an agent";
        acts.push(Act::Run(link.or(Otherwise::Warn(lost.to_owned()))));
    }
    acts.extend([
        Act::Say(format!("{} serves until its coordinator releases it", inputs.hostname)),
        Act::Run(command.or(Otherwise::Fail(nobody))),
    ]);
    Ok(acts)
}

/// What is left to be done, however the job ended; nothing here fails the job, and all of it takes a minute at most.
pub fn teardown(job: &Job, facts: &Facts) -> Vec<Act> {
    let warn =
        |what: &str| Otherwise::Warn(format!("{what}; the tailnet forgets this machine by itself, later"));
    let role = job.get("INPUT_ROLE").map_or("", String::as_str);
    let summary = job.get("INPUT_SUMMARY").map(String::as_str) != Some("false");
    let mut acts = vec![Act::Group("Tear down".to_owned())];
    if role == "coordinator" {
        let stop = Command::new(["muster", "stop", "--now"]).as_root().within(Duration::from_secs(20));
        let left =
            "the builders could not be told; they end by themselves when their lease is over".to_owned();
        acts.push(Act::Run(stop.or(Otherwise::Warn(left))));
        if summary {
            let report =
                Command::new(["muster", "report", "--github"]).as_root().within(Duration::from_secs(15));
            acts.push(Act::Summarise(report.or(Otherwise::Warn("there is no report".to_owned()))));
        }
    } else {
        let release =
            Command::new(["muster", "builder", "release"]).as_root().within(Duration::from_secs(10));
        acts.push(Act::Run(release.or(Otherwise::Ignore)));
    }
    let leave =
        Command::new(["muster", "leave", "--timeout", "10s"]).as_root().within(Duration::from_secs(15));
    acts.push(Act::Run(leave.or(warn("the tailnet could not be left"))));
    acts.push(Act::End { pid: format!("{}/coordinator.pid", facts.dir) });
    acts.push(Act::End { pid: format!("{}/tailscaled.pid", facts.dir) });
    acts.push(Act::Remove(format!("{}/tailscale", facts.dir)));
    if facts.linked {
        acts.push(Act::Remove(LINK.to_owned()));
    }
    acts.push(Act::EndGroup);
    acts
}
