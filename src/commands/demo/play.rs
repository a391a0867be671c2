//! The play: start the coordinator, have the client build, cut one builder's power, and watch.

use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::time::{sleep, timeout};

use super::screen::Screen;
use super::stage::{BUILDERS, Stage, VICTIM};
use super::watch::{News, Watch};
use crate::edge::program::{Running, last_lines};
use crate::edge::tree;
use crate::edge::{clock, control};
use crate::policy::Snapshot;
use crate::policy::snapshot::HealthWord;

const TRIAL_LIMIT: Duration = Duration::from_secs(60);
const READY_LIMIT: Duration = Duration::from_secs(30);
const BUILD_LIMIT: Duration = Duration::from_secs(240);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const KILL_LIMIT: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at the coordinator's state; far shorter than any build.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LINES_SHOWN: usize = 20;

/// What was seen.
pub struct Performance {
    /// Every build and attempt.
    pub watch: Watch,
    /// The power cut, if it came to that.
    pub cut: Option<PowerCut>,
    /// From the start of the client to its end.
    pub took: Duration,
}

/// How a builder lost its power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerCut {
    /// When.
    pub at: Duration,
}

/// Builds something small with Nix alone; what fails here is no fault of ours.
pub async fn trial(stage: &Stage) -> anyhow::Result<()> {
    let program = stage.trial();
    let mut running = program.start()?;
    let status = timeout(TRIAL_LIMIT, running.wait()).await;
    let said = last_lines(&program.log, LINES_SHOWN);
    match status {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(_) => bail!("Nix cannot build here, even without muster. It said:\n{said}\n{}", advice(&said)),
        Err(_) => bail!("Nix did not finish a trial build within {TRIAL_LIMIT:?}. It said:\n{said}"),
    }
}

/// What to do about a trial build that failed.
fn advice(said: &str) -> &'static str {
    let mentions = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if mentions(&["namespace", "unshare", "cloning", "sandbox", "mount", "setgroups", "start build process"])
    {
        "Its sandbox needs user namespaces. In a container they may be forbidden: run it with --privileged, or with \
         --security-opt seccomp=unconfined; on a machine of your own: sysctl kernel.unprivileged_userns_clone=1 or \
         kernel.apparmor_restrict_unprivileged_userns=0."
    } else {
        "Once `nix build` works for this user, so will the demo."
    }
}

/// Starts the coordinator and waits until all builders are healthy and Nix's lines are written.
pub async fn open(stage: &Stage) -> anyhow::Result<Running> {
    let program = stage.coordinator();
    let mut coordinator = program.start()?;
    let began = clock::now();
    loop {
        let state = control::status(&stage.control_socket(), ANSWER_LIMIT).await;
        let healthy = state.as_ref().map_or(0, healthy);
        let lines = stage.files().read("run/machines").unwrap_or_default();
        if healthy == BUILDERS.len() && lines.contains(&b'\n') {
            return Ok(coordinator);
        }
        if let Ok(status) = timeout(LOOK_EVERY / 2, coordinator.wait()).await {
            bail!("the coordinator ended ({}):\n{}", status?, last_lines(&program.log, LINES_SHOWN));
        }
        if began.elapsed() > READY_LIMIT {
            bail!(
                "waited {READY_LIMIT:?} for three healthy builders, {healthy} are. The coordinator said:\n{}",
                last_lines(&program.log, LINES_SHOWN)
            );
        }
    }
}

fn healthy(state: &Snapshot) -> usize {
    state.builders.iter().filter(|builder| builder.health == HealthWord::Healthy).count()
}

