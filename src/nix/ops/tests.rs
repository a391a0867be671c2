//! Every request, reply and log message survives its bytes, in each version; nothing else is taken for one.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::domain::{
    BasicDerivation, BuildResult, BuildStatus, DerivationOutput, PathInfo, Sha256, StoreDir, StorePath,
    System,
};
use crate::nix::handshake::Version;
use crate::nix::logs::{DaemonError, Field, Frame, LogMessage, Text};

fn dialects() -> impl Strategy<Value = Dialect> {
    (32u8..=35, prop_oneof![Just("/nix/store"), Just("/home/me/store")]).prop_map(|(minor, dir)| Dialect {
        dir: StoreDir::parse(dir).expect("a directory"),
        version: Version::new(minor),
    })
}

fn path() -> BoxedStrategy<StorePath> {
    "[0-9a-d]{32}-[a-z.+_=?-]{1,20}"
        .prop_map(|base| StorePath::from_base_name(&base).expect("a name"))
        .boxed()
}

fn paths() -> BoxedStrategy<BTreeSet<StorePath>> {
    btree_set(path(), 0..4).boxed()
}

fn text() -> BoxedStrategy<Text> {
    vec(any::<u8>(), 0..40).prop_map(Text).boxed()
}

fn mode() -> BoxedStrategy<BuildMode> {
    prop_oneof![Just(BuildMode::Normal), Just(BuildMode::Repair), Just(BuildMode::Check)].boxed()
}

fn options() -> BoxedStrategy<SetOptions> {
    let flags = any::<[bool; 4]>();
    let numbers = any::<[u64; 8]>();
    (flags, numbers, vec((".{0,9}", ".{0,9}"), 0..3))
        .prop_map(|(flags, numbers, overrides)| SetOptions {
            keep_failed: flags[0],
            keep_going: flags[1],
            try_fallback: flags[2],
            verbosity: numbers[0],
            max_build_jobs: numbers[1],
            max_silent_time: numbers[2],
            use_build_hook: numbers[3],
            build_verbosity: numbers[4],
            log_type: numbers[5],
            print_build_trace: numbers[6],
            build_cores: numbers[7],
            use_substitutes: flags[3],
            overrides,
        })
        .boxed()
}

fn derivation() -> BoxedStrategy<BasicDerivation> {
    let output = (option::of(path()), ".{0,9}", ".{0,9}")
        .prop_map(|(path, hash_algo, hash)| DerivationOutput { path, hash_algo, hash });
    let bytes = || vec(any::<u8>(), 0..20);
    (
        btree_map("[a-z]{1,5}", output, 0..3),
        paths(),
        bytes(),
        vec(bytes(), 0..3),
        btree_map(bytes(), bytes(), 0..4),
    )
        .prop_map(|(outputs, inputs, builder, args, env)| BasicDerivation {
            outputs,
            inputs,
            platform: System::parse("x86_64-linux").expect("a system"),
            builder,
            args,
            env,
        })
        .boxed()
}

fn facts() -> BoxedStrategy<PathFacts> {
    (
        option::of(path()),
        any::<[u8; 32]>(),
        paths(),
        any::<[u64; 2]>(),
        any::<bool>(),
        vec(".{0,9}", 0..3),
        ".{0,9}",
    )
        .prop_map(|(deriver, hash, references, numbers, ultimate, signatures, ca)| PathFacts {
            deriver,
            nar_hash: Sha256(hash),
            references,
            registration_time: numbers[0],
            nar_size: numbers[1],
            ultimate,
            signatures,
            ca,
        })
        .boxed()
}

fn info() -> BoxedStrategy<PathInfo> {
    (path(), facts()).prop_map(|(path, facts)| facts.of(path)).boxed()
}

fn build_result() -> BoxedStrategy<BuildResult> {
    let outputs = btree_map(".{0,9}", ".{0,9}", 0..3);
    (0u64..15, ".{0,30}", any::<[u64; 3]>(), any::<bool>(), outputs)
        .prop_map(|(status, error, numbers, non_deterministic, built_outputs)| BuildResult {
            status: BuildStatus::from_code(status).expect("a status"),
            error,
            times_built: numbers[0],
            non_deterministic,
            start_time: numbers[1],
            stop_time: numbers[2],
            built_outputs,
        })
        .boxed()
}

fn substitutable() -> BoxedStrategy<Substitutable> {
    (option::of(path()), paths(), any::<[u64; 2]>())
        .prop_map(|(deriver, references, numbers)| Substitutable {
            deriver,
            references,
            download_size: numbers[0],
            nar_size: numbers[1],
        })
        .boxed()
}

