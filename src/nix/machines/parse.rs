//! Text to entries. One bad line is reported and spoils no other.

use std::collections::BTreeSet;
use std::fmt;

use super::line::{BadField, HostKey, Line, MachineUri, SpeedFactor, SshKey};
use crate::domain::{Feature, System};

/// Files that one text may bring in, over all levels, and entries in all of them.
const FILES_MAX: usize = 100;
const ENTRIES_MAX: usize = 10_000;
const FIELDS: [&str; 8] = [
    "URI",
    "systems",
    "ssh key",
    "max-jobs",
    "speed factor",
    "supported features",
    "mandatory features",
    "host key",
];

/// What a text of machines lines holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// The lines that can be used, in order.
    pub entries: Vec<Entry>,
    /// What is wrong with the others, and what is odd about these.
    pub problems: Vec<Problem>,
}

/// One line, read and as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it says; systems that were left out are the reader's own.
    pub line: Line,
    /// The same as it was written, without comment and surrounding white space: safe to copy for any Nix.
    pub raw: String,
    /// Where it was.
    pub place: Place,
}

/// Where a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file that an `@` named; none = the text itself.
    pub file: Option<String>,
    /// Counted from 1.
    pub line: usize,
}

/// Something to tell the user about a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}{}", .field.map(|field| format!(" (field {field})")).unwrap_or_default())]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// In which field; none = the entry as a whole.
    pub field: Option<&'static str>,
    /// The offending text, cut short.
    pub text: String,
    /// What is wrong with it, the text included.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// What a problem means for its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The line is used all the same.
    Note,
    /// The line is left out. With it, stock Nix may use none of the lines.
    Refused,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}, line {}", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

/// Reads a text of machines lines.
///
/// `include` is asked for the text of each `@FILE`; a missing one is none, and is ignored as Nix does.
pub fn parse(text: &str, default_system: &System, include: &mut dyn FnMut(&str) -> Option<String>) -> Parsed {
    let mut reader =
        Reader { default_system, include, open: Vec::new(), files: 0, parsed: Parsed::default() };
    reader.text(text);
    reader.parsed
}

struct Reader<'a> {
    default_system: &'a System,
    include: &'a mut dyn FnMut(&str) -> Option<String>,
    /// The files that are being read, each included by the one before it.
    open: Vec<String>,
    files: usize,
    parsed: Parsed,
}

impl Reader<'_> {
    fn text(&mut self, text: &str) {
        for (n, line) in text.split('\n').enumerate() {
            let place = Place { file: self.open.last().cloned(), line: n + 1 };
            let line = line.split_once('#').map_or(line, |(before, _comment)| before);
            for entry in line.split(';').map(|entry| entry.trim_matches(WHITE)) {
                match entry.strip_prefix('@') {
                    Some(file) => self.file(&place, file.trim_matches(WHITE)),
                    None if entry.is_empty() => {}
                    None => self.entry(&place, entry),
                }
            }
        }
    }

    fn file(&mut self, place: &Place, file: &str) {
        let refusal = if self.open.iter().any(|open| open == file) {
            "is being read already"
        } else if self.files >= FILES_MAX {
            "is one file too many"
        } else {
            self.files += 1;
            if let Some(text) = (self.include)(file) {
                self.open.push(file.to_owned());
                self.text(&text);
                self.open.pop();
            }
            return;
        };
        let message = format!("the included file '{}' {refusal}", clip(file));
        self.problem(place, None, file, message, Severity::Refused);
    }

    fn entry(&mut self, place: &Place, raw: &str) {
        if self.parsed.entries.len() >= ENTRIES_MAX {
            if self.parsed.entries.len() + self.parsed.problems.len() < 2 * ENTRIES_MAX {
                let message = format!("'{}' is beyond the {ENTRIES_MAX} entries that are read", clip(raw));
                self.problem(place, None, raw, message, Severity::Refused);
            }
            return;
        }
        let fields: Vec<&str> = raw.split(WHITE).filter(|field| !field.is_empty()).collect();
        let mut fields = Fields { fields: &fields, notes: Vec::new() };
        let line = fields.line(self.default_system);
        for (field, text, message) in std::mem::take(&mut fields.notes) {
            self.problem(place, field, &text, message, Severity::Note);
        }
        match line {
            Ok(line) => {
                self.parsed.entries.push(Entry { line, raw: raw.to_owned(), place: place.clone() });
            }
            Err((field, text, message)) => {
                self.problem(place, Some(field), &text, message, Severity::Refused);
            }
        }
    }

    fn problem(
        &mut self,
        place: &Place,
        field: Option<&'static str>,
        text: &str,
        message: String,
        severity: Severity,
    ) {
        let problem = Problem { place: place.clone(), field, text: clip(text), message, severity };
        self.parsed.problems.push(problem);
    }
}

