//! The client against our own server and against scripts, over pipes as narrow as they get.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::*;
use crate::domain::{PathInfo, Sha256, StorePath};
use crate::nix::handshake::Offer;
use crate::nix::logs::{DaemonError, LogMessage};
use crate::nix::nar;
use crate::nix::ops::{Op, Reply, Request, SetOptions};
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
