//! The server against scripted clients.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::*;
use crate::domain::Trust;

const MAGIC: u64 = 0x6e69_7863;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn offer() -> Offer {
    Offer { version: Version::OURS, daemon_version: "2.34.8".to_owned(), trust: Trust::Untrusted }
}

/// A server that hears exactly these bytes, and what it sends.
async fn heard(bytes: &[u8]) -> Result<Server<&[u8], Vec<u8>>, HandshakeError> {
    Server::handshake(bytes, Vec::new(), StoreDir::default(), &offer()).await
}

#[tokio::test]
async fn old_clients_wait_for_the_servers_version_and_get_it() {
    let (near, far) = duplex(64);
    let (mut from, mut to): (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>) = split(near);
    let (r, w) = split(far);
    let client = async {
        to.write_all(&words(&[MAGIC])).await.expect("sent");
        let mut hello = [0; 16];
        from.read_exact(&mut hello).await.expect("magic and version first");
        to.write_all(&words(&[0x122, 0, 0])).await.expect("sent");
        hello
    };
    let offer = offer();
    let (server, hello) = tokio::join!(Server::handshake(r, w, StoreDir::default(), &offer), client);
    assert_eq!(hello.to_vec(), words(&[0x6478_696f, 0x123]));
    assert_eq!(server.expect("a server").version(), Version::new(34));
}

#[tokio::test]
async fn newer_clients_are_spoken_down_to() {
    let hello = words(&[MAGIC, 0x126, 0, 0]);
    let server = heard(&hello).await.expect("a server");
    assert_eq!(server.version(), Version::OURS);
    let expected = [words(&[0x6478_696f, 0x123, 6]), b"2.34.8\0\0".to_vec(), words(&[2, 0x616c_7473])];
    assert_eq!(server.replies.to.get_ref(), &expected.concat());
}

#[tokio::test]
async fn clients_that_speak_otherwise_are_refused() {
    let http = heard(b"GET / HTTP/1.1\r\n").await;
    let said = http.err().map(|e| e.to_string());
    assert_eq!(said.as_deref(), Some("protocol mismatch, got \"GET / HTTP/1.1\\r\\n\""));
    let hello = words(&[MAGIC, 0x11f, 0, 0]);
    let old = heard(&hello).await;
    assert!(matches!(old, Err(HandshakeError::Version { major: 1, minor: 0x1f })));
}

#[tokio::test]
async fn a_client_may_leave_between_operations_only() {
    let hello = words(&[MAGIC, 0x123, 0, 0]);
    let mut server = heard(&hello).await.expect("a server");
    assert_eq!(server.next_request().await.expect("an end"), None);

    let cut = [hello, words(&[1, 40])].concat();
    let mut server = heard(&cut).await.expect("a server");
    let error = server.next_request().await.expect_err("cut");
    assert_eq!(error.to_string(), "IsValidPath.path: the connection ended here");
}

#[tokio::test]
async fn an_unknown_operation_leaves_what_follows_it_unread() {
    let sent = words(&[MAGIC, 0x123, 0, 0, 99, 7]);
    let mut server = heard(&sent).await.expect("a server");
    assert_eq!(server.next_request().await.expect("a request"), Some(Request::Unknown(99)));
    assert_eq!(server.requests.peek().await.expect("the rest"), 8);
    assert_eq!(server.requests.take(8), words(&[7]));
}

#[tokio::test]
async fn a_stream_that_nobody_read_is_skipped_before_the_next_operation() {
    let mut sent = words(&[MAGIC, 0x123, 0, 0, 44, 0, 1, 3]);
    sent.extend(b"abc");
    sent.extend(words(&[0, 13]));
    let mut server = heard(&sent).await.expect("a server");
    let request = server.next_request().await.expect("a request");
    assert_eq!(request, Some(Request::AddMultipleToStore { repair: false, dont_check_sigs: true }));
    assert_eq!(server.framed().read_u8().await.expect("a byte"), b'a');
    assert_eq!(server.next_request().await.expect("a request"), Some(Request::SyncWithGC {}));
}

#[tokio::test]
async fn a_dropped_reader_of_a_stream_loses_nothing() {
    let mut sent = words(&[MAGIC, 0x123, 0, 0, 44, 0, 1, 2]);
    sent.extend(b"ab");
    sent.extend(words(&[1]));
    sent.extend(b"c");
    sent.extend(words(&[0]));
    let mut server = heard(&sent).await.expect("a server");
    server.next_request().await.expect("a request");
    let mut all = String::new();
    for _ in 0..3 {
        all.push(char::from(server.framed().read_u8().await.expect("a byte")));
    }
    assert_eq!(all, "abc");
    assert_eq!(server.framed().read_to_end(&mut Vec::new()).await.expect("the end"), 0);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error() {
    let sent = [words(&[MAGIC, 0x123, 0, 0, 44, 0, 1, 1000]), b"abc".to_vec()].concat();
    let mut server = heard(&sent).await.expect("a server");
    server.next_request().await.expect("a request");
    let broken = server.framed().read_to_end(&mut Vec::new()).await.expect_err("it breaks off");
    assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn the_reading_half_sees_a_client_go() {
    let hello = words(&[MAGIC, 0x123, 0, 0]);
    let mut server = heard(&hello).await.expect("a server");
    server.requests.gone().await;
}
