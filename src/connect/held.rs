//! Outputs that are here: once the client has heard of a success, nothing can take them away.

use std::collections::BTreeMap;

use crate::domain::{PathInfo, StorePath};
use crate::edge::spool::Nar;
use crate::nix::ops::{PathFacts, Reply, Request};

/// The outputs of the builds that this client was told of.
#[derive(Default)]
pub struct Held {
    outputs: BTreeMap<StorePath, (PathInfo, Nar)>,
}

impl Held {
    /// Holds an output from now on.
    pub fn keep(&mut self, info: PathInfo, nar: Nar) {
        self.outputs.insert(info.path.clone(), (info, nar));
    }

    /// The answer to a question that concerns held outputs alone.
    pub fn answer(&self, request: &Request) -> Option<Reply> {
        match request {
            Request::IsValidPath { path } => self.outputs.get(path).map(|_| Reply::Flag(true)),
            Request::QueryPathInfo { path } => {
                let (info, _) = self.outputs.get(path)?;
                Some(Reply::MaybeFacts(Some(PathFacts::from(info))))
            }
            Request::QueryValidPaths { paths, .. } => {
                let all = !paths.is_empty() && paths.iter().all(|path| self.outputs.contains_key(path));
                all.then(|| Reply::Paths(paths.clone()))
            }
            _ => None,
        }
    }

    /// The NAR of a held output.
    pub fn nar(&self, request: &Request) -> Option<Nar> {
        match request {
            Request::NarFromPath { path } => self.outputs.get(path).map(|(_, nar)| nar.clone()),
            _ => None,
        }
    }
}
