//! An operation of unknown layout, passed on to the local daemon.
//!
//! Where its request and its reply end is known to the client and the daemon alone. But a client asks nothing new before
//! it has read the whole reply: so what it sends before the log's end belongs to this operation, and what it sends
//! after that begins the next one, which is looked at again. No build gets to the local daemon in this way.

use tokio::io::{AsyncRead, AsyncWriteExt};

use super::{LocalError, Session, SessionError};
use crate::edge::link::{LinkReader, LinkWriter};
use crate::nix::handshake::Version;
use crate::nix::logs::{DaemonError, Frame};
use crate::nix::ops::Request;
use crate::nix::wire::{self, Decoder, Dialect};
use crate::wire::link::Unit;

impl Session {
    /// A build hook has no use for any such operation: it would be a build, in whatever guise, and wait for the
    /// hook's own locks.
    pub(super) async fn relay(&mut self, request: &Request) -> Result<(), SessionError> {
        let name = request.name();
        if self.hello.build_hook {
            return self.error(&format!("muster: the endpoint does not serve a build hook's {name}")).await;
        }
        let opened = async {
            let mut daemon = self.world.local.private_daemon(Version::new(self.hello.protocol_minor)).await?;
            if let Some(options) = &self.options {
                daemon.call(options, &mut drop).await?;
            }
            Ok::<_, LocalError>(daemon)
        };
        let (mut from, mut to, _child) = match opened.await {
            Ok(daemon) => daemon.into_parts(),
            Err(error) => return self.error(&format!("muster: {error}")).await,
        };
        self.writer.send(&Unit::Reply(Vec::new())).await?;
        to.write_all(&request.encode(&self.dialect)).await?;
        to.flush().await?;
        let logged = tokio::select! {
            logged = pass_log_on(&mut from, &self.dialect, &mut self.writer) => logged?,
            // Open until the end: a daemon that nobody can ask any more leaves, and that would look like the end.
            failed = pass_request_on(&mut self.reader, &mut to) => return Err(failed),
        };
        if let Err(error) = logged {
            return self.error(&error.to_string()).await;
        }
        self.writer.send(&Unit::End).await?;
        tokio::select! {
            passed = super::send_all(from, &mut self.writer) => passed?,
            ended = self.reader.recv() => match ended? {
                Some((Unit::End, _)) => {}
                unit => return Err(super::out_of_turn(unit.map(|(unit, _)| unit))),
            },
        }
        Ok(self.writer.send(&Unit::End).await?)
    }
}

/// Ends with the log, or with the daemon's refusal.
async fn pass_log_on(
    from: &mut (impl AsyncRead + Unpin + Send),
    dialect: &Dialect,
    writer: &mut LinkWriter,
) -> Result<Result<(), DaemonError>, SessionError> {
    loop {
        match Decoder::new(from, dialect, "an unknown operation").take("log").await? {
            Frame::Log(message) => writer.send(&Unit::Log(wire::encode(&message, dialect))).await?,
            Frame::Last => return Ok(Ok(())),
            Frame::Error(error) => return Ok(Err(error)),
        }
    }
}

/// Goes on until the client leaves.
async fn pass_request_on(reader: &mut LinkReader, mut to: impl AsyncWriteExt + Unpin) -> SessionError {
    loop {
        let passed = match reader.recv().await {
            Ok(Some((Unit::Data(bytes), _))) => to.write_all(&bytes).await,
            Ok(unit) => return super::out_of_turn(unit.map(|(unit, _)| unit)),
            Err(error) => return error.into(),
        };
        if let Err(error) = async { passed.and(to.flush().await) }.await {
            return error.into();
        }
    }
}
