use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader, ReadBuf};

use super::*;

fn tree() -> impl Strategy<Value = Node> {
    let contents = proptest::collection::vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        (any::<bool>(), contents).prop_map(|(executable, contents)| Node::Regular { executable, contents }),
        "[a-z./]{1,30}".prop_map(|target| Node::Symlink { target: target.into() }),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        proptest::collection::btree_map("[a-zA-Z0-9é+_-]{1,12}", inner, 0..5).prop_map(|map| {
            Node::Directory(map.into_iter().map(|(name, node)| (name.into(), node)).collect())
        })
    })
}

/// Feeds all of it in pieces of at most `step` bytes: how much was consumed, and whether it was complete.
fn walk(bytes: &[u8], step: usize) -> Result<Fed, NarError> {
    let mut walker = Walker::new();
    let mut consumed = 0;
    for piece in bytes.chunks(step) {
        let fed = walker.feed(piece)?;
        consumed += fed.consumed;
        assert!(fed.done || fed.consumed == piece.len(), "it stopped without a reason");
        assert!(walker.memory() <= 64 << 10, "it holds {} bytes", walker.memory());
    }
    Ok(Fed { consumed, done: walker.is_done() })
}

fn whole(nar: &[u8]) -> Fed {
    Fed { consumed: nar.len(), done: true }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_end_is_found_whatever_follows_and_however_it_comes(
        tree in tree(),
        after in proptest::collection::vec(any::<u8>(), 0..30),
        step in 1_usize..70,
    ) {
        let nar = tree.to_nar();
        let sent = [nar.as_slice(), &after].concat();
        prop_assert_eq!(walk(&sent, step), Ok(whole(&nar)));
        prop_assert_eq!(walk(&sent, 1), Ok(whole(&nar)));
        let short = walk(&nar[..nar.len() - 1], step).expect("no flaw");
        prop_assert_eq!(short, Fed { consumed: nar.len() - 1, done: false });
    }

    #[test]
    fn a_damaged_archive_is_judged_alike_in_one_piece_and_byte_by_byte(
        tree in tree(),
        damage in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut nar = tree.to_nar();
        for (kind, at, byte) in damage {
            let at = at.index(nar.len().max(1));
            match kind {
                0 => nar.insert(at.min(nar.len()), byte),
                1 if at < nar.len() => drop(nar.remove(at)),
                2 => nar.truncate(at),
                _ => if let Some(old) = nar.get_mut(at) { *old ^= byte },
            }
        }
        let verdict = |step| walk(&nar, step).map_err(|error| match error {
            NarError::Daemon { .. } => None,
            grammar => Some(grammar),
        });
        prop_assert_eq!(verdict(1), verdict(usize::MAX));
    }

    #[test]
    fn noise_is_never_an_archive(noise in proptest::collection::vec(any::<u8>(), 8..200)) {
        prop_assert!(walk(&noise, 16).is_err());
    }
}

