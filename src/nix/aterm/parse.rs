//! The reader: one pass, no recursion, nothing allocated that the file does not hold.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::Derivation;
use crate::domain::{DerivationOutput, StoreDir, StorePath, System};

/// Structured attributes of large packages take some megabytes.
const FILE_MAX: usize = 64 << 20;

/// Bytes that are no derivation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a derivation at byte {at}: {wrong}")]
pub struct DrvError {
    /// Where in the file.
    pub at: usize,
    /// What is wrong there.
    pub wrong: Wrong,
}

/// What is wrong with a derivation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each message says what its fields are.
pub enum Wrong {
    #[error("it has {0} bytes, {FILE_MAX} are allowed")]
    TooLarge(usize),
    #[error("it has the format '{0}' (dynamic derivations), which is not supported")]
    Dynamic(String),
    #[error("'{found}' where '{expected}' is due")]
    Syntax { expected: &'static str, found: String },
    #[error("a string without an end")]
    Unterminated,
    #[error("the {what} '{text}' is not UTF-8")]
    NotText { what: &'static str, text: String },
    #[error("{0}")]
    Path(#[from] crate::domain::store_path::BadStorePath),
    #[error("{0}")]
    Platform(#[from] crate::domain::system::BadWord),
    #[error("the {what} '{key}' is there twice")]
    Twice { what: &'static str, key: String },
}

impl Derivation {
    /// Reads a `.drv` file whose store paths lie in `dir`.
    pub fn parse(bytes: &[u8], dir: &StoreDir) -> Result<Self, DrvError> {
        let mut reader = Reader { bytes, at: 0, dir };
        if bytes.len() > FILE_MAX {
            return Err(reader.wrong(Wrong::TooLarge(bytes.len())));
        }
        reader.head()?;
        let outputs = reader.map("output", Reader::output)?;
        reader.expect(",")?;
        let input_drvs = reader.map("input derivation", Reader::input_drv)?;
        reader.expect(",")?;
        let input_srcs = reader.list(Reader::path)?.into_iter().collect();
        reader.expect(",")?;
        let platform = reader.platform()?;
        reader.expect(",")?;
        let builder = reader.bytes()?;
        reader.expect(",")?;
        let args = reader.list(Reader::bytes)?;
        reader.expect(",")?;
        let env = reader.map("variable", Reader::variable)?;
        reader.expect(")")?;
        reader.end()?;
        Ok(Self { outputs, input_drvs, input_srcs, platform, builder, args, env })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    dir: &'a StoreDir,
}

impl<'a> Reader<'a> {
    fn head(&mut self) -> Result<(), DrvError> {
        if !self.take("DrvWithVersion(") {
            return self.expect("Derive(");
        }
        let format = shown(&self.string()?);
        Err(DrvError { at: 0, wrong: Wrong::Dynamic(format) })
    }

    fn end(&self) -> Result<(), DrvError> {
        if self.at < self.bytes.len() { Err(self.syntax("the end of the file")) } else { Ok(()) }
    }

    fn output(&mut self) -> Result<(String, DerivationOutput), DrvError> {
        let name = self.text("output name")?;
        self.expect(",")?;
        let start = self.at;
        let path = match self.text("output path")?.as_str() {
            "" => None,
            path => Some(self.dir.parse_path(path).map_err(|bad| DrvError { at: start, wrong: bad.into() })?),
        };
        self.expect(",")?;
        let hash_algo = self.text("hash algorithm")?;
        self.expect(",")?;
        let hash = self.text("hash")?;
        Ok((name, DerivationOutput { path, hash_algo, hash }))
    }

    fn input_drv(&mut self) -> Result<(StorePath, BTreeSet<String>), DrvError> {
        let path = self.path()?;
        self.expect(",")?;
        let outputs = self.list(|reader| reader.text("output name"))?;
        Ok((path, outputs.into_iter().collect()))
    }

    fn variable(&mut self) -> Result<(Vec<u8>, Vec<u8>), DrvError> {
        let name = self.bytes()?;
        self.expect(",")?;
        Ok((name, self.bytes()?))
    }

    fn platform(&mut self) -> Result<System, DrvError> {
        let start = self.at;
        let word = self.text("platform")?;
        System::parse(&word).map_err(|bad| DrvError { at: start, wrong: bad.into() })
    }

    fn path(&mut self) -> Result<StorePath, DrvError> {
        let start = self.at;
        let path = self.text("store path")?;
        self.dir.parse_path(&path).map_err(|bad| DrvError { at: start, wrong: bad.into() })
    }

    /// `[(key,value),...]`, in any order, each key once.
    fn map<K: Ord, V>(
        &mut self,
        what: &'static str,
        pair: impl Fn(&mut Self) -> Result<(K, V), DrvError>,
    ) -> Result<BTreeMap<K, V>, DrvError> {
        let mut map = BTreeMap::new();
        let pairs = self.list(|reader| {
            reader.expect("(")?;
            let start = reader.at;
            let pair = pair(reader)?;
            reader.expect(")")?;
            Ok((start, pair))
        })?;
        for (at, (key, value)) in pairs {
            if map.insert(key, value).is_some() {
                let key = shown(&Reader { at, ..*self }.string()?);
                return Err(DrvError { at, wrong: Wrong::Twice { what, key } });
            }
        }
        Ok(map)
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, DrvError>) -> Result<Vec<T>, DrvError> {
        let mut items = Vec::new();
        self.expect("[")?;
        if self.take("]") {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.take("]") {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    fn text(&mut self, what: &'static str) -> Result<String, DrvError> {
        let start = self.at;
        let bytes = self.bytes()?;
        String::from_utf8(bytes).map_err(|bad| {
            let text = shown(bad.as_bytes());
            DrvError { at: start, wrong: Wrong::NotText { what, text } }
        })
    }

    fn bytes(&mut self) -> Result<Vec<u8>, DrvError> {
        self.string().map(Cow::into_owned)
    }

    /// A quoted string. `\n`, `\r` and `\t` mean what they do in C; a backslash before another byte means that byte.
    fn string(&mut self) -> Result<Cow<'a, [u8]>, DrvError> {
        self.expect("\"")?;
        let start = self.at;
        let rest = &self.bytes[start..];
        let mut unescaped: Option<Vec<u8>> = None;
        let mut copied = 0;
        let unterminated = DrvError { at: start - 1, wrong: Wrong::Unterminated };
        loop {
            let Some(run) = rest[copied..].iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                return Err(unterminated);
            };
            let plain = &rest[copied..copied + run];
            copied += run + 1;
            if rest[copied - 1] == b'"' {
                self.at = start + copied;
                return Ok(unescaped.map_or(Cow::Borrowed(plain), |mut all| {
                    all.extend_from_slice(plain);
                    Cow::Owned(all)
                }));
            }
            let Some(escaped) = rest.get(copied) else {
                return Err(unterminated);
            };
            copied += 1;
            let all = unescaped.get_or_insert_default();
            all.extend_from_slice(plain);
            all.push(unescape(*escaped));
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.bytes[self.at..].starts_with(word.as_bytes());
        if there {
            self.at += word.len();
        }
        there
    }

    fn expect(&mut self, word: &'static str) -> Result<(), DrvError> {
        if self.take(word) { Ok(()) } else { Err(self.syntax(word)) }
    }

    fn syntax(&self, expected: &'static str) -> DrvError {
        let rest = &self.bytes[self.at..];
        let found = if rest.is_empty() { "the end".to_owned() } else { shown(&rest[..rest.len().min(20)]) };
        self.wrong(Wrong::Syntax { expected, found })
    }

    fn wrong(&self, wrong: Wrong) -> DrvError {
        DrvError { at: self.at, wrong }
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}
