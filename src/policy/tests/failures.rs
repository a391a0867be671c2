use super::*;

/// Ends the attempts of one build one after another as said, each as soon as it starts; what its request hears.
fn story(builders: usize, ends: Vec<AttemptOutcome>) -> (Vec<String>, Vec<String>, Vec<(RequestId, Answer)>) {
    let mut world = World::of(builders);
    world.ask(1);
    let (mut places, mut lines, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    let mut ends = ends.into_iter();
    for _ in 0..10_000 {
        for effect in world.take() {
            match effect {
                Effect::Start { attempt, builder, .. } => {
                    places.push(builder.to_string());
                    if let Some(outcome) = ends.next() {
                        world.end(attempt, outcome);
                    }
                }
                Effect::Say(_, line) => lines.push(line),
                Effect::Answer(request, answer) => answers.push((request, answer)),
                _ => {}
            }
        }
        world.pass(0.5);
    }
    (places, lines, answers)
}

#[test]
fn a_lost_build_is_repeated_elsewhere_and_one_line_says_so() {
    let (places, lines, answers) = story(2, vec![lost(), done()]);
    assert_eq!(places, ["b1", "b2"]);
    assert_eq!(lines, ["b1 was lost while building (connection closed); building again on b2"]);
    assert_eq!(words(&answers[0].1).0, Some(BuildStatus::Built));
}

#[test]
fn a_lost_build_that_has_to_wait_says_what_befell_it_and_what_it_waits_for() {
    let mut world = World::of(1);
    world.ask(1);
    let (attempt, _) = world.one_start();
    world.nature("b1", Nature::Silent);
    world.end(attempt, lost());
    let line = "b1 was lost while building (connection closed); \
                waits for a builder of x86_64-linux: b1 is tried again: connection closed";
    assert_eq!(world.lines(), [line]);
    world.tell(Event::Probed(name("b1"), Ok(caps(1))));
    world.pass(2.0);
    assert_eq!(world.lines().last().map(String::as_str), Some("building again on b1"));
}

#[test]
fn a_real_failure_is_reported_once_with_the_builders_words_and_its_name_and_not_repeated() {
    use BuildStatus::*;
    for status in
        [PermanentFailure, OutputRejected, CachedFailure, TimedOut, LogLimitExceeded, NotDeterministic]
    {
        let (places, _, answers) = story(3, vec![failed(status, "builder failed with exit code 1")]);
        assert_eq!(places, ["b1"], "{status:?}");
        assert_eq!(answers.len(), 1);
        assert_eq!(words(&answers[0].1), (Some(status), "on b1: builder failed with exit code 1"));
    }
}

#[test]
fn the_third_loss_of_a_derivation_that_lost_two_builders_is_its_failure_and_each_loss_is_listed() {
    let (places, _, answers) = story(4, vec![lost(), lost(), lost(), done()]);
    assert_eq!(places, ["b1", "b2", "b3"]);
    let (status, text) = words(&answers[0].1);
    assert_eq!(status, None);
    for builder in ["b1", "b2", "b3"] {
        assert!(text.contains(&format!("{builder} was lost while building (connection closed)")), "{text}");
    }
}

#[test]
fn the_loss_that_is_the_derivations_failure_does_not_count_against_the_builder() {
    let mut world = World::of(3);
    world.ask(1);
    for _ in 0..3 {
        let (attempt, _) = world.one_start();
        world.end(attempt, lost());
    }
    assert_eq!([world.row("b1").lost, world.row("b2").lost, world.row("b3").lost], [1, 1, 0]);
}

#[test]
fn a_build_that_keeps_losing_the_only_builder_is_given_up_after_five_losses() {
    let (places, _, answers) = story(1, vec![lost(); 9]);
    assert_eq!((places.len(), answers.len()), (5, 1));
}

#[test]
fn a_full_disk_on_a_builder_is_repeated_elsewhere() {
    for text in ["error: writing to file: No space left on device", "database or disk is full"] {
        let refused = AttemptOutcome::Refused { stage: Stage::Uploading, message: text.to_owned() };
        for outcome in
            [refused, failed(BuildStatus::TransientFailure, text), failed(BuildStatus::MiscFailure, text)]
        {
            let (places, lines, answers) = story(2, vec![outcome, done()]);
            assert_eq!(places, ["b1", "b2"], "{text}");
            assert!(lines[0].contains("building again on b2"), "{lines:?}");
            assert_eq!(words(&answers[0].1).0, Some(BuildStatus::Built));
        }
    }
}

#[test]
fn missing_inputs_are_uploaded_again_to_the_same_builder_first() {
    let refused = "path '/nix/store/x' is not valid".to_owned();
    let missing = AttemptOutcome::Refused { stage: Stage::Building, message: refused };
    let (places, _, answers) = story(2, vec![missing.clone(), missing.clone(), missing, done()]);
    assert_eq!(places, ["b1", "b1", "b1", "b2"]);
    assert_eq!(words(&answers[0].1).0, Some(BuildStatus::Built));
}

#[test]
fn what_was_missing_is_no_longer_believed_to_be_there() {
    let mut world = World::of(1);
    world.tell(Event::Present(name("b1"), vec![hash(7)]));
    world.request(Ask { closure: closure(&[(7, 1_000)]), ..ask(1) });
    let (attempt, _) = world.one_start();
    world.end(attempt, failed(BuildStatus::DependencyFailed, "1 dependency failed"));
    assert_eq!(world.state.presence.missing(&closure(&[(7, 1_000)]), 1), [1_000]);
}

#[test]
fn a_refused_feature_makes_the_builder_prove_itself_again_and_the_build_go_elsewhere() {
    let mut world = World::of(2);
    world.ask(1);
    let (attempt, _) = world.one_start();
    let text =
        "a 'x86_64-linux' with features {kvm} is required to build '/x.drv', but I am a 'x86_64-linux'";
    world.end(attempt, failed(BuildStatus::MiscFailure, text));
    let effects = world.take();
    assert!(effects.contains(&Effect::Probe(name("b1"))));
    assert!(effects.iter().any(|e| matches!(e, Effect::Start { builder, .. } if *builder == name("b2"))));
}

#[test]
fn lack_of_build_users_is_waited_out_however_long_it_lasts() {
    let busy = || failed(BuildStatus::MiscFailure, "all build users are currently in use");
    let (places, _, answers) = story(1, std::iter::repeat_with(busy).take(20).chain([done()]).collect());
    assert_eq!(places.len(), 21);
    assert_eq!(words(&answers[0].1).0, Some(BuildStatus::Built));
}

#[test]
fn an_unclear_failure_is_tried_once_more_on_another_builder_and_then_final() {
    for status in [BuildStatus::MiscFailure, BuildStatus::TransientFailure] {
        let (places, _, answers) =
            story(4, vec![failed(status, "curl: (6)"), failed(status, "curl: (6)"), done()]);
        assert_eq!(places, ["b1", "b2"]);
        assert_eq!(words(&answers[0].1), (Some(status), "on b2: curl: (6)"));
        let (places, _, answers) = story(1, vec![failed(status, "curl: (6)"), done()]);
        assert_eq!((places.len(), answers.len()), (1, 1), "there is no other builder");
    }
}

#[test]
fn a_bad_output_is_fetched_from_another_builder() {
    let bad = AttemptOutcome::BadOutput { path: path(3), reason: "its hash differs".to_owned() };
    let (places, lines, _) = story(2, vec![bad, done()]);
    assert_eq!(places, ["b1", "b2"]);
    assert!(lines[0].starts_with("b1 sent a bad output ("), "{lines:?}");
}

#[test]
fn an_output_above_our_own_limit_fails_the_build_at_once_and_counts_against_no_builder() {
    let large = AttemptOutcome::TooLarge("limits.max_nar allows less".to_owned());
    let (places, _, answers) = story(2, vec![large, done()]);
    assert_eq!(places, ["b1"]);
    assert_eq!(words(&answers[0].1), (Some(BuildStatus::MiscFailure), "on b1: limits.max_nar allows less"));
}

#[test]
fn a_failure_of_our_own_store_is_retried_a_few_times_and_counts_against_no_builder() {
    let local =
        || AttemptOutcome::LocalError { stage: Stage::Fetching, message: "database is locked".to_owned() };
    let (places, _, answers) = story(1, vec![local(), local(), done()]);
    assert_eq!(places.len(), 3);
    assert_eq!(words(&answers[0].1).0, Some(BuildStatus::Built));
    let (places, _, answers) = story(1, vec![local(), local(), local(), done()]);
    assert_eq!((places.len(), words(&answers[0].1).0), (3, None));
}

#[test]
fn a_full_local_disk_is_told_at_once() {
    let local = AttemptOutcome::LocalError {
        stage: Stage::Fetching,
        message: "write /var/tmp/x: No space left on device".to_owned(),
    };
    let (places, _, answers) = story(2, vec![local, done()]);
    assert_eq!(places.len(), 1);
    assert!(words(&answers[0].1).1.contains("disk of the coordinator's machine is full"));
}

#[test]
fn while_another_attempt_runs_a_loss_is_no_end() {
    let mut world = World::of(1);
    world.ask(1);
    let (first, _) = world.one_start();
    world.add("b2", caps(1));
    world.nature("b1", Nature::Silent);
    world.pass(13.0);
    let (second, _) = world.one_start();
    world.end(first, lost());
    assert_eq!(world.started(), []);
    world.end(second, done());
    assert_eq!(world.answers().len(), 1);
}
