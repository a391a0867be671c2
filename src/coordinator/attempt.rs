//! One attempt: inputs up, build, outputs down, on one builder.
//!
//! The build's own channel roots the whole input closure before anything is asked or sent, and is kept until the
//! outputs are here, so that the builder's garbage collector cannot come between. Nothing is decided here: how it
//! ended is reported, and the policy says what follows.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::feed::Output;
use super::fetch::{FetchError, Fetcher};
use super::gauge::Carried;
use super::job::Job;
use super::limits::Clocks;
use super::narration::Narration;
use super::reach::{Pools, Reach};
use super::upload::{Carrier, Landings, UploadError};
use super::{News, World};
use crate::domain::{
    AttemptId, AttemptOutcome, BuildResult, BuildStatus, Measurement, PathInfo, Stage, StorePath, Trust,
};
use crate::edge::clock;
use crate::edge::meter::Meter;
use crate::edge::pool::Lease;
use crate::nix::client::Error;
use crate::nix::ops::BuildMode;
use crate::policy::Event;

/// Everything one attempt needs.
pub(super) struct Attempt {
    pub id: AttemptId,
    pub reach: Arc<Reach>,
    pub job: Arc<Job>,
    /// How many cores the build may use.
    pub cores: Option<u32>,
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
        let channel = self.reach.checkout(pools, self.cores).await;
        let mut channel = channel.map_err(|error| lost(Stage::Preparing, &error))?;
        let landings = self.reach.in_flight.landings();
        let missing = self.prepare(&mut channel).await?;
        if !missing.is_empty() {
            self.reached(stage, Stage::Uploading).await;
            self.upload(pools, &mut channel, missing, landings).await?;
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

    /// Roots the closure on the builder and asks what of it is not there, when the builder has downloaded what it can.
    async fn prepare(&self, channel: &mut Lease) -> Step<Vec<Arc<PathInfo>>> {
        let closure = self.closure(channel).await?;
        let paths: Vec<StorePath> = closure.iter().map(|info| info.path.clone()).collect();
        let meter = channel.meter();
        channel.holds_roots();
        let mut valid = watched(&meter, self.patience(), channel.root_and_query(&paths)).await?;
        let absent: Vec<StorePath> = paths.into_iter().filter(|path| !valid.contains(path)).collect();
        if !absent.is_empty() && self.world.config().builders_use_substitutes == Some(true) {
            let asked = channel.query_valid_paths(&absent, true);
            valid.extend(watched(&meter, self.patience(), asked).await?);
        }
        self.present(valid.iter()).await;
        Ok(closure.iter().filter(|info| !valid.contains(&info.path)).cloned().collect())
    }

    /// A daemon that does not trust us builds an input-addressed derivation only from its file and the files behind it.
    fn needs_graph(&self, channel: &Lease) -> bool {
        channel.trust() == Trust::Untrusted && !self.job.derivation.is_content_addressed()
    }

    /// What the builder must have, references first.
    async fn closure(&self, channel: &Lease) -> Step<Cow<'_, [Arc<PathInfo>]>> {
        if !self.needs_graph(channel) {
            return Ok(Cow::Borrowed(&self.job.closure));
        }
        let roots = self.job.derivation.inputs.iter().chain([&self.job.drv]).cloned().collect();
        let closure = self.world.local.closure(&roots).await;
        closure.map(Cow::Owned).map_err(|error| local(Stage::Preparing, &error))
    }

