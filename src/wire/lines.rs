//! Protocols of one JSON message a line: reading with a bound, writing, and what went wrong.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Why no line could be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer closed it before its message was complete.
    #[error("the connection was closed in the middle of the conversation")]
    Closed,
    /// The peer's line is longer than any message.
    #[error("a line has more than {0} bytes")]
    TooLong(usize),
}

/// One line without its end; none where the peer closed the connection between two lines.
pub async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    most: usize,
) -> Result<Option<Vec<u8>>, LineError> {
    let mut line = Vec::new();
    let mut bounded = AsyncReadExt::take(reader, most as u64);
    bounded.read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() + 1 == most => Err(LineError::TooLong(most)),
        Some(_) => Err(LineError::Closed),
    }
}

/// The line that says it.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    // Only a map with keys that are no texts could fail, and there is none.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The beginning of what was said, for an error.
pub fn clip(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned()
}
