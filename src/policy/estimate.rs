//! How long builds take, learned from those that ended.
//!
//! A time is remembered as *work*: seconds on the reference machine, `took * speed`. The best of four answers is
//! given: what builds of that name and system took, then of that name, then of a closure of about that size, then a
//! constant. Each is an exponentially weighted moving average of the logarithm (build times spread by factors, not by
//! seconds), which is the mean of the first few and follows a change after a handful. Outliers are clipped to a factor
//! of the average before they count, as in a Huber estimator. What was substituted taught nothing, and absurd values
//! never get in.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::{Observation, System};

/// What one more build counts at least.
const WEIGHT: f64 = 0.25;
/// How far from the average one build may lie before it is clipped: a factor of e^1.4, about four.
const CLIP: f64 = 1.4;
/// So many builds are believed as they are.
const BELIEVED: u32 = 2;
/// No build takes longer, or it is the clock that jumped.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Speeds beyond these are no speeds.
const SPEEDS: std::ops::RangeInclusive<f64> = 1e-3..=1e3;
/// No closure is larger: one pebibyte.
const LARGEST: u64 = 1 << 50;
/// Names that are remembered, twice: the older half gives way to the younger one.
const REMEMBERED: usize = 50_000;
/// Systems that are told apart for one name.
const SYSTEMS: usize = 16;

/// How much an estimate rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ground {
    /// Nothing: the constant.
    Constant,
    /// Builds with a closure of about that size.
    Size,
    /// Builds of that name for other systems.
    Name,
    /// Builds of that name and system.
    NameAndSystem,
}

/// How long a build takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Seconds on the reference machine.
    pub seconds: f64,
    /// What that rests on.
    pub ground: Ground,
}

/// Everything that was learned.
#[derive(Debug)]
pub struct Estimates {
    by_name: Recent<ByName>,
    /// By the number of binary digits of the closure's size.
    by_size: [Average; 64],
}

impl Default for Estimates {
    fn default() -> Self {
        let by_size = [Average::default(); 64];
        Self { by_name: Recent::default(), by_size }
    }
}

impl Estimates {
    /// Learns from one build; false where it teaches nothing.
    pub fn learn(&mut self, seen: &Observation) -> bool {
        let absurd = seen.took.is_zero() || seen.took > LONGEST || seen.closure_bytes > LARGEST;
        if seen.substituted || absurd || !SPEEDS.contains(&seen.speed) {
            return false;
        }
        let work = (seen.took.as_secs_f64() * seen.speed).ln();
        self.by_name.entry(&seen.pname).add(&seen.system, work);
        self.by_size[digits(seen.closure_bytes)].add(work);
        true
    }

    /// How long such a build takes, as far as anything is known of it; else `constant`. 0 bytes: the size is not known.
    pub fn work(&self, pname: &str, system: &System, closure_bytes: u64, constant: Duration) -> Work {
        let named = self.by_name.get(pname);
        let both = named.and_then(|named| named.on(system));
        let name = || named.map(|named| (&named.all, Ground::Name));
        let size = || (closure_bytes > 0).then(|| (&self.by_size[digits(closure_bytes)], Ground::Size));
        let found = both.map(|average| (average, Ground::NameAndSystem)).or_else(name).or_else(size);
        match found.filter(|(average, _)| average.count > 0) {
            Some((average, ground)) => Work { seconds: average.log.exp(), ground },
            None => Work { seconds: constant.as_secs_f64(), ground: Ground::Constant },
        }
    }
}

fn digits(bytes: u64) -> usize {
    (64 - bytes.leading_zeros() as usize).min(63)
}

/// A moving average of logarithms.
#[derive(Debug, Clone, Copy, Default)]
struct Average {
    log: f64,
    count: u32,
}

impl Average {
    fn add(&mut self, log: f64) {
        let near = if self.count < BELIEVED { log } else { log.clamp(self.log - CLIP, self.log + CLIP) };
        self.count = self.count.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(self.count));
        self.log += weight * (near - self.log);
    }
}

/// What builds of one name took.
#[derive(Debug, Default)]
struct ByName {
    all: Average,
    /// A handful at most.
    systems: Vec<(System, Average)>,
}

impl ByName {
    fn on(&self, system: &System) -> Option<&Average> {
        self.systems.iter().find(|(other, _)| other == system).map(|(_, average)| average)
    }

    fn add(&mut self, system: &System, log: f64) {
        self.all.add(log);
        let known = self.systems.iter().position(|(other, _)| other == system);
        let index = known.unwrap_or_else(|| {
            self.systems.truncate(SYSTEMS - 1);
            self.systems.push((system.clone(), Average::default()));
            self.systems.len() - 1
        });
        self.systems[index].1.add(log);
    }
}

