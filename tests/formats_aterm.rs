//! Derivations that Nix wrote: written back byte for byte, and read alike by an independent implementation.

use std::collections::BTreeMap;
use std::fs;

use muster::domain::StoreDir;
use muster::nix::aterm::Derivation;

/// The .drv files, by name.
fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/formats/drv");
    let files = fs::read_dir(dir).expect("the folder").map(|file| file.expect("a file").path());
    let drvs = files.filter(|path| path.extension().is_some_and(|extension| extension == "drv"));
    drvs.map(|path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(&path).expect("a file"))
    })
    .collect()
}

fn read(file: &[u8]) -> Derivation {
    Derivation::parse(file, &StoreDir::default()).expect("a derivation")
}

#[test]
fn what_nix_wrote_is_written_back_byte_for_byte() {
    let fixtures = fixtures();
    assert_eq!(fixtures.len(), 8);
    for (name, file) in fixtures {
        assert_eq!(read(&file).to_aterm(&StoreDir::default()), file, "{name}");
    }
}

#[test]
fn outputs_are_of_each_kind() {
    let kinds: Vec<(String, bool, String, bool)> = fixtures()
        .into_iter()
        .map(|(name, file)| {
            let outputs = read(&file).outputs;
            let out = &outputs["out"];
            (name, out.path.is_some(), out.hash_algo.clone(), out.hash == "impure")
        })
        .collect();
    let kind =
        |name: &str, known, algo: &str, impure| (format!("{name}.drv"), known, algo.to_owned(), impure);
    assert_eq!(
        kinds,
        [
            kind("deferred", false, "", false),
            kind("fixed", true, "sha256", false),
            kind("floating", false, "r:sha256", false),
            kind("impure", false, "r:sha256", true),
            kind("raw", true, "", false),
            kind("recursive", true, "r:sha256", false),
            kind("several", true, "", false),
            kind("structured", true, "", false),
        ]
    );
}

#[test]
fn bytes_that_are_no_text_survive() {
    let raw = read(&fixtures()["raw.drv"]);
    assert_eq!(raw.env[b"text".as_slice()], b"a\xff\xfeb");
    assert!(raw.platform.is_builtin());
}

#[test]
fn escapes_mean_what_they_mean_in_the_nix_language() {
    let several = read(&fixtures()["several.drv"]);
    let text = "tab\tline\nreturn\r quote\" back\\slash \\n dollar$ ünï";
    assert_eq!(several.env[b"text".as_slice()], text.as_bytes());
    assert_eq!(several.args, ["-c", "echo \"$out\" > \\x; printf '\t'\n", ""].map(Vec::from));
    assert_eq!(several.outputs.keys().collect::<Vec<_>>(), ["bin", "dev", "out"]);
    assert_eq!(several.input_srcs.len(), 1);
}

#[test]
fn another_implementation_reads_the_same() {
    for (file_name, file) in fixtures() {
        let name = file_name.strip_suffix(".drv").expect("a suffix");
        let ours = read(&file);
        let oracle = match nix_derivation::Derivation::from_aterm_bytes(&file, name) {
            Ok(oracle) => oracle,
            // It takes text only, and no experimental outputs.
            Err(_) if ["raw", "impure"].contains(&name) => continue,
            Err(error) => panic!("{file_name}: {error}"),
        };
        assert_eq!(ours.platform.as_str(), oracle.system());
        assert_eq!(ours.builder, oracle.builder().as_bytes());
        let args: Vec<_> = oracle.arguments().iter().map(|arg| arg.as_bytes().to_vec()).collect();
        assert_eq!(ours.args, args);
        assert!(ours.outputs.keys().eq(oracle.outputs().keys()), "{file_name}");
        let inputs: Vec<_> = oracle
            .input_derivations()
            .iter()
            .map(|(path, input)| (path.to_string(), input.outputs().clone()))
            .collect();
        let ours_inputs: Vec<_> = ours
            .input_drvs
            .iter()
            .map(|(path, outputs)| (StoreDir::default().full(path), outputs.clone()))
            .collect();
        assert_eq!(ours_inputs, inputs, "{file_name}");
        for (key, value) in oracle.environment() {
            assert_eq!(ours.env.get(key.as_bytes()), Some(value), "{file_name} {key}");
        }
    }
}