/// Has the client build everything, and cuts the victim's power in the middle.
pub async fn perform(
    stage: &Stage,
    coordinator: &mut Running,
    total: usize,
    screen: &mut Screen,
) -> anyhow::Result<Performance> {
    let program = stage.client();
    let began = clock::now();
    let mut client = program.start()?;
    let mut play = Performance { watch: Watch::default(), cut: None, took: Duration::ZERO };
    loop {
        tokio::select! {
            status = client.wait() => {
                play.took = began.elapsed();
                play.last_look(stage, screen).await?;
                return play.end(status?, &program.log);
            }
            status = coordinator.wait() => bail!(
                "the coordinator ended ({}) in the middle:\n{}",
                status?,
                last_lines(&stage.coordinator().log, LINES_SHOWN)
            ),
            () = sleep(LOOK_EVERY) => play.look(stage, began, total, screen).await?,
        }
        if began.elapsed() > BUILD_LIMIT {
            bail!(
                "waited {BUILD_LIMIT:?} for `nix build`, {} of {total} are done. It said:\n{}",
                play.watch.done(),
                last_lines(&program.log, LINES_SHOWN)
            );
        }
    }
}

/// Ends the coordinator as SIGTERM ends it.
pub async fn close(coordinator: Running) -> anyhow::Result<()> {
    let status = coordinator.end(END_LIMIT).await.context("cannot wait for the coordinator")?;
    match status.code() {
        Some(_) => Ok(()),
        None => bail!("the coordinator did not end within {END_LIMIT:?} of SIGTERM ({status})"),
    }
}

impl Performance {
    async fn look(
        &mut self,
        stage: &Stage,
        began: Instant,
        total: usize,
        screen: &mut Screen,
    ) -> anyhow::Result<()> {
        self.took = began.elapsed();
        self.last_look(stage, screen).await?;
        if self.cut.is_none() && self.watch.is_in_the_middle(VICTIM, total, self.took) {
            self.cut_power(stage, began, screen).await?;
        }
        screen.live(self.took, self.watch.done(), total, &self.watch)
    }

    async fn last_look(&mut self, stage: &Stage, screen: &mut Screen) -> anyhow::Result<()> {
        let state = control::status(&stage.control_socket(), ANSWER_LIMIT).await;
        let state = state.context("the coordinator does not say how it is")?;
        for line in self.watch.see(&state, self.took).iter().filter_map(line) {
            screen.say(self.took, &line)?;
        }
        Ok(())
    }

    async fn cut_power(&mut self, stage: &Stage, began: Instant, screen: &mut Screen) -> anyhow::Result<()> {
        stage.unplug(VICTIM)?;
        let at = began.elapsed();
        let processes = tree::kill(&stage.processes_of(VICTIM), KILL_LIMIT).await?;
        let here = self.watch.running().filter(|(_, attempt)| attempt.builder == VICTIM);
        let building = here.map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        let line = format!(
            "POWER CUT: {VICTIM} is gone. Its {processes} processes got SIGKILL while it was building {building}."
        );
        screen.say(at, &line)?;
        self.cut = Some(PowerCut { at });
        Ok(())
    }

    fn end(self, status: ExitStatus, log: &Path) -> anyhow::Result<Self> {
        if status.success() {
            return Ok(self);
        }
        bail!("`nix build` failed ({status}). It said:\n{}", last_lines(log, LINES_SHOWN))
    }
}

/// What is worth a line: a build's end says where it began.
fn line(news: &News) -> Option<String> {
    Some(match news {
        News::Began(_, _, false) => return None,
        News::Began(build, builder, true) => format!("{builder:<6}  begins {build} again"),
        News::Built(build, builder, took) => {
            format!("{builder:<6}  built {build} in {:.1} s", took.as_secs_f64())
        }
        News::Lost(build, builder) => format!("{builder:<6}  LOST {build}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_namespace_is_recognised() {
        let check = |said: &str, expected: &str| assert!(advice(said).contains(expected), "{said}");
        check("error: cloning builder process: Operation not permitted", "--privileged");
        check("error: unable to start build process: setting up a private mount namespace", "--privileged");
        check("error: setgroups failed: Operation not permitted", "--privileged");
        check("error: disk full", "nix build");
    }
}
