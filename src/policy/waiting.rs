//! Why a build waits, said when it changes and not again.

use super::builds::Build;
use super::event::Effect;
use super::fleet::{Builder, Fleet, Health, Probe};
use super::place::{Reason, either, elapsed, seconds, unfit, unsigned, words};
use super::queue::{Group, Shape};
use super::settings::Settings;
use crate::domain::{BuilderName, RequestId, StorePath, Time};

/// Why builds wait. What changes by itself, such as the seconds until something, is no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiting {
    /// No builder offers what they need.
    NoneKnown,
    /// The first builder that offers it does not trust us, and an input is unsigned.
    Unsigned(BuilderName, StorePath),
    /// None of the builders that offer it is ready; the first of them, and its error.
    NotReady(BuilderName, Option<String>),
    /// All slots of those that are ready are in use.
    Busy,
    /// Nobody who could has been there for so long that Nix builds such things itself by now.
    Alone(Box<Waiting>),
    /// This build has been unlucky where there is room, and waits for room elsewhere or for its next try.
    Again,
}

/// Why the builds of a group wait.
pub(super) fn reason(group: &Group, shape: &Shape, fleet: &Fleet, settings: &Settings) -> Waiting {
    let fitting = || group.fits.iter().filter_map(|bit| fleet.by_bit(bit));
    if fitting().any(|(_, builder)| builder.takes_builds()) {
        return Waiting::Busy;
    }
    let first_unready = fitting().min_by_key(|(name, _)| *name);
    let unknown = || fleet.iter().find(|(_, builder)| may_turn_out_to_fit(shape, builder, settings));
    match first_unready.or_else(unknown) {
        Some((name, builder)) => Waiting::NotReady(name.clone(), builder.reason.clone()),
        None => unsigned_for(shape, fleet, settings).unwrap_or(Waiting::NoneKnown),
    }
}

fn unsigned_for(shape: &Shape, fleet: &Fleet, settings: &Settings) -> Option<Waiting> {
    fleet.iter().find_map(|(name, builder)| match unfit(shape, builder, settings) {
        Some(Reason::Unsigned(path)) => Some(Waiting::Unsigned(name.clone(), path)),
        _ => None,
    })
}

fn may_turn_out_to_fit(shape: &Shape, builder: &Builder, settings: &Settings) -> bool {
    let excluded = builder.spec.systems.as_ref().is_some_and(|systems| !systems.contains(&shape.system));
    let unprobed = builder.caps.is_none() && !builder.leaving;
    unprobed && (shape.system.is_builtin() || !excluded) && unfit(shape, builder, settings).is_some()
}

/// One line for people.
pub(super) fn say(why: &Waiting, build: &Build, fleet: &Fleet, now: Time) -> String {
    let wanted = offer(&build.shape);
    match why {
        Waiting::Alone(why) => format!(
            "{}; what Nix begins from now on it builds itself: interrupt this and start it again to have it so",
            say(why, build, fleet, now)
        ),
        Waiting::NoneKnown => format!("waits for {wanted}: none is known"),
        Waiting::Unsigned(name, path) => {
            format!("waits for {wanted} that trusts us: {name}'s daemon does not, and {}", unsigned(path))
        }
        Waiting::Busy => format!("waits for a free slot on {wanted}"),
        Waiting::Again => format!("waits for {wanted} where it has not just failed"),
        Waiting::NotReady(name, _) => {
            let state = fleet.get(name).map_or_else(String::new, |builder| state(name, builder, now));
            format!("waits for {wanted}: {state}")
        }
    }
}

/// Full slots are no news; everything else is for the log.
pub(super) fn effect(why: &Waiting, request: RequestId, line: String) -> Effect {
    match why {
        Waiting::Busy => Effect::Wait(request, line),
        _ => Effect::Say(request, line),
    }
}

pub(super) fn offer(shape: &Shape) -> String {
    let what = if shape.system.is_builtin() {
        "a builder".to_owned()
    } else {
        format!("a builder of {}", shape.system)
    };
    let labelled = match shape.labels.is_empty() {
        true => what,
        false => format!("{what} labelled {}", either(&shape.labels)),
    };
    if shape.features.is_empty() { labelled } else { format!("{labelled} with {}", words(&shape.features)) }
}

fn state(name: &BuilderName, builder: &Builder, now: Time) -> String {
    if let Some(by) = builder.closed_by() {
        return format!("{name} is drained by {by}");
    }
    let why = builder.reason.as_deref().unwrap_or("no reason known");
    match builder.health {
        Health::Healthy => format!("{name} is ready"),
        Health::Suspect => format!("{name} has not answered for {}", elapsed(now.since(builder.last_seen))),
        Health::Probing if builder.reason.is_some() => format!("{name} is tried again: {why}"),
        Health::Probing => format!("{name} is being probed"),
        Health::Down => match builder.probe {
            Probe::Due(at) => format!("{name} is down: {why}; tried again in {}", seconds(at.since(now))),
            _ => format!("{name} is down: {why}"),
        },
    }
}
