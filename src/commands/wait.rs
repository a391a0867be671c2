//! `muster wait`

use std::time::Duration;

use tokio::time::sleep;

use super::status::ask_any;
use super::{Failure, block_on, print};
use crate::cli::{Settings, WaitArgs};
use crate::config::{Config, Control, Environment};
use crate::edge::clock;
use crate::policy::goal::{Candidate, Goal, Standing};
use crate::render;

/// Between two looks at the coordinator, whose sources hear of changes without looking.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) fn run(args: &WaitArgs, environment: &Environment) -> Result<(), Failure> {
    let settings = Settings { places: args.places.clone(), ..Settings::default() };
    let control = Config::load(&settings, environment)?.control;
    let goal = goal(args)?;
    let (standing, took) = block_on(wait(&goal, &control, args.wait))?;
    if args.json {
        let text = render::wait::json(&standing).map_err(|error| Failure::Failed(error.into()))?;
        print(&format!("{text}\n"))?;
    } else if standing.met {
        print(&render::wait::met(&standing))?;
    }
    if standing.met { Ok(()) } else { Err(missed(&standing, took)) }
}

fn goal(args: &WaitArgs) -> Result<Goal, Failure> {
    let least = args.min_builders.map(|least| least as usize);
    if least.is_some_and(|least| !args.names.is_empty() && least > args.names.len()) {
        let text = "--min-builders: there are fewer names than that";
        return Err(Failure::Usage(anyhow::anyhow!(text)));
    }
    Ok(Goal { names: args.names.clone(), least })
}

/// With the reason of each that is missing.
pub(super) fn missed(standing: &Standing, after: Duration) -> Failure {
    Failure::NoBuilder(anyhow::anyhow!(render::wait::not_met(standing, after)))
}

/// Until it is met, or the time is over. A coordinator that is still to start is waited for, too.
async fn wait(goal: &Goal, control: &Control, limit: Duration) -> Result<(Standing, Duration), Failure> {
    let began = clock::now();
    let mut told: Vec<Candidate> = Vec::new();
    loop {
        let is_over = began.elapsed() >= limit;
        match ask_any(control).await {
            Ok((snapshot, _)) => {
                let standing = goal.look(&snapshot);
                if standing.met || is_over {
                    return Ok((standing, began.elapsed()));
                }
                tell(&mut told, &standing);
            }
            Err(error) if is_over => return Err(error),
            Err(_) => {}
        }
        sleep(LOOK_AGAIN.min(limit.saturating_sub(began.elapsed()))).await;
    }
}

/// What has changed since it was told last.
fn tell(told: &mut Vec<Candidate>, standing: &Standing) {
    for one in standing.builders.iter().filter(|one| !told.contains(one)) {
        let Standing { ready, wanted, .. } = standing;
        tracing::info!("{ready} of {wanted} ready; {}", render::wait::candidate(one));
    }
    told.clone_from(&standing.builders);
}
