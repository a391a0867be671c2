//! A TOML document that is taken apart key by key; what is left over is an error.
//!
//! Every error names the file, the line and the key. The keys that a section knows are those that were asked of it,
//! so that the list in an error can't differ from the code.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Place};

/// The text of a file and its name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    /// The whole document as its top section.
    pub(super) fn parse(self) -> Result<Section<'a>, ConfigError> {
        match DeTable::parse(self.text) {
            Ok(table) => Ok(Section::new(self, "the top section", table)),
            Err(error) => Err(self.error(error.span().map_or(0, |span| span.start), error.message())),
        }
    }

    /// The place of a byte.
    fn place(self, offset: usize) -> Place {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Place::File { file: self.file.to_owned(), line }
    }

    fn error(self, offset: usize, message: impl Into<String>) -> ConfigError {
        ConfigError::wrong(self.place(offset), message)
    }
}

/// One table of the document.
#[derive(Debug)]
pub(super) struct Section<'a> {
    source: Source<'a>,
    title: &'static str,
    offset: usize,
    rest: DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    fn new(source: Source<'a>, title: &'static str, table: Spanned<DeTable<'a>>) -> Self {
        Self { source, title, offset: table.span().start, rest: table.into_inner(), known: Vec::new() }
    }

    /// Where the section begins.
    pub(super) fn place(&self) -> Place {
        self.source.place(self.offset)
    }

    /// An error that concerns the section as a whole.
    pub(super) fn error(&self, message: impl std::fmt::Display) -> ConfigError {
        ConfigError::wrong(self.place(), format!("{}: {message}", self.title))
    }

    /// Takes a key's value, if there is one.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.remove(key) else { return Ok(None) };
        let found = read(value.get_ref());
        found.map(Some).map_err(|why| self.wrong(key, value.span().start, &why))
    }

    /// Takes a key's value, or what stands for it.
    pub(super) fn take_or<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        Ok(self.take(key, read)?.unwrap_or(default))
    }

    /// Takes the value of a key that must be there.
    pub(super) fn take_needed<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        self.take(key, read)?.ok_or_else(|| self.error(format!("key `{key}` is missing")))
    }

    /// Takes a section below this one; an empty one where there is none.
    pub(super) fn section(&mut self, key: &'static str, title: &'static str) -> Result<Self, ConfigError> {
        let section = self.optional(key, title)?;
        Ok(section.unwrap_or_else(|| Self::new(self.source, title, Spanned::new(0..0, DeTable::new()))))
    }

    /// Takes a section below this one, if there is one.
    pub(super) fn optional(
        &mut self,
        key: &'static str,
        title: &'static str,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(value) = self.remove(key) else { return Ok(None) };
        self.nested(key, title, value).map(Some)
    }

    /// Takes the sections of an array of tables.
    pub(super) fn sections(
        &mut self,
        key: &'static str,
        title: &'static str,
    ) -> Result<Vec<Self>, ConfigError> {
        let Some(value) = self.remove(key) else { return Ok(Vec::new()) };
        let span = value.span();
        let DeValue::Array(tables) = value.into_inner() else {
            return Err(self.wrong(key, span.start, &format!("each must be written as {title}")));
        };
        tables.into_iter().map(|table| self.nested(key, title, table)).collect()
    }

    /// Ends the section: a key that nobody asked for is an error.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let first = self.rest.iter().min_by_key(|(key, _)| key.span().start);
        let Some((key, _)) = first else { return Ok(()) };
        let message =
            format!("unknown key `{}` in {}; known: {}", key.get_ref(), self.title, self.known.join(", "));
        Err(self.source.error(key.span().start, message))
    }

    fn remove(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.rest.remove(key)
    }

    fn nested(
        &self,
        key: &'static str,
        title: &'static str,
        value: Spanned<DeValue<'a>>,
    ) -> Result<Self, ConfigError> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(Self::new(self.source, title, Spanned::new(span, table))),
            _ => Err(self.wrong(key, span.start, &format!("must be written as {title}"))),
        }
    }

    fn wrong(&self, key: &str, offset: usize, why: &str) -> ConfigError {
        self.source.error(offset, format!("`{key}` in {}: {why}", self.title))
    }
}
