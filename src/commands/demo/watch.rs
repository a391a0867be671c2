//! What the coordinator's successive states tell of the demo's builds. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::Stage;
use crate::policy::Snapshot;
use crate::policy::snapshot::{AttemptRow, BuildRow};

/// An attempt younger than this may not have begun in earnest.
const RIPE: Duration = Duration::from_millis(400);

/// What was seen so far; times count from the start of the client.
#[derive(Debug, Default)]
pub struct Watch {
    builds: BTreeMap<String, Seen>,
}

/// What was seen of one build.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its attempts, in order.
    pub attempts: Vec<Attempt>,
    losses: u32,
}

/// What was seen of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    /// Where it ran.
    pub builder: String,
    /// When it began.
    pub began: Duration,
    /// How far it came.
    pub stage: Stage,
    /// When and how it ended; none while it runs.
    pub ended: Option<(Duration, Ending)>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The build was done.
    Built,
    /// It was lost with its builder.
    Lost,
    /// Another one was first.
    Overtaken,
}

/// News between two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// An attempt began: which build, where, and whether it is a repetition.
    Began(String, String, bool),
    /// A build is done: which, where, and how long its last attempt took.
    Built(String, String, Duration),
    /// An attempt was lost: which build, and where.
    Lost(String, String),
}

impl Watch {
    /// Takes in the state at `now`.
    pub fn see(&mut self, snapshot: &Snapshot, now: Duration) -> Vec<News> {
        let mut news = Vec::new();
        let present = |name: &str| snapshot.builds.iter().any(|row| build_name(&row.drv) == name);
        for (name, seen) in self.builds.iter_mut().filter(|(name, _)| !present(name)) {
            seen.finish(name, now, &mut news);
        }
        for row in &snapshot.builds {
            let name = build_name(&row.drv);
            self.builds.entry(name.to_owned()).or_default().see(name, row, now, &mut news);
        }
        news
    }

    /// How many builds are done.
    pub fn done(&self) -> usize {
        self.builds.values().filter(|seen| seen.built().is_some()).count()
    }

    /// Whether this is the moment to cut a builder's power: two fifths of all are done, some of them by it, and it is
    /// really building.
    pub fn is_in_the_middle(&self, builder: &str, total: usize, now: Duration) -> bool {
        let done = self.done();
        let has_built =
            self.builds.values().filter_map(Seen::built).any(|attempt| attempt.builder == builder);
        // Later on, less must do.
        let enough = if done * 5 >= total * 3 { 1 } else { 2 };
        done * 5 >= total * 2 && has_built && self.under_way(builder, now) >= enough
    }

    /// How many builds that builder has been building for long enough to be really under way.
    fn under_way(&self, builder: &str, now: Duration) -> usize {
        let here = self.running().filter(|(_, attempt)| attempt.builder == builder);
        let old = |attempt: &Attempt| now.saturating_sub(attempt.began) >= RIPE;
        here.filter(|(_, attempt)| attempt.stage == Stage::Building && old(attempt)).count()
    }

    /// Every attempt that runs, and its build.
    pub fn running(&self) -> impl Iterator<Item = (&str, &Attempt)> {
        self.builds.iter().flat_map(|(name, seen)| {
            let running = seen.attempts.iter().filter(|attempt| attempt.ended.is_none());
            running.map(move |attempt| (name.as_str(), attempt))
        })
    }

    /// What was seen of that build.
    pub fn of(&self, name: &str) -> Option<&Seen> {
        self.builds.get(name)
    }
}

impl Seen {
    /// The attempt that it was built by.
    pub fn built(&self) -> Option<&Attempt> {
        self.ended(Ending::Built).next()
    }

    /// The attempts that were lost.
    pub fn lost(&self) -> impl Iterator<Item = &Attempt> {
        self.ended(Ending::Lost)
    }

    fn ended(&self, how: Ending) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |attempt| attempt.ended.is_some_and(|(_, ending)| ending == how))
    }

    fn see(&mut self, name: &str, row: &BuildRow, now: Duration, news: &mut Vec<News>) {
        let mut lost = row.lost.saturating_sub(self.losses);
        self.losses = row.lost;
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.ended.is_none()) {
            match row.attempts.iter().find(|row| row.number == attempt.number) {
                Some(row) => attempt.stage = row.stage,
                None if lost > 0 => {
                    lost -= 1;
                    attempt.ended = Some((now, Ending::Lost));
                    news.push(News::Lost(name.to_owned(), attempt.builder.clone()));
                }
                None => attempt.ended = Some((now, Ending::Overtaken)),
            }
        }
        for row in &row.attempts {
            if !self.attempts.iter().any(|attempt| attempt.number == row.number) {
                let attempt = Attempt::new(row, now);
                news.push(News::Began(name.to_owned(), attempt.builder.clone(), !self.attempts.is_empty()));
                self.attempts.push(attempt);
            }
        }
    }

    /// The build is no longer in the state: its last attempt did it.
    fn finish(&mut self, name: &str, now: Duration, news: &mut Vec<News>) {
        let Some(last) = self.attempts.last_mut().filter(|attempt| attempt.ended.is_none()) else { return };
        last.ended = Some((now, Ending::Built));
        news.push(News::Built(name.to_owned(), last.builder.clone(), now.saturating_sub(last.began)));
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.ended.is_none()) {
            attempt.ended = Some((now, Ending::Overtaken));
        }
    }
}

