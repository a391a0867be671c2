//! What the coordinator leaves beside its socket for `connect`, which must answer Nix before it has asked anybody.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The file `endpoint.json`. Every field may be missing: a `connect` without it uses what is usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notice {
    /// The directory of the store that is built for.
    pub store_dir: String,
    /// The minor version of the worker protocol to announce at most: the local daemon's.
    pub protocol_minor: u8,
    /// The version of Nix to announce.
    pub nix_version: String,
    /// How long to wait for a coordinator that is gone.
    pub reconnect_timeout_ms: u64,
    /// Who stopped the coordinator for good: nobody need wait for another one.
    pub stopped_by: Option<String>,
}

impl Default for Notice {
    fn default() -> Self {
        Self {
            store_dir: "/nix/store".to_owned(),
            protocol_minor: 35,
            nix_version: concat!("muster ", env!("CARGO_PKG_VERSION")).to_owned(),
            reconnect_timeout_ms: 600_000,
            stopped_by: None,
        }
    }
}

impl Notice {
    /// The file's text.
    pub fn to_text(&self) -> String {
        // Only a map with keys that are no texts could fail, and there is none.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the file's text; what is no notice counts as none.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// How long to wait for a coordinator that is gone.
    pub fn reconnect_timeout(&self) -> Duration {
        Duration::from_millis(self.reconnect_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_version_or_of_nonsense_leaves_what_is_usual() {
        assert_eq!(Notice::parse("nonsense"), Notice::default());
        let other = Notice::parse(r#"{"protocol_minor": 34, "later": [1]}"#);
        assert_eq!(other, Notice { protocol_minor: 34, ..Notice::default() });
    }
}
