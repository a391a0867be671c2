//! The NAR writer against Nix and an independent implementation.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use muster::nix::nar::Node;
use proptest::prelude::*;

/// Made by `nix-store --dump` of Nix 2.8.
const TREE: &[u8] = include_bytes!("data/formats/tree.nar");

#[test]
fn a_tree_that_nix_dumped_is_written_alike() {
    let directory = |entries: Vec<(&str, Node)>| {
        Node::Directory(entries.into_iter().map(|(name, node)| (name.into(), node)).collect())
    };
    let described = directory(vec![
        ("a", Node::Regular { executable: true, contents: b"#!/bin/sh\n".to_vec() }),
        ("a.d", directory(vec![("empty", directory(vec![])), ("file", Node::file(vec![1; 5001]))])),
        ("link", Node::Symlink { target: "../élan".into() }),
    ]);
    assert!(described.to_nar() == TREE);
}

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

fn put(node: &Node, at: &Path) {
    match node {
        Node::Regular { executable, contents } => {
            fs::write(at, contents).expect("a file");
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(at, fs::Permissions::from_mode(mode)).expect("its mode");
        }
        Node::Symlink { target } => {
            symlink(std::str::from_utf8(target).expect("text"), at).expect("a link");
        }
        Node::Directory(entries) => {
            fs::create_dir(at).expect("a directory");
            for (name, node) in entries {
                put(node, &at.join(std::str::from_utf8(name).expect("text")));
            }
        }
    }
}

/// Reads an archive with the other implementation: each path with what lies there.
fn entries_by_oracle(nar: &[u8]) -> BTreeMap<String, String> {
    let decoder = nix_nar::Decoder::new(nar).expect("a header");
    let entries = decoder.entries().expect("entries");
    let entry = |entry: nix_nar::Entry<'_, &[u8]>| {
        let what = match entry.content {
            nix_nar::Content::Directory => "directory".to_owned(),
            nix_nar::Content::Symlink { target } => format!("link {target}"),
            nix_nar::Content::File { executable, mut data, .. } => {
                let mut contents = Vec::new();
                data.read_to_end(&mut contents).expect("contents");
                format!("file {executable} {contents:?}")
            }
        };
        (entry.path.map(String::from).unwrap_or_default(), what)
    };
    entries.map(|next| entry(next.expect("an entry"))).collect()
}

fn entries_of(node: &Node, path: &str, into: &mut BTreeMap<String, String>) {
    let what = match node {
        Node::Directory(_) => "directory".to_owned(),
        Node::Symlink { target } => format!("link {}", String::from_utf8_lossy(target)),
        Node::Regular { executable, contents } => format!("file {executable} {contents:?}"),
    };
    into.insert(path.to_owned(), what);
    if let Node::Directory(entries) = node {
        for (name, node) in entries {
            let name = String::from_utf8_lossy(name);
            let below = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
            entries_of(node, &below, into);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn another_implementation_writes_the_same_bytes(tree in tree()) {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root");
        put(&tree, &root);
        let mut nar = Vec::new();
        nix_nar::Encoder::new(&root).expect("an encoder").read_to_end(&mut nar).expect("an archive");
        prop_assert_eq!(tree.to_nar(), nar);
    }

    #[test]
    fn another_implementation_reads_what_was_described(tree in tree()) {
        let mut described = BTreeMap::new();
        entries_of(&tree, "", &mut described);
        prop_assert_eq!(entries_by_oracle(&tree.to_nar()), described);
    }
}
