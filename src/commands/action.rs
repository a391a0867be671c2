//! `muster action`: one step of the GitHub Action.

use tokio_util::sync::CancellationToken;

use super::coordinator::guarded;
use super::{Failure, block_on};
use crate::action::inputs::{self, BadInput, Job};
use crate::action::plan::{Act, Level};
use crate::action::{steps, workflow};
use crate::cli::{ActionArgs, ActionStep};
use crate::config::Environment;
use crate::edge;

pub(super) fn run(args: &ActionArgs, environment: &Environment) -> Result<(), Failure> {
    let job = match inputs::spread(edge::environment::job()) {
        Ok(job) => job,
        Err(error) => return fail(args.step, Failure::Usage(error.into())),
    };
    let facts = edge::action::facts(&job);
    let planned: Result<Vec<Act>, BadInput> = match args.step {
        ActionStep::Check => steps::check(&job),
        ActionStep::Disk => steps::disk(&job, &facts),
        ActionStep::Configure => steps::configure(&job, &facts),
        ActionStep::Probe => steps::probe(&job, &facts),
        ActionStep::Join => steps::join(&job, &facts),
        ActionStep::Serve => steps::serve(&job, &facts),
        ActionStep::Start => steps::start(&job, &facts),
        ActionStep::Teardown => Ok(steps::teardown(&job, &facts)),
    };
    let ended = match planned {
        Err(error) => Err(Failure::Usage(error.into())),
        Ok(acts) => block_on(carry_out(args.step, &job, environment, acts)),
    };
    ended.or_else(|failure| fail(args.step, failure))
}

/// GitHub cancels a job by SIGINT, and by SIGTERM some seconds later. The teardown is what follows from that, so the first
/// signal does not end it.
async fn carry_out(
    step: ActionStep,
    job: &Job,
    environment: &Environment,
    acts: Vec<Act>,
) -> Result<(), Failure> {
    let (caught, cancelled) = (CancellationToken::new(), CancellationToken::new());
    let ends = if step == ActionStep::Teardown { cancelled } else { caught.clone() };
    let work = async {
        let step = edge::action::Step::new(job, &environment.exe, ends);
        step.carry_out(acts).await.map_err(|error| Failure::Failed(error.into()))
    };
    let done = guarded(&caught, work).await?;
    if caught.is_cancelled() && step != ActionStep::Teardown { Err(Failure::Interrupted) } else { done }
}

/// The cause stands out of the log. What is torn down never fails the job.
fn fail(step: ActionStep, failure: Failure) -> Result<(), Failure> {
    let level = if step == ActionStep::Teardown { Level::Warning } else { Level::Error };
    super::print(&format!("{}\n", workflow::annotation(level, &failure.to_string())))?;
    if level == Level::Error { Err(failure) } else { Ok(()) }
}
