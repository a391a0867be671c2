//! Where a build goes, and why there.
//!
//! Among the builders that may take it, the one with the earliest estimated finish (`finish`). That may be one whose
//! slots are all in use: then the build waits for it, although a slower one idles. Estimates that differ by no more than
//! measurements do by chance are level: of those the fewest missing bytes decide, then the emptier builder, then the name.
//! The reasons are data: what is shown to people is exactly what was decided by.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::builds::Build;
use super::finish::Outlook;
use super::fleet::{Builder, Health};
use super::machine::Strain;
use super::queue::Shape;
use super::settings::Settings;
use crate::domain::{BuilderName, Feature, Label, StorePath, System, Time, Trust};

/// What was decided for a build, and why, by builder.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// Where it can start now; none while it waits.
    pub choice: Option<BuilderName>,
    /// For each builder, in the order of their names.
    pub reasons: Reasons,
}

/// What speaks for or against each builder.
pub type Reasons = Vec<(BuilderName, Reason)>;

/// A decision that nobody has to remember yet.
pub(super) struct Weighed<'a> {
    /// Where the build can start now.
    pub choice: Option<&'a BuilderName>,
    reasons: Vec<(&'a BuilderName, Reason)>,
}

impl Weighed<'_> {
    /// All of it.
    pub(super) fn remember(self) -> Placement {
        let choice = self.choice.cloned();
        let reasons = self.reasons.into_iter().map(|(name, reason)| (name.clone(), reason)).collect();
        Placement { choice, reasons }
    }

    /// The chosen one's reason and a screenful of others: what is remembered of attempts is bounded however large the fleet.
    pub(super) fn outline(self) -> Option<(BuilderName, Reasons)> {
        const KEPT: usize = 50;
        let choice = self.choice?;
        let mut outline = Vec::with_capacity(self.reasons.len().min(KEPT + 1));
        for (name, reason) in self.reasons {
            if name == choice || outline.len() < KEPT {
                outline.push((name.clone(), reason));
            }
        }
        Some((choice.clone(), outline))
    }
}

/// What speaks for or against a builder.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// The earliest estimated finish.
    Chosen(Duration),
    /// It could take it, but another one is estimated to finish earlier.
    Slower(Duration),
    /// It is estimated to finish at about the same time as the one that is chosen.
    Level(Duration),
    /// All its slots are in use, and it is estimated to finish earliest all the same: it is waited for.
    Awaited(Duration),
    /// No source knows it any more.
    Leaving,
    /// It has not said yet what it can do.
    Unknown,
    /// It does not build for that system.
    OtherSystem(System),
    /// It lacks these features.
    Lacks(BTreeSet<Feature>),
    /// It takes only builds that ask for these.
    Reserved(BTreeSet<Feature>),
    /// It has none of the labels that the build is sent to.
    NotLabelled(BTreeSet<Label>),
    /// Its daemon does not trust us.
    Untrusted,
    /// Nor does it take this input, which nobody has signed.
    Unsigned(StorePath),
    /// Somebody wants nothing new to start there.
    Drained(String),
    /// It is in doubt and probed.
    Probing,
    /// It does not answer.
    Silent(Duration),
    /// It is down.
    Down(String),
    /// An attempt of this build runs there.
    RunsHere,
    /// Attempts of this build were lost or refused there more often than elsewhere.
    FailedHere(u32),
    /// After an attempt that failed there, or here, this build waits for so long.
    Held(Duration),
    /// As many builds use this feature there as may.
    Exhausted(Feature),
    /// Its machine bears no more.
    Strained(Strain),
    /// All its slots are in use.
    Busy(u32),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Chosen(finish) => write!(f, "the earliest estimated finish, in {}", seconds(*finish)),
            Reason::Slower(finish) => write!(f, "estimated to finish later, in {}", seconds(*finish)),
            Reason::Level(finish) => {
                write!(f, "estimated to finish at about the same time, in {}", seconds(*finish))
            }
            Reason::Awaited(finish) => write!(
                f,
                "all its slots are in use, and still the earliest estimated finish, in {}",
                seconds(*finish)
            ),
            Reason::Leaving => f.write_str("no source knows it any more"),
            Reason::Unknown => f.write_str("it has not been probed yet"),
            Reason::OtherSystem(system) => write!(f, "it does not build for {system}"),
            Reason::Lacks(features) => write!(f, "it lacks {}", words(features)),
            Reason::Reserved(features) => {
                write!(f, "it takes only builds that ask for {}", words(features))
            }
            Reason::NotLabelled(labels) => write!(f, "it is not labelled {}", either(labels)),
            Reason::Drained(by) => write!(f, "it is drained by {by}: nothing new starts there"),
            Reason::Untrusted => f.write_str("its daemon does not trust us"),
            Reason::Unsigned(path) => write!(f, "its daemon does not trust us, and {}", unsigned(path)),
            Reason::Probing => f.write_str("it is being probed"),
            Reason::Silent(silence) => write!(f, "it has not answered for {}", elapsed(*silence)),
            Reason::Down(why) => write!(f, "it is down: {why}"),
            Reason::RunsHere => f.write_str("an attempt runs there already"),
            Reason::FailedHere(times) => write!(f, "{times} of its attempts failed there"),
            Reason::Held(wait) => write!(f, "its next attempt waits for {}", seconds(*wait)),
            Reason::Exhausted(feature) => write!(f, "as many builds use {} there as may", feature.as_str()),
            Reason::Strained(Strain::Pressure(percent)) => {
                write!(f, "{percent} % of the time something waits for memory there")
            }
            Reason::Strained(Strain::Memory(bytes)) => {
                write!(f, "only {} MiB of its memory are free", bytes >> 20)
            }
            Reason::Busy(slots) => write!(f, "all {slots} slots are in use"),
        }
    }
}

