//! `docs/doctor.md` describes every check, and none besides.

use muster::doctor::{host, local};

/// The names in the first column of the table under that heading.
fn described(heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string("docs/doctor.md").expect("the page");
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).expect("the heading");
    let section = rest.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_page_describes_the_checks_in_their_order() {
    assert_eq!(described("This machine"), local::CHECKS);
    assert_eq!(described("A builder"), host::CHECKS);
}
