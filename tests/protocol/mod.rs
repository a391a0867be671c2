//! Sessions with a daemon as scripts: the recorder speaks them with real daemons, the golden tests and the fuzzer
//! with what was recorded.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use muster::domain::{BasicDerivation, DerivationOutput, PathInfo, Sha256, StoreDir, StorePath, System};
use muster::nix::client::{Client, Error, Upload};
use muster::nix::handshake::HandshakeError;
use muster::nix::nar::{Checker, Node};
use muster::nix::ops::{BuildMode, Request, SetOptions};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// The versions that were recorded.
pub const VERSIONS: [&str; 3] = ["2.8.0", "2.26.3", "2.34.8"];

/// One thing that a client does.
pub enum Step {
    /// A question without a stream.
    Call(Request),
    /// A question with one.
    Upload(Request, Vec<u8>),
    /// Several paths at once.
    Import(Vec<(PathInfo, Vec<u8>)>),
    /// Pipelined.
    TempRoots(Vec<StorePath>),
    /// Pipelined.
    Infos(Vec<StorePath>),
    /// An archive.
    Nar(StorePath),
}

/// What happens on one connection.
pub struct Session {
    /// The name of its files.
    pub name: &'static str,
    /// In order.
    pub steps: Vec<Step>,
}

/// Where recordings lie.
pub fn recordings(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/protocol").join(version)
}