fn tokens(tokens: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        out.extend_from_slice(&(token.len() as u64).to_le_bytes());
        out.extend_from_slice(token);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

/// A directory with these names, each an empty file.
fn directory(names: &[&[u8]]) -> Vec<u8> {
    let mut all: Vec<&[u8]> = vec![MAGIC, b"(", b"type", b"directory"];
    for name in names {
        all.extend([b"entry".as_slice(), b"(", b"name", name, b"node"]);
        all.extend([b"(".as_slice(), b"type", b"regular", b"contents", b"", b")", b")"]);
    }
    all.push(b")");
    tokens(&all)
}

fn flaw(nar: &[u8]) -> String {
    match walk(nar, usize::MAX) {
        Err(error) => error.to_string(),
        Ok(fed) => format!("accepted: {fed:?}"),
    }
}

#[test]
fn each_broken_rule_is_named_with_its_place() {
    let kind: [&[u8]; 4] = [MAGIC, b"(", b"type", b"symlink"];
    let link = |target: &[u8]| tokens(&[kind.as_slice(), &[b"target", target, b")"]].concat());
    let file = |rest: &[&[u8]]| tokens(&[&[MAGIC, b"(", b"type", b"regular"], rest].concat());
    for (nar, expected) in [
        (tokens(&[b"nix-archive-2"]), "byte 0: 'nix-archive-2' where 'nix-archive-1' is due"),
        (tokens(&[MAGIC, b")"]), "byte 24: ')' where '(' is due"),
        (
            tokens(&[MAGIC, b"(", b"type", b"socket"]),
            "'socket' where 'regular', 'symlink' or 'directory' is due",
        ),
        (file(&[b"executable", b"x"]), "an executable marker of 1 bytes, 0 are allowed"),
        (file(&[b"executable", b"", b"executable"]), "'executable' where 'contents' is due"),
        (file(&[b"contents", b"x", b"("]), "'(' where ')' is due"),
        (link(b""), "'' is not the target of a symbolic link"),
        (link(b"a\0b"), "'a\\x00b' is not the target"),
        (link(&[b'x'; 4096]), "a link's target of 4096 bytes, 4095 are allowed"),
        (directory(&[b""]), "'' is not the name of a directory entry"),
        (directory(&[b"."]), "'.' is not the name"),
        (directory(&[b".."]), "'..' is not the name"),
        (directory(&[b"a/b"]), "'a/b' is not the name"),
        (directory(&[b"a\0"]), "'a\\x00' is not the name"),
        (directory(&[&[b'n'; 256]]), "a name of 256 bytes, 255 are allowed"),
        (directory(&[b"b", b"a"]), "the entry 'a' comes after 'b'"),
        (directory(&[b"a", b"a"]), "the entry 'a' comes after 'a'"),
        (directory(&[b"a.b", b"a"]), "the entry 'a' comes after 'a.b'"),
        (u64::MAX.to_le_bytes().to_vec(), "a word of 18446744073709551615 bytes, 32 are allowed"),
    ] {
        let said = flaw(&nar);
        assert!(said.contains(expected), "{said}\n  lacks {expected}");
    }
}

#[test]
fn names_in_byte_order_and_the_longest_ones_are_taken() {
    for names in [&[b"a".as_slice(), b"a.b", b"a0", b"aa"][..], &[&[b'n'; 255]], &[b"A", b"a", b"\xff\xfe"]] {
        let nar = directory(names);
        assert_eq!(walk(&nar, 3), Ok(whole(&nar)));
    }
    let link = Node::Symlink { target: vec![b'x'; 4095] }.to_nar();
    assert_eq!(walk(&link, 1000), Ok(whole(&link)));
}

#[test]
fn padding_must_be_zero() {
    let mut nar = Node::file("x").to_nar();
    let at = nar.iter().rposition(|byte| *byte == b'x').expect("the contents");
    nar[at + 1] = 1;
    assert!(flaw(&nar).contains("padding that is not zero"), "{}", flaw(&nar));
}

#[test]
fn nesting_is_bounded_by_the_length_of_a_path() {
    let nested = |depth: usize, name: &[u8]| {
        let open: &[&[u8]] = &[b"(", b"type", b"directory", b"entry", b"(", b"name", name, b"node"];
        tokens(&[&[MAGIC], open.repeat(depth).as_slice()].concat())
    };
    assert!(flaw(&nested(64, &[b'd'; 255])).contains("done: false"), "as deep as Nix goes");
    assert!(flaw(&nested(65, &[b'd'; 255])).contains("a path of more than 16384 bytes"));
    assert!(flaw(&nested(100_000, b"d")).contains("a path of more than 16384 bytes"));
}

const ERROR: u64 = 0x6378_7470;

#[test]
fn an_error_of_the_daemon_inside_an_archive_is_found_to_the_byte() {
    let before = tokens(&[MAGIC, b"(", b"type", b"directory"]);
    let sent = [before.as_slice(), &ERROR.to_le_bytes(), b"the message"].concat();
    let expected = before.len() + 8;
    assert_eq!(walk(&sent, usize::MAX), Err(NarError::Daemon { consumed: expected }));

    let mut walker = Walker::new();
    let split = before.len() + 3;
    assert_eq!(walker.feed(&sent[..split]), Ok(Fed { consumed: split, done: false }));
    assert_eq!(walker.feed(&sent[split..]), Err(NarError::Daemon { consumed: 5 }));
}

#[test]
fn a_file_may_be_as_long_as_the_error_marker() {
    let mut head = tokens(&[MAGIC, b"(", b"type", b"regular", b"contents"]);
    head.extend_from_slice(&ERROR.to_le_bytes());
    assert_eq!(walk(&head, 5), Ok(Fed { consumed: head.len(), done: false }));
}

#[tokio::test]
async fn copying_leaves_the_source_right_behind_the_archive() {
    let nar = Node::file(vec![7; 100_000]).to_nar();
    let sent = [nar.as_slice(), b"next"].concat();
    let mut from = BufReader::with_capacity(4096, sent.as_slice());
    let mut to = Vec::new();
    let summary = copy(&mut from, &mut to, nar.len() as u64).await.expect("a copy");
    let hash = crate::domain::Sha256(<sha2::Sha256 as sha2::Digest>::digest(&nar).into());
    assert_eq!((summary, to), (Summary { hash, bytes: nar.len() as u64 }, nar));
    let mut rest = String::new();
    from.read_to_string(&mut rest).await.expect("the rest");
    assert_eq!(rest, "next");
}

#[tokio::test]
async fn each_way_to_fail_a_copy_is_told_apart() {
    let nar = Node::file("contents").to_nar();
    let limit = nar.len() as u64;
    let copied = async |mut from: &[u8], limit| copy(&mut from, &mut tokio::io::sink(), limit).await;
    assert!(matches!(copied(&nar, limit - 1).await, Err(CopyError::TooLarge { .. })));
    assert!(matches!(copied(&nar[..40], limit).await, Err(CopyError::Truncated { bytes: 40 })));
    assert!(matches!(copied(&[1; 40], limit).await, Err(CopyError::Grammar(_))));

    let (mut closed, _) = tokio::io::duplex(8);
    assert!(matches!(copy(&mut nar.as_slice(), &mut closed, limit).await, Err(CopyError::Sink { .. })));

    let failed = copy(&mut BufReader::new(Broken), &mut tokio::io::sink(), limit).await;
    assert!(matches!(failed, Err(CopyError::Source { .. })));
}

struct Broken;

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn after_a_daemons_error_its_message_is_next_in_the_source() {
    let mut sent = tokens(&[MAGIC]);
    sent.extend_from_slice(&ERROR.to_le_bytes());
    sent.extend_from_slice(b"message");
    let mut from = sent.as_slice();
    let failed = copy(&mut from, &mut tokio::io::sink(), 1000).await;
    assert!(matches!(failed, Err(CopyError::Daemon { .. })));
    assert_eq!(from, b"message");
}
