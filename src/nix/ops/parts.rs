//! The fields of requests and replies that are more than a word, and the wire forms of the domain's types.

use std::collections::{BTreeMap, BTreeSet};

use tokio::io::AsyncRead;

use super::Op;
use crate::domain::{
    BasicDerivation, BuildResult, BuildStatus, DerivationOutput, PathInfo, Sha256, StorePath, System,
};
use crate::nix::logs::Text;
use crate::nix::wire::{Decoder, Encoder, Problem, ProtocolError, STRING_MAX, WORD_MAX, Wire};

/// `<path>`, `<drv>!*` or `<drv>!<out>,<out>`, as Nix renders it.
pub type DerivedPath = String;
/// What was asked for, and how it ended.
pub type KeyedBuildResult = (DerivedPath, BuildResult);
/// Links, and the paths that they keep alive.
pub type Roots = Vec<(String, StorePath)>;

/// Gives structs their wire form: their fields in order.
macro_rules! wire_struct {
    ($name:ident { $($field:ident $wire:literal),* $(,)? }) => {
        impl Wire for $name {
            fn put(&self, to: &mut Encoder<'_>) {
                $(to.put(&self.$field);)*
            }

            async fn take<R: AsyncRead + Unpin + Send>(
                from: &mut Decoder<'_, R>,
                _: &'static str,
            ) -> Result<Self, ProtocolError> {
                Ok(Self { $($field: from.take($wire).await?),* })
            }
        }
    };
}

/// A number, then the value where the number is 1.
macro_rules! wire_option {
    ($name:ident) => {
        impl Wire for Option<$name> {
            fn put(&self, to: &mut Encoder<'_>) {
                match self {
                    Some(value) => to.u64(1).put(value),
                    None => to.u64(0),
                };
            }

            async fn take<R: AsyncRead + Unpin + Send>(
                from: &mut Decoder<'_, R>,
                field: &'static str,
            ) -> Result<Self, ProtocolError> {
                match from.take::<bool>(field).await? {
                    true => from.take(field).await.map(Some),
                    false => Ok(None),
                }
            }
        }
    };
}

/// How a build is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BuildMode {
    /// Build what is not there.
    #[default]
    Normal,
    /// Replace what is damaged.
    Repair,
    /// Build again and compare.
    Check,
}

/// What a store knows of a valid path, without the path itself (Nix's `UnkeyedValidPathInfo`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathFacts {
    /// The derivation that made it, where the store knows.
    pub deriver: Option<StorePath>,
    /// The hash of its NAR.
    pub nar_hash: Sha256,
    /// The paths that its content mentions.
    pub references: BTreeSet<StorePath>,
    /// Seconds since 1970; 0 where unknown.
    pub registration_time: u64,
    /// The bytes of its NAR.
    pub nar_size: u64,
    /// Whether this store built it.
    pub ultimate: bool,
    /// Signatures, as `<key name>:<base 64>`.
    pub signatures: Vec<String>,
    /// The content address; empty where there is none.
    pub ca: String,
}

impl PathFacts {
    /// The whole record of `path`.
    pub fn of(self, path: StorePath) -> PathInfo {
        PathInfo {
            path,
            deriver: self.deriver,
            nar_hash: self.nar_hash,
            references: self.references,
            registration_time: self.registration_time,
            nar_size: self.nar_size,
            ultimate: self.ultimate,
            signatures: self.signatures,
            ca: Some(self.ca).filter(|ca| !ca.is_empty()),
        }
    }
}

impl From<&PathInfo> for PathFacts {
    fn from(info: &PathInfo) -> Self {
        Self {
            deriver: info.deriver.clone(),
            nar_hash: info.nar_hash,
            references: info.references.clone(),
            registration_time: info.registration_time,
            nar_size: info.nar_size,
            ultimate: info.ultimate,
            signatures: info.signatures.clone(),
            ca: info.ca.clone().unwrap_or_default(),
        }
    }
}

wire_struct!(PathFacts {
    deriver "deriver",
    nar_hash "narHash",
    references "references",
    registration_time "registrationTime",
    nar_size "narSize",
    ultimate "ultimate",
    signatures "signatures",
    ca "ca",
});
wire_option!(PathFacts);

