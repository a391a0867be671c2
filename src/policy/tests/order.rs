use super::*;

fn from(client: u32, number: u64) -> Ask {
    of_user(0, client, number)
}

fn of_user(uid: u32, pid: u32, number: u64) -> Ask {
    Ask { client: Client { uid, pid }, ..ask(number) }
}

/// Runs everything on one slot; the requests in the order of their starts.
fn order_of_starts(world: &mut World) -> Vec<u64> {
    let mut order = Vec::new();
    loop {
        let effects = world.take();
        let start = effects.iter().find_map(|effect| match effect {
            Effect::Start { attempt, requests, .. } => Some((*attempt, requests[0].0)),
            _ => None,
        });
        let Some((attempt, request)) = start else { return order };
        order.push(request);
        world.end(attempt, done());
    }
}

#[test]
fn one_clients_builds_start_by_age() {
    let mut world = World::new();
    (1..=5).for_each(|number| {
        world.ask(number);
    });
    world.add("b1", caps(1));
    assert_eq!(order_of_starts(&mut world), [1, 2, 3, 4, 5]);
}

#[test]
fn a_client_with_few_builds_is_not_held_up_by_one_with_many() {
    let mut world = World::new();
    (0..100).for_each(|number| {
        world.request(from(1, number));
    });
    (100..103).for_each(|number| {
        world.request(from(2, number));
    });
    world.add("b1", caps(1));
    let order = order_of_starts(&mut world);
    assert_eq!(order[..6], [1, 101, 2, 102, 3, 103]);
    assert_eq!(order.len(), 103);
}

#[test]
fn a_user_with_many_invocations_does_not_outweigh_one_with_one() {
    let mut world = World::new();
    (0..40).for_each(|number| {
        world.request(of_user(1000, u32::try_from(number % 4).expect("small"), number));
    });
    (40..50).for_each(|number| {
        world.request(of_user(1001, 9, number));
    });
    world.add("b1", caps(1));
    let order = order_of_starts(&mut world);
    assert_eq!(order[..8], [1, 41, 2, 42, 3, 43, 4, 44]);
    assert_eq!(order.len(), 50);
}

#[test]
fn a_user_who_was_away_owes_nothing_and_is_owed_nothing() {
    let mut world = World::of(1);
    world.request(of_user(1000, 1, 0));
    let (first, _) = world.one_start();
    (1..=20).for_each(|number| {
        world.request(of_user(1000, 1, number));
    });
    world.end(first, done());
    let mut running = world.one_start().0;
    for _ in 0..5 {
        world.end(running, done());
        running = world.one_start().0;
    }
    let newcomers: Vec<_> = (30..33).map(|number| world.request(of_user(1001, 2, number)).0).collect();
    world.end(running, done());
    let order = order_of_starts(&mut world);
    let late: Vec<_> = newcomers.iter().map(|wanted| order.iter().position(|it| it == wanted)).collect();
    assert!(matches!(late[..], [Some(0..=1), Some(2..=3), Some(4..=5)]), "{late:?} of {order:?}");
}

#[test]
fn a_build_that_was_lost_keeps_its_place() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    (2..5).for_each(|number| {
        world.ask(number);
    });
    world.add("b2", caps(1));
    let (other, _) = world.one_start();
    world.nature("b1", Nature::Silent);
    world.end(attempt, lost());
    world.end(other, done());
    let (again, on) = world.one_start();
    assert_eq!((again.build, on.as_str()), (attempt.build, "b2"));
}

#[test]
fn a_build_that_no_builder_takes_holds_up_nobody() {
    let mut world = World::new();
    world.request(Ask { system: system(ARM), ..ask(1) });
    world.ask(2);
    world.add("b1", caps(1));
    assert_eq!(order_of_starts(&mut world), [2]);
}

/// How many later requests start before the last of `before + 1` builds of one client, when new clients with `burst`
/// builds each keep coming, two for each start.
fn overtaken(before: u64, burst: u64) -> u64 {
    let mut world = World::of(1);
    world.ask(0);
    let (mut running, _) = world.one_start();
    (1..=before + 1).for_each(|number| {
        world.request(from(1, number));
    });
    let victim = world.requests;
    let mut count = 0;
    for client in 10..20_000 {
        for _ in 0..2 * burst {
            let number = world.requests + 1;
            world.request(from(client + u32::try_from(number % 2).expect("small") * 100_000, number));
        }
        world.take();
        world.end(running, done());
        let start = world.take().into_iter().find_map(|effect| match effect {
            Effect::Start { attempt, requests, .. } => Some((attempt, requests[0].0)),
            _ => None,
        });
        let (attempt, request) = start.expect("the slot is taken again");
        if request == victim {
            return count;
        }
        running = attempt;
        count += u64::from(request > victim);
    }
    panic!("it starved");
}

#[test]
fn no_stream_of_newcomers_overtakes_a_build_more_often_than_is_stated() {
    let patience = Settings::default().patience;
    for before in [0, 1, 5, 12] {
        let count = overtaken(before, 1);
        assert!(count <= patience * (before + 1), "{before}: {count}");
        let count = overtaken(before, 4);
        assert!(count <= patience * (before + 2).pow(2), "{before}: {count}");
    }
}

proptest::proptest! {
    #[test]
    fn users_that_wait_get_equal_shares_whatever_they_run(
        counts in proptest::collection::vec(proptest::collection::vec(1..12_u64, 1..4), 2..5),
    ) {
        let mut world = World::new();
        let mut owners = BTreeMap::new();
        for (user, of_user_) in counts.iter().enumerate() {
            for (client, count) in of_user_.iter().enumerate() {
                for _ in 0..*count {
                    let (uid, pid) = (u32::try_from(user).expect("few"), u32::try_from(client).expect("few"));
                    let request = world.request(of_user(uid, pid, world.requests));
                    owners.insert(request.0, user);
                }
            }
        }
        world.add("b1", caps(1));
        let mut left: Vec<u64> = counts.iter().map(|of_user| of_user.iter().sum()).collect();
        let mut started = vec![0_i64; counts.len()];
        for request in order_of_starts(&mut world) {
            let user = owners[&request];
            left[user] -= 1;
            started[user] += 1;
            let waiting: Vec<_> = (0..counts.len()).filter(|user| left[*user] > 0).map(|u| started[u]).collect();
            let spread = waiting.iter().max().unwrap_or(&0) - waiting.iter().min().unwrap_or(&0);
            proptest::prop_assert!(spread <= 2, "{started:?} of {counts:?}");
        }
        proptest::prop_assert!(left.iter().all(|left| *left == 0));
    }

    #[test]
    fn invocations_that_wait_get_equal_shares(counts in proptest::collection::vec(1..30_u64, 2..6)) {
        let mut world = World::new();
        let mut owners = BTreeMap::new();
        for (client, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                let number = world.requests;
                let request = world.request(from(u32::try_from(client).expect("few"), number));
                owners.insert(request.0, client);
            }
        }
        world.add("b1", caps(1));
        let mut left = counts.clone();
        let mut started = vec![0_i64; counts.len()];
        for request in order_of_starts(&mut world) {
            let client = owners[&request];
            left[client] -= 1;
            started[client] += 1;
            let waiting: Vec<_> = (0..counts.len()).filter(|client| left[*client] > 0).map(|c| started[c]).collect();
            let spread = waiting.iter().max().unwrap_or(&0) - waiting.iter().min().unwrap_or(&0);
            proptest::prop_assert!(spread <= 2, "{started:?} of {counts:?}");
        }
        proptest::prop_assert!(left.iter().all(|left| *left == 0));
    }
}
