use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Time {
    Time::after_start(Duration::from_secs(seconds))
}

fn id(number: usize) -> CoordinatorId {
    CoordinatorId::parse(&format!("coordinator{number}")).expect("an id")
}

fn terms(slots: u32) -> Terms {
    let size = Size { cores: 16, memory: 64 << 30 };
    let lease = Duration::from_secs(45);
    Terms { slots: Some(slots), size, lease, idle: None, lifetime: None, ephemeral: false }
}

/// A coordinator that does as it is told.
#[derive(Debug, Clone, Copy, Default)]
struct Honest {
    granted: u32,
    running: u32,
    waiting: u32,
}

/// An agent, and the coordinators that know it. Each has the session of its own number.
struct Play {
    claims: Claims,
    all: Vec<Honest>,
    endings: Vec<Ending>,
    wake: Option<Time>,
}

impl Play {
    fn new(terms: Terms, coordinators: usize) -> Self {
        let all = vec![Honest::default(); coordinators];
        Self { claims: Claims::new(terms), all, endings: Vec::new(), wake: None }
    }

    fn step(&mut self, event: Event, now: Time) {
        let effects = self.claims.step(event, now);
        let mut changed = Vec::new();
        for effect in effects {
            match effect {
                Effect::Grant { session, slots, .. } => {
                    let one = &mut self.all[session as usize];
                    let more = one.waiting.min(slots.saturating_sub(one.running));
                    if slots < one.granted || more > 0 {
                        changed.push(session as usize);
                    }
                    one.granted = slots;
                    (one.running, one.waiting) = (one.running + more, one.waiting - more);
                }
                Effect::End(why) => self.endings.push(why),
                Effect::WakeAt(at) => self.wake = Some(at),
                Effect::Lapsed(..) | Effect::Learned(_) => {}
            }
        }
        for number in changed {
            self.claim(number, now);
        }
    }

    /// Claims or renews, as is true.
    fn claim(&mut self, number: usize, now: Time) {
        let Honest { granted, running, waiting } = self.all[number];
        let demand = Demand { running, wanted: running + waiting, capacity: 4 };
        let name = format!("c{number}");
        self.step(
            Event::Claimed { session: number as u64, coordinator: id(number), name, demand, granted },
            now,
        );
    }

    fn wants(&mut self, number: usize, more: u32, now: Time) {
        let one = &mut self.all[number];
        one.waiting += more;
        let start = one.waiting.min(one.granted.saturating_sub(one.running));
        (one.running, one.waiting) = (one.running + start, one.waiting - start);
        self.claim(number, now);
    }

    fn finishes(&mut self, number: usize, now: Time) {
        let one = &mut self.all[number];
        one.running = one.running.saturating_sub(1);
        let start = one.waiting.min(one.granted.saturating_sub(one.running));
        (one.running, one.waiting) = (one.running + start, one.waiting - start);
        self.claim(number, now);
    }

    fn granted(&self) -> Vec<u32> {
        self.all.iter().map(|one| one.granted).collect()
    }
}

#[test]
fn one_alone_has_all_slots_and_two_that_want_them_have_half_each() {
    let mut play = Play::new(terms(4), 2);
    play.claim(0, at(1));
    assert_eq!(play.granted(), [4, 0]);
    play.claim(1, at(2));
    assert_eq!(play.granted(), [2, 2]);
    play.wants(0, 9, at(3));
    assert_eq!(play.granted(), [4, 0], "who wants nothing leaves it to others");
    play.wants(1, 9, at(4));
    assert_eq!((play.all[0].running, play.granted()), (4, vec![2, 0]), "what runs is not taken away");
    play.finishes(0, at(5));
    play.finishes(0, at(6));
    assert_eq!((play.all[0].running, play.all[1].running), (2, 2));
}