impl Wire for PathInfo {
    fn put(&self, to: &mut Encoder<'_>) {
        to.put(&self.path).put(&PathFacts::from(self));
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        let path = from.take("path").await?;
        from.take::<PathFacts>(field).await.map(|facts| facts.of(path))
    }
}

/// What a substituter has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitutable {
    /// The derivation that made it, where it is known.
    pub deriver: Option<StorePath>,
    /// The paths that its content mentions.
    pub references: BTreeSet<StorePath>,
    /// Bytes to download; 0 where unknown.
    pub download_size: u64,
    /// The bytes of its NAR; 0 where unknown.
    pub nar_size: u64,
}

wire_struct!(Substitutable {
    deriver "deriver",
    references "references",
    download_size "downloadSize",
    nar_size "narSize",
});
wire_option!(Substitutable);

/// What a build would do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    /// Derivations to be built.
    pub will_build: BTreeSet<StorePath>,
    /// Paths to be substituted.
    pub will_substitute: BTreeSet<StorePath>,
    /// Paths of which nothing is known.
    pub unknown: BTreeSet<StorePath>,
    /// Bytes to download.
    pub download_size: u64,
    /// Bytes unpacked.
    pub nar_size: u64,
}

wire_struct!(Missing {
    will_build "willBuild",
    will_substitute "willSubstitute",
    unknown "unknown",
    download_size "downloadSize",
    nar_size "narSize",
});

/// A daemon's settings for one connection. There is no "leave as it is": each is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetOptions {
    /// Keep the directories of failed builds.
    pub keep_failed: bool,
    /// Go on after a failure.
    pub keep_going: bool,
    /// Build what cannot be substituted.
    pub try_fallback: bool,
    /// From 0, errors, to 7; filters plain messages only. 3 shows what people want.
    pub verbosity: u64,
    /// At least 1, or nothing is built.
    pub max_build_jobs: u64,
    /// Seconds without output that end a build; 0 for no limit.
    pub max_silent_time: u64,
    /// Obsolete; Nix sends 1.
    pub use_build_hook: u64,
    /// 0 shows the log of builds, 7 does not.
    pub build_verbosity: u64,
    /// Obsolete.
    pub log_type: u64,
    /// Obsolete.
    pub print_build_trace: u64,
    /// What a build sees as `NIX_BUILD_CORES`.
    pub build_cores: u64,
    /// Whether outputs may be substituted.
    pub use_substitutes: bool,
    /// Other settings by name; all but a few need trust.
    pub overrides: Vec<(String, String)>,
}

/// What Nix's own client sends without options; builds show their log and have one core.
impl Default for SetOptions {
    fn default() -> Self {
        Self {
            keep_failed: false,
            keep_going: false,
            try_fallback: false,
            verbosity: 3,
            max_build_jobs: 1,
            max_silent_time: 0,
            use_build_hook: 1,
            build_verbosity: 0,
            log_type: 0,
            print_build_trace: 0,
            build_cores: 1,
            use_substitutes: true,
            overrides: Vec::new(),
        }
    }
}

wire_struct!(SetOptions {
    keep_failed "keepFailed",
    keep_going "keepGoing",
    try_fallback "tryFallback",
    verbosity "verbosity",
    max_build_jobs "maxBuildJobs",
    max_silent_time "maxSilentTime",
    use_build_hook "useBuildHook",
    build_verbosity "buildVerbosity",
    log_type "logType",
    print_build_trace "printBuildTrace",
    build_cores "buildCores",
    use_substitutes "useSubstitutes",
    overrides "overrides",
});

wire_struct!(DerivationOutput {
    path "outputs.path",
    hash_algo "outputs.hashAlgo",
    hash "outputs.hash",
});

