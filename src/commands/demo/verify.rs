//! The witnesses: every store is asked, through a daemon of its own, what it knows of every output.
//!
//! A store calls a path `ultimate` if it was built there; one that was copied into it is merely valid. The killed
//! builder's store is still on the disk and is asked like the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::graph::{self, Node};
use super::stage::{BUILDERS, Stage};
use crate::domain::{PathInfo, StoreDir, StorePath};
use crate::edge::channel::Transport;
use crate::edge::pool::Pool;
use crate::edge::process::DaemonProcess;
use crate::nix::aterm::Derivation;

const ASK_LIMIT: Duration = Duration::from_secs(30);

/// What the stores say of one derivation's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Testimony {
    /// The builders whose stores say that they built it.
    pub built_by: BTreeSet<String>,
    /// What is wrong with it in the client's store.
    pub wrong: Option<String>,
}

/// Asks every store about every output.
pub async fn ask_all(stage: &Stage, nodes: &[Node]) -> anyhow::Result<BTreeMap<String, Testimony>> {
    let dir = StoreDir::default();
    let outputs = outputs(stage, &dir)?;
    let mut testimonies: BTreeMap<String, Testimony> =
        nodes.iter().map(|node| (node.name.clone(), Testimony::default())).collect();
    for (builder, _) in BUILDERS {
        let known = ask(stage, &format!("builders/{builder}"), &outputs).await?;
        for name in known.iter().filter(|(_, info)| info.ultimate).map(|(name, _)| name) {
            testimonies.entry(name.clone()).or_default().built_by.insert(builder.to_owned());
        }
    }
    let valid = ask(stage, "client", &outputs).await?;
    let paths = outputs.iter().map(|(name, path)| (name.clone(), dir.full(path))).collect();
    for (name, expected) in graph::contents(nodes, &paths) {
        let wrong = match outputs.get(&name) {
            None => Some("was never asked for".to_owned()),
            Some(_) if !valid.contains_key(&name) => Some("is not valid in the client's store".to_owned()),
            Some(path) => differs(stage, &dir, path, &expected),
        };
        testimonies.entry(name).or_default().wrong = wrong;
    }
    Ok(testimonies)
}

fn differs(stage: &Stage, dir: &StoreDir, path: &StorePath, expected: &str) -> Option<String> {
    match stage.files().read(&format!("client{}", dir.full(path))) {
        Ok(content) if content == expected.as_bytes() => None,
        Ok(_) => Some("has another content than it must have".to_owned()),
        Err(error) => Some(format!("cannot be read in the client's store: {error}")),
    }
}

/// Where each derivation's output lies, by the derivation's name, from the derivations in the client's store.
fn outputs(stage: &Stage, dir: &StoreDir) -> anyhow::Result<BTreeMap<String, StorePath>> {
    let store = format!("client{}", dir.as_str());
    let names = stage.files().list(&store).context("cannot list the client's store")?;
    let mut outputs = BTreeMap::new();
    for file in names.iter().filter(|name| name.ends_with(".drv")) {
        let text =
            stage.files().read(&format!("{store}/{file}")).with_context(|| format!("cannot read {file}"))?;
        let derivation = Derivation::parse(&text, dir).with_context(|| format!("cannot read {file}"))?;
        if let Some(path) = derivation.outputs.get("out").and_then(|output| output.path.clone()) {
            outputs.insert(path.name().to_owned(), path);
        }
    }
    Ok(outputs)
}

/// What one store knows of the outputs that are valid there.
async fn ask(
    stage: &Stage,
    store: &str,
    outputs: &BTreeMap<String, StorePath>,
) -> anyhow::Result<BTreeMap<String, PathInfo>> {
    let daemon = DaemonProcess { program: stage.nix_daemon(), store: Some(stage.store(store)) };
    let tracker = TaskTracker::new();
    let pool = Pool::new(Transport::Process(daemon), StoreDir::default(), ASK_LIMIT, tracker.clone());
    let paths: Vec<StorePath> = outputs.values().cloned().collect();
    let asked = async { anyhow::Ok(pool.checkout().await?.query_path_infos(&paths).await?) };
    let infos = timeout(ASK_LIMIT, asked).await;
    pool.cut("all is said");
    tracker.close();
    tracker.wait().await;
    let infos = infos
        .with_context(|| format!("the store {store} did not answer within {ASK_LIMIT:?}"))?
        .with_context(|| format!("cannot ask the store {store}"))?;
    Ok(outputs.keys().zip(infos).filter_map(|(name, info)| Some((name.clone(), info?))).collect())
}