/// A time to come, for people: whole seconds, rounded up, at least one.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis().div_ceil(1_000).max(1))
}

/// A time that has passed, for people: the nearest whole second, at least one.
pub(super) fn elapsed(duration: Duration) -> String {
    format!("{} s", duration.saturating_add(Duration::from_millis(500)).as_secs().max(1))
}

/// Features as a phrase.
pub(super) fn words(features: &BTreeSet<Feature>) -> String {
    features.iter().map(Feature::as_str).collect::<Vec<_>>().join(", ")
}

/// What is wrong with an input, and what helps.
pub(super) fn unsigned(path: &StorePath) -> String {
    format!(
        "the input '{path}' lacks a signature: sign it with a key that the builder trusts (nix store sign)"
    )
}

/// Labels as a phrase.
pub(super) fn either(labels: &BTreeSet<Label>) -> String {
    labels.iter().map(Label::as_str).collect::<Vec<_>>().join(" or ")
}

/// How much earlier it must be done where it has to wait for a slot: estimates err, and an idle slot is certain.
const WORTH_WAITING: f64 = 0.6;

/// Decides where `build` can start now, with `ahead` others like it before it.
pub(super) fn place<'a>(build: &Build, outlook: &Outlook<'a>, ahead: usize, now: Time) -> Weighed<'a> {
    let (fleet, settings) = (outlook.fleet, outlook.settings);
    let against =
        |builder: &Builder| unfit(&build.shape, builder, settings).or_else(|| unready(build, builder, now));
    let mut reasons: Vec<_> = fleet.iter().map(|(name, builder)| (name, builder, against(builder))).collect();
    let open = reasons.iter().filter(|(_, _, reason)| reason.is_none());
    let fewest = open.map(|(name, ..)| build.failures_on(name)).min().unwrap_or(0);
    let missing = outlook.presence.missing(&build.ask.closure, fleet.width());
    let work = outlook.work(build);

    let (mut idle, mut full) = (Vec::new(), Vec::new());
    for (index, (name, builder, reason)) in reasons.iter_mut().enumerate() {
        if reason.is_some() {
            continue;
        }
        let lasts = outlook.lasts(build, builder, work, missing[builder.bit]);
        let closed = closed_now(build, name, builder, fewest, now);
        match closed {
            None => idle.push((lasts, index)),
            Some(Reason::Busy(_)) => full.push((lasts, index)),
            Some(_) => {}
        }
        *reason = Some(closed.unwrap_or(Reason::Slower(lasts)));
    }
    let earliest = idle.iter().map(|(lasts, _)| *lasts).min();
    let awaited = earliest.and_then(|earliest| {
        let worth = earliest.mul_f64(WORTH_WAITING);
        let queue = outlook.queue_time(build, work, ahead);
        let hopeful = full.into_iter().filter(|(lasts, _)| *lasts + queue < worth);
        let finish = hopeful.map(|(lasts, index)| (lasts + queue + reasons[index].1.next_slot(now), index));
        finish.filter(|(finish, _)| *finish < worth).min()
    });
    let choice = if let Some((finish, index)) = awaited {
        reasons[index].2 = Some(Reason::Awaited(finish));
        None
    } else {
        idle.retain(|(lasts, _)| earliest.is_some_and(|earliest| *lasts <= level_with(earliest)));
        idle.iter().for_each(|(lasts, index)| reasons[*index].2 = Some(Reason::Level(*lasts)));
        idle.into_iter().min_by_key(|(_, index)| {
            let builder = reasons[*index].1;
            (missing[builder.bit], builder.fullness(), *index)
        })
    };
    if let Some((finish, index)) = choice {
        reasons[index].2 = Some(Reason::Chosen(finish));
    }
    Weighed {
        choice: choice.map(|(_, index)| reasons[index].0),
        reasons: reasons.into_iter().filter_map(|(name, _, reason)| Some((name, reason?))).collect(),
    }
}

