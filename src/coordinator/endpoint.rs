//! Where `muster connect` comes in: one session for each client of stock Nix.

mod adding;
mod graph;
mod relay;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::complaints::Complaints;
use super::feed::{Ending, Feed, Told};
use super::job::Job;
use super::local::{ASK_AGAIN, LocalError};
use super::{News, World, kept};
use crate::domain::{BasicDerivation, BuildResult, BuildStatus, Client, Label, RequestId, StorePath};
use crate::edge::accept::{Bounds, accept};
use crate::edge::clock;
use crate::edge::link::{LinkError, LinkReader, LinkWriter, split};
use crate::edge::pool::Lease;
use crate::edge::spool::Nar;
use crate::nix::client::Error;
use crate::nix::handshake::Version;
use crate::nix::logs::LogMessage;
use crate::nix::machines::LineRef;
use crate::nix::ops::{Op, Reply, Request, Stream};
use crate::nix::wire::{self, Dialect, ProtocolError};
use crate::wire::link::{DATA_CHUNK, Hello, MAX_HELLO, Unit, Welcome, agree};

static NEXT_REQUEST: AtomicU64 = AtomicU64::new(1);

/// A client that says nothing is closed after this.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// One that is refused has this long to hear why.
const LINGER: Duration = Duration::from_secs(1);

/// Serves clients until `shutdown`.
pub(super) async fn serve(listener: UnixListener, world: Arc<World>, shutdown: CancellationToken) {
    // Each accepted build has a connection, and while one is lost and another made, two.
    let each = (2 * world.config().endpoint.max_accepted as usize).max(256);
    let bounds = Bounds { each, all: 2 * each };
    let complaints = Arc::new(Complaints::default());
    let session = |stream, peer: UCred| {
        let (world, complaints) = (Arc::clone(&world), Arc::clone(&complaints));
        async move {
            let Err(error) = welcome(stream, peer, world).await else { return };
            let (uid, pid) = (peer.uid(), peer.pid());
            if !error.is_nonsense() {
                tracing::debug!(uid, pid, %error, "a client's session ended");
            } else if let Some(left_out) = complaints.next(clock::now()) {
                tracing::warn!(uid, pid, %error, left_out, "a client of the endpoint does not keep to the protocol");
            }
        }
    };
    accept(&listener, bounds, &world.tracker, &shutdown, session).await;
}

/// Exchanges hellos, then serves. Whoever may not come in is not listened to.
async fn welcome(stream: UnixStream, peer: UCred, world: Arc<World>) -> Result<(), SessionError> {
    let (mut reader, mut writer) = split(stream);
    let config = world.config();
    if !config.allowed.contains(&peer.uid()) {
        let allowed: Vec<_> = config.allowed.iter().map(u32::to_string).collect();
        let text = format!(
            "user {} may not use this endpoint, only {} may; to let it in, and trust it like root, name it in \
             endpoint.allow of the configuration",
            peer.uid(),
            allowed.join(", ")
        );
        writer.send(&Unit::Refused(text)).await?;
        // Closed at once, it would fail to send its hello and never read the answer.
        let _ = timeout(LINGER, reader.recv_within(MAX_HELLO)).await;
        return Ok(());
    }
    let hello = match timeout(HELLO_TIMEOUT, reader.recv_within(MAX_HELLO)).await {
        Ok(Ok(Some((Unit::Hello(hello), _)))) => hello,
        Ok(Ok(Some((other, _)))) => return Err(SessionError::OutOfPlace(other.name())),
        Ok(Err(error)) => return Err(error.into()),
        Ok(Ok(None)) | Err(_) => return Err(SessionError::NoHello),
    };
    match agree(&hello) {
        Ok(version) => writer.send(&Unit::Welcome(Welcome { version })).await?,
        Err(why) => return Ok(writer.send(&Unit::Refused(why)).await?),
    }
    let client = Client { uid: user_behind(&hello, peer), pid: hello.processes.client };
    let label = label(hello.line.as_deref());
    let dialect = Dialect { dir: world.store_dir.clone(), version: Version::OURS };
    Session { reader, writer, hello, client, label, dialect, world, options: None, daemon: None }
        .serve()
        .await
}

/// Behind a daemon every client comes in as root, who is believed about them; others speak for themselves alone.
fn user_behind(hello: &Hello, peer: UCred) -> u32 {
    hello.user.filter(|_| peer.uid() == 0).unwrap_or(peer.uid())
}

/// The label in `use:LABEL`. Other lines say what may be asked, never where it runs.
fn label(line: Option<&str>) -> Option<Label> {
    match LineRef::parse(line?) {
        Ok(LineRef::Use { label, .. }) => Some(label),
        _ => None,
    }
}

