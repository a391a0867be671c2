//! How many builds at once a machine bears, learned from how it bears those that it has.
//!
//! It begins with what its coordinators take it to have. All in use for a while, more wanted, and an equal part of the
//! processors and of the memory idle all that time: one more. Memory short: a quarter fewer, of what runs. This is additive
//! increase and multiplicative decrease (Chiu and Jain, 1989).

use std::time::Duration;

use crate::domain::{Load, Size, Time};
use crate::policy::machine::strain;

/// There must be room for so long before there is one more, and so long between two steps down: averages lag.
const PATIENCE: Duration = Duration::from_secs(15);
/// So many tasks for each processor want to run where too many builds do.
const CROWDED: f64 = 2.0;

/// What runs there, of all coordinators together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    /// What the coordinators take it to bear.
    pub stated: u32,
    pub running: u32,
    /// What runs, and what could.
    pub wanted: u32,
}

/// What was learned.
#[derive(Debug)]
pub(super) struct Bears {
    size: Size,
    /// Beyond what is stated, or below.
    learned: Option<u32>,
    /// Since when one more could run.
    room_since: Option<Time>,
    crowded_since: Option<Time>,
    lowered: Time,
}

impl Bears {
    pub(super) fn new(size: Size) -> Self {
        Self { size, learned: None, room_since: None, crowded_since: None, lowered: Time::ZERO }
    }

    /// Builds at once; none that was learned where nothing was.
    pub(super) fn learned(&self) -> Option<u32> {
        self.learned
    }

    /// Takes note of how busy the machine is with what runs there.
    pub(super) fn look(&mut self, used: Use, load: &Load, now: Time) {
        let slots = self.learned.unwrap_or(used.stated);
        let room = self.has_room(used, slots, load);
        let crowded = slots > used.stated && self.is_crowded(load);
        self.room_since = since(room, self.room_since, now);
        self.crowded_since = since(crowded, self.crowded_since, now);
        let lasts = |since: Option<Time>| since.is_some_and(|since| now.since(since) >= PATIENCE);
        let next = if used.running > 0 && self.is_strained(slots, load) {
            if now.since(self.lowered) < PATIENCE {
                return;
            }
            self.lowered = now;
            let bears = slots.min(used.running);
            (bears - bears.div_ceil(4)).max(1)
        } else if lasts(self.crowded_since) {
            self.crowded_since = None;
            slots - 1
        } else if lasts(self.room_since) {
            self.room_since = None;
            slots + 1
        } else {
            return;
        };
        self.learned = Some(next).filter(|next| *next != used.stated);
    }

    /// Whether one more would find as much idle as each has.
    fn has_room(&self, used: Use, slots: u32, load: &Load) -> bool {
        let Size { cores, memory } = self.size;
        let part = |of: f64| of / f64::from(slots + 1);
        let full = used.running >= slots && used.wanted > used.running;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let [memory, available] =
            [memory, load.memory_available.unwrap_or_default()].map(|bytes| bytes as f64);
        full && slots < cores
            && load.idle.is_some_and(|idle| idle >= part(f64::from(cores)).max(1.0))
            && available >= part(memory)
            && !self.is_strained(slots, load)
    }

    fn is_strained(&self, slots: u32, load: &Load) -> bool {
        strain(load, Some(self.size.memory), slots).is_some()
    }

    fn is_crowded(&self, load: &Load) -> bool {
        load.average.is_some_and(|tasks| tasks > CROWDED * f64::from(self.size.cores))
    }
}

