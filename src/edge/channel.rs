//! A byte stream to a Nix daemon, however it is reached.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;

use super::process::{DaemonProcess, Reaped};
use super::ssh::{self, Lane, SshError};

/// The receiving half.
pub type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;
/// The sending half.
pub type Writer = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// How a daemon is reached. Every way gives channels of the same kind.
#[derive(Debug, Clone)]
pub enum Transport {
    /// `nix-daemon --stdio --store URI` as a child: an embedded builder, or a local store without a daemon.
    Process(DaemonProcess),
    /// A daemon's Unix socket on this machine.
    Socket(PathBuf),
    /// A machine that ssh reaches.
    Ssh(Arc<ssh::Host>, Lane),
    /// The same, by daemons whose builds see so many cores.
    SshCores(Arc<ssh::Host>, u32),
}

/// Two halves, and what has to live as long as they do.
pub struct Channel {
    /// From the daemon.
    pub reader: Reader,
    /// To the daemon.
    pub writer: Writer,
    /// What is behind it, where that is more than the stream.
    pub behind: Option<Behind>,
}

/// What is behind a channel, and ends with it.
pub enum Behind {
    /// A child of ours.
    Child(Reaped),
    /// A command on a builder.
    Session(ssh::Hold),
    /// A stream through a master.
    Forward(ssh::Forwarded),
}

impl Behind {
    /// The last words of the program at the other end; empty where it said nothing.
    pub fn last_words(&self) -> String {
        match self {
            Behind::Child(child) => child.last_words(),
            Behind::Session(session) => session.last_words(),
            Behind::Forward(_) => String::new(),
        }
    }

    /// The same when it has said all, or after `limit`.
    pub async fn settled(&self, limit: Duration) -> String {
        match self {
            Behind::Child(child) => child.settled(limit).await,
            Behind::Session(session) => session.settled(limit).await,
            Behind::Forward(_) => String::new(),
        }
    }
}

/// Why no channel could be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The program could not be started.
    #[error("cannot start {program}: {why}")]
    Spawn {
        /// Which program.
        program: String,
        /// Why not.
        why: std::io::Error,
    },
    /// Nobody answers at the socket.
    #[error("cannot connect to {}: {why}", path.display())]
    Connect {
        /// Which socket.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// ssh does not get there.
    #[error(transparent)]
    Ssh(#[from] SshError),
}

impl Transport {
    /// Opens a channel; the tracker takes over what must be waited for when it closes.
    pub async fn open(&self, tracker: &TaskTracker) -> Result<Channel, OpenError> {
        match self {
            Transport::Process(daemon) => daemon.open(tracker),
            Transport::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                let stream = stream.map_err(|why| OpenError::Connect { path: path.clone(), why })?;
                let (reader, writer) = stream.into_split();
                Ok(Channel { reader: Box::new(reader), writer: Box::new(writer), behind: None })
            }
            Transport::Ssh(host, lane) => Ok(host.open(*lane).await?),
            Transport::SshCores(host, cores) => Ok(host.open_with_cores(*cores).await?),
        }
    }

    /// The same place, by daemons whose builds see so many cores; none where only their own options decide.
    pub fn with_cores(&self, cores: u32) -> Option<Self> {
        match self {
            Transport::Ssh(host, _) => Some(Transport::SshCores(Arc::clone(host), cores)),
            _ => None,
        }
    }

    /// The same place, on the lane for what is large.
    pub fn bulk(&self) -> Self {
        match self {
            Transport::Ssh(host, _) => Transport::Ssh(Arc::clone(host), Lane::Bulk),
            other => other.clone(),
        }
    }

    /// Nothing new begins on what all channels share: it gives no answer.
    pub fn doubt(&self) {
        match self {
            Transport::Ssh(host, lane) => host.doubt(*lane),
            Transport::SshCores(host, _) => host.doubt(Lane::Control),
            Transport::Process(_) | Transport::Socket(_) => {}
        }
    }

    /// Ends what all channels share.
    pub fn cut(&self) {
        if let Transport::Ssh(host, _) = self {
            host.cut();
        }
    }
}
