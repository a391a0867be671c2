//! The primitives of the worker protocol: integers of 64 bits, padded strings, lists.
//!
//! One trait, [`Wire`], writes a value into an [`Encoder`] and reads it back from a [`Decoder`]. Every length is
//! limited before it is believed, bytes are kept only as they arrive, and a whole message has a budget. An error
//! names the operation and the field. A message that is here as a whole is read by [`decode`], without a runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context as Task, Poll, Waker};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::handshake::Version;
use crate::domain::hash::BadHash;
use crate::domain::store_path::BadStorePath;
use crate::domain::system::BadWord;
use crate::domain::{StoreDir, StorePath};

/// No string is longer.
pub const STRING_MAX: u64 = 16 << 20;
/// No word (a name, an option, a path set's entry) is longer.
pub const WORD_MAX: u64 = 1 << 20;
/// No store path is longer, its directory included.
pub const PATH_MAX: u64 = 4096;
/// No list has more entries.
pub const LIST_MAX: u64 = 1 << 20;
/// No message has more bytes than this, streams excepted.
pub const MESSAGE_MAX: u64 = 64 << 20;

/// What both ends of a connection agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// Where the paths of this connection lie.
    pub dir: StoreDir,
    /// The negotiated version.
    pub version: Version,
}

/// A message that breaks the protocol, or did not arrive.
#[derive(Debug, thiserror::Error)]
#[error("{operation}.{field}: {problem}")]
pub struct ProtocolError {
    /// What was under way.
    pub operation: &'static str,
    /// Which part of its message.
    pub field: &'static str,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

impl ProtocolError {
    /// Whether the connection was lost, and nobody spoke nonsense.
    pub fn is_loss(&self) -> bool {
        matches!(self.problem, Problem::Io(_) | Problem::Ended)
    }
}

/// What can be wrong with a field.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// End of file in the middle of a message.
    #[error("the connection ended here")]
    Ended,
    /// Reading failed.
    #[error("{0}")]
    Io(io::Error),
    /// A string or list beyond its limit.
    #[error("it claims a length of {length}, and {limit} is the limit")]
    TooLong {
        /// What was claimed.
        length: u64,
        /// What would be believed.
        limit: u64,
    },
    /// All fields together.
    #[error("the message is longer than {MESSAGE_MAX} bytes")]
    Budget,
    /// Strings are padded with zeros.
    #[error("its padding is not zero")]
    Padding,
    /// Text that is not UTF-8.
    #[error("it is not UTF-8")]
    NotText,
    /// A number that means nothing here.
    #[error("{value} is not {expected}")]
    Value {
        /// What came.
        value: u64,
        /// What would make sense.
        expected: &'static str,
    },
    /// A word that means nothing here.
    #[error("'{got}' is not {expected}")]
    Word {
        /// What came, clipped.
        got: String,
        /// What would make sense.
        expected: &'static str,
    },
    /// Not a store path.
    #[error(transparent)]
    Path(#[from] BadStorePath),
    /// Not a hash.
    #[error(transparent)]
    Hash(#[from] BadHash),
    /// Not a system.
    #[error(transparent)]
    System(#[from] BadWord),
    /// A whole message with something behind it.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Problem::Ended,
            _ => Problem::Io(error),
        }
    }
}

/// A value with one form on the wire.
pub trait Wire: Sized + Send {
    /// Appends it.
    fn put(&self, to: &mut Encoder<'_>);

    /// Reads it; `field` is for the error.
    fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> impl Future<Output = Result<Self, ProtocolError>> + Send;
}

/// Bytes on their way out.
pub struct Encoder<'a> {
    /// What was written so far.
    pub bytes: Vec<u8>,
    dialect: &'a Dialect,
}

impl<'a> Encoder<'a> {
    /// An empty one.
    pub fn new(dialect: &'a Dialect) -> Self {
        Self { bytes: Vec::new(), dialect }
    }

