//! The frames that a daemon sends before each reply: log messages, then an error or the end.
//!
//! Texts are bytes, since a builder may print anything. ANSI escapes stay in log lines; an error sheds them where
//! it is shown. A text longer than [`TEXT_MAX`] is clipped, so that nobody can make us keep what they flood.

use std::fmt;

use tokio::io::AsyncRead;

use super::wire::{Decoder, Encoder, Problem, ProtocolError, Wire};

/// No more bytes of one log text are kept.
pub const TEXT_MAX: u64 = 64 << 10;
/// No more bytes of one error text are kept.
const ERROR_MAX: u64 = 1 << 20;
/// Nix's own activities have at most 4 fields.
const FIELDS_MAX: u64 = 64;
const TRACES_MAX: u64 = 1024;

const STDERR_NEXT: u64 = 0x6f6c_6d67;
const STDERR_LAST: u64 = 0x616c_7473;
pub(super) const STDERR_ERROR: u64 = 0x6378_7470;
const STDERR_START_ACTIVITY: u64 = 0x5354_5254;
const STDERR_STOP_ACTIVITY: u64 = 0x5354_4f50;
const STDERR_RESULT: u64 = 0x5253_4c54;

/// Kinds of activities (Nix's `ActivityType`).
pub mod activity {
    /// Anything.
    pub const UNKNOWN: u64 = 0;
    /// A path travels; fields: path, from, to.
    pub const COPY_PATH: u64 = 100;
    /// A download; fields: URL.
    pub const FILE_TRANSFER: u64 = 101;
    /// Paths are realised.
    pub const REALISE: u64 = 102;
    /// Several paths travel.
    pub const COPY_PATHS: u64 = 103;
    /// Several builds.
    pub const BUILDS: u64 = 104;
    /// A build; fields: derivation, builder, round, rounds.
    pub const BUILD: u64 = 105;
    /// A path is substituted; fields: path, substituter.
    pub const SUBSTITUTE: u64 = 108;
    /// A substituter is asked; fields: path, substituter.
    pub const QUERY_PATH_INFO: u64 = 109;
    /// A build waits for a lock or a build user; fields: derivation, path.
    pub const BUILD_WAITING: u64 = 111;
}

/// Kinds of results (Nix's `ResultType`).
pub mod result {
    /// A line of the builder; fields: the line.
    pub const LOG_LINE: u64 = 101;
    /// A path is untrusted; fields: path.
    pub const UNTRUSTED_PATH: u64 = 102;
    /// A path is corrupted; fields: path.
    pub const CORRUPTED_PATH: u64 = 103;
    /// The build's phase; fields: its name.
    pub const SET_PHASE: u64 = 104;
    /// Fields: done, expected, running, failed.
    pub const PROGRESS: u64 = 105;
    /// Fields: activity kind, how many.
    pub const SET_EXPECTED: u64 = 106;
    /// A line of the post-build hook; fields: the line.
    pub const POST_BUILD_LOG_LINE: u64 = 107;
}

/// Foreign text, as it came.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// The text with everything readable kept, and nothing but text: no escape sequences.
    pub fn plain(&self) -> String {
        strip_escapes(&String::from_utf8_lossy(&self.0))
    }

    async fn take_clipped<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
        limit: u64,
    ) -> Result<Self, ProtocolError> {
        from.clipped(field, limit).await.map(Self)
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self(text.into().into_bytes())
    }
}

/// As it came; what is not UTF-8 is replaced.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// One field of an activity or result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A number.
    Int(u64),
    /// A text.
    Text(Text),
}

/// A daemon's news during an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogMessage {
    /// A line, or several.
    Next(Text),
    /// Something begins.
    StartActivity {
        /// Chosen by the sender.
        id: u64,
        /// From 0, an error, to 7, for debugging.
        level: u64,
        /// See [`activity`].
        kind: u64,
        /// For people.
        text: Text,
        /// As the kind says.
        fields: Vec<Field>,
        /// The activity that it is part of, or 0.
        parent: u64,
    },
    /// Something ended.
    StopActivity {
        /// Which.
        id: u64,
    },
    /// News of an activity.
    Result {
        /// Of which.
        id: u64,
        /// See [`result`].
        kind: u64,
        /// As the kind says.
        fields: Vec<Field>,
    },
}

