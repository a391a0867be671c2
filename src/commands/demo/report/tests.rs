use super::*;
use crate::commands::demo::watch::tests::state;

/// One build of these was lost on large and repeated on small, the other built at once.
fn watch() -> Watch {
    let mut watch = Watch::default();
    let at = Duration::from_secs;
    watch.see(&state(&[("a", 0, &[(1, "large", 0)]), ("b", 0, &[(1, "medium", 500)])]), at(1));
    watch.see(&state(&[("a", 1, &[(2, "small", 0)])]), at(2));
    watch.see(&state(&[]), at(4));
    watch
}

fn nodes() -> Vec<Node> {
    ["a", "b"].map(|name| Node { name: name.to_owned(), inputs: Vec::new(), tenths: 10 }).into()
}

fn testimonies(of_a: &[&str], of_b: &[&str]) -> BTreeMap<String, Testimony> {
    let testimony = |built_by: &[&str]| Testimony {
        built_by: built_by.iter().map(|&builder| builder.to_owned()).collect(),
        wrong: None,
    };
    [("a".to_owned(), testimony(of_a)), ("b".to_owned(), testimony(of_b))].into()
}

const CUT: PowerCut = PowerCut { at: Duration::from_millis(1500) };

fn of(
    watch: &Watch,
    testimonies: &BTreeMap<String, Testimony>,
    cut: Option<&PowerCut>,
) -> (String, Vec<String>) {
    let took = Duration::from_millis(4200);
    report(&Facts { nodes: &nodes(), watch, testimonies, cut, took })
}

#[test]
fn a_kept_promise() {
    let (text, faults) = of(&watch(), &testimonies(&["small"], &["medium"]), Some(&CUT));
    assert!(faults.is_empty(), "{faults:?}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_lost_build_that_was_finished_is_no_fault_and_is_said() {
    let (text, faults) = of(&watch(), &testimonies(&["large", "small"], &["medium"]), Some(&CUT));
    assert!(faults.is_empty(), "{faults:?}");
    assert!(
        text.contains("small: built here; large: built, but never delivered (lost after 1.0 s)"),
        "{text}"
    );
}

#[test]
fn what_the_stores_do_not_confirm_is_a_fault() {
    let check = |of_a: &[&str], of_b: &[&str], expected: &[&str]| {
        assert_eq!(of(&watch(), &testimonies(of_a, of_b), Some(&CUT)).1, expected);
    };
    check(&[], &["medium"], &["the store of small does not say that it built a"]);
    check(&["small"], &["medium", "large"], &["the store of large says that it built b, nobody saw it"]);
}

#[test]
fn a_wrong_output_is_a_fault() {
    let mut testimonies = testimonies(&["small"], &["medium"]);
    testimonies.entry("b".to_owned()).or_default().wrong =
        Some("is not valid in the client's store".to_owned());
    let (text, faults) = of(&watch(), &testimonies, Some(&CUT));
    assert_eq!(faults, ["b is not valid in the client's store"]);
    assert!(text.contains("1 of 2 outputs"), "{text}");
}

#[test]
fn without_a_loss_nothing_was_shown() {
    let stores = testimonies(&["small"], &["medium"]);
    let faults = of(&watch(), &stores, None).1;
    assert_eq!(faults, ["large was never killed: it was not busy enough in the middle"]);
    let mut calm = Watch::default();
    calm.see(&state(&[("a", 0, &[(1, "small", 0)]), ("b", 0, &[(1, "medium", 0)])]), Duration::from_secs(1));
    calm.see(&state(&[]), Duration::from_secs(2));
    assert_eq!(of(&calm, &stores, Some(&CUT)).1, ["no build was repeated elsewhere"]);
    let faults = of(&Watch::default(), &stores, Some(&CUT)).1;
    assert!(faults.contains(&"nobody saw who built a".to_owned()), "{faults:?}");
}
