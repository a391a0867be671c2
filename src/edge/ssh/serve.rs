//! The older protocol, `nix-store --serve`: only whether it is spoken.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Host, Lane};
use crate::config::SshScheme;

/// Its hello and the answer: the words before their versions (`serve-protocol.hh`).
const HELLO: [u64; 2] = [0x390c_9deb, 0x206];
const ANSWER: u64 = 0x5452_eecb;

impl Host {
    /// Whether stock Nix would speak it there: by what the user wrote, `ssh://` or a mere host.
    pub fn may_serve(&self) -> bool {
        self.uri.remote_program.is_empty() && self.uri.scheme != SshScheme::SshNg
    }

    /// Whether it is answered there. The caller bounds the time.
    pub async fn serves(&self) -> bool {
        let Ok(mut session) = self.session(Lane::Control, "nix-store --serve --write").await else {
            return false;
        };
        let hello: Vec<u8> = HELLO.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut answer = [0; 8];
        session.stdin.write_all(&hello).await.is_ok()
            && session.stdout.read_exact(&mut answer).await.is_ok()
            && answer == ANSWER.to_le_bytes()
    }
}
