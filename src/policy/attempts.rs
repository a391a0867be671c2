//! How attempts go and end, and what follows.

use super::builds::{Attempt, Build, Loss};
use super::event::Answer;
use super::failure::{self, Against, Past, Verdict};
use super::fleet::Builder;
use super::journal::Entry;
use super::memory::{self, Ended};
use super::place::unfit;
use super::report::How;
use super::state::State;
use crate::domain::{AttemptId, AttemptOutcome, BuildId, BuildResult, BuildStatus, BuilderName, Stage, Time};

impl State {
    pub(super) fn reached(&mut self, id: AttemptId, stage: Stage, now: Time) {
        let Some(attempt) = self.builds.attempt_mut(id) else { return };
        if stage <= attempt.stage {
            return;
        }
        let frees = attempt.holds_slot();
        attempt.reach(stage, now);
        let frees = frees && !attempt.holds_slot();
        let (name, since) = (attempt.builder.clone(), attempt.since);
        if frees && let (Some(builder), Some(build)) = (self.fleet.get_mut(&name), self.builds.get(id.build))
        {
            builder.vacate(id, &build.shape.features);
            self.journal.worked(&name, now.since(since));
        }
        if stage == Stage::Building
            && let Some(builder) = self.fleet.get_mut(&name)
        {
            builder.begins(id, now);
        }
        if stage >= Stage::Building {
            self.inputs_are_there(id.build, &name);
        }
        self.seen(&name, now);
    }

    pub(super) fn ended(&mut self, id: AttemptId, outcome: AttemptOutcome, now: Time) {
        let Some(build) = self.builds.get_mut(id.build) else { return };
        let Some(attempt) = build.attempts.remove(&id.number) else { return };
        let settled = build.settled;
        let how =
            if attempt.cancelled { "cancelled".to_owned() } else { how_it_ended(&attempt.builder, &outcome) };
        memory::note(
            &mut build.ended,
            Ended {
                number: id.number,
                builder: attempt.builder.clone(),
                why: attempt.why(),
                stage: attempt.stage,
                began: attempt.since,
                ended: now,
                how,
            },
        );
        self.write_down(id, &attempt, &outcome, now);
        self.release(&attempt, id);
        // A cancelled attempt has heard nothing from anybody.
        if !matches!(
            outcome,
            AttemptOutcome::Lost { .. } | AttemptOutcome::Cancelled | AttemptOutcome::LocalError { .. }
        ) {
            self.seen(&attempt.builder, now);
        }
        if settled || attempt.cancelled {
            self.forget_if_over(id.build);
        } else {
            self.learn(id.build, &attempt, &outcome, now);
            self.follow(id, &attempt.builder, outcome, now);
        }
        self.let_go_if_idle(&attempt.builder, now);
    }

    /// For the report.
    fn write_down(&mut self, id: AttemptId, attempt: &Attempt, outcome: &AttemptOutcome, now: Time) {
        let Some(build) = self.builds.get(id.build) else { return };
        if attempt.holds_slot() {
            self.journal.worked(&attempt.builder, now.since(attempt.since));
        }
        // One that was cancelled because another one of a silent builder's builds was faster is that builder's loss.
        let silent = self.fleet.get(&attempt.builder).is_some_and(|builder| !builder.takes_part());
        let (how, said) = match attempt.cancelled {
            true if silent => (How::Lost, format!("{} fell silent; it was built elsewhere", attempt.builder)),
            true => (How::Cancelled, String::new()),
            false => (kind_of(outcome), how_it_ended(&attempt.builder, outcome)),
        };
        let ill = matches!(how, How::Failed | How::Lost);
        self.journal.ended(Entry {
            drv: build.ask.drv.base_name().to_owned(),
            number: id.number,
            builder: attempt.builder.clone(),
            began: attempt.since,
            ended: now,
            how,
            said: ill.then_some(said),
        });
    }

    /// The builder has one attempt less.
    fn release(&mut self, attempt: &Attempt, id: AttemptId) {
        let (Some(builder), Some(build)) = (self.fleet.get_mut(&attempt.builder), self.builds.get(id.build))
        else {
            return;
        };
        builder.attempts.remove(&id);
        if attempt.holds_slot() {
            builder.vacate(id, &build.shape.features);
        }
    }

    fn follow(&mut self, id: AttemptId, builder: &BuilderName, outcome: AttemptOutcome, now: Time) {
        let Some(past) = self.past(id.build, builder, now) else { return };
        let verdict = failure::judge(&outcome, &past, &self.settings.limits);
        self.remember(id.build, builder, &outcome, verdict);
        self.tell_health(builder, &outcome, verdict, now);
        match verdict {
            Verdict::Success => self.succeeded(id, builder, outcome, now),
            Verdict::Final => self.answer(id.build, &final_answer(id, builder, outcome), now),
            // While another attempt runs there is hope.
            Verdict::GiveUp if self.runs(id.build) => {}
            Verdict::GiveUp => {
                let text = self.epitaph(id.build, builder, &outcome);
                self.answer(id.build, &Answer::Impossible(text), now);
            }
            Verdict::Elsewhere(_) | Verdict::UploadAgain | Verdict::ProbeAgain | Verdict::Later => {
                self.repeat(id.build, builder, &outcome, verdict, now);
            }
        }
    }

