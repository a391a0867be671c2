//! One builder, step by step. Each step is bounded in time, and the first failure that what follows depends on is the
//! end.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::{Around, login};
use crate::config::SshUri;
use crate::doctor::host::{BadKey, Daemon, Facts};
use crate::doctor::ssh::{Attempt, Outcome, PENALTY, Settings};
use crate::domain::{Feature, HostKey};
use crate::edge::channel::Transport;
use crate::edge::pool::{Lease, Pool};
use crate::edge::ssh::{Host, Lane};
use crate::edge::{clock, files, machine};
use crate::nix::client::Error;
use crate::nix::ops::BuildMode;
use crate::nix::refusal;
use crate::wire::probe::{self, Report};

/// Asks everything. `step` hears what is being asked.
pub async fn ask(uri: &SshUri, around: &Around, step: impl Fn(&'static str)) -> Facts {
    let mut facts = Facts::default();
    step("ssh-config");
    let settings = login::settings(uri, around).await;
    facts.settings = Some(settings.clone());
    let Ok(settings) = settings else { return facts };
    if settings.proxy.is_none() && !greets(&settings, around, &mut facts, &step).await {
        return facts;
    }
    step("key");
    facts.key = uri.key.as_deref().map(key_file);
    step("login");
    let attempt = login::attempt(uri, around).await;
    if let Outcome::ChangedHostKey { known: Some((file, line)) } = &attempt.outcome {
        facts.known = known_fingerprint(Path::new(file), *line);
    }
    let is_in = attempt.outcome == Outcome::LoggedIn && !matches!(facts.key, Some(Err(_)));
    facts.attempt = Some(attempt);
    if is_in {
        inside(uri, around, &mut facts, &step).await;
    }
    facts
}

/// Whether an ssh server greets us at its port.
async fn greets(
    settings: &Settings,
    around: &Around,
    facts: &mut Facts,
    step: &impl Fn(&'static str),
) -> bool {
    step("name");
    let limit = around.terms.patience.connect;
    let found = timeout(limit, lookup_host((settings.hostname.as_str(), settings.port))).await;
    let found: Result<Vec<SocketAddr>, String> = match found {
        Ok(Ok(addresses)) => Ok(addresses.take(8).collect()),
        Ok(Err(error)) => Err(format!("nobody knows {}: {}", settings.hostname, resolver(&error))),
        Err(_) => Err(format!(
            "nobody said who {} is within {}",
            settings.hostname,
            humantime::format_duration(limit)
        )),
    };
    facts.addresses =
        Some(found.clone().map(|all| all.iter().map(|address| address.ip().to_string()).collect()));
    let Ok(addresses) = found else { return false };
    step("port");
    let greeting = match timeout(limit, greeting(&addresses)).await {
        Ok(greeting) => greeting,
        Err(_) => Err(login::failed(
            Outcome::TimedOut,
            format!("no answer from port {} within {}", settings.port, humantime::format_duration(limit)),
        )),
    };
    let greets = greeting.is_ok();
    facts.port = Some(greeting);
    greets
}

/// Rust's words and the resolver's own.
fn resolver(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

/// The line with which an ssh server begins.
async fn greeting(addresses: &[SocketAddr]) -> Result<String, Attempt> {
    let mut failure = login::failed(Outcome::Unresolved, "its name has no address".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return first_line(stream, address).await,
            Err(error) => {
                failure = Attempt::read(&format!("port {} of {}: {error}", address.port(), address.ip()))
            }
        }
    }
    Err(failure)
}

async fn first_line(stream: TcpStream, address: &SocketAddr) -> Result<String, Attempt> {
    const LONGEST: u64 = 255;
    let mut said = Vec::new();
    let mut stream = stream.take(LONGEST);
    let mut chunk = [0; 255];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        said.extend(&chunk[..read]);
        if said.contains(&b'\n') {
            break;
        }
    }
    let line = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned();
    let port = address.port();
    match line.as_str() {
        line if line.starts_with("SSH-") => Ok(line.chars().filter(|c| !c.is_control()).collect()),
        "" => Err(login::failed(
            Outcome::Closed,
            format!("port {port} is open, and whoever listens hangs up at once"),
        )),
        PENALTY => Err(login::failed(Outcome::Penalized, format!("its ssh server says: {PENALTY}"))),
        line => Err(login::failed(
            Outcome::Refused,
            format!("no ssh server listens at port {port}: it says {line:?}"),
        )),
    }
}

/// Looks at the key file that the user named as ssh would.
fn key_file(path: &Path) -> Result<(), BadKey> {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BadKey::Missing { beside: beside(path) });
        }
        Err(error) => return Err(BadKey::Unreadable(error.to_string())),
    };
    files::can_read(path).map_err(|error| BadKey::Unreadable(error.to_string()))?;
    if head(path).starts_with(b"ssh-") {
        return Err(BadKey::Public);
    }
    let ours = meta.uid() == rustix::process::geteuid().as_raw();
    match meta.mode() & 0o7777 {
        mode if ours && mode & 0o077 != 0 => Err(BadKey::TooOpen(mode)),
        _ => Ok(()),
    }
}