/// The latest finish that differs from the earliest one by chance: by what measured speeds and round trips vary.
fn level_with(earliest: Duration) -> Duration {
    earliest.mul_f64(1.05) + Duration::from_millis(50)
}

/// Why a builder could never take builds of that shape, as far as we know; none where it could.
pub(super) fn unfit(shape: &Shape, builder: &Builder, settings: &Settings) -> Option<Reason> {
    let Some(caps) = &builder.caps else {
        return Some(match (&builder.reason, builder.health) {
            (Some(why), Health::Down) => Reason::Down(why.clone()),
            _ => Reason::Unknown,
        });
    };
    let lacking = || shape.features.difference(&caps.features).filter(|f| !caps.mandatory.contains(*f));
    if builder.leaving {
        Some(Reason::Leaving)
    } else if !shape.system.is_builtin() && !caps.systems.contains(&shape.system) {
        Some(Reason::OtherSystem(shape.system.clone()))
    } else if lacking().next().is_some() {
        Some(Reason::Lacks(lacking().cloned().collect()))
    } else if !caps.mandatory.is_subset(&shape.features) {
        Some(Reason::Reserved(caps.mandatory.difference(&shape.features).cloned().collect()))
    } else if !shape.labels.is_empty() && shape.labels.is_disjoint(&builder.spec.labels) {
        Some(Reason::NotLabelled(shape.labels.clone()))
    } else if caps.trust == Trust::Untrusted && !settings.use_untrusted {
        Some(Reason::Untrusted)
    } else if caps.trust == Trust::Untrusted {
        shape.unsigned.clone().map(Reason::Unsigned)
    } else {
        None
    }
}

fn unready(build: &Build, builder: &Builder, now: Time) -> Option<Reason> {
    if let Some(by) = builder.closed_by() {
        return Some(Reason::Drained(by.clone()));
    }
    match builder.health {
        Health::Probing => Some(Reason::Probing),
        Health::Suspect => Some(Reason::Silent(now.since(builder.last_seen))),
        Health::Down => Some(Reason::Down(builder.reason.clone().unwrap_or_default())),
        Health::Healthy => build.runs_on(&builder.spec.name).then_some(Reason::RunsHere),
    }
}

/// Why a builder that may take the build cannot do so at this moment.
fn closed_now(
    build: &Build,
    name: &BuilderName,
    builder: &Builder,
    fewest: u32,
    now: Time,
) -> Option<Reason> {
    let failures = build.failures_on(name);
    let held = build.held_until(name).filter(|until| *until > now);
    if failures > fewest {
        Some(Reason::FailedHere(failures))
    } else if let Some(until) = held {
        Some(Reason::Held(until.since(now)))
    } else if let Some(feature) = builder.exhausted(&build.shape.features) {
        Some(Reason::Exhausted(feature.clone()))
    } else if let Some(strain) = builder.strain() {
        Some(Reason::Strained(strain))
    } else if builder.busy() >= builder.slots() {
        Some(Reason::Busy(builder.slots()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_what_has_passed_to_the_nearest_second() {
        for (millis, wait, passed) in
            [(0, "1 s", "1 s"), (1_499, "2 s", "1 s"), (3_004, "4 s", "3 s"), (3_500, "4 s", "4 s")]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!((seconds(duration).as_str(), elapsed(duration).as_str()), (wait, passed));
        }
    }
}
