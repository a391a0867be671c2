//! `nix.conf`: `NAME = VALUE` lines, `include FILE`, `!include FILE` and comments.
//!
//! Later lines win; `extra-NAME` adds to what was there. A value is its words joined by single spaces, as Nix reads
//! it. Source: `config.cc` of Nix 2.8 to 2.34, and `nix.conf(5)`. What Nix would refuse is a problem here, and no
//! reason to stop reading.

use std::collections::BTreeMap;
use std::fmt;

/// Files that one file may bring in, over all levels.
const FILES_MAX: usize = 100;
/// Names that Nix still takes for others.
const ALIASES: [(&str, &str); 4] = [
    ("build-max-jobs", "max-jobs"),
    ("build-cores", "cores"),
    ("build-max-silent-time", "max-silent-time"),
    ("build-timeout", "timeout"),
];

/// What the files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    values: BTreeMap<String, Value>,
    /// Every file that was asked for, in order, the first one included.
    pub files: Vec<String>,
    /// What Nix would refuse, each with file and line.
    pub problems: Vec<String>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What it is set to.
    pub text: String,
    /// Where that was said last.
    pub place: Place,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// In which file.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Conf {
    /// Reads a file, and what it includes, after what was read before. `include` is asked for each file's text; a
    /// missing one is none.
    pub fn read(&mut self, file: &str, include: &mut dyn FnMut(&str) -> Option<String>) {
        self.file(file, &mut Vec::new(), include);
    }

    /// A setting, if a file names it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Whether Nix builds on this machine itself: unless `max-jobs` is 0. Nix's default is 1.
    pub fn builds_locally(&self) -> bool {
        self.get("max-jobs").is_none_or(|value| value.text.parse() != Ok(0))
    }

    /// Whether builders substitute what they can before inputs are sent to them. Nix's default is no.
    pub fn builders_use_substitutes(&self) -> bool {
        self.get("builders-use-substitutes").is_some_and(|value| value.text == "true")
    }

    /// A number that is 0 unless a file says otherwise.
    pub fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|value| value.text.parse().ok()).unwrap_or(0)
    }

    fn file(&mut self, file: &str, open: &mut Vec<String>, include: &mut dyn FnMut(&str) -> Option<String>) {
        self.files.push(file.to_owned());
        let Some(text) = include(file) else { return };
        open.push(file.to_owned());
        for (n, line) in text.split('\n').enumerate() {
            let place = Place { file: file.to_owned(), line: n + 1 };
            let line = line.split_once('#').map_or(line, |(before, _comment)| before);
            let words: Vec<&str> = line.split([' ', '\t', '\r']).filter(|word| !word.is_empty()).collect();
            match words[..] {
                [] => {}
                ["include" | "!include", other] => self.include(&place, other, open, include),
                [name, "=", ..] => self.set(name, words[2..].join(" "), place),
                _ => self.problem(&place, "Nix refuses this line"),
            }
        }
        open.pop();
    }

    fn include(
        &mut self,
        place: &Place,
        other: &str,
        open: &mut Vec<String>,
        include: &mut dyn FnMut(&str) -> Option<String>,
    ) {
        let other = beside(&place.file, other);
        if self.files.len() > FILES_MAX || open.contains(&other) {
            self.problem(place, "this file is being read already, or one too many");
        } else {
            self.file(&other, open, include);
        }
    }

    fn set(&mut self, name: &str, text: String, place: Place) {
        let alias = ALIASES.iter().find(|(old, _)| *old == name);
        let name = alias.map_or(name, |(_, name)| name);
        if name == "extra-builders" {
            return self.problem(&place, "Nix knows no setting extra-builders, and passes over it");
        }
        let before =
            |name: &str| self.get(name).map(|value| value.text.as_str()).filter(|text| !text.is_empty());
        let (name, text) = match name.strip_prefix("extra-") {
            None => (name, text),
            Some(name) => {
                (name, before(name).into_iter().chain([text.as_str()]).collect::<Vec<_>>().join(" "))
            }
        };
        self.values.insert(name.to_owned(), Value { text, place });
    }

    fn problem(&mut self, place: &Place, what: &str) {
        self.problems.push(format!("{place}: {what}"));
    }
}