fn missing() -> BoxedStrategy<Missing> {
    ([paths(), paths(), paths()], any::<[u64; 2]>())
        .prop_map(|([will_build, will_substitute, unknown], numbers)| Missing {
            will_build,
            will_substitute,
            unknown,
            download_size: numbers[0],
            nar_size: numbers[1],
        })
        .boxed()
}

/// Any request for `op`. The match has no default, so a new operation needs one here.
fn request(op: Op) -> BoxedStrategy<Request> {
    let flag = any::<bool>;
    let targets = || vec(".{0,20}", 0..3);
    match op {
        Op::IsValidPath => path().prop_map(|path| Request::IsValidPath { path }).boxed(),
        Op::QueryReferrers => path().prop_map(|path| Request::QueryReferrers { path }).boxed(),
        Op::AddToStore => (".{0,9}", ".{0,9}", paths(), flag())
            .prop_map(|(name, method, references, repair)| Request::AddToStore {
                name,
                method,
                references,
                repair,
            })
            .boxed(),
        Op::AddTextToStore => (".{0,9}", text(), paths())
            .prop_map(|(name, text, references)| Request::AddTextToStore { name, text, references })
            .boxed(),
        Op::BuildPaths => {
            (targets(), mode()).prop_map(|(targets, mode)| Request::BuildPaths { targets, mode }).boxed()
        }
        Op::EnsurePath => path().prop_map(|path| Request::EnsurePath { path }).boxed(),
        Op::AddTempRoot => path().prop_map(|path| Request::AddTempRoot { path }).boxed(),
        Op::AddIndirectRoot => ".{0,9}".prop_map(|link| Request::AddIndirectRoot { link }).boxed(),
        Op::SyncWithGC => Just(Request::SyncWithGC {}).boxed(),
        Op::FindRoots => Just(Request::FindRoots {}).boxed(),
        Op::QueryDeriver => path().prop_map(|path| Request::QueryDeriver { path }).boxed(),
        Op::SetOptions => options().prop_map(|options| Request::SetOptions { options }).boxed(),
        Op::CollectGarbage => (any::<u64>(), paths(), flag(), any::<u64>())
            .prop_map(|(action, paths, ignore_liveness, max_freed)| Request::CollectGarbage {
                action,
                paths,
                ignore_liveness,
                max_freed,
                obsolete: (0, (0, 0)),
            })
            .boxed(),
        Op::QuerySubstitutablePathInfo => {
            path().prop_map(|path| Request::QuerySubstitutablePathInfo { path }).boxed()
        }
        Op::QueryDerivationOutputs => {
            path().prop_map(|path| Request::QueryDerivationOutputs { path }).boxed()
        }
        Op::QueryAllValidPaths => Just(Request::QueryAllValidPaths {}).boxed(),
        Op::QueryPathInfo => path().prop_map(|path| Request::QueryPathInfo { path }).boxed(),
        Op::QueryDerivationOutputNames => {
            path().prop_map(|path| Request::QueryDerivationOutputNames { path }).boxed()
        }
        Op::QueryPathFromHashPart => {
            ".{0,32}".prop_map(|hash| Request::QueryPathFromHashPart { hash }).boxed()
        }
        Op::QuerySubstitutablePathInfos => btree_map(path(), ".{0,9}", 0..3)
            .prop_map(|paths| Request::QuerySubstitutablePathInfos { paths })
            .boxed(),
        Op::QueryValidPaths => (paths(), flag())
            .prop_map(|(paths, substitute)| Request::QueryValidPaths { paths, substitute })
            .boxed(),
        Op::QuerySubstitutablePaths => {
            paths().prop_map(|paths| Request::QuerySubstitutablePaths { paths }).boxed()
        }
        Op::QueryValidDerivers => path().prop_map(|path| Request::QueryValidDerivers { path }).boxed(),
        Op::OptimiseStore => Just(Request::OptimiseStore {}).boxed(),
        Op::VerifyStore => (flag(), flag())
            .prop_map(|(check_contents, repair)| Request::VerifyStore { check_contents, repair })
            .boxed(),
        Op::BuildDerivation => (path(), derivation(), mode())
            .prop_map(|(drv, derivation, mode)| Request::BuildDerivation { drv, derivation, mode })
            .boxed(),
        Op::AddSignatures => (path(), vec(".{0,9}", 0..3))
            .prop_map(|(path, signatures)| Request::AddSignatures { path, signatures })
            .boxed(),
        Op::NarFromPath => path().prop_map(|path| Request::NarFromPath { path }).boxed(),
        Op::AddToStoreNar => (info(), flag(), flag())
            .prop_map(|(info, repair, dont_check_sigs)| Request::AddToStoreNar {
                info,
                repair,
                dont_check_sigs,
            })
            .boxed(),
        Op::QueryMissing => targets().prop_map(|targets| Request::QueryMissing { targets }).boxed(),
        Op::QueryDerivationOutputMap => {
            path().prop_map(|path| Request::QueryDerivationOutputMap { path }).boxed()
        }
        Op::RegisterDrvOutput => {
            ".{0,20}".prop_map(|realisation| Request::RegisterDrvOutput { realisation }).boxed()
        }
        Op::QueryRealisation => ".{0,20}".prop_map(|id| Request::QueryRealisation { id }).boxed(),
        Op::AddMultipleToStore => (flag(), flag())
            .prop_map(|(repair, dont_check_sigs)| Request::AddMultipleToStore { repair, dont_check_sigs })
            .boxed(),
        Op::AddBuildLog => ".{0,20}".prop_map(|drv| Request::AddBuildLog { drv }).boxed(),
        Op::BuildPathsWithResults => (targets(), mode())
            .prop_map(|(targets, mode)| Request::BuildPathsWithResults { targets, mode })
            .boxed(),
    }
}

