//! A byte stream to a Nix daemon, however it is reached.

use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;

use super::process::{DaemonProcess, Reaped};

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
}

/// Two halves, and what has to live as long as they do.
pub struct Channel {
    /// From the daemon.
    pub reader: Reader,
    /// To the daemon.
    pub writer: Writer,
    /// The child behind it, where there is one.
    pub child: Option<Reaped>,
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
                Ok(Channel { reader: Box::new(reader), writer: Box::new(writer), child: None })
            }
        }
    }
}