    fn past(&self, id: BuildId, builder: &BuilderName, now: Time) -> Option<Past> {
        let build = self.builds.get(id)?;
        let history = &build.history;
        Some(Past {
            builders_lost: history.builders_lost(),
            losses: u32::try_from(history.losses.len()).unwrap_or(u32::MAX),
            refusals: history.refusals,
            unclear: history.unclear,
            uploads: history.uploads,
            local_errors: history.local_errors,
            elsewhere: self.fleet.iter().any(|(name, other)| {
                name != builder && build.failures_on(name) == 0 && self.could_take(build, other)
            }),
            link_suspect: self.link_is_suspect(builder, now),
        })
    }

    fn could_take(&self, build: &Build, builder: &Builder) -> bool {
        builder.is_watched()
            && builder.closed_by().is_none()
            && unfit(&build.shape, builder, &self.settings).is_none()
    }

    fn remember(&mut self, id: BuildId, name: &BuilderName, outcome: &AttemptOutcome, verdict: Verdict) {
        let Some(build) = self.builds.get_mut(id) else { return };
        let history = &mut build.history;
        match (outcome, verdict) {
            (_, Verdict::Success | Verdict::Final) => {}
            (AttemptOutcome::Lost { .. }, Verdict::Elsewhere(Against::Nobody)) => {}
            (AttemptOutcome::Lost { .. }, Verdict::Elsewhere(Against::Builder)) => {}
            (_, Verdict::Elsewhere(Against::Nobody)) => history.unclear += 1,
            (AttemptOutcome::Lost { .. }, _) => {
                history.losses.push(Loss { builder: name.clone(), what: what_befell(name, outcome) });
            }
            (AttemptOutcome::LocalError { .. }, _) => history.local_errors += 1,
            (_, Verdict::Later) => {}
            (_, Verdict::UploadAgain) => history.uploads += 1,
            _ => history.refusals += 1,
        }
    }

    fn tell_health(&mut self, name: &BuilderName, outcome: &AttemptOutcome, verdict: Verdict, now: Time) {
        match (outcome, verdict) {
            (AttemptOutcome::Lost { reason, .. }, verdict) => {
                if let Some(builder) =
                    self.fleet.get_mut(name).filter(|_| verdict == Verdict::Elsewhere(Against::Both))
                {
                    builder.lost += 1;
                }
                self.doubt(name, reason, verdict == Verdict::Elsewhere(Against::Both), now);
            }
            (_, Verdict::Elsewhere(Against::Builder)) => self.blame(name, &words_of(outcome), now),
            (_, Verdict::ProbeAgain) => self.probe(name, now),
            (_, Verdict::Success | Verdict::Final) => {
                if let Some(builder) = self.fleet.get_mut(name) {
                    builder.incidents = 0;
                }
            }
            _ => {}
        }
    }

    fn succeeded(&mut self, id: AttemptId, name: &BuilderName, outcome: AttemptOutcome, now: Time) {
        let AttemptOutcome::Done(result) = outcome else { return };
        if let Some(builder) = self.fleet.get_mut(name) {
            builder.built += 1;
        }
        *self.totals.built_by.entry(name.clone()).or_default() += 1;
        self.inputs_are_there(id.build, name);
        self.answer(id.build, &Answer::Result { attempt: id, builder: name.clone(), result }, now);
    }

    /// It goes back to the queue, to be tried elsewhere if there is a choice.
    fn repeat(
        &mut self,
        id: BuildId,
        name: &BuilderName,
        outcome: &AttemptOutcome,
        verdict: Verdict,
        now: Time,
    ) {
        let fleet = &self.fleet;
        let Some(build) = self.builds.get_mut(id) else { return };
        build.note = Some(what_befell(name, outcome));
        match verdict {
            Verdict::UploadAgain => {
                if let Some(builder) = fleet.get(name) {
                    self.presence.remove(builder.bit, build.ask.closure.iter().map(|input| input.path));
                }
            }
            Verdict::Later if matches!(outcome, AttemptOutcome::LocalError { .. }) => {
                let wait = self.settings.back_off(build.history.local_errors);
                build.history.not_before = Some(now + wait);
            }
            _ => {
                let wait = self.settings.back_off(build.history.trouble(name));
                build.history.hold(name, now + wait);
            }
        }
        self.totals.repeated += 1;
        if !self.runs(id) {
            self.enqueue(id);
            self.held.insert(id);
            self.fresh.push(id);
        }
    }

    /// Whether an attempt of it runs that is wanted.
    pub(super) fn runs(&self, id: BuildId) -> bool {
        self.builds.get(id).is_some_and(|build| build.live().next().is_some())
    }

    fn inputs_are_there(&mut self, id: BuildId, name: &BuilderName) {
        if let (Some(build), Some(builder)) = (self.builds.get(id), self.fleet.get(name)) {
            self.presence.add(builder.bit, build.ask.closure.iter().map(|input| input.path));
        }
    }

