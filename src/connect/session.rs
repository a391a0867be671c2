//! One client, from its handshake to its end.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, sleep};

use super::Settings;
use super::activities::Activities;
use super::held::Held;
use super::upstream::{Link, Upstream, UpstreamError};
use crate::domain::{PathInfo, StoreDir, Trust};
use crate::edge::clock;
use crate::edge::spool::Nar;
use crate::edge::stdio::Pollable;
use crate::nix::handshake::{HandshakeError, Offer, Version};
use crate::nix::logs::{DaemonError, LogMessage};
use crate::nix::machines::LineRef;
use crate::nix::ops::{Op, Reply, Request, Stream};
use crate::nix::server::Server;
use crate::nix::wire::{self, Dialect, ProtocolError};
use crate::wire::link::{DATA_CHUNK, Hello, Unit};

/// A request and its upload are kept up to this size, to be sent again.
const MAX_KEPT: usize = 64 << 20;
/// A coordinator that is back within this time is mentioned once, at its return.
const QUIET: Duration = Duration::from_secs(2);
/// While the coordinator is gone, the client is told so this often.
const REMINDER: Duration = Duration::from_secs(60);

/// A request over which the coordinator is lost more often is the suspect itself.
const MAX_LOSSES: u32 = 20;
/// How much longer the pause is before each further try at the same request, and how often it grows.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);
const AGAIN_PAUSES: u32 = 10;

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The client's handshake failed.
    #[error("the client: {0}")]
    Handshake(#[from] HandshakeError),
    /// The client broke the protocol.
    #[error("the client: {0}")]
    Protocol(#[from] ProtocolError),
    /// Writing to the client failed.
    #[error("the client: {0}")]
    Io(#[from] io::Error),
    /// The client closed while its request was under way: it wants it no more.
    #[error("the client closed")]
    Closed,
    /// A stream that the client already reads cannot be completed.
    #[error("{0}")]
    Torn(String),
}

/// How one try at a request ended, where it did not succeed.
pub(super) enum Failure {
    /// The coordinator was lost.
    Lost(String),
    /// It said no.
    Final(String),
    /// The client's side failed.
    Client(SessionError),
}

impl<E: Into<SessionError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Client(error.into())
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Lost(why) => Failure::Lost(why),
            UpstreamError::Final(why) => Failure::Final(why),
        }
    }
}

/// A client, and what is held for it.
pub(super) struct Session {
    pub(super) server: Server<Pollable, Pollable>,
    upstream: Upstream,
    pub(super) link: Option<Link>,
    /// Whether the coordinator at the end of `link` has heard `options`.
    introduced: bool,
    /// The dialect of requests and replies between us and the coordinator.
    pub(super) dialect: Dialect,
    patience: Duration,
    activities: Activities,
    held: Held,
    /// The client's last options: a new coordinator has to hear them first.
    options: Option<Request>,
}

/// What has gone out for one request, to be sent again after a loss.
struct Outgoing {
    request: Request,
    upload: Vec<Vec<u8>>,
    bytes: usize,
    /// Whether the client has sent its upload to the end.
    complete: bool,
    /// Bytes of a NAR that the client already has.
    passed_on: u64,
    /// How often the coordinator was lost over it.
    losses: u32,
}

impl Session {
    /// Shakes hands with the client. The coordinator is not asked: a handshake that waits, or is refused, would cost
    /// the client this line for the rest of its invocation.
    pub async fn begin(settings: Settings, from: Pollable, to: Pollable) -> Result<Self, SessionError> {
        let Settings { socket, line, notice, ancestry } = settings;
        let dir = StoreDir::parse(&notice.store_dir).unwrap_or_default();
        let version = Version::new(notice.protocol_minor).min(Version::OURS);
        let trust = match line.as_deref().map(LineRef::parse) {
            Some(Ok(line)) => line.trust(),
            _ => Trust::Trusted,
        };
        let offer = Offer { version, daemon_version: notice.nix_version.clone(), trust };
        let server = Server::handshake(from, to, dir.clone(), &offer).await?;
        let hello = Hello {
            version: 0,
            oldest: 0,
            line,
            protocol_minor: server.version().minor(),
            build_hook: ancestry.build_hook,
            processes: ancestry.processes,
            user: ancestry.user,
        };
        Ok(Self {
            server,
            upstream: Upstream::new(socket, hello),
            link: None,
            introduced: false,
            dialect: Dialect { dir, version: Version::OURS },
            patience: notice.reconnect_timeout(),
            activities: Activities::default(),
            held: Held::default(),
            options: None,
        })
    }

    /// Answers requests until the client closes.
    pub async fn serve(mut self) -> Result<(), SessionError> {
        while let Some(request) = self.server.next_request().await? {
            if let Some(nar) = self.held.nar(&request) {
                self.send_held(&nar).await?;
            } else if let Some(reply) = self.held.answer(&request) {
                self.server.reply(&reply).await?;
            } else if let Request::Unknown(code) = request {
                self.relay(code).await?;
            } else {
                self.forward(request).await?;
            }
            self.server.flush().await?;
        }
        Ok(())
    }

