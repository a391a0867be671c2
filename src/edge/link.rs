//! Units of the connect protocol over a Unix socket, with descriptors beside them.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::wire::link::{BadUnit, MAX_UNIT, Unit};

const READ_CHUNK: usize = 64 << 10;
/// Descriptors that wait for their unit; more means that the peer does not keep to the protocol.
const MAX_WAITING_FDS: usize = 16;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer sent nonsense.
    #[error(transparent)]
    Unit(#[from] BadUnit),
    /// The peer sent an output without its descriptor, or descriptors without an output.
    #[error("the peer sent {0}")]
    Descriptors(&'static str),
    /// The peer closed in the middle of a unit.
    #[error("the connection was closed in the middle of a unit")]
    Truncated,
}

/// Both ends of a link.
pub fn split(stream: UnixStream) -> (LinkReader, LinkWriter) {
    let stream = Arc::new(stream);
    (
        LinkReader { stream: Arc::clone(&stream), buffer: Vec::new(), fds: VecDeque::new() },
        LinkWriter { stream },
    )
}

/// Opens a link to whoever listens at `path`.
pub async fn connect(path: &Path) -> io::Result<(LinkReader, LinkWriter)> {
    UnixStream::connect(path).await.map(split)
}

/// The receiving end.
pub struct LinkReader {
    stream: Arc<UnixStream>,
    buffer: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl LinkReader {
    /// The next unit, with the descriptor of an [`Unit::Output`]; none when the peer has closed.
    ///
    /// Cancel safe: what has arrived stays in the buffer.
    pub async fn recv(&mut self) -> Result<Option<(Unit, Option<OwnedFd>)>, LinkError> {
        self.recv_within(MAX_UNIT).await
    }

    /// The same for a unit of `most` bytes; a longer one is refused before it is kept.
    pub async fn recv_within(&mut self, most: usize) -> Result<Option<(Unit, Option<OwnedFd>)>, LinkError> {
        loop {
            if let Some((unit, length)) = Unit::decode_within(&self.buffer, most)? {
                self.buffer.drain(..length);
                let fd = match unit {
                    Unit::Output(_) => Some(
                        self.fds.pop_front().ok_or(LinkError::Descriptors("an output without its NAR"))?,
                    ),
                    _ => None,
                };
                return Ok(Some((unit, fd)));
            }
            if self.fill(most.min(READ_CHUNK)).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(LinkError::Truncated) };
            }
        }
    }

    /// The buffer is touched only between waits, so that a wait can be given up.
    async fn fill(&mut self, chunk: usize) -> Result<usize, LinkError> {
        loop {
            if self.buffer.is_empty() {
                // One that says nothing costs nothing.
                self.buffer = Vec::new();
            }
            self.stream.readable().await?;
            let start = self.buffer.len();
            self.buffer.resize(start + chunk, 0);
            let (into, fds) = (&mut self.buffer[start..], &mut self.fds);
            let read = self.stream.try_io(Interest::READABLE, || receive(self.stream.as_fd(), into, fds));
            self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            if self.fds.len() > MAX_WAITING_FDS {
                return Err(LinkError::Descriptors("more descriptors than outputs"));
            }
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Ok(read?),
            }
        }
    }
}

fn receive(socket: BorrowedFd<'_>, into: &mut [u8], fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_WAITING_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [IoSliceMut::new(into)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    Ok(message.bytes)
}

/// The sending end.
pub struct LinkWriter {
    stream: Arc<UnixStream>,
}

impl LinkWriter {
    /// Sends a whole unit.
    pub async fn send(&mut self, unit: &Unit) -> io::Result<()> {
        self.send_bytes(&unit.encode(), None).await
    }

    /// Sends a unit with a descriptor beside it.
    pub async fn send_with(&mut self, unit: &Unit, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.send_bytes(&unit.encode(), Some(fd)).await
    }

    async fn send_bytes(&mut self, mut bytes: &[u8], mut fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        while !bytes.is_empty() {
            let stream = &self.stream;
            let sent = stream.async_io(Interest::WRITABLE, || transmit(stream.as_fd(), bytes, fd)).await?;
            fd = None;
            bytes = &bytes[sent..];
        }
        Ok(())
    }
}

pub(super) fn transmit(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = fd.as_slice();
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[tokio::test]
    async fn an_output_arrives_with_its_own_descriptor_among_other_units() {
        let (left, right) = UnixStream::pair().expect("a pair");
        let (_, mut writer) = split(left);
        let (mut reader, _) = split(right);
        let sender = async {
            for name in ["one", "two"] {
                let mut file = tempfile::tempfile().expect("a file");
                file.write_all(name.as_bytes()).expect("written");
                writer.send(&Unit::Log(vec![7; 200_000])).await.expect("sent");
                writer.send_with(&Unit::Output(name.into()), file.as_fd()).await.expect("sent");
            }
            drop(writer);
        };
        let receiver = async {
            let mut seen = Vec::new();
            while let Some((unit, fd)) = reader.recv().await.expect("a unit") {
                if let (Unit::Output(name), Some(fd)) = (unit, fd) {
                    let mut content = [0; 3];
                    File::from(fd).read_exact_at(&mut content, 0).expect("content");
                    assert_eq!(name, content);
                    seen.push(name);
                }
            }
            assert_eq!(seen, [b"one", b"two"]);
        };
        tokio::join!(sender, receiver);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_nothing() {
        let (left, right) = UnixStream::pair().expect("a pair");
        let (_, mut writer) = split(left);
        let (mut reader, _) = split(right);
        let bytes = Unit::Log(vec![1; 9]).encode();
        for part in [&bytes[..3], &bytes[3..]] {
            let given_up = tokio::time::timeout(std::time::Duration::from_millis(1), reader.recv()).await;
            assert!(given_up.is_err());
            writer.send_bytes(part, None).await.expect("sent");
        }
        assert!(matches!(reader.recv().await, Ok(Some((Unit::Log(_), None)))));
    }

    #[tokio::test]
    async fn a_peer_that_closes_in_the_middle_of_a_unit_is_named() {
        let (left, right) = UnixStream::pair().expect("a pair");
        let (_, mut writer) = split(left);
        let (mut reader, _) = split(right);
        writer.send_bytes(&Unit::Log(vec![1; 9]).encode()[..8], None).await.expect("sent");
        drop(writer);
        assert!(matches!(reader.recv().await, Err(LinkError::Truncated)));
    }
}
