//! docs/policy.md names tests that exist.

use std::fs;
use std::path::Path;

fn read_all(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            read_all(&entry, text);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&entry).expect("text"));
        }
    }
}

#[test]
fn every_test_that_the_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    ["src", "tests"].iter().for_each(|dir| read_all(&root.join(dir), &mut code));
    let document = fs::read_to_string(root.join("docs/policy.md")).expect("text");
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let names: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 40, "{}", names.len());
    let known = |name: &str| code.contains(&format!("fn {name}("));
    let missing: Vec<_> = names.into_iter().filter(|name| !known(name)).collect();
    assert_eq!(missing, [""; 0]);
}
