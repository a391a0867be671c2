//! The worker protocol, spoken by hand to `muster connect`.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::Stage;
use super::stage::MUSTER;

/// The client's first word.
pub const MAGIC: u64 = 0x6e69_7863;
/// What it speaks.
pub const VERSION: u64 = 1 << 8 | 35;
/// All that it says before its first request.
pub const HELLO: [u64; 4] = [MAGIC, VERSION, 0, 0];

/// The end of the log, by success.
pub const LAST: u64 = 0x616c_7473;
/// The same, by failure.
pub const ERROR: u64 = 0x6378_7470;

/// As the worker protocol writes numbers.
pub fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A client that waits for its answers.
pub struct Talk {
    child: std::process::Child,
    to: Option<std::process::ChildStdin>,
    from: std::process::ChildStdout,
}

impl Talk {
    /// Connected, and past its handshake.
    pub fn with(stage: &Stage) -> Self {
        let mut command = stage.command(MUSTER);
        command.args(["connect", "--stdio", "--socket"]).arg(stage.endpoint());
        let mut client = Self::by(command);
        assert_eq!(client.asks(&words(&HELLO)), LAST);
        client
    }

    pub fn by(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (to, from) = (child.stdin.take(), child.stdout.take().expect("piped"));
        Self { child, to, from }
    }

    /// Says it and waits until the log has ended, by success or failure.
    pub fn asks(&mut self, bytes: &[u8]) -> u64 {
        self.says(bytes);
        self.end()[1]
    }

    pub fn says(&mut self, bytes: &[u8]) {
        self.to.as_mut().expect("open").write_all(bytes).expect("it reads");
    }

    /// The end of the log, and the word before it.
    pub fn end(&mut self) -> [u64; 2] {
        let mut before = 0;
        loop {
            match self.word() {
                end @ (LAST | ERROR) => return [before, end],
                word => before = word,
            }
        }
    }

    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(self.reads(8).try_into().expect("8 bytes"))
    }

    pub fn reads(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).expect("it answers");
        bytes
    }

    /// All that it says until it has nothing more to say.
    pub fn ends(mut self) -> String {
        self.to = None;
        let mut rest = Vec::new();
        self.from.read_to_end(&mut rest).expect("text");
        self.child.wait().expect("our child");
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// As the worker protocol writes a text.
pub fn text(text: &str) -> Vec<u8> {
    let padding = vec![0; text.len().next_multiple_of(8) - text.len()];
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &padding].concat()
}