/// What separates fields, as Nix has it.
const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

type Refusal = (&'static str, String, String);

/// The words of one entry.
struct Fields<'a> {
    fields: &'a [&'a str],
    notes: Vec<(Option<&'static str>, String, String)>,
}

impl Fields<'_> {
    fn line(&mut self, default_system: &System) -> Result<Line, Refusal> {
        let uri = self.fields.first().copied().unwrap_or_default();
        let mut line = Line::new(MachineUri::parse(uri).map_err(|bad| refused(0, uri, &bad))?);
        line.systems = self.systems(default_system)?;
        line.ssh_key = self.checked(2, SshKey::parse)?;
        line.max_jobs = self.number(3, "a whole number from 0", |text| text.parse().ok())?.unwrap_or(1);
        let factor = |text: &str| text.parse().ok().and_then(SpeedFactor::new);
        line.speed_factor = self.number(4, "a number above 0", factor)?.unwrap_or_default();
        line.supported = self.features(5);
        line.mandatory = self.features(6);
        line.host_key = self.checked(7, HostKey::parse)?;
        if let Some(more) = self.fields.get(8) {
            let message =
                format!("'{}' and what follows it is behind the last field, and ignored", clip(more));
            self.notes.push((None, (*more).to_owned(), message));
        }
        Ok(line)
    }

    /// A field, unless it is left to its default.
    fn field(&self, n: usize) -> Option<&str> {
        self.fields.get(n).copied().filter(|field| *field != "-")
    }

    fn checked<T>(&self, n: usize, parse: fn(&str) -> Result<T, BadField>) -> Result<Option<T>, Refusal> {
        let parse = |text| parse(text).map_err(|bad| refused(n, text, &bad));
        self.field(n).map(parse).transpose()
    }

    fn number<T>(
        &self,
        n: usize,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let parse =
            |text| parse(text).ok_or_else(|| refused(n, text, &format!("'{}' is not {what}", clip(text))));
        self.field(n).map(parse).transpose()
    }

    fn systems(&mut self, default_system: &System) -> Result<BTreeSet<System>, Refusal> {
        let Some(text) = self.field(1).map(str::to_owned) else {
            return Ok(BTreeSet::from([default_system.clone()]));
        };
        let unquoted: String = text.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
        if unquoted != text {
            let message =
                format!("'{}' has quotation marks, which Nix takes for part of the system", clip(&text));
            self.notes.push((Some(FIELDS[1]), text.clone(), message));
        }
        let systems = self.words(1, &unquoted, System::parse);
        if systems.is_empty() {
            return Err(refused(1, &text, &format!("'{}' names no system", clip(&text))));
        }
        Ok(systems)
    }

    fn features(&mut self, n: usize) -> BTreeSet<Feature> {
        let text = self.field(n).unwrap_or_default().to_owned();
        self.words(n, &text, Feature::parse)
    }

    /// The words between commas; Nix takes any, and one that cannot be meant does not spoil the line.
    fn words<T: Ord, E: fmt::Display>(
        &mut self,
        n: usize,
        text: &str,
        parse: fn(&str) -> Result<T, E>,
    ) -> BTreeSet<T> {
        let mut words = BTreeSet::new();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match parse(word) {
                Ok(word) => drop(words.insert(word)),
                Err(bad) => {
                    self.notes.push((Some(FIELDS[n]), word.to_owned(), format!("{bad}; it is left out")));
                }
            }
        }
        words
    }
}

fn refused(n: usize, text: &str, why: &impl fmt::Display) -> Refusal {
    (FIELDS[n], text.to_owned(), why.to_string())
}

fn clip(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
