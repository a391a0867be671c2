//! Both ends against what real daemons and stock's build hook of three versions sent and received.

mod protocol;

use muster::domain::{StoreDir, Trust};
use muster::nix::handshake::{Offer, Version};
use muster::nix::logs::Frame;
use muster::nix::nar::{self, CopyError};
use muster::nix::ops::{Op, Reply, Stream};
use muster::nix::server::Server;
use muster::nix::wire::{Decoder, Dialect};
use protocol::{VERSIONS, hook_sessions, recorded, recordings, sessions, speak};

#[tokio::test]
async fn our_client_sends_what_was_recorded_and_understands_the_answers() {
    for version in VERSIONS {
        let mut transcript = String::new();
        for session in sessions() {
            let answers = recorded(version, session.name, "server");
            let mut sent = Vec::new();
            let (outcomes, _) = speak(&answers[..], &mut sent, &session).await.expect("a handshake");
            transcript += &format!("{}\n", session.name);
            outcomes.iter().for_each(|outcome| transcript += &format!("    {outcome}\n"));
            let expected = recorded(version, session.name, "client");
            assert!(*sent == expected, "{version} {}: other bytes were sent", session.name);
        }
        let expected = std::fs::read_to_string(recordings(version).join("transcript")).expect("a file");
        assert_eq!(transcript, expected, "{version}");
    }
}

#[tokio::test]
async fn our_server_understands_what_was_recorded_and_gives_the_same_answers() {
    for version in VERSIONS {
        for session in sessions() {
            answer(version, session.name).await;
        }
    }
}

#[tokio::test]
async fn our_server_understands_stocks_hook_and_gives_the_same_answers() {
    for version in VERSIONS {
        let hooks = hook_sessions(version);
        assert!(!hooks.is_empty(), "{version}");
        for hook in hooks {
            let ops = answer(version, &hook).await;
            for op in [Op::QueryValidPaths, Op::BuildDerivation, Op::QueryPathInfo, Op::NarFromPath] {
                assert!(ops.contains(&op), "{version} {hook}: {ops:?}");
            }
        }
    }
}

/// Serves the recorded requests, each with the recorded answer taken apart and put together again.
async fn answer(version: &str, session: &str) -> Vec<Op> {
    let (asked, mut expected) = (recorded(version, session, "client"), recorded(version, session, "server"));
    let offered = expected[8].min(Version::OURS.minor());
    expected[8] = offered;
    let dialect = Dialect { dir: StoreDir::default(), version: Version::new(offered) };
    let mut rest = &expected[16..];
    let offer = greeting(&mut rest, &dialect).await;
    let served = Server::handshake(&asked[..], Vec::new(), StoreDir::default(), &offer).await;
    let mut server = served.expect("a handshake");
    assert_eq!(server.version(), dialect.version);
    let mut ops = Vec::new();
    let mut whole = true;
    while let Some(request) = server.next_request().await.expect("a request") {
        let op = request.op().expect("a known operation");
        ops.push(op);
        whole = whole && pass_on(op, &mut rest, &mut server).await;
    }
    server.flush().await.expect("sent");
    let sent = server.writer().get_ref();
    if whole {
        assert!(rest.is_empty(), "{version} {session}: {} bytes of answers are left", rest.len());
        assert!(*sent == expected, "{version} {session}: other bytes were answered");
    } else {
        assert!(expected.starts_with(sent), "{version} {session}: other bytes were answered");
    }
    ops
}

async fn greeting(rest: &mut &[u8], dialect: &Dialect) -> Offer {
    let mut decoder = Decoder::new(rest, dialect, "handshake");
    let daemon_version = decoder.text("version", 100).await.expect("a version");
    let mut trust = Trust::Unknown;
    if dialect.version == Version::OURS {
        trust = decoder.take("trust").await.expect("trust");
    }
    assert_eq!(decoder.take::<Frame>("log").await.expect("a frame"), Frame::Last);
    Offer { version: dialect.version, daemon_version, trust }
}

/// Passes one recorded answer through our types. Says whether it was whole: a daemon may have crashed, or broken off
/// an archive.
async fn pass_on(op: Op, rest: &mut &[u8], server: &mut Server<&[u8], Vec<u8>>) -> bool {
    if op == Op::AddMultipleToStore {
        let mut items = server.requests.items().await.expect("a count");
        while let Some(info) = items.next().await.expect("an info") {
            let summary = nar::copy(items.nar(), &mut tokio::io::sink(), 1 << 20).await.expect("an archive");
            assert_eq!((summary.hash, summary.bytes), (info.nar_hash, info.nar_size));
        }
    }
    let dialect = server.dialect().clone();
    loop {
        let frame = Decoder::new(rest, &dialect, op.name()).take("log").await;
        match frame {
            Ok(Frame::Log(message)) => server.log(&message).await.expect("sent"),
            Ok(Frame::Error(error)) => {
                server.error(&error).await.expect("sent");
                return true;
            }
            Ok(Frame::Last) => break,
            Err(lost) => {
                assert!(lost.is_loss(), "{lost}");
                return false;
            }
        }
    }
    if op.stream() == Stream::Nar {
        server.begin_raw().await.expect("sent");
        let copied = nar::copy(rest, server.writer(), 1 << 20).await;
        assert!(matches!(copied, Ok(_) | Err(CopyError::Daemon { .. })), "{copied:?}");
        return copied.is_ok();
    }
    let reply = Reply::take(op, &mut Decoder::new(rest, &dialect, op.name())).await.expect("a reply");
    assert!(reply.answers(op));
    server.reply(&reply).await.expect("sent");
    true
}