impl Wire for BasicDerivation {
    fn put(&self, to: &mut Encoder<'_>) {
        to.put(&self.outputs).put(&self.inputs);
        to.string(self.platform.as_str().as_bytes()).string(&self.builder);
        to.u64(self.args.len() as u64);
        for arg in &self.args {
            to.string(arg);
        }
        to.u64(self.env.len() as u64);
        for (name, value) in &self.env {
            to.string(name).string(value);
        }
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        _: &'static str,
    ) -> Result<Self, ProtocolError> {
        let outputs = from.take("outputs").await?;
        let inputs = from.take("inputs").await?;
        let platform = from.text("platform", WORD_MAX).await?;
        let builder = from.string("builder", STRING_MAX).await?;
        let mut args = Vec::new();
        for _ in 0..from.count("args").await? {
            args.push(from.string("args", STRING_MAX).await?);
        }
        let mut env = BTreeMap::new();
        for _ in 0..from.count("env").await? {
            let name = from.string("env", STRING_MAX).await?;
            env.insert(name, from.string("env", STRING_MAX).await?);
        }
        let platform = System::parse(&platform).map_err(|bad| from.fail("platform", bad))?;
        Ok(Self { outputs, inputs, platform, builder, args, env })
    }
}

impl Wire for BuildStatus {
    fn put(&self, to: &mut Encoder<'_>) {
        to.u64(self.code());
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        let value = from.u64(field).await?;
        BuildStatus::from_code(value)
            .ok_or_else(|| from.fail(field, Problem::Value { value, expected: "a build's status" }))
    }
}

impl Wire for BuildResult {
    fn put(&self, to: &mut Encoder<'_>) {
        to.put(&self.status).put(&self.error).u64(self.times_built).put(&self.non_deterministic);
        to.u64(self.start_time).u64(self.stop_time).put(&self.built_outputs);
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        _: &'static str,
    ) -> Result<Self, ProtocolError> {
        Ok(Self {
            status: from.take("status").await?,
            // It quotes the builder's log, which may hold any bytes.
            error: Text(from.string("errorMsg", STRING_MAX).await?).to_string(),
            times_built: from.u64("timesBuilt").await?,
            non_deterministic: from.take("isNonDeterministic").await?,
            start_time: from.u64("startTime").await?,
            stop_time: from.u64("stopTime").await?,
            built_outputs: from.take("builtOutputs").await?,
        })
    }
}

impl Wire for BuildMode {
    fn put(&self, to: &mut Encoder<'_>) {
        to.u64(*self as u64);
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        match from.u64(field).await? {
            0 => Ok(BuildMode::Normal),
            1 => Ok(BuildMode::Repair),
            2 => Ok(BuildMode::Check),
            value => Err(from.fail(field, Problem::Value { value, expected: "a build mode" })),
        }
    }
}

impl Wire for Sha256 {
    fn put(&self, to: &mut Encoder<'_>) {
        to.string(self.to_base16().as_bytes());
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        const HASH_MAX: u64 = 256;
        let text = from.text(field, HASH_MAX).await?;
        Sha256::parse_base16(&text).map_err(|bad| from.fail(field, bad))
    }
}

impl Wire for Text {
    fn put(&self, to: &mut Encoder<'_>) {
        to.string(&self.0);
    }

    async fn take<R: AsyncRead + Unpin + Send>(
        from: &mut Decoder<'_, R>,
        field: &'static str,
    ) -> Result<Self, ProtocolError> {
        from.string(field, STRING_MAX).await.map(Self)
    }
}

impl Wire for () {
    fn put(&self, _: &mut Encoder<'_>) {}

    async fn take<R: AsyncRead + Unpin + Send>(
        _: &mut Decoder<'_, R>,
        _: &'static str,
    ) -> Result<Self, ProtocolError> {
        Ok(())
    }
}

/// Nix's name of an operation, also of those whose layout is unknown here.
pub fn op_name(code: u64) -> &'static str {
    match code {
        3 => "HasSubstitutes",
        4 => "QueryPathHash",
        5 => "QueryReferences",
        16 => "ExportPath",
        24 => "QueryFailedPaths",
        25 => "ClearFailedPaths",
        27 => "ImportPaths",
        47 => "AddPermRoot",
        1000 => "SubmitOutput",
        1001 => "AddToStoreScanning",
        _ => Op::from_code(code).map_or("unknown operation", Op::name),
    }
}