/// Any reply of each kind, in the order of the table.
fn replies() -> Vec<BoxedStrategy<Reply>> {
    let words = || vec(".{0,9}", 0..3);
    vec![
        Just(Reply::Nothing(())).boxed(),
        any::<u64>().prop_map(Reply::Done).boxed(),
        any::<bool>().prop_map(Reply::Flag).boxed(),
        path().prop_map(Reply::Path).boxed(),
        option::of(path()).prop_map(Reply::MaybePath).boxed(),
        paths().prop_map(Reply::Paths).boxed(),
        words().prop_map(Reply::Words).boxed(),
        info().prop_map(Reply::Added).boxed(),
        option::of(facts()).prop_map(Reply::MaybeFacts).boxed(),
        option::of(substitutable()).prop_map(Reply::MaybeSubstitutable).boxed(),
        vec((path(), substitutable()), 0..3).prop_map(Reply::Substitutables).boxed(),
        vec((".{0,9}", path()), 0..3).prop_map(Reply::Roots).boxed(),
        (words(), (any::<u64>(), any::<u64>())).prop_map(Reply::Garbage).boxed(),
        missing().prop_map(Reply::Missing).boxed(),
        btree_map(".{0,9}", option::of(path()), 0..3).prop_map(Reply::Outputs).boxed(),
        build_result().prop_map(Reply::Built).boxed(),
        vec((".{0,9}", build_result()), 0..3).prop_map(Reply::Results).boxed(),
    ]
}

fn log_message() -> BoxedStrategy<LogMessage> {
    let fields = || vec(prop_oneof![any::<u64>().prop_map(Field::Int), text().prop_map(Field::Text)], 0..4);
    prop_oneof![
        text().prop_map(LogMessage::Next),
        any::<u64>().prop_map(|id| LogMessage::StopActivity { id }),
        (any::<[u64; 2]>(), fields()).prop_map(|([id, kind], fields)| LogMessage::Result {
            id,
            kind,
            fields
        }),
        (any::<[u64; 4]>(), text(), fields()).prop_map(|([id, level, kind, parent], text, fields)| {
            LogMessage::StartActivity { id, level, kind, text, fields, parent }
        }),
    ]
    .boxed()
}

fn any_op() -> impl Strategy<Value = Op> {
    proptest::sample::select(Op::ALL)
}

proptest! {
    #[test]
    fn every_request_survives_its_bytes(
        request in any_op().prop_flat_map(request),
        dialect in dialects(),
    ) {
        let bytes = request.encode(&dialect);
        prop_assert_eq!(Request::decode(&bytes, &dialect).expect("a request"), request);
    }

    #[test]
    fn every_reply_survives_its_bytes(
        (op, reply) in any_op().prop_flat_map(|op| {
            let kinds: Vec<_> = replies();
            proptest::strategy::Union::new(kinds)
                .prop_filter("of another operation", move |reply| reply.answers(op))
                .prop_map(move |reply| (op, reply))
        }),
        dialect in dialects(),
    ) {
        let bytes = reply.encode(&dialect);
        prop_assert_eq!(Reply::decode(&bytes, op, &dialect).expect("a reply"), reply);
    }

    #[test]
    fn every_log_frame_survives_its_bytes(message in log_message(), error in text(), dialect in dialects()) {
        let traces = vec![error.clone(); 2];
        let error = DaemonError { level: 1, message: error, traces };
        for frame in [Frame::Log(message), Frame::Error(error), Frame::Last] {
            let bytes = wire::encode(&frame, &dialect);
            prop_assert_eq!(wire::decode::<Frame>(&bytes, &dialect, "test").expect("a frame"), frame);
        }
    }

    #[test]
    fn a_request_cut_anywhere_is_refused_and_so_is_one_with_something_behind_it(
        request in any_op().prop_flat_map(request),
        dialect in dialects(),
        at in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = request.encode(&dialect);
        prop_assert!(Request::decode(&bytes[..at.index(bytes.len())], &dialect).is_err());
        bytes.push(0);
        prop_assert!(Request::decode(&bytes, &dialect).is_err());
    }

    #[test]
    fn any_bytes_are_a_request_or_an_error(bytes in vec(any::<u8>(), 0..200), dialect in dialects()) {
        let _ = Request::decode(&bytes, &dialect);
    }
}

