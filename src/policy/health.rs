//! How builders come, are watched, are doubted, and go.
//!
//! A builder is healthy after a good probe; suspect when it has been silent for a while; down when a probe failed, when
//! the silence lasted, or when attempts keep getting lost there; and gone when no source knows it and nothing runs there.

use std::time::Duration;

use super::event::Effect;
use super::fleet::{Builder, Health, Ping, Probe};
use super::settings::Settings;
use super::state::State;
use crate::domain::{BuilderName, BuilderSpec, Capabilities, Measurement, Time};

/// What is due within this part of the time between two pings is asked along.
const ALONG: u32 = 6;

impl State {
    pub(super) fn found(&mut self, spec: BuilderSpec, now: Time) {
        let name = spec.name.clone();
        let is_new = self.fleet.learn(spec, now);
        self.journal.found(&name, now);
        self.probe(&name, now);
        if !is_new {
            self.fleet.version += 1;
            self.note_up(&name, now);
        }
    }

    pub(super) fn vanished(&mut self, name: &BuilderName, now: Time) {
        let Some(builder) = self.fleet.get_mut(name) else { return };
        builder.leaving = true;
        self.fleet.version += 1;
        self.note_up(name, now);
        self.let_go_if_idle(name, now);
    }

    pub(super) fn probed(&mut self, name: &BuilderName, answer: Result<Capabilities, String>, now: Time) {
        let Some(builder) = self.fleet.get_mut(name) else { return };
        let Probe::Sent { again, .. } = builder.probe else { return };
        builder.probe = Probe::Idle;
        match answer {
            Ok(caps) => self.probe_succeeded(name, caps, now),
            Err(why) => self.probe_failed(name, why, now),
        }
        if again {
            self.probe(name, now);
        }
    }

    pub(super) fn pinged(&mut self, name: &BuilderName, answer: Result<Duration, String>, now: Time) {
        let next = now + self.settings.ping_every;
        let Some(builder) = self.fleet.get_mut(name) else { return };
        builder.ping = Ping::Due(next);
        match answer {
            Ok(took) => {
                builder.machine.measured(Measurement::RoundTrip(took));
                self.seen(name, now);
            }
            // With nothing at stake the truth is found out at once; else it is silence, which is borne for a while.
            Err(why) if builder.health == Health::Healthy && builder.attempts.is_empty() => {
                builder.turn(Health::Probing, now);
                builder.reason = Some(why);
                self.probe(name, now);
            }
            Err(why) => builder.reason = Some(why),
        }
    }

    /// A sign of life. It does not bring back a builder that is down or in doubt: only a probe does.
    pub(super) fn seen(&mut self, name: &BuilderName, now: Time) {
        let Some(builder) = self.fleet.get_mut(name).filter(|builder| builder.is_watched()) else { return };
        builder.last_seen = now;
        builder.reason = None;
        let was_suspect = builder.health == Health::Suspect;
        builder.turn(Health::Healthy, now);
        self.link_suspect = None;
        self.outage.heard(name);
        if was_suspect {
            self.no_second_attempts(name);
        }
    }

    /// A channel to it broke: it is asked at once whether it is still there.
    pub(super) fn doubt(&mut self, name: &BuilderName, why: &str, counted: bool, now: Time) {
        let Some(builder) = self.fleet.get_mut(name).filter(|builder| builder.is_watched()) else { return };
        builder.reason = Some(why.to_owned());
        builder.turn(Health::Probing, now);
        if counted {
            self.blame(name, why, now);
        }
        if self.fleet.get(name).is_some_and(|builder| builder.health == Health::Probing) {
            self.probe(name, now);
        }
    }

    /// One incident more; too many in a row and it is down, whatever it answers.
    pub(super) fn blame(&mut self, name: &BuilderName, why: &str, now: Time) {
        let limit = self.settings.max_incidents;
        let Some(builder) = self.fleet.get_mut(name) else { return };
        builder.incidents = builder.incidents.saturating_add(1);
        if builder.incidents >= limit && builder.health != Health::Down {
            let times = builder.incidents;
            self.put_down(name, format!("{times} attempts in a row failed there, the last: {why}"), now);
        }
    }

