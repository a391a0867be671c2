//! What a source's command prints: a line of JSON for each builder. `docs/sources.md` describes it.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::domain::{BuilderName, BuilderSpec, Feature, Label, Slots, System};

/// Builders that one command may name.
const MOST: usize = 10_000;

/// One builder, as the command names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its name, where the command gave it one.
    pub name: Option<BuilderName>,
    /// How it is reached; not looked at yet.
    pub uri: String,
    /// Its ssh host key, as `TYPE BASE64`.
    pub host_key: Option<String>,
    /// Everything else; the name in it counts only where `name` is one.
    pub values: Values,
}

/// What is said of a builder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    systems: Option<BTreeSet<System>>,
    features: Option<BTreeSet<Feature>>,
    mandatory: BTreeSet<Feature>,
    slots: Option<Slots>,
    speed_factor: Option<f64>,
    labels: BTreeSet<Label>,
}

impl Values {
    /// The same for a builder of that name.
    pub fn named(self, name: BuilderName) -> BuilderSpec {
        let Self { systems, features, mandatory, slots, speed_factor, labels } = self;
        let named = BuilderSpec::named(name);
        BuilderSpec { systems, features, mandatory, slots, speed_factor, labels, ..named }
    }
}

/// A line that names no builder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BadListing {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, the field included.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: Option<BuilderName>,
    uri: String,
    systems: Option<BTreeSet<System>>,
    features: Option<BTreeSet<Feature>>,
    #[serde(default)]
    mandatory: BTreeSet<Feature>,
    slots: Option<Slots>,
    speed_factor: Option<f64>,
    host_key: Option<String>,
    #[serde(default)]
    labels: BTreeSet<String>,
}

/// Reads all lines; empty ones are passed over, and one bad line spoils them all: half a list would make builders vanish.
pub fn parse(text: &str) -> Result<Vec<Listed>, BadListing> {
    let mut listed = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |message: String| BadListing { line: n + 1, message };
        if listed.len() == MOST {
            return Err(bad(format!("more than {MOST} builders")));
        }
        let row: Row = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        listed.push(row.check().map_err(bad)?);
    }
    Ok(listed)
}

impl Row {
    fn check(self) -> Result<Listed, String> {
        let Row { name, uri, systems, features, mandatory, slots, speed_factor, host_key, labels } = self;
        if systems.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err("`systems` is empty; leave it out to have them measured".to_owned());
        }
        if let Some(bad) = speed_factor.filter(|factor| !factor.is_finite() || *factor <= 0.0) {
            return Err(format!("`speed_factor` is {bad}; it must be above zero"));
        }
        if let Some(bad) = host_key.as_deref().filter(|key| !is_host_key(key)) {
            let bad: String = bad.escape_debug().take(100).collect();
            return Err(format!("`host_key` is '{bad}'; it must be a type and a key, as in a .pub file"));
        }
        let labels: Result<_, _> = labels.iter().map(|label| Label::parse(label)).collect();
        let labels = labels.map_err(|error| format!("`labels`: {error}"))?;
        let values = Values { systems, features, mandatory, slots, speed_factor, labels };
        Ok(Listed { name, uri, host_key, values })
    }
}

/// `ssh-ed25519 AAAA...`, perhaps with a comment behind it.
fn is_host_key(text: &str) -> bool {
    let mut words = text.split(' ');
    let word = |word: Option<&str>, more: &[u8]| {
        word.is_some_and(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
        })
    };
    text.len() <= 8192
        && !text.contains(char::is_control)
        && word(words.next(), b"-@.")
        && word(words.next(), b"+/=")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_builder_is_a_line_with_what_is_known_of_it() {
        let text = concat!(
            r#"{"uri":"ssh-ng://b1"}"#,
            "\n\n",
            r#"{"name":"big","uri":"x","systems":["x86_64-linux"],"features":["kvm"],"mandatory":["kvm"],"slots":8,"#,
            r#""speed_factor":1.5,"host_key":"ssh-ed25519 AAAAC3Nz","labels":["eu"]}"#,
            "\n"
        );
        let listed = parse(text).expect("good");
        assert_eq!((listed[0].name.as_ref(), listed[0].uri.as_str()), (None, "ssh-ng://b1"));
        let spec = listed[1].values.clone().named(listed[1].name.clone().expect("named"));
        assert_eq!(spec.slots.map(u32::from), Some(8));
        assert_eq!(spec.mandatory.len() + spec.labels.len(), 2);
        assert_eq!(listed[1].host_key.as_deref(), Some("ssh-ed25519 AAAAC3Nz"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_field() {
        let check = |text: &str, line, word: &str| {
            let bad = parse(text).expect_err(text);
            assert_eq!(bad.line, line, "{bad}");
            assert!(bad.message.contains(word), "{bad}");
        };
        check("{\"uri\":\"b\"}\n{\"uri\":\"b\",\"slot\":1}", 2, "unknown field `slot`");
        check("{}", 1, "missing field `uri`");
        check("{\"uri\":\"b\",\"slots\":0}", 1, "nonzero");
        check("{\"uri\":\"b\",\"systems\":[]}", 1, "`systems` is empty");
        check("{\"uri\":\"b\",\"systems\":[\"a b\"]}", 1, "'a b' is not a system");
        check("{\"uri\":\"b\",\"speed_factor\":-1}", 1, "`speed_factor` is -1");
        check("{\"uri\":\"b\",\"name\":\"-o\"}", 1, "cannot name a builder");
        check("{\"uri\":\"b\",\"host_key\":\"AAAA\"}", 1, "`host_key`");
        check("{\"uri\":\"b\",\"host_key\":\"ssh-x AA\\nx\"}", 1, "`host_key`");
        check("{\"uri\":\"b\",\"labels\":[\"\"]}", 1, "`labels`");
        check("hello", 1, "expected value");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "([\\[\\]{}\":,a-z0-9 ]{0,30}\n|\\PC{0,30}){0,5}") {
            let _ = parse(&text);
        }
    }
}
