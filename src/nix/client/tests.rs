//! The client against our own server and against scripts, over pipes as narrow as they get.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::*;
use crate::domain::{PathInfo, Sha256, StorePath};
use crate::nix::handshake::Offer;
use crate::nix::logs::{DaemonError, LogMessage, TEXT_MAX};
use crate::nix::nar;
use crate::nix::ops::{Reply, Request};
use crate::nix::server::Server;

type Half = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);
type TestServer = Server<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;
type TestClient = Client<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

fn path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("9csjdxv6ir8ccnjl6ijs36izswjgchn0-{name}")).expect("a name")
}

fn info(name: &str, nar: &[u8]) -> PathInfo {
    PathInfo {
        path: path(name),
        deriver: None,
        nar_hash: Sha256([7; 32]),
        references: BTreeSet::new(),
        registration_time: 1,
        nar_size: nar.len() as u64,
        ultimate: false,
        signatures: Vec::new(),
        ca: None,
    }
}

fn nar_of(contents: usize) -> Vec<u8> {
    nar::Node::file(vec![b'x'; contents]).to_nar()
}

fn offer() -> Offer {
    Offer { version: Version::OURS, daemon_version: "2.34.8".to_owned(), trust: Trust::Trusted }
}

/// Both ends after the handshake, with so many bytes between them.
async fn pair(width: usize) -> (TestClient, TestServer) {
    let (near, far) = duplex(width);
    let ((r1, w1), (r2, w2)): (Half, Half) = (split(near), split(far));
    let offer = offer();
    let (client, server) = tokio::join!(
        Client::handshake(r1, w1, StoreDir::default()),
        Server::handshake(r2, w2, StoreDir::default(), &offer),
    );
    (client.expect("a client"), server.expect("a server"))
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn both_ends_agree_on_version_trust_and_name() {
    let (client, server) = pair(16).await;
    assert_eq!((client.version(), server.version()), (Version::OURS, Version::OURS));
    assert_eq!((client.trust(), client.daemon_version()), (Trust::Trusted, Some("2.34.8")));
}

#[tokio::test]
async fn an_upload_against_a_flood_of_log_messages_ends() {
    let (mut client, mut server) = pair(16).await;
    let nar = nar_of(5000);
    let serving = async {
        server.next_request().await.expect("a request").expect("not the end");
        for n in 0..200 {
            server.log(&LogMessage::Next(format!("line {n}").into())).await.expect("sent");
        }
        server.flush().await.expect("sent");
        let mut names = Vec::new();
        let mut items = server.requests.items().await.expect("a count");
        while let Some(info) = items.next().await.expect("an info") {
            let mut sink = Vec::new();
            let summary = nar::copy(items.nar(), &mut sink, 1 << 20).await.expect("a NAR");
            names.push((info.path.name().to_owned(), summary.bytes));
        }
        server.reply(&Reply::Nothing(())).await.expect("sent");
        names
    };
    let sending = assert_send(client.add_multiple_to_store(2, false, async |upload: &mut Upload<'_, _>| {
        for name in ["a", "b"] {
            upload.begin(&info(name, &nar)).await?;
            upload.write_all(&nar).await.expect("written");
        }
        Ok::<(), Error>(())
    }));
    let (sent, names) = tokio::join!(sending, serving);
    sent.expect("taken");
    let bytes = nar.len() as u64;
    assert_eq!(names, [("a".to_owned(), bytes), ("b".to_owned(), bytes)]);
    assert!(client.is_clean());
}

type Scripted = Client<Box<dyn AsyncRead + Unpin + Send>, tokio::io::Sink>;