impl Attempt {
    fn new(row: &AttemptRow, now: Duration) -> Self {
        Self {
            number: row.number,
            builder: row.builder.to_string(),
            began: now.saturating_sub(Duration::from_millis(row.age_ms)),
            stage: row.stage,
            ended: None,
        }
    }
}

/// A derivation's name as people say it: without hash and `.drv`.
pub fn build_name(drv: &str) -> &str {
    let name = drv.split_once('-').map_or(drv, |(_, name)| name);
    name.strip_suffix(".drv").unwrap_or(name)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::domain::{BuilderName, System};

    /// A build, its losses, and its attempts: number, builder, age in milliseconds.
    type Row<'a> = (&'a str, u32, &'a [(u32, &'a str, u64)]);

    /// A state with these builds.
    pub fn state(builds: &[Row<'_>]) -> Snapshot {
        let attempt = |&(number, builder, age_ms): &(u32, &str, u64)| AttemptRow {
            number,
            builder: BuilderName::parse(builder).expect("a name"),
            stage: Stage::Building,
            age_ms,
        };
        let row = |&(name, lost, attempts): &Row<'_>| BuildRow {
            drv: format!("{}-{name}.drv", "0".repeat(32)),
            system: System::parse("x86_64-linux").expect("a system"),
            features: Default::default(),
            attempts: attempts.iter().map(attempt).collect(),
            waiting: None,
            age_ms: 0,
            requests: 1,
            lost,
            labels: Default::default(),
        };
        let builds = builds.iter().map(row).collect();
        let (builders, absent, passed_over, totals) = Default::default();
        Snapshot { schema: 1, builders, builds, totals, absent, passed_over }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn words(news: &[News]) -> Vec<String> {
        news.iter().map(|news| format!("{news:?}")).collect()
    }

    #[test]
    fn a_build_that_is_lost_begins_again_elsewhere_and_is_done() {
        let mut watch = Watch::default();
        watch.see(&state(&[("a", 0, &[])]), at(1));
        let began = watch.see(&state(&[("a", 0, &[(1, "large", 500)])]), at(2));
        assert_eq!(words(&began), [r#"Began("a", "large", false)"#]);
        assert_eq!(watch.under_way("large", at(2)), 1);
        let lost = watch.see(&state(&[("a", 1, &[])]), at(3));
        assert_eq!(words(&lost), [r#"Lost("a", "large")"#]);
        let again = watch.see(&state(&[("a", 1, &[(2, "small", 0)])]), at(4));
        assert_eq!(words(&again), [r#"Began("a", "small", true)"#]);
        assert_eq!((watch.under_way("small", at(4)), watch.done()), (0, 0));
        let built = watch.see(&state(&[]), at(6));
        assert_eq!(words(&built), [r#"Built("a", "small", 2s)"#]);
        assert_eq!(watch.see(&state(&[]), at(7)), []);
        let seen = watch.of("a").expect("seen");
        assert_eq!(seen.lost().map(|attempt| attempt.builder.as_str()).collect::<Vec<_>>(), ["large"]);
        assert_eq!(seen.built().expect("built").began, at(4));
        assert_eq!((watch.done(), watch.running().count()), (1, 0));
    }

    #[test]
    fn loss_and_repetition_between_two_looks_are_both_seen() {
        let mut watch = Watch::default();
        watch.see(&state(&[("a", 0, &[(1, "large", 0)])]), at(1));
        let both = watch.see(&state(&[("a", 1, &[(2, "medium", 0)])]), at(2));
        assert_eq!(words(&both), [r#"Lost("a", "large")"#, r#"Began("a", "medium", true)"#]);
    }

    #[test]
    fn an_attempt_that_was_overtaken_is_not_lost() {
        let mut watch = Watch::default();
        watch.see(&state(&[("a", 0, &[(1, "large", 0), (2, "small", 0)])]), at(1));
        assert_eq!(watch.see(&state(&[("a", 0, &[(2, "small", 0)])]), at(2)), []);
        assert_eq!(words(&watch.see(&state(&[]), at(3))), [r#"Built("a", "small", 2s)"#]);
        assert_eq!(watch.of("a").expect("seen").lost().count(), 0);
    }

    #[test]
    fn the_middle_is_when_the_builder_has_built_and_builds() {
        let old = [(1, "large", 900)];
        let both: [Row<'_>; 2] = [("b", 0, &old), ("c", 0, &old)];
        let mut watch = Watch::default();
        watch.see(&state(&[("a", 0, &old), both[0], both[1]]), at(1));
        assert!(!watch.is_in_the_middle("large", 2, at(2)), "it has built nothing yet");
        watch.see(&state(&both), at(2));
        assert!(watch.is_in_the_middle("large", 2, at(2)));
        assert!(!watch.is_in_the_middle("small", 2, at(2)), "it does nothing");
        assert!(!watch.is_in_the_middle("large", 3, at(2)), "one of three is too early");
        watch.see(&state(&both[..1]), at(3));
        assert!(watch.is_in_the_middle("large", 3, at(3)), "later on one that runs is enough");
    }

    #[test]
    fn a_name_is_what_follows_the_hash() {
        assert_eq!(build_name("00000000000000000000000000000000-object-07.drv"), "object-07");
        assert_eq!(build_name("odd"), "odd");
    }
}