    async fn send_held(&mut self, nar: &Nar) -> Result<(), SessionError> {
        self.server.begin_raw().await?;
        let mut chunk = vec![0; DATA_CHUNK];
        let mut at = 0;
        while let read @ 1.. = nar.read_at(&mut chunk, at)? {
            self.server.writer().write_all(&chunk[..read]).await?;
            at += read as u64;
        }
        Ok(())
    }

    /// Carries a request through, however often the coordinator is lost meanwhile.
    async fn forward(&mut self, request: Request) -> Result<(), SessionError> {
        if matches!(request, Request::SetOptions { .. }) {
            self.options = Some(request.clone());
        }
        let complete = request.op().map(Op::stream) != Some(Stream::Upload);
        let mut outgoing =
            Outgoing { request, upload: Vec::new(), bytes: 0, complete, passed_on: 0, losses: 0 };
        loop {
            let failure = match self.exchange(&mut outgoing).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            self.link = None;
            match failure {
                Failure::Client(error) => return Err(error),
                Failure::Final(why) => return self.give_up(&mut outgoing, &why).await,
                Failure::Lost(why) if outgoing.bytes > MAX_KEPT => {
                    let why = format!("{why}; the upload is too large to be sent again");
                    return self.give_up(&mut outgoing, &why).await;
                }
                Failure::Lost(why) if outgoing.losses >= MAX_LOSSES => {
                    let why = format!(
                        "{why}; given up, since the coordinator was lost over this {MAX_LOSSES} times"
                    );
                    return self.give_up(&mut outgoing, &why).await;
                }
                Failure::Lost(why) => {
                    outgoing.losses += 1;
                    self.pause(outgoing.losses).await?;
                    if let Err(why) = self.reconnect(&why).await? {
                        return self.give_up(&mut outgoing, &why).await;
                    }
                }
            }
        }
    }

    /// One try.
    async fn exchange(&mut self, outgoing: &mut Outgoing) -> Result<(), Failure> {
        self.link().await?;
        self.send(&Unit::Request(outgoing.request.encode(&self.dialect))).await?;
        for chunk in &outgoing.upload {
            self.send(&Unit::Data(chunk.clone())).await?;
        }
        while !outgoing.complete {
            self.pass_upload_on(outgoing).await?;
        }
        if outgoing.request.op().map(Op::stream) == Some(Stream::Upload) {
            self.send(&Unit::End).await?;
        }
        let mut outputs = Vec::new();
        let mut skip = outgoing.passed_on;
        loop {
            match self.next_unit().await? {
                (Unit::Log(bytes), _) => self.pass_log_on(&bytes).await?,
                (Unit::Output(bytes), Some(nar)) => {
                    let info: PathInfo = wire::decode(&bytes, &self.dialect, "output").map_err(nonsense)?;
                    outputs.push((info, Nar::from_fd(nar)));
                }
                (Unit::Data(bytes), _) => self.pass_nar_on(outgoing, &mut skip, &bytes).await?,
                (Unit::End, _) => return Ok(()),
                (Unit::Reply(bytes), _) => return self.reply(&outgoing.request, &bytes, outputs).await,
                (Unit::Error(text), _) => return Err(Failure::Final(text)),
                (other, _) => return Err(out_of_place(&other)),
            }
        }
    }

    async fn reply(
        &mut self,
        request: &Request,
        bytes: &[u8],
        outputs: Vec<(PathInfo, Nar)>,
    ) -> Result<(), Failure> {
        let Some(op) = request.op() else {
            return Err(Failure::Lost("it answered an operation that has no answer".to_owned()));
        };
        let reply = Reply::decode(bytes, op, &self.dialect).map_err(nonsense)?;
        for (info, nar) in outputs {
            self.held.keep(info, nar);
        }
        Ok(self.server.reply(&reply).await?)
    }

    async fn pass_upload_on(&mut self, outgoing: &mut Outgoing) -> Result<(), Failure> {
        let mut chunk = vec![0; DATA_CHUNK];
        let read = self.server.framed().read(&mut chunk).await?;
        if read == 0 {
            outgoing.complete = true;
            return Ok(());
        }
        chunk.truncate(read);
        outgoing.bytes += read;
        if outgoing.bytes <= MAX_KEPT {
            outgoing.upload.push(chunk.clone());
        } else {
            outgoing.upload.clear();
        }
        self.send(&Unit::Data(chunk)).await
    }

    pub(super) async fn pass_log_on(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let message: LogMessage = wire::decode(bytes, &self.dialect, "log").map_err(nonsense)?;
        if let Some(message) = self.activities.translate(message) {
            self.server.log(&message).await?;
            self.server.flush().await?;
        }
        Ok(())
    }

