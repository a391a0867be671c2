//! A derivation whose log says how fast a machine is, and what its builds see of our options.
//!
//! It counts in the builder's own `/bin/sh`, three times, and says a word after each; what lies between two words is
//! the measure, and the shortest counts. Then it fails, so that nothing of it is left in any store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::domain::{BasicDerivation, DerivationOutput, StorePath, System};

/// What the reference machine needs for one count: dash or busybox on a server's core of 2024 (2.6 GHz).
const REFERENCE: Duration = Duration::from_millis(150);
/// How much slower bash counts than dash and busybox do.
const BASH: f64 = 2.1;
/// A machine that is so slow has said enough by its second count. Its first does not tell: a throttled one begins with what
/// it has saved.
const LONG: Duration = Duration::from_secs(1);

/// Counts that are listened to.
const ROUNDS: usize = 3;

/// What is counted, where `$rounds` says so. No program but the shell is used: a sandbox has no other.
const SCRIPT: &str = r#"
echo "muster-cores $NIX_BUILD_CORES"
echo "muster-shell ${BASH_VERSION:+bash}"
for round in $rounds; do
  echo muster-round
  i=0
  while [ $i -lt 100000 ]; do i=$((i+1)); done
done
echo muster-round
exit 1
"#;

/// The derivation; `nonce` (32 letters of Nix's base 32) tells it from all others. Without `measure` it only says what it
/// sees.
pub fn derivation(nonce: &str, system: &System, measure: bool) -> Option<(StorePath, BasicDerivation)> {
    let path = |suffix: &str| StorePath::from_base_name(&format!("{nonce}-muster-benchmark{suffix}")).ok();
    let output = DerivationOutput { path: Some(path("")?), hash_algo: String::new(), hash: String::new() };
    let rounds = if measure { "1 2 3" } else { "" };
    let texts = [
        ("allowSubstitutes", ""),
        ("name", "muster-benchmark"),
        ("preferLocalBuild", "1"),
        ("rounds", rounds),
        ("system", system.as_str()),
    ];
    let derivation = BasicDerivation {
        outputs: BTreeMap::from([("out".to_owned(), output)]),
        inputs: BTreeSet::new(),
        platform: system.clone(),
        builder: b"/bin/sh".to_vec(),
        args: vec![b"-c".to_vec(), SCRIPT.as_bytes().to_vec()],
        env: texts.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
    };
    Some((path(".drv")?, derivation))
}

/// What its log has said so far.
#[derive(Debug, Default)]
pub struct Reading {
    cores: Option<u32>,
    bash: bool,
    last: Option<Duration>,
    counts: Vec<Duration>,
}

impl Reading {
    /// A line of the log, and when it came.
    pub fn hear(&mut self, line: &str, at: Duration) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("muster-cores", cores) => self.cores = cores.trim().parse().ok(),
            ("muster-shell", shell) => self.bash = shell.trim() == "bash",
            ("muster-round", _) => {
                if let Some(last) = self.last.replace(at)
                    && self.counts.len() < ROUNDS
                {
                    self.counts.push(at.saturating_sub(last));
                }
            }
            _ => {}
        }
    }

    /// Whether more would tell nothing new.
    pub fn is_enough(&self) -> bool {
        self.counts.len() > 1 && self.telling().is_some_and(|count| count > LONG)
    }

    fn telling(&self) -> Option<Duration> {
        let skip = usize::from(self.counts.len() > 1 && self.counts[0] > LONG);
        self.counts.iter().skip(skip).min().copied()
    }

    /// What the build saw as `NIX_BUILD_CORES`.
    pub fn cores(&self) -> Option<u32> {
        self.cores
    }

    /// How many times as fast as the reference machine; none where nothing was counted.
    pub fn score(&self) -> Option<f64> {
        let best = self.telling().filter(|best| !best.is_zero())?;
        let reference = REFERENCE.as_secs_f64() * if self.bash { BASH } else { 1.0 };
        Some(reference / best.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&str, u64)]) -> Reading {
        let mut reading = Reading::default();
        for (line, millis) in lines {
            reading.hear(line, Duration::from_millis(*millis));
        }
        reading
    }

    #[test]
    fn the_shortest_count_is_the_measure_and_a_slow_shell_is_allowed_for() {
        let rounds =
            [("muster-round", 10), ("muster-round", 310), ("muster-round", 460), ("muster-round", 900)];
        assert_eq!(read(&rounds).score(), Some(1.0));
        let bash = [&[("muster-shell bash", 1), ("muster-cores 7", 1)], &rounds[..]].concat();
        let reading = read(&bash);
        assert_eq!((reading.score(), reading.cores()), (Some(BASH), Some(7)));
    }

    #[test]
    fn a_very_slow_machine_need_not_count_to_the_end() {
        let once = read(&[("muster-round", 0), ("muster-round", 1_500)]);
        let about =
            |score: Option<f64>, expected: f64| score.is_some_and(|score| (score - expected).abs() < 1e-9);
        assert!(!once.is_enough() && about(once.score(), 0.1));
        let twice = read(&[("muster-round", 0), ("muster-round", 1_500), ("muster-round", 4_500)]);
        assert!(twice.is_enough() && about(twice.score(), 0.05));
        assert!(!read(&[("muster-round", 0), ("muster-round", 150)]).is_enough());
    }

    #[test]
    fn a_log_that_says_something_else_measures_nothing() {
        let reading =
            read(&[("hello", 0), ("muster-cores many", 1), ("muster-round", 2), ("muster-roundabout", 9)]);
        assert_eq!((reading.score(), reading.cores()), (None, None));
        assert_eq!(read(&[("muster-round", 5), ("muster-round", 5)]).score(), None, "no clock is that fast");
    }

    #[test]
    fn it_asks_for_nothing_but_a_shell() {
        let system = System::parse("x86_64-linux").expect("a system");
        let nonce = "0123456789abcdfghijklmnpqrsvwxyz";
        let (drv, derivation) = derivation(nonce, &system, true).expect("a derivation");
        assert_eq!(drv.to_string(), format!("{nonce}-muster-benchmark.drv"));
        assert!(derivation.inputs.is_empty() && derivation.env_text("rounds") == Some("1 2 3"));
    }
}
