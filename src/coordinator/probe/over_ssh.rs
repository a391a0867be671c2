//! The probe of a builder that ssh reaches: one script, one handshake, one question.

use std::time::Duration;

use tokio::time::timeout;

use super::Purpose;
use super::merge::{self, Itself};
use crate::config::{Attach, SshUri};
use crate::coordinator::reach::{Learned, Reach};
use crate::domain::{Capabilities, Trust};
use crate::edge::pool::{CheckoutError, Lease};
use crate::edge::ssh::{Daemon, Host, Lane};
use crate::edge::{clock, machine};
use crate::nix::ops::BuildMode;
use crate::nix::refusal;
use crate::wire::probe::{self, NoReport, Report};

/// Any login shell understands it.
const SHELL: &str = "/bin/sh -s";

/// What the script said, or why it did not run: a key may allow nothing but a daemon.
type Looked = Result<Report, NoReport>;

pub(super) async fn capabilities(
    reach: &Reach,
    host: &Host,
    purpose: Purpose,
    limit: Duration,
) -> Result<Capabilities, String> {
    let looked = look(host).await?;
    let report = looked.clone().unwrap_or_default();
    not_ourselves(&report, &machine::ids())?;
    let mut daemon = match daemon(reach, host, &report, limit).await {
        Ok(daemon) => daemon,
        Err(error) => return Err(no_daemon(reach, host, &looked, &error).await),
    };
    if purpose.needs_trust() {
        trusted(daemon.trust(), &report, host.uri())?;
    }
    learn(reach, host, purpose.attach, (&report, looked.is_ok())).await;
    if !report.noise.is_empty() {
        let (builder, noise) = (reach.name(), &report.noise);
        tracing::warn!(%builder, "its login prints {noise:?}; harmless only as long as its daemon's socket can be reached");
    }
    let began = clock::now();
    daemon.query_valid_paths(&[], false).await.map_err(|error| error.to_string())?;
    let rtt = began.elapsed();
    reach.answered_after(rtt);
    let itself = who_are_you(&mut daemon).await;
    let version = daemon.daemon_version().map(str::to_owned).or_else(|| report.nix_version.clone());
    let own = itself.as_ref().map(|(system, _)| system).or(report.system.as_ref()).cloned();
    let measured = merge::measured(&report, itself, rtt, clock::unix_seconds());
    reach.learn(Learned { system: own, ..reach.learned() });
    let found = merge::capabilities(&reach.spec, measured, daemon.trust(), version);
    // Whom a daemon does not trust, it may not tell what it is: then that is the first thing to mend.
    found.or_else(|error| trusted(daemon.trust(), &report, host.uri()).and(Err(error)))
}

/// Runs the script.
async fn look(host: &Host) -> Result<Looked, String> {
    let mark = machine::unguessable();
    let end = format!("\n{mark} end\n");
    let script = probe::script(&mark);
    let said = host.run(Lane::Control, SHELL, script.as_bytes(), (end.as_bytes(), probe::LONGEST)).await;
    let said = said.map_err(|error| error.to_string())?;
    let (chatter, words) = probe::chatter(&mark, &said.stderr);
    tracing::debug!(host = host.uri().host, chatter, "probed");
    match probe::parse(&mark, &said.stdout) {
        Err(NoReport::NotRun(text)) if text.is_empty() => {
            Ok(Err(NoReport::NotRun(words.chars().take(500).collect())))
        }
        other => Ok(other),
    }
}

/// A channel to its daemon: by the daemon's socket where that proves to work, else by its program.
async fn daemon(
    reach: &Reach,
    host: &Host,
    report: &Report,
    limit: Duration,
) -> Result<Lease, CheckoutError> {
    let pool = reach.pools().control;
    if let Daemon::Socket(_) = host.daemon()
        && let Ok(daemon) = pool.checkout().await
    {
        return Ok(daemon);
    }
    let chosen = !host.uri().remote_program.is_empty() || host.uri().remote_store.is_some();
    if let Some(program) = report.serve.as_ref().filter(|_| !chosen && report.socket.is_some()) {
        host.use_pump(program);
        if let Ok(Ok(daemon)) = timeout(limit / 3, pool.checkout()).await {
            return Ok(daemon);
        }
    }
    // Tailscale's ssh server leads to sockets of the login's own directories alone, and says so by a reset.
    let chosen = chosen || host.uri().admission.is_some();
    if let Some(path) = report.socket.as_ref().filter(|_| !chosen && report.serve.is_none())
        && host.can_stream().await
    {
        host.use_socket(path);
        match timeout(limit / 3, pool.checkout()).await {
            Ok(Ok(daemon)) => return Ok(daemon),
            Ok(Err(error)) => {
                tracing::debug!(host = host.uri().host, %error, "no way to the daemon's socket")
            }
            Err(_) => tracing::debug!(host = host.uri().host, "no answer by the daemon's socket"),
        }
    }
    host.use_program(report.nix_daemon.as_deref());
    pool.checkout().await
}

