//! The table of operations, and the code that follows from it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::io::AsyncRead;

use super::parts::{
    BuildMode, DerivedPath, KeyedBuildResult, Missing, PathFacts, Roots, SetOptions, Substitutable,
};
use crate::domain::{BasicDerivation, BuildResult, PathInfo, StorePath};
use crate::nix::logs::Text;
use crate::nix::wire::{Decoder, Encoder, ProtocolError, Wire};

macro_rules! operations {
    ($($code:literal $name:ident { $($field:ident $wire:literal: $type:ty),* } -> $reply:ident;)*) => {
        /// The operations of known layout.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "Nix's own names")]
        pub enum Op { $($name = $code),* }

        impl Op {
            /// All of them.
            pub const ALL: &[Op] = &[$(Op::$name),*];

            /// The number on the wire.
            pub fn code(self) -> u64 {
                self as u64
            }

            /// The operation with that number.
            pub fn from_code(code: u64) -> Option<Self> {
                match code {
                    $($code => Some(Op::$name),)*
                    _ => None,
                }
            }

            /// Nix's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Op::$name => stringify!($name),)*
                }
            }
        }

        /// One operation with its fields, without the stream that may follow them.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "Nix's own names")]
        pub enum Request {
            $($name { $($field: $type),* },)*
            /// An operation of unknown layout: where it ends cannot be known.
            Unknown(u64),
        }

        impl Request {
            /// Which operation; none where it is unknown.
            pub fn op(&self) -> Option<Op> {
                match self {
                    $(Request::$name { .. } => Some(Op::$name),)*
                    Request::Unknown(_) => None,
                }
            }

            pub(super) fn put(&self, to: &mut Encoder<'_>) {
                match self {
                    $(Request::$name { $($field),* } => {
                        to.u64($code);
                        $(to.put($field);)*
                    })*
                    Request::Unknown(code) => {
                        to.u64(*code);
                    }
                }
            }

            pub(super) async fn take_fields<R: AsyncRead + Unpin + Send>(
                op: Op,
                from: &mut Decoder<'_, R>,
            ) -> Result<Self, ProtocolError> {
                Ok(match op {
                    $(Op::$name => Request::$name { $($field: from.take($wire).await?),* },)*
                })
            }
        }

        impl Reply {
            /// Reads what answers `op`.
            pub async fn take<R: AsyncRead + Unpin + Send>(
                op: Op,
                from: &mut Decoder<'_, R>,
            ) -> Result<Self, ProtocolError> {
                match op {
                    $(Op::$name => Ok(Reply::$reply(from.take("reply").await?)),)*
                }
            }

            /// Whether `op` is answered by this kind of reply.
            pub fn answers(&self, op: Op) -> bool {
                match op {
                    $(Op::$name => matches!(self, Reply::$reply(_)),)*
                }
            }
        }
    };
}

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident($type:ty),)*) => {
        /// What answers an operation.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Reply { $($(#[$doc])* $name($type)),* }

        impl Reply {
            pub(super) fn put(&self, to: &mut Encoder<'_>) {
                match self {
                    $(Reply::$name(value) => value.put(to),)*
                }
            }
        }
    };
}