/// A path as Nix takes it in a file: relative ones begin at that file's directory.
fn beside(file: &str, other: &str) -> String {
    match file.rsplit_once('/') {
        Some((dir, _)) if !other.starts_with('/') => format!("{dir}/{other}"),
        _ => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(files: &[(&str, &str)]) -> Conf {
        let mut conf = Conf::default();
        let mut include =
            |wanted: &str| files.iter().find(|(name, _)| *name == wanted).map(|(_, text)| (*text).to_owned());
        conf.read(files[0].0, &mut include);
        conf
    }

    fn value(text: &str, name: &str) -> Option<String> {
        read(&[("/etc/nix/nix.conf", text)]).get(name).map(|value| value.text.clone())
    }

    #[test]
    fn a_value_is_its_words_and_the_last_one_wins() {
        let check =
            |text, expected: Option<&str>| assert_eq!(value(text, "a").as_deref(), expected, "{text}");
        check("a = 1\na =  2   3 # four\n", Some("2 3"));
        check("a =", Some(""));
        check("# a = 1\n", None);
        check("a = 1\nextra-a = 2\n", Some("1 2"));
        check("extra-a = 2", Some("2"));
        assert_eq!(value("builders = a\nextra-builders = b", "builders").as_deref(), Some("a"));
        check("a=1\nb\n", None);
        check("a = 1\r\n", Some("1"));
    }

    #[test]
    fn included_files_are_read_in_their_place_and_relative_to_the_file() {
        let files = [
            ("/etc/nix/nix.conf", "a = 1\n!include more.conf\n!include /none\nb = 3\n"),
            ("/etc/nix/more.conf", "a = 2\nb = 2\ninclude nix.conf\n"),
        ];
        let conf = read(&files);
        let place = |name| conf.get(name).expect("set").place.to_string();
        assert_eq!([place("a"), place("b")], ["/etc/nix/more.conf:1", "/etc/nix/nix.conf:4"]);
        assert_eq!(conf.files, ["/etc/nix/nix.conf", "/etc/nix/more.conf", "/none"]);
        assert_eq!(conf.problems.len(), 1, "it includes itself: {:?}", conf.problems);
    }

    #[test]
    fn builders_substitute_only_where_that_is_said() {
        for (text, expected) in [("", false), ("builders-use-substitutes = true", true)] {
            assert_eq!(read(&[("/n", text)]).builders_use_substitutes(), expected, "{text}");
        }
    }

    #[test]
    fn nix_builds_here_unless_max_jobs_is_zero() {
        let check = |text, expected| {
            assert_eq!(read(&[("/n", text)]).builds_locally(), expected, "{text}");
        };
        check("", true);
        check("max-jobs = auto", true);
        check("max-jobs = 4", true);
        check("max-jobs = 0", false);
        check("build-max-jobs = 0", false);
        check("max-jobs = 0\nmax-jobs = 1", true);
    }

    #[test]
    fn a_limit_is_off_unless_it_is_set() {
        let number = |text| read(&[("/n", text)]).number("timeout");
        assert_eq!([number(""), number("timeout = x"), number("build-timeout = 60")], [0, 0, 60]);
    }

    #[test]
    fn what_nix_refuses_is_named_with_its_line() {
        assert_eq!(read(&[("/n", "\nfoo bar\n")]).problems, ["/n:2: Nix refuses this line"]);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "([a-z=#! \t/-]{0,12}\n|!?include [a-z/]{1,5}\n|\\PC{0,9}){0,8}") {
            let mut conf = Conf::default();
            conf.read("/x/n", &mut |_| Some(text.clone()));
        }
    }
}
