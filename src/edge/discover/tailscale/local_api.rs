//! tailscaled's LocalAPI: by its socket, or by the `tailscale` command where the socket is not for us to use.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::edge::files;
use crate::edge::tailscale::{Cli, CliError};
use crate::wire::tailscale::{BUS, BadStatus, Head, MOST_STATUS, STATUS, Status, Whois, get, whois};

/// Linux's, and that of an open-source tailscaled on macOS.
const SOCKETS: [&str; 2] = ["/var/run/tailscale/tailscaled.sock", "/var/run/tailscaled.socket"];
/// What a status may take.
const ANSWER: Duration = Duration::from_secs(10);
/// What is shown of an answer that is none.
const SHOWN: usize = 300;

/// Why nothing is known of the tailnet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("tailscaled's socket {}: {why}", socket.display())]
    Socket { socket: PathBuf, why: io::Error },
    #[error("tailscaled closed the connection")]
    Closed,
    #[error("tailscaled did not answer within {}", humantime::format_duration(ANSWER))]
    Slow,
    #[error("tailscaled answers with {status}: {said}")]
    Refused { status: u16, said: String },
    #[error("what listens on tailscaled's socket is not tailscaled: {0}")]
    NoHttp(#[from] crate::wire::tailscale::NoHttp),
    #[error("tailscaled: {0}")]
    Status(#[from] BadStatus),
    #[error("tailscaled says more than {MOST_STATUS} bytes")]
    Long,
    #[error("Tailscale here is '{state}', not 'Running'{}", advice(state))]
    State { state: String },
    #[error(
        "there is neither tailscaled's socket ({}) nor a `tailscale` command: install Tailscale, or say where with \
         `socket`",
        SOCKETS.join(", ")
    )]
    Nothing,
    #[error("tailscaled: {0}")]
    Whois(String),
    #[error(transparent)]
    Command(#[from] CliError),
}

/// What to do about a state that does not pass by itself.
fn advice(state: &str) -> &'static str {
    match state {
        "NeedsLogin" | "Stopped" => ": run `tailscale up`",
        "NeedsMachineAuth" => ": let an administrator of the tailnet approve this machine",
        "InUseOtherUser" => ": another user of this machine has it",
        _ => " yet",
    }
}

/// How tailscaled is asked.
#[derive(Debug, PartialEq)]
pub(super) enum LocalApi {
    Socket(PathBuf),
    Command,
}

impl LocalApi {
    /// By the socket that was named, or one where it usually is, or else by the command.
    pub(super) fn find(named: Option<&Path>) -> Self {
        Self::find_among(named, &SOCKETS)
    }

    fn find_among(named: Option<&Path>, sockets: &[&str]) -> Self {
        let usual = || sockets.iter().map(Path::new).find(|socket| files::is_there(socket));
        named.or_else(usual).map_or(Self::Command, |socket| Self::Socket(socket.to_owned()))
    }

    pub(super) async fn status(&self) -> Result<Status, Trouble> {
        let text = timeout(ANSWER, async {
            match self {
                Self::Socket(socket) => ask(socket, STATUS).await,
                Self::Command => command(&["status", "--json"]).await,
            }
        });
        Ok(Status::parse(&text.await.map_err(|_| Trouble::Slow)??)?)
    }

    /// Whom an address of the tailnet belongs to.
    pub(super) async fn whois(&self, address: IpAddr) -> Result<Whois, Trouble> {
        let address = address.to_string();
        let text = timeout(ANSWER, async {
            match self {
                Self::Socket(socket) => ask(socket, &whois_path(&address)).await,
                Self::Command => command(&["whois", "--json", &address]).await,
            }
        });
        whois(&text.await.map_err(|_| Trouble::Slow)??).map_err(Trouble::Whois)
    }

    /// The bus; one that never says anything, where there is none.
    pub(super) async fn bus(&self) -> Result<Bus, Trouble> {
        let Self::Socket(socket) = self else { return Ok(Bus::silent()) };
        let (stream, _) = timeout(ANSWER, open(socket, BUS)).await.map_err(|_| Trouble::Slow)??;
        Ok(Bus(Some(stream)))
    }
}

/// News of the tailnet.
pub(super) struct Bus(Option<UnixStream>);

impl Bus {
    /// One that never says anything.
    pub(super) fn silent() -> Self {
        Self(None)
    }

