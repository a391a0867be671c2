//! Trial builds by stock Nix, and whose store has their outputs.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::Around;
use crate::config::{Config, LocalStore};
use crate::domain::StorePath;
use crate::edge::channel::Transport;
use crate::edge::pool::Pool;
use crate::edge::{clock, tools};

/// Waiting for a slot included.
const PATIENCE: Duration = Duration::from_secs(300);

/// The outputs of a build of `expression` that may not run here, and how many seconds it took.
pub async fn build(config: &Config, expression: &str) -> Result<(Vec<StorePath>, f64), String> {
    let beside = config.nix_daemon.parent().map(|dir| dir.join("nix-build")).filter(|path| path.is_file());
    let program = beside.or_else(|| tools::find("nix-build").into_iter().next());
    let mut nix = Command::new(program.ok_or("there is no nix-build")?);
    let machines = OsString::from(format!("@{}", config.endpoint.machines_file.display()));
    nix.args(["--no-out-link", "-j0", "--builders"]).arg(machines);
    match &config.local_store {
        LocalStore::Auto => {}
        store => drop(nix.args(["--store", &store.to_string()])),
    }
    nix.args(["-E", expression]).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    let began = clock::now();
    let output = timeout(PATIENCE, nix.output()).await;
    let output =
        output.map_err(|_| format!("it is not built within {}", humantime::format_duration(PATIENCE)))?;
    let output = output.map_err(|error| format!("cannot start nix-build: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last: Vec<&str> = said.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        return Err(last.into_iter().rev().collect::<Vec<_>>().join("; "));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((text.lines().filter_map(store_path).collect(), began.elapsed().as_secs_f64()))
}

/// Of the last part of a line: the store may lie below another root.
fn store_path(line: &str) -> Option<StorePath> {
    let base = Path::new(line.trim()).file_name()?.to_str()?;
    StorePath::from_base_name(base).ok()
}

/// How many of these paths a builder's own store has.
pub async fn holds(transport: Transport, around: &Around, paths: &[StorePath]) -> Result<usize, String> {
    let pool =
        Pool::new(transport, around.store_dir.clone(), around.terms.patience.connect, around.tracker.clone());
    let mut daemon = pool.checkout().await.map_err(|error| error.to_string())?;
    let asked = timeout(around.probe, daemon.query_valid_paths(paths, false)).await;
    let valid = asked.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
    drop(daemon);
    pool.cut("it has been asked");
    Ok(valid.len())
}