/// Since when it is so.
fn since(is: bool, before: Option<Time>, now: Time) -> Option<Time> {
    is.then(|| before.unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A machine of eight processors and 32 GiB that is taken to bear two builds; each runs `cores` of them and takes `gib`.
    struct Play {
        bears: Bears,
        now: Time,
        used: Use,
        cores: f64,
        gib: u64,
    }

    impl Play {
        fn new() -> Self {
            let bears = Bears::new(Size { cores: 8, memory: 32 * GIB });
            let used = Use { stated: 2, running: 0, wanted: 20 };
            Self { bears, now: Time::ZERO, used, cores: 1.0, gib: 1 }
        }

        fn slots(&self) -> u32 {
            self.bears.learned().unwrap_or(self.used.stated)
        }

        /// For so many seconds; as many run as may and are wanted.
        fn run(&mut self, seconds: u64) -> u32 {
            for _ in 0..seconds.div_ceil(3) {
                self.now = self.now + Duration::from_secs(3);
                self.used.running = self.slots().min(self.used.wanted);
                let running = self.used.running;
                let load = Load {
                    idle: Some((8.0 - self.cores * f64::from(running)).max(0.0)),
                    memory_available: Some((30 * GIB).saturating_sub(self.gib * GIB * u64::from(running))),
                    average: Some(self.cores * f64::from(running)),
                    ..Load::default()
                };
                self.bears.look(self.used, &load, self.now);
            }
            self.slots()
        }
    }

    #[test]
    fn one_more_is_let_in_each_time_that_there_was_room_for_a_while() {
        let mut play = Play::new();
        assert_eq!((play.run(15), play.run(3), play.run(15), play.run(3)), (2, 3, 3, 4));
    }

    #[test]
    fn it_ends_where_no_equal_part_of_the_processors_is_idle() {
        let mut play = Play::new();
        assert_eq!(play.run(600), 8, "each runs one of eight, and the last one finds one idle");
        let mut play = Play { cores: 4.0, ..Play::new() };
        assert_eq!(play.run(600), 2, "two take them all");
        let mut play = Play { cores: 0.0, ..Play::new() };
        assert_eq!(play.run(600), 8, "there are no more than processors, be they ever so idle");
    }

    #[test]
    fn it_ends_where_no_equal_part_of_the_memory_is_free() {
        let mut play = Play { gib: 6, cores: 0.5, ..Play::new() };
        assert_eq!(play.run(600), 4);
    }

    #[test]
    fn nothing_is_learned_of_slots_that_are_not_all_in_use_or_that_nobody_waits_for() {
        for wanted in [1, 2] {
            let mut play = Play::new();
            play.used.wanted = wanted;
            assert_eq!(play.run(600), 2, "{wanted} wanted");
        }
        let mut play = Play::new();
        let used = Use { running: 1, ..play.used };
        let load = Load { idle: Some(7.0), memory_available: Some(30 * GIB), ..Load::default() };
        for second in 0..100 {
            play.bears.look(used, &load, Time::after_start(Duration::from_secs(second)));
        }
        assert_eq!(play.slots(), 2, "one of two runs, although more is wanted");
    }

    #[test]
    fn nothing_is_learned_where_the_machine_does_not_say_what_is_idle() {
        let mut play = Play::new();
        let used = Use { running: 2, ..play.used };
        for second in 0..100 {
            let load = Load { memory_available: Some(30 * GIB), ..Load::default() };
            play.bears.look(used, &load, Time::after_start(Duration::from_secs(second)));
        }
        assert_eq!(play.bears.learned(), None);
    }

    #[test]
    fn a_quarter_fewer_run_where_memory_is_short_and_no_step_follows_at_once() {
        let mut play = Play::new();
        assert_eq!(play.run(600), 8);
        play.gib = 10;
        assert_eq!(play.run(3), 6, "of eight, three quarters");
        assert_eq!(play.run(12), 6, "what was asked for takes a while to show");
        assert_eq!(play.run(60), 2);
        play.gib = 1;
        assert_eq!(play.run(600), 8, "and up again");
    }

    #[test]
    fn pressure_on_memory_counts_although_some_is_free_and_one_build_always_may_run() {
        let mut play = Play::new();
        let pressed = Load { memory: Some(50.0), memory_available: Some(30 * GIB), ..Load::default() };
        for second in 0..200 {
            let used = Use { running: play.slots(), ..play.used };
            play.bears.look(used, &pressed, Time::after_start(Duration::from_secs(second)));
        }
        assert_eq!(play.slots(), 1);
        let idle = Use { running: 0, ..play.used };
        play.bears.learned = None;
        play.bears.look(idle, &pressed, Time::after_start(Duration::from_secs(900)));
        assert_eq!(play.slots(), 2, "what presses is not ours where nothing of ours runs");
    }

    #[test]
    fn where_far_too_many_want_to_run_it_goes_back_step_by_step_and_no_further_than_was_stated() {
        let mut play = Play::new();
        assert_eq!(play.run(600), 8);
        play.cores = 4.0;
        assert_eq!((play.run(15), play.run(3)), (8, 7));
        assert_eq!(play.run(600), 4, "four builds of four each are as many as are borne");
        play.cores = 20.0;
        assert_eq!(play.run(600), 2);
    }
}
