//! An operation of unknown layout: what the client sends until its log ends is its request, what the coordinator sends
//! after that is its reply, and what the client sends then is the next request.

use tokio::io::AsyncWriteExt;

use super::session::{Failure, Session, SessionError, out_of_place};
use super::upstream::UpstreamError;
use crate::nix::logs::DaemonError;
use crate::nix::ops::Request;
use crate::wire::link::Unit;

/// What comes next.
enum Next {
    /// That much of what the client has sent; 0 where it has gone.
    Client(usize),
    Coordinator(Unit),
}

/// How far it is.
#[derive(PartialEq)]
enum Part {
    Request,
    Reply,
    /// The client has begun the next request.
    Over,
}

impl Session {
    /// Without its layout it cannot be asked again, and after a failure nobody knows what of it is still to come: the
    /// session ends.
    pub(super) async fn relay(&mut self, code: u64) -> Result<(), SessionError> {
        match self.try_relay(code).await {
            Ok(()) => Ok(()),
            Err(Failure::Client(error)) => Err(error),
            Err(Failure::Lost(why) | Failure::Final(why)) => {
                self.server.replies.error(&DaemonError::new(why.as_str())).await?;
                Err(SessionError::Torn(why))
            }
        }
    }

    async fn try_relay(&mut self, code: u64) -> Result<(), Failure> {
        self.link().await?;
        self.send(&Unit::Request(Request::Unknown(code).encode(&self.dialect))).await?;
        match self.next_unit().await?.0 {
            Unit::Reply(_) => {}
            Unit::Error(why) => return Err(Failure::Final(why)),
            other => return Err(out_of_place(&other)),
        }
        let mut part = Part::Request;
        loop {
            match (self.next(part != Part::Over).await?, &part) {
                (Next::Client(0), _) => return Err(SessionError::Closed.into()),
                (Next::Client(length), Part::Request) => {
                    let bytes = self.server.requests.take(length);
                    self.send(&Unit::Data(bytes)).await?;
                }
                (Next::Client(_), _) => {
                    part = Part::Over;
                    self.send(&Unit::End).await?;
                }
                (Next::Coordinator(Unit::Log(bytes)), Part::Request) => self.pass_log_on(&bytes).await?,
                (Next::Coordinator(Unit::Error(why)), Part::Request) => return Err(Failure::Final(why)),
                (Next::Coordinator(Unit::End), Part::Request) => {
                    part = Part::Reply;
                    self.server.begin_raw().await?;
                    self.server.flush().await?;
                }
                (Next::Coordinator(Unit::Data(bytes)), Part::Reply | Part::Over) => {
                    self.server.writer().write_all(&bytes).await?;
                    self.server.flush().await?;
                }
                (Next::Coordinator(Unit::End), Part::Over) => return Ok(()),
                (Next::Coordinator(other), _) => return Err(out_of_place(&other)),
            }
        }
    }

    async fn next(&mut self, or_client: bool) -> Result<Next, Failure> {
        let Some(link) = &mut self.link else {
            return Err(Failure::Lost("there is no connection".to_owned()));
        };
        tokio::select! {
            received = link.reader.recv() => match received.map_err(UpstreamError::from)? {
                Some((unit, _)) => Ok(Next::Coordinator(unit)),
                None => Err(Failure::Lost("the coordinator closed the connection".to_owned())),
            },
            sent = self.server.requests.peek(), if or_client => Ok(Next::Client(sent?)),
        }
    }
}