/// What one side sent.
pub fn recorded(version: &str, session: &str, side: &str) -> Vec<u8> {
    let file = recordings(version).join(format!("{session}.{side}.bin"));
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The connections that stock's build hook opened, by name.
pub fn hook_sessions(version: &str) -> Vec<String> {
    let files = fs::read_dir(recordings(version)).expect("recordings");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
    let mut hooks: Vec<_> = names
        .filter(|name| name.starts_with("hook"))
        .filter_map(|name| name.strip_suffix(".client.bin").map(str::to_owned))
        .collect();
    hooks.sort();
    hooks
}

/// A path whose hash follows from its name.
pub fn path(name: &str) -> StorePath {
    const DIGITS: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut state = 7u64;
    let mut digit = |byte: u8| {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        char::from(DIGITS[(state % 32) as usize])
    };
    let hash: String = name.bytes().cycle().take(32).map(&mut digit).collect();
    StorePath::from_base_name(&format!("{hash}-{name}")).expect("a name")
}

fn full(name: &str) -> String {
    StoreDir::default().full(&path(name))
}

/// A path whose only file holds its name, and its archive.
fn fixture(name: &str, references: &[&str]) -> (PathInfo, Vec<u8>) {
    let nar = Node::file(format!("this is {name}\n")).to_nar();
    let mut checker = Checker::new();
    checker.feed(&nar).expect("an archive");
    let summary = checker.finish().expect("all of it");
    let info = PathInfo {
        path: path(name),
        deriver: Some(path("fixture.drv")),
        nar_hash: summary.hash,
        references: references.iter().map(|name| path(name)).collect(),
        registration_time: 1,
        nar_size: summary.bytes,
        ultimate: false,
        signatures: vec!["fixture:AAAA".to_owned()],
        ca: None,
    };
    (info, nar)
}

fn derivation(script: &str, output: &str) -> BasicDerivation {
    let out = DerivationOutput { path: Some(path(output)), hash_algo: String::new(), hash: String::new() };
    let env = [("out", full(output)), ("name", output.to_owned()), ("system", "x86_64-linux".to_owned())];
    BasicDerivation {
        outputs: BTreeMap::from([("out".to_owned(), out)]),
        inputs: BTreeSet::from([path("a")]),
        platform: System::parse("x86_64-linux").expect("a system"),
        builder: b"/bin/sh".to_vec(),
        args: vec![b"-c".to_vec(), script.as_bytes().to_vec()],
        env: env.into_iter().map(|(name, value)| (name.into(), value.into_bytes())).collect(),
    }
}

fn build(script: &str, output: &str) -> Step {
    Step::Call(Request::BuildDerivation {
        drv: path(&format!("{output}.drv")),
        derivation: derivation(script, output),
        mode: BuildMode::Normal,
    })
}

/// All sessions, in the order in which a fresh store sees them. Each ends with a question that shows whether both
/// ends are in step, unless its last step costs the connection.
pub fn sessions() -> Vec<Session> {
    vec![
        Session { name: "imports", steps: imports() },
        Session { name: "queries", steps: queries() },
        Session { name: "builds", steps: builds() },
        Session { name: "upkeep", steps: upkeep() },
        Session { name: "missing-nar", steps: vec![Step::Nar(path("missing"))] },
        Session { name: "realisation", steps: vec![Step::Call(realisation())] },
        Session { name: "realisation-query", steps: vec![Step::Call(realisation_query())] },
        Session { name: "log", steps: vec![add_log()] },
    ]
}

fn in_step() -> Step {
    Step::Call(Request::IsValidPath { path: path("a") })
}

fn imports() -> Vec<Step> {
    let ((a, a_nar), broken) = (fixture("a", &[]), fixture("broken", &[]).0);
    let add_nar = |info| Request::AddToStoreNar { info, repair: false, dont_check_sigs: true };
    let wrong = PathInfo { nar_hash: Sha256([1; 32]), ..broken };
    let add = |method: &str| Request::AddToStore {
        name: "added".to_owned(),
        method: method.to_owned(),
        references: BTreeSet::new(),
        repair: false,
    };
    vec![
        Step::Upload(add_nar(a), a_nar.clone()),
        Step::Import(vec![fixture("b", &["a"]), fixture("c", &["b", "c"])]),
        Step::Import(vec![]),
        in_step(),
        Step::Upload(add_nar(wrong), a_nar),
        in_step(),
        Step::Upload(add("fixed:r:sha256"), Node::file(b"added\n".to_vec()).to_nar()),
        Step::Upload(add("text:sha256"), b"added as text\n".to_vec()),
        Step::Call(Request::AddTextToStore {
            name: "text".to_owned(),
            text: "a text\n".into(),
            references: BTreeSet::from([path("a")]),
        }),
        in_step(),
    ]
}

fn queries() -> Vec<Step> {
    let all = || [path("a"), path("b"), path("missing")];
    let set = || BTreeSet::from(all());
    let calls = [
        Request::IsValidPath { path: path("missing") },
        Request::QueryReferrers { path: path("a") },
        Request::QueryPathInfo { path: path("c") },
        Request::QueryPathInfo { path: path("missing") },
        Request::QueryValidPaths { paths: set(), substitute: false },
        Request::QueryValidPaths { paths: set(), substitute: true },
        Request::QuerySubstitutablePaths { paths: set() },
        Request::QuerySubstitutablePathInfo { path: path("a") },
        Request::QuerySubstitutablePathInfos { paths: all().map(|path| (path, String::new())).into() },
        Request::QueryValidDerivers { path: path("a") },
        Request::QueryDeriver { path: path("b") },
        Request::QueryDerivationOutputs { path: path("missing.drv") },
        Request::QueryDerivationOutputNames { path: path("missing.drv") },
        Request::QueryDerivationOutputMap { path: path("missing.drv") },
        Request::QueryPathFromHashPart { hash: path("a").base_name()[..32].to_owned() },
        Request::QueryPathFromHashPart { hash: "00000000000000000000000000000000".to_owned() },
        Request::QueryAllValidPaths {},
        Request::QueryMissing { targets: vec![full("missing"), full("a")] },
    ];
    let mut steps = vec![Step::Call(Request::SetOptions { options: options() })];
    steps.extend(calls.map(Step::Call));
    steps.push(Step::TempRoots(all().into()));
    steps.push(Step::Infos(all().into()));
    steps.push(Step::Nar(path("b")));
    steps.push(in_step());
    steps
}

fn options() -> SetOptions {
    SetOptions { overrides: vec![("builders".to_owned(), String::new())], ..SetOptions::default() }
}

fn builds() -> Vec<Step> {
    let mode = BuildMode::Normal;
    vec![
        Step::Call(Request::SetOptions { options: options() }),
        build("echo one; echo two >&2; echo built > $out", "built"),
        build("echo again > $out", "built"),
        build("echo oh no; exit 3", "failed"),
        build("echo forgotten", "forgotten"),
        Step::Nar(path("built")),
        Step::Call(Request::EnsurePath { path: path("a") }),
        Step::Call(Request::EnsurePath { path: path("missing") }),
        Step::Call(Request::BuildPaths { targets: vec![full("a")], mode }),
        Step::Call(Request::BuildPaths { targets: vec![full("missing")], mode }),
        Step::Call(Request::BuildPathsWithResults { targets: vec![full("a"), full("missing")], mode }),
        in_step(),
    ]
}

fn upkeep() -> Vec<Step> {
    let collect = Request::CollectGarbage {
        action: 1,
        paths: BTreeSet::new(),
        ignore_liveness: false,
        max_freed: 0,
        obsolete: (0, (0, 0)),
    };
    let signatures = vec!["other:AAAA".to_owned()];
    let calls = [
        Request::AddIndirectRoot { link: "/tmp/muster-root".to_owned() },
        Request::SyncWithGC {},
        Request::FindRoots {},
        collect,
        Request::OptimiseStore {},
        Request::VerifyStore { check_contents: true, repair: false },
        Request::AddSignatures { path: path("a"), signatures },
    ];
    let mut steps: Vec<_> = calls.into_iter().map(Step::Call).collect();
    steps.push(in_step());
    steps
}

fn realisation() -> Request {
    let id = format!("sha256:{}!out", "0".repeat(64));
    let realisation = format!(
        r#"{{"dependentRealisations":{{}},"id":"{id}","outPath":"{}","signatures":[]}}"#,
        path("a").base_name()
    );
    Request::RegisterDrvOutput { realisation }
}

fn realisation_query() -> Request {
    Request::QueryRealisation { id: format!("sha256:{}!out", "0".repeat(64)) }
}

fn add_log() -> Step {
    let drv = path("fixture.drv").base_name().to_owned();
    Step::Upload(Request::AddBuildLog { drv }, b"a log\n".to_vec())
}

/// Speaks a whole session. One line for each step: what came of it.
pub async fn speak<R, W>(
    reader: R,
    writer: W,
    session: &Session,
) -> Result<(Vec<String>, bool), HandshakeError>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let mut client = Client::handshake(reader, writer, StoreDir::default()).await?;
    let mut outcomes = Vec::new();
    for step in &session.steps {
        let outcome = take(&mut client, step).await;
        let lost = matches!(&outcome, Err(error) if !matches!(error, Error::Daemon(_)));
        outcomes.push(outcome.unwrap_or_else(|error| format!("error: {error}")).replace('\n', "\\n"));
        if lost {
            break;
        }
    }
    Ok((outcomes, client.is_clean()))
}