    /// Waits for a line; what it says differs by version, and does not matter. Cancel safe.
    pub(super) async fn news(&mut self) -> Result<(), Trouble> {
        let Some(stream) = &mut self.0 else { return std::future::pending().await };
        let mut chunk = [0; 16 << 10];
        loop {
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return Err(Trouble::Closed),
                Ok(read) if chunk[..read].contains(&b'\n') => return Ok(()),
                Ok(_) => {}
            }
        }
    }
}

/// The port is asked for, and means nothing here.
fn whois_path(address: &str) -> String {
    let host = if address.contains(':') {
        format!("%5B{}%5D", address.replace(':', "%3A"))
    } else {
        address.to_owned()
    };
    format!("/localapi/v0/whois?addr={host}%3A1")
}

async fn ask(socket: &Path, path: &str) -> Result<Vec<u8>, Trouble> {
    let (stream, mut text) = open(socket, path).await?;
    let failed = |why| Trouble::Socket { socket: socket.to_owned(), why };
    stream.take(MOST_STATUS as u64 + 1).read_to_end(&mut text).await.map_err(failed)?;
    if text.len() > MOST_STATUS { Err(Trouble::Long) } else { Ok(text) }
}

/// Asks for a path; the connection, and what has come of the answer's body.
async fn open(socket: &Path, path: &str) -> Result<(UnixStream, Vec<u8>), Trouble> {
    let failed = |why| Trouble::Socket { socket: socket.to_owned(), why };
    let mut stream = UnixStream::connect(socket).await.map_err(failed)?;
    stream.write_all(get(path).as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    let head = loop {
        if stream.read_buf(&mut answer).await.map_err(failed)? == 0 {
            return Err(Trouble::Closed);
        }
        if let Some(head) = Head::parse(&answer)? {
            break head;
        }
    };
    answer.drain(..head.length);
    if head.status == 200 {
        return Ok((stream, answer));
    }
    // Whatever else it says, the number is enough.
    let _ = stream.take(SHOWN as u64).read_to_end(&mut answer).await;
    Err(Trouble::Refused { status: head.status, said: shown(&answer) })
}

/// The same from the command.
async fn command(words: &[&str]) -> Result<Vec<u8>, Trouble> {
    let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
    match Cli::new(None, None).run(&words, "", ANSWER).await {
        Err(CliError::Nothing) => Err(Trouble::Nothing),
        text => Ok(text?),
    }
}

fn shown(said: &[u8]) -> String {
    String::from_utf8_lossy(said).trim().chars().take(SHOWN).collect::<String>().escape_debug().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_for_with_a_port_whatever_its_family() {
        assert_eq!(whois_path("100.64.0.3"), "/localapi/v0/whois?addr=100.64.0.3%3A1");
        assert_eq!(whois_path("fd7a::1"), "/localapi/v0/whois?addr=%5Bfd7a%3A%3A1%5D%3A1");
    }

    #[test]
    fn the_socket_that_is_there_is_asked_and_where_there_is_none_the_command() {
        let dir = tempfile::tempdir().expect("a directory");
        let (linux, macos) = (dir.path().join("tailscaled.sock"), dir.path().join("tailscaled.socket"));
        let usual = [linux.to_str().expect("text"), macos.to_str().expect("text")];
        assert_eq!(LocalApi::find_among(None, &usual), LocalApi::Command);
        let _macos = std::os::unix::net::UnixListener::bind(&macos).expect("a socket");
        assert_eq!(LocalApi::find_among(None, &usual), LocalApi::Socket(macos.clone()));
        let _linux = std::os::unix::net::UnixListener::bind(&linux).expect("a socket");
        assert_eq!(LocalApi::find_among(None, &usual), LocalApi::Socket(linux.clone()));
        let named = Path::new("/elsewhere");
        assert_eq!(LocalApi::find_among(Some(named), &usual), LocalApi::Socket(named.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tailscaled_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("sock");
        // The kernel takes the connection; nobody ever answers.
        let _deaf = tokio::net::UnixListener::bind(&socket).expect("a socket");
        let api = LocalApi::Socket(socket);
        assert!(matches!(api.status().await, Err(Trouble::Slow)));
        assert!(matches!(api.bus().await, Err(Trouble::Slow)));
    }
}