/// Private keys in the same directory; those that begin like the missing one first.
fn beside(path: &Path) -> Vec<String> {
    const MOST: usize = 1000;
    let Some(dir) = path.parent() else { return Vec::new() };
    let entries = fs::read_dir(dir).into_iter().flatten().take(MOST).filter_map(Result::ok);
    let files = entries.map(|entry| entry.path()).filter(|file| head(file).starts_with(b"-----BEGIN "));
    let mut keys: Vec<String> = files.map(|file| file.to_string_lossy().into_owned()).collect();
    let wanted = path.to_string_lossy().into_owned();
    let alike = |key: &String| key.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
    keys.sort_by_key(|key| (std::cmp::Reverse(alike(key)), key.clone()));
    keys
}

/// The first bytes of a regular file.
fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    if fs::metadata(path).is_ok_and(|meta| meta.is_file())
        && let Ok(file) = fs::File::open(path)
    {
        // What cannot be read has no head.
        let _ = file.take(32).read_to_end(&mut head);
    }
    head
}

/// The fingerprint of the key in that line of a known hosts file.
fn known_fingerprint(file: &Path, line: usize) -> Option<String> {
    let text = files::read_bounded(file)?;
    let line = text.lines().nth(line.checked_sub(1)?)?;
    known_key(line).map(|key| key.fingerprint())
}

/// The key of a known hosts line: `[@MARKER] HOSTS KIND BLOB`.
pub(super) fn known_key(line: &str) -> Option<HostKey> {
    let mut words = line.split_whitespace();
    if words.next()?.starts_with('@') {
        words.next()?;
    }
    HostKey::parse(&words.collect::<Vec<_>>().join(" ")).ok()
}

/// What only a login can tell.
async fn inside(uri: &SshUri, around: &Around, facts: &mut Facts, step: &impl Fn(&'static str)) {
    let host =
        Host::new(uri.clone(), Arc::clone(&around.sockets), around.terms.clone(), around.tracker.clone());
    step("shell");
    let before = clock::unix_seconds();
    let report = script(&host, around.probe).await;
    if let Ok(report) = &report {
        facts.clock_ahead = report.clock.map(|there| ahead(there, before, clock::unix_seconds()));
        facts.is_ourselves = is_ourselves(report);
        facts.on_path = report.on_path.clone();
    }
    let found = report.as_ref().ok().and_then(|report| report.nix_daemon.clone());
    let asked = !uri.remote_program.is_empty() || report.is_err() || found.is_some();
    facts.features = report.as_ref().ok().and_then(|report| report.features.clone());
    facts.report = Some(report);
    if asked {
        step("daemon");
        host.use_program(found.as_deref());
        let transport = Transport::Ssh(Arc::clone(&host), Lane::Control);
        let answer = question(transport, around).await;
        facts.features = answer.as_ref().ok().and_then(|(_, own)| own.clone()).or(facts.features.take());
        facts.daemon = Some(answer.map(|(daemon, _)| daemon));
    }
    if matches!(facts.daemon, Some(Err(_))) && host.may_serve() {
        facts.serve_only = timeout(around.probe, host.serves()).await.unwrap_or(false);
    }
    host.cut();
}

/// By how much its clock is ahead, where the answer came between two moments.
fn ahead(there: i64, before: i64, after: i64) -> i64 {
    if there < before { there - before } else { (there - after).max(0) }
}

fn is_ourselves(report: &Report) -> bool {
    let (machine, boot) = machine::ids();
    machine.is_some() && boot.is_some() && machine == report.machine_id && boot == report.boot_id
}

async fn script(host: &Host, limit: Duration) -> Result<Report, String> {
    let mark = machine::unguessable();
    let said = run(host, limit, &probe::script(&mark), &format!("\n{mark} end\n")).await?;
    probe::parse(&mark, &said).map_err(|error| error.to_string())
}

/// What a script prints there.
async fn run(host: &Host, limit: Duration, script: &str, end: &str) -> Result<Vec<u8>, String> {
    let running = host.run(Lane::Control, "/bin/sh -s", script.as_bytes(), (end.as_bytes(), probe::LONGEST));
    match timeout(limit, running).await {
        Ok(Ok(said)) => Ok(said.stdout),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(limit))),
    }
}