async fn take<R, W>(client: &mut Client<R, W>, step: &Step) -> Result<String, Error>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let mut lines = Vec::new();
    let mut log = |message: muster::nix::logs::LogMessage| {
        lines.extend(message.as_line().map(|line| format!(" | {line}")));
    };
    let outcome = match step {
        Step::Call(request) => client.call(request, &mut log).await.map(|reply| format!("{reply:?}")),
        Step::Upload(request, stream) => {
            client.upload_from(request, &mut &stream[..], &mut log).await.map(|reply| format!("{reply:?}"))
        }
        Step::Import(items) => import(client, items).await.map(|()| "imported".to_owned()),
        Step::TempRoots(paths) => client.add_temp_roots(paths).await.map(|()| "rooted".to_owned()),
        Step::Infos(paths) => client.query_path_infos(paths).await.map(|infos| format!("{infos:?}")),
        Step::Nar(path) => {
            let summary = client.nar_from_path(path, &mut tokio::io::sink(), 1 << 20).await;
            summary.map(|summary| format!("{summary:?}"))
        }
    };
    outcome.map(|text| text + &lines.concat())
}

async fn import<R, W>(client: &mut Client<R, W>, items: &[(PathInfo, Vec<u8>)]) -> Result<(), Error>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let body = async |upload: &mut Upload<'_, W>| {
        for (info, nar) in items {
            upload.begin(info).await?;
            let written = upload.write_all(nar).await;
            written.map_err(|error| Error::Io { operation: "AddMultipleToStore", error })?;
        }
        Ok(())
    };
    client.add_multiple_to_store(items.len() as u64, false, body).await
}
