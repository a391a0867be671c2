//! A machines file as people have them: what is read from it, and what is said of it.

use muster::domain::System;
use muster::nix::machines::parse;

#[test]
fn a_machines_file_is_read_as_nix_reads_it_and_its_oddities_are_named() {
    let local = System::parse("local-system").expect("a system");
    let mut include = |file: &str| (file == "/etc/nix/more").then(|| "# more\nmore\n".to_owned());
    let parsed = parse(include_str!("data/formats/machines"), &local, &mut include);
    let entries = parsed.entries.iter().map(|entry| format!("{}: {}\n", entry.place, entry.line));
    let problems = parsed.problems.iter().map(|problem| format!("{:?} {problem}\n", problem.severity));
    let read: String = entries.chain(["\n".to_owned()]).chain(problems).collect();
    assert_eq!(read, include_str!("data/formats/machines.read"));
}
