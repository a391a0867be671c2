//! What several tests of the coordinator begin with.

use std::path::Path;

use crate::cli::Settings;
use crate::config::{Config, Environment};

/// What that file means to root.
pub fn config(text: &str) -> Config {
    let environment = Environment {
        uid: 0,
        home: None,
        config_home: None,
        state_home: None,
        runtime_dir: None,
        nix_user_conf_files: None,
        nix_sshopts: None,
        cwd: "/".into(),
        exe: "/usr/bin/muster".into(),
        width: None,
    };
    Config::from_text(&Settings::default(), &environment, Some((Path::new("test"), text)))
        .expect("a configuration")
}