    /// It is probed now, or once more if it is being probed.
    pub(super) fn probe(&mut self, name: &BuilderName, now: Time) {
        let deadline = now + self.settings.probe_timeout;
        let Some(builder) = self.fleet.get_mut(name) else { return };
        if let Probe::Sent { again, .. } = &mut builder.probe {
            *again = true;
            return;
        }
        builder.probe = Probe::Sent { deadline, again: false };
        if builder.health == Health::Down {
            builder.turn(Health::Probing, now);
        }
        self.out.push(Effect::Probe(name.clone()));
    }

    fn probe_succeeded(&mut self, name: &BuilderName, caps: Capabilities, now: Time) {
        let next_ping = now + self.settings.ping_every;
        let Some(builder) = self.fleet.get_mut(name) else { return };
        let before = builder.caps.replace(caps);
        builder.bear();
        let changed = builder.caps != before;
        let was_up = builder.up;
        builder.failures = 0;
        if builder.health != Health::Healthy {
            builder.turn(Health::Suspect, now);
            builder.ping = Ping::Due(next_ping);
        }
        builder.be_there(!builder.leaving && builder.closed_by().is_none(), now);
        if let Some(caps) = &builder.caps {
            self.journal.ready(name, caps, now);
        }
        if changed {
            self.fleet.version += 1;
        }
        if changed || !was_up {
            self.fleet_changed = true;
        }
        self.seen(name, now);
    }

    /// A builder that answers pings is believed more than a probe that failed; it is probed again later.
    fn probe_failed(&mut self, name: &BuilderName, why: String, now: Time) {
        let Some(builder) = self.fleet.get_mut(name) else { return };
        builder.failures = builder.failures.saturating_add(1);
        if builder.is_watched() {
            let wait = Self::back_off(&self.settings, &mut self.rng, builder);
            builder.probe = Probe::Due(now + wait);
            return;
        }
        let runs = !builder.attempts.is_empty();
        self.put_down(name, why.clone(), now);
        if runs {
            self.out.push(Effect::Cut(name.clone(), why));
        }
    }

    /// From now on nothing is asked of it until its back-off is over.
    fn put_down(&mut self, name: &BuilderName, why: String, now: Time) {
        let Some(builder) = self.fleet.get_mut(name) else { return };
        builder.turn(Health::Down, now);
        builder.reason = Some(why);
        let wait = Self::back_off(&self.settings, &mut self.rng, builder);
        builder.probe = Probe::Due(now + wait);
        self.note_up(name, now);
    }

    /// Doubles with each failed probe, and with each incident beyond those that are borne; a quarter of it is jitter.
    fn back_off(settings: &Settings, rng: &mut fastrand::Rng, builder: &Builder) -> std::time::Duration {
        let beyond = builder.incidents.saturating_sub(settings.max_incidents.saturating_sub(1));
        let wait = settings.back_off(builder.failures.saturating_add(beyond));
        wait.mul_f64(0.75 + 0.25 * rng.f64())
    }

    /// Down, leaving and drained builders are not there.
    pub(super) fn note_up(&mut self, name: &BuilderName, now: Time) {
        let Some(builder) = self.fleet.get_mut(name) else { return };
        let unwanted = builder.leaving || builder.closed_by().is_some();
        let gone = unwanted || builder.health == Health::Down;
        let back = builder.is_watched() && !unwanted;
        let up = !gone && (builder.up || back);
        if builder.up != up {
            builder.be_there(up, now);
            self.journal.there(name, up, now);
            self.fleet_changed = true;
        }
    }

    /// A builder that no source knows goes when nothing runs there.
    pub(super) fn let_go_if_idle(&mut self, name: &BuilderName, now: Time) {
        let idle = self.fleet.get(name).is_some_and(|builder| builder.leaving && builder.attempts.is_empty());
        if !idle {
            return;
        }
        if let Some(builder) = self.fleet.remove(name, now) {
            self.presence.forget_builder(builder.bit);
            self.out.push(Effect::Cut(name.clone(), "no source knows it any more".to_owned()));
            self.fleet_changed = true;
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Time) {
        let due =
            |settings: &Settings, builder: &Builder| deadline(settings, builder).is_some_and(|at| at <= now);
        let names: Vec<_> = self
            .fleet
            .iter()
            .filter(|(_, builder)| due(&self.settings, builder))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            self.tick_probe(name, now);
        }
        self.tick_pings(now);
        for name in &names {
            self.suspect_if_silent(name, now);
        }
        self.suspect_link(now);
        for name in &names {
            self.cut_if_silent(name, now);
        }
    }

