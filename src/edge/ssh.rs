//! Builders that ssh reaches: the system's `ssh`, with masters of our own.
//!
//! | part | what |
//! |---|---|
//! | `command` | the words that `ssh` is started with |
//! | `config` | what ssh's own configuration says of a host |
//! | `known` | whose keys its known hosts vouch for |
//! | `master` | one connection to a builder, and how it ends |
//! | `mux` | sessions and forwards over it |
//! | `serve` | whether the older protocol is spoken there |
//! | `trouble` | what ssh said, as an error |
//! | `admission` | the same of Tailscale's ssh server |
//!
//! Each builder has two lanes, so that a large upload never stands in the way of a build's log. A lane is one master,
//! and more of them while it carries as many sessions as a server allows. Masters are connected one after the other,
//! die with us however we die, and are never the user's own. Deliberately absent: a connection without a master.

mod admission;
pub(in crate::edge) mod command;
mod config;
mod dir;
pub(in crate::edge) mod known;
mod master;
mod mux;
mod serve;
mod session;
mod trouble;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub use dir::SocketDir;
pub use session::{Forwarded, Hold, Output, Session};
pub use trouble::SshError;

use super::channel::Channel;
use super::clock;
use crate::config::SshUri;
use crate::domain::HostKey;
use crate::wire::ssh_config::Settings;
use master::{Master, Seat};
use mux::MuxError;

/// A server's `MaxSessions` is 10 where nobody changed it.
const SESSIONS: u32 = 8;
/// Tailscale's server counts no sessions; this bounds what one lost connection takes with it.
const TAILNET_SESSIONS: u32 = 64;
/// What one master carries of forwarded channels; nothing in ssh bounds them.
const FORWARDS: u32 = 256;
/// A lane's further connections end when nothing has run over them for this long.
const SPARE: Duration = Duration::from_secs(60);
/// How often another master is tried where one refuses a session.
const TRIES: u32 = 4;

/// Which of a builder's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Builds, pings, probes.
    Control,
    /// Uploads.
    Bulk,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Connecting, and opening a session.
    pub connect: Duration,
    /// Silence after which ssh takes a connection for lost.
    pub lost_after: Duration,
}

/// How ssh is run.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How long things may take.
    pub patience: Patience,
    /// The user's own options, behind ours: words of ssh's command line.
    pub options: Arc<[String]>,
}

/// Where a builder's daemon is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Daemon {
    /// `PROGRAM --stdio` in a session of its own.
    Program(Vec<String>),
    /// The daemon's socket; channels to it cost no session.
    Socket(String),
    /// `PROGRAM builder pump` in a session: the daemon's socket, by a key that allows no forwards.
    Pump(String),
}

/// A builder that ssh reaches.
pub struct Host {
    uri: SshUri,
    dir: Arc<SocketDir>,
    terms: Terms,
    tracker: TaskTracker,
    daemon: Mutex<Daemon>,
    settings: Mutex<Option<Settings>>,
    masters: Mutex<Vec<(Lane, Arc<Master>)>>,
    /// Whoever holds it connects; with the last failure, for those who waited meanwhile.
    connecting: tokio::sync::Mutex<Option<(Instant, SshError)>>,
}

impl Host {
    /// Nothing is connected yet.
    pub fn new(uri: SshUri, dir: Arc<SocketDir>, terms: Terms, tracker: TaskTracker) -> Arc<Self> {
        let daemon = Mutex::new(Daemon::Program(program(&uri, None)));
        let (settings, masters, connecting) = Default::default();
        Arc::new(Self { uri, dir, terms, tracker, daemon, settings, masters, connecting })
    }

    /// What the user wrote.
    pub fn uri(&self) -> &SshUri {
        &self.uri
    }

    /// Where the daemon is, once a probe knows better; `found` is where its program was found.
    pub fn use_program(&self, found: Option<&str>) {
        self.set_daemon(Daemon::Program(program(&self.uri, found)));
    }

    /// Whether channels can lead to a socket there, as far as our own side goes. By an older `ssh`, a stream that we
    /// close is closed in our direction only, and a daemon that builds does not see it.
    pub async fn can_stream(&self) -> bool {
        config::can_stream().await
    }

    /// From now on channels lead to the daemon's socket there, until the next [`Host::cut`].
    pub fn use_socket(&self, path: &str) {
        self.set_daemon(Daemon::Socket(path.to_owned()));
    }

    /// From now on channels lead to the daemon's socket there by this muster, until the next [`Host::cut`].
    pub fn use_pump(&self, muster: &str) {
        self.set_daemon(Daemon::Pump(muster.to_owned()));
    }