#[test]
fn every_operation_survives_its_number() {
    for op in Op::ALL {
        assert_eq!(Op::from_code(op.code()), Some(*op));
        assert_eq!(op_name(op.code()), op.name());
    }
    assert_eq!((op_name(47), op_name(12345)), ("AddPermRoot", "unknown operation"));
}

#[test]
fn a_path_of_another_store_is_refused_by_name() {
    let here = Dialect { dir: StoreDir::default(), version: Version::OURS };
    let there = Dialect { dir: StoreDir::parse("/other").expect("a directory"), version: Version::OURS };
    let path = StorePath::from_base_name("9csjdxv6ir8ccnjl6ijs36izswjgchn0-a").expect("a name");
    let bytes = Request::IsValidPath { path }.encode(&there);
    let said = Request::decode(&bytes, &here).map_err(|error| error.to_string());
    let expected = "IsValidPath.path: '/other/9csjdxv6ir8ccnjl6ijs36izswjgchn0-a' is not in the store directory \
                    '/nix/store'";
    assert_eq!(said, Err(expected.to_owned()));
}

#[test]
fn a_path_that_claims_to_be_long_is_refused_before_it_is_here() {
    let dialect = Dialect { dir: StoreDir::default(), version: Version::OURS };
    let claims = wire::encode(&(1u64, wire::PATH_MAX + 1), &dialect);
    let said = Request::decode(&claims, &dialect).map_err(|error| error.to_string());
    assert_eq!(said, Err("IsValidPath.path: it claims a length of 4097, and 4096 is the limit".to_owned()));
}

#[test]
fn fields_that_are_fine_one_by_one_may_be_too_much_together() {
    let dialect = Dialect { dir: StoreDir::default(), version: Version::OURS };
    let word = "a".repeat(wire::WORD_MAX as usize);
    let words = vec![word; (wire::MESSAGE_MAX / wire::WORD_MAX) as usize];
    let bytes = wire::encode(&words, &dialect);
    let said = wire::decode::<Vec<String>>(&bytes, &dialect, "test").map_err(|error| error.to_string());
    assert_eq!(said, Err("test.message: the message is longer than 67108864 bytes".to_owned()));
}

#[test]
fn padding_must_be_zero() {
    let dialect = Dialect { dir: StoreDir::default(), version: Version::OURS };
    let mut bytes = wire::encode(&"abc".to_owned(), &dialect);
    *bytes.last_mut().expect("padding") = 1;
    let said = wire::decode::<String>(&bytes, &dialect, "test").map_err(|error| error.to_string());
    assert_eq!(said, Err("test.message: its padding is not zero".to_owned()));
}

#[test]
fn the_layout_of_a_build_is_the_one_of_nix() {
    let path = StorePath::from_base_name("9csjdxv6ir8ccnjl6ijs36izswjgchn0-a.drv").expect("a name");
    let derivation = BasicDerivation {
        outputs: BTreeMap::new(),
        inputs: BTreeSet::new(),
        platform: System::parse("builtin").expect("a system"),
        builder: b"b".to_vec(),
        args: vec![b"c".to_vec()],
        env: BTreeMap::from([(b"k".to_vec(), b"v".to_vec())]),
    };
    let request = Request::BuildDerivation { drv: path, derivation, mode: BuildMode::Check };
    let dialect = Dialect { dir: StoreDir::default(), version: Version::OURS };
    let bytes = request.encode(&dialect);
    let word = |n: u64| n.to_le_bytes().to_vec();
    let padded = |text: &str| [word(text.len() as u64), format!("{text:\0<8}").into_bytes()].concat();
    let tail = [
        word(0),
        word(0),
        padded("builtin"),
        padded("b"),
        word(1),
        padded("c"),
        word(1),
        padded("k"),
        padded("v"),
        word(2),
    ];
    assert!(bytes.ends_with(&tail.concat()), "{}", bytes.escape_ascii());
}