/// What a line of its own needs, where stock Nix reaches it by itself.
async fn learn(reach: &Reach, host: &Host, attach: Attach, (report, has_shell): (&Report, bool)) {
    let (boot_id, agent) = (report.boot_id.clone(), report.agent_command());
    let mut learned = Learned { has_shell, boot_id, agent, ..Learned::default() };
    if attach == Attach::Direct {
        learned.host_key = host.host_key().await;
        learned.program = report.nix_daemon.clone().filter(|_| report.on_path.is_none());
    }
    reach.learn(learned);
}

/// Whether an agent has been started since the probe.
pub(in crate::coordinator) async fn look_for_agent(reach: &Reach, host: &Host) {
    if let Ok(Ok(report)) = look(host).await {
        reach.learn(Learned { agent: report.agent_command(), ..reach.learned() });
    }
}

/// Why nobody answers as a daemon. A machine for the older protocol is stock Nix's.
async fn no_daemon(reach: &Reach, host: &Host, looked: &Looked, error: &CheckoutError) -> String {
    let CheckoutError::Handshake { .. } = error else { return error.to_string() };
    if host.may_serve() && host.serves().await {
        reach.learn(Learned { serves_only: true, ..Learned::default() });
        return "only `nix-store --serve` answers there, and muster speaks the worker protocol alone: it is left to \
                Nix itself, with a machines line of its own"
            .to_owned();
    }
    why_not(host.uri(), looked, error)
}

fn why_not(uri: &SshUri, looked: &Looked, error: &CheckoutError) -> String {
    match looked {
        Err(why) => format!("no nix-daemon answers: {error}; and {why}"),
        Ok(report) if report.nix_daemon.is_none() && uri.remote_program.is_empty() => {
            "there is no nix-daemon: neither on PATH nor where Nix is installed; install Nix there, or name the \
             program with ?remote-program="
                .to_owned()
        }
        Ok(report) if !report.noise.is_empty() => format!(
            "its login prints {:?}, which spoils what nix-daemon says; let shells that are not interactive print \
             nothing",
            report.noise
        ),
        Ok(_) => format!("no nix-daemon answers: {error}"),
    }
}

/// A machine that builds for itself through us would wait for itself.
fn not_ourselves(
    report: &Report,
    (machine_id, boot_id): &(Option<String>, Option<String>),
) -> Result<(), String> {
    let same = |theirs: &Option<String>, ours: &Option<String>| theirs.is_some() && theirs == ours;
    if same(&report.machine_id, machine_id) && same(&report.boot_id, boot_id) {
        return Err(
            "it is the very machine that this coordinator runs on (same machine-id, same boot)".to_owned()
        );
    }
    Ok(())
}

fn trusted(trust: Trust, report: &Report, uri: &SshUri) -> Result<(), String> {
    if trust != Trust::Untrusted {
        return Ok(());
    }
    let user = report.user.as_deref().or(uri.user.as_deref()).unwrap_or("the user");
    Err(format!(
        "its daemon does not trust {user}, and so takes no inputs: add `extra-trusted-users = {user}` to its \
         /etc/nix/nix.conf (nix.settings.trusted-users on NixOS) and restart its nix-daemon"
    ))
}

/// The daemon's own words for its system and features. A daemon that says neither costs nothing but the question.
async fn who_are_you(daemon: &mut Lease) -> Itself {
    let (drv, derivation) = refusal::question()?;
    match daemon.build_derivation(&drv, &derivation, BuildMode::Normal, &mut drop).await {
        Ok(result) => refusal::answer(&result.error),
        Err(crate::nix::client::Error::Daemon(error)) => refusal::answer(&error.to_string()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_run_of_the_same_machine_is_ourselves() {
        let ids = |machine: &str, boot: &str| {
            let id = |text: &str| Some(text.to_owned()).filter(|id| !id.is_empty());
            (id(machine), id(boot))
        };
        let check = |theirs: (&str, &str), ours: (&str, &str)| {
            let (machine_id, boot_id) = ids(theirs.0, theirs.1);
            let report = Report { machine_id, boot_id, ..Report::default() };
            not_ourselves(&report, &ids(ours.0, ours.1)).is_ok()
        };
        assert!(!check(("m", "b"), ("m", "b")));
        assert!(check(("m", "b"), ("m", "c")), "a clone of our disk");
        assert!(check(("m", "b"), ("n", "b")), "a container beside us");
        assert!(check(("", ""), ("", "")), "nobody knows");
    }
}
