//! What people ask of the loop, and order.

use tokio::sync::oneshot;

use super::driver::{Driver, RunError, Stopping};
use super::offer::Writes;
use crate::domain::BuilderName;
use crate::edge::users;
use crate::policy::{By, Event, Explanation};
use crate::wire::control::{Reply, Request};

/// A request of the control socket, for the loop.
pub(super) struct Order {
    pub request: Request,
    /// Who asks. Whether they may was looked at before.
    pub by: By,
    /// Whoever asked may be gone.
    pub reply: oneshot::Sender<Reply>,
}

impl Driver {
    pub(super) fn ordered(&mut self, order: Order) -> Result<(), RunError> {
        let Order { request, by, reply } = order;
        let answer = match request {
            Request::Status => Ok(Reply::Status { status: self.snapshot() }),
            Request::Why { name } => Ok(Reply::Why { why: self.state.why(&name, self.now()) }),
            Request::Report => Ok(Reply::Report { report: self.report() }),
            Request::Drain { builders } => self.drain(&builders, Some(by))?,
            Request::Undrain { builders } => self.drain(&builders, None)?,
            Request::Cancel { builds } => self.cancel_builds(&builds, &by)?,
            Request::Stop { now } => Ok(self.begin_to_stop(now, by)?),
        };
        let _ = reply.send(answer.unwrap_or_else(|message| Reply::Error { message }));
        Ok(())
    }

    /// All of them or none: a slip of the pen is no half-done order.
    fn drain(&mut self, names: &[String], by: Option<By>) -> Result<Result<Reply, String>, RunError> {
        let known = |name: &String| {
            let is_one =
                |name: &BuilderName| self.state.knows(name) || self.state.drains().contains_key(name);
            let parsed = BuilderName::parse(name).ok().filter(is_one);
            parsed.ok_or_else(|| format!("no builder is named '{name}'; `muster status` lists them"))
        };
        let builders = match names.iter().map(known).collect::<Result<Vec<_>, _>>() {
            Ok(builders) => builders,
            Err(message) => return Ok(Err(message)),
        };
        let mut said = Vec::new();
        for builder in builders {
            let event = match &by {
                Some(by) => Event::Drained(builder.clone(), by.clone()),
                None => Event::Undrained(builder.clone()),
            };
            tracing::info!(%builder, by = by.as_deref(), "{}", if by.is_some() { "drained" } else { "takes builds again" });
            self.step(event)?;
            said.push(self.after_draining(&builder));
        }
        if let Err(why) = self.keep_drains() {
            tracing::warn!("{why}");
            said.push(why);
        }
        Ok(Ok(Reply::Done { said: said.join("\n") }))
    }

    fn after_draining(&self, builder: &BuilderName) -> String {
        let snapshot = self.state.snapshot(self.now());
        match snapshot.builders.into_iter().find(|row| row.name == *builder) {
            Some(row) if row.drained.is_some() => {
                let there = |row: &crate::policy::snapshot::BuildRow| {
                    row.attempts.iter().filter(|attempt| attempt.builder == *builder).count()
                };
                let running: usize = snapshot.builds.iter().map(there).sum();
                format!("{builder} gets nothing new; builds that still run there: {running}")
            }
            _ => format!("{builder} takes builds again"),
        }
    }

    fn cancel_builds(&mut self, names: &[String], by: &By) -> Result<Result<Reply, String>, RunError> {
        let mut found = Vec::new();
        for name in names {
            match self.state.unfinished(name, self.now()) {
                Ok(build) => found.push(build),
                Err(why) => return Ok(Err(not_one(name, &why))),
            }
        }
        let mut said = Vec::new();
        for (build, drv) in found {
            tracing::info!(%drv, %by, "cancelled");
            self.step(Event::Cancelled(build, by.clone()))?;
            said.push(format!("{drv} is cancelled"));
        }
        Ok(Ok(Reply::Done { said: said.join("\n") }))
    }

    /// From here on Nix is offered nothing, so that it builds by itself.
    fn begin_to_stop(&mut self, now: bool, by: By) -> Result<Reply, RunError> {
        tracing::info!(%by, now, "stopping");
        self.withdraw_lines()?;
        self.writes = Writes::Never;
        let deadline = self.now() + self.world.config().timeouts.stop;
        let deadline = (!now).then_some(deadline);
        let stopping = self.stopping.get_or_insert(Stopping { by: by.clone(), deadline });
        if now {
            stopping.deadline = None;
            self.step(Event::Stopped(by))?;
        } else {
            self.step(Event::Stopping(by))?;
        }
        let snapshot = self.state.snapshot(self.now());
        let running = snapshot.builds.iter().filter(|build| !build.attempts.is_empty()).count();
        Ok(Reply::Stopping { pid: users::own_process(), running })
    }

    /// Its time is over: what runs still is cancelled.
    pub(super) fn stop_now(&mut self) -> Result<(), RunError> {
        let Some(stopping) = &mut self.stopping else { return Ok(()) };
        stopping.deadline = None;
        let by = stopping.by.clone();
        self.step(Event::Stopped(by))
    }
}

/// Why a name stands for no build that could be cancelled.
fn not_one(name: &str, why: &Explanation) -> String {
    match why {
        Explanation::Build(build) => format!("{} is over already", build.drv),
        Explanation::Builder(_) => format!("'{name}' is a builder; `muster drain` keeps builds away from it"),
        Explanation::Ambiguous { candidates, count } => {
            let list: String = candidates.iter().map(|drv| format!("\n  {drv}")).collect();
            format!("'{name}' stands for {count} builds; nothing was cancelled:{list}")
        }
        Explanation::Unknown => format!("no build is called '{name}'; `muster status` lists them"),
    }
}
