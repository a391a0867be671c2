//! Which builders are drained, as the coordinator keeps it over a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::BuilderName;

/// The layout that this binary writes.
const SCHEMA: u32 = 1;

/// The file `drained.json` of the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drains {
    schema: u32,
    /// Who drained which builder.
    pub builders: BTreeMap<BuilderName, String>,
}

/// Why the file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum BadDrains {
    /// Not the JSON that we write.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Written by a later version.
    #[error("its schema is {0}, and this version reads {SCHEMA}")]
    Schema(u32),
}

impl Drains {
    /// What is to be kept.
    pub fn new(builders: BTreeMap<BuilderName, String>) -> Self {
        Self { schema: SCHEMA, builders }
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        // Names are text, so this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, BadDrains> {
        let drains: Self = serde_json::from_str(text)?;
        if drains.schema == SCHEMA { Ok(drains) } else { Err(BadDrains::Schema(drains.schema)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_anything_else_is_refused_with_its_fault() {
        let name = BuilderName::parse("b1").expect("a name");
        let drains = Drains::new(BTreeMap::from([(name, "eva".to_owned())]));
        assert_eq!(Drains::parse(&drains.to_text()).expect("ours"), drains);
        let bad = |text: &str| Drains::parse(text).expect_err("bad").to_string();
        assert!(bad(r#"{"schema":2,"builders":{}}"#).contains("schema is 2"));
        assert!(bad(r#"{"schema":1,"builders":{"a b":"eva"}}"#).contains("column"));
        assert!(bad("").contains("EOF"));
    }
}