/// Why a session ended early.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    /// The connection broke.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What came is no request.
    #[error("a malformed request: {0}")]
    Protocol(#[from] ProtocolError),
    /// A unit out of place.
    #[error("a {0} unit where it has no place")]
    OutOfPlace(&'static str),
    /// No hello in time.
    #[error("no hello came")]
    NoHello,
    /// The client closed with a request under way.
    #[error("the client closed")]
    Closed,
}

impl SessionError {
    /// Whether the client is to blame, and not the end of a connection.
    fn is_nonsense(&self) -> bool {
        match self {
            Self::Link(error) => matches!(error, LinkError::Unit(_) | LinkError::Descriptors(_)),
            Self::Protocol(_) | Self::OutOfPlace(_) => true,
            Self::NoHello | Self::Closed => false,
        }
    }
}

impl From<std::io::Error> for SessionError {
    fn from(error: std::io::Error) -> Self {
        SessionError::Link(error.into())
    }
}

struct Session {
    reader: LinkReader,
    writer: LinkWriter,
    hello: Hello,
    client: Client,
    /// Whom the client wants by name.
    label: Option<Label>,
    dialect: Dialect,
    world: Arc<World>,
    /// The client's options, for the local daemon.
    options: Option<Request>,
    /// Its own channel to that, between two requests.
    daemon: Option<Lease>,
}

impl Session {
    async fn serve(mut self) -> Result<(), SessionError> {
        while let Some((unit, _)) = self.reader.recv().await? {
            match unit {
                Unit::Request(bytes) => match Request::decode(&bytes, &self.dialect) {
                    // On the heap: a session that waits for a request has no room for its answer.
                    Ok(request) => Box::pin(self.answer(request)).await?,
                    // Asking again would not help, and the client must know.
                    Err(error) => {
                        self.error(&format!("muster: a malformed request: {error}")).await?;
                        return Err(error.into());
                    }
                },
                other => return Err(SessionError::OutOfPlace(other.name())),
            }
        }
        Ok(())
    }

    async fn answer(&mut self, request: Request) -> Result<(), SessionError> {
        match request {
            Request::BuildDerivation { drv, derivation, .. } => {
                self.build(drv, derivation, |result| Ok(Reply::Built(result))).await
            }
            Request::SetOptions { .. } => {
                (self.options, self.daemon) = (Some(request), None);
                self.reply(&Reply::Nothing(())).await
            }
            Request::QueryValidPaths { ref paths, .. } if self.hello.build_hook => {
                let paths: Vec<StorePath> = paths.iter().cloned().collect();
                let world = Arc::clone(&self.world);
                let valid = self.persist(|| world.local.valid_for_hook(&paths)).await?;
                self.reply_or_error(valid.map(Reply::Paths)).await
            }
            request if request.is_build() => self.ensure(&request).await,
            request => match request.op().map(Op::stream) {
                Some(Stream::None) => self.ask_local_store(&request).await,
                Some(Stream::Upload) => self.add_to_local_store(&request).await,
                Some(Stream::Nar) => self.send_from_local_store(&request).await,
                None => self.relay(&request).await,
            },
        }
    }

    /// What asks for plain paths only is met where the local store has them. (`nix copy --from` begins so.)
    async fn ensure(&mut self, request: &Request) -> Result<(), SessionError> {
        if self.hello.build_hook
            && let Request::BuildPathsWithResults { targets, .. } = request
            && let [target] = targets.as_slice()
            && let Some(drv) = graph::derivation_of(target, &self.dialect.dir)
        {
            return self.build_from_store(target.clone(), drv).await;
        }
        let plain = |target: &String| self.dialect.dir.parse_path(target).ok();
        let (paths, reply) = match request {
            Request::EnsurePath { path } => (Some(vec![path.clone()]), Reply::Done(1)),
            Request::BuildPaths { targets, .. } => (targets.iter().map(plain).collect(), Reply::Done(1)),
            Request::BuildPathsWithResults { targets, .. } => {
                let valid = BuildResult::verdict(BuildStatus::AlreadyValid, "");
                let results = targets.iter().map(|target| (target.clone(), valid.clone()));
                (targets.iter().map(plain).collect(), Reply::Results(results.collect()))
            }
            _ => (None, Reply::Nothing(())),
        };
        if let Some(paths) = paths
            && self.world.local.all_valid(&paths).await.is_ok_and(|infos| infos.is_some())
        {
            return self.reply(&reply).await;
        }
        let text = format!(
            "muster: the endpoint does not serve {} of anything that would have to be built: it builds what stock Nix \
             hands over derivation by derivation. Build with the machines line in `builders`, without --store",
            request.name()
        );
        self.error(&text).await
    }

    /// So stock's hook asks on a line whose builders do not trust us: it has sent us the derivation itself. It does not
    /// look at the result's status, only for outputs that are missing, and a `--check` misses none. So a failure is an error.
    async fn build_from_store(&mut self, target: String, drv: StorePath) -> Result<(), SessionError> {
        let world = Arc::clone(&self.world);
        let read = self.persist(|| graph::read(&world.local, &world.store_dir, &drv)).await?;
        match read {
            Ok(Ok(derivation)) => {
                let reply = |result: BuildResult| match result.status.is_success() {
                    true => Ok(Reply::Results(vec![(target.clone(), result)])),
                    false => Err(result.error),
                };
                self.build(drv, derivation, reply).await
            }
            Ok(Err(error)) => self.error(&format!("muster: '{drv}': {error}")).await,
            Err(error) => self.error(&format!("muster: {error}")).await,
        }
    }

    async fn build(
        &mut self,
        drv: StorePath,
        derivation: BasicDerivation,
        reply: impl Fn(BuildResult) -> Result<Reply, String>,
    ) -> Result<(), SessionError> {
        let world = Arc::clone(&self.world);
        let signatures_matter = world.config().use_untrusted;
        let prepare = || Job::prepare(&world.local, drv.clone(), derivation.clone(), signatures_matter);
        let prepared = self.persist(prepare).await?;
        let job = match prepared {
            Ok(job) => Arc::new(job),
            Err(error) => return self.error(&format!("muster: {error}")).await,
        };
        let request = RequestId(NEXT_REQUEST.fetch_add(1, Ordering::Relaxed));
        let feed = Feed::default();
        let (client, label) = (self.client, self.label.clone());
        let _unheard = self.world.unheard.token();
        self.world.tell(News::Requested { request, client, label, job, feed: feed.clone() }).await;
        let ended = self.follow(&feed, reply).await;
        if ended.is_err() {
            self.world.tell(News::Withdrawn(request)).await;
        }
        self.world.kept.sweep();
        ended
    }

    /// Asks the local store until it answers, through outages of its daemon.
    async fn persist<T, Asked>(
        &mut self,
        mut ask: impl FnMut() -> Asked,
    ) -> Result<Result<T, LocalError>, SessionError>
    where
        Asked: Future<Output = Result<T, LocalError>>,
    {
        let (began, patience) = (clock::now(), self.world.config().timeouts.reconnect);
        loop {
            self.local_store_is_there().await?;
            match self.unless_client_goes(ask()).await? {
                Err(error) if error.may_pass() && began.elapsed() < patience => {
                    tracing::debug!(%error, "the local store is asked again");
                    self.unless_client_goes(sleep(ASK_AGAIN)).await?;
                }
                done => return Ok(done),
            }
        }
    }

    /// Nothing is done for a client that has gone. Nothing else may come from one that waits for its answer.
    async fn unless_client_goes<T>(&mut self, work: impl Future<Output = T>) -> Result<T, SessionError> {
        tokio::select! {
            done = work => Ok(done),
            unit = self.reader.recv() => Err(out_of_turn(unit?.map(|(unit, _)| unit))),
        }
    }

    /// The local daemon may be away for a while, as when it is upgraded: it is waited for, and no build fails for
    /// that. Where it does not come back, whatever is asked of it next says why.
    async fn local_store_is_there(&mut self) -> Result<(), SessionError> {
        let (world, began) = (Arc::clone(&self.world), clock::now());
        let mut said = false;
        loop {
            let error = match world.local.is_there().await {
                Err(error) if began.elapsed() < world.config().timeouts.reconnect => error,
                _ => return Ok(()),
            };
            if !std::mem::replace(&mut said, true) {
                let text = format!("muster: the local store's daemon: {error}; waiting for it\n");
                let message = LogMessage::Next(text.into());
                self.writer.send(&Unit::Log(wire::encode(&message, &self.dialect))).await?;
            }
            self.unless_client_goes(sleep(ASK_AGAIN)).await?;
        }
    }

    /// Tells the client everything up to the build's end.
    async fn follow(
        &mut self,
        feed: &Feed,
        reply: impl Fn(BuildResult) -> Result<Reply, String>,
    ) -> Result<(), SessionError> {
        loop {
            match self.unless_client_goes(feed.next()).await? {
                Told::Log(message) => {
                    self.writer.send(&Unit::Log(wire::encode(&message, &self.dialect))).await?
                }
                Told::Ending(Ending::Impossible(text)) => return self.error(&text).await,
                Told::Ending(Ending::Result(result, outputs)) => {
                    self.world.kept.keep(self.hello.processes.hook, &outputs);
                    for output in outputs {
                        let unit = Unit::Output(wire::encode(&output.info, &self.dialect));
                        self.writer.send_with(&unit, output.nar.as_fd()).await?;
                    }
                    return match reply(result) {
                        Ok(reply) => self.reply(&reply).await,
                        Err(text) => self.error(&text).await,
                    };
                }
            }
        }
    }

    async fn ask_local_store(&mut self, request: &Request) -> Result<(), SessionError> {
        let asked = async {
            let mut daemon = self.local_daemon().await?;
            if matches!(request, Request::AddTempRoot { .. }) {
                daemon.keep_private();
            }
            let reply = daemon.call(request, &mut drop).await;
            self.keep(daemon);
            Ok(reply?)
        };
        let answered: Result<Reply, LocalError> = asked.await;
        self.reply_or_error(answered).await
    }

    /// A channel to the local daemon: this client's own where it has set options or asked for temporary roots, which
    /// then last as long as it does; else any.
    async fn local_daemon(&mut self) -> Result<Lease, LocalError> {
        if let Some(daemon) = self.daemon.take() {
            return Ok(daemon);
        }
        adding::open(&self.world, self.options.as_ref()).await
    }

    fn keep(&mut self, daemon: Lease) {
        self.daemon = Some(daemon).filter(|daemon| daemon.is_private() && daemon.is_clean());
    }

    async fn send_from_local_store(&mut self, request: &Request) -> Result<(), SessionError> {
        let Request::NarFromPath { path } = request else {
            return self.error(&format!("muster: the endpoint does not serve {}", request.name())).await;
        };
        if self.hello.build_hook
            && let Some(nar) = kept::output(&self.world, self.hello.processes.hook, path).await
        {
            return self.send_nar(&nar).await;
        }
        let (nar, mut sink) = tokio::io::duplex(DATA_CHUNK);
        let (opened, limit) = (self.local_daemon().await, self.world.config().limits.max_nar);
        let read = async move {
            let mut daemon = opened?;
            daemon.nar_from_path(path, &mut sink, limit).await?;
            // A pipe of our own: it cannot fail.
            let _ = sink.shutdown().await;
            Ok::<_, LocalError>(daemon)
        };
        let read = async { Ok(read.await) };
        let (read, ()) = tokio::try_join!(read, send_all(nar, &mut self.writer))?;
        match read {
            Ok(daemon) => {
                self.keep(daemon);
                Ok(self.writer.send(&Unit::End).await?)
            }
            Err(error) => self.error(&format!("muster: {error}")).await,
        }
    }

    async fn send_nar(&mut self, nar: &Nar) -> Result<(), SessionError> {
        let mut chunk = vec![0; DATA_CHUNK];
        let mut at = 0;
        while let read @ 1.. = nar.read_at(&mut chunk, at)? {
            self.writer.send(&Unit::Data(chunk[..read].to_vec())).await?;
            at += read as u64;
        }
        Ok(self.writer.send(&Unit::End).await?)
    }

    async fn reply_or_error(&mut self, answered: Result<Reply, LocalError>) -> Result<(), SessionError> {
        match answered {
            Ok(reply) => self.reply(&reply).await,
            Err(LocalError::Store(Error::Daemon(error))) => self.error(&error.to_string()).await,
            Err(error) => self.error(&format!("muster: {error}")).await,
        }
    }

    async fn reply(&mut self, reply: &Reply) -> Result<(), SessionError> {
        Ok(self.writer.send(&Unit::Reply(reply.encode(&self.dialect))).await?)
    }

    async fn error(&mut self, text: &str) -> Result<(), SessionError> {
        Ok(self.writer.send(&Unit::Error(text.to_owned())).await?)
    }
}

fn out_of_turn(unit: Option<Unit>) -> SessionError {
    unit.map_or(SessionError::Closed, |unit| SessionError::OutOfPlace(unit.name()))
}

async fn send_all(mut from: impl AsyncReadExt + Unpin, writer: &mut LinkWriter) -> Result<(), SessionError> {
    let mut chunk = vec![0; DATA_CHUNK];
    while let read @ 1.. = from.read(&mut chunk).await? {
        writer.send(&Unit::Data(chunk[..read].to_vec())).await?;
    }
    Ok(())
}