impl LogMessage {
    /// A line of a builder, within the activity `id`.
    pub fn line(id: u64, line: impl Into<Text>) -> Self {
        LogMessage::Result { id, kind: result::LOG_LINE, fields: vec![Field::Text(line.into())] }
    }

    /// The builder's line that this is, if it is one.
    pub fn as_line(&self) -> Option<&Text> {
        match self {
            LogMessage::Result { kind: result::LOG_LINE, fields, .. } => match fields.first() {
                Some(Field::Text(line)) => Some(line),
                _ => None,
            },
            _ => None,
        }
    }
}

/// An operation that the daemon refused or that failed, in its own words. The connection stays usable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonError {
    /// From 0, an error, to 7.
    pub level: u64,
    /// What happened, with escape sequences.
    pub message: Text,
    /// Where it happened, innermost last.
    pub traces: Vec<Text>,
}

impl DaemonError {
    /// An error in our own words.
    pub fn new(message: impl Into<Text>) -> Self {
        Self { level: 0, message: message.into(), traces: Vec::new() }
    }
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message.plain())
    }
}

impl std::error::Error for DaemonError {}

/// One frame before a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// More follow.
    Log(LogMessage),
    /// The operation failed; no reply follows.
    Error(DaemonError),
    /// The reply follows.
    Last,
}

impl Wire for Field {
    fn put(&self, to: &mut Encoder<'_>) {
        match self {
            Field::Int(value) => to.u64(0).u64(*value),
            Field::Text(value) => to.u64(1).string(&value.0),
        };
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        match from.u64(field).await? {
            0 => from.u64(field).await.map(Field::Int),
            1 => Text::take_clipped(from, field, TEXT_MAX).await.map(Field::Text),
            value => Err(from.fail(field, Problem::Value { value, expected: "the kind of a field" })),
        }
    }
}

async fn take_fields<R: AsyncRead + Unpin + Send>(
    from: &mut Decoder<'_, R>,
) -> Result<Vec<Field>, ProtocolError> {
    let count = from.u64("fields").await?;
    if count > FIELDS_MAX {
        return Err(from.fail("fields", Problem::TooLong { length: count, limit: FIELDS_MAX }));
    }
    let mut fields = Vec::new();
    for _ in 0..count {
        fields.push(from.take("fields").await?);
    }
    Ok(fields)
}

impl Wire for LogMessage {
    fn put(&self, to: &mut Encoder<'_>) {
        match self {
            LogMessage::Next(text) => to.u64(STDERR_NEXT).string(&text.0),
            LogMessage::StartActivity { id, level, kind, text, fields, parent } => to
                .u64(STDERR_START_ACTIVITY)
                .u64(*id)
                .u64(*level)
                .u64(*kind)
                .string(&text.0)
                .put(fields)
                .u64(*parent),
            LogMessage::StopActivity { id } => to.u64(STDERR_STOP_ACTIVITY).u64(*id),
            LogMessage::Result { id, kind, fields } => to.u64(STDERR_RESULT).u64(*id).u64(*kind).put(fields),
        };
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        match Frame::take(from, field).await? {
            Frame::Log(message) => Ok(message),
            _ => Err(from
                .fail(field, Problem::Word { got: "end of the log".to_owned(), expected: "a log message" })),
        }
    }
}

impl Wire for DaemonError {
    fn put(&self, to: &mut Encoder<'_>) {
        to.string(b"Error").u64(self.level).string(b"Error").string(&self.message.0).u64(0);
        to.u64(self.traces.len() as u64);
        for trace in &self.traces {
            to.u64(0).string(&trace.0);
        }
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        _: &'static str,
    ) -> Result<Self, ProtocolError> {
        from.clipped("error.type", 64).await?;
        let level = from.u64("error.level").await?;
        from.clipped("error.name", 64).await?;
        let message = Text::take_clipped(from, "error.message", ERROR_MAX).await?;
        no_position(from).await?;
        let count = from.u64("error.traces").await?;
        if count > TRACES_MAX {
            return Err(from.fail("error.traces", Problem::TooLong { length: count, limit: TRACES_MAX }));
        }
        let mut traces = Vec::new();
        for _ in 0..count {
            no_position(from).await?;
            traces.push(Text::take_clipped(from, "error.traces", TEXT_MAX).await?);
        }
        Ok(Self { level, message, traces })
    }
}