    /// After a loss the NAR comes from its beginning again; the client gets only what it does not have.
    async fn pass_nar_on(
        &mut self,
        outgoing: &mut Outgoing,
        skip: &mut u64,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        if outgoing.passed_on == 0 {
            self.server.begin_raw().await?;
        }
        let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        *skip -= known as u64;
        self.server.writer().write_all(&bytes[known..]).await?;
        outgoing.passed_on += (bytes.len() - known) as u64;
        Ok(())
    }

    /// The next unit of the coordinator's, unless the client closes first.
    pub(super) async fn next_unit(&mut self) -> Result<(Unit, Option<std::os::fd::OwnedFd>), Failure> {
        let Some(link) = &mut self.link else {
            return Err(Failure::Lost("there is no connection".to_owned()));
        };
        tokio::select! {
            received = link.reader.recv() => match received.map_err(UpstreamError::from)? {
                Some(unit) => Ok(unit),
                None => Err(Failure::Lost("the coordinator closed the connection".to_owned())),
            },
            () = self.server.requests.gone() => Err(Failure::Client(SessionError::Closed)),
        }
    }

    pub(super) async fn send(&mut self, unit: &Unit) -> Result<(), Failure> {
        let Some(link) = &mut self.link else {
            return Err(Failure::Lost("there is no connection".to_owned()));
        };
        Ok(link.writer.send(unit).await.map_err(UpstreamError::from)?)
    }

    /// Makes sure that there is a link, and that the coordinator at its end knows the client's options.
    pub(super) async fn link(&mut self) -> Result<(), Failure> {
        if self.link.is_none() {
            self.link = Some(self.upstream.connect().await?);
            self.introduced = false;
        }
        if let (false, Some(options)) = (self.introduced, &self.options) {
            let unit = Unit::Request(options.encode(&self.dialect));
            self.send(&unit).await?;
            self.next_unit().await?;
        }
        self.introduced = true;
        Ok(())
    }

    /// A coordinator that is lost over the same request again and again is not asked at full speed.
    async fn pause(&mut self, losses: u32) -> Result<(), SessionError> {
        let pause = AGAIN_PAUSE * losses.saturating_sub(1).min(AGAIN_PAUSES);
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = self.server.requests.gone() => Err(SessionError::Closed),
        }
    }

    /// Waits for a coordinator; says why there is none if it does not come. Of a loss the client sees one line: at the
    /// coordinator's return, or before where that takes a while, and then one more a minute.
    async fn reconnect(&mut self, why: &str) -> Result<Result<(), String>, SessionError> {
        for stop in self.activities.stop_all() {
            self.server.log(&stop).await?;
        }
        let (began, mut said) = (clock::now(), false);
        let limit = humantime::format_duration(self.patience);
        loop {
            let deadline = began + self.patience;
            tokio::select! {
                connected = self.upstream.connect_by(deadline) => return match connected {
                    Ok(link) => {
                        (self.link, self.introduced) = (Some(link), false);
                        if !said {
                            self.say(&format!("lost the coordinator ({why}); it is back, asking again")).await?;
                        }
                        Ok(Ok(()))
                    }
                    Err(UpstreamError::Final(why)) => Ok(Err(why)),
                    Err(UpstreamError::Lost(why)) => Ok(Err(format!(
                        "no coordinator within {limit}: {why}; start it with `muster coordinator` and build again"
                    ))),
                },
                () = self.server.requests.gone() => return Err(SessionError::Closed),
                () = sleep(if said { REMINDER } else { QUIET }) => {
                    let text = if std::mem::replace(&mut said, true) {
                        self.still_waiting(began.elapsed())
                    } else {
                        format!("lost the coordinator ({why}); waiting for it, {limit} at most")
                    };
                    self.say(&text).await?;
                }
            }
        }
    }

    fn still_waiting(&self, waited: Duration) -> String {
        let waited = humantime::format_duration(Duration::from_secs(waited.as_secs()));
        format!("still waiting for the coordinator at {} ({waited})", self.upstream.socket().display())
    }

    async fn say(&mut self, text: &str) -> Result<(), SessionError> {
        self.server.log(&LogMessage::Next(format!("muster: {text}\n").into())).await?;
        Ok(self.server.flush().await?)
    }

    /// The request's failure, in words for the user.
    async fn give_up(&mut self, outgoing: &mut Outgoing, why: &str) -> Result<(), SessionError> {
        if outgoing.passed_on > 0 {
            return Err(SessionError::Torn(why.to_owned()));
        }
        for stop in self.activities.stop_all() {
            self.server.log(&stop).await?;
        }
        self.server.error(&DaemonError::new(why)).await?;
        Ok(self.server.flush().await?)
    }
}

fn nonsense(error: ProtocolError) -> Failure {
    Failure::Lost(format!("it sent nonsense: {error}"))
}

pub(super) fn out_of_place(unit: &Unit) -> Failure {
    Failure::Lost(format!("it sent a {} unit", unit.name()))
}
