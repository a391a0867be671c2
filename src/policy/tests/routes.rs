use super::*;
use crate::domain::{Glob, Label, Route};

fn labels(words: &[&str]) -> BTreeSet<Label> {
    words.iter().map(|word| Label::parse(word).expect("a label")).collect()
}

/// Builders "plain" without a label, "big" with the label big, and "gpu" with gpu and eu; with these routes.
fn world(routes: Vec<Route>) -> World {
    let mut world = World::with(Settings { routes, ..Settings::default() });
    for (builder, words) in [("a-plain", &[][..]), ("big", &["big"]), ("gpu", &["gpu", "eu"])] {
        world.natures.insert(name(builder), Nature::Answers(caps(1)));
        world.tell(Event::Found(BuilderSpec { labels: labels(words), ..spec(builder) }));
    }
    world.effects.clear();
    world
}

fn route(pname: Option<&str>, feature: Option<&str>, to: &[&str]) -> Route {
    let feature = feature.map(|feature| Feature::parse(feature).expect("a feature"));
    Route { pname: pname.map(Glob::new), system: None, feature, labels: labels(to) }
}

fn named(number: u64, pname: &str) -> Ask {
    Ask { pname: pname.to_owned(), ..ask(number) }
}

#[test]
fn a_route_sends_what_it_fits_to_its_labels_and_the_first_that_fits_holds() {
    let mut world = world(vec![route(Some("chrom*"), None, &["big"]), route(Some("*"), None, &["gpu"])]);
    world.request(named(1, "chromium"));
    assert_eq!(world.one_start().1, "big");
    world.request(named(2, "hello"));
    assert_eq!(world.one_start().1, "gpu");
    world.request(named(3, "chromium"));
    assert_eq!(world.started(), [], "a-plain is free");
}

#[test]
fn a_route_by_feature_or_system_leaves_other_builds_alone() {
    let arm = Route { system: Some(system(ARM)), ..route(None, None, &["gpu"]) };
    let mut world = world(vec![route(None, Some("kvm"), &["big"]), arm]);
    world.request(named(1, "hello"));
    assert_eq!(world.one_start().1, "a-plain");
}

#[test]
fn a_label_that_the_client_names_wins_over_routes() {
    let mut world = world(vec![route(None, None, &["big"])]);
    world.request(Ask { label: labels(&["eu"]).pop_first(), ..ask(1) });
    assert_eq!(world.one_start().1, "gpu");
}

#[test]
fn one_who_names_a_label_does_not_join_a_build_elsewhere() {
    let mut world = world(Vec::new());
    world.ask(1);
    assert_eq!(world.one_start().1, "a-plain");
    world.request(Ask { label: labels(&["big"]).pop_first(), ..ask(1) });
    assert_eq!(world.one_start().1, "big");
    world.request(Ask { label: labels(&["big"]).pop_first(), ..ask(1) });
    assert_eq!(world.started(), [], "this one does");
}

#[test]
fn a_route_that_no_builder_satisfies_is_said() {
    let mut world = world(vec![route(None, None, &["mips", "s390"])]);
    world.ask(1);
    assert_eq!(world.lines(), ["waits for a builder of x86_64-linux labelled mips or s390: none is known"]);
}