/// Shakes hands with a daemon.
pub async fn daemon(transport: Transport, around: &Around) -> Result<Daemon, String> {
    question(transport, around).await.map(|(daemon, _)| daemon)
}

/// The same, and the features that it says it has.
async fn question(
    transport: Transport,
    around: &Around,
) -> Result<(Daemon, Option<BTreeSet<Feature>>), String> {
    let pool =
        Pool::new(transport, around.store_dir.clone(), around.terms.patience.connect, around.tracker.clone());
    let mut channel = pool.checkout().await.map_err(|error| error.to_string())?;
    let (version, trust) = (channel.daemon_version().map(str::to_owned), channel.trust());
    let own = timeout(around.probe, features(&mut channel)).await.ok().flatten();
    drop(channel);
    pool.cut("it has been asked");
    Ok((Daemon { version, trust }, own))
}

async fn features(channel: &mut Lease) -> Option<BTreeSet<Feature>> {
    let (drv, derivation) = refusal::question()?;
    let answer = match channel.build_derivation(&drv, &derivation, BuildMode::Normal, &mut drop).await {
        Ok(result) => refusal::answer(&result.error),
        Err(Error::Daemon(error)) => refusal::answer(&error.to_string()),
        Err(_) => None,
    };
    answer.map(|(_, features)| features)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_looked_at_as_ssh_does() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str, mode| {
            fs::write(path(name), text).expect("written");
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).expect("ours");
        };
        write("remotebuild", "-----BEGIN OPENSSH PRIVATE KEY-----\n", 0o600);
        write("zebra", "-----BEGIN OPENSSH PRIVATE KEY-----\n", 0o600);
        write("notes", "nothing", 0o600);
        write("remotebuild.pub", "ssh-ed25519 AAAA", 0o644);
        write("open", "-----BEGIN", 0o640);
        assert_eq!(key_file(&path("remotebuild")), Ok(()));
        assert_eq!(key_file(&path("remotebuild.pub")), Err(BadKey::Public));
        assert_eq!(key_file(&path("open")), Err(BadKey::TooOpen(0o640)));
        let Err(BadKey::Missing { beside }) = key_file(&path("remotemachine")) else { panic!("not there") };
        assert_eq!(beside, ["remotebuild", "zebra"].map(|name| path(name).display().to_string()));
    }

    #[test]
    fn a_clock_is_wrong_only_beyond_the_time_that_asking_took() {
        assert_eq!(ahead(100, 98, 103), 0);
        assert_eq!(ahead(110, 98, 103), 7);
        assert_eq!(ahead(90, 98, 103), -8);
    }

    #[test]
    fn the_key_of_a_known_hosts_line_is_found_behind_its_hosts() {
        const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDnCQXlllHoLX5EvU+t6yP/npsmuxKt0skHVeJashizE";
        for line in [
            format!("h,192.0.2.1 {KEY} comment"),
            format!("@cert-authority *.x {KEY}"),
            format!("|1|a=|b= {KEY}"),
        ] {
            assert_eq!(known_key(&line).map(|key| key.to_string()).as_deref(), Some(KEY), "{line}");
        }
        assert_eq!(known_key("h"), None);
    }
}
