//! Requests and replies of the worker protocol, for every operation whose layout is known between 1.32 and 1.35.
//!
//! | part | what |
//! |---|---|
//! | [`Op`] | the operations by number and name |
//! | [`Request`] | one operation with its fields; streams follow it and are no part of it |
//! | [`Reply`] | what comes after the log; its shape follows from the operation |
//! | `parts` | the types of fields, and the wire forms of the domain's own |
//!
//! A request or a reply is also a whole unit of its own: [`Request::encode`], [`Request::decode`],
//! [`Reply::encode`], [`Reply::decode`]. The layouts are those of Nix's `daemon.cc` (2.4 to 2.36).

mod parts;
mod table;

#[cfg(test)]
mod tests;

use tokio::io::AsyncRead;

pub use parts::{
    BuildMode, DerivedPath, KeyedBuildResult, Missing, PathFacts, SetOptions, Substitutable, op_name,
};
pub use table::{Op, Reply, Request};

use super::wire::{self, Decoder, Dialect, Encoder, ProtocolError};

/// What follows a request's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Nothing.
    None,
    /// The client sends frames.
    Upload,
    /// After the log, the server sends a NAR in place of a reply.
    Nar,
}

impl Op {
    /// What follows the fields.
    pub fn stream(self) -> Stream {
        match self {
            Op::AddToStore | Op::AddToStoreNar | Op::AddMultipleToStore | Op::AddBuildLog => Stream::Upload,
            Op::NarFromPath => Stream::Nar,
            _ => Stream::None,
        }
    }

    /// Whether it asks for a build. Such an operation must not reach a daemon whose locks the client holds.
    pub fn is_build(self) -> bool {
        matches!(self, Op::BuildPaths | Op::EnsurePath | Op::BuildDerivation | Op::BuildPathsWithResults)
    }

    /// Whether a daemon that refuses it may have left some of it unread, so that the connection is lost: Nix reads
    /// the fields of realisations, and the frames of these uploads, only after its own checks.
    pub fn refusal_is_fatal(self) -> bool {
        matches!(self, Op::RegisterDrvOutput | Op::QueryRealisation | Op::AddBuildLog | Op::AddToStore)
    }
}

impl Request {
    /// Whether it asks for a build (see [`Op::is_build`]).
    pub fn is_build(&self) -> bool {
        self.op().is_some_and(Op::is_build)
    }

    /// Its human name.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Unknown(code) => op_name(*code),
            known => known.op().map_or("operation", Op::name),
        }
    }

    /// The bytes as they go over the wire, the operation's number first.
    pub fn encode(&self, dialect: &Dialect) -> Vec<u8> {
        let mut to = Encoder::new(dialect);
        self.put(&mut to);
        to.bytes
    }

    /// Reads exactly one request.
    pub fn decode(mut bytes: &[u8], dialect: &Dialect) -> Result<Self, ProtocolError> {
        let request = wire::whole(Self::take(&mut Decoder::new(&mut bytes, dialect, "request")))?;
        wire::finish(bytes, request.name())?;
        Ok(request)
    }

    /// Reads the number and the fields; of an unknown operation only the number.
    pub async fn take<R: AsyncRead + Unpin + Send>(from: &mut Decoder<'_, R>) -> Result<Self, ProtocolError> {
        let code = from.u64("operation").await?;
        match Op::from_code(code) {
            Some(op) => {
                from.rename(op.name());
                Self::take_fields(op, from).await
            }
            None => Ok(Request::Unknown(code)),
        }
    }
}

impl Reply {
    /// The bytes as they go over the wire, without a log.
    pub fn encode(&self, dialect: &Dialect) -> Vec<u8> {
        let mut to = Encoder::new(dialect);
        self.put(&mut to);
        to.bytes
    }

    /// Reads exactly one reply to `op`.
    pub fn decode(mut bytes: &[u8], op: Op, dialect: &Dialect) -> Result<Self, ProtocolError> {
        let reply = wire::whole(Self::take(op, &mut Decoder::new(&mut bytes, dialect, op.name())))?;
        wire::finish(bytes, op.name())?;
        Ok(reply)
    }
}
