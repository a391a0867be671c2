//! Machines lines: what Nix's `builders` setting and `/etc/nix/machines` hold, both ways.
//!
//! `URI SYSTEMS SSH-KEY MAX-JOBS SPEED-FACTOR SUPPORTED-FEATURES MANDATORY-FEATURES HOST-KEY`, separated by white
//! space; `-` or nothing is the default. Entries are separated by newlines and `;`, a `#` begins a comment, and
//! `@FILE` stands for the entries of a file. Source: `machines.cc` of Nix 2.8 to 2.34, and Nix's manual under
//! `builders`.
//!
//! | module | what |
//! |---|---|
//! | `line` | one line as types, and its text |
//! | `parse` | text to entries; a bad line is a problem of its own and spoils no other |
//! | `endpoint` | the URI of muster's own lines, and what reaches the program through it |
//!
//! Stock Nix gives up on *all* lines when one is malformed, so what is printed here must be flawless, and a
//! malformed foreign line is never passed on. Before 2.29, Nix splits at `;` even within a comment, takes an indented
//! comment for a malformed line, and an indented `@FILE` for a machine: whoever writes a file avoids all three.

mod endpoint;
mod line;
mod parse;

pub use endpoint::{BadEndpoint, BadLineRef, LineName, LineRef, endpoint_uri};
pub use line::{BadField, HostKey, Line, MachineUri, SpeedFactor, SshKey};
pub use parse::{Entry, Parsed, Place, Problem, Severity, parse};

#[cfg(test)]
mod tests;
