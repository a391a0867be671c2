//! One attempt: inputs up, build, outputs down, on one builder.
//!
//! The build's own channel roots the whole input closure before anything is asked or sent, and is kept until the
//! outputs are here, so that the builder's garbage collector cannot come between. Nothing is decided here: how it
//! ended is reported, and the policy says what follows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::feed::Output;
use super::job::Job;
use super::limits::Clocks;
use super::narration::Narration;
use super::reach::{Pools, Reach};
use super::upload::{UploadError, upload};
use super::{News, World};
use crate::domain::{AttemptId, AttemptOutcome, BuildResult, BuildStatus, PathInfo, Stage, StorePath};
use crate::edge::pool::{CheckoutError, Lease, Pool};
use crate::edge::spool::Nar;
use crate::nix::client::Error;
use crate::nix::nar::CopyError;
use crate::nix::ops::BuildMode;
use crate::policy::Event;

/// Everything one attempt needs.
pub(super) struct Attempt {
    pub id: AttemptId,
    pub reach: Arc<Reach>,
    pub job: Arc<Job>,
    pub narration: Narration,
    pub cancel: CancellationToken,
    pub world: Arc<World>,
}

/// What a step gives, or how the attempt ended in it.
type Step<T> = Result<T, AttemptOutcome>;

impl Attempt {
    /// Runs it to its end and reports that.
    pub async fn run(self) {
        let pools = self.reach.pools();
        let stage = Mutex::new(Stage::Preparing);
        let (outcome, outputs) = tokio::select! {
            biased;
            () = self.cancel.cancelled() => (AttemptOutcome::Cancelled, Vec::new()),
            reason = pools.control.was_cut() => (AttemptOutcome::Lost { stage: read(&stage), reason }, Vec::new()),
            ended = self.carry_out(&pools, &stage) => match ended {
                Ok((result, outputs)) => (AttemptOutcome::Done(result), outputs),
                Err(outcome) => (outcome, Vec::new()),
            },
        };
        self.narration.close();
        self.world.tell(News::Ended { attempt: self.id, outcome, outputs }).await;
    }

    async fn carry_out(&self, pools: &Pools, stage: &Mutex<Stage>) -> Step<(BuildResult, Vec<Output>)> {
        let mut channel =
            pools.control.checkout().await.map_err(|error| unreachable(Stage::Preparing, &error))?;
        let missing = self.prepare(&mut channel).await?;
        if !missing.is_empty() {
            self.reached(stage, Stage::Uploading).await;
            self.upload(&pools.bulk, &mut channel, missing).await?;
        }
        self.reached(stage, Stage::Building).await;
        let result = self.build(&mut channel).await?;
        if !result.status.is_success() {
            return Err(AttemptOutcome::Failed(result));
        }
        self.reached(stage, Stage::Fetching).await;
        let outputs = self.fetch(&mut channel, &result).await?;
        self.compare(&outputs)?;
        Ok((result, outputs))
    }

    /// Roots the closure on the builder and asks what of it is not there.
    async fn prepare(&self, channel: &mut Lease) -> Step<Vec<Arc<PathInfo>>> {
        let failed = |error| failed(Stage::Preparing, error);
        let paths: Vec<StorePath> = self.job.closure.iter().map(|info| info.path.clone()).collect();
        let valid = channel.root_and_query(&paths).await.map_err(failed)?;
        self.present(valid.iter()).await;
        Ok(self.job.closure.iter().filter(|info| !valid.contains(&info.path)).cloned().collect())
    }

    async fn upload(&self, pool: &Arc<Pool>, channel: &mut Lease, missing: Vec<Arc<PathInfo>>) -> Step<()> {
        const STAGE: Stage = Stage::Uploading;
        let sent: Vec<StorePath> = missing.iter().map(|info| info.path.clone()).collect();
        let done = upload(&self.world.local, (pool, &self.reach.in_flight), channel, missing).await;
        done.map_err(|error| match error {
            UploadError::Local(error) => {
                AttemptOutcome::LocalError { stage: STAGE, message: error.to_string() }
            }
            UploadError::Unreachable(error) => unreachable(STAGE, &error),
            UploadError::Builder(error) => failed(STAGE, error),
        })?;
        self.present(sent.iter()).await;
        Ok(())
    }

    async fn build(&self, channel: &mut Lease) -> Step<BuildResult> {
        let failed = |error| failed(Stage::Building, error);
        let mut narration = self.narration.clone();
        let clocks = Clocks::new(&self.world.config().timeouts);
        let mut on_log = |message| {
            clocks.hear(&message);
            narration.hear(message);
        };
        let (drv, derivation) = (&self.job.drv, &self.job.derivation);
        let mode = if self.job.is_check() {
            self.check_mode(channel).await.map_err(failed)?
        } else {
            BuildMode::Normal
        };
        tokio::select! {
            built = channel.build_derivation(drv, derivation, mode, &mut on_log) => built.map_err(failed),
            why = clocks.over() => Err(AttemptOutcome::Failed(BuildResult::verdict(BuildStatus::TimedOut, why))),
        }
    }

