//! What people order: drain a builder, cancel a build, stop.

use super::event::{Answer, Effect};
use super::state::{Drain, State};
use crate::domain::{BuildId, BuilderName, Time};

impl State {
    /// Holds until it is taken back, whatever the builder says or its source does.
    pub(super) fn drain(&mut self, name: &BuilderName, by: Option<String>, now: Time) {
        self.fleet.drain(name, by);
        self.note_up(name, now);
    }

    pub(super) fn cancel_build(&mut self, id: BuildId, by: &str, now: Time) {
        let Some(build) = self.builds.get(id).filter(|build| !build.settled) else { return };
        let text = format!("{} was cancelled by {by} (muster cancel)", build.ask.drv.name());
        self.answer(id, &Answer::Impossible(text), now);
    }

    pub(super) fn stop(&mut self, by: String) {
        if matches!(self.drain, Drain::No) {
            self.drain = Drain::Draining(by);
        }
    }

    pub(super) fn stop_at_once(&mut self, by: String, now: Time) {
        self.stop(by.clone());
        self.turn_away(|_| true, &by, now);
    }

    /// While it stops, what does not run will never run.
    pub(super) fn turn_away_what_waits(&mut self, now: Time) {
        if let Drain::Draining(by) = &self.drain {
            let by = by.clone();
            self.turn_away(|runs| !runs, &by, now);
        }
    }

    fn turn_away(&mut self, whom: impl Fn(bool) -> bool, by: &str, now: Time) {
        let wanted = self.builds.iter().filter(|(_, build)| !build.settled);
        let away: Vec<_> = wanted
            .filter(|(_, build)| whom(build.live().next().is_some()))
            .map(|(id, build)| (id, build.ask.drv.name().to_owned(), build.note.clone()))
            .collect();
        for (id, drv, note) in away {
            let note = note.map(|note| format!("; {note}")).unwrap_or_default();
            let text = format!(
                "{drv} was not built: {by} is stopping muster (muster stop){note}. Start it again: Nix builds it without \
                 muster, or with it once the coordinator runs again"
            );
            self.answer(id, &Answer::Impossible(text), now);
        }
    }

    pub(super) fn finish_drain(&mut self) {
        let idle = || self.fleet.iter().all(|(_, builder)| builder.attempts.is_empty());
        if matches!(self.drain, Drain::Draining(_)) && idle() {
            self.drain = Drain::Drained;
            self.out.push(Effect::Drained);
        }
    }
}
