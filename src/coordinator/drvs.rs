//! Derivations' files, read from a store through its daemon.

use std::collections::{BTreeMap, BTreeSet};

use super::job;
use crate::domain::{Feature, GraphNode, StoreDir, StorePath};
use crate::edge::pool::Lease;
use crate::nix::aterm::Derivation;
use crate::nix::client::{Error, NARS_AT_ONCE};
use crate::nix::nar::plain_file;

/// A derivation with a larger file is passed over.
const LARGEST: u64 = 4 << 20;

/// The content of these files, which are valid and of these sizes; what cannot be read is left out.
pub(super) async fn read(
    daemon: &mut Lease,
    dir: &StoreDir,
    files: &[(StorePath, u64)],
) -> Result<Vec<(StorePath, Derivation)>, Error> {
    let mut read = Vec::new();
    let files: Vec<&(StorePath, u64)> = files.iter().filter(|(_, bytes)| *bytes <= LARGEST).collect();
    for files in files.chunks(NARS_AT_ONCE) {
        let paths: Vec<StorePath> = files.iter().map(|(path, _)| path.clone()).collect();
        daemon.ask_for_nars(&paths).await?;
        for path in paths {
            let mut nar = Vec::new();
            daemon.next_nar(&mut nar, LARGEST).await?;
            if let Some(Ok(drv)) = plain_file(&nar).map(|text| Derivation::parse(text, dir)) {
                read.push((path, drv));
            }
        }
    }
    Ok(read)
}

/// What the policy needs to know of one.
pub(super) fn node(path: &StorePath, drv: &Derivation) -> GraphNode {
    GraphNode {
        drv: path.hash(),
        pname: pname(path, &drv.env),
        system: drv.platform.clone(),
        needs: drv.input_drvs.keys().map(StorePath::hash).collect(),
    }
}

/// The package's name.
pub(super) fn pname(path: &StorePath, env: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    job::pname(env, path.name())
}

/// What it requires of a builder.
pub(super) fn features(drv: &Derivation) -> BTreeSet<Feature> {
    job::features(&drv.env)
}