    /// Where the daemon is taken to be.
    pub fn daemon(&self) -> Daemon {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_daemon(&self, daemon: Daemon) {
        *self.daemon.lock().unwrap_or_else(PoisonError::into_inner) = daemon;
    }

    /// The one host key by which stock Nix can know it too: what the configuration says, or what known hosts say under
    /// the very name that we call it by (stock looks for no other). Only once connected.
    pub async fn host_key(&self) -> Option<HostKey> {
        if let Some(key) = &self.uri.host_key {
            return Some(key.clone());
        }
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let named = settings.alias.as_ref().unwrap_or(&settings.hostname);
        if !named.eq_ignore_ascii_case(&self.uri.host) {
            return None;
        }
        let mut keys = known::keys(&settings).await;
        if keys.len() > 1 {
            let words = command::master(&self.uri, Path::new("none"), None, &self.terms);
            let shown = master::look_closer(&self.uri, &words, self.terms.patience.connect).await?;
            keys.retain(|key| key.fingerprint() == shown);
        }
        keys.pop()
    }

    /// Opens a channel to the builder's daemon.
    pub async fn open(&self, lane: Lane) -> Result<Channel, SshError> {
        match self.daemon() {
            Daemon::Program(words) => {
                let command = command::daemon(&words, self.uri.remote_store.as_deref(), None);
                Ok(self.session(lane, &command).await?.into_channel())
            }
            Daemon::Socket(path) => self.open_socket(lane, &path).await,
            Daemon::Pump(muster) => {
                Ok(self.session(lane, &command::muster(&muster, "pump")).await?.into_channel())
            }
        }
    }

    /// Opens a channel to a daemon whose builds see so many cores, whatever it makes of its client's options.
    pub async fn open_with_cores(&self, cores: u32) -> Result<Channel, SshError> {
        let words = match self.daemon() {
            Daemon::Program(words) => words,
            Daemon::Socket(_) | Daemon::Pump(_) => program(&self.uri, None),
        };
        let command = command::daemon(&words, self.uri.remote_store.as_deref(), Some(cores));
        Ok(self.session(Lane::Control, &command).await?.into_channel())
    }

    /// Opens a channel to a Unix socket there.
    pub async fn open_socket(&self, lane: Lane, path: &str) -> Result<Channel, SshError> {
        let seat = self.seat(lane, FORWARDS).await?;
        let opened = timeout(self.terms.patience.connect, mux::stream(seat.socket(), path)).await;
        match opened {
            Ok(Ok(stream)) => Ok(session::forwarded(stream, seat)),
            Ok(Err(error)) => Err(SshError::Forward { path: path.to_owned(), said: error.to_string() }),
            Err(_) => {
                seat.retire();
                Err(SshError::Timeout(self.terms.patience.connect))
            }
        }
    }

    /// Runs a command in the login shell there. It must mean the same in every shell.
    pub async fn session(&self, lane: Lane, command: &str) -> Result<Session, SshError> {
        let mut last = None;
        for _ in 0..TRIES {
            let mut seat = self.seat(lane, self.sessions()).await?;
            match timeout(self.terms.patience.connect, mux::session(seat.socket(), command)).await {
                Ok(Ok(running)) => {
                    seat.opened();
                    return Ok(Session::new(running, seat, &self.tracker));
                }
                Ok(Err(MuxError::Refused(why))) if seat.is_alone() => return Err(SshError::Refused(why)),
                Ok(Err(MuxError::Refused(why))) => {
                    seat.allow_no_more();
                    last = Some(SshError::Refused(why));
                }
                Ok(Err(error)) => {
                    seat.retire();
                    last = Some(SshError::Lost(error.to_string()));
                }
                Err(_) => {
                    // It may only be slow, and what runs there may live; nothing new begins there.
                    seat.retire();
                    return Err(SshError::Timeout(self.terms.patience.connect));
                }
            }
        }
        Err(last.unwrap_or(SshError::Timeout(self.terms.patience.connect)))
    }

    /// Gives a command its whole input and takes its output: until it ends, or has said `end`, or more than `most` bytes.
    pub async fn run(
        &self,
        lane: Lane,
        command: &str,
        input: &[u8],
        (end, most): (&[u8], usize),
    ) -> Result<Output, SshError> {
        let session = self.session(lane, command).await?;
        session.talk(input, end, most).await.map_err(|error| SshError::Lost(error.to_string()))
    }

    /// What runs on this lane may go on; whatever comes next connects anew.
    pub fn doubt(&self, lane: Lane) {
        for (_, master) in self.masters().iter().filter(|(its, _)| *its == lane) {
            master.retire();
        }
    }

    /// Ends every connection.
    pub fn cut(&self) {
        for (_, master) in self.masters().drain(..) {
            master.end();
        }
        if let Daemon::Socket(_) | Daemon::Pump(_) = self.daemon() {
            self.use_program(None);
        }
    }

    /// Whoever comes first connects, the others wait and share what comes of it.
    async fn seat(&self, lane: Lane, places: u32) -> Result<Seat, SshError> {
        if let Some(seat) = self.free_seat(lane, places) {
            return Ok(seat);
        }
        let asked = clock::now();
        let mut failed = self.connecting.lock().await;
        if let Some(seat) = self.free_seat(lane, places) {
            return Ok(seat);
        }
        if let Some((_, error)) = failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        match Master::connect(&self.uri, &self.dir, &self.terms, &self.tracker).await {
            Ok((master, settings)) => {
                *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
                let seat = Seat::new(Arc::clone(&master));
                let mut masters = self.masters();
                if masters.iter().any(|(its, _)| *its == lane) {
                    self.tracker.spawn(master.end_when_idle(SPARE));
                }
                masters.push((lane, master));
                Ok(seat)
            }
            Err(error) => {
                *failed = Some((clock::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// As many as a server takes on one connection.
    fn sessions(&self) -> u32 {
        if self.uri.admission.is_some() { TAILNET_SESSIONS } else { SESSIONS }
    }

    fn free_seat(&self, lane: Lane, places: u32) -> Option<Seat> {
        let mut masters = self.masters();
        masters.retain(|(_, master)| master.is_usable());
        masters.iter().filter(|(its, _)| *its == lane).find_map(|(_, master)| Seat::take(master, places))
    }

    fn masters(&self) -> MutexGuard<'_, Vec<(Lane, Arc<Master>)>> {
        self.masters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the user said wins.
fn program(uri: &SshUri, found: Option<&str>) -> Vec<String> {
    match (&*uri.remote_program, found) {
        ([], Some(found)) => vec![found.to_owned()],
        ([], None) => vec!["nix-daemon".to_owned()],
        (said, _) => said.to_vec(),
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("uri", &self.uri).finish_non_exhaustive()
    }
}
