//! What a client asked for, with everything that an attempt needs of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::local::{LocalError, LocalStore};
use crate::domain::{
    BasicDerivation, BuildResult, Client, Feature, Label, PathInfo, StoreDir, StorePath, route,
};
use crate::nix::handshake::Version;
use crate::nix::wire::{self, Dialect};
use crate::policy::{Ask, Input};

/// A derivation to build, and the closure of its inputs.
#[derive(Debug)]
pub struct Job {
    /// Its path.
    pub drv: StorePath,
    /// Its content.
    pub derivation: BasicDerivation,
    /// Every path that the builder must have, references first.
    pub closure: Vec<Arc<PathInfo>>,
    /// The outputs as the local store has them already: then this is a `--check`, and they are compared.
    pub reference: Vec<Arc<PathInfo>>,
}

impl Job {
    /// Computes the closure in the local store: what the client names as inputs need not be one.
    pub async fn prepare(
        local: &LocalStore,
        drv: StorePath,
        derivation: BasicDerivation,
        signatures_matter: bool,
    ) -> Result<Self, LocalError> {
        let mut closure = local.closure(&derivation.inputs).await?;
        if signatures_matter && !closure.iter().all(|info| info.is_vouched_for()) {
            // What we remember of a path may be older than its signature.
            closure = local.fresh(&closure).await?;
        }
        let outputs: Vec<StorePath> = derivation.known_outputs().cloned().collect();
        let reference = local.all_valid(&outputs).await?.unwrap_or_default();
        Ok(Self { drv, derivation, closure, reference })
    }

    /// What the policy needs to know of it.
    pub fn ask(&self, store_dir: &StoreDir, client: Client, label: Option<Label>) -> Ask {
        Ask {
            drv: self.drv.clone(),
            digest: self.digest(store_dir),
            system: self.derivation.platform.clone(),
            pname: pname(&self.derivation.env, self.drv.name()),
            label,
            features: features(&self.derivation.env),
            closure: self
                .closure
                .iter()
                .map(|info| Input { path: info.path.hash(), bytes: info.nar_size })
                .collect(),
            unsigned: self.closure.iter().find(|info| !info.is_vouched_for()).map(|info| info.path.clone()),
            client,
            check: self.is_check(),
        }
    }

    /// Whether the client wants it built again and compared.
    pub fn is_check(&self) -> bool {
        !self.reference.is_empty()
    }

    /// Where the outputs lie: known beforehand, or said by the builder in its realisations.
    pub fn output_paths(&self, result: &BuildResult, store_dir: &StoreDir) -> BTreeSet<StorePath> {
        let of_ours = |id: &str| {
            id.rsplit_once('!').is_some_and(|(_, name)| self.derivation.outputs.contains_key(name))
        };
        let realised = result.built_outputs.iter().filter(|(id, _)| of_ours(id)).filter_map(|(_, json)| {
            let value: serde_json::Value = serde_json::from_str(json).ok()?;
            let path = value.get("outPath")?.as_str()?;
            store_dir.parse_path(path).or_else(|_| StorePath::from_base_name(path)).ok()
        });
        self.derivation.known_outputs().cloned().chain(realised).collect()
    }

    fn digest(&self, store_dir: &StoreDir) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(store_dir.full(&self.drv));
        digest.update([0, u8::from(self.is_check())]);
        let dialect = Dialect { dir: store_dir.clone(), version: Version::OURS };
        digest.update(wire::encode(&self.derivation, &dialect));
        digest.finalize().into()
    }
}

type Env = BTreeMap<Vec<u8>, Vec<u8>>;

fn text<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    env.get(name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok())
}

/// The package's name, as it says it; else from the derivation's.
pub(super) fn pname(env: &Env, name: &str) -> String {
    let structured = |json: &str| {
        let value: serde_json::Value = serde_json::from_str(json).ok()?;
        value.get("pname")?.as_str().map(str::to_owned)
    };
    let said = match text(env, "__json") {
        Some(json) => structured(json),
        None => text(env, "pname").map(str::to_owned),
    };
    said.unwrap_or_else(|| route::pname(name).to_owned())
}

/// `requiredSystemFeatures`: a list of words, or JSON where attributes are structured.
pub(super) fn features(env: &Env) -> BTreeSet<Feature> {
    let parse = |word: &str| Feature::parse(word).ok();
    if let Some(json) = text(env, "__json") {
        let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let words = value["requiredSystemFeatures"].as_array().cloned().unwrap_or_default();
        return words.iter().filter_map(|word| word.as_str().and_then(parse)).collect();
    }
    let words = text(env, "requiredSystemFeatures").unwrap_or_default();
    words.split_whitespace().filter_map(parse).collect()
}
