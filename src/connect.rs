//! The durable end: stock Nix's hook on one side, the coordinator on the other.
//!
//! Whatever happens to the coordinator costs time, never a failed build:
//! - the client's handshake is answered here, at once;
//! - only whole units of the coordinator's are passed on, and the request under way is kept and asked again;
//! - built outputs are held here before the client hears of the success, and served from here;
//! - standard input is watched all the time: its end is the one way in which a client cancels.
//!
//! It stays in the process group of the hook and has no children, since the hook's end is awaited by its pipes.

mod activities;
mod held;
mod relay;
mod session;
mod upstream;

use std::path::PathBuf;

use crate::edge::ancestry::Ancestry;
use crate::edge::stdio::Pollable;
use crate::wire::notice::Notice;

pub use session::SessionError;

/// Whom to serve, and how.
pub struct Settings {
    /// The coordinator's endpoint.
    pub socket: PathBuf,
    /// The line that Nix chose.
    pub line: Option<String>,
    /// What the coordinator left for us.
    pub notice: Notice,
    /// Who started us.
    pub ancestry: Ancestry,
}

/// Serves one client until it closes.
pub async fn run(settings: Settings, from: Pollable, to: Pollable) -> Result<(), SessionError> {
    session::Session::begin(settings, from, to).await?.serve().await
}
