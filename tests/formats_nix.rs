//! The formats against the real Nix on this machine. Without one, each test says so and passes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use muster::domain::{Feature, StoreDir, System};
use muster::nix::aterm::Derivation;
use muster::nix::machines::{
    HostKey, Line, LineName, LineRef, MachineUri, SpeedFactor, SshKey, endpoint_uri,
};
use muster::nix::nar::Checker;
use tempfile::TempDir;

/// What `nix-store --dump` of Nix 2.8 makes of the tree below.
const TREE: &[u8] = include_bytes!("data/formats/tree.nar");
const DERIVATIONS: &str = include_str!("data/formats/drv/derivations.nix");

/// A store of its own below a folder of its own.
struct Nix(TempDir);

impl Nix {
    /// None where no Nix is installed; `test` is who asks.
    fn installed(test: &str) -> Option<Self> {
        if Command::new("nix-store").arg("--version").output().is_err() {
            eprintln!("skipped: {test} needs nix-store on the PATH");
            return None;
        }
        let nix = Self(tempfile::tempdir().expect("a folder"));
        fs::write(nix.path("nix.conf"), "build-users-group =\nsandbox = false\nsubstituters =\n")
            .expect("a file");
        Some(nix)
    }

    fn path(&self, name: &str) -> String {
        let path = self.0.path().join(name);
        path.into_os_string().into_string().expect("plain text")
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program)
            .args(args)
            .args(["--store", &format!("local?root={}", self.path("root"))])
            .env("NIX_CONF_DIR", self.0.path())
            .env("HOME", self.0.path())
            .env_remove("NIX_REMOTE")
            .output()
            .expect("nix runs")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn executable(path: &str, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

#[test]
fn a_dump_by_nix_ends_where_it_should_and_has_the_digest_that_nix_gives_it() {
    let Some(nix) = Nix::installed("a_dump_by_nix_ends_where_it_should_and_has_the_digest_that_nix_gives_it")
    else {
        return;
    };
    let root = nix.path("tree");
    fs::create_dir_all(Path::new(&root).join("a.d/empty")).expect("folders");
    fs::write(Path::new(&root).join("a.d/file"), vec![1; 5001]).expect("a file");
    executable(&format!("{root}/a"), "#!/bin/sh\n");
    symlink("../élan", Path::new(&root).join("link")).expect("a link");

    let mut dump = nix.run("nix-store", &["--dump", &root]).stdout;
    assert!(dump == TREE, "Nix dumps the tree otherwise than the fixture");
    let length = dump.len();
    dump.extend_from_slice(b"what comes next");
    let mut checker = Checker::new();
    let fed = checker.feed(&dump).expect("an archive");
    assert_eq!((fed.consumed, fed.done), (length, true));

    let hash = nix.run("nix-hash", &["--type", "sha256", &root]).stdout;
    let summary = checker.finish().expect("all of it");
    assert_eq!(summary.hash.to_base16(), String::from_utf8_lossy(&hash).trim());
}

#[test]
fn derivations_that_nix_makes_here_are_written_back_byte_for_byte() {
    let test = "derivations_that_nix_makes_here_are_written_back_byte_for_byte";
    let Some(nix) = Nix::installed(test) else { return };
    let (expression, bytes) = (nix.path("derivations.nix"), nix.path("bytes"));
    fs::write(&expression, DERIVATIONS).expect("a file");
    fs::write(&bytes, b"a\xff\xfeb").expect("a file");
    let made = nix.run("nix-instantiate", &[&expression, "--arg", "bytes", &bytes]);
    assert!(made.status.success(), "{}", stderr(&made));

    let mut drvs = BTreeMap::new();
    for entry in fs::read_dir(nix.path("root/nix/store")).expect("a store") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "drv") {
            let file = fs::read(&path).expect("a derivation");
            let drv = Derivation::parse(&file, &StoreDir::default()).expect("a derivation");
            assert_eq!(drv.to_aterm(&StoreDir::default()), file, "{}", path.display());
            drvs.insert(path, drv);
        }
    }
    assert_eq!(drvs.len(), 5);
}

/// With something in every field.
fn own_line(uri: MachineUri) -> Line {
    Line {
        systems: ["x86_64-linux", "i686-linux"].map(|word| System::parse(word).expect("a system")).into(),
        ssh_key: Some(SshKey::parse("/dev/null").expect("a path")),
        max_jobs: 3,
        speed_factor: SpeedFactor::new(100.0).expect("a factor"),
        supported: [Feature::parse("kvm").expect("a feature")].into(),
        mandatory: [Feature::parse("big-parallel").expect("a feature")].into(),
        host_key: Some(HostKey::parse("c3NoLWVkMjU1MTkgQUFBQQ==").expect("a key")),
        ..Line::new(uri)
    }
}

/// Nix starts the program of a line of ours for one build, and this is what the program was given.
fn arguments_through_a_build(nix: &Nix, program: &str, name: &LineName, socket: Option<&str>) -> Vec<String> {
    let record = nix.path("arguments");
    executable(program, &format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {record}\nexit 1\n"));
    let reference = LineRef::Line { name: name.clone(), socket: socket.map(str::to_owned) };
    let line = own_line(endpoint_uri(program, &reference).expect("a URI"));
    let machines = nix.path("machines");
    fs::write(&machines, format!("{line}\n")).expect("a file");
    let expression = r#"derivation { name = "asked"; system = "x86_64-linux"; builder = "/bin/sh";
        requiredSystemFeatures = [ "kvm" "big-parallel" ]; }"#;
    let builders = format!("@{machines}");
    let arguments = ["-E", expression, "--no-out-link", "-j0", "--builders", &builders];
    let output = nix.run("nix-build", &arguments);
    assert!(!output.status.success());
    // Named after the URI as Nix itself writes it, and so equal only if we write it alike.
    let slot = format!("current-load/{}-0", line.uri.as_str().replace('/', "_"));
    let slot = nix.path(&format!("root/nix/var/nix/{slot}"));
    assert!(fs::exists(&slot).expect("a folder"), "{slot}: {}", stderr(&output));
    let recorded = fs::read_to_string(&record);
    let recorded = recorded.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    recorded.lines().map(str::to_owned).collect()
}

#[test]
fn nix_starts_the_program_of_a_line_with_the_lines_own_words() {
    let test = "nix_starts_the_program_of_a_line_with_the_lines_own_words";
    let Some(nix) = Nix::installed(test) else { return };
    // Every character that a program's path may have.
    fs::create_dir(nix.path("a+b@1,2=%20:_.-")).expect("a folder");
    let program = nix.path("a+b@1,2=%20:_.-/muster");
    let name = LineName::parse("x86_64-linux,kvm_1.0").expect("a name");
    for socket in [None, Some("/run/muster.sock"), Some("/r/a b&c%+,;#=?'\"$\\@é%2F`*")] {
        let arguments = arguments_through_a_build(&nix, &program, &name, socket);
        let [stdio, store, reference] = arguments.as_slice() else { panic!("{arguments:?}") };
        assert_eq!((stdio.as_str(), store.as_str()), ("--stdio", "--store"));
        let expected = LineRef::Line { name: name.clone(), socket: socket.map(str::to_owned) };
        assert_eq!(LineRef::parse(reference), Ok(expected));
    }
}