    async fn upload(
        &self,
        pools: &Pools,
        channel: &mut Lease,
        missing: Vec<Arc<PathInfo>>,
        landings: Landings,
    ) -> Step<()> {
        const STAGE: Stage = Stage::Uploading;
        let sent: Vec<StorePath> = missing.iter().map(|info| info.path.clone()).collect();
        let carrier = Carrier {
            local: Arc::clone(&self.world.local),
            pool: Arc::clone(&pools.bulk),
            in_flight: Arc::clone(&self.reach.in_flight),
            abreast: self.reach.abreast(),
            stalled_after: self.patience(),
        };
        let transfer = self.reach.sending.begin(clock::now());
        let bytes = carrier.upload(channel, missing, landings).await.map_err(|error| match error {
            UploadError::Unreachable(error) => lost(STAGE, &error),
            UploadError::Builder(error) => unsigned(failed(STAGE, error)),
            UploadError::Stalled(error) => lost(STAGE, &error),
            error @ (UploadError::Local(_) | UploadError::Broken(_)) => local(STAGE, &error),
        })?;
        self.carried(true, transfer.done(bytes, clock::now())).await;
        self.present(sent.iter()).await;
        self.moved(bytes, 0).await;
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
        let graph = self.needs_graph(channel);
        let building = async {
            if graph {
                let target = format!("{}!*", self.world.store_dir.full(drv));
                channel.build_target(target, mode, &mut on_log).await
            } else {
                channel.build_derivation(drv, derivation, mode, &mut on_log).await
            }
        };
        tokio::select! {
            built = building => built.map_err(failed),
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
        const STAGE: Stage = Stage::Fetching;
        let paths: Vec<_> = self.job.output_paths(result, &self.world.store_dir).into_iter().collect();
        let transfer = self.reach.fetching.begin(clock::now());
        let fetched = Fetcher::new(&self.world, &self.reach).fetch(channel, &paths).await;
        let outputs = fetched.map_err(|error| match error {
            FetchError::Bad { path, reason } => AttemptOutcome::BadOutput { path, reason },
            error @ FetchError::TooLarge { .. } => AttemptOutcome::TooLarge(error.to_string()),
            FetchError::Unreachable(error) => lost(STAGE, &error),
            FetchError::Builder(error) => failed(STAGE, error),
            FetchError::Stalled(error) => lost(STAGE, &error),
            error @ (FetchError::Local { .. } | FetchError::Broken(_)) => local(STAGE, &error),
        })?;
        let bytes = outputs.iter().map(|output| output.info.nar_size).sum();
        self.carried(false, transfer.done(bytes, clock::now())).await;
        self.moved(0, bytes).await;
        self.check_references(&outputs)?;
        self.present(outputs.iter().map(|output| &output.info.path)).await;
        Ok(outputs)
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

    fn patience(&self) -> Duration {
        self.world.config().timeouts.stalled_after
    }

    async fn reached(&self, at: &Mutex<Stage>, stage: Stage) {
        *at.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        self.world.tell(News::Event(Event::Reached(self.id, stage))).await;
    }

    async fn present(&self, paths: impl Iterator<Item = &StorePath>) {
        let paths = paths.map(StorePath::hash).collect();
        self.world.tell(News::Event(Event::Present(self.reach.name().clone(), paths))).await;
    }

    /// What real transfers show of the link.
    async fn carried(&self, sent: bool, carried: Option<Carried>) {
        let Some((bytes, took)) = carried else { return };
        if sent {
            self.reach.carried((bytes, took));
        }
        let event = Event::Measured(self.reach.name().clone(), Measurement::Link { sent, bytes, took });
        self.world.tell(News::Event(event)).await;
    }

    async fn moved(&self, sent: u64, received: u64) {
        let builder = self.reach.name().clone();
        self.world.tell(News::Event(Event::Moved { builder, sent, received })).await;
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

/// Asks while the attempt is being prepared.
async fn watched<T>(
    meter: &Meter,
    limit: Duration,
    asked: impl Future<Output = Result<T, Error>>,
) -> Step<T> {
    const STAGE: Stage = Stage::Preparing;
    let answered = meter.watch(limit, asked).await.map_err(|error| lost(STAGE, &error))?;
    answered.map_err(|error| failed(STAGE, error))
}

fn lost(stage: Stage, why: &dyn Display) -> AttemptOutcome {
    AttemptOutcome::Lost { stage, reason: why.to_string() }
}

fn local(stage: Stage, why: &dyn Display) -> AttemptOutcome {
    AttemptOutcome::LocalError { stage, message: why.to_string() }
}

/// Nix names the path; what helps, it leaves to the reader.
fn unsigned(outcome: AttemptOutcome) -> AttemptOutcome {
    match outcome {
        AttemptOutcome::Refused { stage, message } if message.contains("lacks a") => {
            let advice = "sign it with a key in the builder's trusted-public-keys (nix store sign), or add our user \
                          to its trusted-users";
            AttemptOutcome::Refused { stage, message: format!("{message}; {advice}") }
        }
        other => other,
    }
}

fn read(stage: &Mutex<Stage>) -> Stage {
    *stage.lock().unwrap_or_else(PoisonError::into_inner)
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