/// Nix itself has never sent a position.
async fn no_position<R: AsyncRead + Unpin + Send>(from: &mut Decoder<'_, R>) -> Result<(), ProtocolError> {
    match from.u64("error.position").await? {
        0 => Ok(()),
        value => Err(from.fail("error.position", Problem::Value { value, expected: "0" })),
    }
}

impl Wire for Frame {
    fn put(&self, to: &mut Encoder<'_>) {
        match self {
            Frame::Log(message) => to.put(message),
            Frame::Error(error) => to.u64(STDERR_ERROR).put(error),
            Frame::Last => to.u64(STDERR_LAST),
        };
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        _: &'static str,
    ) -> Result<Self, ProtocolError> {
        match from.u64("log").await? {
            STDERR_LAST => Ok(Frame::Last),
            STDERR_ERROR => from.take("error").await.map(Frame::Error),
            STDERR_NEXT => {
                Text::take_clipped(from, "log.text", TEXT_MAX).await.map(LogMessage::Next).map(Frame::Log)
            }
            STDERR_STOP_ACTIVITY => {
                from.u64("log.id").await.map(|id| Frame::Log(LogMessage::StopActivity { id }))
            }
            STDERR_START_ACTIVITY => take_start(from).await.map(Frame::Log),
            STDERR_RESULT => take_result(from).await.map(Frame::Log),
            value => Err(from.fail("log", Problem::Value { value, expected: "a kind of log frame" })),
        }
    }
}

async fn take_start<R: AsyncRead + Unpin + Send>(
    from: &mut Decoder<'_, R>,
) -> Result<LogMessage, ProtocolError> {
    Ok(LogMessage::StartActivity {
        id: from.u64("log.id").await?,
        level: from.u64("log.level").await?,
        kind: from.u64("log.kind").await?,
        text: Text::take_clipped(from, "log.text", TEXT_MAX).await?,
        fields: take_fields(from).await?,
        parent: from.u64("log.parent").await?,
    })
}

async fn take_result<R: AsyncRead + Unpin + Send>(
    from: &mut Decoder<'_, R>,
) -> Result<LogMessage, ProtocolError> {
    Ok(LogMessage::Result {
        id: from.u64("log.id").await?,
        kind: from.u64("log.kind").await?,
        fields: take_fields(from).await?,
    })
}

/// Drops ANSI escape sequences and other control characters, except line ends and tabs.
fn strip_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => skip_escape(&mut rest),
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// A control sequence ends with a letter or `~`; a hyperlink or title (`]`) with a bell or
/// `ESC \`; a character set (`(`) is one character.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    match rest.next() {
        Some('(' | ')') => drop(rest.next()),
        Some('[') => drop(rest.find(|c| ('@'..='~').contains(c))),
        Some(']') if rest.find(|c| matches!(c, '\x07' | '\x1b')) == Some('\x1b') => drop(rest.next()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_sheds_what_only_a_terminal_understands() {
        for (raw, plain) in [
            ("\x1b[31;1merror:\x1b[0m no\tway\n", "error: no\tway\n"),
            ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x07 end\r", "link end"),
            ("cut \x1b[31", "cut "),
            ("cut \x1b", "cut "),
            ("\x1b(Bé", "é"),
        ] {
            assert_eq!(Text::from(raw).plain(), plain, "{raw:?}");
        }
    }

    #[test]
    fn a_builders_line_is_found_in_its_result() {
        let line = LogMessage::line(3, "hello");
        assert_eq!(line.as_line().map(Text::to_string).as_deref(), Some("hello"));
        assert_eq!(LogMessage::StopActivity { id: 3 }.as_line(), None);
    }
}
