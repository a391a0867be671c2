use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::{Feature, Label, System};

fn local() -> System {
    System::parse("x86_64-linux").expect("a system")
}

fn read(text: &str) -> Parsed {
    parse(text, &local(), &mut |_| None)
}

fn read_with(text: &str, files: &[(&str, &str)]) -> Parsed {
    let files: BTreeMap<_, _> = files.iter().copied().collect();
    parse(text, &local(), &mut |file| files.get(file).map(|text| (*text).to_owned()))
}

fn uris(parsed: &Parsed) -> Vec<&str> {
    parsed.entries.iter().map(|entry| entry.line.uri.as_str()).collect()
}

fn said(parsed: &Parsed) -> Vec<String> {
    parsed.problems.iter().map(|problem| format!("{:?} {problem}", problem.severity)).collect()
}

/// How the line of one entry prints, which is also how it was understood.
fn understood(text: &str) -> String {
    let parsed = read(text);
    assert_eq!(said(&parsed), Vec::<String>::new(), "{text}");
    assert_eq!(parsed.entries.len(), 1, "{text}");
    parsed.entries[0].line.to_string()
}

#[test]
fn fields_left_out_are_the_defaults() {
    for text in ["b1", "b1 -", "b1 - - - - - - -", "  b1\t-   - 1 1.0\r"] {
        assert_eq!(understood(text), "b1 x86_64-linux - 1 1 - - -", "{text:?}");
    }
}

#[test]
fn every_field_is_read() {
    let text = "ssh-ng://me@b2 aarch64-linux,armv7l-linux /root/.ssh/key 8 2 kvm,benchmark big-parallel c3NoLWVkMjU=";
    let printed = "ssh-ng://me@b2 aarch64-linux,armv7l-linux /root/.ssh/key 8 2 benchmark,kvm big-parallel c3NoLWVkMjU=";
    assert_eq!(understood(text), printed);
    assert_eq!(understood("b1 - - 0 1.5"), "b1 x86_64-linux - 0 1.5 - - -");
    assert_eq!(understood("b1 - - 1 0"), "b1 x86_64-linux - 1 1 - - -");
    assert_eq!(understood("b1 - - 1 1e2"), "b1 x86_64-linux - 1 100 - - -");
}

#[test]
fn entries_stand_on_lines_or_between_semicolons_and_comments_end_with_their_line() {
    let parsed = read("b1 ;b2; ;\n\n# all of it; b3\n  b4 # a comment; b5\n;;b6;# b7");
    assert_eq!(uris(&parsed), ["b1", "b2", "b4", "b6"]);
    let places: Vec<_> = parsed.entries.iter().map(|entry| entry.place.line).collect();
    assert_eq!(places, [1, 1, 4, 5]);
    assert_eq!(parsed.entries[2].raw, "b4");
}

#[test]
fn files_stand_side_by_side_and_missing_ones_are_ignored() {
    let files = [("/a", "b1\n@ /b "), ("/b", "b2;b3"), ("/c", "")];
    let parsed = read_with("@/a ; @/missing\n  @/c;b4", &files);
    assert_eq!(uris(&parsed), ["b1", "b2", "b3", "b4"]);
    assert_eq!(parsed.entries[1].place, Place { file: Some("/b".into()), line: 1 });
    assert_eq!(said(&parsed), Vec::<String>::new());
}

#[test]
fn files_that_include_each_other_come_to_an_end() {
    let parsed = read_with("@/a", &[("/a", "b1\n@/b"), ("/b", "@/a;b2")]);
    assert_eq!(uris(&parsed), ["b1", "b2"]);
    assert_eq!(said(&parsed), ["Refused /b, line 1: the included file '/a' is being read already"]);

    let mut asked = 0;
    let parsed = parse("@/0;@/0x", &local(), &mut |file| {
        asked += 1;
        Some(format!("@{file}0;@{file}1"))
    });
    assert_eq!(asked, 100);
    assert!(parsed.problems.iter().all(|problem| problem.message.contains("one file too many")));
}

#[test]
fn a_malformed_line_is_named_and_the_others_still_work() {
    let parsed = read_with(
        "- x86_64-linux\nb1 - - many\nb2 - - 1 fast;b3 - - 1 nan\nb4 - - 1 -1\n@/f\nb6 , \nb7 - - -1\ngood",
        &[("/f", "\n\nb5 - - - - - - key!")],
    );
    assert_eq!(uris(&parsed), ["good"]);
    assert_eq!(
        said(&parsed),
        [
            "Refused line 1: '-' is not a store URI: a dash stands for the default (field URI)",
            "Refused line 2: 'many' is not a whole number from 0 (field max-jobs)",
            "Refused line 3: 'fast' is not a number above 0 (field speed factor)",
            "Refused line 3: 'nan' is not a number above 0 (field speed factor)",
            "Refused line 4: '-1' is not a number above 0 (field speed factor)",
            "Refused /f, line 3: 'key!' is not a host key in base 64: it has another character (field host key)",
            "Refused line 6: ',' names no system (field systems)",
            "Refused line 7: '-1' is not a whole number from 0 (field max-jobs)",
        ]
    );
}

