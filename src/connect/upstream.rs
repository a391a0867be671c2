//! The way to the coordinator, which may be gone for a while.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use crate::config::NOTICE;
use crate::edge::clock;
use crate::edge::files;
use crate::edge::link::{self, LinkError, LinkReader, LinkWriter};
use crate::wire::link::{Hello, OLDEST, Unit, VERSION};
use crate::wire::notice::Notice;

/// A coordinator that accepts but does not answer is as good as gone.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It is gone for now; another try may help.
    #[error("{0}")]
    Lost(String),
    /// No other try will help.
    #[error("{0}")]
    Final(String),
}

impl From<LinkError> for UpstreamError {
    fn from(error: LinkError) -> Self {
        UpstreamError::Lost(error.to_string())
    }
}

impl From<io::Error> for UpstreamError {
    fn from(error: io::Error) -> Self {
        UpstreamError::Lost(error.to_string())
    }
}

/// Both ends of the link.
pub struct Link {
    /// From the coordinator.
    pub reader: LinkReader,
    /// To the coordinator.
    pub writer: LinkWriter,
}

/// Where the coordinator is, and what it is told first.
pub struct Upstream {
    socket: PathBuf,
    hello: Hello,
}

impl Upstream {
    /// Nothing is opened yet.
    pub fn new(socket: PathBuf, mut hello: Hello) -> Self {
        (hello.version, hello.oldest) = (VERSION, OLDEST);
        Self { socket, hello }
    }

    /// Where the coordinator is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// One try.
    pub async fn connect(&self) -> Result<Link, UpstreamError> {
        let opened = link::connect(&self.socket).await;
        let (mut reader, mut writer) = opened.map_err(|error| self.unreachable(&error))?;
        writer.send(&Unit::Hello(self.hello.clone())).await?;
        let answer = timeout(HELLO_TIMEOUT, reader.recv()).await;
        match answer.map_err(|_| UpstreamError::Lost("the coordinator does not answer".to_owned()))?? {
            Some((Unit::Welcome(_), _)) => Ok(Link { reader, writer }),
            Some((Unit::Refused(why), _)) => Err(UpstreamError::Final(why)),
            Some((other, _)) => {
                Err(UpstreamError::Final(format!("the coordinator began with a {} unit", other.name())))
            }
            None => Err(UpstreamError::Lost("the coordinator closed the connection".to_owned())),
        }
    }

    /// Tries until `deadline`, a little less often each time.
    pub async fn connect_by(&self, deadline: Instant) -> Result<Link, UpstreamError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.connect().await {
                Err(UpstreamError::Lost(_)) if clock::now() + pause < deadline => {}
                ended => return ended,
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn stopped_by(&self) -> Option<String> {
        let text = files::read_bounded(&self.socket.with_file_name(NOTICE))?;
        Notice::parse(&text).stopped_by
    }

    fn unreachable(&self, error: &io::Error) -> UpstreamError {
        let socket = self.socket.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return UpstreamError::Final(format!(
                "muster: may not open {socket}: only root and the coordinator's own user may; to let another user \
                 in, who is then trusted like root, name it in endpoint.allow of the coordinator's configuration"
            ));
        }
        if let Some(by) = self.stopped_by() {
            return UpstreamError::Final(format!(
                "muster: the coordinator was stopped by {by} (muster stop); start this again, and Nix builds it without muster"
            ));
        }
        UpstreamError::Lost(format!("cannot open {socket}: {error}"))
    }
}
