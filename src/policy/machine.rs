//! What was measured of a builder's machine, as far as it can be true.

use std::collections::BTreeMap;
use std::time::Duration;

use super::builds::Attempt;
use super::event::Effect;
use super::state::State;
use crate::domain::{
    AttemptOutcome, BuildId, BuildStatus, BuilderName, Demand, Grant, Load, Measurement, Observation, System,
    Time,
};

/// Speeds beyond these are no speeds.
const SPEEDS: std::ops::RangeInclusive<f64> = 1e-3..=1e3;
/// Bytes per second that a link may carry: from a telephone's to 100 Gbit/s and some.
const RATES: std::ops::RangeInclusive<f64> = 1e3..=2e10;
/// Smaller transfers tell of round trips rather than of the link.
const TELLING: u64 = 1_000_000;
/// No answer takes longer that is one.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(60);
/// A benchmark of which nothing came is not asked for again before.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// A machine that was busy while it counted seems slow, never fast. What is below this part of the fastest one's speed is asked
/// for again, after this time and then each time ten times later, so often at most; the best count holds.
const SLOW: f64 = 0.75;
const DOUBTED_FOR: Duration = Duration::from_secs(2);
const MOST_COUNTS: u32 = 5;
/// Percent of the time in which something waits for memory, above which nothing new starts: well below where swapping hurts.
const MOST_PRESSURE: f64 = 10.0;
/// What one more measurement of a link counts.
const WEIGHT: f64 = 0.3;
/// What one more longer round trip counts.
const LASTING: f64 = 0.1;

/// What is known of a machine beside what its probe said.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// By system, 1.0 the reference machine.
    pub speeds: BTreeMap<System, f64>,
    /// Bytes per second that we can send there.
    pub link: Option<f64>,
    pub round_trip: Option<Duration>,
    /// What it said of its load, and when.
    pub load: Option<(Load, Time)>,
    /// What its agent lets us do.
    pub grant: Grant,
    /// When its benchmark was last asked for.
    pub asked: Option<Time>,
    /// How often it was asked for.
    pub counts: u32,
}

/// Why a machine bears no more, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strain {
    /// So many percent of the time something waits for memory: it will swap, or does already.
    Pressure(u32),
    /// Less memory is free than another build may need, in bytes.
    Memory(u64),
}

impl Machine {
    /// By the last thing that its agent said of its load. `memory` is what its builds share, if that is known.
    pub(super) fn strain(&self, memory: Option<u64>, slots: u32) -> Option<Strain> {
        let (load, _) = self.load.as_ref()?;
        strain(load, memory, slots)
    }

    /// Takes a measurement over; false where it cannot be true.
    pub(super) fn measured(&mut self, measurement: Measurement) -> bool {
        match measurement {
            Measurement::Cpu { system, score } => {
                let sane = SPEEDS.contains(&score);
                if sane {
                    let best = self.speeds.entry(system).or_insert(score);
                    *best = best.max(score);
                }
                sane
            }
            // What comes from there goes over the same link, but says nothing of the way there.
            Measurement::Link { sent, bytes, took } => sent && self.transferred(bytes, took),
            Measurement::RoundTrip(took) => {
                let sane = !took.is_zero() && took <= LONGEST_ROUND_TRIP;
                sane.then(|| self.answered_in(took));
                sane
            }
        }
    }

    /// Whether its benchmark is due; below `slow` a speed is doubted.
    fn is_to_be_measured(&self, slow: f64, now: Time) -> bool {
        let Some(asked) = self.asked else { return true };
        let wait = match self.speeds.values().copied().reduce(f64::max) {
            None => ASK_AGAIN,
            Some(speed) if speed < slow && self.counts < MOST_COUNTS => {
                DOUBTED_FOR * 10_u32.pow(self.counts.saturating_sub(1))
            }
            Some(_) => return false,
        };
        now.since(asked) >= wait
    }

    /// What delays an answer is mostly load, not the way: less counts at once, more by and by.
    fn answered_in(&mut self, took: Duration) {
        let known = self.round_trip.unwrap_or(took);
        self.round_trip = Some(took.min(known + took.saturating_sub(known).mul_f64(LASTING)));
    }

    fn transferred(&mut self, bytes: u64, took: Duration) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let rate = bytes as f64 / took.as_secs_f64();
        if bytes < TELLING || !RATES.contains(&rate) {
            return false;
        }
        self.link = Some(self.link.map_or(rate, |before| before + WEIGHT * (rate - before)));
        true
    }
}

/// Why a machine with this load bears no more, where it does not. `memory` is what its builds share, if that is known.
pub(super) fn strain(load: &Load, memory: Option<u64>, slots: u32) -> Option<Strain> {
    if let Some(percent) = load.memory.filter(|percent| *percent >= MOST_PRESSURE) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage")]
        return Some(Strain::Pressure(percent as u32));
    }
    let part = memory? / u64::from(slots.max(1)) / 4;
    load.memory_available.filter(|available| *available < part).map(Strain::Memory)
}

impl State {
    pub(super) fn recalled(&mut self, seen: &[Observation]) {
        for seen in seen {
            self.estimates.learn(seen);
        }
    }

