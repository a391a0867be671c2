use proptest::prelude::*;

use super::*;
use crate::domain::StoreDir;

const HASH: &str = "9csjdxv6ir8ccnjl6ijs36izswjgchn0";

fn parse(text: &str) -> Result<Derivation, String> {
    Derivation::parse(text.as_bytes(), &StoreDir::default()).map_err(|error| error.to_string())
}

fn minimal() -> String {
    format!(
        "Derive([(\"out\",\"/nix/store/{HASH}-x\",\"\",\"\")],[(\"/nix/store/{HASH}-y.drv\",[\"dev\",\"out\"])],\
         [\"/nix/store/{HASH}-z\"],\"x86_64-linux\",\"/bin/sh\",[\"-c\",\"a\\nb\"],[(\"k\",\"v\\\"\\\\\")])"
    )
}

#[test]
fn each_part_comes_where_it_belongs() {
    let drv = parse(&minimal()).expect("a derivation");
    let path = |name: &str| StorePath::from_base_name(&format!("{HASH}-{name}")).expect("a path");
    assert_eq!(drv.outputs["out"].path, Some(path("x")));
    assert_eq!(drv.input_drvs[&path("y.drv")], ["dev", "out"].map(String::from).into());
    assert_eq!(drv.input_srcs, [path("z")].into());
    assert_eq!((drv.platform.as_str(), drv.builder.as_slice()), ("x86_64-linux", b"/bin/sh".as_slice()));
    assert_eq!(drv.args, [b"-c".to_vec(), b"a\nb".to_vec()]);
    assert_eq!(drv.env[b"k".as_slice()], b"v\"\\");
    assert_eq!(String::from_utf8(drv.to_aterm(&StoreDir::default())), Ok(minimal()));
}

#[test]
fn lists_in_another_order_are_put_in_order() {
    let shuffled = minimal().replace("[\"dev\",\"out\"]", "[\"out\",\"dev\"]");
    let drv = parse(&shuffled).expect("a derivation");
    assert_eq!(String::from_utf8(drv.to_aterm(&StoreDir::default())), Ok(minimal()));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let minimal = minimal();
    let change = |from: &str, to: &str| minimal.replacen(from, to, 1);
    for (text, expected) in [
        (String::new(), "byte 0: 'the end' where 'Derive(' is due"),
        ("Derived".into(), "byte 0: 'Derived' where 'Derive(' is due"),
        (
            "DrvWithVersion(\"xp-dyn-drv\",[]".into(),
            "byte 0: it has the format 'xp-dyn-drv' (dynamic derivations), which is not supported",
        ),
        ("Derive([(\"out".into(), "byte 9: a string without an end"),
        ("Derive([(\"out\\".into(), "byte 9: a string without an end"),
        (change("[\"-c\",", "[\"-c\";"), "where ',' is due"),
        (change("\"k\",", "\"k\")"), "where ',' is due"),
        (format!("{minimal} "), "where 'the end of the file' is due"),
        (change("x86_64-linux", "a b"), "'a b' is not a system"),
        (change("/nix/store/", "/gnu/store/"), "is not in the store directory '/nix/store'"),
        (change("-y.drv", "-y drv"), "a character that Nix does not allow"),
        (change("(\"k\",", "(\"k\",\"\"),(\"k\","), "the variable 'k' is there twice"),
    ] {
        let said = parse(&text).expect_err(expected);
        assert!(said.contains(expected), "{said}\n  lacks {expected}");
    }
    let bytes = minimal.replace("out", "\u{1}").into_bytes();
    let bytes: Vec<u8> = bytes.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
    let said = Derivation::parse(&bytes, &StoreDir::default()).expect_err("no text").to_string();
    assert!(said.contains("the output name '\\xff' is not UTF-8"), "{said}");
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..12)
}

fn path() -> impl Strategy<Value = StorePath> {
    "[0-9a-df-np-sv-z]{32}-[a-zA-Z0-9+._?=-]{1,20}"
        .prop_map(|base| StorePath::from_base_name(&base).expect("a path"))
}

fn output() -> impl Strategy<Value = DerivationOutput> {
    (proptest::option::of(path()), "(r:sha256|sha256)?", "[0-9a-f]{0,8}")
        .prop_map(|(path, hash_algo, hash)| DerivationOutput { path, hash_algo, hash })
}

prop_compose! {
    fn derivation()(
        outputs in proptest::collection::btree_map("[a-z]{1,5}", output(), 0..4),
        input_drvs in proptest::collection::btree_map(
            path(), proptest::collection::btree_set("[a-z]{1,5}", 0..3), 0..4),
        input_srcs in proptest::collection::btree_set(path(), 0..4),
        builder in bytes(),
        args in proptest::collection::vec(bytes(), 0..4),
        env in proptest::collection::btree_map(bytes(), bytes(), 0..5),
    ) -> Derivation {
        let platform = System::parse("x86_64-linux").expect("a system");
        Derivation { outputs, input_drvs, input_srcs, platform, builder, args, env }
    }
}

proptest! {
    #[test]
    fn any_derivation_survives_its_file_in_any_store_directory(drv in derivation(), dir in "(/[a-z]{1,5}){1,3}") {
        let dir = StoreDir::parse(&dir).expect("a directory");
        prop_assert_eq!(Derivation::parse(&drv.to_aterm(&dir), &dir), Ok(drv));
    }

    #[test]
    fn a_damaged_file_is_refused_or_means_something(
        drv in derivation(),
        damage in proptest::collection::vec((0_u8..4, any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let dir = StoreDir::default();
        let mut file = drv.to_aterm(&dir);
        for (kind, at, byte) in damage {
            let at = at.index(file.len().max(1));
            match kind {
                0 => file.insert(at.min(file.len()), byte),
                1 if at < file.len() => drop(file.remove(at)),
                2 => file.truncate(at),
                _ => if let Some(old) = file.get_mut(at) { *old = byte },
            }
        }
        if let Ok(read) = Derivation::parse(&file, &dir) {
            prop_assert_eq!(Derivation::parse(&read.to_aterm(&dir), &dir), Ok(read));
        }
    }
}
