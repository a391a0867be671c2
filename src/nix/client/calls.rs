//! The operations, one method each.

use std::collections::BTreeSet;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::exchange::{OnLog, end_of_log};
use super::{Client, Error, Upload};
use crate::domain::{BasicDerivation, BuildResult, PathInfo, StorePath};
use crate::nix::nar::{self, CopyError};
use crate::nix::ops::{BuildMode, Op, Reply, Request, SetOptions};
use crate::nix::wire::{Decoder, Problem, ProtocolError};

/// Takes the value out of the only kind of reply that answers an operation.
macro_rules! expect {
    ($reply:expr, $kind:ident, $op:expr) => {
        match $reply {
            Reply::$kind(value) => Ok(value),
            _ => Err(Error::from(wrong_kind($op))),
        }
    };
}

/// The reader is driven by the same table, so this never happens; it is an error and not a panic all the same.
fn wrong_kind(op: Op) -> ProtocolError {
    let problem = Problem::Word { got: "another reply".to_owned(), expected: "what was asked for" };
    ProtocolError { operation: op.name(), field: "reply", problem }
}

impl<R, W> Client<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Sets the daemon's options for what follows on this connection.
    pub async fn set_options(&mut self, options: &SetOptions) -> Result<(), Error> {
        let request = Request::SetOptions { options: options.clone() };
        self.call(&request, &mut drop).await.map(drop)
    }

    /// Whether the store has `path`.
    pub async fn is_valid_path(&mut self, path: &StorePath) -> Result<bool, Error> {
        let request = Request::IsValidPath { path: path.clone() };
        expect!(self.call(&request, &mut drop).await?, Flag, Op::IsValidPath)
    }

    /// Which of `paths` the store has. With `substitute` it tries to substitute the others first.
    pub async fn query_valid_paths(
        &mut self,
        paths: &[StorePath],
        substitute: bool,
    ) -> Result<BTreeSet<StorePath>, Error> {
        let request = Request::QueryValidPaths { paths: paths.iter().cloned().collect(), substitute };
        expect!(self.call(&request, &mut drop).await?, Paths, Op::QueryValidPaths)
    }

    /// What the store knows of `path`, if it has it.
    pub async fn query_path_info(&mut self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        let request = Request::QueryPathInfo { path: path.clone() };
        let facts = expect!(self.call(&request, &mut drop).await?, MaybeFacts, Op::QueryPathInfo)?;
        Ok(facts.map(|facts| facts.of(path.clone())))
    }

    /// What the store knows of each of `paths`, in order, in one round trip.
    pub async fn query_path_infos(&mut self, paths: &[StorePath]) -> Result<Vec<Option<PathInfo>>, Error> {
        let questions: Vec<_> =
            paths.iter().map(|path| Request::QueryPathInfo { path: path.clone() }).collect();
        let replies = self.pipeline(&questions).await?;
        let infos = replies.into_iter().zip(paths).map(|(reply, path)| {
            let facts = expect!(reply, MaybeFacts, Op::QueryPathInfo)?;
            Ok(facts.map(|facts| facts.of(path.clone())))
        });
        infos.collect()
    }

    /// Keeps `paths` from being collected as long as this connection lasts, in one round trip. They need not be valid.
    pub async fn add_temp_roots(&mut self, paths: &[StorePath]) -> Result<(), Error> {
        self.pipeline(&roots(paths)).await.map(drop)
    }

    /// The same, and says which of them the store has, once they are kept.
    pub async fn root_and_query(&mut self, paths: &[StorePath]) -> Result<BTreeSet<StorePath>, Error> {
        let mut questions = roots(paths);
        let paths = paths.iter().cloned().collect();
        questions.push(Request::QueryValidPaths { paths, substitute: false });
        match self.pipeline(&questions).await?.pop() {
            Some(reply) => expect!(reply, Paths, Op::QueryValidPaths),
            None => Err(wrong_kind(Op::QueryValidPaths).into()),
        }
    }

    /// Imports one path, whose NAR is all that `nar` yields.
    pub async fn add_to_store_nar(
        &mut self,
        info: &PathInfo,
        nar: &mut (impl AsyncRead + Unpin + Send),
        check_sigs: bool,
    ) -> Result<(), Error> {
        let request =
            Request::AddToStoreNar { info: info.clone(), repair: false, dont_check_sigs: !check_sigs };
        self.upload_from(&request, nar, &mut drop).await.map(drop)
    }

    /// Imports `count` paths, references before referrers. `body` begins each and writes its NAR.
    pub async fn add_multiple_to_store<E: From<Error>>(
        &mut self,
        count: u64,
        check_sigs: bool,
        body: impl AsyncFnOnce(&mut Upload<'_, W>) -> Result<(), E>,
    ) -> Result<(), E> {
        let request = Request::AddMultipleToStore { repair: false, dont_check_sigs: !check_sigs };
        let operation = Op::AddMultipleToStore.name();
        let items = async |upload: &mut Upload<'_, W>| {
            let counted = upload.write_all(&count.to_le_bytes()).await;
            counted.map_err(|error| Error::Io { operation, error })?;
            body(upload).await
        };
        self.upload(&request, &mut drop, items).await.map(drop)
    }

    /// Builds one derivation. A failed build is a result, not an error.
    pub async fn build_derivation(
        &mut self,
        drv: &StorePath,
        derivation: &BasicDerivation,
        mode: BuildMode,
        on_log: OnLog<'_>,
    ) -> Result<BuildResult, Error> {
        let request = Request::BuildDerivation { drv: drv.clone(), derivation: derivation.clone(), mode };
        expect!(self.call(&request, on_log).await?, Built, Op::BuildDerivation)
    }

    /// Writes the NAR of `path` to `to`, and says what it was. `to` is not flushed.
    ///
    /// Ask for the path's info first: a missing path costs the connection.
    pub async fn nar_from_path<S: AsyncWrite + Unpin>(
        &mut self,
        path: &StorePath,
        to: &mut S,
        max_bytes: u64,
    ) -> Result<nar::Summary, Error> {
        self.ask_for_nars(std::slice::from_ref(path)).await?;
        self.next_nar(to, max_bytes).await
    }

    /// Asks for the NARs of `paths`, at most [`NARS_AT_ONCE`], which [`Client::next_nar`] then gives in this order.
    pub async fn ask_for_nars(&mut self, paths: &[StorePath]) -> Result<(), Error> {
        self.clean = self.clean && paths.is_empty();
        let io = |error| Error::Io { operation: Op::NarFromPath.name(), error };
        for path in paths {
            let question = Request::NarFromPath { path: path.clone() }.encode(&self.dialect);
            self.to.write_all(&question).await.map_err(io)?;
        }
        self.nars_owed = paths.len();
        self.to.flush().await.map_err(io)
    }

    /// The next NAR that was asked for.
    pub async fn next_nar<S: AsyncWrite + Unpin>(
        &mut self,
        to: &mut S,
        max_bytes: u64,
    ) -> Result<nar::Summary, Error> {
        self.begin_nar().await?;
        let copied = nar::copy(&mut self.from, to, max_bytes).await;
        self.end_nar(copied).await
    }

    /// The same where the digest is not wanted, which costs more than all the rest.
    pub async fn relay_nar<S: AsyncWrite + Unpin>(
        &mut self,
        path: &StorePath,
        to: &mut S,
        max_bytes: u64,
    ) -> Result<u64, Error> {
        self.ask_for_nars(std::slice::from_ref(path)).await?;
        self.begin_nar().await?;
        let copied = nar::relay(&mut self.from, to, max_bytes).await;
        self.end_nar(copied).await
    }

    async fn begin_nar(&mut self) -> Result<(), Error> {
        self.nars_owed = self.nars_owed.saturating_sub(1);
        if let Err(refused) = end_of_log(&mut self.from, &self.dialect, Op::NarFromPath, &mut drop).await? {
            self.clean = self.nars_owed == 0;
            return Err(refused.into());
        }
        Ok(())
    }

    async fn end_nar<T>(&mut self, copied: Result<T, CopyError>) -> Result<T, Error> {
        match copied {
            Ok(copied) => {
                self.clean = self.nars_owed == 0;
                Ok(copied)
            }
            Err(CopyError::Daemon { .. }) => {
                let mut decoder = Decoder::new(&mut self.from, &self.dialect, Op::NarFromPath.name());
                Err(Error::Daemon(decoder.take("error").await?))
            }
            Err(error) => Err(Error::Nar(error)),
        }
    }
}

fn roots(paths: &[StorePath]) -> Vec<Request> {
    paths.iter().map(|path| Request::AddTempRoot { path: path.clone() }).collect()
}
