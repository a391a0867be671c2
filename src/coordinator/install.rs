//! Where the lines are written, so that Nix finds them.
//!
//! Always into our own machines file. Where Nix reads that one instead of another, every foreign line stands in it too.
//! Where it does not, and this coordinator may (`endpoint.install`), also into a marked section of Nix's own machines
//! file. There nothing is adopted: an adopted line would be offered twice.

use crate::config::{Config, Source};
use crate::edge::discover::machines::Look;
use crate::edge::edit::{self, EditError};
use crate::nix::section::{self, Torn};

/// Where lines go beside our own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nix reads our own file.
    OwnFile,
    /// A section of Nix's own machines file.
    Section,
    /// Nix does not find them by itself.
    Nowhere,
}

/// Why Nix's own machines file does not have our lines.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The file cannot be changed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The file has marks that make no sense.
    #[error("{}: {torn}", path.display())]
    Torn {
        /// The file.
        path: std::path::PathBuf,
        /// Where.
        torn: Torn,
    },
}

/// Decides where the lines go; `undone` where Nix has read our file before and does so no more: somebody wants that.
pub fn place(config: &Config, look: &Look, undone: bool) -> Place {
    let adopts = config.sources.contains(&Source::Machines);
    match (look.reads_ours, config.endpoint.install && look.reads_machines && !adopts && !undone) {
        (true, _) => Place::OwnFile,
        (false, true) => Place::Section,
        (false, false) => Place::Nowhere,
    }
}

/// What our own file holds: the lines, and where it stands for other files, what those hold: foreign lines, and adopted
/// ones that are `left` to Nix.
pub fn own_file(lines: &str, look: &Look, left: &[&str]) -> String {
    if !look.reads_ours {
        return lines.to_owned();
    }
    let foreign = look.foreign.iter().map(String::as_str).chain(left.iter().copied());
    foreign.fold(lines.to_owned(), |text, line| text + line + "\n")
}

/// Writes the section of Nix's own machines file.
pub fn write_section(config: &Config, lines: &str) -> Result<(), InstallError> {
    let path = config.nix.machines();
    let file = edit::open(&path, config.store_dir.as_str())?;
    let text = section::put(file.text.as_deref(), lines);
    let text = text.map_err(|torn| InstallError::Torn { path, torn })?;
    Ok(file.replace(Some(&text))?)
}

/// What a person has to do so that Nix finds the lines; none where there is nothing to do.
pub fn advice(config: &Config, place: Place) -> Option<String> {
    let file = config.endpoint.machines_file.display();
    let once = format!("nix build --builders @{file}");
    match place {
        Place::OwnFile | Place::Section => None,
        Place::Nowhere if config.endpoint.install => {
            Some(format!("Nix does not read {file} yet: run `muster setup`, or build with it once: {once}"))
        }
        Place::Nowhere => Some(format!("to build with it: {once}")),
    }
}

/// What to do where the files are made from the system's configuration.
pub fn option_to_set(config: &Config) -> String {
    let file = config.endpoint.machines_file.display();
    format!(
        "on NixOS and nix-darwin set nix.distributedBuilds = true and nix.settings.builders = \"@{file}\"; elsewhere \
         write `builders = @{file}` into the configuration that Nix reads"
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::config;
    use super::*;

    fn look(reads_ours: bool, reads_machines: bool) -> Look {
        Look { reads_ours, reads_machines, foreign: vec!["local".to_owned()], ..Look::default() }
    }

    #[test]
    fn the_lines_go_where_nix_finds_them_and_nobody_is_offered_twice() {
        let named = "[[builder]]\nuri = 'process:/b'\n";
        let check = |text: &str, look: Look, undone, expected| {
            assert_eq!(place(&config(text), &look, undone), expected, "{text} {look:?}");
        };
        check(named, look(true, false), false, Place::OwnFile);
        check(named, look(true, true), false, Place::OwnFile);
        check(named, look(false, true), false, Place::Section);
        check(named, look(false, true), true, Place::Nowhere);
        check(named, look(false, false), false, Place::Nowhere);
        check("", look(false, true), false, Place::Nowhere);
        let private = format!("{named}[endpoint]\ninstall = false\n");
        check(&private, look(false, true), false, Place::Nowhere);
    }

    #[test]
    fn our_file_holds_foreign_lines_only_where_it_stands_for_their_file() {
        assert_eq!(own_file("a\n", &look(true, false), &["ssh://old - - 1"]), "a\nlocal\nssh://old - - 1\n");
        assert_eq!(own_file("a\n", &look(false, true), &["ssh://old - - 1"]), "a\n");
    }

    #[test]
    fn advice_fits_whoever_runs_the_coordinator() {
        let say = |text: &str, place| advice(&config(text), place).unwrap_or_default();
        assert!(say("", Place::Nowhere).contains("muster setup"));
        let private = say("[endpoint]\ninstall = false\n", Place::Nowhere);
        assert_eq!(private, "to build with it: nix build --builders @/run/muster/machines");
        assert_eq!(say("", Place::Section) + &say("", Place::OwnFile), "");
    }
}
