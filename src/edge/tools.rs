//! Programs of this machine.

use std::env;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where Nix and others put programs that a bare `PATH` may lack.
const USUAL: [&str; 4] =
    ["/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin", "/usr/bin", "/bin"];

/// The directories that programs are looked for in, `PATH` first.
pub fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    for dir in USUAL {
        if !dirs.iter().any(|known| known == Path::new(dir)) {
            dirs.push(dir.into());
        }
    }
    dirs
}

/// Every executable of that name, in the order in which a shell would find them.
pub fn find(name: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = search_path().iter().map(|dir| dir.join(name)).collect();
    found.retain(|program| {
        program.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    });
    found
}

/// Whether a program is an executable that needs no other file to start.
pub fn is_static(program: &Path) -> bool {
    const HEADERS: u64 = 4096;
    let mut head = Vec::new();
    let read = File::open(program).and_then(|file| file.take(HEADERS).read_to_end(&mut head));
    read.is_ok() && names_no_interpreter(&head).unwrap_or(false)
}

/// Reads the head of an ELF file of 64 bits, least byte first (elf(5)); none where it is something else.
fn names_no_interpreter(head: &[u8]) -> Option<bool> {
    const INTERPRETER: [u8; 4] = [3, 0, 0, 0];
    head.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let word = |at: usize| Some(usize::from(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?)));
    let (table, entry, entries) = (word(0x20)?, word(0x36)?, word(0x38)?);
    let mut kinds = (0..entries).map_while(|at| head.get(table + at * entry..)?.get(..4));
    Some(!kinds.any(|kind| kind == INTERPRETER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_bare_name() {
        assert!(find("sh").iter().all(|program| program.is_absolute()));
        assert!(!find("sh").is_empty());
        assert!(find("no-such-program-anywhere").is_empty());
    }

    #[test]
    fn what_names_an_interpreter_is_not_static() {
        let mut head = vec![0; 0x40 + 2 * 0x38];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (head[0x20], head[0x36], head[0x38]) = (0x40, 0x38, 2);
        assert_eq!(names_no_interpreter(&head), Some(true));
        head[0x40 + 0x38] = 3;
        assert_eq!(names_no_interpreter(&head), Some(false));
        assert_eq!(names_no_interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(names_no_interpreter(b"\x7fELF\x02\x01"), None);
    }
}
