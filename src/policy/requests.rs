//! What clients want, and what they are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::attempts::one_line;
use super::builds::{Build, History};
use super::event::{Answer, Ask, Effect};
use super::memory::End;
use super::queue::{Key, Shape};
use super::state::State;
use super::waiting;
use crate::domain::{AttemptId, BuildId, RequestId, Route, Time};

impl State {
    /// A wish for what is already wanted joins it.
    pub(super) fn requested(&mut self, request: RequestId, ask: Ask, now: Time) {
        if self.builds.knows(request) {
            return;
        }
        let shape = self.shape(&ask);
        let id = match self.builds.shared(&ask, &shape) {
            Some(id) => id,
            None => self.begin_build(ask, shape, now),
        };
        self.builds.join(request, id);
        let Some(build) = self.builds.get(id) else { return };
        for (number, _) in build.live() {
            self.out.push(Effect::Join(request, AttemptId { build: id, number }));
        }
        if let Some(why) = &build.said {
            self.out.push(waiting::effect(why, request, waiting::say(why, build, &self.fleet, now)));
        }
    }

    /// What it asks of a builder. A label that the client named wins over routes, and the first route that fits holds.
    fn shape(&self, ask: &Ask) -> Shape {
        let fits = |route: &&Route| route.fits(&ask.pname, &ask.system, &ask.features);
        let labels = match &ask.label {
            Some(label) => BTreeSet::from([label.clone()]),
            None => {
                self.settings.routes.iter().find(fits).map(|route| route.labels.clone()).unwrap_or_default()
            }
        };
        let unsigned = ask.unsigned.clone().filter(|_| self.settings.use_untrusted);
        Shape { system: ask.system.clone(), features: ask.features.clone(), labels, unsigned }
    }

    fn begin_build(&mut self, ask: Ask, shape: Shape, now: Time) -> BuildId {
        let id = self.builds.next_id();
        let shape = Arc::new(shape);
        let closure_bytes = ask.closure.iter().fold(0_u64, |sum, input| sum.saturating_add(input.bytes));
        let mut build = Build {
            key: Key::new(ask.client, id, Duration::ZERO, now),
            ask,
            closure_bytes,
            shape,
            asked_at: now,
            requests: Vec::new(),
            attempts: Default::default(),
            newest: 0,
            queued: false,
            looked_at: None,
            settled: false,
            history: History::default(),
            ended: Default::default(),
            end: None,
            said: None,
            note: None,
        };
        let rank = self.outlook().rank(&build);
        build.key = Key::new(build.ask.client, id, rank, now);
        self.builds.add(id, build);
        self.enqueue(id);
        id
    }

    /// What nobody wants any more ends, on the builder too.
    pub(super) fn withdrawn(&mut self, request: RequestId, now: Time) {
        let Some(id) = self.builds.leave(request) else { return };
        self.totals.withdrawn += 1;
        if self.builds.get(id).is_some_and(|build| build.requests.is_empty()) {
            self.wind_up(id, "nobody wanted it any more".to_owned(), now);
        }
    }

    /// Answers all who asked; other attempts are cancelled.
    pub(super) fn answer(&mut self, id: BuildId, answer: &Answer, now: Time) {
        let succeeded = matches!(answer, Answer::Result { result, .. } if result.status.is_success());
        for request in self.wind_up(id, summary(answer), now) {
            let count = if succeeded { &mut self.totals.succeeded } else { &mut self.totals.failed };
            *count += 1;
            self.out.push(Effect::Answer(request, answer.clone()));
        }
        self.forget_if_over(id);
    }

    /// Ends whatever goes on for the build; returns who still waited for it.
    fn wind_up(&mut self, id: BuildId, how: String, now: Time) -> Vec<RequestId> {
        if let Some(build) = self.builds.get_mut(id) {
            build.end = Some(End { at: now, how });
        }
        self.dequeue(id);
        let requests = self.builds.settle(id);
        self.cancel_attempts(id);
        if requests.is_empty() {
            self.forget_if_over(id);
        }
        requests
    }

    fn cancel_attempts(&mut self, id: BuildId) {
        let Some(build) = self.builds.get_mut(id) else { return };
        for (number, attempt) in build.attempts.iter_mut().filter(|(_, attempt)| !attempt.cancelled) {
            attempt.cancelled = true;
            self.out.push(Effect::Cancel(AttemptId { build: id, number: *number }));
        }
    }

    /// Nobody wants it and nothing runs for it: its memory goes.
    pub(super) fn forget_if_over(&mut self, id: BuildId) {
        if self.builds.get(id).is_some_and(|build| build.settled && build.attempts.is_empty()) {
            if let Some(build) = self.builds.remove(id) {
                self.memory.keep(build);
            }
            self.out.push(Effect::Forget(id));
        }
    }

    /// One line for everybody who asked.
    pub(super) fn say(&mut self, id: BuildId, line: &str) {
        let Some(build) = self.builds.get(id) else { return };
        self.out.extend(build.requests.iter().map(|request| Effect::Say(*request, line.to_owned())));
    }
}

/// How a build ended, in a few words.
fn summary(answer: &Answer) -> String {
    match answer {
        Answer::Result { builder, result, .. } if result.status.is_success() => format!("built on {builder}"),
        Answer::Result { result, .. } => format!("failed {}", one_line(&result.error)),
        Answer::Impossible(text) => one_line(text),
    }
}