    /// An integer.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A string: length, bytes, zeros up to a multiple of 8.
    pub fn string(&mut self, value: &[u8]) -> &mut Self {
        self.u64(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(&[0; 8][..padding(value.len() as u64)]);
        self
    }

    /// Any value.
    pub fn put(&mut self, value: &impl Wire) -> &mut Self {
        value.put(self);
        self
    }
}

/// The bytes of one value.
pub fn encode(value: &impl Wire, dialect: &Dialect) -> Vec<u8> {
    let mut to = Encoder::new(dialect);
    value.put(&mut to);
    to.bytes
}

/// Reads one value that is exactly `bytes`.
pub fn decode<T: Wire>(
    mut bytes: &[u8],
    dialect: &Dialect,
    operation: &'static str,
) -> Result<T, ProtocolError> {
    let value = whole(T::take(&mut Decoder::new(&mut bytes, dialect, operation), "message"))?;
    finish(bytes, operation)?;
    Ok(value)
}

/// Says whether a whole message ended where it should.
pub(super) fn finish(rest: &[u8], operation: &'static str) -> Result<(), ProtocolError> {
    match rest.len() {
        0 => Ok(()),
        n => Err(ProtocolError { operation, field: "end", problem: Problem::Trailing(n) }),
    }
}

/// Runs a reader over bytes that are all here: it never has to wait.
pub(super) fn whole<T>(reading: impl Future<Output = Result<T, ProtocolError>>) -> Result<T, ProtocolError> {
    match pin!(reading).poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            Err(ProtocolError { operation: "decode", field: "message", problem: Problem::Ended })
        }
    }
}

/// Reads the fields of one message.
pub struct Decoder<'a, R> {
    from: &'a mut R,
    dialect: &'a Dialect,
    operation: &'static str,
    budget: u64,
}

impl<'a, R: AsyncRead + Unpin + Send> Decoder<'a, R> {
    /// A reader of one message of `operation`.
    pub fn new(from: &'a mut R, dialect: &'a Dialect, operation: &'static str) -> Self {
        Self { from, dialect, operation, budget: MESSAGE_MAX }
    }

    /// Where the paths of this connection lie.
    pub fn dir(&self) -> &StoreDir {
        &self.dialect.dir
    }

    /// From here on, errors name this operation.
    pub(super) fn rename(&mut self, operation: &'static str) {
        self.operation = operation;
    }

    /// An error at `field`.
    pub fn fail(&self, field: &'static str, problem: impl Into<Problem>) -> ProtocolError {
        ProtocolError { operation: self.operation, field, problem: problem.into() }
    }

    /// An integer.
    pub async fn u64(&mut self, field: &'static str) -> Result<u64, ProtocolError> {
        self.charge(field, 8)?;
        let mut word = [0; 8];
        self.fill(field, &mut word).await?;
        Ok(u64::from_le_bytes(word))
    }

    /// A string of at most `limit` bytes.
    pub async fn string(&mut self, field: &'static str, limit: u64) -> Result<Vec<u8>, ProtocolError> {
        let length = self.length(field, limit).await?;
        self.charge(field, length)?;
        let bytes = self.bytes(field, length).await?;
        self.padding(field, length).await?;
        Ok(bytes)
    }

    /// A string of any length within the message's budget, of which `limit` bytes are kept.
    pub async fn clipped(&mut self, field: &'static str, limit: u64) -> Result<Vec<u8>, ProtocolError> {
        let length = self.u64(field).await?;
        self.charge(field, length)?;
        let bytes = self.bytes(field, length.min(limit)).await?;
        self.skip(field, length.saturating_sub(limit)).await?;
        self.padding(field, length).await?;
        Ok(bytes)
    }

    /// A string of UTF-8.
    pub async fn text(&mut self, field: &'static str, limit: u64) -> Result<String, ProtocolError> {
        let bytes = self.string(field, limit).await?;
        String::from_utf8(bytes).map_err(|_| self.fail(field, Problem::NotText))
    }

    /// How many entries follow.
    pub async fn count(&mut self, field: &'static str) -> Result<u64, ProtocolError> {
        self.length(field, LIST_MAX).await
    }

    /// A value of any kind.
    pub async fn take<T: Wire>(&mut self, field: &'static str) -> Result<T, ProtocolError> {
        T::take(self, field).await
    }

    async fn length(&mut self, field: &'static str, limit: u64) -> Result<u64, ProtocolError> {
        let length = self.u64(field).await?;
        if length > limit {
            return Err(self.fail(field, Problem::TooLong { length, limit }));
        }
        Ok(length)
    }

    fn charge(&mut self, field: &'static str, bytes: u64) -> Result<(), ProtocolError> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| self.fail(field, Problem::Budget))?;
        Ok(())
    }