operations! {
    1 IsValidPath { path "path": StorePath } -> Flag;
    6 QueryReferrers { path "path": StorePath } -> Paths;
    7 AddToStore { name "name": String, method "method": String, references "references": BTreeSet<StorePath>, repair "repair": bool } -> Added;
    8 AddTextToStore { name "name": String, text "text": Text, references "references": BTreeSet<StorePath> } -> Path;
    9 BuildPaths { targets "targets": Vec<DerivedPath>, mode "mode": BuildMode } -> Done;
    10 EnsurePath { path "path": StorePath } -> Done;
    11 AddTempRoot { path "path": StorePath } -> Done;
    12 AddIndirectRoot { link "link": String } -> Done;
    13 SyncWithGC { } -> Done;
    14 FindRoots { } -> Roots;
    18 QueryDeriver { path "path": StorePath } -> MaybePath;
    19 SetOptions { options "options": SetOptions } -> Nothing;
    20 CollectGarbage { action "action": u64, paths "paths": BTreeSet<StorePath>, ignore_liveness "ignoreLiveness": bool, max_freed "maxFreed": u64, obsolete "obsolete": (u64, (u64, u64)) } -> Garbage;
    21 QuerySubstitutablePathInfo { path "path": StorePath } -> MaybeSubstitutable;
    22 QueryDerivationOutputs { path "path": StorePath } -> Paths;
    23 QueryAllValidPaths { } -> Paths;
    26 QueryPathInfo { path "path": StorePath } -> MaybeFacts;
    28 QueryDerivationOutputNames { path "path": StorePath } -> Words;
    29 QueryPathFromHashPart { hash "hashPart": String } -> MaybePath;
    30 QuerySubstitutablePathInfos { paths "paths": BTreeMap<StorePath, String> } -> Substitutables;
    31 QueryValidPaths { paths "paths": BTreeSet<StorePath>, substitute "substitute": bool } -> Paths;
    32 QuerySubstitutablePaths { paths "paths": BTreeSet<StorePath> } -> Paths;
    33 QueryValidDerivers { path "path": StorePath } -> Paths;
    34 OptimiseStore { } -> Done;
    35 VerifyStore { check_contents "checkContents": bool, repair "repair": bool } -> Flag;
    36 BuildDerivation { drv "drvPath": StorePath, derivation "derivation": BasicDerivation, mode "mode": BuildMode } -> Built;
    37 AddSignatures { path "path": StorePath, signatures "signatures": Vec<String> } -> Done;
    38 NarFromPath { path "path": StorePath } -> Nothing;
    39 AddToStoreNar { info "info": PathInfo, repair "repair": bool, dont_check_sigs "dontCheckSigs": bool } -> Nothing;
    40 QueryMissing { targets "targets": Vec<DerivedPath> } -> Missing;
    41 QueryDerivationOutputMap { path "path": StorePath } -> Outputs;
    42 RegisterDrvOutput { realisation "realisation": String } -> Nothing;
    43 QueryRealisation { id "id": String } -> Words;
    44 AddMultipleToStore { repair "repair": bool, dont_check_sigs "dontCheckSigs": bool } -> Nothing;
    45 AddBuildLog { drv "drv": String } -> Done;
    46 BuildPathsWithResults { targets "targets": Vec<DerivedPath>, mode "mode": BuildMode } -> Results;
}

replies! {
    /// No bytes at all. After NarFromPath the NAR follows.
    Nothing(()),
    /// A number that says nothing; Nix sends 1.
    Done(u64),
    /// Yes or no.
    Flag(bool),
    /// A path.
    Path(StorePath),
    /// A path, if there is one.
    MaybePath(Option<StorePath>),
    /// Paths.
    Paths(BTreeSet<StorePath>),
    /// Names, or realisations as JSON.
    Words(Vec<String>),
    /// The path that was added.
    Added(PathInfo),
    /// What is known of a valid path.
    MaybeFacts(Option<PathFacts>),
    /// What a substituter has.
    MaybeSubstitutable(Option<Substitutable>),
    /// What substituters have.
    Substitutables(Vec<(StorePath, Substitutable)>),
    /// Links and the paths that they keep alive.
    Roots(Roots),
    /// What was or could be deleted, the bytes freed, and an obsolete number.
    Garbage((Vec<String>, (u64, u64))),
    /// What a build would do.
    Missing(Missing),
    /// Output paths by output name, where they are known.
    Outputs(BTreeMap<String, Option<StorePath>>),
    /// How one build ended.
    Built(BuildResult),
    /// How each build ended.
    Results(Vec<KeyedBuildResult>),
}
