//! `muster why`, `drain`, `undrain`, `cancel` and `stop`: one question or order to the coordinator each.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::{Failure, block_on, print};
use crate::cli::{BuildNames, BuilderNames, Places, Settings, StopArgs, WhyArgs};
use crate::config::{Config, Control, Environment};
use crate::policy::Explanation;
use crate::wire::control::{ControlError, Reply, Request};
use crate::{edge, render};

/// Between two looks at a coordinator that ends.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// What its process needs, once its socket is closed.
const LAST_BREATH: Duration = Duration::from_secs(5);

pub(super) fn why(args: &WhyArgs, environment: &Environment) -> Result<(), Failure> {
    let request = Request::Why { name: args.name.clone() };
    let Reply::Why { why } = order(&args.places, environment, &request)? else { return Err(nonsense()) };
    let failed = |text: String| Err(Failure::Failed(anyhow::anyhow!(text)));
    match &why {
        Explanation::Ambiguous { candidates, count } => {
            failed(render::why::candidates(&args.name, candidates, *count))
        }
        Explanation::Unknown => failed(format!(
            "no builder and no build is called '{}'; `muster status` lists them, and the coordinator forgets builds \
             that ended long ago",
            args.name
        )),
        known if args.json => {
            let text = render::why::json(known).map_err(|error| Failure::Failed(error.into()))?;
            print(&format!("{text}\n"))
        }
        Explanation::Build(story) => {
            let asked_by = story.asked_by.map(edge::users::name_of);
            print(&render::why::build(story, asked_by.as_deref(), environment.width))
        }
        Explanation::Builder(story) => print(&render::why::builder(story, environment.width)),
    }
}

pub(super) fn drain(args: BuilderNames, environment: &Environment) -> Result<(), Failure> {
    done(&args.places, environment, &Request::Drain { builders: args.builders })
}

pub(super) fn undrain(args: BuilderNames, environment: &Environment) -> Result<(), Failure> {
    done(&args.places, environment, &Request::Undrain { builders: args.builders })
}

pub(super) fn cancel(args: BuildNames, environment: &Environment) -> Result<(), Failure> {
    done(&args.places, environment, &Request::Cancel { builds: args.builds })
}

fn done(places: &Places, environment: &Environment, request: &Request) -> Result<(), Failure> {
    let Reply::Done { said } = order(places, environment, request)? else { return Err(nonsense()) };
    print(&format!("{said}\n"))
}

/// Where there is no coordinator, nothing is left to do.
pub(super) fn stop(args: &StopArgs, environment: &Environment) -> Result<(), Failure> {
    let control = control(&args.places, environment)?;
    block_on(async {
        let Some(mut line) = running(&control).await? else { return print("no coordinator runs\n") };
        let asked = line.ask(&Request::Stop { now: args.now }).await;
        let Reply::Stopping { pid, running } = asked.map_err(|error| refusal(&control.socket, error))? else {
            return Err(nonsense());
        };
        if running > 0 {
            print(&format!("waiting for {running} builds to finish; `muster stop --now` does not\n"))?;
        }
        while line.ask(&Request::Status).await.is_ok() {
            sleep(LOOK_AGAIN).await;
        }
        let gone = async {
            while edge::users::is_alive(pid) {
                sleep(LOOK_AGAIN).await;
            }
        };
        // Where it lives in another process namespace, its number means nothing here.
        let _ = tokio::time::timeout(LAST_BREATH, gone).await;
        print("stopped\n")
    })
}

/// The user's own coordinator, or else the system's; none where neither runs.
async fn running(control: &Control) -> Result<Option<edge::control::Line>, Failure> {
    for socket in [Some(&control.socket), control.fallback.as_ref()].into_iter().flatten() {
        match edge::control::Line::open(socket).await {
            Ok(line) => return Ok(Some(line)),
            Err(error) if is_nobody(&error) => {}
            Err(error) => return Err(refusal(socket, error.into())),
        }
    }
    Ok(None)
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn control(places: &Places, environment: &Environment) -> Result<Control, Failure> {
    let settings = Settings { places: places.clone(), ..Settings::default() };
    Ok(Config::load(&settings, environment)?.control)
}

/// Asks the user's own coordinator, or else the system's.
fn order(places: &Places, environment: &Environment, request: &Request) -> Result<Reply, Failure> {
    let control = control(places, environment)?;
    let ask = async |socket: &Path| edge::control::Line::open(socket).await?.ask(request).await;
    block_on(async {
        let mut asked = ask(&control.socket).await;
        if let (Err(ControlError::Io(_)), Some(fallback)) = (&asked, &control.fallback) {
            asked = ask(fallback).await.or(asked);
        }
        asked.map_err(|error| refusal(&control.socket, error))
    })
}

/// A coordinator that answers has said all that there is to say.
pub(super) fn refusal(socket: &Path, error: ControlError) -> Failure {
    match error {
        ControlError::Refused(_) | ControlError::Forbidden(_) | ControlError::Older(_) => {
            Failure::Failed(anyhow::anyhow!("{error}"))
        }
        error => super::status::unreachable(socket, &error),
    }
}

fn nonsense() -> Failure {
    Failure::Failed(anyhow::anyhow!("the coordinator answered something else than was asked"))
}