    fn tick_probe(&mut self, name: &BuilderName, now: Time) {
        let Some(builder) = self.fleet.get_mut(name) else { return };
        match builder.probe {
            Probe::Due(at) if at <= now => {
                builder.probe = Probe::Idle;
                self.probe(name, now);
            }
            Probe::Sent { deadline, .. } if deadline <= now => {
                let limit = super::place::seconds(self.settings.probe_timeout);
                self.probed(name, Err(format!("its probe did not end within {limit}")), now);
            }
            _ => {}
        }
    }

    /// Whoever would be asked soon is asked along with those that are due, so that many idle builders wake us seldom.
    fn tick_pings(&mut self, now: Time) {
        let by = |at: Time, builder: &Builder| {
            builder.is_watched() && matches!(builder.ping, Ping::Due(due) if due <= at)
        };
        if !self.fleet.iter().any(|(_, builder)| by(now, builder)) {
            return;
        }
        let soon = now + self.settings.ping_every / ALONG;
        for (name, builder) in self.fleet.iter_mut().filter(|(_, builder)| by(soon, builder)) {
            builder.ping = Ping::Sent;
            self.out.push(Effect::Ping(name.clone()));
        }
    }

    fn suspect_if_silent(&mut self, name: &BuilderName, now: Time) {
        let limit = self.settings.silent_after;
        let Some(builder) = self.fleet.get_mut(name) else { return };
        if builder.health == Health::Healthy && now.since(builder.last_seen) >= limit {
            builder.turn(Health::Suspect, now);
        }
    }

    /// If all builders fall silent together, and they are two at least, our own link is the suspect.
    fn suspect_link(&mut self, now: Time) {
        let watched = || self.fleet.iter().map(|(_, builder)| builder).filter(|builder| builder.is_watched());
        let all_silent = watched().count() >= 2 && watched().all(|builder| builder.health == Health::Suspect);
        if !all_silent || self.link_suspect.is_some() {
            return;
        }
        let heard = || watched().map(|builder| builder.last_seen);
        let spread = heard().max().unwrap_or(now).since(heard().min().unwrap_or(now));
        if spread <= self.settings.silent_after {
            self.link_suspect = Some(now);
        }
    }

    fn cut_if_silent(&mut self, name: &BuilderName, now: Time) {
        let counted = !self.link_is_suspect(name, now);
        let Some(builder) = self.fleet.get_mut(name) else { return };
        let silence = now.since(builder.last_seen);
        if builder.health != Health::Suspect || silence < self.settings.lost_after {
            return;
        }
        let why = format!("no answer for {}", super::place::elapsed(silence));
        if counted && !builder.attempts.is_empty() {
            builder.incidents = builder.incidents.saturating_add(1);
        }
        builder.failures = builder.failures.saturating_add(1);
        self.put_down(name, why.clone(), now);
        self.out.push(Effect::Cut(name.clone(), why));
    }

    /// The earliest time at which a builder needs attention.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.fleet.iter().filter_map(|(_, builder)| deadline(&self.settings, builder)).min()
    }
}

fn deadline(settings: &Settings, builder: &Builder) -> Option<Time> {
    let probe = match builder.probe {
        Probe::Idle => None,
        Probe::Due(at) | Probe::Sent { deadline: at, .. } => Some(at),
    };
    let ping = match builder.ping {
        Ping::Due(at) if builder.is_watched() => Some(at),
        _ => None,
    };
    let silence = match builder.health {
        Health::Healthy => Some(builder.last_seen + settings.silent_after),
        Health::Suspect => Some(builder.last_seen + settings.lost_after),
        _ => None,
    };
    [probe, ping, silence].into_iter().flatten().min()
}