    /// Why it is given up.
    fn epitaph(&self, id: BuildId, name: &BuilderName, outcome: &AttemptOutcome) -> String {
        let Some(build) = self.builds.get(id) else { return String::new() };
        let drv = build.ask.drv.name();
        match outcome {
            AttemptOutcome::LocalError { message, .. } if failure::local_disk_is_full(message) => {
                format!(
                    "the disk of the coordinator's machine is full, so {drv} cannot be brought home: {message}; free some, \
                     or name another place in limits.spool_dir of its configuration"
                )
            }
            AttemptOutcome::Lost { .. } => {
                let list: Vec<_> =
                    build.history.losses.iter().map(|loss| format!("  {}", loss.what)).collect();
                let times = list.len();
                format!(
                    "{drv} is given up after {times} lost attempts, and may be their cause:\n{}",
                    list.join("\n")
                )
            }
            _ => format!(
                "{drv} is given up, the last of its attempts ended so: {}",
                what_befell(name, outcome)
            ),
        }
    }
}

/// The builder's own words, with its name.
fn final_answer(attempt: AttemptId, builder: &BuilderName, outcome: AttemptOutcome) -> Answer {
    let mut result = match outcome {
        AttemptOutcome::Done(result) | AttemptOutcome::Failed(result) => result,
        other => BuildResult::verdict(BuildStatus::MiscFailure, words_of(&other)),
    };
    result.error = format!("on {builder}: {}", result.error);
    Answer::Result { attempt, builder: builder.clone(), result }
}

fn words_of(outcome: &AttemptOutcome) -> String {
    match outcome {
        AttemptOutcome::Done(result) | AttemptOutcome::Failed(result) => result.error.clone(),
        AttemptOutcome::Refused { message, .. } | AttemptOutcome::LocalError { message, .. } => {
            message.clone()
        }
        AttemptOutcome::Lost { reason, .. } => reason.clone(),
        AttemptOutcome::TooLarge(message) => message.clone(),
        AttemptOutcome::BadOutput { path, reason } => format!("{path}: {reason}"),
        AttemptOutcome::Cancelled => "it was cancelled there".to_owned(),
    }
}

/// The same in one word.
fn kind_of(outcome: &AttemptOutcome) -> How {
    match outcome {
        AttemptOutcome::Done(result) if result.status.is_success() => How::Built,
        AttemptOutcome::Done(_) | AttemptOutcome::Failed(_) | AttemptOutcome::TooLarge(_) => How::Failed,
        AttemptOutcome::Cancelled => How::Cancelled,
        AttemptOutcome::Refused { .. }
        | AttemptOutcome::Lost { .. }
        | AttemptOutcome::BadOutput { .. }
        | AttemptOutcome::LocalError { .. } => How::Lost,
    }
}

/// The same, of any attempt.
fn how_it_ended(builder: &BuilderName, outcome: &AttemptOutcome) -> String {
    match outcome {
        AttemptOutcome::Done(result) if result.status.is_success() => "built".to_owned(),
        AttemptOutcome::Cancelled => "cancelled".to_owned(),
        other => what_befell(builder, other),
    }
}

/// One line for the log of those who asked.
fn what_befell(builder: &BuilderName, outcome: &AttemptOutcome) -> String {
    let why = one_line(&words_of(outcome));
    match outcome {
        AttemptOutcome::Lost { stage, .. } => format!("{builder} was lost while {stage} ({why})"),
        AttemptOutcome::Refused { stage, .. } => format!("{builder} refused while {stage} ({why})"),
        AttemptOutcome::BadOutput { .. } => format!("{builder} sent a bad output ({why})"),
        AttemptOutcome::LocalError { stage, .. } => {
            format!("the coordinator's own store failed while {stage} ({why})")
        }
        _ => format!("{builder} could not build it ({why})"),
    }
}

/// Foreign words as a part of one line.
pub(super) fn one_line(words: &str) -> String {
    const LONGEST: usize = 300;
    let plain = without_colours(words);
    let flat: Vec<_> = plain.split_whitespace().collect();
    let flat: String = flat.join(" ").chars().filter(|c| !c.is_control()).collect();
    match flat.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &flat[..at]),
        None => flat,
    }
}

/// Without the terminal's control sequences, of which Nix's own words are full.
fn without_colours(words: &str) -> String {
    let mut parts = words.split("\x1b[");
    let first = parts.next().unwrap_or_default();
    let end_of_sequence = |c: char| ('@'..='~').contains(&c);
    let rest = parts.map(|part| part.split_once(end_of_sequence).map_or("", |(_, rest)| rest));
    std::iter::once(first).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_builders_words_become_one_plain_line() {
        let check = |words: &str, expected: &str| assert_eq!(one_line(words), expected);
        check("\x1b[31;1merror:\x1b[0m no\n  space\x07", "error: no space");
        check("cut off \x1b[31;1", "cut off");
        check(&"x".repeat(301), &format!("{}...", "x".repeat(300)));
    }
}