#[test]
fn quotation_marks_round_a_system_are_taken_off_and_noted() {
    // So writes the shell of the nix.dev tutorial, which puts the output of `nix-instantiate --eval` there.
    let parsed = read(
        "ssh-ng://remotebuild@remotebuilder \"x86_64-linux\" /root/.ssh/remotemachine - - nixos-test,kvm",
    );
    assert_eq!(
        parsed.entries[0].line.to_string(),
        "ssh-ng://remotebuild@remotebuilder x86_64-linux /root/.ssh/remotemachine 1 1 kvm,nixos-test - -"
    );
    assert!(parsed.entries[0].raw.contains("\"x86_64-linux\""), "the raw text is as it was");
    assert_eq!(
        said(&parsed),
        [
            "Note line 1: '\"x86_64-linux\"' has quotation marks, which Nix takes for part of the system (field systems)"
        ]
    );
}

#[test]
fn what_nix_tolerates_is_noted_and_the_line_is_kept() {
    let parsed = read("b1 x86_64-linux,,-odd - 1 1 -kvm,benchmark - - extra more");
    assert_eq!(uris(&parsed), ["b1"]);
    assert_eq!(parsed.entries[0].line.to_string(), "b1 x86_64-linux - 1 1 benchmark - -");
    assert_eq!(
        said(&parsed),
        [
            "Note line 1: '-odd' is not a system: it begins with a dash; it is left out (field systems)",
            "Note line 1: '-kvm' is not a system feature: it begins with a dash; it is left out (field supported features)",
            "Note line 1: 'extra' and what follows it is behind the last field, and ignored",
        ]
    );
}

#[test]
fn fields_that_would_break_a_line_cannot_be_made() {
    for text in ["", "-", "a b", "a\tb", "a;b", "a#b", "a\nb", "@file", "a\u{a0}b", &"x".repeat(4097)] {
        assert!(MachineUri::parse(text).is_err(), "{text:?}");
    }
    assert!(SshKey::parse("/a key").is_err());
    assert!(HostKey::parse("a=b").is_err());
    for factor in [f32::NAN, f32::INFINITY, -1.0, 4_294_967_296.0] {
        assert_eq!(SpeedFactor::new(factor), None);
    }
}

#[test]
fn whole_speed_factors_print_as_integers() {
    for (factor, text) in [(1.0, "1"), (100.0, "100"), (0.0, "1"), (2.5, "2.5"), (4e9, "4000000000")] {
        assert_eq!(SpeedFactor::new(factor).map(|factor| factor.to_string()).as_deref(), Some(text));
    }
}

fn reference(name: &str, socket: Option<&str>) -> LineRef {
    let name = LineName::parse(name).expect("a name");
    LineRef::Line { name, socket: socket.map(str::to_owned) }
}

#[test]
fn the_uri_of_an_own_line_is_the_form_that_nix_itself_writes() {
    let uri = |program, socket| {
        endpoint_uri(program, &reference("x86_64-linux.kvm-1,2", socket)).map(|uri| uri.to_string())
    };
    assert_eq!(
        uri("/run/current-system/sw/bin/muster", None).as_deref(),
        Ok(
            "ssh-ng://localhost?remote-program=/run/current-system/sw/bin/muster&remote-store=x86_64-linux.kvm-1%2C2"
        )
    );
    assert_eq!(
        uri("/opt/a+b@1/muster", Some("/run/my sockets/100%")).as_deref(),
        Ok("ssh-ng://localhost?remote-program=/opt/a%2Bb@1/muster\
            &remote-store=x86_64-linux.kvm-1%2C2@/run/my%2520sockets/100%2525")
    );
}

#[test]
fn what_nix_could_not_start_or_name_a_file_after_is_refused() {
    for program in ["muster", "", "/a b", "/a;b", "/a'b", "/a$b", "/a&b", "/ä", "/a{b,c}"] {
        assert!(
            matches!(endpoint_uri(program, &reference("all", None)), Err(BadEndpoint::Program(_))),
            "{program}"
        );
    }
    for socket in ["", "/", "run/x", "/a\0b"] {
        let refused = endpoint_uri("/m", &reference("all", Some(socket)));
        assert!(matches!(refused, Err(BadEndpoint::Socket(_))), "{socket}");
    }
    let long = reference(&"n".repeat(200), None);
    assert!(matches!(endpoint_uri("/m", &long), Err(BadEndpoint::TooLong(_))));
}