/// A client whose daemon sends exactly these answers, one per reading, then closes.
async fn scripted<const N: usize>(answers: [Vec<u8>; N]) -> Scripted {
    let hello = words(&[0x6478_696f, 0x120, LAST]);
    let mut from: Box<dyn AsyncRead + Unpin + Send> = Box::new(std::io::Cursor::new(hello));
    for answer in answers {
        from = Box::new(from.chain(std::io::Cursor::new(answer)));
    }
    Client::handshake(from, tokio::io::sink(), StoreDir::default()).await.expect("a client")
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

const LAST: u64 = 0x616c_7473;
const ERROR: u64 = 0x6378_7470;
const NEXT: u64 = 0x6f6c_6d67;

fn error_frame(message: &str) -> Vec<u8> {
    let dialect = Dialect { dir: StoreDir::default(), version: Version::OURS };
    [words(&[ERROR]), crate::nix::wire::encode(&DaemonError::new(message), &dialect)].concat()
}

#[tokio::test]
async fn what_is_no_daemon_is_shown() {
    for (junk, shown) in [
        ("Welcome to builder1\nLast login: now\n", "Welcome to builder1\\nLast login: now\\n"),
        ("sh: no\n", "sh: no\\n"),
        ("hi", "hi"),
    ] {
        let refused = Client::handshake(junk.as_bytes(), tokio::io::sink(), StoreDir::default()).await;
        let message = refused.err().map(|error| error.to_string());
        assert_eq!(message, Some(format!("protocol mismatch, got \"{shown}\"")));
    }
}

#[tokio::test]
async fn a_long_banner_is_cut() {
    let banner = vec![b'#'; 1 << 20];
    let refused = Client::handshake(&banner[..], tokio::io::sink(), StoreDir::default()).await;
    assert!(refused.err().is_some_and(|error| error.to_string().len() < 300));
}

#[tokio::test]
async fn daemons_from_another_time_are_refused_by_version() {
    for (theirs, fine) in [(0x11f, false), (0x220, false), (0x23, false), (0x120, true), (0x126, true)] {
        let answer = words(&[0x6478_696f, theirs]);
        let refused = Client::handshake(&answer[..], tokio::io::sink(), StoreDir::default()).await;
        let refused = matches!(refused, Err(HandshakeError::Version { .. }));
        assert_eq!(refused, !fine, "{theirs:x}");
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable_and_its_escapes_behind() {
    let refusal = error_frame("\x1b[31;1merror:\x1b[0m path \x1b[35;1mx\x1b[0m is not valid");
    let mut client = scripted([refusal, words(&[LAST, 1])]).await;
    let refused = client.is_valid_path(&path("a")).await;
    assert_eq!(refused.err().map(|e| e.to_string()).as_deref(), Some("error: path x is not valid"));
    assert!(client.is_clean());
    assert!(client.is_valid_path(&path("a")).await.expect("an answer"));
}

#[tokio::test]
async fn one_refusal_among_pipelined_questions_leaves_the_rest_in_step() {
    let answers = [words(&[LAST, 1]), error_frame("no"), words(&[LAST, 1]), words(&[LAST, 0])];
    let mut client = scripted(answers).await;
    let refused = client.add_temp_roots(&[path("a"), path("b"), path("c")]).await;
    assert!(matches!(refused, Err(Error::Daemon(_))));
    assert!(client.is_clean());
    assert!(!client.is_valid_path(&path("a")).await.expect("an answer"));
}

#[tokio::test]
async fn rooting_and_asking_is_one_round_trip() {
    let (mut client, mut server) = pair(1 << 16).await;
    let paths = [path("a"), path("b")];
    let serving = async {
        let mut asked = Vec::new();
        // Nothing is answered before everything was asked.
        for _ in 0..3 {
            asked.push(server.requests.next().await.expect("a request").expect("another one").name());
        }
        for _ in 0..2 {
            server.replies.reply(&Reply::Done(1)).await.expect("sent");
        }
        server.replies.reply(&Reply::Paths([path("b")].into())).await.expect("sent");
        asked
    };
    let (valid, asked) = tokio::join!(client.root_and_query(&paths), serving);
    assert_eq!(asked, ["AddTempRoot", "AddTempRoot", "QueryValidPaths"]);
    assert_eq!(valid.expect("an answer"), [path("b")].into());
    assert!(client.is_clean());
}

#[tokio::test]
async fn an_error_names_operation_and_field() {
    let mut truncated = scripted([words(&[LAST, 1, 0])]).await;
    let error = truncated.query_path_info(&path("a")).await.expect_err("truncated");
    assert_eq!(error.to_string(), "QueryPathInfo.narHash: the connection ended here");
    assert!(error.is_loss() && !truncated.is_clean());

    let mut nonsense = scripted([words(&[LAST, u64::MAX])]).await;
    let error = nonsense.query_valid_paths(&[path("a")], false).await.expect_err("nonsense");
    let said = error.to_string();
    assert!(said.starts_with("QueryValidPaths.reply: it claims a length of 18446744073709551615"), "{said}");
    assert!(!error.is_loss());
}

#[tokio::test]
async fn an_interrupted_client_is_not_clean() {
    let (mut client, _server) = pair(1 << 10).await;
    let asked = path("a");
    let pending = tokio::time::timeout(Duration::from_millis(10), client.is_valid_path(&asked)).await;
    assert!(pending.is_err() && !client.is_clean());
}

#[tokio::test]
async fn an_error_within_an_archive_is_the_daemons_own_words() {
    let begun = [words(&[LAST, 13]), b"nix-archive-1\0\0\0".to_vec()].concat();
    let mut client = scripted([begun, error_frame("it is gone")]).await;
    let error = client.nar_from_path(&path("a"), &mut Vec::new(), 1 << 20).await.expect_err("an error");
    assert_eq!(error.to_string(), "it is gone");
    assert!(!client.is_clean());
}

#[tokio::test]
async fn a_log_line_without_end_is_clipped() {
    let long = 10 * TEXT_MAX;
    let answer = [words(&[NEXT, long]), vec![b'a'; long as usize], words(&[LAST, 1])];
    let mut client = scripted(answer).await;
    let mut seen = Vec::new();
    let request = Request::IsValidPath { path: path("a") };
    client.call(&request, &mut |message| seen.push(message)).await.expect("an answer");
    assert!(matches!(&seen[..], [LogMessage::Next(text)] if text.0.len() as u64 == TEXT_MAX));
}

#[tokio::test]
async fn an_early_refusal_ends_the_body_of_an_upload() {
    let (mut client, mut server) = pair(256).await;
    let refusing = async {
        server.next_request().await.expect("a request").expect("not the end");
        server.replies.error(&DaemonError::new("disk full")).await.expect("sent");
        std::future::pending::<()>().await;
    };
    let body = async |upload: &mut Upload<'_, _>| {
        upload.begin(&info("a", b"")).await?;
        tokio::io::copy(&mut tokio::io::repeat(0), upload).await.expect("it never ends");
        Ok::<(), Error>(())
    };
    let refused = tokio::select! {
        refused = client.add_multiple_to_store(1, false, body) => refused,
        () = refusing => Ok(()),
    };
    assert_eq!(refused.err().map(|e| e.to_string()).as_deref(), Some("disk full"));
    assert!(!client.is_clean());
}

#[tokio::test]
async fn a_body_that_fails_leaves_the_connection_usable() {
    #[derive(Debug, PartialEq)]
    struct Lost;
    impl From<Error> for Lost {
        fn from(_: Error) -> Self {
            Lost
        }
    }
    let (mut client, mut server) = pair(256).await;
    let serving = async {
        server.next_request().await.expect("a request").expect("not the end");
        server.error(&DaemonError::new("unexpected end-of-file")).await.expect("sent");
        assert_eq!(server.next_request().await.expect("a request"), Some(Request::SyncWithGC {}));
        server.reply(&Reply::Done(1)).await.expect("sent");
    };
    let asking = async {
        let failed = client.add_multiple_to_store(1, false, async |_: &mut Upload<'_, _>| Err(Lost)).await;
        assert_eq!(failed, Err(Lost));
        assert!(client.is_clean());
        client.call(&Request::SyncWithGC {}, &mut drop).await.expect("an answer")
    };
    let (reply, ()) = tokio::join!(asking, serving);
    assert_eq!(reply, Reply::Done(1));
}

#[tokio::test]
async fn the_dead_daemons_last_words_beat_the_broken_pipe() {
    let (near, far) = duplex(64);
    let (r1, w1) = split(near);
    let (mut r2, mut w2) = split(far);
    let dying = async move {
        w2.write_all(&words(&[0x6478_696f, 0x120, LAST])).await.expect("sent");
        r2.read_exact(&mut [0; 40]).await.expect("a hello");
        w2.write_all(&error_frame("out of memory")).await.expect("sent");
    };
    let asking = async {
        let mut client = Client::handshake(r1, w1, StoreDir::default()).await.expect("a client");
        let paths: Vec<_> = (0..100).map(|n| path(&n.to_string())).collect();
        client.query_valid_paths(&paths, false).await.expect_err("dead")
    };
    let (error, ()) = tokio::join!(asking, dying);
    assert_eq!(error.to_string(), "out of memory");
}