/// A bounded map that forgets what was not learned about for longest.
#[derive(Debug)]
struct Recent<V> {
    young: HashMap<String, V>,
    old: HashMap<String, V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<V: Default> Recent<V> {
    fn get(&self, key: &str) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn entry(&mut self, key: &str) -> &mut V {
        if self.young.len() >= REMEMBERED && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        let before = self.old.remove(key).unwrap_or_default();
        self.young.entry(key.to_owned()).or_insert(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BuilderName;

    fn system(text: &str) -> System {
        System::parse(text).expect("a system")
    }

    fn took(pname: &str, seconds: f64) -> Observation {
        Observation {
            pname: pname.to_owned(),
            system: system("x86_64-linux"),
            builder: BuilderName::parse("b1").expect("a name"),
            speed: 1.0,
            closure_bytes: 1_000_000,
            cores: None,
            took: Duration::from_secs_f64(seconds),
            substituted: false,
            at: 0,
        }
    }

    fn after(seen: &[Observation]) -> Estimates {
        let mut estimates = Estimates::default();
        for seen in seen {
            estimates.learn(seen);
        }
        estimates
    }

    fn work(estimates: &Estimates, pname: &str, on: &str, bytes: u64) -> (u64, Ground) {
        let work = estimates.work(pname, &system(on), bytes, Duration::from_secs(10));
        (work.seconds.round() as u64, work.ground)
    }

    #[test]
    fn an_estimate_is_of_the_name_and_system_then_the_name_then_the_size_then_a_constant() {
        let estimates = after(&[
            took("gcc", 3_000.0),
            Observation { system: system("aarch64-linux"), ..took("gcc", 5_000.0) },
            Observation { closure_bytes: 9_000_000_000, ..took("hello", 20.0) },
        ]);
        let check = |pname, on, bytes, expected| assert_eq!(work(&estimates, pname, on, bytes), expected);
        check("gcc", "x86_64-linux", 0, (3_000, Ground::NameAndSystem));
        check("gcc", "aarch64-linux", 0, (5_000, Ground::NameAndSystem));
        check("hello", "aarch64-linux", 0, (20, Ground::Name));
        check("new", "x86_64-linux", 8_900_000_000, (20, Ground::Size));
        check("new", "x86_64-linux", 5, (10, Ground::Constant));
        check("new", "x86_64-linux", 0, (10, Ground::Constant));
    }

    #[test]
    fn one_outlier_moves_an_estimate_a_little_and_a_lasting_change_moves_it_wholly() {
        let mut seen = vec![took("gcc", 100.0); 10];
        seen.push(took("gcc", 100_000.0));
        assert!((100..=145).contains(&work(&after(&seen), "gcc", "x86_64-linux", 0).0));
        seen.extend(vec![took("gcc", 1_000.0); 15]);
        assert!((900..=1_001).contains(&work(&after(&seen), "gcc", "x86_64-linux", 0).0));
    }

    #[test]
    fn what_was_substituted_teaches_nothing() {
        let seen = [took("gcc", 100.0), Observation { substituted: true, ..took("gcc", 1.0) }];
        assert_eq!(work(&after(&seen), "gcc", "x86_64-linux", 0).0, 100);
    }

    #[test]
    fn absurd_observations_never_get_in() {
        let absurd = [
            took("gcc", 0.0),
            took("gcc", 1e9),
            Observation { speed: 0.0, ..took("gcc", 1.0) },
            Observation { speed: f64::NAN, ..took("gcc", 1.0) },
            Observation { speed: f64::INFINITY, ..took("gcc", 1.0) },
            Observation { speed: -1.0, ..took("gcc", 1.0) },
            Observation { closure_bytes: u64::MAX, ..took("gcc", 1.0) },
        ];
        for seen in absurd {
            assert!(!Estimates::default().learn(&seen), "{seen:?}");
        }
        assert!(Estimates::default().learn(&took("gcc", 1e-3)));
    }

    #[test]
    fn a_builders_speed_is_taken_out_of_what_its_builds_took() {
        let estimates = after(&[Observation { speed: 0.05, ..took("gcc", 2_000.0) }]);
        assert_eq!(work(&estimates, "gcc", "x86_64-linux", 0).0, 100);
    }

    #[test]
    fn the_memory_of_names_is_bounded_and_keeps_what_was_learned_about_last() {
        let mut estimates = Estimates::default();
        for number in 0..3 * REMEMBERED {
            estimates.learn(&took(&format!("p{number}"), 5.0));
            estimates.learn(&took("gcc", 100.0));
        }
        let names = &estimates.by_name;
        assert!(names.young.len() + names.old.len() <= 2 * REMEMBERED);
        assert_eq!(work(&estimates, "gcc", "x86_64-linux", 0), (100, Ground::NameAndSystem));
    }
}