#[test]
fn references_to_lines_are_told_apart() {
    let name = |text: &str| LineName::parse(text).expect("a name");
    let label = |text: &str| Label::parse(text).expect("a label");
    for (text, expected) in [
        ("all", LineRef::Line { name: name("all"), socket: None }),
        ("a,b", LineRef::Line { name: name("a,b"), socket: None }),
        ("all@/run/x", LineRef::Line { name: name("all"), socket: Some("/run/x".into()) }),
        ("all@%2frun%2Fm%20y", LineRef::Line { name: name("all"), socket: Some("/run/m y".into()) }),
        ("all@/run/a@b", LineRef::Line { name: name("all"), socket: Some("/run/a@b".into()) }),
        ("use:big", LineRef::Use { label: label("big"), socket: None }),
        ("use:big@/run/x", LineRef::Use { label: label("big"), socket: Some("/run/x".into()) }),
    ] {
        assert_eq!(LineRef::parse(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        "@/run/x",
        "a b",
        "a/b",
        "use:",
        "use:@/run/x",
        "use:a,b",
        "x:y",
        "all@",
        "all@run",
        &"n".repeat(201),
    ] {
        assert!(LineRef::parse(text).is_err(), "{text}");
    }
    for socket in ["/a%", "/a%2", "/a%2g", "/a%+1", "/a%é", "/a%ff", "/a%00"] {
        assert!(matches!(LineRef::parse(&format!("all@{socket}")), Err(BadLineRef::Socket(_))), "{socket}");
    }
}

fn word() -> impl Strategy<Value = String> {
    "[a-z0-9_][a-z0-9_-]{0,8}"
}

prop_compose! {
    fn line()(
        uri in "[!-~]{1,30}",
        systems in proptest::collection::btree_set(word().prop_map(|w| System::parse(&w).expect("a system")), 1..4),
        ssh_key in proptest::option::of("/[!-~é]{1,20}"),
        max_jobs in any::<u32>(),
        factor in prop_oneof![(1_u16..1000).prop_map(f32::from), 1e-9_f32..1e9],
        supported in proptest::collection::btree_set(word().prop_map(|w| Feature::parse(&w).expect("a feature")), 0..4),
        mandatory in proptest::collection::btree_set(word().prop_map(|w| Feature::parse(&w).expect("a feature")), 0..4),
        host_key in proptest::option::of("[a-zA-Z0-9+/]{1,20}={0,2}"),
    ) -> Option<Line> {
        Some(Line {
            uri: MachineUri::parse(&uri).ok()?,
            systems,
            ssh_key: ssh_key.map(|key| SshKey::parse(&key)).transpose().ok()?,
            max_jobs,
            speed_factor: SpeedFactor::new(factor)?,
            supported,
            mandatory,
            host_key: host_key.map(|key| HostKey::parse(&key)).transpose().ok()?,
        })
    }
}

proptest! {
    #[test]
    fn a_printed_line_is_read_back_the_same(line in line().prop_filter_map("no line", |line| line)) {
        let parsed = read(&line.to_string());
        prop_assert_eq!(said(&parsed), Vec::<String>::new());
        prop_assert_eq!(&parsed.entries[0].line, &line);
        prop_assert_eq!(&parsed.entries[0].raw, &line.to_string());
    }

    #[test]
    fn any_text_is_read_and_what_was_read_reads_again(text in "([ -~\n\t\r]|[é;@#,-]){0,200}") {
        let parsed = parse(&text, &local(), &mut |file| file.len().is_multiple_of(2).then(|| text.clone()));
        let raws: Vec<_> = parsed.entries.iter().map(|entry| entry.raw.as_str()).collect();
        let again = read(&raws.join("\n"));
        let lines = |parsed: &Parsed| parsed.entries.iter().map(|e| e.line.clone()).collect::<Vec<_>>();
        prop_assert_eq!(lines(&again), lines(&parsed));
        let seen: BTreeSet<_> = lines(&parsed).iter().map(Line::to_string).collect();
        let printed: BTreeSet<_> = seen.iter().map(|line| understood(line)).collect();
        prop_assert_eq!(printed, seen);
    }

    #[test]
    fn any_reference_survives_its_text(name in "[a-zA-Z0-9._,-]{1,20}", socket in proptest::option::of("/\\PC{1,20}")) {
        let reference = LineRef::Line { name: LineName::parse(&name).expect("a name"), socket };
        prop_assert_eq!(LineRef::parse(&reference.to_string()), Ok(reference));
    }

    #[test]
    fn any_text_is_a_reference_or_refused(text in "\\PC{0,40}|[a-z@%/:0-9]{0,20}") {
        if let Ok(reference) = LineRef::parse(&text) {
            prop_assert_eq!(LineRef::parse(&reference.to_string()), Ok(reference));
        }
    }
}
