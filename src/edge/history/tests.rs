use super::*;
use crate::domain::{BuilderName, System};

fn seen(pname: &str, at: u64) -> Observation {
    Observation {
        pname: pname.to_owned(),
        system: System::parse("x86_64-linux").expect("a system"),
        builder: BuilderName::parse("b1").expect("a name"),
        speed: 1.5,
        closure_bytes: u64::MAX >> 1,
        cores: Some(4),
        took: Duration::from_millis(1_234),
        substituted: false,
        at,
    }
}

fn open(dir: &Path) -> (History, Option<SetAside>) {
    History::open(dir, 7).expect("a history")
}

fn names(dir: &Path) -> Vec<String> {
    let seen = read(dir).expect("readable").expect("a file");
    seen.into_iter().map(|seen| seen.pname).collect()
}

#[test]
fn what_was_kept_is_recalled_at_the_next_start_and_can_be_read_meanwhile() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("state");
    assert!(read(&state).expect("no history yet").is_none());
    let (mut history, aside) = open(&state);
    assert!(aside.is_none() && history.recall().expect("empty").is_empty());
    let kept = [seen("hello", 1), Observation { cores: None, substituted: true, ..seen("zlib", 2) }];
    history.keep(&kept).expect("kept");
    assert_eq!(read(&state).expect("beside the writer").as_deref(), Some(&kept[..]));
    drop(history);
    assert_eq!(read(&state).expect("without one").as_deref(), Some(&kept[..]));
    assert_eq!(open(&state).0.recall().expect("recalled"), kept);
}

#[test]
fn a_broken_a_later_and_a_foreign_database_are_set_aside_and_the_next_one_works() {
    let write = |text: &'static str| move |path: &Path| fs::write(path, text).expect("written");
    let change = |sql: &'static str| {
        move |path: &Path| {
            let dir = path.parent().expect("a directory");
            open(dir).0.keep(&[seen("old", 1)]).expect("kept");
            Connection::open(path).expect("a database").execute_batch(sql).expect("changed");
        }
    };
    type Spoil = Box<dyn Fn(&Path)>;
    let cases: [(Spoil, &str); 5] = [
        (
            Box::new(write("no database at all, and longer than its header would be: ................")),
            "broken",
        ),
        (Box::new(change("PRAGMA user_version = 2")), "later muster (version 2"),
        (Box::new(change("PRAGMA application_id = 1")), "another program"),
        (Box::new(truncated), "broken"),
        (Box::new(change("PRAGMA user_version = -1")), "(version -1"),
    ];
    for (spoil, expected) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        spoil(&file(dir.path()));
        assert!(read(dir.path()).is_err(), "{expected}: nobody reads it");
        let (mut history, aside) = open(dir.path());
        let aside = aside.expect("set aside");
        assert!(aside.why.to_string().contains(expected), "{}", aside.why);
        assert_eq!(aside.to, dir.path().join("history.sqlite.aside-7"));
        assert!(aside.to.is_file(), "it can still be looked into");
        history.keep(&[seen("new", 1)]).expect("kept");
        assert_eq!(names(dir.path()), ["new"]);
    }
}

/// A file system that lost the end of it.
fn truncated(path: &Path) {
    let dir = path.parent().expect("a directory");
    let many: Vec<_> = (0..2_000).map(|at| seen("old", at)).collect();
    open(dir).0.keep(&many).expect("kept");
    let file = fs::OpenOptions::new().write(true).open(path).expect("a file");
    let length = file.metadata().expect("a length").len();
    file.set_len(length / 2 / 4096 * 4096).expect("cut");
}

#[test]
fn what_is_too_old_or_too_much_is_forgotten() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut history, _) = open(dir.path());
    history.keep(&[seen("old", 9), seen("young", 10)]).expect("kept");
    history.forget(10 + KEPT_FOR_SECONDS).expect("forgotten");
    assert_eq!(names(dir.path()), ["young"]);
    history.keep(&(0..5).map(|at| seen(&at.to_string(), 10)).collect::<Vec<_>>()).expect("kept");
    rows::delete(&history.connection, 0, 3).expect("forgotten");
    assert_eq!(names(dir.path()), ["2", "3", "4"]);
}

#[test]
fn rows_that_make_no_sense_are_passed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut history, _) = open(dir.path());
    let long = "x".repeat(201);
    history.keep(&[seen(&long, 1), Observation { speed: f64::NAN, ..seen("nan", 1) }]).expect("kept");
    history.keep(&[seen("a", 1), seen("b", 2), seen("c", 3)]).expect("kept");
    let sql =
        "UPDATE builds SET system = '' WHERE pname = 'a'; UPDATE builds SET took_ms = -1 WHERE pname = 'b'";
    history.connection.execute_batch(sql).expect("changed");
    assert_eq!(names(dir.path()), ["c"]);
}
