//! This machine.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Around, host};
use crate::config::Config;
use crate::doctor::local::{Bash, Builders, Facts};
use crate::edge::channel::Transport;
use crate::edge::discover::MachinesSource;
use crate::edge::discover::machines::look;
use crate::edge::{control, files, tools};
use crate::nix::section;

/// Asks everything; `store` is how the local store is reached.
pub async fn ask(config: &Config, source: &MachinesSource, store: Transport, around: &Around) -> Facts {
    let endpoint = &config.endpoint;
    let socket = config.control.socket.display().to_string();
    Facts {
        is_root: rustix::process::geteuid().is_root(),
        program: program(config),
        daemon: host::daemon(store, around).await,
        bash: bash(),
        machines_file: endpoint.machines_file.display().to_string(),
        machines: files::read_bounded(&endpoint.machines_file).map(|text| count_lines(&text)),
        builders: builders(source),
        endpoint: (endpoint.socket.display().to_string(), connect(&endpoint.socket, around).await),
        coordinator: (socket, coordinator(config, around).await),
    }
}

fn program(config: &Config) -> Option<String> {
    let named = &config.nix_daemon;
    let found: Vec<PathBuf> = match named.is_absolute() {
        true => files::can_read(named).ok().map(|()| named.clone()).into_iter().collect(),
        false => tools::find(&named.to_string_lossy()),
    };
    found.first().map(|path| path.display().to_string())
}

fn count_lines(text: &str) -> usize {
    text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')).count()
}

fn builders(source: &MachinesSource) -> Builders {
    let look = look(source);
    let usual = source.files.machines();
    let section =
        fs::read(&usual).ok().and_then(|text| section::body(&text).ok().flatten().map(<[u8]>::to_vec));
    Builders {
        conf: source.files.conf().display().to_string(),
        reads_ours: look.reads_ours,
        reads_usual: look.reads_machines,
        usual: usual.display().to_string(),
        usual_has_ours: section.is_some_and(|body| count_lines(&String::from_utf8_lossy(&body)) > 0),
        problems: look.warnings,
    }
}

/// The endpoint belongs to root and the coordinator's user; whoever else asks sees it, and may not open it.
async fn connect(socket: &Path, around: &Around) -> Result<(), String> {
    match timeout(around.terms.patience.connect, UnixStream::connect(socket)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied && files::is_there(socket) => {
            Ok(())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

async fn coordinator(config: &Config, around: &Around) -> Result<String, String> {
    let mut asked = control::status(&config.control.socket, around.terms.patience.connect).await;
    if let (Err(_), Some(fallback)) = (&asked, &config.control.fallback) {
        asked = control::status(fallback, around.terms.patience.connect).await.or(asked);
    }
    let status = asked.map_err(|error| error.to_string())?;
    let healthy =
        status.builders.iter().filter(|row| row.health == crate::policy::snapshot::HealthWord::Healthy);
    Ok(format!("runs; {} of {} builders are healthy", healthy.count(), status.builders.len()))
}

/// Looks for bash in the PATH of the daemon that runs.
fn bash() -> Bash {
    let Some(path) = daemon_path() else { return Bash::Unseen };
    let found = std::env::split_paths(&path).map(|dir| dir.join("bash")).find(|program| program.is_file());
    match found {
        Some(program) => Bash::Found(program.display().to_string()),
        None => Bash::Missing(path),
    }
}

/// `PATH` of the daemon that serves now, as far as we may look: connections of a former one may outlive it.
fn daemon_path() -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let is_daemon =
        |dir: &Path| fs::read_to_string(dir.join("comm")).is_ok_and(|name| name.trim() == "nix-daemon");
    let daemons = processes.filter(|dir| is_daemon(dir));
    let mut daemons: Vec<_> = daemons.filter_map(|dir| Some((stat(&dir)?, dir))).collect();
    // Those that serve a connection are children of one that listens.
    daemons.retain(|((_, parent), _)| !is_daemon(&Path::new("/proc").join(parent.to_string())));
    daemons.sort_by_key(|((started, _), _)| std::cmp::Reverse(*started));
    daemons.into_iter().find_map(|(_, dir)| {
        let environment = fs::read(dir.join("environ")).ok()?;
        let path = environment.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"PATH="))?;
        Some(String::from_utf8_lossy(path).into_owned())
    })
}

/// When a process was started, and its parent (proc_pid_stat(5)).
fn stat(dir: &Path) -> Option<(u64, u32)> {
    let text = fs::read_to_string(dir.join("stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    Some((fields.nth(17)?.parse().ok()?, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_parent_and_began_some_time() {
        let (started, parent) = stat(Path::new("/proc/self")).expect("a process");
        assert_eq!(parent, std::os::unix::process::parent_id());
        assert!(started > 0);
    }
}