#[test]
fn a_single_slot_goes_to_one_after_the_other() {
    let mut play = Play::new(terms(1), 2);
    play.wants(0, 5, at(1));
    play.wants(1, 5, at(2));
    let mut ran = Vec::new();
    for second in 3..9 {
        let busy = play.all.iter().position(|one| one.running > 0).expect("one runs");
        ran.push(busy);
        play.finishes(busy, at(second));
    }
    assert_eq!(ran, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn where_nobody_said_how_many_slots_there_are_the_coordinators_know() {
    let mut play = Play::new(Terms { slots: None, ..terms(0) }, 1);
    play.claim(0, at(1));
    assert_eq!(play.granted(), [4]);
}

#[test]
fn a_claim_lasts_for_its_lease_from_the_last_word_and_not_from_the_connections_end() {
    let mut play = Play::new(Terms { ephemeral: true, ..terms(2) }, 1);
    play.claim(0, at(10));
    play.step(Event::Closed(0), at(20));
    play.step(Event::Woke, at(54));
    assert_eq!(play.endings, []);
    assert_eq!(play.wake, Some(at(55)));
    play.step(Event::Woke, at(55));
    assert_eq!(play.endings, [Ending::Released]);
}

#[test]
fn a_half_open_connection_renews_nothing() {
    let mut play = Play::new(terms(2), 1);
    play.claim(0, at(0));
    play.step(Event::Woke, at(45));
    assert_eq!(play.claims.claims(at(45)), []);
    play.claim(0, at(60));
    assert_eq!(play.granted(), [2], "who is kept comes back");
}

#[test]
fn an_ephemeral_builder_ends_once_its_last_claim_is_given_back() {
    let mut play = Play::new(Terms { ephemeral: true, ..terms(2) }, 2);
    play.claim(0, at(1));
    play.claim(1, at(1));
    play.step(Event::GivenBack(0), at(2));
    assert_eq!(play.endings, []);
    play.step(Event::GivenBack(1), at(3));
    assert_eq!(play.endings, [Ending::Released]);
    play.step(Event::Dismissed("somebody".into()), at(4));
    assert_eq!(play.endings.len(), 1, "once");
}

#[test]
fn one_that_is_kept_lives_on_when_it_is_given_back() {
    let mut play = Play::new(terms(2), 1);
    play.claim(0, at(1));
    play.step(Event::GivenBack(0), at(2));
    play.step(Event::Woke, at(1_000));
    assert_eq!(play.endings, []);
}

#[test]
fn nobody_comes_and_it_ends_after_its_idle_time() {
    let idle = Some(Duration::from_secs(300));
    let mut play = Play::new(Terms { idle, ephemeral: true, ..terms(2) }, 1);
    play.step(Event::Woke, at(299));
    assert_eq!((play.endings.len(), play.wake), (0, Some(at(300))));
    play.step(Event::Woke, at(300));
    assert_eq!(play.endings, [Ending::Idle]);
}

#[test]
fn a_claim_that_is_renewed_is_not_idle_and_its_lifetime_ends_it_all_the_same() {
    let idle = Some(Duration::from_secs(20));
    let lifetime = Some(Duration::from_secs(100));
    let mut play = Play::new(Terms { idle, lifetime, ..terms(2) }, 1);
    for second in (10..100).step_by(10) {
        play.claim(0, at(second));
    }
    assert_eq!(play.endings, []);
    play.claim(0, at(100));
    assert_eq!(play.endings, [Ending::Lifetime]);
}

#[test]
fn at_the_end_of_its_lifetime_what_runs_may_finish_within_a_lease() {
    let lifetime = Some(Duration::from_secs(100));
    let mut play = Play::new(Terms { lifetime, ..terms(2) }, 1);
    play.wants(0, 1, at(90));
    play.wants(0, 1, at(100));
    assert_eq!((play.granted(), play.endings.len()), (vec![0], 0));
    play.claim(0, at(120));
    play.finishes(0, at(121));
    play.finishes(0, at(122));
    assert_eq!(play.endings, [Ending::Lifetime]);

    let mut play = Play::new(Terms { lifetime, ..terms(2) }, 1);
    for second in [60, 100, 140, 144] {
        play.wants(0, 1, at(second));
    }
    assert_eq!(play.endings, []);
    play.claim(0, at(145));
    assert_eq!(play.endings, [Ending::Lifetime], "it does not wait for ever");
}

#[test]
fn drained_it_grants_nothing_until_it_is_drained_no_more() {
    let mut play = Play::new(terms(3), 1);
    play.wants(0, 2, at(1));
    play.step(Event::Drained(Some("ann".into())), at(2));
    assert_eq!((play.granted(), play.all[0].running), (vec![0], 2));
    assert_eq!(play.claims.closed(), Some("ann"));
    play.step(Event::Drained(None), at(3));
    assert_eq!(play.granted(), [3]);
}

/// A machine that says of itself what an idle one would, as far as `cores` of sixteen are.
fn load(cores: f64, available: u64) -> Event {
    Event::Loaded(Load { idle: Some(cores), memory_available: Some(available), ..Load::default() })
}

#[test]
fn what_a_machine_bears_is_learned_where_nobody_said_it_and_told_to_those_who_claim() {
    let mut play = Play::new(Terms { slots: None, ..terms(0) }, 1);
    play.wants(0, 9, at(1));
    for second in 1..=16 {
        play.step(load(12.0, 60 << 30), at(second));
    }
    assert_eq!((play.granted(), play.all[0].running, play.claims.stated()), (vec![5], 5, 4));
    play.step(load(12.0, 0), at(30));
    assert_eq!(
        (play.granted(), play.all[0].running, play.claims.slots()),
        (vec![3], 5, 3),
        "what runs may finish"
    );
}

#[test]
fn slots_that_were_said_are_told_and_never_learned() {
    let mut claims = Claims::new(terms(2));
    let demand = Demand { running: 2, wanted: 9, capacity: 4 };
    let claim = Event::Claimed { session: 0, coordinator: id(0), name: "c0".into(), demand, granted: 2 };
    let told = claims.step(claim, at(1));
    assert!(
        told.contains(&Effect::Grant { session: 0, slots: 2, bears: Some(2), shared: false }),
        "{told:?}"
    );
    for second in 1..100 {
        let _ = claims.step(load(14.0, if second < 50 { 60 << 30 } else { 0 }), at(second));
    }
    assert_eq!(claims.slots(), 2);
}

proptest! {
    /// Whatever the machine says of itself: no more is granted than it is taken to bear, and that is something.
    #[test]
    fn no_more_is_granted_than_was_learned(
        news in proptest::collection::vec((0usize..3, 0u8..6, 0u32..17, 0u64..64), 1..300),
    ) {
        let mut play = Play::new(Terms { slots: None, ..terms(0) }, 3);
        let mut most = 0;
        for (second, (number, what, cores, gib)) in news.into_iter().enumerate() {
            let now = at(second as u64 * 2);
            (0..3).for_each(|number| play.claim(number, now));
            match what {
                0 => play.wants(number, 9, now),
                1 | 2 => play.finishes(number, now),
                _ => play.step(load(f64::from(cores), gib << 30), now),
            }
            let slots = play.claims.slots();
            most = slots.max(most);
            prop_assert!(play.granted().iter().sum::<u32>() <= slots, "{slots}: {:?}", play.all);
            prop_assert!(play.all.iter().map(|one| one.running).sum::<u32>() <= most, "{most}: {:?}", play.all);
            prop_assert!(slots <= 16 && (slots > 0 || play.claims.stated() == 0));
        }
    }

    /// However the news come: together they never run more than there are slots, and whoever wants is served.
    #[test]
    fn coordinators_that_obey_never_exceed_the_slots(
        slots in 1u32..6,
        news in proptest::collection::vec((0usize..3, 0u8..4), 1..200),
    ) {
        let mut play = Play::new(terms(slots), 3);
        for (second, (number, what)) in news.into_iter().enumerate() {
            let now = at(second as u64 / 8);
            match what {
                0 => play.wants(number, 2, now),
                1 => play.finishes(number, now),
                2 => play.claim(number, now),
                _ => play.step(Event::Woke, now),
            }
            let running: u32 = play.all.iter().map(|one| one.running).sum();
            prop_assert!(running <= slots, "{running} of {slots}: {:?}", play.all);
        }
        let waits = |play: &Play| play.all.iter().any(|one| one.waiting > 0);
        for round in 0..2_000 {
            if !waits(&play) { break }
            for number in 0..3 {
                play.finishes(number, at(100 + round / 100));
            }
        }
        prop_assert!(!waits(&play), "{:?}", play.all);
    }
}