    async fn bytes(&mut self, field: &'static str, length: u64) -> Result<Vec<u8>, ProtocolError> {
        let mut bytes = Vec::new();
        let read = (&mut *self.from).take(length).read_to_end(&mut bytes).await;
        match read.map_err(Problem::from) {
            Ok(n) if n as u64 == length => Ok(bytes),
            Ok(_) => Err(self.fail(field, Problem::Ended)),
            Err(problem) => Err(self.fail(field, problem)),
        }
    }

    async fn skip(&mut self, field: &'static str, mut length: u64) -> Result<(), ProtocolError> {
        let mut scrap = [0; 4096];
        while length > 0 {
            let part = length.min(scrap.len() as u64);
            self.fill(field, &mut scrap[..part as usize]).await?;
            length -= part;
        }
        Ok(())
    }

    async fn padding(&mut self, field: &'static str, length: u64) -> Result<(), ProtocolError> {
        let mut zeros = [0; 8];
        let zeros = &mut zeros[..padding(length)];
        self.fill(field, zeros).await?;
        if zeros.iter().all(|b| *b == 0) { Ok(()) } else { Err(self.fail(field, Problem::Padding)) }
    }

    async fn fill(&mut self, field: &'static str, to: &mut [u8]) -> Result<(), ProtocolError> {
        match self.from.read_exact(to).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.fail(field, error)),
        }
    }
}

/// How many zeros follow a string of `length` bytes.
pub fn padding(length: u64) -> usize {
    (length.wrapping_neg() % 8) as usize
}

/// Foreign bytes as they may stand in an error: short and printable.
pub fn printable(bytes: &[u8], longest: usize) -> String {
    let end = if bytes.len() > longest { "..." } else { "" };
    format!("{}{end}", bytes[..bytes.len().min(longest)].escape_ascii())
}

impl Wire for u64 {
    fn put(&self, to: &mut Encoder<'_>) {
        to.u64(*self);
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        from.u64(field).await
    }
}

impl Wire for bool {
    fn put(&self, to: &mut Encoder<'_>) {
        to.u64(u64::from(*self));
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        Ok(from.u64(field).await? != 0)
    }
}

impl Wire for String {
    fn put(&self, to: &mut Encoder<'_>) {
        to.string(self.as_bytes());
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        from.text(field, WORD_MAX).await
    }
}

impl Wire for StorePath {
    fn put(&self, to: &mut Encoder<'_>) {
        let full = to.dialect.dir.full(self);
        to.string(full.as_bytes());
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        let text = from.text(field, PATH_MAX).await?;
        from.dir().parse_path(&text).map_err(|bad| from.fail(field, bad))
    }
}

/// None is the empty string.
impl Wire for Option<StorePath> {
    fn put(&self, to: &mut Encoder<'_>) {
        match self {
            Some(path) => to.put(path),
            None => to.string(b""),
        };
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        let text = from.text(field, PATH_MAX).await?;
        if text.is_empty() {
            return Ok(None);
        }
        from.dir().parse_path(&text).map(Some).map_err(|bad| from.fail(field, bad))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, to: &mut Encoder<'_>) {
        to.u64(self.len() as u64);
        self.iter().for_each(|item| item.put(to));
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        let mut items = Vec::new();
        for _ in 0..from.count(field).await? {
            items.push(T::take(from, field).await?);
        }
        Ok(items)
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn put(&self, to: &mut Encoder<'_>) {
        to.u64(self.len() as u64);
        self.iter().for_each(|item| item.put(to));
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        let mut items = BTreeSet::new();
        for _ in 0..from.count(field).await? {
            items.insert(T::take(from, field).await?);
        }
        Ok(items)
    }
}

impl<K: Wire + Ord, V: Wire> Wire for BTreeMap<K, V> {
    fn put(&self, to: &mut Encoder<'_>) {
        to.u64(self.len() as u64);
        self.iter().for_each(|(key, value)| {
            to.put(key).put(value);
        });
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        let mut items = BTreeMap::new();
        for _ in 0..from.count(field).await? {
            let key = K::take(from, field).await?;
            items.insert(key, V::take(from, field).await?);
        }
        Ok(items)
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, to: &mut Encoder<'_>) {
        to.put(&self.0).put(&self.1);
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        let first = A::take(from, field).await?;
        Ok((first, B::take(from, field).await?))
    }
}