    /// What a build that succeeded took is worth knowing the next time.
    pub(super) fn learn(&mut self, id: BuildId, attempt: &Attempt, outcome: &AttemptOutcome, now: Time) {
        let AttemptOutcome::Done(result) = outcome else { return };
        let built = attempt.built.or_else(|| attempt.building.map(|since| now.since(since)));
        let (Some(took), Some(build)) = (built, self.builds.get(id)) else { return };
        let Some(builder) = self.fleet.get(&attempt.builder) else { return };
        let seen = Observation {
            pname: build.ask.pname.clone(),
            system: build.ask.system.clone(),
            builder: attempt.builder.clone(),
            speed: builder.speed(&build.ask.system),
            closure_bytes: build.closure_bytes,
            cores: attempt.cores,
            took,
            substituted: result.status != BuildStatus::Built,
            at: 0,
        };
        if self.estimates.learn(&seen) {
            self.out.push(Effect::Learned(seen));
        }
    }

    pub(super) fn measured(&mut self, name: &BuilderName, measurement: Measurement) {
        if let Some(builder) = self.fleet.get_mut(name) {
            builder.machine.measured(measurement);
        }
    }

    pub(super) fn loaded(&mut self, name: &BuilderName, load: Load, now: Time) {
        if let Some(builder) = self.fleet.get_mut(name) {
            builder.machine.load = Some((load, now));
        }
        self.seen(name, now);
    }

    /// Slots that come and go with others' claims change no line: Nix is offered what the builder bears.
    pub(super) fn claimed(&mut self, name: &BuilderName, grant: Grant, now: Time) {
        let Some(builder) = self.fleet.get_mut(name) else { return };
        let reopened = builder.machine.grant.closed.is_some() != grant.closed.is_some();
        builder.machine.grant = grant;
        self.fleet_changed |= builder.bear();
        if reopened {
            self.note_up(name, now);
        }
    }

    /// Asks for the benchmark of builders that have nothing to do; again where nothing came of it, or where they seem slow.
    /// What the user said of a speed needs no measuring.
    pub(super) fn measure_the_idle(&mut self, now: Time) {
        let speeds = self.fleet.iter().flat_map(|(_, builder)| builder.machine.speeds.values());
        let slow = SLOW * speeds.copied().fold(0.0, f64::max);
        for (name, builder) in self.fleet.iter_mut() {
            let may =
                builder.spec.speed_factor.is_none() && builder.takes_builds() && builder.attempts.is_empty();
            if may && builder.machine.is_to_be_measured(slow, now) {
                builder.machine.asked = Some(now);
                builder.machine.counts += 1;
                self.out.push(Effect::Measure(name.clone()));
            }
        }
    }

    /// What runs on a builder, and what could.
    pub fn demand(&self, name: &BuilderName) -> Demand {
        let Some(builder) = self.fleet.get(name) else { return Demand::default() };
        let fitting = self.queue.groups.values().filter(|group| group.fits.contains(builder.bit));
        let waiting: usize = fitting.flat_map(|group| group.order.values()).map(|builds| builds.len()).sum();
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        Demand {
            running: builder.busy(),
            wanted: builder.busy().saturating_add(waiting),
            capacity: builder.stated(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(score: f64) -> Measurement {
        Measurement::Cpu { system: System::parse("x86_64-linux").expect("a system"), score }
    }

    fn link(bytes: u64, seconds: f64) -> Measurement {
        Measurement::Link { sent: true, bytes, took: Duration::from_secs_f64(seconds) }
    }

    #[test]
    fn absurd_measurements_never_get_in() {
        let absurd = [
            cpu(0.0),
            cpu(-1.0),
            cpu(f64::NAN),
            cpu(f64::INFINITY),
            cpu(1e9),
            link(1_000_000_000_000_000_000, 1.0),
            link(10_000_000, 0.0),
            link(10_000_000, 1e9),
            link(0, 0.0),
            link(1_000, 0.1),
            Measurement::RoundTrip(Duration::ZERO),
            Measurement::RoundTrip(Duration::from_secs(3_600)),
        ];
        for measurement in absurd {
            let mut machine = Machine::default();
            assert!(!machine.measured(measurement.clone()), "{measurement:?}");
            assert!(machine.speeds.is_empty() && machine.link.is_none() && machine.round_trip.is_none());
        }
    }

    #[test]
    fn a_link_is_what_its_last_transfers_took() {
        let mut machine = Machine::default();
        assert!(machine.measured(link(10_000_000, 1.0)));
        assert_eq!(machine.link, Some(1e7));
        (0..20).for_each(|_| assert!(machine.measured(link(100_000_000, 1.0))));
        assert!(machine.link.is_some_and(|rate| rate > 9.9e7));
    }

    #[test]
    fn one_late_answer_is_not_a_longer_way_but_many_are() {
        let mut machine = Machine::default();
        let mut after = |millis, times| {
            (0..times).for_each(|_| {
                assert!(machine.measured(Measurement::RoundTrip(Duration::from_millis(millis))))
            });
            machine.round_trip.expect("it was measured").as_millis()
        };
        assert_eq!(after(300, 1), 300);
        assert_eq!(after(2, 1), 2);
        assert!(after(102, 1) <= 12);
        assert!(after(102, 50) >= 100);
    }
}