    /// A builder that has the outputs, or can download them, would not build them again unless told to.
    async fn check_mode(&self, channel: &mut Lease) -> Result<BuildMode, Error> {
        channel.forbid_substitutes().await?;
        let known: Vec<StorePath> = self.job.reference.iter().map(|info| info.path.clone()).collect();
        let has_all = channel.query_valid_paths(&known, false).await?.len() == known.len();
        Ok(if has_all { BuildMode::Check } else { BuildMode::Normal })
    }

    async fn fetch(&self, channel: &mut Lease, result: &BuildResult) -> Step<Vec<Output>> {
        let mut outputs = Vec::new();
        for path in self.job.output_paths(result, &self.world.store_dir) {
            outputs.push(self.fetch_one(channel, path).await?);
        }
        self.check_references(&outputs)?;
        self.present(outputs.iter().map(|output| &output.info.path)).await;
        Ok(outputs)
    }

    async fn fetch_one(&self, channel: &mut Lease, path: StorePath) -> Step<Output> {
        let failed = |error| failed(Stage::Fetching, error);
        let bad = |reason: String| AttemptOutcome::BadOutput { path: path.clone(), reason };
        let local = |error: std::io::Error| AttemptOutcome::LocalError {
            stage: Stage::Fetching,
            message: format!("cannot keep '{path}': {error}"),
        };
        let info = channel.query_path_info(&path).await.map_err(failed)?;
        let info =
            info.ok_or_else(|| bad("the builder said that it built it, but does not have it".into()))?;
        let limit = self.world.config().limits.max_nar;
        if info.nar_size > limit {
            return Err(bad(format!("it has {} bytes, limits.max_nar allows {limit}", info.nar_size)));
        }
        let file = self.world.config().spool.create(info.nar_size).map_err(local)?;
        let mut sink = tokio::fs::File::from_std(file);
        let seen = channel.nar_from_path(&path, &mut sink, info.nar_size).await;
        let seen = seen.map_err(|error| match error {
            Error::Nar(CopyError::Sink { error, .. }) => local(error),
            Error::Nar(error @ (CopyError::Grammar { .. } | CopyError::TooLarge { .. })) => {
                bad(error.to_string())
            }
            other => failed(other),
        })?;
        if (seen.hash, seen.bytes) != (info.nar_hash, info.nar_size) {
            let (hash, bytes) = (info.nar_hash, info.nar_size);
            return Err(bad(format!(
                "it came as {} bytes with {}, the builder promised {bytes} bytes with {hash}",
                seen.bytes, seen.hash
            )));
        }
        let file = tokio::io::AsyncWriteExt::flush(&mut sink).await.map(|()| sink).map_err(local)?;
        Ok(Output { info, nar: Nar::from_file(file.into_std().await) })
    }

    /// An output may mention its inputs and its sisters, nothing else.
    fn check_references(&self, outputs: &[Output]) -> Step<()> {
        let sisters: BTreeSet<&StorePath> = outputs.iter().map(|output| &output.info.path).collect();
        let inputs: BTreeSet<&StorePath> = self.job.closure.iter().map(|info| &info.path).collect();
        for output in outputs {
            let stranger =
                output.info.references.iter().find(|path| !sisters.contains(path) && !inputs.contains(path));
            if let Some(stranger) = stranger {
                let reason = format!("it refers to '{stranger}', which is not among the build's inputs");
                return Err(AttemptOutcome::BadOutput { path: output.info.path.clone(), reason });
            }
        }
        Ok(())
    }

    async fn reached(&self, at: &Mutex<Stage>, stage: Stage) {
        *at.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        self.world.tell(News::Event(Event::Reached(self.id, stage))).await;
    }

    async fn present(&self, paths: impl Iterator<Item = &StorePath>) {
        let paths = paths.map(StorePath::hash).collect();
        self.world.tell(News::Event(Event::Present(self.reach.name().clone(), paths))).await;
    }

    /// For a `--check`: what was built now must be what is there already.
    fn compare(&self, outputs: &[Output]) -> Step<()> {
        for known in &self.job.reference {
            let built = outputs.iter().find(|output| output.info.path == known.path);
            if let Some(built) = built.filter(|built| built.info.nar_hash != known.nar_hash) {
                let text = format!(
                    "'{}' is not deterministic: built again its hash is {}, it was {}",
                    self.world.store_dir.full(&known.path),
                    built.info.nar_hash,
                    known.nar_hash
                );
                return Err(AttemptOutcome::Failed(BuildResult::verdict(
                    BuildStatus::NotDeterministic,
                    text,
                )));
            }
        }
        Ok(())
    }
}

fn read(stage: &Mutex<Stage>) -> Stage {
    *stage.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreachable(stage: Stage, error: &CheckoutError) -> AttemptOutcome {
    AttemptOutcome::Lost { stage, reason: error.to_string() }
}

fn failed(stage: Stage, error: Error) -> AttemptOutcome {
    match error {
        Error::Daemon(error) => AttemptOutcome::Refused { stage, message: error.to_string() },
        other if other.is_loss() => {
            AttemptOutcome::Lost { stage, reason: "its connection closed".to_owned() }
        }
        other => AttemptOutcome::Lost { stage, reason: other.to_string() },
    }
}
