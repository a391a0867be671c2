//! A derivation as the local store has it, for clients that send its file and not its content.

use std::collections::BTreeSet;

use super::super::local::{LocalError, LocalStore};
use crate::domain::{BasicDerivation, StoreDir, StorePath};
use crate::edge::pool::Lease;
use crate::nix::aterm::{Derivation, DrvError};
use crate::nix::nar::plain_file;
use crate::nix::ops::{Reply, Request};

/// A derivation's file is no longer than this.
const MAX_NAR: u64 = 64 << 20;

/// What a file cannot be read as.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// A directory, or cut off.
    #[error("it is no plain file")]
    NoFile,
    /// Not as Nix writes it.
    #[error(transparent)]
    Derivation(#[from] DrvError),
    /// An input whose place is known only when it has been built.
    #[error("where its input '{0}' lies is not known")]
    Unresolved(StorePath),
}

/// The derivation whose outputs are asked for: `DRV!OUTPUTS`.
pub(super) fn derivation_of(target: &str, dir: &StoreDir) -> Option<StorePath> {
    let (drv, _) = target.split_once('!')?;
    dir.parse_path(drv).ok()
}

/// Reads it, with the outputs of other derivations that it needs in place of these.
pub(super) async fn read(
    local: &LocalStore,
    dir: &StoreDir,
    drv: &StorePath,
) -> Result<Result<BasicDerivation, Unreadable>, LocalError> {
    let mut daemon = local.daemon().await?;
    let known = daemon.query_path_infos(std::slice::from_ref(drv)).await?;
    if known.iter().all(Option::is_none) {
        return Err(LocalError::Missing(drv.clone()));
    }
    let mut nar = Vec::new();
    daemon.nar_from_path(drv, &mut nar, MAX_NAR).await?;
    let parsed = match plain_file(&nar) {
        None => Err(Unreadable::NoFile),
        Some(text) => Derivation::parse(text, dir).map_err(Unreadable::from),
    };
    let read = match parsed {
        Ok(read) => read,
        Err(error) => return Ok(Err(error)),
    };
    let inputs = match inputs(&mut daemon, &read).await? {
        Ok(inputs) => inputs,
        Err(error) => return Ok(Err(error)),
    };
    Ok(Ok(BasicDerivation {
        outputs: read.outputs,
        inputs,
        platform: read.platform,
        builder: read.builder,
        args: read.args,
        env: read.env,
    }))
}

/// The store paths that it is built from.
async fn inputs(
    daemon: &mut Lease,
    read: &Derivation,
) -> Result<Result<BTreeSet<StorePath>, Unreadable>, LocalError> {
    let mut inputs = read.input_srcs.clone();
    for (input, wanted) in &read.input_drvs {
        let request = Request::QueryDerivationOutputMap { path: input.clone() };
        let Reply::Outputs(outputs) = daemon.call(&request, &mut drop).await? else {
            return Ok(Err(Unreadable::Unresolved(input.clone())));
        };
        let places: Option<BTreeSet<StorePath>> =
            wanted.iter().map(|name| outputs.get(name).cloned().flatten()).collect();
        match places {
            Some(places) => inputs.extend(places),
            None => return Ok(Err(Unreadable::Unresolved(input.clone()))),
        }
    }
    Ok(Ok(inputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_outputs_of_a_derivation_is_asked_for_so() {
        let path = format!("/nix/store/{}-x.drv", "0".repeat(32));
        let dir = StoreDir::default();
        assert!(derivation_of(&format!("{path}!*"), &dir).is_some());
        assert_eq!(derivation_of(&path, &dir), None);
        assert_eq!(derivation_of("/elsewhere!out", &dir), None);
    }
}
