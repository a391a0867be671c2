//! What to do about a check: a sentence for people, and in it what is to be typed or written, and where.

use serde::Serialize;

/// Where something is to be typed or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In a shell of this machine.
    Here,
    /// In a shell of the builder, as root.
    Builder,
    /// In muster's configuration, in the builder's table.
    Configuration,
}

/// One thing to type or to write; a word in capitals is the reader's to fill in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Where.
    pub place: Place,
    /// What, word for word.
    pub text: String,
}

/// The sentence is put together of plain words and of steps, so that each step stands in it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fix {
    pub(super) text: String,
    pub(super) steps: Vec<Step>,
}

impl Fix {
    /// Goes on with words.
    pub fn say(mut self, words: impl AsRef<str>) -> Self {
        self.text += words.as_ref();
        self
    }

    /// Goes on with a command for this machine.
    pub fn here(self, command: impl Into<String>) -> Self {
        self.step(Place::Here, command.into())
    }

    /// Goes on with a command for the builder.
    pub fn builder(self, command: impl Into<String>) -> Self {
        self.step(Place::Builder, command.into())
    }

    /// Goes on with a line of the configuration.
    pub fn configuration(self, line: impl Into<String>) -> Self {
        self.step(Place::Configuration, line.into())
    }

    fn step(mut self, place: Place, text: String) -> Self {
        self.text += &text;
        self.steps.push(Step { place, text });
        self
    }
}

/// Words alone.
pub(super) fn say(words: impl AsRef<str>) -> Fix {
    Fix::default().say(words)
}

/// A command for this machine, alone or before more.
pub(super) fn here(command: impl Into<String>) -> Fix {
    Fix::default().here(command)
}

impl From<&str> for Fix {
    fn from(words: &str) -> Self {
        say(words)
    }
}

impl From<String> for Fix {
    fn from(words: String) -> Self {
        say(words)
    }
}
