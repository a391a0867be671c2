//! `muster wait`

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;

use super::status::ask_any;
use super::{Failure, block_on, print};
use crate::cli::{Settings, WaitArgs};
use crate::config::{Config, Control, Environment};
use crate::edge::clock;
use crate::policy::Snapshot;
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
    let named: BTreeSet<&String> = args.names.iter().collect();
    if least.is_some_and(|least| !named.is_empty() && least > named.len()) {
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
    let look = || async { ask_any(control).await.map(|(snapshot, _)| snapshot) };
    let standing = until(goal, limit, look, || began.elapsed()).await?;
    Ok((standing, began.elapsed()))
}

/// The same with eyes and a clock that are handed in.
async fn until<L: Future<Output = Result<Snapshot, Failure>>>(
    goal: &Goal,
    limit: Duration,
    look: impl Fn() -> L,
    elapsed: impl Fn() -> Duration,
) -> Result<Standing, Failure> {
    let mut told: Vec<Candidate> = Vec::new();
    loop {
        let is_over = elapsed() >= limit;
        match look().await {
            Ok(snapshot) => {
                let standing = goal.look(&snapshot, is_over);
                if standing.met || is_over {
                    return Ok(standing);
                }
                tell(&mut told, &standing);
            }
            Err(error) if is_over => return Err(error),
            Err(_) => {}
        }
        sleep(LOOK_AGAIN.min(limit.saturating_sub(elapsed()))).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// When it ended, in seconds, and whether it was met: builder bN is healthy from the Nth second of `come` on. The
    /// coordinator answers from the second second on.
    #[expect(clippy::disallowed_methods, reason = "the clock is tokio's own, which stands still")]
    async fn waited(names: &[&str], least: Option<usize>, come: [u64; 3]) -> (u64, Result<bool, u8>) {
        let began = tokio::time::Instant::now();
        let look = || async move {
            let now = began.elapsed().as_secs();
            if now < 2 {
                return Err(Failure::NoCoordinator(anyhow::anyhow!("none yet")));
            }
            Ok(picture(come.map(|at| now >= at)))
        };
        let goal = Goal { names: names.iter().map(|&name| name.to_owned()).collect(), least };
        let standing = until(&goal, Duration::from_secs(60), look, || began.elapsed()).await;
        (began.elapsed().as_secs(), standing.map(|standing| standing.met).map_err(|error| error.code()))
    }

    fn picture(healthy: [bool; 3]) -> Snapshot {
        let row = |(number, is_healthy): (usize, &bool)| {
            let health = if *is_healthy { "healthy" } else { "probing" };
            serde_json::json!({
                "name": format!("b{number}"), "health": health, "host_name": null, "reason": null, "retry_in_ms": null,
                "systems": [], "features": [], "mandatory": [], "slots": 1, "busy": 0, "speed_factor": 1.0, "trust": null,
                "nix_version": null, "built": 0, "lost": 0
            })
        };
        let rows: Vec<_> = (1..).zip(&healthy).map(row).collect();
        let totals = crate::policy::snapshot::Totals::default();
        let text =
            serde_json::json!({"schema": 1, "builders": rows, "builds": [], "totals": totals, "absent": []});
        serde_json::from_value(text).expect("a snapshot")
    }

    const NEVER: u64 = 1_000_000;

    #[tokio::test(start_paused = true)]
    async fn all_that_are_named_end_it_at_once() {
        assert_eq!(waited(&["b1", "b2", "b3"], None, [0, 20, 40]).await, (40, Ok(true)));
        assert_eq!(
            waited(&["b1", "b2", "b3"], Some(1), [0, 20, 40]).await,
            (40, Ok(true)),
            "fewer do not end it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_time_is_over_so_many_suffice() {
        let names = ["b1", "b2", "b3"];
        assert_eq!(waited(&names, Some(1), [0, 20, NEVER]).await, (60, Ok(true)));
        assert_eq!(waited(&names, Some(2), [0, 20, NEVER]).await, (60, Ok(true)));
        assert_eq!(waited(&names, None, [0, 20, NEVER]).await, (60, Ok(false)));
        assert_eq!(waited(&names, Some(1), [NEVER; 3]).await, (60, Ok(false)));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_is_named_the_first_that_suffice_end_it() {
        assert_eq!(waited(&[], None, [10, 20, NEVER]).await, (10, Ok(true)));
        assert_eq!(waited(&[], Some(2), [10, 20, NEVER]).await, (20, Ok(true)));
        assert_eq!(waited(&[], Some(3), [10, 20, NEVER]).await, (60, Ok(false)));
    }
}
